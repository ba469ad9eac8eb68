"""scikit-learn's digits: 1,797 images of 8x8, which need no download."""

from __future__ import annotations

import numpy as np

from .examples import Stored
from .files import Loaded

TEST = 297
"""The last ones are the test images: written by other people than the first ones."""


def digits() -> Loaded:
    """1,500 training and 297 test images."""
    from sklearn.datasets import load_digits  # takes a second

    bundled = load_digits()
    # From 0 to 16; 255 * n / 16, rounded.
    pixels = ((bundled.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, None]
    labels = bundled.target.astype(np.int64)
    train = Stored(pixels[:-TEST], labels[:-TEST])
    return Loaded(tuple("0123456789"), (1, 8, 8), train, Stored(pixels[-TEST:], labels[-TEST:]))
