"""Names of nodes and parameters: dotted paths such as ``layer1.0.conv1``."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from fnmatch import fnmatchcase

BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*\Z")
"""Names that can be written in text without quotes."""

MAX_LENGTH = 500


def is_valid(name: str) -> bool:
    """Whether ``name`` can name a node: printable, no backtick, no empty part between dots."""
    return (
        0 < len(name) <= MAX_LENGTH
        and name.isprintable()
        and "`" not in name
        and all(part.strip() for part in name.split("."))
    )


def fresh(base: str, taken: Container[str], last: dict[str, int]) -> str:
    """``base``, or ``base_2``, ``base_3``, … if taken. ``last`` remembers where to go on."""
    if base not in taken:
        return base
    number = last.get(base, 1) + 1
    while f"{base}_{number}" in taken:
        number += 1
    last[base] = number
    return f"{base}_{number}"


def scope_of(name: str) -> str:
    """``layer1.0`` for ``layer1.0.conv1``; empty at the top."""
    return name.rpartition(".")[0]


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test for names that match one of the patterns (``*``, ``?``, ``[…]``), case included."""
    wanted = tuple(patterns)
    return lambda name: any(name == p or fnmatchcase(name, p) for p in wanted)
