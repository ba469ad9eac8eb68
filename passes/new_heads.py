"""New attention heads that nothing sees at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..ir import Graph, Node
from ..ir.attributes import Choice, Int, Optional, Patterns, attr
from ..ir.ops import (
    Add,
    Attention,
    Dropout,
    Flatten,
    Gather,
    Identity,
    Linear,
    Reshape,
    Slice,
    Transpose,
)
from ..ir.weights import Array, generator
from .base import Found, Pass, Place, Refusal, register
from .r2r import INITS, fresh_scope, new_weight


@dataclass(frozen=True, slots=True, eq=False)
class _Heads(Place):
    """An attention, what its queries, keys and values are projected from, and its way out.

    ``between`` are the dropouts between it and ``project``. ``layers`` are the linear layers of
    queries, keys and values, where each has one of its own: for ``concat``.
    """

    attention: str
    sources: tuple[str, str, str]
    biased: tuple[bool, bool, bool]
    between: tuple[str, ...]
    project: str
    layers: tuple[str, ...]


@register
@dataclass(frozen=True)
class NewHeads(Pass):
    """W·[h] → W·[h] + 0·[h'], with h' the results of new attention heads

    Adds heads to an attention whose result goes to one linear layer, its output projection. They
    are as large as the old ones, with the same scale and mask, and have random queries, keys and
    values; only what the network reads of them is zero at first.

    ``variant=parallel`` (the default) puts an attention of their own beside the old one: linear
    layers for queries, keys and values, which read what the old ones are projected from, and an
    output projection of zeros that is added to the old one's result. No old parameter is touched.
    ``variant=concat`` appends them to the layers that are there, as last heads: rows to the
    projections of queries, keys and values, zero columns to the output projection. It takes an
    attention whose queries, keys and values come from a linear layer each.
    """

    name: ClassVar[str] = "new_heads"

    at: Any = attr(Optional(Patterns()), None, doc="which attentions")
    heads: int | None = attr(
        Optional(Int(1)), None, doc="number of new heads; as many as there are if not given"
    )
    variant: str = attr(
        Choice(("parallel", "concat")), "parallel", doc="beside the old heads, or in their layers"
    )
    init: str = attr(
        Choice(INITS),
        "auto",
        doc="variance of new weights: as in the old projection (auto, match), 2/fan_in, or "
        "PyTorch's default",
    )
    seed: int | None = attr(Optional(Int(0)), None, doc="random seed; the pipeline's if not given")

    def find(self, graph: Graph) -> Found:
        items = [self._at(graph, node) for node in graph if isinstance(node.op, Attention)]
        return Found("attention", items)

    def _at(self, graph: Graph, node: Node) -> Place | Refusal:
        place = Place(node.name, ())
        after = _way_out(graph, node.name)
        if isinstance(after, str):
            return Refusal(place, after)
        *between, project = after
        sources, biased, layers = [], [], []
        for operand, what in zip(node.operands, ("queries", "keys", "values"), strict=False):
            layer = _projection(graph, operand)
            if layer is None:
                return Refusal(place, f"its {what}, `{operand}`, come from no linear layer")
            op = graph.node(layer).op
            assert isinstance(op, Linear)
            sources.append(graph.node(layer).operands[0])
            biased.append(op.bias)
            if layer == operand:
                layers.append(layer)
        reason = self._misfit(graph, node, sources, layers, project)
        if reason is not None:
            return Refusal(place, reason)
        return _Heads(
            node.name,
            (project,),
            node.name,
            (sources[0], sources[1], sources[2]),
            (biased[0], biased[1], biased[2]),
            tuple(between),
            project,
            tuple(layers),
        )

    def _misfit(
        self, graph: Graph, node: Node, sources: list[str], layers: list[str], project: str
    ) -> str | None:
        op = node.op
        assert isinstance(op, Attention)
        mask = graph.node(node.operands[3]).type if len(node.operands) == 4 else None
        count = self.heads or op.heads
        if mask is not None and mask.rank == 3 and mask.shape[0] > 1:
            if self.variant == "concat":
                return f"its mask {mask} has a part for every head, and none for new ones"
            if count != op.heads:
                return f"its mask {mask} has a part for each of {op.heads} heads, not for {count}"
        if self.variant == "parallel":
            for source, operand in zip(sources, node.operands, strict=False):
                kind, tokens = graph.node(source).type, graph.node(operand).type.shape[0]
                if kind.rank != 2 or kind.shape[0] != tokens:
                    return f"`{source}` is {kind}, not {tokens} tokens as `{operand}` is"
            return None
        if len(layers) < 3:
            return "its queries, keys and values share a layer, which variant=parallel leaves alone"
        if len(set(layers)) < 3:
            return "two of its queries, keys and values are one tensor; use variant=parallel"
        for name in (*layers, project):
            if graph.is_tied(name):
                return f"the weights of `{name}` are shared with another node"
        for name in layers:
            if len(graph.consumers(name)) > 1 or graph.is_output(name):
                return f"the result of `{name}` is also used elsewhere"
        return None

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, _Heads)
            op = graph.node(place.attention).op
            assert isinstance(op, Attention)
            if self.variant == "concat":
                self._widen(graph, place, op, seed)
            else:
                self._beside(graph, place, op, seed)

    # ---- beside the old heads

    def _beside(self, graph: Graph, place: _Heads, op: Attention, seed: int) -> None:
        old = graph.node(place.attention)
        count = self.heads or op.heads
        sizes = [graph.node(o).type.shape[1] // op.heads * count for o in old.operands[:3]]
        scope = fresh_scope(graph, place.attention, Linear(1), self.name)
        rng = generator(seed, scope)
        like = [self._like(graph, operand) for operand in old.operands[:3]]
        projected = []
        for source, size, bias, beside in zip(
            place.sources, sizes, place.biased, like, strict=True
        ):
            name = graph.fresh(f"{scope}.linear")
            graph.add(Linear(size, bias=bias), (source,), name)
            projected.append(name)
            for key, spec in graph.params_of(name):
                graph.weights[key] = (
                    np.zeros(spec.shape, np.float32)
                    if spec.role == "bias"
                    else new_weight(self.init, spec.shape, beside, rng)
                )
        at = graph.add(
            replace(op, heads=count),
            (*projected, *old.operands[3:]),
            graph.fresh(f"{scope}.attention"),
        )
        for name in place.between:
            between = graph.node(name).op
            at = graph.add(between, (at,), graph.fresh(f"{scope}.{between.name}"))
        features = graph.node(place.project).type.shape[1]
        zeros = graph.add(Linear(features, bias=False), (at,), graph.fresh(f"{scope}.linear"))
        ((key, spec),) = graph.params_of(zeros)
        graph.weights[key] = np.zeros(spec.shape, np.float32)
        total = graph.fresh(f"{scope}.add")
        graph.add(Add(), (place.project, zeros), total)
        graph.redirect(place.project, total, keep={total})

    def _like(self, graph: Graph, operand: str) -> Array | None:
        """The old projection's weights, whose scale ``init=match`` follows."""
        layer = _projection(graph, operand)
        assert layer is not None
        return graph.weights[graph.node(layer).parameter("weight")]

    # ---- in the layers that are there

    def _widen(self, graph: Graph, place: _Heads, op: Attention, seed: int) -> None:
        count = self.heads or op.heads
        for name in place.layers:
            layer = graph.node(name).op
            assert isinstance(layer, Linear)
            rows = layer.features // op.heads * count
            for key, spec in graph.params_of(name):
                old = graph.weights[key]
                shape = (rows, *old.shape[1:])
                # The seed also depends on the shape, so that widening twice draws new numbers.
                rng = generator(seed, key, str(old.shape))
                new = (
                    np.zeros(shape, np.float32)
                    if spec.role == "bias"
                    else new_weight(self.init, shape, old, rng)
                )
                _append(graph, key, new, 0)
            graph.set_op(name, replace(layer, features=layer.features + rows))
        values = graph.node(graph.node(place.attention).operands[2]).type.shape[1]
        key = graph.node(place.project).parameter("weight")
        columns = values // op.heads * count
        zeros = np.zeros((len(graph.weights[key]), columns), np.float32)
        _append(graph, key, zeros, 1)
        graph.set_op(place.attention, replace(op, heads=op.heads + count))


def _append(graph: Graph, key: str, new: Array, axis: int) -> None:
    """Rows or columns after the old ones; a mask leaves out none of them."""
    weights, mask = graph.weights, graph.weights.masks.get(key)
    if mask is not None:
        mask = np.concatenate([mask, np.ones(new.shape, np.bool_)], axis)
    weights.put(key, np.concatenate([weights[key], new], axis), mask)


def _way_out(graph: Graph, attention: str) -> list[str] | str:
    """The dropouts that an attention's result passes, and the linear layer that it reaches; or why
    it does not reach one."""
    found: list[str] = []
    at = attention
    while True:
        if graph.is_output(at):
            return f"the result of `{at}` is the network's output"
        users = graph.consumers(at)
        if len(users) != 1:
            return f"the result of `{at}` goes to {len(users)} places, not to one linear layer"
        at = users[0][0]
        op = graph.node(at).op
        found.append(at)
        if isinstance(op, Linear):
            return found
        if not isinstance(op, (Dropout, Identity)):
            return f"its result goes to `{at}` ({op.name}), not to a linear layer"


_PARTS = (Slice, Gather, Reshape, Flatten, Transpose, Identity)


def _projection(graph: Graph, operand: str) -> str | None:
    """The linear layer that a tensor is all or a part of."""
    at = operand
    while not isinstance(graph.node(at).op, Linear):
        operands = graph.node(at).operands
        if not isinstance(graph.node(at).op, _PARTS) or len(operands) != 1:
            return None
        (at,) = operands
    return at
