"""Operations on foreign tensors that both readers know: arithmetic, shapes, reductions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import Op, ops
from .builder import Builder
from .values import Bound, Const, Unreadable, same_slices, shown

Tensor = Bound | Const


def bound(b: Builder, x: Any, what: str = "operand") -> Bound:
    """``x`` as the result of a node."""
    if isinstance(x, Bound):
        return x
    if isinstance(x, Const):
        return b.free(x)
    raise Unreadable(f"its {what} is missing")


def const(x: Any, what: str) -> Const:
    """``x`` if its numbers are known. Raises :class:`Unreadable`."""
    if not isinstance(x, Const):
        raise Unreadable(f"its {what} must be a constant, but is computed from the input")
    return x


def in_range(axis: int, rank: int) -> int:
    """The axis, counted from the front. Raises :class:`Unreadable`."""
    if not -rank <= axis < rank:
        raise Unreadable(f"axis {axis} is out of range for {rank} axes")
    return axis % rank


# ---- element by element


def elementwise(b: Builder, op: Op, x: Tensor) -> Bound:
    """A function of each number."""
    source = bound(b, x)
    return replace(source, node=b.add(op, (source.node,)), dtype="f32")


def to_float(b: Builder, x: Bound) -> Bound:
    """Whole numbers as f32."""
    if x.dtype == "f32":
        return x
    return replace(x, node=b.add(ops.ToFloat(), (x.node,)), dtype="f32")


def scale(b: Builder, x: Tensor, factor: float, offset: float = 0.0) -> Bound:
    """factor·x + offset, by constants."""
    if factor == 1.0 and offset == 0.0:
        return bound(b, x)
    return elementwise(b, b.make(ops.Scale, float(factor), float(offset)), x)


def add(b: Builder, x: Tensor, y: Tensor) -> Bound:
    for one, other in ((x, y), (y, x)):
        if _fits_scalar(one, other):
            return scale(b, one, 1.0, other.number())  # type: ignore[union-attr]
    return b.broadcast(ops.Add(), (x, y))


def sub(b: Builder, x: Tensor, y: Tensor) -> Bound:
    if _fits_scalar(x, y):
        return scale(b, x, 1.0, -y.number())  # type: ignore[union-attr]
    if _fits_scalar(y, x):
        return scale(b, y, -1.0, x.number())  # type: ignore[union-attr]
    return b.broadcast(ops.Sub(), (x, y))


def mul(b: Builder, x: Tensor, y: Tensor) -> Bound:
    for one, other in ((x, y), (y, x)):
        if _fits_scalar(one, other):
            return scale(b, one, other.number())  # type: ignore[union-attr]
    return b.broadcast(ops.Mul(), (x, y))


def div(b: Builder, x: Tensor, y: Tensor) -> Bound:
    if _fits_scalar(x, y) and y.number() != 0:  # type: ignore[union-attr]
        return scale(b, x, 1.0 / y.number())  # type: ignore[union-attr]
    if _fits_scalar(y, x):
        return scale(b, elementwise(b, ops.Reciprocal(), y), x.number())  # type: ignore[union-attr]
    if isinstance(y, Const) and not y.trainable and np.all(y.array):
        inverse = 1.0 / np.asarray(y.array, np.float64)
        return mul(b, x, Const(inverse.astype(np.float32)))
    return b.broadcast(ops.Div(), (x, y))


def power(b: Builder, x: Tensor, y: Tensor) -> Bound:
    if _fits_scalar(x, y):
        exponent = y.number()  # type: ignore[union-attr]
        special = {1.0: ops.Identity, 0.5: ops.Sqrt, -1.0: ops.Reciprocal}
        if exponent in special:
            return elementwise(b, special[exponent](), x)
        return elementwise(b, b.make(ops.Power, exponent), x)
    return b.broadcast(ops.Pow(), (x, y))


def _fits_scalar(x: Tensor, y: Tensor) -> bool:
    """Whether ``y`` is one number that leaves the shape of ``x`` as it is."""
    return (
        isinstance(x, Bound)
        and isinstance(y, Const)
        and y.is_scalar
        and y.array.ndim <= x.rank
        and math.isfinite(y.number())
    )


def clip(b: Builder, x: Tensor, low: float | None, high: float | None) -> Bound:
    """min(max(x, low), high), limits left out where they are infinite."""
    low = None if low is None or low <= -3.4e38 else low
    high = None if high is None or high >= 3.4e38 else high
    if low is None and high is None:
        return bound(b, x)
    if low == 0 and high is None:
        return elementwise(b, ops.Relu(), x)
    return elementwise(b, b.make(ops.Clip, low, high), x)


def extreme(b: Builder, kind: type[Op], values: Sequence[Tensor]) -> Bound:
    """Minimum or maximum of several tensors, some perhaps single numbers."""
    rest = [v for v in values if isinstance(v, Bound)]
    others = [v for v in values if not any(_fits_scalar(x, v) for x in rest)]
    numbers = [v.number() for v in values if v not in others]  # type: ignore[union-attr]
    fold = min if kind is ops.Minimum else max
    result = bound(b, others[0]) if len(others) == 1 else b.broadcast(kind(), others)
    if not numbers:
        return result
    limit = fold(numbers)
    return clip(b, result, None, limit) if fold is min else clip(b, result, limit, None)


NEVER = -1e9
"""A score of this or less has no weight in a softmax."""


def where(b: Builder, condition: Tensor, x: Tensor, y: Tensor) -> Bound:
    """x where the condition holds, else y."""
    return b.broadcast(ops.Where(), (condition, x, y))


LOWEST = float(np.finfo(np.float32).min)


def mask(kept: Any) -> Const:
    """0 where a score is kept, float32's least number where it is not: -inf has no exact proof."""
    return Const(np.where(kept, np.float32(0), np.float32(LOWEST)))


