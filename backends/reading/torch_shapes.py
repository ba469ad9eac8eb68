"""PyTorch's operators that move numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import ops
from . import layers
from . import operations as o
from .onnx_shapes import whole
from .torch_call import Call, handles, ints
from .values import Bound, Const, Unreadable, Value


def reshaped(call: Call, x: Any, target: Sequence[int]) -> Value:
    """A stored tensor that is learned becomes a node, so that it stays what it is stored as."""
    source = o.bound(call.b, x)
    return call.b.reshape(source, target)


@handles("aten.view", "aten.reshape", "aten._unsafe_view")
def view(call: Call) -> Value:
    target = call.get("size", call.get("shape"))
    return reshaped(call, call.tensor(), whole(list(target), call.shape()))


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
    inner = whole(list(call["sizes"]), (old[axis],))
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


@handles("aten.transpose", "aten.swapaxes", "aten.swapdims", "aten.t", "aten.mT")
def transpose(call: Call) -> Value:
    rank = call.rank()
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
    return call.b.transpose(o.bound(call.b, x), order)


@handles("aten.expand")
def expand(call: Call) -> Value:
    return o.expand(call.b, call.tensor(), call["size"])


@handles("aten.expand_as", "aten.broadcast_to", "aten.broadcast_tensors")
def expand_as(call: Call) -> Value:
    if call.op == "aten.broadcast_to":
        return o.expand(call.b, call.tensor(), call["size"])
    if call.op == "aten.broadcast_tensors":
        raise Unreadable("growc does not read it")
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


@handles("aten.cat", "aten.concat", "aten.concatenate")
def cat(call: Call) -> Value:
    values = [v for v in call["tensors"] if v is not None]
    return o.concat(call.b, values, call.get("dim", 0))


@handles("aten.stack")
def stack(call: Call) -> Value:
    b = call.b
    values = [o.bound(b, v) for v in call["tensors"]]
    rank = max(v.rank for v in values)
    axis = call.get("dim", 0) % (rank + 1)
    return o.concat(b, [o.unsqueeze(b, v, [axis]) for v in values], axis)


@handles("aten.split", "aten.split_with_sizes", "aten.chunk", "aten.unsafe_split")
@handles("aten.unsafe_chunk", "aten.tensor_split")
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
    if len(given) != 1:
        raise Unreadable("it takes numbers by several indices")
    axis, where = given[0]
    table = call.tensor()
    if isinstance(where, Bound):
        if axis or not isinstance(table, Const) or table.array.ndim != 2:
            raise Unreadable("its indices depend on the input")
        return o.embedding(call.b, where, table)
    numbers = o.const(where, "indices")
    if numbers.array.dtype == np.bool_:
        numbers = Const(np.flatnonzero(numbers.array))
    taken = o.take(call.b, table, axis, numbers.ints())
    old = taken.real(call.b.batch)
    return call.b.reshape(taken, (*old[:axis], *numbers.shape, *old[axis + 1 :]))


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


PADS = {
    f"aten.{kind}_pad{rank}d": mode
    for kind, mode in (("reflection", "reflect"), ("replication", "edge"))
    for rank in (1, 2, 3)
}


@handles(*PADS)
def pad_of(call: Call) -> Value:
    call.arguments = {**call.arguments, "pad": call["padding"]}
    rank = call.rank()
    flat = list(call["padding"])
    widths = [(0, 0)] * rank
    for i in range(len(flat) // 2):
        widths[rank - 1 - i] = (flat[2 * i], flat[2 * i + 1])
    return o.pad(call.b, call.tensor(), widths, 0.0, PADS[call.op])


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
        antialias=kind.endswith("_aa"),
        cubic=-0.5 if kind == "bicubic2d_aa" else -0.75,
    )
