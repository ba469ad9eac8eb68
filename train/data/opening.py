"""A data set from a short text, and its validation images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...ir import GrowcError
from ...ir.diagnostics import did_you_mean, plural
from .cifar import cifar10, cifar100
from .digits import digits
from .examples import DataSet, Labels
from .files import Loaded
from .folder import SIZE, folder
from .idx import fashion_mnist, mnist
from .seeding import SPLIT, generator
from .stl10 import stl10

IN_FOLDERS: dict[str, Callable[[Path], Loaded]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "stl10": stl10,
}
FORMS = [
    "digits",
    *(f"{name}:DIR" for name in IN_FOLDERS),
    f"folder:DIR or folder:DIR?size={SIZE}",
]
CIFAR_VALIDATION = 1_000
LARGEST = 4096
_OPTION = re.compile(r"\?(\w+)=([^/\\?]*)$")
"""A path may have a question mark, too: only what looks like an option is one."""


def open_data(spec: str, *, validation: int | None = None, seed: int = 0) -> DataSet:
    """The data set that ``spec`` names.

    - ``digits``: scikit-learn's 1,797 digits of 8x8, the last 297 for the test;
    - ``cifar10:DIR``, ``cifar100:DIR``: the binary or python version;
    - ``mnist:DIR``, ``fashion_mnist:DIR``: IDX files, with ``.gz`` or without;
    - ``stl10:DIR``: the labelled images of the binary version;
    - ``folder:DIR``: image files in ``train/CLASS/`` and ``val/CLASS/`` (used as the test images),
      as of ImageNet. ``folder:DIR?size=64`` resizes to 64x64 instead of 224x224.

    ``DIR`` has the files, or the folder of the files in it.

    ``validation`` images are drawn from the training images by ``seed``, and taken out of these:
    1,000 of CIFAR as in the R2R paper; else one of 50, but as many as there are classes at least.
    Every class has images in both parts where numbers allow it. The test images are the same for
    every seed.

    Raises :class:`growc.GrowcError` for what is no data set, and for files that are missing,
    truncated or damaged. Image files of ``folder`` are not looked into before they are used.
    """
    name, where, size = _parsed(spec)
    if where is None:
        loaded = digits()
    elif name == "folder":
        loaded = folder(where, size)
    else:
        loaded = IN_FOLDERS[name](where)
    labels = loaded.train.labels
    if validation is None:
        validation = _usual_validation(name, labels)
    if not 0 <= validation < len(labels):
        raise GrowcError(
            f"{validation:,} validation images can't be drawn from the "
            f"{plural(len(labels), 'training image')} of {name}",
            help=f"give a number from 0 to {len(labels) - 1:,}",
        )
    drawn = np.zeros(len(labels), bool)
    drawn[_order(labels, seed)[:validation]] = True
    return DataSet(
        name,
        loaded.classes,
        loaded.shape,
        loaded.train.part(np.flatnonzero(~drawn)),
        loaded.train.part(np.flatnonzero(drawn)),
        loaded.test,
    )


def absolute(spec: str) -> str:
    """The same data set from any working directory. Raises as :func:`open_data` for its text."""
    name, where, _ = _parsed(spec)
    if where is None:
        return spec
    option = _OPTION.search(spec)
    return f"{name}:{where.absolute()}{option.group() if option else ''}"


def same_but_for_folder(one: str, other: str) -> bool:
    """Whether two texts differ in the folder only."""
    (a, _, size_a), (b, _, size_b) = _parsed(one), _parsed(other)
    return (a, size_a) == (b, size_b)


def _parsed(spec: str) -> tuple[str, Path | None, int]:
    """Name, folder and size of a text."""
    name, colon, rest = spec.partition(":")
    known = ["digits", *IN_FOLDERS, "folder"]
    forms = "; ".join(FORMS)
    if name not in known:
        help = did_you_mean(name, known) or f"there are: {forms}"
        raise GrowcError(f"no data set `{name}`", help=help)
    if name == "digits":
        if colon:
            raise GrowcError(
                "`digits` is in scikit-learn, and has no folder", help="write `digits`"
            )
        return name, None, 0
    option = _OPTION.search(rest)
    where = rest[: option.start()] if option else rest
    if not where:
        raise GrowcError(
            f"`{name}` needs the folder of its files",
            help=f"write `{name}:DIR`; there are: {forms}",
        )
    size = SIZE
    if option:
        key, value = option.groups()
        if name != "folder" or key != "size":
            raise GrowcError(
                f"`{name}` has no option `{key}`",
                help="`folder:DIR?size=64` is the only one there is",
            )
        if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= LARGEST:
            raise GrowcError(
                f"`{value}` is no size of images", help=f"give a whole number from 1 to {LARGEST:,}"
            )
        size = int(value)
    return name, Path(where).expanduser(), size


def _usual_validation(name: str, labels: Labels) -> int:
    classes = len(np.unique(labels))
    wanted = CIFAR_VALIDATION if name.startswith("cifar") else max(len(labels) // 50, classes)
    # One of every class stays; this matters for tiny sets only.
    return min(wanted, len(labels) - classes)


def _order(labels: Labels, seed: int) -> NDArray[np.intp]:
    """The examples in the order in which they are drawn for validation.

    Random, but the first one of each class comes first and the last one of each class last, so
    that both parts have every class if there are as many (a class of one image stays in training).
    """
    order = generator(seed, SPLIT).permutation(len(labels))
    _, firsts = np.unique(labels[order], return_index=True)
    _, lasts = np.unique(labels[order][::-1], return_index=True)
    rank = np.ones(len(labels), np.int64)
    rank[firsts] = 0
    rank[len(labels) - 1 - lasts] = 2
    return order[np.argsort(rank, kind="stable")]