# ---- functions along axes


def along(b: Builder, cls: type[Op], x: Tensor, axis: int) -> Bound:
    """Softmax or log-softmax along one axis."""
    source = bound(b, x)
    index = source.axis(axis)
    last = index == len(source.shape) - 1
    return b.like(source, b.add(b.make(cls, -1 if last else index), (source.node,)))


def reduce(b: Builder, cls: type[Op], x: Tensor, axes: Sequence[int], keep: bool) -> Bound:
    """A reduction along axes of the foreign tensor."""
    source = bound(b, x)
    real = sorted({in_range(axis, source.rank) for axis in axes})
    if not real:
        return source
    inner = [source.axis(axis) for axis in real]
    node = b.add(b.make(cls, inner, keep), (source.node,))
    batch = source.batch
    if batch is not None and not keep:
        batch -= sum(axis < batch for axis in real)
    return replace(source, node=node, shape=b.type_of(node).shape, batch=batch)


# ---- moving numbers


def expand(b: Builder, x: Tensor, shape: Sequence[int]) -> Bound:
    """Repeat axes of size 1 to a larger shape, as broadcasting does; -1 leaves an axis."""
    target = list(shape)
    rank = len(x.shape) if isinstance(x, Const) else x.rank
    real = x.shape if isinstance(x, Const) else x.real(b.batch)
    padded = (1,) * (len(target) - rank) + tuple(real)
    target += padded[len(target) :] if len(target) < len(padded) else ()
    whole = [p if t == -1 else max(p, t) for p, t in zip(padded, target, strict=True)]
    if isinstance(x, Const) or x.batch is None:
        at = next((i for i, n in enumerate(whole) if n == b.batch and padded[i] == 1), None)
        if at is not None:
            return _with_batch(b, x, at, whole, padded)
    source = bound(b, x)
    if tuple(whole) == source.real(b.batch):
        return source
    if source.batch is None:
        node = b.add(b.make(ops.Expand, whole), (source.node,))
        return Bound(node, tuple(whole), None)
    new = len(target) - rank
    front = source.batch + new
    merged = source.shape[source.batch : source.batch + source.before + source.after]
    inner = (*whole[:front], *merged, *whole[front + 1 :])
    if new and any(n > 1 for n in whole[:new]):
        raise Unreadable("it puts new axes in front of the batch")
    node = source.node
    if inner != source.shape:
        node = b.add(b.make(ops.Expand, inner), (node,))
    return replace(source, node=node, shape=tuple(inner), batch=front)


