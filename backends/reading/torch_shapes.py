"""PyTorch's operators that move numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...ir import ops
from . import layers
from . import operations as o
from .torch_call import Call, handles, ints
from .values import Bound, Const, Unreadable, Value, long_axes


def reshaped(call: Call, x: Any, target: Sequence[int]) -> Value:
    """A stored tensor that is learned becomes a node, so that it stays what it is stored as."""
    if isinstance(x, Const) and long_axes(x.shape) == long_axes(target):
        return x.viewed(x.array.reshape(tuple(target)))
    source = o.bound(call.b, x)
    return call.b.reshape(source, target)


def whole(target: Sequence[int], total: int) -> list[int]:
    """A shape with its -1 worked out."""
    known = math.prod(n for n in target if n != -1)
    return [total // known if n == -1 else n for n in target]


@handles("aten.view", "aten.reshape", "aten._unsafe_view")
def view(call: Call) -> Value:
    target = call.get("size", call.get("shape"))
    return reshaped(call, call.tensor(), whole(target, math.prod(call.shape())))


@handles("aten.flatten")
def flatten(call: Call) -> Value:
    old = call.shape()
    if not old:
        return reshaped(call, call.tensor(), [1])
    first, last = call["start_dim"] % len(old), call["end_dim"] % len(old)
    target = [*old[:first], math.prod(old[first : last + 1]), *old[last + 1 :]]
    return reshaped(call, call.tensor(), target)


@handles("aten.unflatten")
def unflatten(call: Call) -> Value:
    old = call.shape()
    axis = call["dim"] % len(old)
    inner = whole(call["sizes"], old[axis])
    return reshaped(call, call.tensor(), [*old[:axis], *inner, *old[axis + 1 :]])


@handles("aten.squeeze")
def squeeze(call: Call) -> Value:
    old = call.shape()
    axes = call.arguments.get("dim")
    if axes is None:
        gone = {i for i, n in enumerate(old) if n == 1}
    else:
        listed = list(axes) if isinstance(axes, Sequence) else [axes]
        gone = {a % len(old) for a in listed if old[a] == 1}
    return reshaped(call, call.tensor(), [n for i, n in enumerate(old) if i not in gone])


@handles("aten.unsqueeze")
def unsqueeze(call: Call) -> Value:
    old = list(call.shape())
    axis = call["dim"] % (len(old) + 1)
    return reshaped(call, call.tensor(), [*old[:axis], 1, *old[axis:]])


@handles("aten.transpose", "aten.t", "aten.mT")
@handles("aten.numpy_T")
def transpose(call: Call) -> Value:
    rank = call.rank()
    if call.op == "aten.numpy_T":
        return permuted(call, list(range(rank))[::-1])
    a = call.get("dim0", call.get("axis0", 0 if call.op == "aten.t" else -2))
    z = call.get("dim1", call.get("axis1", 1 if call.op == "aten.t" else -1))
    order = list(range(rank))
    if rank > 1:
        order[a], order[z] = order[z], order[a]
    return permuted(call, order)


@handles("aten.permute")
def permute(call: Call) -> Value:
    rank = call.rank()
    return permuted(call, [axis % rank for axis in call["dims"]])


@handles("aten.movedim", "aten.moveaxis")
def movedim(call: Call) -> Value:
    sources, targets = (
        [axis % call.rank() for axis in ints(call[name], 1)] for name in ("source", "destination")
    )
    rest = iter(i for i in range(call.rank()) if i not in sources)
    placed = dict(zip(targets, sources, strict=True))
    return permuted(call, [placed[i] if i in placed else next(rest) for i in range(call.rank())])


def permuted(call: Call, order: list[int]) -> Value:
    x = call.tensor()
    if isinstance(x, Const) and order == [1, 0]:
        return x.with_array(x.array.T, transposed=True)
    if isinstance(x, Const):
        long = [axis for axis in order if x.shape[axis] > 1]
        if long == sorted(long):
            return x.viewed(x.array.transpose(order))
    return call.b.transpose(o.bound(call.b, x), order)


@handles("aten.expand")
def expand(call: Call) -> Value:
    return o.expand(call.b, call.tensor(), call["size"])


@handles("aten.expand_as", "aten.broadcast_to")
def expand_as(call: Call) -> Value:
    if call.op == "aten.broadcast_to":
        return o.expand(call.b, call.tensor(), call["size"])
    return o.expand(call.b, call.tensor(), call.shape("other"))


@handles("aten.repeat", "aten.tile")
def repeat(call: Call) -> Value:
    x, repeats = call.tensor(), list(call.get("repeats", call.get("dims")))
    new = len(repeats) - call.rank()
    padded = (1,) * max(0, new) + call.shape()
    if new < 0:
        repeats = [1] * -new + repeats
    target = [n * r for n, r in zip(padded, repeats, strict=True)]
    # A class token repeated for each example has the batch where it has size 1.
    if call.b.batch in target and all(
        n == 1 or r == 1 for n, r in zip(padded, repeats, strict=True)
    ):
        return o.expand(call.b, x, target)
    return o.tile(call.b, x, repeats)


@handles("aten.cat")
def cat(call: Call) -> Value:
    values = [v for v in call["tensors"] if v is not None]
    return o.concat(call.b, values, call.get("dim", 0))


@handles("aten.hstack")
def hstack(call: Call) -> Value:
    values = [o.bound(call.b, v) for v in call["tensors"]]
    return o.concat(call.b, values, min(1, values[0].rank - 1))


@handles("aten.stack")
def stack(call: Call) -> Value:
    b = call.b
    values = [o.bound(b, v) for v in call["tensors"]]
    rank = max(v.rank for v in values)
    axis = call.get("dim", 0) % (rank + 1)
    return o.concat(b, [o.unsqueeze(b, v, [axis]) for v in values], axis)


@handles("aten.split", "aten.split_with_sizes", "aten.chunk", "aten.tensor_split")
def split(call: Call) -> Value:
    axis = call.get("dim", 0) % call.rank()
    total = call.shape()[axis]
    if "chunks" in call.arguments:
        each = -(-total // call["chunks"])
        sizes = [min(each, total - i) for i in range(0, total, each)]
    else:
        given = call.get("split_size", call.get("split_sizes", call.get("sections")))
        if isinstance(given, Sequence):
            sizes = list(given)
        elif "sections" in call.arguments:
            more, least = total % given, total // given
            sizes = [least + (i < more) for i in range(given)]
        else:
            sizes = [min(given, total - i) for i in range(0, total, given)]
    ends = np.cumsum(sizes).tolist()
    x = call.tensor()
    if isinstance(x, Const) and axis == 0:
        return tuple(x.part(e - n, e) for n, e in zip(sizes, ends, strict=True))
    return tuple(o.cut(call.b, x, axis, e - n, e) for n, e in zip(sizes, ends, strict=True))


@handles("aten.unbind")
def unbind(call: Call) -> Value:
    axis = call.get("dim", 0) % call.rank()
    return tuple(_select(call, axis, i) for i in range(call.shape()[axis]))


@handles("aten.select")
def select(call: Call) -> Value:
    return _select(call, call["dim"] % call.rank(), call["index"])


def _select(call: Call, axis: int, index: int) -> Bound:
    b = call.b
    one = o.take(b, call.tensor(), axis, [index])
    return o.squeeze(b, one, [axis])


@handles("aten.slice", "aten.narrow")
def slices(call: Call) -> Value:
    axis = call.get("dim", 0) % call.rank()
    size = call.shape()[axis]
    start = call.get("start", 0)
    if call.op == "aten.narrow":
        return o.cut(call.b, call.tensor(), axis, start, start + call["length"])
    end = min(call.get("end", size), size)
    step = call.get("step", 1)
    x = call.tensor()
    if isinstance(x, Const) and (start, end, step) == (0, size, 1):
        return x
    if isinstance(x, Const) and axis == 0 and step == 1 and x.array.ndim <= 2 and start >= 0:
        return x.part(start, end)
    return o.cut(call.b, x, axis, start, end, step)


@handles("aten.index_select")
def index_select(call: Call) -> Value:
    axis = call["dim"] % call.rank()
    return o.take(call.b, call.tensor(), axis, call.const("index").ints())


@handles("aten.index")
def index(call: Call) -> Value:
    given = [(i, v) for i, v in enumerate(call["indices"]) if v is not None]
    table = call.tensor()
    if len(given) != 1:
        return _indexed(call, table, dict(given))
    axis, where = given[0]
    if isinstance(where, Bound):
        if axis or not isinstance(table, Const) or table.array.ndim != 2:
            raise Unreadable("its indices depend on the input")
        return o.embedding(call.b, where, table)
    numbers = o.const(where, "indices")
    if numbers.array.dtype == np.bool_:
        if numbers.array.ndim != 1:
            raise Unreadable("it takes numbers by a mask of several axes")
        numbers = Const(np.flatnonzero(numbers.array))
    taken = o.take(call.b, table, axis, numbers.ints())
    old = taken.real(call.b.batch)
    return call.b.reshape(taken, (*old[:axis], *numbers.shape, *old[axis + 1 :]))


def _indexed(call: Call, table: Bound | Const, given: dict[int, Any]) -> Value:
    """x[:, i, j]: several neighbouring axes at once, by constants."""
    b, axes = call.b, sorted(given)
    arrays = [o.const(given[axis], "indices").array for axis in axes]
    if axes != list(range(axes[0], axes[0] + len(axes))) or any(
        not np.issubdtype(a.dtype, np.integer) for a in arrays
    ):
        raise Unreadable("it takes numbers by several indices that are no neighbours")
    old = call.shape()
    sizes = old[axes[0] : axes[-1] + 1]
    numbers = np.broadcast_arrays(*arrays)
    flat = np.ravel_multi_index(
        tuple(n % size for n, size in zip(numbers, sizes, strict=True)), sizes
    )
    merged = b.reshape(o.bound(b, table), (*old[: axes[0]], math.prod(sizes), *old[axes[-1] + 1 :]))
    taken = o.take(b, merged, axes[0], [int(i) for i in flat.reshape(-1)])
    return b.reshape(taken, (*old[: axes[0]], *flat.shape, *old[axes[-1] + 1 :]))


@handles("aten.unfold")
def unfold(call: Call) -> Value:
    """Windows along an axis; what is in a window becomes the last axis."""
    b, x = call.b, call.bound()
    axis, size, step = call["dimension"] % x.rank, call["size"], call["step"]
    old = x.real(b.batch)
    count = (old[axis] - size) // step + 1
    taken = o.take(b, x, axis, [i * step + j for i in range(count) for j in range(size)])
    windows = b.reshape(taken, (*old[:axis], count, size, *old[axis + 1 :]))
    order = [i for i in range(windows.rank) if i != axis + 1]
    return b.transpose(windows, [*order, axis + 1])


@handles("aten.im2col")
def im2col(call: Call) -> Value:
    """Windows over two axes: [channels · taps, places]."""
    b, x = call.b, b_plain(call)
    kernel, dilation, padding, stride = (
        ints(call[name], 2) for name in ("kernel_size", "dilation", "padding", "stride")
    )
    x = o.pad(b, x, [(0, 0), (0, 0), *((p, p) for p in padding)], 0.0, "constant")
    sizes = []
    for i, axis in enumerate((2, 3)):
        span = dilation[i] * (kernel[i] - 1) + 1
        count = (x.real(b.batch)[axis] - span) // stride[i] + 1
        taps = [
            tap * dilation[i] + at * stride[i] for tap in range(kernel[i]) for at in range(count)
        ]
        x = o.take(b, x, axis, taps)
        sizes += [kernel[i], count]
    first = x.real(b.batch)[:2]
    apart = b.transpose(b.reshape(x, (*first, *sizes)), [0, 1, 2, 4, 3, 5])
    return b.reshape(apart, (first[0], first[1] * math.prod(kernel), sizes[1] * sizes[3]))


def b_plain(call: Call) -> Bound:
    return call.b.plain(call.bound(), "operand")


@handles("aten.diagonal")
def diagonal(call: Call) -> Value:
    b, x = call.b, call.bound()
    first, second = (call[name] % x.rank for name in ("dim1", "dim2"))
    old = x.real(b.batch)
    if old[first] != old[second] or call["offset"]:
        raise Unreadable("growc reads the main diagonal of square matrices alone")
    rest = [i for i in range(x.rank) if i not in (first, second)]
    x = b.transpose(x, [*rest, first, second])
    flat = b.reshape(x, (*(old[i] for i in rest), old[first] ** 2))
    return o.cut(b, flat, flat.rank - 1, 0, None, old[first] + 1)


@handles("aten.slice_scatter", "aten.select_scatter")
def scatter(call: Call) -> Value:
    """A tensor of which a part is replaced by another."""
    b, axis, source = call.b, call.get("dim", 0) % call.rank(), call.tensor("src")
    size = call.shape()[axis]
    if call.op == "aten.select_scatter":
        index = call["index"] % size
        numbers = range(index, index + 1)
        source = o.unsqueeze(b, o.bound(b, source), [axis])
    else:
        numbers = range(*slice(call.get("start"), call.get("end"), call["step"]).indices(size))
    if numbers.step != 1:
        raise Unreadable("it writes into a part with gaps")
    if len(numbers) == size:
        return source
    before, after = (
        _part(call, axis, *ends) for ends in ((0, numbers.start), (numbers.stop, size))
    )
    return o.concat(b, [x for x in (before, source, after) if x is not None], axis)


def _part(call: Call, axis: int, start: int, stop: int) -> Bound | Const | None:
    x = call.tensor()
    if start == stop:
        return None
    if isinstance(x, Const):
        return Const(np.take(x.array, range(start, stop), axis))
    return o.cut(call.b, x, axis, start, stop)


@handles("aten.copy", "aten.fill")
def copy(call: Call) -> Value:
    """Another tensor's numbers in the shape of this."""
    value = call.get("src", call.get("value"))
    if not isinstance(value, (Bound, Const)):
        value = Const(np.array(value, np.float32))
    return o.expand(call.b, value, call.shape())


