"""New nodes that nothing reads yet (ILNAS section 3.2, Figure 1 centre)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..ir import Graph, TensorType
from ..ir.attributes import Choice, Int, Ints, Optional, attr
from ..ir.diagnostics import plural
from ..ir.names import matcher
from ..ir.ops import Dropout, GroupNorm, Op
from ..ir.weights import Array, generator, masked
from .additions import Addition
from .base import Found, Place, Refusal, register
from .chains import Chains, chains_of
from .following import is_partial, no_value
from .r2r import INITS, new_weight
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
    channels are not. It takes every plain chain of layers, inside residual blocks or not; where
    another layer's result is added to its own, the new channels have none of that one's weights.
    Layers with the same weights get the same new nodes.

    The incoming weights of each node depend on the seed and its number alone, so that ``keep`` adds
    the very nodes that were found worth keeping among ``count``.
    """

    name: ClassVar[str] = "new_node"

    count: int = attr(Int(1, MAX_CHANNELS), 1, doc="how many nodes to add to each layer")
    keep: Any = attr(
        Optional(Ints(0)),
        None,
        doc="which of the `count` nodes to add, by number from 0; all if not given",
    )
    init: str = attr(
        Choice(INITS),
        "auto",
        doc="variance of incoming weights: as in the layer itself (auto, match), 2/fan_in, or "
        "PyTorch's default",
    )

    def find(self, graph: Graph) -> Found:
        layers = [node.name for node in graph if mixes(node.op)]
        # Each is traced, which takes a while in a large network: only those that were asked for.
        asked = matcher(self.at) if self.at is not None else lambda name: True
        main = [self._chain(graph, name) for name in layers if asked(name)]
        # No chain begins at the last layer, whose width is the result's: nothing to report.
        return Found(
            "layer",
            [c for c in main if isinstance(c, Chains)],
            lambda: [self._chain(graph, name) for name in layers],
            "with at=NAME it says why a layer takes no new node",
        )

    @property
    def _numbers(self) -> tuple[int, ...]:
        """Which nodes are added."""
        return tuple(range(self.count)) if self.keep is None else tuple(sorted(set(self.keep)))

    def _chain(self, graph: Graph, name: str) -> Place | Refusal:
        added = len(self._numbers)
        if not added or self._numbers[-1] >= self.count:
            what = f"none is number {self._numbers[-1]}" if added else "`keep` names none of them"
            said = f"of {plural(self.count, 'node')}, numbered from 0, {what}"
            return Refusal(Place(name, ()), said)
        chain = trace(graph, name, added, _unread, ties=True)
        width = width_of(graph.node(name).op)
        if isinstance(chain, str):
            return Refusal(Place(name, ()), chain)
        if width + added > MAX_CHANNELS:
            return Refusal(
                Place(name, ()),
                f"it has {width:,} channels, and {added:,} more would be more than the "
                f"{MAX_CHANNELS:,} that ILNAS allows",
            )
        return Chains(name, (), ((chain, added),))

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        chains = list(chains_of(places))
        old = {
            name: graph.weights[graph.node(name).parameter("weight")]
            for chain, _ in chains
            for name in (*chain.producers, *chain.through, *chain.consumers)
            if mixes(graph.node(name).op)
        }
        widen(graph, chains, self.init, seed, halves=False)
        for chain, _ in chains:
            for name in (chain.producer, *chain.through):
                if name in old:
                    self._draw(graph, name, old[name], seed)
            ours = graph.node(chain.producer).parameter("weight")
            for name in chain.producers[1:]:
                if graph.node(name).parameter("weight") != ours:
                    _mask_out(graph, name, rows=_shape(graph, name, old[name])[0])
        for chain, _ in chains:
            for name in chain.consumers:
                # In the rows of new nodes too: nothing reads a placeholder, not even another one.
                _mask_out(graph, name, columns=_shape(graph, name, old[name])[1])

    def _draw(self, graph: Graph, name: str, old: Array, seed: int) -> None:
        """Give each new row weights of its own, from the channels that were there."""
        op, key = graph.node(name).op, graph.node(name).parameter("weight")
        value = rows_first(op, graph.weights[key]).copy()
        old = rows_first(op, old)
        rows, columns = old.shape[:2]
        # The scale is that of the connections that are there.
        there = value[:rows, :columns][rows_first(op, graph.weights.mask(key))[:rows, :columns]]
        for row, number in enumerate(self._numbers, rows):
            rng = generator(seed, key, str(old.shape), str(number))
            value[row, :columns] = new_weight(self.init, (1, *old.shape[1:]), there, rng)[0]
        # Neither was there a mask on what is new, nor is there one.
        graph.weights[key] = np.ascontiguousarray(rows_first(op, value))


def _shape(graph: Graph, name: str, weight: Array) -> tuple[int, ...]:
    return rows_first(graph.node(name).op, weight).shape


def _mask_out(
    graph: Graph, name: str, *, rows: int | None = None, columns: int | None = None
) -> None:
    """Leave a layer no connection in its rows, or columns, from a number on."""
    weights, op = graph.weights, graph.node(name).op
    for key, spec in graph.params_of(name):
        mask = weights.mask(key).copy()
        part = rows_first(op, mask) if spec.role == "weight" else mask
        if rows is not None:
            part[rows:] = False
        elif spec.role == "weight":
            part[:, columns:] = False
        else:
            continue
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