def _with_batch(
    b: Builder, x: Tensor, at: int, whole: Sequence[int], padded: Sequence[int]
) -> Bound:
    """A tensor without a batch repeated for each example."""
    like = Bound("", (1,) * (len(whole) - 1), at)
    if isinstance(x, Const):
        node = b.spread(x, like)
    else:
        wide = b.add(b.make(ops.Reshape, padded), (x.node,)) if padded != x.shape else x.node
        node = b.beside(Bound(wide, tuple(padded), None), like)
    inner = (*whole[:at], *whole[at + 1 :])
    if b.type_of(node).shape != inner:
        node = b.add(b.make(ops.Expand, inner), (node,))
    return Bound(node, inner, at)


def concat(b: Builder, values: Sequence[Tensor], axis: int) -> Bound:
    """Tensors one after another along an axis of the foreign tensors."""
    layout, _ = _first_batched(b, values)
    index = layout.axis(axis)
    nodes = []
    for value in values:
        if isinstance(value, Const):
            nodes.append(_filling(b, b.spread(value, layout), layout, index))
        elif value.batch is None:
            nodes.append(_filling(b, b.beside(value, layout), layout, index))
        elif (value.batch, value.before, value.after) != (
            layout.batch,
            layout.before,
            layout.after,
        ):
            raise Unreadable("its operands have their batch at different axes")
        else:
            nodes.append(value.node)
    if len(nodes) == 1:
        return layout
    return b.like(layout, b.add(b.make(ops.Concat, index), nodes))


def _filling(b: Builder, node: str, like: Bound, axis: int) -> str:
    """A node without a batch, as large as ``like`` along all axes but one."""
    shape = b.type_of(node).shape
    padded = (1,) * (len(like.shape) - len(shape)) + shape
    wanted = (*like.shape[:axis], padded[axis], *like.shape[axis + 1 :])
    return node if shape == wanted else b.add(b.make(ops.Expand, wanted), (node,), main=False)


def _first_batched(b: Builder, values: Sequence[Tensor]) -> tuple[Bound, int]:
    for index, value in enumerate(values):
        if isinstance(value, Bound) and value.batch is not None:
            return value, index
    return bound(b, values[0]), 0


ENDLESS = 2**31 - 1
"""What exporters write for the end of any axis; also larger numbers."""


def cut(b: Builder, x: Tensor, axis: int, start: int, stop: int | None, step: int = 1) -> Bound:
    """Elements of one axis, bounds as in Python's slices."""
    source = bound(b, x)
    axis = in_range(axis, source.rank)
    size = source.real(b.batch)[axis]
    numbers = range(*slice(start, stop, step).indices(size))
    if source.batch is not None and axis % source.rank == source.batch:
        # An end of 1000 takes all of a smaller batch, but not of any.
        if start in (0, -size) and (stop in (None, size) or stop >= ENDLESS) and step == 1:
            return source
        raise Unreadable("it takes a part of the batch")
    index = source.axis(axis)
    if not len(numbers):
        raise Unreadable("it takes no element of an axis")
    if numbers == range(size):
        return source
    if numbers.step > 0:
        end = numbers[-1] + 1
        end = size if len(range(numbers.start, size, numbers.step)) == len(numbers) else end
        op = b.make(ops.Slice, numbers.start, None if end == size else end, index, numbers.step)
    else:
        op = b.make(ops.Gather, list(numbers), index)
    return b.like(source, b.add(op, (source.node,)))


def take(b: Builder, x: Tensor, axis: int, indices: Sequence[int]) -> Bound:
    """Elements of one axis by their numbers."""
    source = bound(b, x)
    axis = in_range(axis, source.rank)
    size = source.real(b.batch)[axis]
    if any(not -size <= i < size for i in indices):
        raise Unreadable(f"an index is out of range for an axis of size {size}")
    wanted = [i % size for i in indices]
    steps = {j - i for i, j in itertools.pairwise(wanted)} or {1}
    if len(steps) == 1 and min(steps) > 0:
        return cut(b, x, axis, wanted[0], wanted[-1] + 1, steps.pop())
    return b.like(source, b.add(b.make(ops.Gather, wanted, source.axis(axis)), (source.node,)))


