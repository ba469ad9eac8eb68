"""Which candidates an expansion takes: the best by score, within what it may add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...ir import Graph
from ...ir.parts import Part, sizes
from .space import Field, Scaffold

GRANULARITIES = ("layer", "kernel", "weight")
"""From coarse to fine (ILNAS section 3.4, Figure 2): what one Boolean of α stands for."""

Gradients = Mapping[str, NDArray[np.float64]]
"""∂L/∂(α_i W_i) by parameter."""
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Units:
    """The candidates, grouped: a unit is taken as a whole."""

    field: Indices
    """Of each unit: which field it is in."""
    label: Indices
    """Its number there."""
    size: Indices
    """How many connections it has."""
    opener: Indices
    """The new node or layer it needs, or -1."""
    labels: tuple[Indices, ...]
    """Of each field: the unit of each of its numbers, by label."""


def units_of(scaffold: Scaffold, granularity: str) -> Units:
    """Group the candidates: each ``weight`` alone, all of a ``kernel`` from one channel to another,
    or all that leads from one source (or placeholder node) to one ``layer``."""
    fields, labels, parts = scaffold.fields, [], []
    for i, field in enumerate(fields):
        of_all = _labels(field, granularity)
        labels.append(of_all)
        label, first, size = np.unique(of_all[field.missing], return_index=True, return_counts=True)
        column = np.nonzero(field.missing)[1][first] if field.missing.ndim > 1 else 0 * first
        parts.append((np.full(len(label), i), label, size, field.openers[column]))
    columns = [np.concatenate(c) for c in zip(*parts, strict=True)] if parts else 4 * [_NONE]
    field_, label, size, opener = columns
    return Units(field_, label, size, opener, tuple(labels))


_NONE = np.zeros(0, np.intp)


def _labels(field: Field, granularity: str) -> Indices:
    shape = field.missing.shape
    if len(shape) < 2 or granularity == "weight":
        return np.arange(field.missing.size).reshape(shape)
    if granularity == "kernel":
        kernels = np.arange(shape[0] * shape[1]).reshape(*shape[:2], *(1,) * (len(shape) - 2))
        return np.broadcast_to(kernels, shape)
    per_channel = (field.openers + 1).reshape(1, -1, *(1,) * (len(shape) - 2))
    return np.broadcast_to(per_channel, shape)


def scores(scaffold: Scaffold, units: Units, gradients: Gradients) -> NDArray[np.float64]:
    """|∂L/∂(α_i W_i)| of each unit: the root mean square over its connections, so that units of
    different sizes compare by what each parameter is worth."""
    found = np.zeros(len(units.size))
    for i, field in enumerate(scaffold.fields):
        mine = units.field == i
        squares = gradients[field.key][field.missing] ** 2
        label = units.labels[i][field.missing]
        total = np.bincount(np.searchsorted(units.label[mine], label), squares, int(mine.sum()))
        found[mine] = np.sqrt(total / units.size[mine])
    return found


def worth(scaffold: Scaffold, units: Units, score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores by what each parameter is worth, those of new nodes and layers included.

    What needs a closed opener is judged together with it: of its units the best ones, as many as
    make Σ size·score² / (cost + Σ size) largest, all have the root of that; to first order it is
    by how much the loss falls for each parameter. Any other unit keeps its score.
    """
    found = score.copy()
    # Sorting takes long. What is worth nothing is not among the best, and most needs no opener.
    needy = np.flatnonzero((units.opener >= 0) & (score > 0))
    order = needy[np.lexsort((-score[needy], units.opener[needy]))]
    starts = np.searchsorted(units.opener[order], np.arange(len(scaffold.openers) + 1))
    for opener, start, end in zip(scaffold.openers, starts, starts[1:], strict=False):
        mine = order[start:end]
        if len(mine):
            size = np.cumsum(units.size[mine])
            ratio = np.cumsum(units.size[mine] * score[mine] ** 2) / (opener.cost + size)
            last = int(ratio.argmax())
            found[mine[: last + 1]] = np.sqrt(ratio[last])
    return found


