"""Folders of image files, as of ImageNet: ``train/CLASS/…`` and ``val/CLASS/…``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...ir import GrowcError
from .examples import Examples, Indices, Labels, Pixels, as_indices
from .files import Loaded, existing_folder, mistake

ENDINGS = frozenset(".bmp .gif .jpeg .jpg .png .ppm .tif .tiff .webp".split())
SIZE = 224


class Decoded(Examples):
    """Images that are decoded when asked for: the largest centred square, resized."""

    def __init__(self, paths: Sequence[str], labels: Labels, size: int) -> None:
        super().__init__(labels)
        self._paths = paths
        self._size = size

    def images(self, indices: Indices) -> Pixels:
        where = as_indices(indices)
        result = np.empty((len(where), 3, self._size, self._size), np.uint8)
        for place, index in enumerate(where):
            result[place] = decode(Path(self._paths[index]), self._size).transpose(2, 0, 1)
        return result

    def check(self) -> None:
        for path in self._paths:
            try:
                Image.open(path).close()  # reads the first bytes only
            except Exception as error:
                raise _unreadable(Path(path), error) from error


def _unreadable(path: Path, error: Exception) -> GrowcError:
    # What a decoder raises for a damaged file is its own affair.
    return mistake(path, f"not a readable image: {error}", "repair the file, or take it out")


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """uint8 [size, size, 3] of an image file.

    The shorter side is resized to ``size`` and the longer one cropped around the centre; both in
    one step, as a long thin image would become huge in between.
    """
    try:
        with Image.open(path) as image:
            # A JPEG is decoded at an eighth, a quarter or half its size where that is enough.
            image.draft("RGB", (size, size))
            rgb = image.convert("RGB")
    except Exception as error:
        raise _unreadable(path, error) from error
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR, box))


def folder(where: Path, size: int = SIZE) -> Loaded:
    """The images of ``train/`` and ``val/``; the latter are the test images, as for ImageNet."""
    existing_folder(where)
    for part in ("train", "val"):
        if not (where / part).is_dir():
            raise mistake(
                where,
                f"no folder `{part}`",
                "a folder of `train` and `val`, with one for each class",
            )
    classes = _folders(where / "train")
    if not classes:
        raise mistake(where / "train", "no folders in it", "there is one for each class")
    if different := sorted({*classes} ^ {*_folders(where / "val")}):
        has, lacks = ("train", "val") if different[0] in classes else ("val", "train")
        raise mistake(
            where / lacks,
            f"no class `{different[0]}`, which `{has}` has",
            "both have the same classes",
        )
    train, test = (_part(where / part, classes, size) for part in ("train", "val"))
    return Loaded(tuple(classes), (3, size, size), train, test)


def _folders(where: Path) -> list[str]:
    return sorted(f.name for f in os.scandir(where) if f.is_dir() and not f.name.startswith("."))


def _part(where: Path, classes: list[str], size: int) -> Decoded:
    paths: list[str] = []
    counts = []
    for name in classes:
        found = sorted(_images(where / name))
        if not found:
            raise mistake(
                where / name,
                "no image files in this folder of a class",
                f"add some ({', '.join(sorted(ENDINGS))}), or remove the folder",
            )
        paths += found
        counts.append(len(found))
    return Decoded(paths, np.repeat(np.arange(len(classes)), counts), size)


def _images(where: Path) -> list[str]:
    # Links are followed: data sets are often collected by links.
    return [
        os.path.join(here, file)  # noqa: PTH118 -- a Path for each of a million files is slow
        for here, _, files in os.walk(where, followlinks=True)
        for file in files
        if not file.startswith(".") and os.path.splitext(file)[1].lower() in ENDINGS  # noqa: PTH122
    ]