def squeeze(b: Builder, x: Bound, axes: Sequence[int]) -> Bound:
    """Remove axes of size 1."""
    real = x.real(b.batch)
    gone = {in_range(axis, len(real)) for axis in axes}
    if any(real[axis] != 1 for axis in gone):
        raise Unreadable(f"it removes an axis of {shown(real, b.batch)} whose size is not 1")
    return b.reshape(x, [n for i, n in enumerate(real) if i not in gone])


def unsqueeze(b: Builder, x: Bound, axes: Sequence[int]) -> Bound:
    """Put in axes of size 1 at these places of the result."""
    rank = x.rank + len(axes)
    new = {in_range(axis, rank) for axis in axes}
    rest = iter(x.real(b.batch))
    return b.reshape(x, [1 if i in new else next(rest) for i in range(rank)])


def tile(b: Builder, x: Tensor, repeats: Sequence[int]) -> Bound:
    """The whole tensor repeated along each axis of the foreign tensor."""
    source = bound(b, x)
    new = len(repeats) - source.rank
    if new > 0:
        source = unsqueeze(b, source, range(new))
    inner = [1] * len(source.shape)
    for axis, count in enumerate(repeats):
        if count != 1:
            inner[source.axis(axis)] = count
    if set(inner) <= {1}:
        return source
    return b.like(source, b.add(b.make(ops.Tile, inner), (source.node,)))


def pad(b: Builder, x: Tensor, widths: Sequence[tuple[int, int]], value: float, mode: str) -> Bound:
    """A border around the foreign tensor; negative widths cut off."""
    source = bound(b, x)
    before, after = [0] * len(source.shape), [0] * len(source.shape)
    for axis, (begin, end) in enumerate(widths):
        if begin or end:
            index = source.axis(axis)
            size = source.shape[index]
            if min(begin, end) < 0:
                source = cut(b, source, axis, max(0, -begin), size - max(0, -end))
            before[index], after[index] = max(0, begin), max(0, end)
    if not any(before) and not any(after):
        return source
    op = b.make(
        ops.Pad,
        before if any(before) else None,
        after if any(after) else None,
        value if mode == "constant" else 0.0,
        mode,
    )
    return b.like(source, b.add(op, (source.node,)))


# ---- products


def linear(b: Builder, x: Tensor, weight: Const, bias: Const | None = None) -> Bound:
    """W·x + b along the last axis; ``weight`` is [features, inputs]."""
    source = bound(b, x)
    source.axis(-1)  # not the batch
    if b.is_turned(weight):  # tied to a layer that has it the other way round
        stored = weight.with_array(weight.array.T, transposed=True)
        product = matmul(b, source, b.free(stored))
        return product if bias is None else add(b, product, bias)
    params = {"weight": weight} | ({} if bias is None else {"bias": bias})
    op = b.make(ops.Linear, weight.shape[0], bias is not None)
    if weight.array.ndim != 2 or weight.shape[1] != source.shape[-1]:
        raise Unreadable(
            f"a matrix of shape {list(weight.shape[::-1])} does not fit {list(source.shape)}"
        )
    if bias is not None and bias.shape != (weight.shape[0],):
        raise Unreadable(f"a bias of shape {list(bias.shape)} does not fit the matrix")
    return b.like(source, b.add(op, (source.node,), params))


def matmul(b: Builder, x: Tensor, y: Tensor) -> Bound:
    """The matrix product of numpy and ONNX."""
    if isinstance(y, Const) and y.array.ndim == 2 and isinstance(x, Bound) and not y.origin:
        return linear(b, x, y.with_array(y.array.T, transposed=True))
    if isinstance(y, Const) and y.array.ndim == 1 and isinstance(x, Bound):
        return squeeze(b, matmul(b, x, y.viewed(y.array[:, None])), [-1])
    if isinstance(y, Const) and _batched(x) and y.origin is not None:
        alike = y.origin.shape == y.shape[-2:] and set(y.shape[:-2]) == {1}
        if alike and y.array.ndim <= x.rank:  # type: ignore[union-attr]
            return matmul(b, x, y.origin)
    if isinstance(y, Bound) and y.batch is not None and y.behind == 0 and not _batched(x):
        return bound(b, turned(b, matmul(b, turned(b, y), turned(b, x))))
    x, y = bound(b, x), bound(b, y)
    if x.batch is not None and x.behind == 1 and y.batch is None and y.rank >= 2:
        return _rows(b, x, y)
    if min(x.rank, y.rank) < 2:
        raise Unreadable("it multiplies a vector that is not a constant")
    layout, nodes = b.together((x, y))
    if layout.batch is not None and layout.behind < 2:
        raise Unreadable("it multiplies along the batch axis")
    node = b.add(ops.MatMul(), nodes)
    shape = b.type_of(node).shape
    batch = layout.batch
    if batch is not None:
        batch = len(shape) - layout.before - layout.after - layout.behind
    return replace(layout, node=node, shape=shape, batch=batch)


