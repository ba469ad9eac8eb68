"""Normalizations. The channel axis is the first one after the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import Bool, Float, Int, attr
from ..types import TensorType
from .base import ONES, ZEROS, Op, ParamSpec, ShapeError, register


def _scale_and_shift(shape: tuple[int, ...]) -> tuple[ParamSpec, ...]:
    return ParamSpec("weight", shape, ONES), ParamSpec("bias", shape, ZEROS)


def _require_rank(op: Op, x: TensorType, least: int, what: str) -> None:
    if x.rank < least:
        raise ShapeError(f"`{op.name}` takes a tensor with {what}, not {x}")


@register
@dataclass(frozen=True)
class BatchNorm(Op):
    """Per channel: (x - mean) / sqrt(var + eps) · weight + bias, over batch and space.

    Training uses the batch's statistics and moves the running ones; evaluation uses the latter.
    """

    name: ClassVar[str] = "batch_norm"
    per_channel: ClassVar[bool] = True

    eps: float = attr(Float(0.0, open=True), 1e-5, doc="added to the variance")
    momentum: float = attr(Float(0.0), 0.1, doc="share of the batch in the running statistics")
    affine: bool = attr(Bool(), True, doc="whether it has a learned scale and shift")

    def infer(self, *operands: TensorType) -> TensorType:
        _require_rank(self, operands[0], 1, "a channel axis")
        if operands[0].rank > 4:
            raise ShapeError(f"`batch_norm` takes at most 4 axes, not {operands[0]}")
        return operands[0]

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        channels = operands[0].shape[:1]
        return (
            *(_scale_and_shift(channels) if self.affine else ()),
            ParamSpec("running_mean", channels, ZEROS, trainable=False),
            ParamSpec("running_var", channels, ONES, trainable=False),
        )


@register
@dataclass(frozen=True)
class LayerNorm(Op):
    """Over the last ``dims`` axes of each example: (x - mean) / sqrt(var + eps) · weight + bias."""

    name: ClassVar[str] = "layer_norm"

    dims: int = attr(Int(1), 1, doc="how many of the last axes are normalized together")
    eps: float = attr(Float(0.0, open=True), 1e-5, doc="added to the variance")
    affine: bool = attr(Bool(), True, doc="whether it has a learned scale and shift")
    bias: bool = attr(Bool(), True, doc="whether there is a shift beside the scale")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.rank < self.dims:
            raise ShapeError(f"`layer_norm(dims={self.dims})` needs {self.dims} axes, not {x}")
        return x

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        if not self.affine:
            return ()
        scale, shift = _scale_and_shift(operands[0].shape[-self.dims :])
        return (scale, shift) if self.bias else (scale,)


@register
@dataclass(frozen=True)
class GroupNorm(Op):
    """Per example and group of channels: normalize over the group and space; scale per channel."""

    name: ClassVar[str] = "group_norm"

    groups: int = attr(Int(1), doc="number of groups; divides the channels")
    eps: float = attr(Float(0.0, open=True), 1e-5, doc="added to the variance")
    affine: bool = attr(Bool(), True, doc="whether it has a learned scale and shift")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        _require_rank(self, x, 1, "a channel axis")
        if x.shape[0] % self.groups:
            raise ShapeError(
                f"`group_norm(groups={self.groups})` does not divide the {x.shape[0]} channels"
            )
        if x.size == self.groups:
            raise ShapeError(
                f"`group_norm(groups={self.groups})` of {x} would normalize single numbers, "
                "which gives zeros",
                "use fewer groups",
            )
        return x

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        return _scale_and_shift(operands[0].shape[:1]) if self.affine else ()


@register
@dataclass(frozen=True)
class InstanceNorm(Op):
    """Per example and channel: normalize over space; scale per channel."""

    name: ClassVar[str] = "instance_norm"
    per_channel: ClassVar[bool] = True

    eps: float = attr(Float(0.0, open=True), 1e-5, doc="added to the variance")
    affine: bool = attr(Bool(), True, doc="whether it has a learned scale and shift")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        _require_rank(self, x, 2, "channels and at least one spatial axis")
        if x.rank > 4:
            raise ShapeError(f"`instance_norm` takes at most 4 axes, not {x}")
        if x.size == x.shape[0]:
            raise ShapeError(
                f"`instance_norm` of {x} would normalize single numbers, which gives zeros"
            )
        return x

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        return _scale_and_shift(operands[0].shape[:1]) if self.affine else ()


@register
@dataclass(frozen=True)
class RmsNorm(Op):
    """Over the last ``dims`` axes of each example: x / sqrt(mean(x²) + eps) · weight."""

    name: ClassVar[str] = "rms_norm"

    dims: int = attr(Int(1), 1, doc="how many of the last axes are normalized together")
    eps: float = attr(Float(0.0), 1e-5, doc="added to the mean square")
    affine: bool = attr(Bool(), True, doc="whether it has a learned scale")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.rank < self.dims:
            raise ShapeError(f"`rms_norm(dims={self.dims})` needs {self.dims} axes, not {x}")
        return x

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        shape = operands[0].shape[-self.dims :]
        return (ParamSpec("weight", shape, ONES),) if self.affine else ()


@register
@dataclass(frozen=True)
class LocalResponseNorm(Op):
    """x / (bias + alpha/size · Σ x² over ``size`` neighbouring channels)^beta

    The neighbours of channel c are c - floor((size - 1)/2) to c + ceil((size - 1)/2), as in ONNX.
    """

    name: ClassVar[str] = "local_response_norm"

    size: int = attr(Int(1), doc="number of neighbouring channels that are summed")
    alpha: float = attr(Float(), 1e-4, doc="factor of the mean square")
    beta: float = attr(Float(), 0.75, doc="exponent")
    bias: float = attr(Float(), 1.0, doc="added to the mean square")

    def infer(self, *operands: TensorType) -> TensorType:
        _require_rank(self, operands[0], 2, "channels and at least one more axis")
        return operands[0]


Norm = BatchNorm | LayerNorm | GroupNorm | InstanceNorm
NORMS: tuple[type[Any], ...] = (BatchNorm, LayerNorm, GroupNorm, InstanceNorm)
