"""Modules that PyTorch does not have as they are needed: convolutions with asymmetric padding, and
layers whose parameters have masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
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


def set_masks(module: nn.Module, name: str, masks: Mapping[str, Mask]) -> None:
    """Give the module of the node ``name`` its masks, by role.

    Raises :class:`GrowcError` if it is none of the above.
    """
    if masks and not isinstance(module, _Masked):
        raise GrowcError(
            f"`{name}` has a mask, but only convolutions and linear layers compute with masks"
        )
    for role, mask in masks.items():
        module.register_buffer(f"{role}_mask", torch.from_numpy(mask.copy()), persistent=False)
