"""Finding and reading the files of a data set, with errors that name the file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ir import GrowcError
from .examples import Examples, Labels, Pixels

CHUNK = 1 << 20
DAMAGED = "the file is damaged or something else: download or unpack it again"


class Loaded(NamedTuple):
    """What a format's reader finds; the validation images are still among the training ones."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train: Examples
    test: Examples


@dataclass(frozen=True)
class Layout:
    """The files of one version of a data set, and the folders its archive unpacks into."""

    what: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    fits: Callable[[str], bool] = lambda folder: True
    """May a folder of this name, which none of ``folders`` is, hold it?"""


def mistake(place: Path, what: str, help: str = DAMAGED) -> GrowcError:
    """A mistake in a file or folder."""
    return GrowcError(f"{place}: {what}", help=help)


def existing_folder(where: Path) -> Path:
    """``where``, which must be a folder."""
    if not where.exists():
        raise mistake(where, "there is no such folder", "give the folder that has the data")
    if not where.is_dir():
        raise mistake(where, "this is a file, not a folder", "give the folder that has the data")
    return where


def find(where: Path, layouts: Sequence[Layout]) -> tuple[Layout, list[Path]]:
    """The first layout that is complete in ``where`` or a folder below it, and its files' paths.

    A file may be there with ``.gz`` at its end instead.
    """
    existing_folder(where)
    below = sorted(folder for folder in where.iterdir() if folder.is_dir())
    partial: tuple[int, Path, list[str]] | None = None
    for layout in layouts:
        known = [where, *(where / name for name in layout.folders)]
        others = [f for f in below if f not in known and layout.fits(f.name)]
        complete: dict[Path, list[Path]] = {}
        for folder in [*known, *others]:
            paths = {name: _present(folder, name) for name in layout.files}
            there = [path for path in paths.values() if path]
            missing = [name for name, path in paths.items() if not path]
            if not missing:
                complete[folder] = there
            elif there and (partial is None or len(there) > partial[0]):
                partial = len(there), folder, missing
        # Where the archive unpacks to comes before a folder of some other name.
        for folder in known:
            if folder in complete:
                return layout, complete[folder]
        if len(complete) > 1:
            listed = ", ".join(str(folder) for folder in complete)
            raise mistake(where, f"several folders have {layout.what}: {listed}", "give one")
        for paths_there in complete.values():
            return layout, paths_there
    if partial:
        _, folder, missing = partial
        named = ", ".join(f"`{name}`" for name in missing)
        verb = "is" if len(missing) == 1 else "are"
        raise mistake(folder, f"{named} {verb} missing", "unpack the whole archive there")
    raise mistake(
        where,
        f"no files of {layouts[0].what}",
        "give the folder (or the one above) of: "
        + "; or ".join(", ".join(layout.files) for layout in layouts),
    )


def _present(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def read(path: Path, limit: int | None = None) -> bytes:
    """The content of a file, unpacked if its name ends in ``.gz``; at most ``limit`` bytes.

    In chunks, so that a header which promises terabytes costs no memory.
    """
    chunks, left = [], limit
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
                chunks.append(chunk)
                left = None if left is None else left - len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise mistake(path, f"can't be read: {error}") from error
    return b"".join(chunks)


def records(path: Path, size: int) -> Pixels:
    """uint8 [n, size]: a file of records of ``size`` bytes, with nothing else."""
    data = read(path)
    count, rest = divmod(len(data), size)
    if rest:
        raise mistake(
            path,
            f"record {count:,} is truncated: the file's {len(data):,} bytes are no whole number "
            f"of records of {size:,} bytes",
        )
    if not count:
        raise mistake(path, "the file is empty")
    return np.frombuffer(data, np.uint8).reshape(count, size)


def names(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line."""
    try:
        lines = read(path).decode().split("\n")
    except UnicodeDecodeError as error:
        raise mistake(path, "the names of the classes are not text in UTF-8") from error
    return class_names(path, [line.strip() for line in lines if line.strip()])


def class_names(path: Path, found: Sequence[str]) -> tuple[str, ...]:
    """The names found in a file, of which there must be some."""
    if not found:
        raise mistake(path, "no names of classes")
    return tuple(found)


def checked_labels(
    path: Path, labels: NDArray[np.integer], classes: int, *, first: int = 0
) -> Labels:
    """Labels from 0, of which a file's are ``first`` to ``first + classes - 1``."""
    result = labels.astype(np.int64) - first
    wrong = np.flatnonzero((result < 0) | (result >= classes))
    if wrong.size:
        raise mistake(
            path,
            f"record {wrong[0]:,} has the label {labels[wrong[0]]}, "
            f"but labels are {first} to {first + classes - 1}",
        )
    return result
