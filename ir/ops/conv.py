"""Convolutions and the linear layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import Bool, Int, Padding, Pads, PerAxis, attr
from ..types import TensorType
from .base import Init, Op, ParamSpec, ShapeError, checked, register, require_spatial
from .window import resolve_padding, window_output


def fan_in_uniform(fan_in: int) -> Init:
    """PyTorch's default for convolutions and linear layers: uniform within ±1/sqrt(fan_in)."""
    return Init("uniform", 1.0 / math.sqrt(fan_in))


def _require_groups(op: Op, groups: int, inputs: int, outputs: int) -> None:
    for what, count in (("input", inputs), ("output", outputs)):
        if count % groups:
            raise ShapeError(
                f"`groups={groups}` does not divide the {count} {what} channels of `{op.name}`"
            )


@dataclass(frozen=True)
class Conv(Op):
    """Cross-correlation with ``channels`` filters over the spatial axes, zero padding."""

    rank: ClassVar[int]
    maskable: ClassVar[bool] = True

    channels: int = attr(Int(1), doc="number of filters: channels of the result")
    kernel: Any = attr(PerAxis(1), 3, doc="window size, for every axis or one for each")
    stride: Any = attr(PerAxis(1), 1, doc="step of the window")
    padding: Any = attr(Padding(), "same", doc='zeros around: "same", "valid" or numbers')
    dilation: Any = attr(PerAxis(1), 1, doc="distance between the window's taps")
    groups: int = attr(Int(1), 1, doc="channel groups that do not see each other")
    bias: bool = attr(Bool(), True, doc="whether a learned constant is added to every channel")

    @property
    def pads(self) -> Pads:
        """Begin and end padding of every spatial axis, in numbers."""
        return resolve_padding(self.padding, self.kernel, self.dilation)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_spatial(self, x, self.rank)
        _require_groups(self, self.groups, x.shape[0], self.channels)
        spatial = window_output(
            self.name, x.shape[1:], self.kernel, self.stride, self.pads, self.dilation
        )
        return checked(x.with_shape(self.channels, *spatial))

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        per_group = operands[0].shape[0] // self.groups
        init = fan_in_uniform(per_group * math.prod(self.kernel))
        weight = ParamSpec("weight", (self.channels, per_group, *self.kernel), init)
        return (weight, ParamSpec("bias", (self.channels,), init)) if self.bias else (weight,)

    def macs(self, operands: tuple[TensorType, ...], result: TensorType) -> int:
        per_group = operands[0].shape[0] // self.groups
        taps = math.prod(int(k) for k in self.kernel)
        return per_group * taps * result.size


@register
@dataclass(frozen=True)
class Conv1d(Conv):
    """Convolution over one spatial axis: [channels, length]."""

    name: ClassVar[str] = "conv1d"
    rank: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class Conv2d(Conv):
    """Convolution over two spatial axes: [channels, height, width]."""

    name: ClassVar[str] = "conv2d"
    rank: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class Conv3d(Conv):
    """Convolution over three spatial axes: [channels, depth, height, width]."""

    name: ClassVar[str] = "conv3d"
    rank: ClassVar[int] = 3


@dataclass(frozen=True)
class ConvTranspose(Op):
    """Transposed convolution: every number of the input adds a window to the result.

    The result has (size - 1)·stride + dilation·(kernel - 1) + 1 + extra - padding numbers along
    an axis. ``padding`` is cut off from it.
    """

    rank: ClassVar[int]
    maskable: ClassVar[bool] = True

    channels: int = attr(Int(1), doc="channels of the result")
    kernel: Any = attr(PerAxis(1), 2, doc="window size, for every axis or one for each")
    stride: Any = attr(PerAxis(1), 2, doc="step of the window in the result")
    padding: Any = attr(Padding(), "valid", doc='cut off around: "same", "valid" or numbers')
    extra: Any = attr(PerAxis(0), 0, doc="numbers added at the end of every axis")
    dilation: Any = attr(PerAxis(1), 1, doc="distance between the window's taps")
    groups: int = attr(Int(1), 1, doc="channel groups that do not see each other")
    bias: bool = attr(Bool(), True, doc="whether a learned constant is added to every channel")

    @property
    def pads(self) -> Pads:
        """What is cut off at the begin and end of every spatial axis, in numbers."""
        return resolve_padding(self.padding, self.kernel, self.dilation)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_spatial(self, x, self.rank)
        _require_groups(self, self.groups, x.shape[0], self.channels)
        sizes = []
        for n, k, s, (begin, end), extra, d in zip(
            x.shape[1:], self.kernel, self.stride, self.pads, self.extra, self.dilation, strict=True
        ):
            if extra >= max(s, d):
                raise ShapeError(
                    f"`{self.name}` has extra={extra}, which must be less than the stride or the "
                    "dilation"
                )
            size = (n - 1) * s + d * (k - 1) + 1 + extra - begin - end
            if size < 1:
                raise ShapeError(f"`{self.name}` cuts off more than there is", "pad less")
            sizes.append(size)
        return checked(x.with_shape(self.channels, *sizes))

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        channels = operands[0].shape[0]
        per_group = self.channels // self.groups
        init = fan_in_uniform(per_group * math.prod(self.kernel))
        weight = ParamSpec("weight", (channels, per_group, *self.kernel), init)
        return (weight, ParamSpec("bias", (self.channels,), init)) if self.bias else (weight,)

    def macs(self, operands: tuple[TensorType, ...], result: TensorType) -> int:
        taps = math.prod(int(k) for k in self.kernel)
        return self.channels // self.groups * taps * operands[0].size


@register
@dataclass(frozen=True)
class ConvTranspose1d(ConvTranspose):
    """Transposed convolution over one spatial axis."""

    name: ClassVar[str] = "conv_transpose1d"
    rank: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class ConvTranspose2d(ConvTranspose):
    """Transposed convolution over two spatial axes."""

    name: ClassVar[str] = "conv_transpose2d"
    rank: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class ConvTranspose3d(ConvTranspose):
    """Transposed convolution over three spatial axes."""

    name: ClassVar[str] = "conv_transpose3d"
    rank: ClassVar[int] = 3


@register
@dataclass(frozen=True)
class Linear(Op):
    """Affine map of the last axis: y = W·x + b."""

    name: ClassVar[str] = "linear"
    maskable: ClassVar[bool] = True

    features: int = attr(Int(1), doc="size of the result's last axis")
    bias: bool = attr(Bool(), True, doc="whether a learned constant is added")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.rank == 0:
            raise ShapeError(f"`linear` takes a tensor with at least one axis, not {x}")
        return checked(x.with_shape(*x.shape[:-1], self.features))

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        fan_in = operands[0].shape[-1]
        init = fan_in_uniform(fan_in)
        weight = ParamSpec("weight", (self.features, fan_in), init)
        return (weight, ParamSpec("bias", (self.features,), init)) if self.bias else (weight,)

    def macs(self, operands: tuple[TensorType, ...], result: TensorType) -> int:
        return operands[0].shape[-1] * result.size
