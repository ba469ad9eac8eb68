"""Ops that change the resolution of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import Bool, Choice, Float, Floats, Int, Ints, Optional, attr
from ..types import TensorType
from .base import Op, ShapeError, checked, register, require_spatial


@register
@dataclass(frozen=True)
class Resize(Op):
    """Each channel sampled anew at another resolution.

    The place of result i on an axis of n numbers that becomes m, with the ratio r = m/n (or
    ``scale`` where that is given, as ONNX and PyTorch compute with it; 1.6666666 means 5/3):

    - ``half_pixel``: (i + 0.5)/r - 0.5; ``pytorch_half_pixel``: the same, 0 where m is 1
    - ``asymmetric``: i/r
    - ``align_corners``: i·(n - 1)/(m - 1), 0 where m is 1

    ``nearest`` takes the number at that place rounded as ``rounding`` says; ``linear`` and
    ``cubic`` interpolate between the 2 or 4 nearest along each axis, with ``antialias`` between
    1/r times as many where r is below 1; outside of the tensor are copies of its border.
    """

    name: ClassVar[str] = "resize"
    per_channel: ClassVar[bool] = True

    size: Any = attr(Ints(1), doc="new sizes of the spatial axes")
    mode: str = attr(Choice(("nearest", "linear", "cubic")), "nearest", doc="how to interpolate")
    coordinates: str = attr(
        Choice(("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")),
        "asymmetric",
        doc="which places are sampled",
    )
    rounding: str = attr(
        Choice(("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")),
        "floor",
        doc="which neighbour nearest takes",
    )
    scale: Any = attr(
        Optional(Floats()), None, doc="ratios of the axes; new by old size if not given"
    )
    cubic: float = attr(Float(), -0.75, doc="coefficient of cubic interpolation")
    antialias: bool = attr(Bool(), False, doc="whether linear and cubic filters widen to shrink")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.rank != len(self.size) + 1:
            raise ShapeError(
                f"`resize({list(self.size)})` takes channels and {len(self.size)} spatial axes, "
                f"not {x}",
                "give one size for every axis after the channels",
            )
        return checked(x.with_shape(x.shape[0], *self.size))


@dataclass(frozen=True)
class Blocks(Op):
    """Moves blocks of numbers between the channels and two spatial axes."""

    block: int = attr(Int(1), doc="height and width of a block")

    def require_divisor(self, divisor: int, number: int, what: str) -> None:
        if number % divisor:
            raise ShapeError(f"`{self.name}({self.block})` does not divide {what} of {number}")


@register
@dataclass(frozen=True)
class DepthToSpace(Blocks):
    """Groups of block² channels become block×block numbers each (sub-pixel convolution)."""

    name: ClassVar[str] = "depth_to_space"

    order: str = attr(
        Choice(("crd", "dcr")),
        "crd",
        doc="channels of one result are neighbours (crd, PyTorch's pixel_shuffle) or lie apart",
    )

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_spatial(self, x, 2)
        self.require_divisor(self.block**2, x.shape[0], "the channels")
        channels, height, width = x.shape
        return x.with_shape(channels // self.block**2, height * self.block, width * self.block)


@register
@dataclass(frozen=True)
class SpaceToDepth(Blocks):
    """Blocks of block×block numbers become channels: the inverse of depth_to_space."""

    name: ClassVar[str] = "space_to_depth"

    order: str = attr(
        Choice(("crd", "dcr")),
        "crd",
        doc="channels of one block are neighbours (crd, PyTorch's pixel_unshuffle) or lie apart",
    )

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        require_spatial(self, x, 2)
        for what, size in (("the height", x.shape[1]), ("the width", x.shape[2])):
            self.require_divisor(self.block, size, what)
        channels, height, width = x.shape
        return x.with_shape(channels * self.block**2, height // self.block, width // self.block)
