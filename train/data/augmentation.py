"""Random crops and flips of whole batches of images."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .examples import Pixels

Counts = NDArray[np.int64]

CROPS = ("none", "pad", "resized")
PAD = 4
"""Black pixels around an image before it is cropped to its size again (He et al., 2015)."""


def crop(images: Pixels, down: NDArray[np.integer], right: NDArray[np.integer]) -> Pixels:
    """Crops of the padded images that start at rows ``down`` and columns ``right``, 0 to 2 PAD."""
    count, channels, height, width = images.shape
    padded = np.zeros((count, channels, height + 2 * PAD, width + 2 * PAD), np.uint8)
    padded[:, :, PAD:-PAD, PAD:-PAD] = images
    windows = sliding_window_view(padded, (height, width), (2, 3))
    result: Pixels = windows[np.arange(count), :, down, right]
    return result


AREA = (0.08, 1.0)
"""What part of an image :func:`boxes` may be (Szegedy et al., 2015)."""
RATIO = (3 / 4, 4 / 3)
"""Their width over their height."""
TRIES = 10


def boxes(
    random: np.random.Generator, count: int, height: int, width: int
) -> tuple[Counts, Counts, Counts, Counts]:
    """Tops, lefts, heights and widths of random parts of images, as torchvision's
    RandomResizedCrop draws them: again, if one does not fit, up to TRIES times."""
    area = random.uniform(*AREA, (TRIES, count)) * (height * width)
    ratio = np.exp(random.uniform(np.log(RATIO[0]), np.log(RATIO[1]), (TRIES, count)))
    down, right = random.random((2, count))
    wide = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    high = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
    chosen, each = fits.argmax(0), np.arange(count)
    # Where none fits: as much of the middle as the ratio allows.
    most_high = min(height, round(width / RATIO[0]))
    most_wide = min(width, round(height * RATIO[1]))
    none = ~fits.any(0)
    high = np.where(none, most_high, high[chosen, each])
    wide = np.where(none, most_wide, wide[chosen, each])
    tops = np.where(none, (height - high) // 2, (down * (height - high + 1)).astype(np.int64))
    lefts = np.where(none, (width - wide) // 2, (right * (width - wide + 1)).astype(np.int64))
    return tops, lefts, high, wide


def resized(images: Pixels, tops: Counts, lefts: Counts, highs: Counts, wides: Counts) -> Pixels:
    """The parts of the images in these boxes, each as large as an image, bilinear.

    Pixels are squares with their values in the middle; no part is made smaller, so that nothing
    needs to be smoothed before.
    """
    height, width = images.shape[2:]
    result = np.empty_like(images)
    for i, image in enumerate(images):
        up, low, down = _between(height, int(tops[i]), int(highs[i]))
        left, right, across = _between(width, int(lefts[i]), int(wides[i]))
        above, below = image[:, up].astype(np.float32), image[:, low].astype(np.float32)
        rows = above + (below - above) * down[:, None]
        before, after = rows[:, :, left], rows[:, :, right]
        result[i] = np.rint(before + (after - before) * across)
    return result


def _between(size: int, first: int, count: int) -> tuple[Counts, Counts, NDArray[np.float32]]:
    """The two pixels of ``count`` from ``first`` on that each of ``size`` new ones is between, and
    how far it is from the first of them to the second."""
    at = np.clip((np.arange(size) + 0.5) * (count / size) - 0.5, 0, count - 1)
    whole = at.astype(np.int64)
    return first + whole, first + np.minimum(whole + 1, count - 1), (at - whole).astype(np.float32)


def flip(images: Pixels, which: NDArray[np.bool]) -> Pixels:
    """The images with those of ``which`` mirrored, left to right."""
    result = images.copy()
    result[which] = images[which][..., ::-1]
    return result
