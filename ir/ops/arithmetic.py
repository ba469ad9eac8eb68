"""Arithmetic between tensors, with broadcasting of axes of size 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..types import TensorType
from .base import Op, ShapeError, checked, register


@dataclass(frozen=True)
class Broadcasting(Op):
    """Operands of the same number of axes; an axis of size 1 is repeated to fit the others."""

    def infer(self, *operands: TensorType) -> TensorType:
        first = operands[0]
        shape = first.shape
        for other in operands[1:]:
            if other.shape == shape:
                continue
            fits = other.rank == len(shape) and all(
                a == b or a == 1 or b == 1 for a, b in zip(shape, other.shape, strict=True)
            )
            if not fits:
                raise ShapeError(
                    f"`{self.name}` cannot combine {first} and {other}",
                    "the shapes must be equal, or differ only where one of them has size 1",
                )
            shape = tuple(max(a, b) for a, b in zip(shape, other.shape, strict=True))
        return checked(first.with_shape(*shape))


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
