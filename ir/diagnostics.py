"""What growc tells a person who made a mistake: place, what is wrong, what to do."""

from __future__ import annotations

import bisect
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal


@dataclass(frozen=True, eq=False)
class Source:
    """A text that diagnostics point into: a file, standard input, or a string given from Python."""

    name: str
    text: str

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        starts.extend(i + 1 for i, char in enumerate(self.text) if char == "\n")
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """1-based line and column of the character at ``offset``."""
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of 1-based line ``number``, without its end."""
        starts = self._line_starts
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Characters ``start`` to ``end`` (exclusive) of a source."""

    source: Source
    start: int
    end: int

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake: a plain sentence, where it is, what else matters (notes), and what to do."""

    message: str
    span: Span | None = None
    help: str | None = None
    notes: Sequence[tuple[str, Span | None]] = field(default=())
    severity: Literal["error", "warning"] = "error"

    def render(self) -> str:
        """The diagnostic as people read it: ``file:line:col``, the line, a caret, ``help:``."""
        where = f"{self.span}: " if self.span else ""
        lines = [f"{where}{self.severity}: {self.message}"]
        if self.span:
            lines += _excerpt(self.span)
        for text, span in self.notes:
            lines.append(f"note: {text}" + (f" ({span})" if span else ""))
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The diagnostic as one JSON-ready object."""
        line, column = self.span.source.position(self.span.start) if self.span else (None, None)
        return {
            "severity": self.severity,
            "file": self.span.source.name if self.span else None,
            "line": line,
            "column": column,
            "message": self.message,
            "notes": [text for text, _ in self.notes],
            "help": self.help,
        }


_MAX_EXCERPT = 160


def _excerpt(span: Span) -> list[str]:
    number, column = span.source.position(span.start)
    # Control characters would move the caret or the reader's terminal: show one blank for each.
    text = "".join(c if c.isprintable() else " " for c in span.source.line(number))
    first = max(0, column - 1 - _MAX_EXCERPT // 2) if len(text) > _MAX_EXCERPT else 0
    shown = text[first : first + _MAX_EXCERPT]
    offset = column - 1 - first
    width = max(1, min(span.end - span.start, len(shown) - offset))
    margin = f"{number:>5} | "
    return [margin + shown, " " * 5 + " | " + " " * offset + "^" * width]


class GrowcError(Exception):
    """One or more mistakes in what growc was given. ``diagnostics`` has them, first one first."""

    def __init__(self, *diagnostics: Diagnostic | str, help: str | None = None) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(
            Diagnostic(d, help=help) if isinstance(d, str) else d for d in diagnostics
        )
        super().__init__("\n".join(d.render() for d in self.diagnostics))


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """``did you mean `conv2d`?`` when a known word is close to ``word``, else None."""
    by_folded = {k.lower(): k for k in known}
    close = difflib.get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return f"did you mean `{by_folded[close[0]]}`?" if close else None


def plural(count: int, noun: str) -> str:
    """``1 block``, ``3 blocks``, ``2 branches``."""
    ending = "" if count == 1 else "es" if noun.endswith(("ch", "s", "x")) else "s"
    return f"{count:,} {noun}{ending}"
