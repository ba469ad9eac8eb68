"""Reductions: one number for all that lies along some axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import MAX_INT, Bool, Ints, attr
from ..types import TensorType
from .base import Op, ShapeError, axis_index, register


@dataclass(frozen=True)
class Reduction(Op):
    """One number for all that lies along ``axes``."""

    axes: Any = attr(Ints(-MAX_INT), doc="the axes to reduce; 0 is the channels, -1 the last")
    keep: bool = attr(Bool(), False, doc="whether they stay, with size 1")

    def reduced(self, x: TensorType) -> tuple[int, ...]:
        """The axes, counted from 0, in order. Raises :class:`ShapeError` if ``x`` lacks one."""
        axes = sorted(axis_index(self, axis, x) for axis in self.axes)
        if not axes or len(set(axes)) < len(axes):
            raise ShapeError(
                f"`{self.name}({list(self.axes)})` must name at least one axis of {x}, each once"
            )
        return tuple(axes)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        axes = self.reduced(x)
        if self.keep:
            return x.with_shape(*(1 if i in axes else n for i, n in enumerate(x.shape)))
        return x.with_shape(*(n for i, n in enumerate(x.shape) if i not in axes))


@register
@dataclass(frozen=True)
class ReduceMean(Reduction):
    """Mean along some axes."""

    name: ClassVar[str] = "reduce_mean"


@register
@dataclass(frozen=True)
class ReduceSum(Reduction):
    """Sum along some axes."""

    name: ClassVar[str] = "reduce_sum"


@register
@dataclass(frozen=True)
class ReduceProd(Reduction):
    """Product along some axes."""

    name: ClassVar[str] = "reduce_prod"


@register
@dataclass(frozen=True)
class ReduceMax(Reduction):
    """Largest number along some axes."""

    name: ClassVar[str] = "reduce_max"


@register
@dataclass(frozen=True)
class ReduceMin(Reduction):
    """Smallest number along some axes."""

    name: ClassVar[str] = "reduce_min"


@register
@dataclass(frozen=True)
class ReduceL1(Reduction):
    """Sum of |x| along some axes."""

    name: ClassVar[str] = "reduce_l1"


@register
@dataclass(frozen=True)
class ReduceL2(Reduction):
    """Square root of the sum of x² along some axes."""

    name: ClassVar[str] = "reduce_l2"


@register
@dataclass(frozen=True)
class ReduceLogSumExp(Reduction):
    """log Σ exp(x) along some axes."""

    name: ClassVar[str] = "reduce_log_sum_exp"
