"""The learning rate after a growth step (R2R appendix C.3)."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from ..ir import GrowcError
from .parameters import masks_of, parameters_of

RATES = ("lr", "initial_lr", "max_lr", "min_lr")
"""The learning rates in a parameter group: the present one, and those that PyTorch's schedulers
leave there and compute the next one from."""


def scale_learning_rate(
    optimizer: Optimizer, old_model: nn.Module, new_model: nn.Module, weight_decay: bool = False
) -> float:
    """α' = α · |θ₁| / |θ₂|, so that updates keep a roughly constant magnitude (R2R appendix C.3).

    |θ| is the number of trainable parameters, see :func:`trainable_count`. The learning rate of
    every group is multiplied in place, with what schedulers keep there (``initial_lr`` and the
    like); with ``weight_decay`` that too, as the paper's experiments did. A scheduler that already
    exists remembers rates of its own: make it after this, ``last_epoch`` being that of the old one.

    Returns |θ₁| / |θ₂|. Raises :class:`GrowcError` if a model has no trainable parameters.
    """
    before, after = trainable_count(old_model), trainable_count(new_model)
    if not before or not after:
        which = "new" if before else "old"
        raise GrowcError(f"the {which} model has no trainable parameters to scale the rate by")
    ratio = before / after
    for group in optimizer.param_groups:
        for key in (*RATES, *(("weight_decay",) if weight_decay else ())):
            if key in group:
                # A rate that is a tensor may be one for all groups: not changed, but replaced.
                group[key] = group[key] * ratio
    return ratio


def trainable_count(model: nn.Module) -> int:
    """|θ|: how many numbers of a model are trained, as ``requires_grad`` and masks say.

    Tied parameters count once. Of a parameter with a mask α (ILNAS section 3.1), which
    :func:`growc.to_torch` gives a layer as ``weight_mask`` or ``bias_mask``, |α| numbers count.
    """
    masks = masks_of(model)
    return sum(
        int(masks[parameter].sum()) if parameter in masks else parameter.numel()
        for parameter in parameters_of(model)
        if parameter.requires_grad
    )
