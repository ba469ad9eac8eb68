"""TOML that a person may write, and plain values as TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .diagnostics import GrowcError

KIND_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
"""What values are, in words."""


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


def to_toml(comments: list[str], values: Mapping[str, Any]) -> str:
    """A file of values by name, those that are not None, behind lines of comment."""
    lines = [f"# {comment}" for comment in comments]
    for name, value in values.items():
        if value is not None:
            # TOML's texts are JSON's, but for one sign that must not stand for itself.
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{name} = {text}")
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """A value that was read, in a message."""
    return json.dumps(value, default=str, ensure_ascii=False)


def as_float(value: int | float) -> float:
    """A number as a float, the largest ones as infinity."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
