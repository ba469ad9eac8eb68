"""R2DeeperR (R2R section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph
from ..ir.attributes import Int, attr
from ..ir.ops import Add, Conv, Linear
from .base import Found, Pass, Place, Refusal, register
from .blocks import (
    Block,
    Style,
    is_activation,
    nearest_layer,
    residual_blocks,
    result_of,
    style_of,
)
from .r2r import GrowthOptions, Recipe, add_zero_block, plan


@dataclass(frozen=True, slots=True, eq=False)
class _After(Place):
    """A node whose result y becomes y + z(y)."""

    node: str
    recipe: Recipe


@register
@dataclass(frozen=True)
class R2Deeper(GrowthOptions, Pass):
    """f(x) → f(x) + z(f(x)), with z = 0

    A residual connection and ``blocks`` R2R blocks in parallel are put after a node; they have
    as many filters as the node has channels if not told otherwise. The pass takes the end of
    every residual block (after the activation that follows the sum, if one does); in a network
    without any, every activation. ``at`` may name any node.
    """

    name: ClassVar[str] = "r2deeper"

    blocks: int = attr(Int(1, 64), 1, doc="how many R2R blocks to add in parallel")

    def find(self, graph: Graph) -> Found:
        everywhere = style_of(graph, graph.order())

        def single() -> list[Place | Refusal]:
            return [self._after(graph, Place(n, ()), n, everywhere) for n in graph.order()]

        blocks = residual_blocks(graph)
        if blocks:
            return Found("residual block", [self._block(graph, b) for b in blocks], single)
        activations = [
            self._after(graph, Place(node.name, ()), node.name, everywhere)
            for node in graph
            if is_activation(node.op)
        ]
        return Found("activation", activations, single)

    def _block(self, graph: Graph, block: Block) -> Place | Refusal:
        node = result_of(graph, block)
        place = Place(block.name, (*block.aliases, node))
        return self._after(graph, place, node, style_of(graph, block.body))

    def _after(self, graph: Graph, place: Place, node: str, style: Style) -> Place | Refusal:
        kind = graph.node(node).type
        if kind.rank == 0:
            return Refusal(place, f"it yields single numbers, {kind}")
        beside = nearest_layer(graph, node)
        layer = graph.node(beside).op if beside is not None else None
        assert layer is None or isinstance(layer, (Conv, Linear))
        width = kind.shape[-1] if isinstance(layer, Linear) else kind.shape[0]
        like = Style(layer, style.norm, style.activation)
        recipe = plan(self, kind, kind, like, width, beside)
        if isinstance(recipe, str):
            return Refusal(place, recipe)
        return _After(place.name, place.aliases, node, recipe)

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, _After)
            users = {user for user, _ in graph.consumers(place.node)}
            new = [
                add_zero_block(graph, place.node, place.recipe, place.name, seed)
                for _ in range(self.blocks)
            ]
            total = graph.fresh(f"{place.name}.r2r.add")
            readers = {user for user, _ in graph.consumers(place.node)} - users
            graph.add(Add(), (place.node, *new), total)
            graph.redirect(place.node, total, keep={total, *readers})
