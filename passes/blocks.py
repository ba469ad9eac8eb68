"""Residual blocks: f(x) = x + F(x), found by dominators (R2R section 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..ir import Graph
from ..ir.analysis import immediate_dominators, input_free, region
from ..ir.names import scope_of
from ..ir.ops import (
    NORMS,
    Add,
    Celu,
    Clip,
    Conv,
    ConvTranspose,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Linear,
    Mish,
    Op,
    Prelu,
    Relu,
    RmsNorm,
    Selu,
    Shrink,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
    ThresholdedRelu,
)
from .base import Place


@dataclass(frozen=True, slots=True, eq=False)
class Block(Place):
    """A residual block: a sum whose operands all come from one node, ``entry``.

    The skip may be the entry itself, or a projection or padding of it. ``body`` are the nodes in
    between, in canonical order. The place is called by the block instance that the sum lies in,
    if it is alone there, else by the sum. There is a layer among them.
    """

    entry: str
    sum: str
    body: tuple[str, ...]


def residual_blocks(graph: Graph) -> list[Block]:
    """Every residual block, in canonical order. Sums of sums with one entry are one block."""
    dominators = immediate_dominators(graph)
    free = input_free(graph)
    sums = {
        node.name: entry
        for node in graph
        if isinstance(node.op, Add)
        and (entry := dominators[node.name]) is not None
        # Operands of several shapes are a broadcast bias or gate, not a skip.
        and len(set(graph.operand_types(node))) == 1
        # One operand that the inputs reach: the others are a position embedding, not a skip.
        and len(set(node.operands) - free) > 1
    }
    found: list[tuple[str, str]] = []
    for name, entry in sums.items():
        users = graph.consumers(name)
        inner = len(users) == 1 and sums.get(users[0][0]) == entry and not graph.is_output(name)
        if not inner:
            found.append((entry, name))
    scopes = Counter(scope_of(total) for _, total in found)
    position = {name: i for i, name in enumerate(graph.order())}
    blocks = []
    for entry, total in found:
        inner_nodes = (name for name in region(graph, entry, total) if name not in free)
        body = sorted(inner_nodes, key=position.__getitem__)
        # x + relu(x), or the corners of boxes from their centres, learn nothing.
        if any(isinstance(graph.node(name).op, (Conv, ConvTranspose, Linear)) for name in body):
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
    """Whether an op is one of the functions of single numbers that networks put after layers: not
    linear, and with a value for every number."""
    return isinstance(op, ACTIVATIONS)


ACTIVATIONS = (
    *(Relu, LeakyRelu, Elu, Gelu, Silu, Sigmoid, Tanh, HardSwish),
    *(Clip, Softplus, Softsign, Selu, Celu, Mish, HardSigmoid, ThresholdedRelu, Shrink, Prelu),
)


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
        elif norm is None and isinstance(op, (*NORMS, RmsNorm)):
            norm = op
        elif activation is None and is_activation(op):
            activation = op
    return Style(layer, norm, activation)


def nearest_layers(graph: Graph) -> dict[str, str]:
    """For every node, the nearest layer that its numbers come from: a layer is its own.

    Where they come from no layer, the one nearest to those that use them; none if these have none.
    """
    order = graph.order()
    near: dict[str, tuple[int, str]] = {}
    for name in order:
        node = graph.node(name)
        if isinstance(node.op, (Conv, Linear)):
            near[name] = 0, name
        else:
            _step(near, name, node.operands)
    for name in reversed(order):
        if name not in near:
            _step(near, name, (user for user, _ in graph.consumers(name)))
    return {name: layer for name, (_, layer) in near.items()}


def _step(near: dict[str, tuple[int, str]], name: str, neighbours: Iterable[str]) -> None:
    """One step from the neighbour that is nearest to a layer, the first one if there are two."""
    known = [near[n] for n in neighbours if n in near]
    if known:
        distance, layer = min(known, key=lambda pair: pair[0])
        near[name] = distance + 1, layer
