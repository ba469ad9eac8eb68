"""R2WiderR (R2R section 3.2 and appendix C.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import ClassVar

from ..ir import Graph, TensorType
from ..ir.attributes import Choice, attr
from ..ir.ops import Conv, Linear
from .base import Found, Pass, Place, Refusal, register
from .blocks import Block, Style, nearest_layers, residual_blocks, style_of
from .chains import chains_of, find_chains
from .r2r import (
    NO_LAYER_BESIDE,
    GrowthOptions,
    Recipe,
    add_zero_block,
    fresh_scope,
    plan,
    weight_beside,
)
from .widening import Chain, trace, widen, width_of


@dataclass(frozen=True, slots=True, eq=False)
class _Beside(Place):
    """A residual block, and the R2R block that is to stand beside its branches."""

    block: Block
    recipe: Recipe
    beside: str | None


@register
@dataclass(frozen=True)
class R2Wider(GrowthOptions, Pass):
    """x + F(x) → x + F(x) + z(x), with z = 0

    ``variant=parallel`` adds an R2R block z beside the branches of a residual block; no old
    parameter is touched. ``variant=concat`` puts the new filters into the layers that are
    already there (appendix C.1): it widens the inner layers of residual blocks, and of any plain
    chain of layers, by ``filters`` each (twice the width if not given). In a network without
    residual blocks it widens every plain chain.
    """

    name: ClassVar[str] = "r2wider"

    variant: str = attr(
        Choice(("parallel", "concat")), "parallel", doc="beside the branches, or inside them"
    )

    def find(self, graph: Graph) -> Found:
        if self.variant == "concat":
            return find_chains(graph, partial(self._chain, graph))
        # Looked up only where a block has no layer of its own: it takes a sweep of the graph.
        nearest = cache(partial(nearest_layers, graph))
        beside = partial(self._beside, graph, nearest, cache(partial(plan, self)))
        return Found(
            "residual block",
            [beside(block) for block in residual_blocks(graph)],
            help="widen plain chains of layers with variant=concat",
        )

    def _beside(
        self,
        graph: Graph,
        nearest: Callable[[], dict[str, str]],
        planned: Callable[[TensorType, TensorType, Style, int], Recipe | str],
        block: Block,
    ) -> Place | Refusal:
        style = style_of(graph, block.body)
        target = graph.node(block.sum).type
        layer = next((n for n in block.body if graph.node(n).op is style.layer), None)
        if style.layer is not None:
            width = width_of(style.layer)
        else:
            # No layer in the block: one nearby tells a convolution from a linear layer.
            layer = nearest().get(block.entry)
            nearby = graph.node(layer).op if layer is not None else None
            assert nearby is None or isinstance(nearby, (Conv, Linear))
            style = replace(style, layer=nearby)
            axis = -1 if isinstance(nearby, Linear) else 0
            width = target.shape[axis] if target.shape else 1
        recipe = planned(graph.node(block.entry).type, target, style, width)
        if isinstance(recipe, str):
            return Refusal(block, recipe)
        beside = weight_beside(graph, recipe, layer)
        if recipe.init == "match" and beside is None:
            return Refusal(block, NO_LAYER_BESIDE)
        return _Beside(block.name, block.aliases, block, recipe, beside)

    def _chain(self, graph: Graph, name: str) -> tuple[Chain, int] | str:
        width = width_of(graph.node(name).op)
        filters = self.filters or width + width % 2
        chain = trace(graph, name, filters)
        return chain if isinstance(chain, str) else (chain, filters)

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        widen(graph, list(chains_of(places)), self.init, seed)
        for place in places:
            if isinstance(place, _Beside):
                block = place.block
                recipe, beside = place.recipe, place.beside
                scope = fresh_scope(graph, block.name, recipe.expand)
                new = add_zero_block(graph, block.entry, recipe, scope, seed, beside)
                graph.set_operands(block.sum, (*graph.node(block.sum).operands, new))
