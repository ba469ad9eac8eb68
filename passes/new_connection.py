"""New connections at weight zero (ILNAS section 3.2, Figure 1 left)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph, GrowcError, Node
from ..ir.attributes import Choice, Int, Ints, Optional, attr
from ..ir.diagnostics import did_you_mean
from ..ir.ops import Add, Conv, Linear
from ..ir.weights import Mask, generator
from .additions import Addition, NodeName
from .base import Found, Place, Refusal, register
from .r2r import fresh_scope
from .widening import is_layer, mixes

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class _Missing(Place):
    """A layer with missing connections, and those to choose from."""

    units: Indices


@dataclass(frozen=True, slots=True, eq=False)
class _Beside(Place):
    """A layer, the one to be added beside it, what that reads, and its possible connections."""

    layer: Conv | Linear
    source: str
    units: Indices


@register
@dataclass(frozen=True)
class NewConnection(Addition):
    """α_i: 0 → 1, at W_i = 0

    In every layer with missing weights or biases, ``count`` of them are added to the mask: at
    random, or those that ``indices`` name. Connections of a layer are numbered as in memory,
    first its weights, then its biases; with ``per=kernel`` a unit is all of a kernel from one
    channel to another, or one bias.

    With ``source=NODE`` the connections lead from that node, an earlier one with the same spatial
    size (the same stage), to the layer's result: a layer of the same kind, of zero weights, reads
    it and is added to that result. Its mask holds the chosen connections only.
    """

    name: ClassVar[str] = "new_connection"

    count: int = attr(
        Int(1), 1, doc="how many connections to add to each layer, all if it has less"
    )
    per: str = attr(Choice(("weight", "kernel")), "weight", doc="what one connection is")
    indices: Any = attr(
        Optional(Ints(0)), None, doc="which connections to add, by number; random ones if not given"
    )
    source: str | None = attr(
        Optional(NodeName()), None, doc="an earlier node of the same stage to connect from"
    )

    def find(self, graph: Graph) -> Found:
        layers = [node for node in graph if mixes(node.op)]
        if self.source is not None:
            before = _with_ancestors(graph, self.source)
            beside = [
                self._beside(graph, node, self.source, before)
                for node in layers
                if is_layer(node.op)
            ]
            return Found("layer", beside)
        places = {node.name: self._missing(graph, node) for node in layers}
        # Of layers with the same weights, which have the same missing, the first one.
        by_weight = {graph.node(name).parameter("weight"): name for name in reversed(places)}
        first = set(by_weight.values())
        masked = [p for name, p in places.items() if _masks(graph, name) and name in first]
        return Found(
            "masked layer",
            masked,
            lambda: list(places.values()),
            "new_layer, new_node and new_connection{source=NODE} make such layers",
        )

    # ---- connections that are missing in a layer

    def _missing(self, graph: Graph, node: Node) -> Place | Refusal:
        there = self._there(graph, node.name)
        missing = np.flatnonzero(~there)
        if self.indices is None:
            if len(missing):
                return _Missing(node.name, (), missing)
            return Refusal(
                Place(node.name, ()), "nothing is missing: all its connections are there"
            )
        reason = self._out_of_range(len(there))
        present = [i for i in self.indices if reason is None and there[i]]
        if present:
            reason = f"its connection {present[0]} is not missing"
        if reason is not None:
            return Refusal(Place(node.name, ()), reason)
        return _Missing(node.name, (), np.unique(np.array(self.indices, np.intp)))

    def _there(self, graph: Graph, layer: str) -> Mask:
        """Whether each connection of a layer is there, whole."""
        masks = [graph.weights.mask(key) for key, _ in graph.params_of(layer)]
        return np.concatenate([self._units(mask).all(axis=1) for mask in masks])

    def _units(self, mask: Mask) -> Mask:
        """A mask as [connections, entries]: a view of a contiguous one."""
        kernel = self.per == "kernel" and mask.ndim > 1
        return mask.reshape(mask.shape[0] * mask.shape[1], -1) if kernel else mask.reshape(-1, 1)

    def _out_of_range(self, size: int) -> str | None:
        beyond = [i for i in self.indices or () if i >= size]
        if not beyond:
            return None
        return f"it has {size} connections, numbered from 0, so none is number {beyond[0]}"

    def _add(self, graph: Graph, layer: str, units: Indices) -> None:
        """α of these connections becomes true; the weights stay what they are, zero."""
        for key, _ in graph.params_of(layer):
            mask = np.array(graph.weights.mask(key), order="C")
            view = self._units(mask)
            view[units[units < len(view)]] = True
            graph.weights.put(key, graph.weights[key], mask)
            units = units[units >= len(view)] - len(view)

    # ---- connections from an earlier layer

    def _beside(self, graph: Graph, node: Node, source: str, before: set[str]) -> Place | Refusal:
        place = Place(node.name, ())
        if node.name in before:
            return Refusal(place, f"`{source}` depends on it, so the connection would make a cycle")
        if source == node.operands[0]:
            return Refusal(
                place, f"it reads `{source}` already: add what is missing without `source`"
            )
        other = _connection(graph, node.name, source)
        if other is not None:
            return Refusal(
                place, f"`{other}` connects it with `{source}` already: add what is missing there"
            )
        kind, result = graph.node(source).type, node.type
        assert isinstance(node.op, (Conv, Linear))
        last = isinstance(node.op, Linear)
        sizes = [t.shape[:-1] if last else t.shape[1:] for t in (kind, result)]
        if kind.dtype != "f32":
            return Refusal(place, f"`{source}` is {kind}, whole numbers")
        if kind.rank != result.rank or sizes[0] != sizes[1]:
            return Refusal(
                place,
                f"`{source}` is {kind}, which differs from its result {result} in more than the "
                "channels: it lies in another stage",
            )
        layer = _layer_like(node.op)
        weight = layer.params(kind)[0]
        everything = self._units(np.zeros(weight.shape, np.bool_))
        reason = self._out_of_range(len(everything))
        if reason is not None:
            return Refusal(place, reason)
        units = np.arange(len(everything))
        if self.indices is not None:
            units = np.unique(np.array(self.indices, np.intp))
        return _Beside(node.name, (), layer, source, units)

    def _connect(self, graph: Graph, place: _Beside, units: Indices) -> None:
        scope = fresh_scope(graph, place.name, place.layer, self.name)
        name = graph.fresh(f"{scope}.{place.layer.name}")
        new = graph.add(place.layer, (place.source,), name)
        ((key, spec),) = graph.params_of(new)
        mask = np.zeros(spec.shape, np.bool_)
        self._units(mask)[units] = True
        graph.weights.put(key, np.zeros(spec.shape, np.float32), mask)
        total = graph.add(Add(), (place.name, new), graph.fresh(f"{scope}.add"))
        graph.redirect(place.name, total, keep={total})

    # ---- both

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, (_Missing, _Beside))
            units = place.units
            if self.indices is None and len(units) > self.count:
                # The seed also depends on how many are missing: each time it draws others.
                rng = generator(seed, self.name, place.name, str(len(units)))
                units = np.sort(rng.choice(units, self.count, replace=False))
            if isinstance(place, _Beside):
                self._connect(graph, place, units)
            else:
                self._add(graph, place.name, units)


def _layer_like(op: Conv | Linear) -> Conv | Linear:
    """A layer from one tensor to another of the same size that reads as far around as ``op``."""
    if isinstance(op, Linear):
        return replace(op, bias=False)
    return replace(op, stride=1, padding="same", groups=1, bias=False)


def _masks(graph: Graph, layer: str) -> bool:
    return any(key in graph.weights.masks for key, _ in graph.params_of(layer))


def _with_ancestors(graph: Graph, name: str) -> set[str]:
    """A node and all that it depends on. Raises :class:`GrowcError` if there is no such node."""
    if name not in graph:
        raise GrowcError(
            f"new_connection: no node of this network is called `{name}`",
            help=did_you_mean(name, graph.order()),
        )
    found = {name}
    stack = [name]
    while stack:
        new = set(graph.node(stack.pop()).operands) - found
        found |= new
        stack += new
    return found


def _connection(graph: Graph, layer: str, source: str) -> str | None:
    """A layer that reads ``source`` and is added to the result of ``layer``."""
    stack, seen = [layer], {layer}
    while stack:
        for user, _ in graph.consumers(stack.pop()):
            node = graph.node(user)
            if not isinstance(node.op, Add) or user in seen:
                continue
            for operand in node.operands:
                other = graph.node(operand)
                if operand not in seen and is_layer(other.op) and other.operands == (source,):
                    return operand
            seen.add(user)
            stack.append(user)
    return None
