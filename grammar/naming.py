"""Names for nodes: from the binding, the block instance and the kind of op.

- ``stem = image -> conv2d(16)`` makes one node: it is called ``stem``.
- ``stem = image -> conv2d(16) -> relu`` makes two: ``stem.conv2d`` and ``stem.relu``.
- ``stage = residual(x, 32)`` makes an instance of a block, whose nodes are ``stage.…``.
- A name that is bound again in the same body (``x = …; x = …``) names nothing: its nodes are
  called by op or block: ``conv2d``, ``residual.relu``, ``residual_2.relu``.
- ``as name`` decides, relative to the block instance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..ir import names
from . import syntax as s


class Taken:
    """Names given so far, to nodes and to block instances."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def claim(self, base: str) -> str:
        """``base`` or ``base_2``, … whichever is free; it is taken from now on."""
        name = names.fresh(base, self._taken, self._last)
        self._taken.add(name)
        return name


def join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


class Namer:
    """Gives names to what one statement makes, within the block instance ``prefix``.

    ``label`` is the name that the statement binds, or None.
    """

    __slots__ = ("_claimed", "_label", "_made", "prefix", "taken")

    def __init__(self, taken: Taken, prefix: str, label: str | None = None) -> None:
        self.taken, self.prefix, self._label = taken, prefix, label
        self._claimed: str | None = None
        self._made = False

    def inner(self, kind: str) -> str:
        """Name for something in the middle of the statement."""
        if self._label is None:
            return self.taken.claim(join(self.prefix, kind))
        self._made = True
        return self.taken.claim(join(self._scope(), kind))

    def outer(self, kind: str) -> str:
        """Name for the statement's last node or block instance."""
        if self._label is None or self._made:
            return self.inner(kind)
        return self._scope()

    def _scope(self) -> str:
        if self._claimed is None:
            assert self._label is not None
            self._claimed = self.taken.claim(join(self.prefix, self._label))
        return self._claimed


def bound_once(body: s.Body, already: Iterable[str]) -> set[str]:
    """Names that a body binds in one place only, so that they can name nodes.

    ``already`` are names bound before the body begins: the parameters.
    """
    counts = _bindings(body.statements)
    counts.update(already)
    return {name for name, count in counts.items() if count == 1}


def _bindings(statements: Iterable[s.Statement]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for statement in statements:
        if isinstance(statement, s.Bind):
            counts.update(t.text for t in statement.targets)
        elif isinstance(statement, s.InputStatement):
            counts[statement.name.text] += 1
        elif isinstance(statement, s.Repeat):
            counts.update(_bindings(statement.body.statements))
        elif isinstance(statement, s.If):
            counts.update(_of_if(statement))
    return counts


def _of_if(statement: s.If) -> Counter[str]:
    """Only one branch is taken, so a name bound in both is bound once."""
    counts = _bindings(statement.body.statements)
    other = statement.otherwise
    if isinstance(other, s.If):
        counts |= _of_if(other)
    elif other is not None:
        counts |= _bindings(other.statements)
    return counts


def bound_names(statement: s.Statement) -> set[str]:
    """Every name that a statement may bind, loops and branches included."""
    return set(_bindings([statement]))
