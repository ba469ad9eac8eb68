"""Images in another size, or with another number of channels, than their files have."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .examples import Examples, Indices, Pixels
from .files import Loaded

LUMA = np.array([299, 587, 114], np.uint32)
"""Thousandths of red, green and blue in grey (ITU-R BT.601, as Pillow's convert("L"))."""


class Adapted(Examples):
    """The images of others as ``shape`` [channels, height, width], made when asked for."""

    def __init__(self, others: Examples, shape: tuple[int, int, int]) -> None:
        super().__init__(others.labels)
        self._others = others
        self._shape = shape

    def images(self, indices: Indices) -> Pixels:
        return adapted(self._others.images(indices), self._shape)

    def check(self) -> None:
        self._others.check()


def adapted(images: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """uint8 [n, *shape] of uint8 [n, channels, height, width], of which one or three channels.

    Grey becomes three equal channels (ILNAS section 5.2), colours become their luma, and sizes
    change by bilinear interpolation, over the whole area that a pixel covers where they shrink.
    """
    channels, height, width = shape
    if channels < images.shape[1]:
        total = (images.transpose(0, 2, 3, 1).astype(np.uint32) @ LUMA + 500) // 1000
        images = total.astype(np.uint8)[:, None]
    if images.shape[2:] != (height, width):
        planes = np.ascontiguousarray(images).reshape(-1, *images.shape[2:])
        result = np.empty((len(planes), height, width), np.uint8)
        for one, plane in zip(result, planes, strict=True):
            picture = Image.fromarray(plane)
            one[...] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
        images = result.reshape(*images.shape[:2], height, width)
    if channels > images.shape[1]:
        images = np.repeat(images, channels, axis=1)
    return images


def adapt(loaded: Loaded, size: int | None, channels: int | None) -> Loaded:
    """A data set with square images of ``size``, and so many ``channels``; None: as they are."""
    had, height, width = loaded.shape
    shape = (channels or had, size or height, size or width)
    if shape == loaded.shape:
        return loaded
    train, test = (Adapted(part, shape) for part in (loaded.train, loaded.test))
    return Loaded(loaded.classes, shape, train, test)
