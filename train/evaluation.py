"""Loss and accuracy on images that are not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .data.joint import JointBatches
from .optimization import Loss, logits_of
from .processes import Processes


@dataclass(frozen=True, slots=True)
class Score:
    """How good a network is at its tasks."""

    losses: tuple[float, ...]
    """The mean loss of each task."""
    accuracies: tuple[float, ...]
    """The share of images of each task that are classified right."""

    @property
    def loss(self) -> float:
        """The sum over the tasks, which is what is trained."""
        return sum(self.losses)

    @property
    def accuracy(self) -> float:
        """The mean over the tasks."""
        return sum(self.accuracies) / len(self.accuracies)


def evaluate(
    model: nn.Module,
    batches: JointBatches,
    loss_of: Loss,
    processes: Processes,
    autocast: torch.autocast | None = None,
) -> Score:
    """The model's score in eval mode, on batches of each task.

    Each process looks at its part of every batch. The model's mode is as before afterwards.
    """
    was_training = model.training
    model.eval()
    device = processes.device
    total = torch.zeros((len(batches.parts), 3), dtype=torch.float64, device=device)
    try:
        with torch.no_grad():
            for k in range(len(batches)):
                images, labels = batches.batch(k)
                if not any(map(len, labels)):
                    continue  # the last batch may have fewer images than there are processes
                fed = tuple(_some(x).to(device) for x in images)
                with autocast or torch.autocast(device.type, enabled=False):
                    logits = logits_of(model, fed)
                for task, (found, right) in enumerate(zip(logits, labels, strict=True)):
                    if len(right):
                        _add(total[task], found.float(), right.to(device), loss_of)
    finally:
        model.train(was_training)
    sums = processes.total(total).tolist()
    return Score(
        tuple(loss / count for loss, _, count in sums),
        tuple(right / count for _, right, count in sums),
    )


def _some(images: torch.Tensor) -> torch.Tensor:
    """The images, or a black one in place of none: a task may have had its last ones, and not every
    op takes none."""
    return images if len(images) else images.new_zeros((1, *images.shape[1:]))


def _add(total: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, loss_of: Loss) -> None:
    total[0] += loss_of(logits, labels).double() * len(labels)
    total[1] += (logits.argmax(1) == labels).sum()
    total[2] += len(labels)
