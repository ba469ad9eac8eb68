"""STL-10, the binary version (cs.stanford.edu/~acoates/stl10): 96x96 images.

Pixels are column-major: a plane of each colour, one column of it after the other. Labels start at
1. The 100,000 images without labels are not read.
"""

from __future__ import annotations

from pathlib import Path

from .examples import Examples, Stored
from .files import Layout, Loaded, checked_labels, find, mistake, names, records

SHAPE = (3, 96, 96)
STL10 = Layout(
    "STL-10",
    ("stl10_binary",),
    ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"),
)


def stl10(where: Path) -> Loaded:
    """The labelled images."""
    _, paths = find(where, [STL10])
    classes = names(paths[-1])
    train = _part(paths[0], paths[1], len(classes))
    return Loaded(classes, SHAPE, train, _part(paths[2], paths[3], len(classes)))


def _part(images: Path, labels: Path, classes: int) -> Examples:
    pixels = records(images, 3 * 96 * 96).reshape(-1, *SHAPE).swapaxes(2, 3)
    numbers = records(labels, 1)[:, 0]
    if len(pixels) != len(numbers):
        raise mistake(
            labels, f"{len(numbers):,} labels for the {len(pixels):,} images of {images.name}"
        )
    return Stored(pixels, checked_labels(labels, numbers, classes, first=1))
