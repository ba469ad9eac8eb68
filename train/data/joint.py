"""Several data sets for one network: one for each of its inputs and outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from .batches import Batches
from .examples import DataSet

Images = tuple[torch.Tensor, ...]
"""Of each task, float32 [n, channels, height, width]."""
Labels = tuple[torch.Tensor, ...]
"""Of each task, int64 [n]."""
Joint = tuple[Images, Labels]


class JointBatches:
    """Batch ``k`` of each of several data sets, together; of one alone as well.

    Batches to train on go on for ever. Those to look at each image once are as many as the largest
    set has; the others then have none in the last ones.
    """

    def __init__(self, *parts: Batches) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return max(map(len, self.parts))

    def batch(self, k: int) -> Joint:
        """Batch ``k``. Raises as :meth:`Batches.batch`."""
        made = [self._of(part, k) for part in self.parts]
        return tuple(images for images, _ in made), tuple(labels for _, labels in made)

    def _of(self, part: Batches, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        if part.train or k < len(part):
            return part.batch(k)
        if k >= len(self):
            raise IndexError(f"no batch {k}")
        images, labels = part.batch(0)
        return images[:0], labels[:0]


def task_names(sets: Sequence[DataSet]) -> tuple[str, ...]:
    """A name for each data set: its own, with a number where others are called so, too."""
    counts = Counter(data.name for data in sets)
    seen: Counter[str] = Counter()
    names = []
    for data in sets:
        seen[data.name] += 1
        number = f"_{seen[data.name]}" if counts[data.name] > 1 else ""
        names.append(f"{data.name}{number}")
    return tuple(names)
