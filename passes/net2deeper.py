"""Net2DeeperNet (Chen, Goodfellow and Shlens, "Net2Net", 2016; R2R section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..ir import Graph
from ..ir.attributes import Int, Optional, Patterns, attr
from ..ir.ops import Clip, Conv, Linear, Op, Relu
from .base import Found, Pass, Place, Refusal, register
from .blocks import is_activation, nearest_layers
from .r2r import CONVS, fresh_scope
from .widening import is_layer


@dataclass(frozen=True, slots=True, eq=False)
class After(Place):
    """A node that an identity layer is put after, and the activation to follow it, if any."""

    layer: Conv | Linear
    activation: Op | None


@register
@dataclass(frozen=True)
class Net2Deeper(Pass):
    """relu(x) → relu(I·relu(x)), with I the identity

    After every ReLU it puts a layer that is the identity, and another ReLU, which changes
    nothing, since relu(relu(x)) = relu(x); and likewise for a clip, such as ReLU6. The layer is a
    convolution whose kernel is one at its centre, from each channel to itself, or the identity
    matrix; its bias is zero. ``at`` may also name layers: right after one, the identity stands
    alone, before what follows the layer.

    Chen et al. also put a batch norm into the new layer, set to undo itself. That holds for
    one batch's statistics only, and not exactly in evaluation mode either (a variance of 1 - eps
    is rounded), so it is not offered.
    """

    name: ClassVar[str] = "net2deeper"

    at: Any = attr(Optional(Patterns()), None, doc="where")
    kernel: int = attr(Int(1), 3, doc="window of the new convolution")

    def find(self, graph: Graph) -> Found:
        near = nearest_layers(graph)

        def single() -> list[Place | Refusal]:
            return [self._after(graph, near, name) for name in graph.order()]

        main = [self._after(graph, near, node.name) for node in graph if _settles(node.op)]
        return Found("relu", main, single, "name a layer with at=NAME: its identity needs no relu")

    def _after(self, graph: Graph, near: dict[str, str], name: str) -> Place | Refusal:
        place, node = Place(name, ()), graph.node(name)
        if is_activation(node.op) and not _settles(node.op):
            return Refusal(
                place,
                f"f(f(x)) is not f(x) for {node.op.name}, so a second one would change the "
                "function",
            )
        if not _settles(node.op) and not is_layer(node.op):
            return Refusal(
                place, f"it is neither a relu nor a layer, but of the kind {node.op.name}"
            )
        nearest = graph.node(near[name]).op if name in near else None
        layer = self._layer(graph, name, nearest)
        if isinstance(layer, str):
            return Refusal(place, layer)
        return After(name, (), layer, node.op if _settles(node.op) else None)

    def _layer(self, graph: Graph, name: str, nearest: Op | None) -> Conv | Linear | str:
        """The new layer: of the kind of the nearest one, else by the number of axes."""
        kind = graph.node(name).type
        bias = nearest.bias if isinstance(nearest, (Conv, Linear)) else True
        if kind.rank == 0:
            return f"it yields single numbers, {kind}"
        if kind.rank == 1 or isinstance(nearest, Linear):
            return Linear(kind.shape[-1], bias=bias)
        if kind.rank - 1 not in CONVS:
            return f"no convolution takes {kind}"
        return CONVS[kind.rank - 1](kind.shape[0], kernel=self.kernel, bias=bias)

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, After)
            scope = fresh_scope(graph, place.name, place.layer, "net2deeper")
            first = last = graph.add(
                place.layer, (place.name,), graph.fresh(f"{scope}.{place.layer.name}")
            )
            for key, spec in graph.params_of(first):
                value = np.zeros(spec.shape, np.float32)
                if spec.role == "weight":
                    value[centre(place.layer)] = np.eye(len(value), dtype=np.float32)
                graph.weights[key] = value
            if place.activation is not None:
                name = graph.fresh(f"{scope}.{place.activation.name}")
                last = graph.add(place.activation, (first,), name)
            graph.redirect(place.name, last, keep={first})


def _settles(op: Op) -> bool:
    """Whether applying an activation twice is the same as once."""
    return isinstance(op, (Relu, Clip))


def centre(layer: Conv | Linear) -> Any:
    """Index of a kernel's tap that moves nothing: where the padding before it ends."""
    return (..., *(begin for begin, _ in layer.pads)) if isinstance(layer, Conv) else ...
