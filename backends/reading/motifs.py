"""Repeated parts of a network whose model has no names for them.

A model whose batch norms were folded often keeps no names at all. What repeats is found as in
grammar-based compression (Re-Pair, Larsson and Moffat 1999): of all pairs of a node and the only
one that reads it, the most frequent kind becomes one unit, then the next, and so on; units of
units appear by themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...ir import Graph
from ...ir.ops import Conv

LEAST = 4
"""A kind of pair that turns up less often is no motif."""

LARGEST = 12
"""Units do not grow beyond this number of nodes: a block is what fits into a glance."""


@dataclass(slots=True, eq=False)
class Unit:
    """A node, or two units of which the first is read by the second alone."""

    label: object
    exit: str
    parts: list[Unit] = field(default_factory=list)
    size: int = 1


def motif_scopes(graph: Graph, nodes: Iterable[str]) -> dict[str, str]:
    """A scope for each of the nodes that belong to something that repeats."""
    units = _contracted(graph, list(nodes))
    position = {name: i for i, name in enumerate(graph.order())}
    tops = list({id(u): u for u in units.values()}.values())
    # What is like nothing else is no motif, but its parts may be.
    while True:
        alike = Counter(unit.label for unit in tops)
        lonely = [unit for unit in tops if unit.parts and alike[unit.label] < 2]
        if not lonely:
            break
        kept = [unit for unit in tops if not unit.parts or alike[unit.label] >= 2]
        tops = kept + [part for unit in lonely for part in unit.parts]
    tops.sort(key=lambda u: position[u.exit])
    found: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for unit in tops:
        if unit.parts:
            _spread(graph, unit, "", counts, found)
    return found


def _contracted(graph: Graph, nodes: list[str]) -> dict[str, Unit]:
    """Node → the largest unit that it is the end of or lies in."""
    units = {name: Unit(_label(graph, name), name) for name in nodes}
    while True:
        pairs: dict[object, list[tuple[Unit, Unit]]] = defaultdict(list)
        for unit in {id(u): u for u in units.values()}.values():
            users = graph.consumers(unit.exit)
            if len(users) != 1 or graph.is_output(unit.exit):
                continue
            user, index = users[0]
            other = units.get(user)
            if other is None or other is unit or unit.size + other.size > LARGEST:
                continue
            pairs[unit.label, other.label, index].append((unit, other))
        best: list[tuple[Unit, Unit]] = []
        kind: object = None
        for label, candidates in pairs.items():
            apart = _apart(candidates)
            if len(apart) >= LEAST and len(apart) > len(best):
                best, kind = apart, label
        if not best:
            return units
        for first, second in best:
            merged = Unit(kind, second.exit, [first, second], first.size + second.size)
            for name in _members(merged):
                units[name] = merged


def _apart(pairs: list[tuple[Unit, Unit]]) -> list[tuple[Unit, Unit]]:
    """Pairs that have no unit in common, from the front."""
    taken: set[int] = set()
    found = []
    for first, second in pairs:
        if id(first) not in taken and id(second) not in taken:
            taken |= {id(first), id(second)}
            found.append((first, second))
    return found


def _members(unit: Unit) -> list[str]:
    if not unit.parts:
        return [unit.exit]
    return [name for part in unit.parts for name in _members(part)]


def _label(graph: Graph, name: str) -> object:
    """What makes two nodes parts of the same motif: the op, and what kind of convolution it is."""
    op = graph.node(name).op
    if isinstance(op, Conv):
        return op.name, op.kernel, op.groups > 1
    return op.name


def _spread(
    graph: Graph, unit: Unit, outer: str, counts: Counter[str], found: dict[str, str]
) -> None:
    """Give the unit a scope within ``outer``, and its nodes and inner units places in that."""
    flat = _flat(unit)
    base = _base(graph, flat)
    counts[base] += 1
    name = base if counts[base] == 1 else f"{base}_{counts[base]}"
    scope = f"{outer}.{name}" if outer else name
    inner: Counter[str] = Counter()
    for part in flat:
        if part.parts:
            _spread(graph, part, scope, inner, found)
        else:
            found[part.exit] = scope


def _flat(unit: Unit) -> list[Unit]:
    """The unit's parts, where pairs of pairs are only steps on the way to a larger motif: single
    nodes and units of nodes alone."""
    found: list[Unit] = []
    for part in unit.parts:
        plain = all(not p.parts for p in part.parts)
        found += [part] if not part.parts or plain else _flat(part)
    return found


def _base(graph: Graph, parts: list[Unit]) -> str:
    """``conv2d_silu`` for two nodes, ``unit`` for more."""
    if len(parts) <= 2 and all(not part.parts for part in parts):
        return "_".join(graph.node(part.exit).op.name for part in parts)
    return "unit"