def _batched(x: Tensor) -> bool:
    return isinstance(x, Bound) and x.batch is not None


def turned(b: Builder, x: Tensor) -> Tensor:
    """The last two axes swapped."""
    if isinstance(x, Const) and x.array.ndim == 2:
        return x.with_array(x.array.T, transposed=True)
    source = bound(b, x)
    rank = source.rank
    return b.transpose(source, [*range(rank - 2), rank - 1, rank - 2])


def _rows(b: Builder, x: Bound, y: Bound) -> Bound:
    """A product whose left rows are the batch, by a matrix that is the same for all of it."""
    assert x.batch is not None
    lead, merged, inner = x.shape[: x.batch], x.shape[x.batch : -1], x.shape[-1]
    rows = b.add(b.make(ops.Reshape, (*lead, math.prod(merged), inner)), (x.node,), main=False)
    node = b.add(ops.MatMul(), (rows, y.node))
    *outer, _, width = b.type_of(node).shape
    shape = (*outer, *merged, width)
    node = b.add(b.make(ops.Reshape, shape), (node,), main=False)
    return replace(x, node=node, shape=shape, batch=len(outer))


def attention(
    b: Builder,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kept: Tensor | None = None,
    *,
    causal: bool = False,
    factor: float | None = None,
    dropout: float = 0.0,
) -> Bound:
    """softmax(factor·q·kᵀ + mask)·v over the last two axes, heads in front of them.

    Made of matrix products; :mod:`tidy` finds the heads and makes one node of it.
    """
    q, k, v = bound(b, q), bound(b, k), bound(b, v)
    turned = b.transpose(k, [*range(k.rank - 2), k.rank - 1, k.rank - 2])
    scores = matmul(b, q, turned)
    scores = scale(b, scores, 1 / math.sqrt(q.shape[-1]) if factor is None else factor)
    if causal:
        rows, columns = scores.shape[-2:]
        scores = add(b, scores, mask(np.tri(rows, columns, dtype=bool)))
    if isinstance(kept, Const) and kept.array.dtype == np.bool_:
        kept = mask(kept.array)
    elif isinstance(kept, Const) and not kept.trainable:
        kept = Const(np.maximum(floats32(kept.array), np.float32(LOWEST)))
    if kept is not None:
        scores = add(b, scores, kept)
    weights = along(b, ops.Softmax, scores, -1)
    if dropout > 0:
        weights = elementwise(b, b.make(ops.Dropout, dropout), weights)
    return matmul(b, weights, v)


def floats32(array: Any) -> Any:
    return np.asarray(array, np.float32)


def embedding(b: Builder, ids: Tensor, table: Const) -> Bound:
    """Rows of a table [count, features] by whole numbers."""
    if isinstance(ids, Const):
        rows = ids.array
        if rows.ndim > 1 and rows.shape[0] == b.batch and same_slices(rows, 0):
            rows = rows[:1]
        flat = [int(i) for i in rows.reshape(-1)]
        taken = take(b, b.free(table), 0, flat)
        return b.reshape(taken, (*rows.shape, table.shape[1]))
    if ids.dtype != "i64":
        raise Unreadable("its indices are not whole numbers")
    op = b.make(ops.Embedding, table.shape[0], table.shape[1])
    node = b.add(op, (ids.node,), {"weight": table})
    return replace(ids, node=node, shape=b.type_of(node).shape, dtype="f32")
