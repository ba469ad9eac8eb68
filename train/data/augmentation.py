"""Random crops and flips of whole batches of images."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .examples import Pixels

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


def flip(images: Pixels, which: NDArray[np.bool]) -> Pixels:
    """The images with those of ``which`` mirrored, left to right."""
    result = images.copy()
    result[which] = images[which][..., ::-1]
    return result
