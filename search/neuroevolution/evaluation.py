"""Which validation images each model is right about, and their losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...backends import to_torch
from ...ir import Graph
from ...train.checkpoint import on_device
from ...train.data import Batches
from ...train.optimization import Loss
from ...train.processes import Processes
from .merging import merge


@dataclass(frozen=True, slots=True)
class Scores:
    """How well models classify the same images."""

    correct: NDArray[np.bool_]
    """[models, images]: c_m(i), whether model m is right about image i."""
    losses: tuple[float, ...]
    """Each model's mean loss."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Each model's share of images that it is right about."""
        return tuple(float(c.mean()) for c in self.correct)

    def best(self) -> int:
        """The model of the best accuracy; of equals the one of the lower loss, then the first."""
        accuracies, losses = self.accuracies, self.losses
        return min(range(len(losses)), key=lambda m: (-accuracies[m], losses[m], m))


Predict = Callable[[Tensor], Sequence[Tensor]]
"""Images → every model's logits."""


def at_once(graphs: Sequence[Graph], device: torch.device) -> Predict:
    """What models compute in evaluation mode, what they have in common once."""
    module = on_device(to_torch(merge(graphs, functions=False)), device).eval()

    def predict(images: Tensor) -> Sequence[Tensor]:
        found = module(images)
        return list(found.values()) if isinstance(found, dict) else [found]

    return predict


def evaluate(
    models: Sequence[nn.Module],
    batches: Batches,
    loss_of: Loss,
    processes: Processes,
    autocast: torch.autocast,
    predict: Predict | None = None,
) -> Scores:
    """All models on all images of ``batches`` (which are whole: of one process), in eval mode.

    They are run one by one, unless ``predict`` runs them all.

    Each process looks at some of the batches, so that the result does not depend on how many there
    are. The models' modes are as before afterwards.
    """
    size = len(batches.examples)
    right = torch.zeros(len(models), size, dtype=torch.int64, device=processes.device)
    losses = torch.zeros(len(models), len(batches), dtype=torch.float64, device=processes.device)
    modes = [model.training for model in models]
    try:
        for model in models:
            model.eval()
        with torch.no_grad():
            for k in range(processes.rank, len(batches), processes.ranks):
                images, labels = batches.batch(k)
                images, labels = images.to(processes.device), labels.to(processes.device)
                first = k * batches.batch_size
                with autocast:
                    found = predict(images) if predict else [model(images) for model in models]
                for m, logits in enumerate(x.float() for x in found):
                    losses[m, k] = loss_of(logits, labels).double() * len(labels)
                    right[m, first : first + len(labels)] = logits.argmax(1) == labels
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)
    correct = processes.total(right).cpu().numpy().astype(bool)
    totals = processes.total(losses).sum(1).tolist()
    return Scores(correct, tuple(total / size for total in totals))
