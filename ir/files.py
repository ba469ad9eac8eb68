"""Writing files so that nothing is ever half written or lost."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .diagnostics import GrowcError


def write_files(contents: Mapping[Path, bytes], *, overwrite: bool = False) -> None:
    """Write all files, or none: each to a temporary file beside its place, then all renamed.

    Raises :class:`GrowcError` if a file exists and ``overwrite`` is false, or cannot be written;
    existing files are then as before.
    """
    refuse_existing(contents, overwrite=overwrite)
    ready: list[tuple[Path, Path]] = []
    try:
        for path, content in contents.items():
            place = path.resolve()  # through a link, to the file itself
            place.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".growc-", dir=place.parent)
            ready.append((Path(name), place))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(_mode(place))
        # Backwards, so that the first file, which names the others, is the last to appear.
        for temporary, path in reversed(ready):
            temporary.replace(path)
    except OSError as error:
        raise GrowcError(
            f"{error.filename2 or path}: cannot be written ({error.strerror or error})",
            help="nothing was changed; check the folder, its permissions and the free space",
        ) from error
    finally:
        for temporary, _ in ready:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def refuse_existing(paths: Mapping[Path, object] | list[Path], *, overwrite: bool) -> None:
    """Raise :class:`GrowcError` if one of the files exists and must not be overwritten."""
    for path in paths:
        try:
            _refuse_existing(path, overwrite=overwrite)
        except OSError as error:
            raise GrowcError(f"{path}: cannot be written ({error.strerror or error})") from error


def _refuse_existing(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise GrowcError(f"{path}: is a folder, so no file can be written there")
    if path.exists() and not path.is_file():
        # Renaming a file to /dev/null would do away with it for everybody.
        raise GrowcError(f"{path}: is not an ordinary file, so it cannot be overwritten")
    if path.exists() and not overwrite:
        raise GrowcError(f"{path}: already exists", help="use --force to overwrite it")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise GrowcError(f"{path}: cannot be written, as {parent} is a file, not a folder")


def _mode(path: Path) -> int:
    """The permissions of the file that is overwritten; for a new one, those of any new file."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