def best(
    scaffold: Scaffold,
    units: Units,
    score: NDArray[np.float64],
    limit: int,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """The units of highest score that add at most ``limit`` parameters.

    They are taken in order, ties in the order of the network. The first unit that needs a new node
    or layer also pays for that one's own parameters; a unit that no longer fits is passed over.
    Units without any gradient are not taken.
    """
    costs = np.array([opener.cost for opener in scaffold.openers] or [0])
    opened = np.zeros(len(costs), bool)
    taken = np.zeros(len(score), bool)
    allowed = score > 0 if among is None else (score > 0) & among
    left = np.flatnonzero(allowed)
    left = left[np.argsort(-score[left], kind="stable")]
    while len(left):
        needs = units.opener[left]
        closed = (needs >= 0) & ~opened[needs]
        price = units.size[left].copy()
        # The first of those that need the same one pays.
        _, first = np.unique(np.where(closed, needs, -1), return_index=True)
        payers = first[closed[first]]
        price[payers] += costs[needs[payers]]
        fitting = int(np.searchsorted(np.cumsum(price), limit, side="right"))
        now = left[:fitting]
        taken[now] = True
        opened[units.opener[now][units.opener[now] >= 0]] = True
        limit -= int(price[:fitting].sum())
        left = left[fitting:]
        needs = units.opener[left]
        closed = (needs >= 0) & ~opened[needs]
        alone = units.size[left] + np.where(closed, costs[needs], 0)
        left = left[alone <= limit]
    return taken


@dataclass(frozen=True, slots=True)
class Rooms:
    """How much each part of a network with several outputs may get."""

    shared: int
    """For what several outputs depend on."""
    own: Mapping[Part, int]
    """For what one output alone depends on."""

    def times(self, ratio: float) -> Rooms:
        own = {part: round(ratio * n) for part, n in self.own.items()}
        return Rooms(round(ratio * self.shared), own)


def rooms(graph: Graph, limit: int, shared: float) -> Rooms:
    """How ``limit`` additions are divided.

    They lead to a share of ``shared`` of |α|, and to own parts of equal size, as near as additions
    alone can get there.
    """
    now = sizes(graph)
    own = {part: count for part, count in now.items() if len(part) == 1}
    several = sum(count for part, count in now.items() if len(part) > 1)
    total = sum(now.values()) + limit
    lacks = {part: max(0.0, (1 - shared) * total / len(own) - n) for part, n in own.items()}
    lack = max(0.0, shared * total - several)
    scale = min(1.0, limit / (lack + sum(lacks.values()) or 1))
    return Rooms(int(scale * lack), {part: int(scale * n) for part, n in lacks.items()})


def best_of_parts(
    scaffold: Scaffold,
    units: Units,
    score: NDArray[np.float64],
    limit: int,
    rooms: Rooms,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """The units of highest score for each part alone, within its room. Where one output's part has
    too few candidates, those of others may have what is left of ``limit``; what is shared does not
    get more than its room. A place is either shared or a task's own."""
    parts = [field.part for field in scaffold.fields]
    allowed = np.ones(len(score), bool) if among is None else among.copy()

    def of(chosen: Callable[[Part], bool]) -> NDArray[np.bool_]:
        of_field = np.array([chosen(part) for part in parts], bool)
        of_unit: NDArray[np.bool_] = of_field[units.field]
        return np.logical_and(allowed, of_unit)

    taken = best(scaffold, units, score, rooms.shared, of(lambda part: len(part) > 1))
    allowed &= ~_beside(scaffold, units, taken)
    for own, room in rooms.own.items():
        taken |= best(scaffold, units, score, room, of(own.__eq__))
    left = limit - price_of(scaffold, units, taken)
    taken |= best(scaffold, units, score, left, of(lambda part: len(part) == 1) & ~taken)
    return taken


def ahead(scaffold: Scaffold, units: Units, score: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The units that none in the same place outscores: of a connection that is missing in several
    layers of one sum, one layer gets it. Of equals, the first in the order of the network."""
    index = {field.key: i for i, field in enumerate(scaffold.fields)}
    found = np.ones(len(score), bool)
    for i, field in enumerate(scaffold.fields):
        for j in (index[key] for key in field.same_place if key in index):
            mine = np.flatnonzero(units.field == i)
            others = np.flatnonzero(units.field == j)
            _, here, there = np.intersect1d(
                units.label[mine], units.label[others], assume_unique=True, return_indices=True
            )
            rival = score[others[there]]
            behind = score[mine[here]] < rival if i < j else score[mine[here]] <= rival
            found[mine[here[behind]]] = False
    return found


def _beside(scaffold: Scaffold, units: Units, taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The units that have a connection in the place of one that is taken."""
    chosen = entries(scaffold, units, taken)
    found = np.zeros(len(units.size), bool)
    for i, field in enumerate(scaffold.fields):
        for key in field.same_place:
            if key in chosen:
                labels = np.unique(units.labels[i][chosen[key] & field.missing])
                found |= (units.field == i) & np.isin(units.label, labels)
    return found


def price_of(scaffold: Scaffold, units: Units, taken: NDArray[np.bool_]) -> int:
    """How many parameters units add, the new nodes and layers that they need included."""
    needed = np.unique(units.opener[taken & (units.opener >= 0)])
    return int(units.size[taken].sum()) + sum(scaffold.openers[int(i)].cost for i in needed)


def entries(
    scaffold: Scaffold, units: Units, taken: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """The numbers of each parameter that the units stand for."""
    found = {}
    for i, field in enumerate(scaffold.fields):
        mine = taken & (units.field == i)
        if mine.any():
            found[field.key] = field.missing & np.isin(units.labels[i], units.label[mine])
    return found
