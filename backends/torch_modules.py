"""Modules that PyTorch does not have as they are needed: convolutions with asymmetric padding,
layers whose parameters have masks, and small ones that hold constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..ir import GrowcError
from ..ir.weights import Mask


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


class _CropAfter(nn.Module):
    """Mixed into a transposed convolution: ``crop`` is cut off the result, in negative numbers in
    the order of ``F.pad``, as PyTorch's own padding is symmetric."""

    crop: tuple[int, ...] | None

    def __init__(self, *args: Any, crop: tuple[int, ...] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.crop = crop

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Any:
        result = super().forward(x)
        return F.pad(result, self.crop) if self.crop else result

    def extra_repr(self) -> str:
        shown = f", crop={self.crop}" if self.crop else ""
        return f"{super().extra_repr()}{shown}"


class CroppedConvTranspose1d(_CropAfter, nn.ConvTranspose1d):
    """``nn.ConvTranspose1d`` with asymmetric padding."""


class CroppedConvTranspose2d(_CropAfter, nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with asymmetric padding."""


class CroppedConvTranspose3d(_CropAfter, nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` with asymmetric padding."""


# ---- masks


class _Masked(nn.Module):
    """Mixed into a layer: it computes with α ⊙ W (ILNAS section 3.1).

    ``weight_mask`` and ``bias_mask`` are α, Boolean, or None where every connection is there. They
    are buffers, so that they move with the module, but no part of the state dict.
    """

    weight_mask: Tensor | None
    bias_mask: Tensor | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("weight_mask", None, persistent=False)
        self.register_buffer("bias_mask", None, persistent=False)

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """α ⊙ W and α ⊙ b."""
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        assert weight is not None
        return _where(self.weight_mask, weight), (
            None if bias is None else _where(self.bias_mask, bias)
        )


def _where(mask: Tensor | None, value: Tensor) -> Tensor:
    # Not a product: 0 · inf would be NaN, in the gradient too.
    return value if mask is None else torch.where(mask, value, 0.0)


class MaskedLinear(_Masked, nn.Linear):
    """``nn.Linear`` with masks."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.effective())


class _MaskedConv(_Masked):
    def forward(self, x: Tensor) -> Any:
        return self._conv_forward(x, *self.effective())  # type: ignore[operator]


class MaskedConv1d(_MaskedConv, nn.Conv1d):
    """``nn.Conv1d`` with masks."""


class MaskedConv2d(_MaskedConv, nn.Conv2d):
    """``nn.Conv2d`` with masks."""


class MaskedConv3d(_MaskedConv, nn.Conv3d):
    """``nn.Conv3d`` with masks."""


class MaskedPaddedConv1d(_PadFirst, _MaskedConv, nn.Conv1d):
    """:class:`PaddedConv1d` with masks."""


class MaskedPaddedConv2d(_PadFirst, _MaskedConv, nn.Conv2d):
    """:class:`PaddedConv2d` with masks."""


class MaskedPaddedConv3d(_PadFirst, _MaskedConv, nn.Conv3d):
    """:class:`PaddedConv3d` with masks."""


class _MaskedConvTranspose(_Masked):
    apply_to: Callable[..., Tensor]

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Any:
        return type(self).apply_to(
            x,
            *self.effective(),
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class MaskedConvTranspose1d(_CropAfter, _MaskedConvTranspose, nn.ConvTranspose1d):
    """:class:`CroppedConvTranspose1d` with masks."""

    apply_to = staticmethod(F.conv_transpose1d)


class MaskedConvTranspose2d(_CropAfter, _MaskedConvTranspose, nn.ConvTranspose2d):
    """:class:`CroppedConvTranspose2d` with masks."""

    apply_to = staticmethod(F.conv_transpose2d)


class MaskedConvTranspose3d(_CropAfter, _MaskedConvTranspose, nn.ConvTranspose3d):
    """:class:`CroppedConvTranspose3d` with masks."""

    apply_to = staticmethod(F.conv_transpose3d)


def set_masks(module: nn.Module | None, name: str, masks: Mapping[str, Mask]) -> None:
    """Give the module of the node ``name`` its masks, by role.

    Raises :class:`GrowcError` if it is none of the above.
    """
    if not masks:
        return
    if not isinstance(module, _Masked):
        raise GrowcError(
            f"`{name}` has a mask, but only convolutions and linear layers compute with masks"
        )
    for role, mask in masks.items():
        module.register_buffer(f"{role}_mask", torch.from_numpy(mask.copy()), persistent=False)


# ---- constants
#
# They are buffers, so that they move with the module, but no part of the state dict.


class Gather(nn.Module):
    """Elements of some dimensions by their numbers: ``{dimension: numbers}``."""

    def __init__(self, chosen: Mapping[int, Sequence[int] | NDArray[np.int64]]) -> None:
        super().__init__()
        self.dimensions = tuple(chosen)
        for dimension, numbers in chosen.items():
            indices = torch.tensor(numbers, dtype=torch.int64)
            self.register_buffer(f"indices{dimension}", indices, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        for dimension in self.dimensions:
            x = torch.index_select(x, dimension, getattr(self, f"indices{dimension}"))
        return x

    def extra_repr(self) -> str:
        return f"dimensions={self.dimensions}"


class Interpolate(nn.Module):
    """Each of some dimensions times a matrix [new size, size]: ``{dimension: matrix}``."""

    def __init__(self, matrices: Mapping[int, NDArray[np.float64]], dtype: torch.dtype) -> None:
        super().__init__()
        self.dimensions = tuple(matrices)
        for dimension, matrix in matrices.items():
            weights = torch.tensor(matrix, dtype=dtype)
            self.register_buffer(f"weights{dimension}", weights, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        for dimension in self.dimensions:
            weights = getattr(self, f"weights{dimension}")
            x = F.linear(x.movedim(dimension, -1), weights).movedim(-1, dimension)
        return x

    def extra_repr(self) -> str:
        return f"dimensions={self.dimensions}"


class ToFloat(nn.Module):
    """Whole numbers in the precision of the module."""

    precision: Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("precision", torch.zeros((), dtype=dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.precision.dtype)
