"""Loss and accuracy on images that are not trained on."""

from __future__ import annotations

import torch
from torch import nn

from .data import Batches
from .optimization import Loss
from .processes import Processes


def evaluate(
    model: nn.Module,
    batches: Batches,
    loss_of: Loss,
    processes: Processes,
    autocast: torch.autocast | None = None,
) -> tuple[float, float]:
    """Mean loss, and the share of images that are classified right, in eval mode.

    Each process looks at its part of every batch. The model's mode is as before afterwards.
    """
    was_training = model.training
    model.eval()
    total = torch.zeros(3, dtype=torch.float64, device=processes.device)
    try:
        with torch.no_grad():
            for k in range(len(batches)):
                images, labels = batches.batch(k)
                if not len(labels):
                    continue  # the last batch may have fewer images than there are processes
                images, labels = images.to(processes.device), labels.to(processes.device)
                with autocast or torch.autocast(processes.device.type, enabled=False):
                    logits = model(images)
                logits = logits.float()
                total[0] += loss_of(logits, labels).double() * len(labels)
                total[1] += (logits.argmax(1) == labels).sum()
                total[2] += len(labels)
    finally:
        model.train(was_training)
    loss, right, count = processes.total(total).tolist()
    return loss / count, right / count
