"""Modules that PyTorch does not have as they are needed: convolutions with asymmetric padding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class _PadFirst(nn.Module):
    """Mixed into a convolution: zeros around the input first, as PyTorch's own are symmetric."""

    border: tuple[int, ...]

    def __init__(self, *args: Any, border: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.border = border

    def forward(self, x: Tensor) -> Any:
        return super().forward(F.pad(x, self.border))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, border={self.border}"


class PaddedConv1d(_PadFirst, nn.Conv1d):
    """``nn.Conv1d`` after padding by ``border``, in the order of ``F.pad``."""


class PaddedConv2d(_PadFirst, nn.Conv2d):
    """``nn.Conv2d`` after padding by ``border``, in the order of ``F.pad``."""


class PaddedConv3d(_PadFirst, nn.Conv3d):
    """``nn.Conv3d`` after padding by ``border``, in the order of ``F.pad``."""
