"""Widening a layer that stands in a plain chain, by filters concatenated to its own (R2R C.1).

    layer → norm → activation → … → layer

The first layer gets new output channels in two equal halves, [W; V; V]; what stands between
treats channels one by one; the next layer reads the new channels with opposite signs, so that
its old outputs do not change: [U β -β] · [h; v; v] = U·h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph, Node, TensorType
from ..ir.ops import (
    Add,
    Conv,
    ConvTranspose,
    Dropout,
    GroupNorm,
    LayerNorm,
    Linear,
    Op,
    Prelu,
    RmsNorm,
)
from ..ir.weights import Array, generator
from .following import Relates, is_partial, no_value, step, with_channels
from .r2r import new_weight


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A layer that can be widened: what its channels pass through, and the layers that read them.

    ``producers`` has the layer first, then those whose results are added to its own, as those of
    ``new_connection{source=NODE}`` are, and those with the same weights: they get as many channels.
    ``repeat`` gives, for every
    node, how many numbers of its channel axis stand for one channel of the first layer: more than
    one after a flatten. ``axis`` is that axis, for the producers and the nodes between; ``width``
    the first layer's number of channels.
    """

    producers: tuple[str, ...]
    width: int
    through: tuple[str, ...]
    consumers: tuple[str, ...]
    repeat: dict[str, int]
    axis: dict[str, int]

    @property
    def producer(self) -> str:
        return self.producers[0]

    @property
    def widened(self) -> tuple[str, ...]:
        """The nodes whose results get more channels."""
        return (*self.producers, *self.through)


Number = TypeVar("Number", np.float32, np.bool_)


def width_of(op: Op) -> int:
    """Output channels of a layer."""
    return op.features if isinstance(op, Linear) else op.channels  # type: ignore[attr-defined]


def is_layer(op: Op) -> bool:
    """Whether an op is a convolution or a linear layer."""
    return isinstance(op, (Conv, Linear))


def mixes(op: Op) -> bool:
    """Whether an op mixes channels by weights, so that it can begin or end a chain."""
    return isinstance(op, (Conv, ConvTranspose, Linear))


def rows_first(op: Op, weight: NDArray[Number]) -> NDArray[Number]:
    """A layer's weights (or a mask) as [out, in, …], or back again: a view.

    A transposed convolution stores them as [in, out, …].
    """
    return weight.swapaxes(0, 1) if isinstance(op, ConvTranspose) and weight.ndim > 1 else weight


def in_halves(called: str, op: Op, source: TensorType, axis: int, new: int) -> str | None:
    """Why new channels in two equal halves, [v; v], would not stay so, or would change the old."""
    if is_partial(op):
        return no_value(called)
    if isinstance(op, Dropout):
        return (
            f"{called} draws a different mask for each half of the new channels, so the function "
            "would change in train mode"
        )
    if isinstance(op, GroupNorm):
        size = source.shape[0] // op.groups
        if new // 2 % size == 0:
            return None
        return (
            f"{called} has groups of {size} channels: half of the new ones, {new // 2}, must fill "
            "whole groups"
        )
    return f"{called} relates all channels to each other, so new ones would change the old"


