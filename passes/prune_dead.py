"""What does not matter goes: nodes, operations and channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir import Graph, Node
from ..ir.attributes import Optional, Patterns, attr
from ..ir.names import matcher
from ..ir.ops import (
    Clip,
    Concat,
    Dropout,
    Expand,
    Flatten,
    Gather,
    Identity,
    Pad,
    Power,
    Reshape,
    Scale,
    Slice,
    Tile,
    ToFloat,
    Transpose,
)
from .base import Found, Pass, Place, Refusal, register
from .functions import prints_of
from .narrowing import Narrow, narrow

NOTHING = "it has no channel that is zero in both modes or that nothing reads"


@dataclass(frozen=True, slots=True, eq=False)
class _Dead(Place):
    """A node that no output depends on. What depends on it goes with it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Idle(Place):
    """A node that yields its operand as it is."""


@register
@dataclass(frozen=True)
class PruneDead(Pass):
    """W·[h; 0] → U·h and [U 0]·[h; v] → U·h

    Removes nodes that no output depends on; operations that change nothing (``identity``, dropout
    with p = 0, a scale by one, pads, slices, reshapes and the like that leave all as it is); and
    dead channels of layers in plain chains: those that are zero in evaluation and in training
    mode, and those that the next layers read with weights that are all exactly zero. Inputs stay,
    and so does one channel of every layer. Before a group norm, only whole groups go.
    """

    name: ClassVar[str] = "prune_dead"
    looks_at_weights: ClassVar[bool] = True

    at: Any = attr(Optional(Patterns()), None, doc="which nodes and layers")

    def find(self, graph: Graph) -> Found:
        asked: Callable[[str], bool] = matcher(self.at) if self.at is not None else lambda _: True
        alive = _alive(graph)
        nodes: list[Place] = []
        for node in graph:
            if node.name not in alive:
                nodes.append(_Dead(node.name, ()))
            elif _is_idle(graph, node):
                nodes.append(_Idle(node.name, ()))
        clean = graph.copy()
        _remove(clean, [place for place in nodes if asked(place.name)])
        clean.settle()
        main, others = narrow(clean, prints_of(graph), self.at, merge=False, nothing=NOTHING)
        # A dead layer that was not asked for is a node to remove, not a layer to narrow.
        taken = {place.name for place in nodes}
        layers = [item for item in main if _name(item) not in taken]
        position = {name: i for i, name in enumerate(graph.order())}
        items: list[Place | Refusal] = sorted(
            [*nodes, *layers], key=lambda item: position[_name(item)]
        )
        rest = [item for item in others if item.place.name not in taken]
        return Found("dead part", items, lambda: rest, "all of it matters to the outputs")

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        _remove(graph, [p for p in places if isinstance(p, (_Dead, _Idle))])
        layers = [place for place in places if isinstance(place, Narrow)]
        if layers:
            graph.settle()
            layers[0].plan.commit(graph)


def _name(item: Place | Refusal) -> str:
    return (item.place if isinstance(item, Refusal) else item).name


def _alive(graph: Graph) -> set[str]:
    """The inputs, and the nodes that some output depends on."""
    found = set(graph.inputs)
    stack = list(graph.outputs.values())
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack.extend(graph.node(name).operands)
    return found


def _is_idle(graph: Graph, node: Node) -> bool:
    """Whether a node yields its operand as it is, in both modes."""
    if len(node.operands) != 1:
        return False
    x, op = graph.node(node.operands[0]).type, node.op
    match op:
        case Identity() | Concat():
            return True
        case Dropout():
            return op.p == 0
        case Scale():
            return op.factor == 1 and op.offset == 0
        case Transpose():
            return list(op.order) == sorted(op.order)
        case Gather():
            return list(op.indices) == list(range(x.shape[op.axis]))
        case Clip():
            return op.low is None and op.high is None
        case Power():
            return op.exponent == 1
        case Flatten() | Reshape() | Pad() | Slice() | Expand() | Tile() | ToFloat():
            # Numbers keep their order, so that none can have moved where the shape is the same.
            return node.type == x
    return False


def _remove(graph: Graph, places: Iterable[Place]) -> None:
    dead = {place.name for place in places if isinstance(place, _Dead)}
    order = graph.order()
    for name in order:
        if not dead.isdisjoint(graph.node(name).operands):
            dead.add(name)
    for name in reversed(order):
        if name in dead:
            graph.remove(name)
    for place in places:
        if isinstance(place, _Idle):
            (operand,) = graph.node(place.name).operands
            graph.redirect(place.name, operand)
            graph.remove(place.name)
