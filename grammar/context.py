"""What elaboration keeps: the graph being made, the frame of variables, mistakes, and work done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from ..ir import Diagnostic, Graph, Source, Span
from . import syntax as s
from .naming import Namer, Taken
from .values import Value

MAX_DIAGNOSTICS = 20
MAX_STEPS = 1_000_000
"""Work that a text may ask for. A statement is a step; so are so many items of a list that is
looked at whole, and so many characters of a body that is run again; an instance of a block is
more than one."""
SIZE_OF_STEP = 8


class Stop(Exception):
    """The statement at hand cannot go on; what is wrong has been reported."""


class TooMany(Exception):
    """Enough has been reported."""


@dataclass(slots=True)
class Frame:
    """The body being elaborated: its file, its variables, and the block instance it is."""

    source: Source
    prefix: str
    once: set[str]
    variables: dict[str, Value] = field(default_factory=dict)
    called_from: tuple[str, Span] | None = None


class Context:
    """The graph that a text describes, as far as it is made, and the mistakes found so far."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.taken = Taken()
        self.diagnostics: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self.steps = 0
        self._reported: set[tuple[int, int]] = set()
        self.frame = Frame(Source("", ""), "", set())

    def namer(self, label: str | None = None) -> Namer:
        """Names for what a statement makes that binds ``label``, or no name."""
        return Namer(self.taken, self.frame.prefix, label)

    def span(self, piece: s.Piece) -> Span:
        return Span(self.frame.source, piece.start, piece.end)

    def report(
        self,
        message: str,
        piece: s.Piece,
        help: str | None = None,
        notes: Sequence[tuple[str, Span | None]] = (),
    ) -> None:
        """Record one mistake; a place in the text is reported once, however often it runs."""
        key = (id(self.frame.source), piece.start)
        if key in self._reported:
            return
        self._reported.add(key)
        if self.frame.called_from:
            name, place = self.frame.called_from
            notes = [*notes, (f"in the block instance `{name}`, made here", place)]
        self.diagnostics.append(Diagnostic(message, self.span(piece), help, notes))
        if len(self.diagnostics) >= MAX_DIAGNOSTICS:
            raise TooMany

    def fail(
        self,
        message: str,
        piece: s.Piece,
        help: str | None = None,
        notes: Sequence[tuple[str, Span | None]] = (),
    ) -> NoReturn:
        self.report(message, piece, help, notes)
        raise Stop

    def spend(self, steps: int, piece: s.Piece) -> None:
        """Count work, so that no text, however short, keeps growc busy for long."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            self.report(
                f"this network takes more than {MAX_STEPS:,} steps to build",
                piece,
                "is a loop or a list too long?",
            )
            raise TooMany
