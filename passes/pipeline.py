"""Pipelines as text: ``r2wider{filters=16, at=stage2.*}, r2deeper``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from ..ir import Diagnostic, GrowcError, Source, Span
from ..ir.attributes import BadArgument, Optional, Patterns
from ..ir.diagnostics import did_you_mean
from .base import PASSES, Configured, Pass

Kind = TypeVar("Kind", bound=Configured)

_NAME = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?(?=[\s,\]}]|\Z)")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
# A name or a pattern; brackets may stand inside it, as in layer[12].*
_WORD = re.compile(r"[\w.*?!-]+(\[[^\],{}]*\][\w.*?!-]*)*")
_SPACE = re.compile(r"\s*")


def parse_pipeline(text: str, name: str = "--pass") -> list[Pass]:
    """Passes of a comma-separated pipeline, in order.

    Raises :class:`GrowcError` with the place in ``text`` of an unknown pass, an unknown or
    unfitting option, or a syntax error.
    """
    return _Reader(Source(name, text)).pipeline()


def parse_within(source: Source, start: int) -> tuple[list[Pass], int]:
    """The passes of a pipeline that starts somewhere in a longer text, and where it ends: at the
    first sign that cannot go on with it. Raises :class:`GrowcError` as :func:`parse_pipeline`."""
    reader = _Reader(source, start)
    return reader.passes(), reader.at


def parse_one(
    source: Source, start: int, known: Mapping[str, type[Kind]], noun: str
) -> tuple[Kind, int]:
    """Something with options that is written as a pass is, ``name{option=value}``, but is one of
    ``known``; and where it ends. Raises :class:`GrowcError` as :func:`parse_pipeline`."""
    reader = _Reader(source, start)
    return reader.one(known, noun), reader.at


def _takes_patterns(cls: type[Configured], option: str) -> bool:
    kinds = [a.kind for a in cls.attributes if a.name == option]
    return any(isinstance(k.kind if isinstance(k, Optional) else k, Patterns) for k in kinds)


@dataclass
class _Reader:
    source: Source
    at: int = 0

    def passes(self) -> list[Pass]:
        passes = [self.one_pass()]
        while self._take(","):
            passes.append(self.one_pass())
        return passes

    def pipeline(self) -> list[Pass]:
        passes = self.passes()
        if self.at < len(self.source.text):
            self._fail("a comma is missing between two passes", self.at)
        return passes

    def one_pass(self) -> Pass:
        return self.one(PASSES, "pass")

    def one(self, known: Mapping[str, type[Kind]], noun: str) -> Kind:
        start, name = self._match(_NAME, f"a {noun}'s name is missing here")
        cls = known.get(name)
        if cls is None:
            self._fail(
                f"no {noun} is called `{name}`",
                start,
                did_you_mean(name, known) or f"{noun}es: {', '.join(known)}",
            )
        places: dict[str, int] = {}
        options: dict[str, Any] = {}
        if self._take("{") and not self._take("}"):
            while True:
                at, key = self._match(_NAME, "an option's name is missing here")
                if not self._take("="):
                    self._fail(f"write `=` and a value after `{key}`", self.at)
                if key in options:
                    self._fail(f"`{key}` is given twice", at)
                places[key] = at
                options[key] = self._value(_takes_patterns(cls, key))
                if self._take("}"):
                    break
                if not self._take(","):
                    self._fail("options are separated by commas and end with `}`", self.at)
        try:
            return cls.build([], options)
        except BadArgument as error:
            where = places.get(str(error.where), start)
            message = error.message.replace("has no argument", "has no option")
            self._fail(message, where, error.help)

    def _value(self, patterns: bool) -> Any:
        """A list or a scalar. Among name patterns, ``12`` and ``true`` are names."""
        if not self._take("["):
            return self._scalar(patterns)
        items: list[Any] = []
        while not self._take("]"):
            if self._peek("["):
                self._fail("a list cannot stand inside a list", self.at)
            items.append(self._scalar(patterns))
            if not self._take(",") and not self._peek("]"):
                self._fail("a list's items are separated by commas and end with `]`", self.at)
        return items

    def _scalar(self, patterns: bool) -> Any:
        start, text = self._match(_STRING, None)
        if text:
            try:
                return json.loads(text)
            except ValueError:
                self._fail("this text has an escape that does not exist", start)
        start, text = (0, "") if patterns else self._match(_NUMBER, None)
        if text:
            is_int = text.lstrip("+-").isdigit()
            if len(text) > 30:
                self._fail("this number is too long", start)
            return int(text) if is_int else float(text)
        _, text = self._match(_WORD, "a value is missing here")
        return text if patterns else {"true": True, "false": False}.get(text, text)

    def _skip(self) -> None:
        match = _SPACE.match(self.source.text, self.at)
        assert match is not None
        self.at = match.end()

    def _peek(self, sign: str) -> bool:
        self._skip()
        return self.source.text.startswith(sign, self.at)

    def _take(self, sign: str) -> bool:
        if not self._peek(sign):
            return False
        self.at += len(sign)
        self._skip()
        return True

    def _match(self, pattern: re.Pattern[str], otherwise: str | None) -> tuple[int, str]:
        self._skip()
        start = self.at
        match = pattern.match(self.source.text, start)
        if match is None:
            if otherwise is None:
                return start, ""
            self._fail(otherwise, start)
        self.at = match.end()
        self._skip()
        return start, match.group()

    def _fail(self, message: str, at: int, help: str | None = None) -> NoReturn:
        match = _WORD.match(self.source.text, at)
        end = match.end() if match else at + 1
        raise GrowcError(Diagnostic(message, Span(self.source, at, end), help))
