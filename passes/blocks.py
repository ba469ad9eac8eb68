"""Residual blocks: f(x) = x + F(x), found by dominators (R2R section 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..ir import Graph
from ..ir.analysis import immediate_dominators, region
from ..ir.names import scope_of
from ..ir.ops import NORMS, Add, Conv, Elementwise, Identity, Linear, Op, Scale
from .base import Place


@dataclass(frozen=True, slots=True, eq=False)
class Block(Place):
    """A residual block: a sum whose operands all come from one node, ``entry``.

    The skip may be the entry itself, or a projection or padding of it. ``body`` are the nodes in
    between, in canonical order. The place is called by the block instance that the sum lies in,
    if it is alone there, else by the sum.
    """

    entry: str
    sum: str
    body: tuple[str, ...]


def residual_blocks(graph: Graph) -> list[Block]:
    """Every residual block, in canonical order. Sums of sums with one entry are one block."""
    dominators = immediate_dominators(graph)
    found: list[tuple[str, str]] = []
    for node in graph:
        entry = dominators[node.name]
        if not isinstance(node.op, Add) or entry is None:
            continue
        if len(set(graph.operand_types(node))) > 1:
            continue  # a broadcast bias or gate, not a skip
        users = graph.consumers(node.name)
        inner = (
            len(users) == 1
            and isinstance(graph.node(users[0][0]).op, Add)
            and dominators[users[0][0]] == entry
            and not graph.is_output(node.name)
        )
        if not inner:
            found.append((entry, node.name))
    scopes = Counter(scope_of(total) for _, total in found)
    position = {name: i for i, name in enumerate(graph.order())}
    blocks = []
    for entry, total in found:
        body = sorted(region(graph, entry, total), key=position.__getitem__)
        if body:
            scope = scope_of(total)
            name = scope if scope and scopes[scope] == 1 else total
            blocks.append(Block(name, (total,), entry, total, tuple(body)))
    return blocks


def result_of(graph: Graph, block: Block) -> str:
    """The node that yields the block's result: its sum, or the activation that alone follows."""
    users = graph.consumers(block.sum)
    if len(users) == 1 and not graph.is_output(block.sum):
        follower = users[0][0]
        if is_activation(graph.node(follower).op):
            return follower
    return block.sum


def is_activation(op: Op) -> bool:
    """Whether an op is a non-linear function of single numbers."""
    return isinstance(op, Elementwise) and not isinstance(op, (Identity, Scale))


@dataclass(frozen=True, slots=True)
class Style:
    """What layers look like somewhere: what ``auto`` stands for in a pass's options."""

    layer: Conv | Linear | None = None
    norm: Op | None = None
    activation: Op | None = None


def style_of(graph: Graph, names: Iterable[str]) -> Style:
    """The first layer, normalization and activation among the named nodes."""
    layer: Conv | Linear | None = None
    norm: Op | None = None
    activation: Op | None = None
    for name in names:
        op = graph.node(name).op
        if layer is None and isinstance(op, (Conv, Linear)):
            layer = op
        elif norm is None and isinstance(op, NORMS):
            norm = op
        elif activation is None and is_activation(op):
            activation = op
    return Style(layer, norm, activation)


def nearest_layer(graph: Graph, name: str) -> str | None:
    """The layer that a node's numbers come from or go into, back or on in a straight line."""
    at: str | None = name
    while at is not None:
        node = graph.node(at)
        if isinstance(node.op, (Conv, Linear)):
            return at
        at = node.operands[0] if node.operands else None
    at = name
    while at is not None:
        users = graph.consumers(at)
        at = users[0][0] if users else None
        if at is not None and isinstance(graph.node(at).op, (Conv, Linear)):
            return at
    return None
