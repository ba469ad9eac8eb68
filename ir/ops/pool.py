"""Poolings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import Bool, Int, Optional, Padding, Pads, PerAxis, attr
from ..types import TensorType
from .base import Op, ShapeError, register, require_spatial
from .window import resolve_padding, window_output


@dataclass(frozen=True)
class Pool(Op):
    """A sliding window over each channel."""

    rank: ClassVar[int]
    per_channel: ClassVar[bool] = True

    kernel: Any = attr(PerAxis(1), 2, doc="window size")
    stride: Any = attr(Optional(PerAxis(1)), None, doc="step of the window; the kernel if left out")
    padding: Any = attr(Padding(), "valid", doc='border: "same", "valid" or numbers')

    @property
    def window_dilation(self) -> tuple[int, ...]:
        return (1,) * self.rank

    @property
    def step(self) -> tuple[int, ...]:
        """The stride in force: the kernel's size where none was given."""
        return self.stride or self.kernel  # type: ignore[no-any-return]

    @property
    def pads(self) -> Pads:
        """Begin and end padding of every spatial axis, in numbers."""
        return resolve_padding(self.padding, self.kernel, self.window_dilation)

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_spatial(self, x, self.rank)
        for k, d, pads in zip(self.kernel, self.window_dilation, self.pads, strict=True):
            if max(pads) > d * (k - 1):
                raise ShapeError(
                    f"`{self.name}` pads by {max(pads)}, so that windows of {d * (k - 1) + 1} "
                    "would lie in the padding alone",
                    "pad by less than the window's size",
                )
        spatial = window_output(
            self.name, x.shape[1:], self.kernel, self.step, self.pads, self.window_dilation
        )
        axes = zip(
            x.shape[1:],
            spatial,
            self.kernel,
            self.step,
            self.window_dilation,
            self.pads,
            strict=True,
        )
        if any(_misses_all(*axis) for axis in axes):
            raise ShapeError(
                f"a window of `{self.name}` would have all its taps in the padding of {x}",
                "dilate or pad less",
            )
        return x.with_shape(x.shape[0], *spatial)


def _misses_all(
    size: int, count: int, kernel: int, step: int, dilation: int, pads: tuple[int, int]
) -> bool:
    """Whether some window along an axis reads nothing but padding, over and between its taps."""
    if dilation == 1 or pads == (0, 0):
        return False  # a window without gaps that is larger than the padding always reads something
    starts = (i * step - pads[0] for i in range(count))
    return any(
        all(not 0 <= start + tap * dilation < size for tap in range(kernel)) for start in starts
    )


@dataclass(frozen=True)
class MaxPool(Pool):
    """Largest number under the window; the border counts as minus infinity."""

    dilation: Any = attr(PerAxis(1), 1, doc="distance between the window's taps")

    @property
    def window_dilation(self) -> tuple[int, ...]:
        return self.dilation  # type: ignore[no-any-return]


@register
@dataclass(frozen=True)
class MaxPool1d(MaxPool):
    """Largest number under a window along one spatial axis."""

    name: ClassVar[str] = "max_pool1d"
    rank: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class MaxPool2d(MaxPool):
    """Largest number under a window over two spatial axes."""

    name: ClassVar[str] = "max_pool2d"
    rank: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class MaxPool3d(MaxPool):
    """Largest number under a window over three spatial axes."""

    name: ClassVar[str] = "max_pool3d"
    rank: ClassVar[int] = 3


@dataclass(frozen=True)
class AvgPool(Pool):
    """Mean of the numbers under the window."""

    include_pad: bool = attr(Bool(), True, doc="whether the border counts, as zeros")


@register
@dataclass(frozen=True)
class AvgPool1d(AvgPool):
    """Mean under a window along one spatial axis."""

    name: ClassVar[str] = "avg_pool1d"
    rank: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class AvgPool2d(AvgPool):
    """Mean under a window over two spatial axes."""

    name: ClassVar[str] = "avg_pool2d"
    rank: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class AvgPool3d(AvgPool):
    """Mean under a window over three spatial axes."""

    name: ClassVar[str] = "avg_pool3d"
    rank: ClassVar[int] = 3


