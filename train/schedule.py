"""Growth schedules: ``at 1500: r2wider{variant=concat}; at 4500: r2deeper``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..compiler import run
from ..ir import Diagnostic, Graph, GrowcError, Source, Span, initialize
from ..passes import NothingToDo, Pass
from ..passes.pipeline import parse_one, parse_within
from .searching import SEARCHES, Search

_SPACE = re.compile(r"\s*")
_AT = re.compile(r"at\s+([0-9_]+)\s*:\s*")
_EVERY = re.compile(
    r"every\s+([0-9_]+)\s*(?:or\s+flat\s+([0-9.eE+-]+)\s*)?(?:until\s+([0-9_]+)\s*)?:\s*"
)
WINDOW = 20
"""Of so many updates at least, a mean loss is taken."""
LONG = 200
"""From how many characters on a pipeline is told by its passes' names alone."""
_SHAPE = "a growth step is `at UPDATE: PASSES`, as in `at 1500: r2wider{filters=16}, r2deeper`"


@dataclass(frozen=True, slots=True)
class GrowthStep:
    """Passes that run after ``update`` updates, before the next one."""

    update: int
    passes: tuple[Pass, ...]
    span: Span = field(compare=False)
    """Where it stands in the text, for mistakes that show when it is tried."""

    @property
    def pipeline(self) -> str:
        return ", ".join(map(str, self.passes))

    @property
    def brief(self) -> str:
        """The pipeline, or only how many passes of each kind it has where it is long."""
        if len(self.pipeline) <= LONG:
            return self.pipeline
        counts = Counter(applied.name for applied in self.passes)
        return ", ".join(name if n == 1 else f"{n} {name}" for name, n in counts.items())

    def __str__(self) -> str:
        return f"at {self.update}: {self.pipeline}"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A search that is asked every so many updates, until (and with) one of them.

    With ``flat`` it is also asked when the gradient is near zero (ILNAS Algorithm 1, line 4). A
    gradient is known only with its noise, but to first order an update lowers the loss by its
    rate times the gradient's square: so that is when the mean training loss of the last
    ``window`` updates is not lower than that of as many before by the share ``flat``.
    """

    every: int
    until: int | None
    search: Search
    span: Span = field(compare=False)
    flat: float | None = None

    @property
    def window(self) -> int:
        """Two of them go into the time between two expansions."""
        return max(WINDOW, self.every // 4)

    def is_flat(self, losses: Sequence[float], update: int) -> bool:
        """Whether the losses since the last expansion no longer fall, and it may be asked."""
        n = self.window
        if self.flat is None or len(losses) < 2 * n:
            return False
        if self.until is not None and update > self.until:
            return False
        before, now = math.fsum(losses[-2 * n : -n]), math.fsum(losses[-n:])
        return now > (1 - self.flat) * before

    @property
    def update(self) -> int:
        """When it is asked first."""
        return self.every

    def times(self, updates: int) -> range:
        """The updates after which it is asked, of a run of so many."""
        last = updates - 1 if self.until is None else min(self.until, updates - 1)
        return range(self.every, last + 1, self.every)

    def __str__(self) -> str:
        flat = "" if self.flat is None else f" or flat {self.flat!r}"
        until = "" if self.until is None else f" until {self.until}"
        return f"every {self.every}{flat}{until}: {self.search}"


Schedule = tuple[GrowthStep | Repeated, ...]
"""Steps that are known, or one search."""


def parse_schedule(text: str, name: str = "--grow") -> Schedule:
    """The steps of a growth schedule, separated by semicolons, in the order of their updates; or
    ``every 500 or flat 0.01 until 4000: SEARCH``, alone.

    Raises :class:`GrowcError` with the place in ``text`` of what is not one.
    """
    source = Source(name, text)
    steps: list[GrowthStep | Repeated] = []
    at = _skip(text, 0)
    if (match := _EVERY.match(text, at)) is not None:
        return (_repeated(source, match),)
    while at < len(text):
        match = _AT.match(text, at)
        if match is None:
            raise _mistake(source, at, "no growth step starts here", _SHAPE)
        update = int(match.group(1))
        if steps and update <= steps[-1].update:
            what = "comes twice" if update == steps[-1].update else "is out of order"
            raise _mistake(
                source,
                match.start(1),
                f"the growth step at {update} {what}: the one before it is at {steps[-1].update}",
                "write several passes of one step with commas, and steps in order",
            )
        passes, end = parse_within(source, match.end())
        steps.append(GrowthStep(update, tuple(passes), Span(source, at, len(text[:end].rstrip()))))
        at = _skip(text, end)
        if at < len(text):
            if text[at] != ";":
                raise _mistake(source, at, "a growth step ends with `;`", _SHAPE)
            at = _skip(text, at + 1)
    return tuple(steps)


def _repeated(source: Source, match: re.Match[str]) -> Repeated:
    every = int(match.group(1))
    until = int(match.group(3)) if match.group(3) else None
    try:
        flat = float(match.group(2)) if match.group(2) else None
    except ValueError:
        flat = math.nan
    if flat is not None and not 0 <= flat < 1:
        what = "a loss falls by a share of itself, of less than 1"
        raise _mistake(source, match.start(2), what, "as in `every 500 or flat 0.01: …`")
    if not every:
        raise _mistake(source, match.start(1), "a search is asked every 1 update at least", None)
    if until is not None and until < every:
        raise _mistake(
            source, match.start(3), f"the search is first asked at {every}, after {until}", None
        )
    search, end = parse_one(source, match.end(), SEARCHES, "search")
    if end < len(source.text):
        raise _mistake(source, end, "a search stands alone: nothing can follow it", None)
    return Repeated(every, until, search, Span(source, match.start(), end), flat)


def seed_of(seed: int, index: int) -> int:
    """The seed of growth step ``index``: another one for each, as two may do the same."""
    return seed + 1 + index


def rehearse(graph: Graph, steps: Schedule, *, seed: int, updates: int) -> list[Graph | None]:
    """The network after each step, with the weights that it has now; None for a search.

    Nothing is proved or trained: this finds out, before the first update, what would stop a run
    after hours. That a pass which looks at weights finds nothing to do in those of now is fine.
    Raises :class:`GrowcError` at the step that is after the end of the run, or that cannot be
    applied.
    """
    found: list[Graph | None] = []
    at = graph.copy()
    initialize(at, seed)
    for index, step in enumerate(steps):
        if step.update >= updates:
            raise GrowcError(
                Diagnostic(
                    f"the run ends after {updates} updates, before this step",
                    step.span,
                    f"train for longer, or grow at {updates - 1} at the latest",
                )
            )
        if isinstance(step, Repeated):
            why_not = step.search.check(at)
            if why_not is not None:
                raise GrowcError(Diagnostic(why_not, step.span))
            found.append(None)
            continue
        try:
            at = doable(at, step.passes, seed_of(seed, index), strict=True).graph
        except GrowcError as error:
            why = error.diagnostics[0]
            raise GrowcError(
                Diagnostic(why.message, step.span, why.help, notes=why.notes)
            ) from error
        found.append(at)
    return found


@dataclass(frozen=True, slots=True)
class Doable:
    """What of a growth step there is to do in a network."""

    graph: Graph
    """The network after it."""
    passes: tuple[Pass, ...]
    """Those that find something."""
    idle: tuple[str, ...]
    """Why the others find nothing."""


def doable(graph: Graph, passes: Sequence[Pass], seed: int, *, strict: bool = False) -> Doable:
    """Try passes one after another, leaving out those which look at weights and find nothing.

    With ``strict`` it is an error where such a pass would have something to do, but does not apply.
    Raises :class:`GrowcError` for what else keeps a pass from being applied.
    """
    done: list[Pass] = []
    idle: list[str] = []
    for applied in passes:
        try:
            applied = _narrowed(applied, graph, seed, strict)
            graph = run(graph, applied, seed=seed, verify="none").graph
        except NothingToDo as error:
            if not applied.looks_at_weights:
                raise
            if strict and not all(refusal.nothing for refusal in error.refused):
                raise
            idle += [d.message for d in error.diagnostics]
        else:
            done.append(applied)
    return Doable(graph, tuple(done), tuple(idle))


def _narrowed(applied: Any, graph: Graph, seed: int, strict: bool) -> Any:
    """A pass that looks at weights, only where it was asked to and has something to do.

    Without this, one place of several with nothing to do would keep it from all.
    """
    patterns: tuple[str, ...] | None = getattr(applied, "at", None)
    if not applied.looks_at_weights or patterns is None or len(patterns) < 2:
        return applied
    kept = []
    for pattern in patterns:
        try:
            replace(applied, at=(pattern,))(graph, seed=seed)
        except NothingToDo as error:
            if strict and not all(refusal.nothing for refusal in error.refused):
                raise
        else:
            kept.append(pattern)
    return replace(applied, at=tuple(kept)) if kept else applied


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _mistake(source: Source, at: int, message: str, help: str | None) -> GrowcError:
    word = re.compile(r"\w+|.", re.DOTALL).match(source.text, at)
    end = word.end() if word else at + 1
    return GrowcError(Diagnostic(message, Span(source, at, end), help))
