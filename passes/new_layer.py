"""A new layer where it changes nothing (ILNAS section 3.2, Figure 1 right)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..ir import Graph
from ..ir.attributes import Bool, Int, attr
from .additions import Addition
from .base import Found, Place, Refusal, register
from .net2deeper import After, Net2Deeper, centre
from .r2r import fresh_scope


@register
@dataclass(frozen=True)
class NewLayer(Addition):
    """σ(x) → σ(w·σ(x) + b), with w the identity and b = 0

    ``count`` layers, each followed by a ReLU, are put one after the other behind a ReLU, which is
    unchanged by composition; behind a clip, such as ReLU6, they are followed by that clip. A layer
    has |α| = one weight for each channel, and its biases: all others of its weights are missing
    under the mask, for ``new_connection`` to add. It is a convolution or a linear layer, as the
    nearest layer is; ``net2deeper`` adds one whose weights are all there.
    """

    name: ClassVar[str] = "new_layer"

    count: int = attr(Int(1, 64), 1, doc="how many layers to add at each place")
    kernel: int = attr(Int(1), 3, doc="window of a new convolution")
    bias: bool = attr(Bool(), True, doc="whether new layers have biases")

    def find(self, graph: Graph) -> Found:
        # Where the identity fits, and which layer it is, is the same for a dense one.
        found = Net2Deeper(kernel=self.kernel).find(graph)
        return Found(
            found.noun,
            [_after_relu(item) for item in found.main],
            lambda: [_after_relu(item) for item in found.single()],
        )

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, After)
            op = replace(place.layer, bias=self.bias)
            first, last = None, place.name
            for _ in range(self.count):
                scope = fresh_scope(graph, place.name, op, self.name)
                layer = graph.add(op, (last,), graph.fresh(f"{scope}.{op.name}"))
                for key, spec in graph.params_of(layer):
                    value = np.zeros(spec.shape, np.float32)
                    if spec.role == "weight":
                        value[centre(op)] = np.eye(len(value), dtype=np.float32)
                    graph.weights.put(key, value, value != 0 if spec.role == "weight" else None)
                assert place.activation is not None
                name = graph.fresh(f"{scope}.{place.activation.name}")
                last = graph.add(place.activation, (layer,), name)
                first = first or layer
            assert first is not None
            graph.redirect(place.name, last, keep={first})


def _after_relu(item: Place | Refusal) -> Place | Refusal:
    if isinstance(item, After) and item.activation is None:
        return Refusal(
            Place(item.name, ()),
            "it is a layer, and no relu: a relu behind a new layer would change the function",
        )
    return item