@dataclass(frozen=True)
class LpPool(Pool):
    """(Σ |x|^p)^(1/p) of the numbers under the window; the border counts as zeros."""

    p: int = attr(Int(1), 2, doc="the exponent")


@register
@dataclass(frozen=True)
class LpPool1d(LpPool):
    """p-norm under a window along one spatial axis."""

    name: ClassVar[str] = "lp_pool1d"
    rank: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class LpPool2d(LpPool):
    """p-norm under a window over two spatial axes."""

    name: ClassVar[str] = "lp_pool2d"
    rank: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class LpPool3d(LpPool):
    """p-norm under a window over three spatial axes."""

    name: ClassVar[str] = "lp_pool3d"
    rank: ClassVar[int] = 3


@dataclass(frozen=True)
class AdaptivePool(Op):
    """Pooling to a fixed output size: window i spans floor(i·n/m) to ceil((i+1)·n/m)."""

    rank: ClassVar[int]
    per_channel: ClassVar[bool] = True

    output: Any = attr(PerAxis(1), 1, doc="spatial size of the result")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_spatial(self, x, self.rank)
        return x.with_shape(x.shape[0], *self.output)

    def windows(self, x: TensorType) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For every spatial axis, the (start, stop) of each window."""
        return tuple(
            tuple((i * n // m, -(-(i + 1) * n // m)) for i in range(m))
            for n, m in zip(x.shape[1:], self.output, strict=True)
        )


@dataclass(frozen=True)
class AdaptiveAvgPool(AdaptivePool):
    """Mean of each window."""


@dataclass(frozen=True)
class AdaptiveMaxPool(AdaptivePool):
    """Largest number of each window."""


@register
@dataclass(frozen=True)
class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """Means over windows chosen to give the wanted length."""

    name: ClassVar[str] = "adaptive_avg_pool1d"
    rank: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """Means over windows chosen to give the wanted height and width."""

    name: ClassVar[str] = "adaptive_avg_pool2d"
    rank: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """Means over windows chosen to give the wanted depth, height and width."""

    name: ClassVar[str] = "adaptive_avg_pool3d"
    rank: ClassVar[int] = 3


@register
@dataclass(frozen=True)
class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """Largest numbers over windows chosen to give the wanted length."""

    name: ClassVar[str] = "adaptive_max_pool1d"
    rank: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """Largest numbers over windows chosen to give the wanted height and width."""

    name: ClassVar[str] = "adaptive_max_pool2d"
    rank: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """Largest numbers over windows chosen to give the wanted depth, height and width."""

    name: ClassVar[str] = "adaptive_max_pool3d"
    rank: ClassVar[int] = 3


@dataclass(frozen=True)
class GlobalPool(Op):
    """One number for every channel."""

    per_channel: ClassVar[bool] = True

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if not 2 <= x.rank <= 4:
            raise ShapeError(f"`{self.name}` takes channels and 1 to 3 spatial axes, not {x}")
        return x.with_shape(x.shape[0], *(1,) * (x.rank - 1))


@register
@dataclass(frozen=True)
class GlobalAvgPool(GlobalPool):
    """Mean of each channel; spatial axes stay, with size 1."""

    name: ClassVar[str] = "global_avg_pool"


@register
@dataclass(frozen=True)
class GlobalMaxPool(GlobalPool):
    """Largest number of each channel; spatial axes stay, with size 1."""

    name: ClassVar[str] = "global_max_pool"


@register
@dataclass(frozen=True)
class GlobalLpPool(GlobalPool):
    """(Σ |x|^p)^(1/p) of each channel; spatial axes stay, with size 1."""

    name: ClassVar[str] = "global_lp_pool"

    p: int = attr(Int(1), 2, doc="the exponent")
