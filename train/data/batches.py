"""Batches of examples: each a pure function of a seed and its number."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ...ir import GrowcError
from .augmentation import CROPS, PAD, boxes, crop, flip, resized
from .examples import Examples
from .normalization import Normalization
from .seeding import AUGMENT, DRAW, EPOCH, generator


class Batches:
    """Batches of ``examples``, by number from 0.

    With ``train`` they are random and go on for ever, all of ``batch_size``: drawn with
    ``replacement``, or from one shuffled epoch after the other (a batch may have the end of one
    and the start of the next). ``crop`` is ``none``; ``pad``, which pads images by 4 black pixels
    and crops them at random to their size; or ``resized``, which enlarges a random part to it, as
    torchvision's RandomResizedCrop. ``flip`` mirrors every second image.

    Without ``train`` there are ``len(batches)`` of them, which hold each example once and in
    order, as it is; the last one may be shorter.

    Of several processes (``ranks``), each gets its slice of the batch that one would get:
    put together in order of ``rank``, the slices are that batch.
    """

    def __init__(
        self,
        examples: Examples,
        normalization: Normalization,
        *,
        batch_size: int,
        seed: int = 0,
        replacement: bool = False,
        crop: str = "none",
        flip: bool = False,
        train: bool = True,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size < 1:
            raise GrowcError(f"no batches of {batch_size}", help="give a whole number from 1")
        if not 0 <= rank < ranks:
            raise GrowcError(
                f"no process {rank} of {ranks}", help="ranks are from 0 to the number of them - 1"
            )
        if train and batch_size % ranks:
            raise GrowcError(
                f"a batch of {batch_size} can't be shared equally by {ranks} processes",
                help=f"give a multiple of {ranks}, as each one's gradient counts the same",
            )
        if train and not len(examples):
            raise GrowcError("no examples to train on", help="leave some for training")
        if crop not in CROPS:
            raise GrowcError(f"no crop `{crop}`", help=f"there are: {', '.join(CROPS)}")
        generator(seed, DRAW)  # says at once if that is no seed
        self.examples = examples
        self.normalization = normalization
        self.batch_size = batch_size
        self.seed = seed
        self.replacement = replacement
        self.crop = crop
        self.flip = flip
        self.train = train
        self.rank = rank
        self.ranks = ranks
        # Kept, as shuffling a large set for every batch is slow; the result is the same.
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        """How many batches hold each example once: an epoch, the last batch perhaps in part."""
        return -(-len(self.examples) // self.batch_size)

    def indices(self, k: int) -> NDArray[np.intp]:
        """The examples of batch ``k``, for all processes."""
        count, size = len(self.examples), self.batch_size
        if k < 0 or (not self.train and k >= len(self)):
            raise IndexError(f"no batch {k}")
        if not self.train:
            return np.arange(k * size, min((k + 1) * size, count))
        if self.replacement:
            return generator(self.seed, DRAW, k).integers(count, size=size)
        first, end = k * size, (k + 1) * size
        parts = []
        for epoch in range(first // count, (end - 1) // count + 1):
            start = epoch * count
            parts.append(self._epoch(epoch)[max(first - start, 0) : end - start])
        return np.concatenate(parts)

    def _shuffled(self, epoch: int) -> NDArray[np.intp]:
        return generator(self.seed, EPOCH, epoch).permutation(len(self.examples))

    def batch(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch ``k``: float32 [n, channels, height, width], and int64 [n], the labels.

        Raises IndexError for a number that no batch has, and :class:`growc.GrowcError` for an image
        that can't be read.
        """
        chosen = self.indices(k)
        total = len(chosen)
        mine = slice(total * self.rank // self.ranks, total * (self.rank + 1) // self.ranks)
        images = self.examples.images(chosen[mine])
        if self.train and (self.crop != "none" or self.flip):
            # Drawn for the whole batch and in one order: neither the number of processes nor the
            # other augmentation changes what happens to an image.
            random = generator(self.seed, AUGMENT, k)
            down, right = random.integers(2 * PAD + 1, size=(2, total))
            mirrored = random.integers(2, size=total).astype(bool)
            if self.crop == "pad":
                images = crop(images, down[mine], right[mine])
            if self.crop == "resized":
                images = resized(
                    images, *(b[mine] for b in boxes(random, total, *images.shape[2:]))
                )
            if self.flip:
                images = flip(images, mirrored[mine])
        pixels = self.normalization.apply(images)
        labels = self.examples.labels[chosen[mine]]
        return torch.from_numpy(pixels), torch.from_numpy(labels)
