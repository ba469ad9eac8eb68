"""ONNX's ops that move numbers, make constants, and change resolution."""

from __future__ import annotations

import math

import numpy as np

from ...ir import ops
from ...ir.types import MAX_ELEMENTS
from . import layers, moving, products
from . import operations as o
from .onnx_call import Call, handles
from .values import Bound, Const, Unreadable, Value, shown


@handles("Constant")
def constant(call: Call) -> Value:
    for name, value in call.attributes.items():
        if name == "value":
            return Const(value)
        if name.startswith("value_"):
            kind = np.float32 if "float" in name else np.int64
            return Const(np.array(value, kind))
    raise Unreadable("its value is of a kind that growc does not know")


@handles("ConstantOfShape")
def constant_of_shape(call: Call) -> Value:
    shape = call.ints(0, "shape")
    if min(shape, default=0) < 0:
        raise Unreadable(f"it fills a tensor of the impossible shape {shape}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise Unreadable(f"it fills a tensor of shape {shape}, which is too large")
    value = call.attr("value", np.zeros(1, np.float32))
    return Const(np.broadcast_to(value.reshape(()), shape))


@handles("Shape", layout=True)
def shape(call: Call) -> Value:
    sizes = call.shape[call.attr("start", 0) : call.attr("end")]
    return Const(np.array(sizes, np.int64))


@handles("Size", layout=True)
def size(call: Call) -> Value:
    return Const(np.array(math.prod(call.shape), np.int64))


def reshaped(call: Call, target: list[int]) -> Value:
    x = call.tensor()
    if isinstance(x, Const):
        try:
            array = x.array.reshape(target)
        except ValueError:
            raise Unreadable(f"{list(x.shape)} does not become {target}") from None
        return x if array.shape == x.shape else x.with_array(array)
    return call.b.reshape(x, target)


@handles("Reshape", layout=True)
def reshape(call: Call) -> Value:
    target = call.ints(1, "shape") if call.opset >= 5 else list(call.attr("shape"))
    old = call.shape
    if not call.attr("allowzero", 0):
        if any(n == 0 and i >= len(old) for i, n in enumerate(target)):
            raise Unreadable(f"{target} copies an axis that {call.shown} does not have")
        target = [old[i] if n == 0 else n for i, n in enumerate(target)]
    return reshaped(call, whole(target, old, call.b.batch))


def whole(target: list[int], old: tuple[int, ...], batch: int = 0) -> list[int]:
    """The target with its -1 worked out. Raises :class:`Unreadable` if it does not fit."""
    misfit = Unreadable(f"{shown(old, batch)} does not become {target}")
    total = math.prod(old)
    known = math.prod(n for n in target if n != -1)
    if target.count(-1) > 1 or min(target, default=1) < -1 or known == 0 or total % known:
        raise misfit
    found = [total // known if n == -1 else n for n in target]
    if math.prod(found) != total:
        raise misfit
    return found


@handles("Flatten", layout=True)
def flatten(call: Call) -> Value:
    old = call.shape
    axis = call.attr("axis", 1)
    axis = axis if axis == len(old) else o.in_range(axis, len(old))
    return reshaped(call, [math.prod(old[:axis]), math.prod(old[axis:])])


@handles("Squeeze", layout=True)
def squeeze(call: Call) -> Value:
    axes, old = call.axes(1, 13), call.shape
    if axes is None:
        axes = [i for i, n in enumerate(old) if n == 1]
    gone = {o.in_range(axis, len(old)) for axis in axes}
    if any(old[axis] != 1 for axis in gone):
        raise Unreadable(f"it removes an axis of {call.shown} whose size is not 1")
    return reshaped(call, [n for i, n in enumerate(old) if i not in gone])


@handles("Unsqueeze", layout=True)
def unsqueeze(call: Call) -> Value:
    axes, old = call.axes(1, 13) or [], call.shape
    rank = len(old) + len(axes)
    new = {o.in_range(axis, rank) for axis in axes}
    rest = iter(old)
    return reshaped(call, [1 if i in new else next(rest) for i in range(rank)])


@handles("Transpose", layout=True)
def transpose(call: Call) -> Value:
    x = call.tensor()
    perm = call.attr("perm") or list(range(len(call.shape)))[::-1]
    if isinstance(x, Bound):
        return call.b.transpose(x, perm)
    if sorted(perm) != list(range(x.array.ndim)):
        raise Unreadable(f"{list(perm)} does not order {x.array.ndim} axes")
    if list(perm) == [1, 0]:
        return x.with_array(x.array.T, transposed=True)
    return x.with_array(x.array.transpose(perm))


@handles("Concat")
def concat(call: Call) -> Value:
    values = [call.tensor(i) for i in range(len(call.inputs))]
    return moving.concat(call.b, values, call.attr("axis", 1))


@handles("Split")
def split(call: Call) -> Value:
    axis = o.in_range(call.attr("axis", 0), len(call.shape))
    total = call.shape[axis]
    sizes = call.attr("split")
    if call.opset >= 13:
        given = call.optional(1, "sizes")
        sizes = None if given is None else given.ints()
    if sizes is None:
        parts = call.attr("num_outputs", call.outputs)
        each = -(-total // parts)
        sizes = [min(each, total - i * each) for i in range(parts)]
    if sum(sizes) != total or min(sizes) < 0:
        raise Unreadable(f"it splits {total} into {list(sizes)}")
    ends = np.cumsum(sizes).tolist()
    return tuple(
        moving.cut(call.b, call.x, axis, end - n, end) for n, end in zip(sizes, ends, strict=True)
    )


@handles("Slice")
def slices(call: Call) -> Value:
    if call.opset >= 10:
        starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
        axes, steps = call.optional(3, "axes"), call.optional(4, "steps")
        where = axes.ints() if axes is not None else list(range(len(starts)))
        by = steps.ints() if steps is not None else [1] * len(starts)
    else:
        starts, ends = list(call.attr("starts")), list(call.attr("ends"))
        where = list(call.attr("axes") or range(len(starts)))
        by = [1] * len(starts)
    x = call.x
    for axis, start, end, step in zip(where, starts, ends, by, strict=True):
        # Going backwards, an end below the first element means that it is taken too.
        size = x.real(call.b.batch)[axis]
        x = moving.cut(call.b, x, axis, start, None if step < 0 and end < -size else end, step)
    return x


@handles("Gather")
def gather(call: Call) -> Value:
    axis = call.attr("axis", 0)
    table, indices = call.tensor(0), call.tensor(1)
    if isinstance(table, Const) and isinstance(indices, Bound):
        if o.in_range(axis, table.array.ndim) or table.array.ndim != 2:
            raise Unreadable("it looks up numbers of the input in something that is not a table")
        return products.embedding(call.b, indices, table)
    numbers = o.const(indices, "indices")
    x = call.x
    taken = moving.take(call.b, x, axis, numbers.ints())
    if numbers.array.ndim == 1:
        return taken
    old = taken.real(call.b.batch)
    axis %= len(old)
    return call.b.reshape(taken, (*old[:axis], *numbers.shape, *old[axis + 1 :]))


@handles("Expand")
def expand(call: Call) -> Value:
    return moving.expand(call.b, call.tensor(), call.ints(1, "shape"))


@handles("Tile")
def tile(call: Call) -> Value:
    return moving.tile(call.b, call.x, call.ints(1, "repeats"))


@handles("Pad")
def pad(call: Call) -> Value:
    b, x = call.b, call.x
    value = call.number(2, "value", 11, 0.0) or 0.0
    numbers = call.ints(1, "pads") if call.opset >= 11 else list(call.attr("pads"))
    axes = call.optional(3, "axes") if call.opset >= 18 else None
    where = axes.ints() if axes is not None else list(range(x.rank))
    where = [o.in_range(axis, x.rank) for axis in where]
    if len(numbers) != 2 * len(where):
        raise Unreadable(f"it has {len(numbers)} paddings for {len(where)} axes")
    widths = [(0, 0)] * x.rank
    for i, axis in enumerate(where):
        widths[axis] = (numbers[i], numbers[i + len(where)])
    if value != -math.inf:
        return moving.pad(b, x, widths, value, call.attr("mode", "constant"))
    # A border for a max pooling, which becomes a padding of that.
    found = moving.pad(b, x, widths, o.LOWEST, call.attr("mode", "constant"))
    b.infinite.append(found.node)
    return found


@handles("DepthToSpace", "SpaceToDepth")
def blocks(call: Call) -> Value:
    x = call.b.plain(call.x, "operand")
    # SpaceToDepth puts channels of one place of the block side by side, as DCR does.
    order = call.attr("mode", "DCR").lower() if call.op == "DepthToSpace" else "dcr"
    cls = ops.DepthToSpace if call.op == "DepthToSpace" else ops.SpaceToDepth
    op = call.b.make(cls, call.attr("blocksize"), order=order)
    return call.b.like(x, call.b.add(op, (x.node,)))


@handles("Upsample")
def upsample(call: Call) -> Value:
    ratios = (
        [float(n) for n in call.const(1, "scales").array.reshape(-1)]
        if call.opset >= 9
        else list(call.attr("scales"))
    )
    return _resize(call, ratios, None, "asymmetric", "floor")


@handles("Resize")
def resize(call: Call) -> Value:
    if call.opset < 11:
        ratios = [float(n) for n in call.const(1, "scales").array.reshape(-1)]
        return _resize(call, ratios, None, "asymmetric", "floor")
    coordinates = call.attr("coordinate_transformation_mode", "half_pixel")
    rounding = call.attr("nearest_mode", "round_prefer_floor")
    if call.attr("exclude_outside", 0) or coordinates not in (
        "half_pixel",
        "pytorch_half_pixel",
        "asymmetric",
        "align_corners",
    ):
        raise Unreadable(f"growc does not resize with {coordinates} coordinates and its settings")
    given = call.optional(2, "scales")
    wanted = call.optional(3, "sizes")
    found = [float(n) for n in given.array.reshape(-1)] if given and given.array.size else None
    sizes = wanted.ints() if wanted is not None and wanted.array.size else None
    return _resize(call, found, sizes, coordinates, rounding)


def _resize(
    call: Call,
    ratios: list[float] | None,
    sizes: list[int] | None,
    coordinates: str,
    rounding: str,
) -> Value:
    b, x = call.b, call.b.plain(call.x, "operand")
    old = x.real(b.batch)
    axes = [o.in_range(axis, x.rank) for axis in call.attr("axes", range(x.rank))]
    all_ratios, all_sizes = [1.0] * x.rank, list(old)
    given = ratios if sizes is None else sizes
    if given is None or len(given) != len(axes):
        raise Unreadable("it has neither sizes nor scales for its axes")
    keep = call.attr("keep_aspect_ratio_policy", "stretch")
    if sizes is not None and keep != "stretch":
        each = [n / old[axis] for n, axis in zip(sizes, axes, strict=True)]
        ratio = min(each) if keep == "not_larger" else max(each)
        sizes = [math.floor(ratio * old[axis] + 0.5) for axis in axes]
    for i, axis in enumerate(axes):
        if sizes is not None:
            all_sizes[axis] = sizes[i]
            all_ratios[axis] = sizes[i] / old[axis]
        else:
            assert ratios is not None
            all_ratios[axis] = ratios[i]
            # A ratio such as 1.2 is stored as float32; the size is that of the exact product.
            all_sizes[axis] = math.floor(float(np.float32(ratios[i])) * old[axis])
    if tuple(all_sizes[:2]) != tuple(old[:2]):
        raise Unreadable("it resizes the batch or the channels")
    mode = call.attr("mode", "nearest")
    return layers.resize(
        b,
        x,
        all_sizes[2:],
        "linear" if mode in ("linear", "bilinear") else mode,
        coordinates,
        rounding,
        all_ratios[2:] if sizes is None else None,
        float(call.attr("cubic_coeff_a", -0.75)),
        bool(call.attr("antialias", 0)),
    )
