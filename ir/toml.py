"""Reading TOML that a person may have written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from .diagnostics import GrowcError


def read_toml(path: Path, help: str) -> dict[str, Any]:
    """What is in a file. Raises :class:`GrowcError`, with ``help``, if it is not TOML, and if it
    cannot be read."""
    try:
        # Some editors put a mark of UTF-8 before the text.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise GrowcError(f"{path}: cannot be read ({error.strerror or error})") from error
    except RecursionError as error:
        raise GrowcError(f"{path}: is nested too deeply", help=help) from error
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise GrowcError(f"{path}: {error}", help=help) from error


def as_float(value: int | float) -> float:
    """A number as a float, the largest ones as infinity."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
