"""One update of a model, and what makes it the same whenever it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .data.joint import Joint
from .optimization import Loss, logits_of, total_loss


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    batch: Joint,
    loss_of: Loss,
    autocast: torch.autocast,
    *,
    clip: float = 0.0,
    backward_done: Callable[[], None] = lambda: None,
) -> Tensor:
    """One step of the optimizer on a batch of each task's images and labels; the loss before it, a
    scalar: the sum of the tasks' losses.

    Gradients longer than ``clip`` are shortened to it, unless it is 0. ``backward_done`` is called
    once the gradients are there, before they are used.
    """
    images, labels = batch
    optimizer.zero_grad()
    with autocast:
        logits = logits_of(model, images)
    loss = total_loss(loss_of, logits, labels)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    backward_done()
    if clip:
        scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, clip)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


def to_device(batch: Joint, device: torch.device) -> Joint:
    """A batch on a device. Images are copied on the CPU too: see ``checkpoint.on_device``."""
    images, labels = batch
    return (
        tuple(x.to(device, copy=True, non_blocking=True) for x in images),
        tuple(y.to(device, non_blocking=True) for y in labels),
    )


def seed_dropout(seed: int, update: int, rank: int) -> None:
    """Dropout draws from torch's generator: make that a function of seed, update and process, so
    that a resumed run draws the same."""
    torch.manual_seed(((seed * 1_000_003 + update) * 65_537 + rank) % (1 << 63))


@contextmanager
def deterministic() -> Iterator[None]:
    """The same numbers on each run, on a GPU too; the caller's generator is as before after it."""
    state = torch.get_rng_state()
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False):
            yield
    finally:
        torch.set_rng_state(state)
