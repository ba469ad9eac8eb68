"""Parts of a graph that repeat: dotted scopes whose nodes have the same ops, wiring and names.

Nothing here knows text. A scope is what a block instance can make: nodes below one name. Scopes
are *isomorphic* if they differ only in attributes of their ops and in the tensors they are
applied to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..ir import Graph, Node, names
from ..ir.attributes import Optional
from ..ir.ops import Op

LEAST_NODES = 3
PAIRS = 4
"""So many scopes of two nodes alike are worth a block, too: a layer with its activation."""
"""A scope with fewer nodes is not worth a block."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The nodes below ``name``; all numbers are places in the graph's canonical order."""

    name: str
    members: tuple[int, ...]
    entries: tuple[int, ...]
    """Nodes elsewhere that members are applied to, in order of their first use."""
    exits: tuple[int, ...]
    """Members that are used elsewhere, or are outputs of the net."""

    def inside(self, name: str) -> str:
        """The name of something in the scope, as the scope's own statements call it."""
        return name[len(self.name) + 1 :] if self.name else name

    def outside(self, name: str) -> str:
        """The name in the graph of what the scope's own statements call ``name``."""
        return f"{self.name}.{name}" if self.name else name


Repeat = list[Scope]
"""Isomorphic scopes: members, entries and exits correspond by their index."""


class Structure:
    """A graph as numbers: nodes in canonical order, operands and users by their places."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = list(graph)
        self.place = {node.name: i for i, node in enumerate(self.nodes)}
        self.operands = [tuple(self.place[o] for o in node.operands) for node in self.nodes]
        self._optional: dict[type[Op], tuple[str, ...]] = {}

    def optional(self, op: type[Op]) -> tuple[str, ...]:
        """Attributes that mean something of their own if left out, which no argument can say."""
        if op not in self._optional:
            kinds = ((a.name, a.kind) for a in op.attributes)
            self._optional[op] = tuple(n for n, kind in kinds if isinstance(kind, Optional))
        return self._optional[op]

    @cached_property
    def users(self) -> list[list[int]]:
        """Who uses each node's result. The outside world, as its user, comes after all nodes."""
        users: list[list[int]] = [[] for _ in self.nodes]
        for user, operands in enumerate(self.operands):
            for operand in operands:
                users[operand].append(user)
        for name in self.graph.outputs.values():
            users[self.place[name]].append(len(self.nodes))
        return users

    @cached_property
    def end_of_needed(self) -> int:
        """Where the nodes begin that no output needs: they are the last in canonical order."""
        needed = bytearray(len(self.nodes) + 1)
        needed[-1] = True
        for i in range(len(self.nodes) - 1, -1, -1):
            needed[i] = any(needed[user] for user in self.users[i])
        inputs = len(self.graph.inputs)
        return next((i for i in range(inputs, len(self.nodes)) if not needed[i]), len(self.nodes))


def find_repeats(structure: Structure) -> list[Repeat]:
    """All scopes that are isomorphic to another one, grouped; those of more nodes first."""
    alike: dict[object, list[tuple[str, list[int]]]] = defaultdict(list)
    for name, members in _members(structure).items():
        if len(members) >= LEAST_NODES - 1 and name not in structure.place:
            alike[_hint(structure, name, members)].append((name, members))
    found: dict[object, Repeat] = defaultdict(list)
    for candidates in alike.values():
        for name, members in candidates if len(candidates) > 1 else ():
            scope = _scope(structure, name, members)
            if scope is not None:
                found[_signature(structure, scope)].append(scope)
    repeats = [
        repeat
        for repeat in found.values()
        if len(repeat) >= (2 if len(repeat[0].members) >= LEAST_NODES else PAIRS)
    ]
    # A scope that holds just one other scope has as many nodes, but longer names in it.
    repeats.sort(key=lambda r: (-len(r[0].members), _length_inside(structure, r[0])))
    return repeats


def _members(structure: Structure) -> dict[str, list[int]]:
    """The nodes below every name that is before some dot."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, node in enumerate(structure.nodes):
        scope = names.scope_of(node.name)
        while scope:
            members[scope].append(i)
            scope = names.scope_of(scope)
    return members


def _hint(structure: Structure, name: str, members: Sequence[int]) -> object:
    """Equal for scopes that are isomorphic, and soon made: most scopes are like no other."""
    first, last = (structure.nodes[members[i]] for i in (0, -1))
    start = len(name)
    return len(members), first.name[start:], type(first.op), last.name[start:], type(last.op)


def _scope(structure: Structure, name: str, members: Sequence[int]) -> Scope | None:
    """The scope, if one call of a block can stand for it."""
    nodes, last = structure.nodes, members[-1]
    # Inputs are no part of a block. The order of nodes that no output needs is that of the text.
    if members[0] < len(structure.graph.inputs) or last >= structure.end_of_needed:
        return None
    if _is_list(nodes[m].name[len(name) + 1 :] for m in members):
        return None
    inside = set(members)
    entries: dict[int, None] = {}
    exits: list[int] = []
    for member in members:
        entries.update(dict.fromkeys(o for o in structure.operands[member] if o not in inside))
        outside = [user for user in structure.users[member] if user not in inside]
        # The call stands where the last member stood: in canonical order what members are
        # applied to comes before it, and what uses them must come after.
        if outside and min(outside) < last:
            return None
        if outside:
            exits.append(member)
        for key in nodes[member].shared.values():
            # In a block, names of its own nodes would come first.
            if names.scope_of(f"{name}.{key}") in structure.place:
                return None
    return Scope(name, tuple(members), tuple(entries), tuple(exits))


def _is_list(inside: Iterable[str]) -> bool:
    """Whether a scope is only a list of parts, ``layer1`` of ``layer1.0`` and ``layer1.1``.

    The parts say more than the list: as a block it would be one part among others.
    """
    return all(name.partition(".")[0].isdigit() and "." in name for name in inside)


def _signature(structure: Structure, scope: Scope) -> object:
    """Equal for isomorphic scopes, and for no others."""
    local = {place: i for i, place in enumerate(scope.members)}
    local.update((place, -1 - i) for i, place in enumerate(scope.entries))
    start = len(scope.name)
    parts = []
    for member in scope.members:
        node = structure.nodes[member]
        op = node.op
        wiring = tuple(local[o] for o in structure.operands[member])
        absent = tuple(getattr(op, name) is None for name in structure.optional(type(op)))
        parts.append((node.name[start:], type(op), absent, wiring, tuple(node.shared.items())))
    return tuple(parts), tuple(local[e] for e in scope.exits)


def _length_inside(structure: Structure, scope: Scope) -> int:
    return len(structure.nodes[scope.members[0]].name) - len(scope.name)
