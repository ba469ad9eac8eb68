"""Tensors that do not come from an input, and tensors of whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import Bool, Int, Ints, attr
from ..types import TensorType
from .base import ZEROS, Init, Op, ParamSpec, ShapeError, checked, register


@dataclass(frozen=True)
class Stored(Op):
    """A tensor of the store, the same for every example. Its name is the node's own."""

    operands: ClassVar[tuple[str, ...]] = ()
    init: ClassVar[Init] = ZEROS
    trainable: ClassVar[bool] = False

    shape: Any = attr(Ints(1), doc="sizes of the axes, without the batch")
    batch: bool = attr(
        Bool(), False, doc="whether the stored tensor begins with an axis of size 1 for the batch"
    )

    def infer(self, *operands: TensorType) -> TensorType:
        return checked(TensorType(self.shape))

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        shape = (1, *self.shape) if self.batch else self.shape
        return (ParamSpec("", shape, self.init, self.trainable),)


@register
@dataclass(frozen=True)
class Parameter(Stored):
    """A learned tensor that is the same for every example, such as a position embedding."""

    name: ClassVar[str] = "parameter"
    init: ClassVar[Init] = Init("normal", 0.02)
    trainable: ClassVar[bool] = True


@register
@dataclass(frozen=True)
class Constant(Stored):
    """A tensor that is not learned and the same for every example, such as a mask."""

    name: ClassVar[str] = "constant"


@register
@dataclass(frozen=True)
class Embedding(Op):
    """Row x of a learned table, for every whole number x."""

    name: ClassVar[str] = "embedding"
    takes: ClassVar[tuple[str, ...]] = ("i64",)

    count: int = attr(Int(1), doc="rows of the table: the numbers from 0 to count - 1")
    features: int = attr(Int(1), doc="size of a row: the result's last axis")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.dtype != "i64":
            raise ShapeError(
                f"`embedding` takes whole numbers, not {x}", "declare the input as i64"
            )
        return checked(TensorType((*x.shape, self.features)))

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        return (ParamSpec("weight", (self.count, self.features), Init("normal", 1.0)),)


@register
@dataclass(frozen=True)
class ToFloat(Op):
    """Whole numbers as f32."""

    name: ClassVar[str] = "to_float"
    takes: ClassVar[tuple[str, ...]] = ("f32", "i64")

    def infer(self, *operands: TensorType) -> TensorType:
        return TensorType(operands[0].shape)
