"""Labelled images, and a data set of them in three parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Indices = Sequence[int] | NDArray[np.integer]


class Examples(ABC):
    """Labelled images of one shape. ``labels`` are the numbers of their classes, from 0."""

    def __init__(self, labels: Labels) -> None:
        self.labels: Labels = np.array(labels, np.int64)
        self.labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def images(self, indices: Indices) -> Pixels:
        """New uint8 [n, channels, height, width], in the order of ``indices``.

        Raises IndexError where there is no such example, and :class:`growc.GrowcError` for an
        image file that can't be read.
        """

    def check(self) -> None:  # noqa: B027 -- what is in memory has nothing to check
        """Raise :class:`growc.GrowcError` if an image file can't be opened. Nothing is decoded."""

    def part(self, indices: Indices) -> Examples:
        """The examples at ``indices`` only."""
        return _Part(self, as_indices(indices))


def as_indices(indices: Indices) -> NDArray[np.intp]:
    """Whole numbers only: numpy would take booleans for a mask."""
    array = np.asarray(indices)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"indices are a list of whole numbers, not {array.dtype} {array.shape}")
    return array.astype(np.intp)


class Stored(Examples):
    """Images that are in memory: ``pixels`` is uint8 [n, channels, height, width]."""

    def __init__(self, pixels: Pixels, labels: Labels) -> None:
        super().__init__(labels)
        self._pixels = pixels

    def images(self, indices: Indices) -> Pixels:
        # `ascontiguousarray`, as numpy keeps the order of axes in memory (STL-10: columns first).
        return np.ascontiguousarray(self._pixels[as_indices(indices)])


class _Part(Examples):
    def __init__(self, whole: Examples, indices: NDArray[np.intp]) -> None:
        super().__init__(whole.labels[indices])
        self._whole = whole
        self._indices = indices

    def images(self, indices: Indices) -> Pixels:
        return self._whole.images(self._indices[as_indices(indices)])

    def check(self) -> None:
        self._whole.check()


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images to train on, to decide by, and to report on."""

    name: str
    """As in the text given to :func:`open_data`, without the folder."""
    classes: tuple[str, ...]
    """Their names; a label is a place in this list."""
    shape: tuple[int, int, int]
    """Channels, height and width of every image."""
    train: Examples
    validation: Examples
    """Drawn from the published training images, which ``train`` then lacks; may be empty."""
    test: Examples
    """The published test images."""

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return (
            f"{self.name}: {len(self.train):,} training, {len(self.validation):,} validation and "
            f"{len(self.test):,} test images of {size}, {len(self.classes):,} classes"
        )
