"""A data set from a short text, and its validation images."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...ir import GrowcError
from ...ir.diagnostics import did_you_mean, plural
from .adapting import adapt
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
    "folder:DIR",
    "each with ?size=32, ?channels=3 or both",
]
CIFAR_VALIDATION = 1_000
LARGEST = 4096
_OPTIONS = re.compile(r"\?(\w+=[^/\\?&]*(?:&\w+=[^/\\?&]*)*)$")
"""A path may have a question mark, too: only what looks like options is one."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a text asks for."""

    name: str
    folder: Path | None
    options: str
    """As they stand in the text."""
    size: int | None
    channels: int | None

    def __str__(self) -> str:
        where = "" if self.folder is None else f":{self.folder}"
        if not self.options and _OPTIONS.search(where):
            where += "/"  # so that the end of the path is not taken for options
        return f"{self.name}{where}{self.options}"


def open_data(spec: str, *, validation: int | None = None, seed: int = 0) -> DataSet:
    """The data set that ``spec`` names.

    - ``digits``: scikit-learn's 1,797 digits of 8x8, the last 297 for the test;
    - ``cifar10:DIR``, ``cifar100:DIR``: the binary or python version;
    - ``mnist:DIR``, ``fashion_mnist:DIR``: IDX files, with ``.gz`` or without;
    - ``stl10:DIR``: the labelled images of the binary version;
    - ``folder:DIR``: image files in ``train/CLASS/`` and ``val/CLASS/`` (used as the test images),
      as of ImageNet, resized to 224x224.

    ``DIR`` has the files, or the folder of the files in it. ``?size=32`` after any of these resizes
    the images to 32x32, ``?channels=3`` gives grey ones three equal channels, ``?channels=1`` makes
    colours grey; ``?size=32&channels=3`` does both. So a network can be trained on other data than
    it was made for.

    ``validation`` images are drawn from the training images by ``seed``, and taken out of these:
    1,000 of CIFAR as in the R2R paper; else one of 50, but as many as there are classes at least.
    Every class has images in both parts where numbers allow it. The test images are the same for
    every seed.

    Raises :class:`growc.GrowcError` for what is no data set, and for files that are missing,
    truncated or damaged. Image files of ``folder`` are not looked into before they are used.
    """
    parsed = parse(spec)
    name, where, size = parsed.name, parsed.folder, parsed.size
    if where is None:
        loaded = digits()
    elif name == "folder":
        loaded = folder(where, size or SIZE)
    else:
        loaded = IN_FOLDERS[name](where)
    loaded = adapt(loaded, size, parsed.channels)
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


def open_all(text: str, *, validation: int | None = None, seed: int = 0) -> tuple[DataSet, ...]:
    """The data sets of a text such as ``mnist:DIR + fashion_mnist:DIR``, one for each task.

    ``validation`` is for each of them. Raises as :func:`open_data`.
    """
    return tuple(open_data(spec, validation=validation, seed=seed) for spec in separate(text))


def separate(text: str) -> list[str]:
    """The texts of single data sets in one of several. Paths may have a plus sign, too: only what a
    data set's name follows is one between two."""
    known = "|".join(("digits", *IN_FOLDERS, "folder"))
    return [one.strip() for one in re.split(rf"\s*\+\s*(?=(?:{known})(?:[:?\s+]|$))", text)]


def absolute(text: str) -> str:
    """The same data sets from any working directory. Raises as :func:`open_data` for its text."""
    made = []
    for parsed in map(parse, separate(text)):
        where = parsed.folder
        made.append(str(replace(parsed, folder=None if where is None else where.absolute())))
    return " + ".join(made)


def same_but_for_folder(one: str, other: str) -> bool:
    """Whether two texts differ in the folders only."""
    a, b = (
        [replace(parse(spec), folder=None, options="") for spec in separate(text)]
        for text in (one, other)
    )
    return a == b


def parse(spec: str) -> Spec:
    """What a text asks for. Raises :class:`growc.GrowcError` as :func:`open_data` does."""
    options = _OPTIONS.search(spec)
    if options and _is_path(spec, options.group(1)):
        options = None
    text = options.group(1) if options else ""
    name, colon, rest = (spec[: options.start()] if options else spec).partition(":")
    known = ["digits", *IN_FOLDERS, "folder"]
    forms = "; ".join(FORMS)
    if name not in known:
        help = did_you_mean(name, known) or f"there are: {forms}"
        raise GrowcError(f"no data set `{name}`", help=help)
    if name == "digits" and colon:
        raise GrowcError("`digits` is in scikit-learn, and has no folder", help="write `digits`")
    if name != "digits" and not rest:
        raise GrowcError(
            f"`{name}` needs the folder of its files",
            help=f"write `{name}:DIR`; there are: {forms}",
        )
    values: dict[str, int] = {}
    for option in text.split("&") if text else ():
        key, _, value = option.partition("=")
        if key in values:
            raise GrowcError(f"`{key}` comes twice in `{spec}`", help="give it once")
        values[key] = _option(name, key, value)
    where = Path(rest).expanduser() if rest else None
    said = f"?{text}" if text else ""
    return Spec(name, where, said, values.get("size"), values.get("channels"))


def _is_path(spec: str, options: str) -> bool:
    """Whether what looks like options is the end of an existing folder's name."""
    keys = {option.partition("=")[0] for option in options.split("&")}
    where = spec.partition(":")[2]
    return not keys & {"size", "channels"} and bool(where) and Path(where).expanduser().is_dir()


def _option(name: str, key: str, value: str) -> int:
    if key == "size":
        if re.fullmatch("[0-9]{1,9}", value) and 1 <= int(value) <= LARGEST:
            return int(value)
        raise GrowcError(
            f"`{value}` is no size of images", help=f"give a whole number from 1 to {LARGEST:,}"
        )
    if key == "channels":
        if value in ("1", "3"):
            return int(value)
        raise GrowcError(f"images cannot have `{value}` channels", help="give 1 or 3")
    raise GrowcError(
        f"`{name}` has no option `{key}`", help="there are `?size=32` and `?channels=3`"
    )


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