@handles("aten.flip")
def flip(call: Call) -> Value:
    x = call.bound()
    for axis in call["dims"]:
        size = x.real(call.b.batch)[axis]
        x = o.take(call.b, x, axis % x.rank, range(size - 1, -1, -1))
    return x


@handles("aten.roll")
def roll(call: Call) -> Value:
    b, x = call.b, call.bound()
    shifts, dims = ints(call["shifts"], 1), ints(call.get("dims", []), 1)
    if len(shifts) != len(dims):
        raise Unreadable("it rolls the flattened tensor")
    for shift, axis in zip(shifts, dims, strict=True):
        size = x.real(b.batch)[axis]
        at = -shift % size
        if at:
            axis %= x.rank
            parts = [o.cut(b, x, axis, at, size), o.cut(b, x, axis, 0, at)]
            x = o.concat(b, parts, axis)
    return x


MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@handles("aten.pad", "aten.constant_pad_nd")
def pad(call: Call) -> Value:
    flat, rank = list(call["pad"]), call.rank()
    widths = [(0, 0)] * rank
    for i in range(len(flat) // 2):
        widths[rank - 1 - i] = (flat[2 * i], flat[2 * i + 1])
    mode = MODES[call.get("mode", "constant")]
    return o.pad(call.b, call.tensor(), widths, float(call.get("value", 0.0)), mode)


@handles("aten.pixel_shuffle", "aten.pixel_unshuffle")
def pixels(call: Call) -> Value:
    x = call.b.plain(call.bound(), "operand")
    shuffle = call.op == "aten.pixel_shuffle"
    cls = ops.DepthToSpace if shuffle else ops.SpaceToDepth
    block = call["upscale_factor"] if shuffle else call["downscale_factor"]
    return call.b.like(x, call.b.add(call.b.make(cls, block), (x.node,)))


UPSAMPLES = {
    "nearest1d": ("nearest", 1),
    "nearest2d": ("nearest", 2),
    "nearest3d": ("nearest", 3),
    "_nearest_exact1d": ("exact", 1),
    "_nearest_exact2d": ("exact", 2),
    "_nearest_exact3d": ("exact", 3),
    "linear1d": ("linear", 1),
    "bilinear2d": ("linear", 2),
    "trilinear3d": ("linear", 3),
    "bicubic2d": ("cubic", 2),
    "_bilinear2d_aa": ("linear", 2),
    "_bicubic2d_aa": ("cubic", 2),
}


@handles(*(f"aten.{'_' if n.startswith('_') else ''}upsample_{n.lstrip('_')}" for n in UPSAMPLES))
def upsample(call: Call) -> Value:
    under = call.op.startswith("aten._")
    kind = call.op.rpartition("upsample_")[2]
    mode, rank = UPSAMPLES[f"_{kind}" if under else kind]
    old = call.shape()[2:]
    ratios = call.get("scale_factors")
    sizes = call.get("output_size")
    if sizes is None:
        sizes = [math.floor(n * r) for n, r in zip(old, ratios, strict=True)]
    if len(sizes) != rank:
        raise Unreadable("its sizes do not fit its operand")
    if kind.endswith("_aa"):
        return _filtered(call, kind, old, list(sizes), ratios)
    coordinates, rounding = "half_pixel", "floor"
    if mode == "nearest":
        coordinates = "asymmetric"
    elif mode == "exact":
        # floor((i + 0.5)/r): a place exactly between two numbers is the upper one's.
        mode, rounding = "nearest", "round_prefer_ceil"
    elif call.get("align_corners", False):
        coordinates = "align_corners"
    return layers.resize(
        call.b,
        call.tensor(),
        list(sizes),
        mode,
        coordinates,
        rounding,
        list(ratios) if ratios is not None else None,
    )


def _filtered(
    call: Call, kind: str, old: Sequence[int], sizes: Sequence[int], ratios: Any
) -> Value:
    """PyTorch's antialiasing leaves out what is beyond the border, unlike ONNX's: each axis is
    multiplied by the matrix of what PyTorch makes of it."""
    from torch.nn.functional import interpolate

    b, x = call.b, b_plain(call)
    matrices = []
    for axis, (n, m) in enumerate(zip(old, sizes, strict=True)):
        # One row for each example; of channels or of the other axis a single one confuses PyTorch.
        rows = torch.eye(n, dtype=torch.float64)
        rows = rows[:, None, :, None] if axis == 0 else rows[:, None, None]
        lines = rows.expand(n, 2, *((n, 2) if axis == 0 else (2, n))).contiguous()
        size = (m, 2) if axis == 0 else (2, m)
        how: dict[str, Any] = {"size": size}
        if ratios is not None:
            how = {"scale_factor": (ratios[0], 1.0) if axis == 0 else (1.0, ratios[1])}
        corners = bool(call.get("align_corners", False))
        mode = "bicubic" if "cubic" in kind else "bilinear"
        found = interpolate(lines, mode=mode, align_corners=corners, antialias=True, **how)
        single = found[:, 0, :, 0] if axis == 0 else found[:, 0, 0]
        matrices.append(Const(single.numpy().astype(np.float32)))
    down, across = matrices
    wide = o.matmul(b, x, b.free(across))
    return o.matmul(b, b.free(down.with_array(down.array.T)), wide)
