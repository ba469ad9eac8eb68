"""Operations on foreign tensors that both readers know: arithmetic, shapes, reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import Op, ops
from .builder import Builder
from .values import Bound, Const, Unreadable

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
