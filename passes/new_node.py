"""New nodes that nothing reads yet (ILNAS section 3.2, Figure 1 centre)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph, TensorType
from ..ir.attributes import Choice, Int, attr
from ..ir.ops import Dropout, GroupNorm, Op
from ..ir.weights import masked
from .additions import Addition
from .base import Found, Place, Refusal, register
from .chains import Chains, chains_of
from .following import is_partial, no_value
from .r2r import INITS
from .widening import mixes, rows_first, trace, widen, width_of

MAX_CHANNELS = 1024
"""No layer grows beyond this (ILNAS section 4.1; the number is the authors' code's)."""


@register
@dataclass(frozen=True)
class NewNode(Addition):
    """U·h → [U 0]·[h; v], with the new weights missing under the mask

    ``count`` placeholder nodes are added to a layer: channels with random incoming weights, which
    count, and no outgoing ones. The layers that could read them get zero weights that are masked
    out, for ``new_connection`` to add; a gradient with respect to these is not zero, as the new
    channels are not. It takes every plain chain of layers, inside residual blocks or not.
    """

    name: ClassVar[str] = "new_node"

    count: int = attr(Int(1, MAX_CHANNELS), 1, doc="how many nodes to add to each layer")
    init: str = attr(
        Choice(INITS),
        "auto",
        doc="variance of incoming weights: as in the layer itself (auto, match), 2/fan_in, or "
        "PyTorch's default",
    )

    def find(self, graph: Graph) -> Found:
        layers = [node.name for node in graph if mixes(node.op)]
        single = [self._chain(graph, name) for name in layers]
        # No chain begins at the last layer, whose width is the result's: nothing to report.
        return Found(
            "layer",
            [c for c in single if isinstance(c, Chains)],
            lambda: single,
            "with at=NAME it says why a layer takes no new node",
        )

    def _chain(self, graph: Graph, name: str) -> Place | Refusal:
        chain = trace(graph, name, self.count, _unread)
        width = width_of(graph.node(name).op)
        if isinstance(chain, str):
            return Refusal(Place(name, ()), chain)
        if width + self.count > MAX_CHANNELS:
            return Refusal(
                Place(name, ()),
                f"it has {width:,} channels, and {self.count:,} more would be more than the "
                f"{MAX_CHANNELS:,} that ILNAS allows",
            )
        return Chains(name, (), ((chain, self.count),))

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        chains = list(chains_of(places))
        weights = graph.weights
        readers = {name: graph.node(name) for c, _ in chains for name in c.consumers}
        old = {
            node.parameter("weight"): (
                node.op,
                rows_first(node.op, weights[node.parameter("weight")]).shape[1],
            )
            for node in readers.values()
        }
        widen(graph, chains, self.init, seed, halves=False)
        for key, (op, columns) in old.items():
            mask = weights.mask(key).copy()
            # In the rows of new nodes too: nothing reads a placeholder, not even another one.
            rows_first(op, mask)[:, columns:] = False
            weights.put(key, masked(weights[key], mask), mask)


def _unread(called: str, op: Op, source: TensorType, axis: int, new: int) -> str | None:
    """Why new channels would change the old ones, though nothing reads them."""
    if is_partial(op):
        return no_value(called)
    if isinstance(op, Dropout):
        return None
    if isinstance(op, GroupNorm):
        size = source.shape[0] // op.groups
        if new % size == 0:
            return None
        return f"{called} has groups of {size} channels, which {new} new ones do not fill"
    return f"{called} relates all channels to each other, so new ones would change the old"
