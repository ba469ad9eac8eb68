"""Arithmetic between tensors, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..types import TensorType
from .base import Op, ShapeError, checked, register


@dataclass(frozen=True)
class Broadcasting(Op):
    """Axes are matched from the last one. An axis of size 1, or one that a tensor does not have,
    is repeated to fit the others. The batch is never matched with another axis."""

    def infer(self, *operands: TensorType) -> TensorType:
        first = operands[0]
        shape = first.shape
        for other in operands[1:]:
            if other.shape == shape:
                continue
            joined = broadcast(shape, other.shape)
            if joined is None:
                raise ShapeError(
                    f"`{self.name}` cannot combine {first} and {other}",
                    "the shapes must be equal from the last axis on, or differ only where one of "
                    "them has size 1",
                )
            shape = joined
        return checked(first.with_shape(*shape))


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that two shapes have together, or None if they do not fit."""
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        return None
    return tuple(max(m, n) for m, n in zip(a, b, strict=True))


@register
@dataclass(frozen=True)
class Add(Broadcasting):
    """Sum of two or more tensors: ``a + b``."""

    name: ClassVar[str] = "add"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")
    variadic: ClassVar[bool] = True


@register
@dataclass(frozen=True)
class Sub(Broadcasting):
    """Difference of two tensors: ``a - b``."""

    name: ClassVar[str] = "sub"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class Mul(Broadcasting):
    """Element-wise product of two tensors: ``a * b``."""

    name: ClassVar[str] = "mul"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class Div(Broadcasting):
    """Element-wise quotient of two tensors: ``a / b``."""

    name: ClassVar[str] = "div"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class Pow(Broadcasting):
    """a to the power b, element by element."""

    name: ClassVar[str] = "pow"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class Mod(Broadcasting):
    """Remainder of a / b, with the sign of a (C's fmod)."""

    name: ClassVar[str] = "mod"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class Minimum(Broadcasting):
    """Element-wise smallest of two or more tensors."""

    name: ClassVar[str] = "minimum"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")
    variadic: ClassVar[bool] = True


@register
@dataclass(frozen=True)
class Maximum(Broadcasting):
    """Element-wise largest of two or more tensors."""

    name: ClassVar[str] = "maximum"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")
    variadic: ClassVar[bool] = True


@register
@dataclass(frozen=True)
class Greater(Broadcasting):
    """1 where a > b, else 0."""

    name: ClassVar[str] = "greater"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class GreaterEqual(Broadcasting):
    """1 where a ≥ b, else 0."""

    name: ClassVar[str] = "greater_equal"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class Equal(Broadcasting):
    """1 where a = b, else 0."""

    name: ClassVar[str] = "equal"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@register
@dataclass(frozen=True)
class Where(Broadcasting):
    """a where the condition is not 0, else b."""

    name: ClassVar[str] = "where"
    operands: ClassVar[tuple[str, ...]] = ("condition", "a", "b")
