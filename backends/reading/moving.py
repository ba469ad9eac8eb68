"""Operations on foreign tensors that move numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from ...ir import ops
from .builder import Builder
from .operations import Tensor, bound, in_range
from .values import Bound, Const, Unreadable, shown


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
