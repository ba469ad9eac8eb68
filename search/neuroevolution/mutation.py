"""The mutation m of R2R section 4.2: a random pass at a random place, limited by τ, and proved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...compiler import Compiled, run
from ...ir import Diagnostic, Graph, GrowcError, Source, Span, names
from ...ir.weights import Array
from ...passes import NothingToDo, Pass, Place, Refusal
from ...passes.pipeline import parse_within
from ...passes.r2r import Recipe
from ...passes.widening import width_of

_CHANCE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*:\s*")
LEAST, MOST = 1e-9, 1e9
"""Between which chances are, so that they can be summed, and split among many places."""
_SHAPE = "mutations are `CHANCE: PASS`, as in `0.5: r2wider; 0.5: r2deeper{kernel=5}`"


@dataclass(frozen=True, slots=True)
class Mutation:
    """A pass, and how often it is drawn, relative to others."""

    chance: float
    applied: Pass

    def __str__(self) -> str:
        return f"{self.chance:g}: {self.applied}"


@dataclass(frozen=True, slots=True)
class Mutated:
    """m(h): a network that a mutation made."""

    applied: Pass
    """The pass with its place."""
    before: Graph
    """h, which it shares parameters with, by name and array."""
    graph: Graph
    compiled: Compiled


@dataclass(frozen=True, slots=True)
class Barren:
    """Why a network has no mutation."""

    reasons: tuple[str, ...]
    ratio: float | None
    """The largest |θ_h| / |θ_m(h)| of the mutations that τ forbids; None if there are none."""


def parse_mutations(text: str, name: str = "--mutations") -> tuple[Mutation, ...]:
    """Passes with their chances: ``0.5: r2wider; 0.5: r2deeper{kernel=5}``.

    Chances need not sum to one. Where a pass says ``at``, one of those places is drawn, else one of
    all. Raises :class:`GrowcError` with the place in ``text`` of what is not that.
    """
    source = Source(name, text)
    found: list[Mutation] = []
    at = 0
    while text[at:].strip():
        match = _CHANCE.match(text, at)
        if match is None:
            raise _mistake(source, at, "no mutation starts here")
        chance = float(match[1])
        if not LEAST <= chance <= MOST:
            what = f"a mutation's chance is a number from {LEAST:g} to {MOST:g}"
            raise _mistake(source, match.start(1), what)
        passes, end = parse_within(source, match.end())
        if len(passes) > 1:
            raise _mistake(source, match.end(), "a mutation is one pass")
        found.append(Mutation(chance, passes[0]))
        if end < len(text) and text[end] != ";":
            raise _mistake(source, end, "a mutation ends with `;`")
        at = end + 1
    if not found:
        raise GrowcError(f"{name}: there are no mutations", help=_SHAPE)
    return tuple(found)


def _mistake(source: Source, at: int, message: str) -> GrowcError:
    text = source.text
    start = min(at + len(text[at:]) - len(text[at:].lstrip()), max(len(text) - 1, 0))
    return GrowcError(Diagnostic(message, Span(source, start, start + 1), _SHAPE))


def draw(
    graph: Graph,
    mutations: Sequence[Mutation],
    widths: Sequence[float],
    tau: float,
    rng: np.random.Generator,
    *,
    seed: int,
    verify: str = "proof",
    taken: Iterable[str] = (),
) -> Mutated | Barren:
    """m(h) for a network h with values: one mutation, drawn among those that apply and τ allows.

    A pass is drawn by its chance, then one of its places, and one of ``widths`` for a new R2R block
    whose pass has no ``filters``. What does not apply, or has |θ_h| / |θ_m(h)| ≤ τ, is drawn
    again. The pass then runs through the compiler, which checks its claim as ``verify`` says.
    ``taken`` are the names of other networks' parameters, which new ones do not get. ``seed`` is
    that of new weights.

    Raises :class:`GrowcError` for a pass that does not keep what it claims.
    """
    start = graph.copy()
    for name in taken:
        # Passes give names that the store does not have: θ is one store for all networks.
        start.weights.setdefault(name, _NOBODY)
    reasons: dict[str, None] = {}
    drawable = list(_variants(graph, mutations, widths, reasons))
    count, ratio = graph.parameter_count(), None
    while drawable:
        chances = np.array([m.chance for m in drawable])
        applied = drawable.pop(int(rng.choice(len(drawable), p=chances / chances.sum()))).applied
        try:
            grown = applied(start, seed=seed).graph
        except NothingToDo as error:
            reasons.update(dict.fromkeys(d.message for d in error.diagnostics))
            continue
        size = grown.parameter_count()
        if not count > tau * size:
            ratio = max(count / size, ratio or 0.0)
            continue
        compiled = run(start, applied, seed=seed, verify=verify)
        own = compiled.graph.parameters()
        for name in [n for n in compiled.graph.weights if n not in own]:
            compiled.graph.weights.discard(name)
        return Mutated(applied, graph, compiled.graph, compiled)
    return Barren(tuple(reasons), ratio)


_NOBODY: Array = np.zeros((), np.float32)
"""Stands for other networks' parameters, of which only the names matter."""


def _variants(
    graph: Graph, mutations: Sequence[Mutation], widths: Sequence[float], reasons: dict[str, None]
) -> Iterator[Mutation]:
    """Every pass at each place that is open and with each width, with its share of the chance."""
    for mutation in mutations:
        applied: Any = mutation.applied
        if not hasattr(applied, "at"):
            yield mutation
            continue
        found = applied.find(graph)
        items = list(found.main)
        if applied.at is not None:
            test = names.matcher(applied.at)
            items = [i for i in (*items, *found.single()) if _place(i).matches(test)]
        places = [item for item in items if isinstance(item, Place)]
        if not places:
            refused = [f"{applied.name}: {i}" for i in items if isinstance(i, Refusal)]
            none = f"{applied.name}: the network has no {found.noun}"
            if applied.at is not None and not items:
                called = ", ".join(f"`{pattern}`" for pattern in applied.at)
                none = f"{applied.name}: no place of the network is called {called}"
            reasons.update(dict.fromkeys(refused[:3] or [none]))
        for place in places:
            there = _widened(replace(applied, at=(place.name,)), place, widths)
            share = mutation.chance / len(places) / len(there)
            yield from (Mutation(share, variant) for variant in there)


def nowhere(graph: Graph, mutations: Sequence[Mutation]) -> tuple[str, ...]:
    """What is to be said of mutations that a network has no place for."""
    said = []
    for mutation in mutations:
        reasons: dict[str, None] = {}
        if next(_variants(graph, [mutation], (1.0,), reasons), None) is None:
            said.append(
                f"`{mutation.applied}` has no place in the first network: {next(iter(reasons))}"
            )
    return tuple(said)


def _place(item: Place | Refusal) -> Place:
    return item.place if isinstance(item, Refusal) else item


def _widened(applied: Pass, place: Place, widths: Sequence[float]) -> list[Pass]:
    """The pass with each number of filters, where it adds an R2R block and leaves that open."""
    recipe = getattr(place, "recipe", None)
    if getattr(applied, "filters", 0) is not None or not isinstance(recipe, Recipe):
        return [applied]
    channels = width_of(recipe.project)
    open_pass: Any = applied
    return [replace(open_pass, filters=2 * max(1, round(w * channels / 2))) for w in widths]
