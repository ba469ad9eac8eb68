"""MNIST and Fashion-MNIST: IDX files (yann.lecun.com/exdb/mnist), packed by gzip or not.

An IDX file is two zero bytes, the type of its numbers (8: unsigned bytes), how many sizes follow,
these as big-endian uint32, and the numbers.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

import numpy as np

from .examples import Examples, Pixels, Stored
from .files import Layout, Loaded, checked_labels, find, mistake, read

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DIGITS = tuple("0123456789")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def _fashion(folder: str) -> bool:
    return "fashion" in folder.lower()


# The names of the files are the same: what is in a folder called `fashion` is no MNIST.
MNIST = Layout("MNIST", ("MNIST/raw", "MNIST", "raw"), FILES, lambda name: not _fashion(name))
FASHION_MNIST = Layout(
    "Fashion-MNIST", ("FashionMNIST/raw", "FashionMNIST", "raw"), FILES, _fashion
)


def mnist(where: Path) -> Loaded:
    """Handwritten digits."""
    return _load(where, MNIST, DIGITS)


def fashion_mnist(where: Path) -> Loaded:
    """Clothes."""
    return _load(where, FASHION_MNIST, CLOTHES)


def _load(where: Path, layout: Layout, classes: tuple[str, ...]) -> Loaded:
    _, paths = find(where, [layout])
    train, size = _part(paths[0], paths[1], classes)
    test, test_size = _part(paths[2], paths[3], classes)
    if size != test_size:
        raise mistake(paths[2], f"images of {test_size}, but those for training are of {size}")
    return Loaded(classes, (1, *size), train, test)


def _part(images: Path, labels: Path, classes: tuple[str, ...]) -> tuple[Examples, tuple[int, int]]:
    pixels, numbers = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(numbers):
        raise mistake(
            labels, f"{len(numbers):,} labels for the {len(pixels):,} images of {images.name}"
        )
    height, width = pixels.shape[1:]
    return Stored(pixels[:, None], checked_labels(labels, numbers, len(classes))), (height, width)


def read_idx(path: Path, rank: int) -> Pixels:
    """The uint8 array of ``rank`` sizes in an IDX file."""
    header = 4 + 4 * rank
    start = read(path, header)
    expected = bytes([0, 0, 8, rank])
    if start[:4] != expected:
        raise mistake(
            path,
            f"starts with the bytes {start[:4].hex(' ') or '(none)'}, but an IDX file of unsigned "
            f"bytes with {rank} sizes starts with {expected.hex(' ')}",
        )
    if len(start) < header:
        raise mistake(path, "truncated within its sizes")
    shape = struct.unpack(f">{rank}I", start[4:])
    written = "x".join(map(str, shape))
    if not all(shape):
        raise mistake(path, f"holds nothing: its size is {written}")
    # Python's numbers have no largest one, so sizes that overflow are sizes the file lacks.
    wanted = prod(shape)
    data = read(path, header + wanted + 1)
    if len(data) != header + wanted:
        found = "more" if len(data) > header + wanted else f"{len(data) - header:,}"
        raise mistake(path, f"says {written}, which are {wanted:,} bytes, but {found} follow")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
