"""Common subexpressions: equal nodes become one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir import Graph, Node
from ..ir.attributes import Choice, Optional, Patterns, attr
from ..ir.ops import Add, Attention, Dropout, Maximum, Minimum, Mul
from .base import Found, Pass, Place, Refusal, register
from .functions import Prints, prints_of


@dataclass(frozen=True, slots=True, eq=False)
class _Twin(Place):
    """A node that yields what ``kept``, an earlier node, already yields."""

    kept: str


@register
@dataclass(frozen=True)
class Cse(Pass):
    """f(x; θ), f(y; θ) with x = y → f(x; θ), used twice

    Nodes with the same op, the same parameters and operands that are equal functions in both
    modes become the first of them. With ``weights=tied`` the same trainable parameters means one
    parameter that both nodes use, so that training goes on as it would have. ``weights=equal``
    also merges separate parameters whose values are equal now: the function is the same, but
    what would have been trained apart is then trained as one. Running statistics need only have
    equal values, as equal operands keep them so; where two batch norms shared them, they are
    updated once a step from then on. Equal constants become one. Dropouts with p > 0, and
    attention with dropout, draw masks of their own and stay.
    """

    name: ClassVar[str] = "cse"
    looks_at_weights: ClassVar[bool] = True

    at: Any = attr(Optional(Patterns()), None, doc="which nodes, by the one that goes or stays")
    weights: str = attr(
        Choice(("tied", "equal")), "tied", doc="merge one parameter's users, or equal values' too"
    )

    def find(self, graph: Graph) -> Found:
        prints = prints_of(graph)
        alike: dict[object, list[Node]] = {}
        for node in graph:
            if node.name not in graph.inputs:
                alike.setdefault(_call(graph, node, prints), []).append(node)
        first: dict[object, str] = {}
        twins: dict[str, Place | Refusal] = {}
        for call, nodes in alike.items():
            if len(nodes) == 1:
                continue
            for node in nodes:
                if _draws_masks(node):
                    reason = "each of the dropouts that read the same draws masks of its own"
                    twins[node.name] = Refusal(Place(node.name, ()), reason)
                    continue
                kept = first.setdefault((call, self._parameters(graph, node)), node.name)
                if kept != node.name:
                    twins[node.name] = _Twin(node.name, (kept,), kept)
        for nodes in alike.values():
            for node in nodes:
                if node.name not in twins and self._differs_by_values(graph, nodes, node):
                    twins[node.name] = Refusal(
                        Place(node.name, ()),
                        f"it computes what `{nodes[0].name}` does, but has parameters of its own "
                        "that may be trained apart; merge them with weights=equal",
                    )
        items = [twins[name] for name in graph.order() if name in twins]
        return Found("common subexpression", items, help="no two nodes are alike")

    def _parameters(self, graph: Graph, node: Node) -> tuple[str, ...]:
        """What must be the same for two nodes: parameters' names, or their values."""
        return tuple(
            key if spec.trainable and self.weights == "tied" else _content(graph, key)
            for key, spec in graph.params_of(node.name)
        )

    def _differs_by_values(self, graph: Graph, nodes: list[Node], node: Node) -> bool:
        """Whether only ``weights=tied`` keeps a node from being merged with the first alike."""
        if self.weights == "equal" or node is nodes[0]:
            return False
        mine, theirs = (
            [_content(graph, key) for key, _ in graph.params_of(n.name)] for n in (node, nodes[0])
        )
        return mine == theirs

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, _Twin)
            graph.redirect(place.name, place.kept)
        for place in reversed(places):
            graph.remove(place.name)


def _draws_masks(node: Node) -> bool:
    op = node.op
    return (isinstance(op, Dropout) and op.p > 0) or (isinstance(op, Attention) and op.dropout > 0)


def _call(graph: Graph, node: Node, prints: Prints) -> object:
    """The op and what its operands compute; the order of terms and factors does not matter."""
    operands = [(graph.node(o).type.shape, *(p.digest for p in prints[o])) for o in node.operands]
    if isinstance(node.op, (Add, Mul, Minimum, Maximum)):
        operands.sort()
    return node.op, tuple(operands)


def _content(graph: Graph, key: str) -> str:
    return hashlib.blake2b(graph.weights[key].tobytes(), digest_size=16).hexdigest()