def trace(
    graph: Graph,
    producer: str,
    filters: int,
    relates: Relates = in_halves,
    *,
    ties: bool = False,
) -> Chain | str:
    """Follow a layer's channels to the layers that read them, or say why they can't grow.

    With ``ties`` layers with the same weights grow together: then all that reads one of them does.
    """
    first = graph.node(producer)
    if isinstance(first.op, (Conv, ConvTranspose)) and first.op.groups > 1:
        return f"`{producer}` is a grouped convolution"
    twins = _twins(graph, producer, ties)
    if not twins:
        return f"the weights of `{producer}` are shared with another node"
    producers: list[str] = []
    summed: set[str] = set()
    """Layers whose results are added, and their sums."""
    through: list[str] = []
    consumers: list[str] = []
    repeat: dict[str, int] = {}
    axes: dict[str, int] = {}
    waiting: list[tuple[str, int]] = []

    def produce(layers: Sequence[str]) -> None:
        for name in layers:
            producers.append(name)
            summed.add(name)
            repeat[name], axes[name] = 1, _axis_of(graph.node(name))

    def follow(layers: Sequence[str]) -> None:
        produce(layers)
        waiting.extend((name, axes[name]) for name in layers)

    follow((producer, *(name for name in twins if name != producer)))
    while waiting:
        at, axis = waiting.pop(0)
        users = graph.consumers(at)
        if graph.is_output(at):
            return f"its channels are the network's output, through `{at}`"
        if not users:
            return f"nothing reads `{at}`"
        for user, _ in users:
            if user in producers:
                return f"`{user}` has the weights of a layer whose channels it reads"
            if user in repeat:
                continue
            beside = _beside(graph, at, user, axis, ties) if at in summed else None
            if beside is not None and not repeat.keys() & {*beside[0], *beside[1]}:
                layers, sums = beside
                produce(layers)
                through += sums
                summed.update(sums)
                repeat.update(dict.fromkeys(sums, 1))
                axes.update(dict.fromkeys(sums, axis))
                waiting.append((user, axis))
                for name in layers:
                    follow([n for n in _twins(graph, name, ties) if n not in repeat])
                continue
            taken = step(graph, at, user, axis, repeat[at], filters, relates, ties)
            if isinstance(taken, str):
                return taken
            numbers, new_axis = taken
            repeat[user] = numbers
            if new_axis is None:
                consumers.append(user)
            else:
                through.append(user)
                axes[user] = new_axis
                waiting.append((user, new_axis))
    for name in consumers:
        for twin in _twins(graph, name, ties):
            if twin not in consumers:
                return f"the weights of `{name}` are shared with `{twin}`, which does not read it"
        if not _twins(graph, name, ties):
            return f"some weights of `{name}` are shared with another node"
    width = width_of(first.op)
    return Chain(tuple(producers), width, tuple(through), tuple(consumers), repeat, axes)


def _twins(graph: Graph, name: str, ties: bool) -> tuple[str, ...]:
    """The layers that grow with one, as they have its weights; empty if it cannot grow."""
    if not graph.is_tied(name):
        return (name,)
    return graph.twins(name) if ties else ()


def _axis_of(layer: Node) -> int:
    """The axis of a layer's channels in its result."""
    return layer.type.rank - 1 if isinstance(layer.op, Linear) else 0


def _beside(
    graph: Graph, at: str, total: str, axis: int, ties: bool
) -> tuple[list[str], list[str]] | None:
    """The layers whose results are added to ``at`` in ``total``, and the sums, that one last.

    All can get more channels together. None where something else is added, or where anything but
    the sum reads a part of it: that would have to be narrowed before the sum.
    """
    kind = graph.node(total).type
    layers: list[str] = []
    sums: list[str] = []

    def part(name: str) -> bool:
        """Whether it is a layer, or a sum of layers; gathers them."""
        node = graph.node(name)
        if node.type != kind or len(graph.consumers(name)) != 1 or graph.is_output(name):
            return False
        if isinstance(node.op, Add):
            good = all(map(part, node.operands))
            sums.append(name)
            return good
        layers.append(name)
        single = getattr(node.op, "groups", 1) == 1 and bool(_twins(graph, name, ties))
        return mixes(node.op) and single and _axis_of(node) == axis

    node = graph.node(total)
    if not isinstance(node.op, Add) or graph.node(at).type != kind or len(graph.consumers(at)) > 1:
        return None
    if not all(part(name) for name in node.operands if name != at):
        return None
    if len({*layers, *sums}) < len(layers) + len(sums) or node.operands.count(at) > 1:
        return None
    return (layers, [*sums, total]) if layers else None


