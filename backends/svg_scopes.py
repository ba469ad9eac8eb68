"""Which nodes of a picture are framed together: block instances, by the dots in names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..ir import Graph

MAX_FRAMES = 4
"""How deep frames are nested. Scopes below that are drawn without a frame of their own."""

_Key = tuple[str, str]
"""A member of a scope while it is sorted out: ("node", name) or ("scope", prefix)."""


@dataclass(frozen=True)
class Group:
    """Nodes drawn inside one frame, with the groups among them; the whole picture is one too."""

    scope: str
    members: tuple[str | Group, ...]

    def nodes(self) -> Iterator[str]:
        """All nodes inside, those of inner groups too."""
        for member in self.members:
            if isinstance(member, Group):
                yield from member.nodes()
            else:
                yield member


def grouped(graph: Graph) -> Group:
    """The nodes of a graph, in canonical order, grouped by their names' scopes.

    The members of a group never depend on each other in a circle, so each can be drawn above what
    uses it. A scope that goes out through another node and comes back is cut into several groups.
    """
    operands = {node.name: node.operands for node in graph}
    return Group("", tuple(_members("", graph.order(), operands, MAX_FRAMES)))


def _members(
    scope: str, nodes: Sequence[str], operands: Mapping[str, Sequence[str]], levels: int
) -> list[str | Group]:
    """The nodes and groups that a scope with these nodes directly has."""
    if levels == 0:
        return list(nodes)
    members: list[str | Group] = []
    for (kind, key), inside in _parts(scope, nodes, operands):
        if kind == "node":
            members.append(key)
            continue
        # A scope whose nodes are all in inner scopes (`layer1` of `layer1.0`) would only add
        # another line around their frames, and a frame around one node says nothing.
        own = any(name.rpartition(".")[0] == key for name in inside)
        framed = own and len(inside) > 1
        found = _members(key, inside, operands, levels - framed)
        members.extend([Group(key, tuple(found))] if framed else found)
    return members


def _parts(
    scope: str, nodes: Sequence[str], operands: Mapping[str, Sequence[str]]
) -> list[tuple[_Key, list[str]]]:
    """Nodes by the member of ``scope`` that they belong to, cut where members form a circle."""
    start = len(scope) + 1 if scope else 0
    owner: dict[str, _Key] = {}
    for name in nodes:
        head, dot, _ = name[start:].partition(".")
        owner[name] = ("scope", name[:start] + head) if dot else ("node", name)
    circular = _on_circles(owner, operands)
    parts: dict[tuple[_Key, int], list[str]] = {}
    piece, last = 0, None
    for name in nodes:
        key = owner[name]
        if key not in circular:
            parts.setdefault((key, 0), []).append(name)
            continue
        # Stretches of a topological order cannot form a circle.
        if key != last:
            piece, last = piece + 1, key
        parts.setdefault((key, piece), []).append(name)
    return [(key, inside) for (key, _), inside in parts.items()]


def _on_circles(owner: Mapping[str, _Key], operands: Mapping[str, Sequence[str]]) -> set[_Key]:
    """Members that are on a circle or between two circles."""
    above: dict[_Key, set[_Key]] = {key: set() for key in owner.values()}
    for name, key in owner.items():
        above[key].update(owner[o] for o in operands[name] if o in owner)
        above[key].discard(key)
    below: dict[_Key, set[_Key]] = {key: set() for key in above}
    for key, others in above.items():
        for other in others:
            below[other].add(key)
    left = set(above)
    for back, forth in ((above, below), (below, above)):
        ready = [key for key in left if not back[key] & left]
        while ready:
            key = ready.pop()
            left.discard(key)
            ready.extend(k for k in forth[key] & left if not _any_in(back[k], left))
    return left


def _any_in(keys: Iterable[_Key], among: set[_Key]) -> bool:
    return any(key in among for key in keys)
