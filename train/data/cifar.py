"""CIFAR-10 and CIFAR-100, in the binary and python versions (www.cs.toronto.edu/~kriz/cifar.html).

A binary record is a label (for CIFAR-100 a coarse one, then the fine one, which is used here) and
3,072 pixels: a plane of 32x32 for each of red, green and blue.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .examples import Examples, Labels, Pixels, Stored
from .files import Layout, Loaded, checked_labels, class_names, find, mistake, names, records
from .pickles import read_pickle

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))

CIFAR10 = (
    Layout(
        "CIFAR-10",
        ("cifar-10-batches-bin",),
        (*(f"{name}.bin" for name in BATCHES), "test_batch.bin", "batches.meta.txt"),
    ),
    Layout("CIFAR-10", ("cifar-10-batches-py",), (*BATCHES, "test_batch", "batches.meta")),
)
CIFAR100 = (
    Layout("CIFAR-100", ("cifar-100-binary",), ("train.bin", "test.bin", "fine_label_names.txt")),
    Layout("CIFAR-100", ("cifar-100-python",), ("train", "test", "meta")),
)


def cifar10(where: Path) -> Loaded:
    """Files of any whole number of images each."""
    layout, paths = find(where, CIFAR10)
    if layout is CIFAR10[0]:
        return _binary(paths, label_bytes=1)
    return _python(paths, labels="labels", meta="label_names")


def cifar100(where: Path) -> Loaded:
    """The 100 fine classes."""
    layout, paths = find(where, CIFAR100)
    if layout is CIFAR100[0]:
        return _binary(paths, label_bytes=2)
    return _python(paths, labels="fine_labels", meta="fine_label_names")


def _binary(paths: list[Path], label_bytes: int) -> Loaded:
    classes = names(paths[-1])

    def part(path: Path) -> tuple[Pixels, Labels]:
        found = records(path, label_bytes + PIXELS)
        labels = checked_labels(path, found[:, label_bytes - 1], len(classes))
        return found[:, label_bytes:], labels

    parts = [part(path) for path in paths[:-1]]
    return Loaded(classes, SHAPE, _joined(parts[:-1]), _joined(parts[-1:]))


def _python(paths: list[Path], labels: str, meta: str) -> Loaded:
    found = read_pickle(paths[-1]).get(meta)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise mistake(paths[-1], f"no list `{meta}` of the classes' names")
    classes = class_names(paths[-1], found)

    def part(path: Path) -> tuple[Pixels, Labels]:
        content = read_pickle(path)
        pixels, numbers = content.get("data"), content.get(labels)
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
            raise mistake(path, f"no uint8 array `data` of [n, {PIXELS}]")
        if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
            raise mistake(path, f"no list `{labels}` of whole numbers")
        if len(numbers) != len(pixels):
            raise mistake(path, f"{len(pixels):,} images, but {len(numbers):,} labels")
        if not numbers:
            raise mistake(path, "the file has no images")
        # Clipped, as no int64 holds what a pickle may: what is clipped stays out of range.
        clipped = np.array([min(max(n, -(1 << 62)), 1 << 62) for n in numbers], np.int64)
        return pixels, checked_labels(path, clipped, len(classes))

    parts = [part(path) for path in paths[:-1]]
    return Loaded(classes, SHAPE, _joined(parts[:-1]), _joined(parts[-1:]))


def _joined(parts: list[tuple[Pixels, Labels]]) -> Examples:
    pixels = np.concatenate([pixels for pixels, _ in parts])
    return Stored(pixels.reshape(-1, *SHAPE), np.concatenate([labels for _, labels in parts]))