def widen(
    graph: Graph,
    chains: Sequence[tuple[Chain, int]],
    init: str,
    seed: int,
    *,
    halves: bool = True,
) -> None:
    """Give the first layer of every chain that many new channels, in place.

    Without ``halves`` all new weights are independent, so that the function changes.
    """
    wider_out: dict[str, int] = {}
    wider_in: dict[str, int] = {}
    axes: dict[str, int] = {}
    for chain, count in chains:
        axes.update(chain.axis)
        for name in chain.widened:
            wider_out[name] = count * chain.repeat[name]
        for name in chain.consumers:
            wider_in[name] = count * chain.repeat[name]
    done: set[str] = set()
    for name in dict.fromkeys([*wider_out, *wider_in]):
        keys = {key for key, _ in graph.params_of(name)}
        if keys & done:
            continue  # a layer with the same weights
        done |= keys
        if mixes(graph.node(name).op) and not is_depthwise(graph, name):
            out, inward = wider_out.get(name, 0), wider_in.get(name, 0)
            _widen_layer(graph, name, out, inward, init, seed, halves)
        else:
            random = None if halves else init
            _widen_between(graph, name, wider_out[name], axes[name], random, seed)
    for name, count in wider_out.items():
        graph.set_op(name, with_channels(graph.node(name).op, graph.node(name), axes[name], count))


def is_depthwise(graph: Graph, name: str) -> bool:
    op = graph.node(name).op
    return isinstance(op, Conv) and op.groups > 1


def channel_axis(graph: Graph, name: str, axis: int) -> int | None:
    """The axis of a node's parameters that belongs to ``axis`` of its operand, its channels.

    None for a layer norm inside the channels, whose parameters are the same for all of them.
    """
    node = graph.node(name)
    if isinstance(node.op, Prelu):
        return 0 if axis == 0 and node.op.slopes > 1 else None
    if isinstance(node.op, (LayerNorm, RmsNorm)):
        inside = axis - (node.type.rank - node.op.dims)
        return inside if inside >= 0 else None
    return 0


def _widen_layer(
    graph: Graph, name: str, out: int, inward: int, init: str, seed: int, halves: bool
) -> None:
    """[[W, β, -β], [V, …], [V, …]]: old rows read new channels with opposite signs; new rows are
    random, in equal halves; what was there stays in the leading corner."""
    for key, spec in graph.params_of(name):
        op, old = graph.node(name).op, graph.weights[key]
        if spec.role == "bias":
            if out:  # else it stays the teacher's own array
                _put(graph, key, np.concatenate([old, np.zeros(out, np.float32)]))
            continue
        old = rows_first(op, old)
        rows, columns, *window = old.shape
        # The seed also depends on the shape, so that widening twice draws new numbers.
        rng = generator(seed, key, str(old.shape))
        new = new_weight(init, (rows + out, columns + inward, *window), old, rng)
        new[:rows, :columns] = old
        if halves:
            half = columns + inward // 2
            new[:rows, half:] = -new[:rows, columns:half]
            middle = rows + out // 2
            new[middle:] = new[rows:middle]
        _put(graph, key, np.ascontiguousarray(rows_first(op, new)))


def _widen_between(
    graph: Graph, name: str, count: int, axis: int, init: str | None, seed: int
) -> None:
    """New channels of normalizations start neutral. New depthwise kernels repeat old ones, the same
    in both halves, or are random where ``init`` names their scale."""
    at = channel_axis(graph, name, axis)
    if at is None:
        return
    for key, spec in graph.params_of(name):
        old = graph.weights[key]
        shape = (*old.shape[:at], count, *old.shape[at + 1 :])
        if isinstance(graph.node(name).op, Prelu):
            new = np.full(shape, spec.init.bound, np.float32)
        elif not is_layer(graph.node(name).op):
            new = np.full(shape, spec.role in ("weight", "running_var"), np.float32)
        elif spec.role == "bias":
            new = np.zeros(shape, np.float32)
        elif init is None:
            picked = old[np.arange(count // 2) % len(old)]
            new = np.concatenate([picked, picked])
        else:
            new = new_weight(init, shape, old, generator(seed, key, str(old.shape)))
        _put(graph, key, np.concatenate([old, new], axis=at))


def _put(graph: Graph, key: str, value: Array) -> None:
    """Store a wider parameter; its mask keeps what it leaves out, and takes all that is new."""
    mask = graph.weights.masks.get(key)
    if mask is not None:
        mask = np.pad(
            mask,
            [(0, new - old) for new, old in zip(value.shape, mask.shape, strict=True)],
            constant_values=True,
        )
    graph.weights.put(key, value, mask)
