"""Losses, optimizers and learning rates of a run, by the names in its settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer

from .settings import Settings

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_of(settings: Settings) -> Loss:
    """The mean loss of float [n, classes] logits against int64 [n] labels.

    ``binary_cross_entropy`` compares each logit with a one-hot label, as the R2R paper's code does.
    """
    if settings.loss == "cross_entropy":
        smoothing = settings.label_smoothing
        return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return lambda logits, labels: F.binary_cross_entropy_with_logits(
        logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    )


def logits_of(model: Callable[..., Any], images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a network gives for the images of each task: its outputs, in order."""
    found = model(*images)
    return tuple(found.values()) if isinstance(found, dict) else (found,)


def total_loss(loss_of: Loss, logits: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
    """The sum of the tasks' losses: the gradients of weights that they share add up (ILNAS section
    4.2)."""
    losses = [loss_of(x.float(), y) for x, y in zip(logits, labels, strict=True)]
    return sum(losses[1:], losses[0])


def optimizer_of(settings: Settings, groups: Sequence[Sequence[nn.Parameter]]) -> Optimizer:
    """The optimizer of a run. Each group has the rate before the schedule as ``initial_lr``."""
    given = [{"params": list(group), "initial_lr": settings.lr} for group in groups]
    lr, decay = settings.lr, settings.weight_decay
    if settings.optimizer == "sgd":
        momentum, nesterov = settings.momentum, settings.nesterov
        return SGD(given, lr=lr, weight_decay=decay, momentum=momentum, nesterov=nesterov)
    cls = Adam if settings.optimizer == "adam" else AdamW
    betas = (settings.beta1, settings.beta2)
    return cls(given, lr=lr, weight_decay=decay, betas=betas, amsgrad=settings.amsgrad)


def rate_factor(settings: Settings, update: int) -> float:
    """What the learning rate is multiplied by in update ``update``, from 0.

    ``linear`` and ``cosine`` go to 0 at the end of the run, from the end of the warm-up on.
    """
    warmup, updates = settings.warmup, settings.updates
    if update < warmup:
        return (update + 1) / warmup
    part = (update - warmup) / max(1, updates - warmup)
    if settings.lr_schedule == "linear":
        return 1 - part
    if settings.lr_schedule == "cosine":
        return (1 + math.cos(math.pi * part)) / 2
    return settings.lr_decay ** sum(step <= update for step in settings.lr_steps)


def set_rate(optimizer: Optimizer, settings: Settings, update: int) -> float:
    """Set the learning rate of an update; that of the first group."""
    factor = rate_factor(settings, update)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


def autocast(settings: Settings, device: torch.device) -> torch.autocast:
    """Mixed precision: where it computes in the run's type, parameters stay float32."""
    dtype = getattr(torch, settings.precision)
    on = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype if on else torch.bfloat16, enabled=on)
