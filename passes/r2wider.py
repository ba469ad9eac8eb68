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
from .r2r import (
    NO_LAYER_BESIDE,
    GrowthOptions,
    Recipe,
    add_zero_block,
    fresh_scope,
    plan,
    weight_beside,
)
from .widening import Chain, is_layer, trace, widen, width_of


@dataclass(frozen=True, slots=True, eq=False)
class _Beside(Place):
    """A residual block, and the R2R block that is to stand beside its branches."""

    block: Block
    recipe: Recipe
    beside: str | None


@dataclass(frozen=True, slots=True, eq=False)
class _Inside(Place):
    """Layers to widen, each with its number of new filters."""

    chains: tuple[tuple[Chain, int], ...]


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
        blocks = residual_blocks(graph)
        if self.variant == "parallel":
            # Looked up only where a block has no layer of its own: it takes a sweep of the graph.
            nearest = cache(partial(nearest_layers, graph))
            beside = partial(self._beside, graph, nearest, cache(partial(plan, self)))
            return Found(
                "residual block",
                [beside(block) for block in blocks],
                help="widen plain chains of layers with variant=concat",
            )
        layers = [node.name for node in graph if is_layer(node.op)]
        chains = {name: self._chain(graph, name) for name in layers}
        single = list(chains.values())
        if blocks:
            inside = [self._inside(block, chains) for block in blocks]
            return Found("residual block", inside, lambda: single)
        # No chain begins at the last layer, whose width is the result's: nothing to report.
        plain = [c for c in single if isinstance(c, _Inside)]
        return Found(
            "plain chain", plain, lambda: single, "with at=NAME it says why a layer is not widened"
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

    def _chain(self, graph: Graph, name: str) -> _Inside | Refusal:
        width = width_of(graph.node(name).op)
        filters = self.filters or width + width % 2
        chain = trace(graph, name, filters)
        if isinstance(chain, str):
            return Refusal(Place(name, ()), chain)
        return _Inside(name, (), ((chain, filters),))

    def _inside(self, block: Block, chains: dict[str, _Inside | Refusal]) -> Place | Refusal:
        inner = [chains[name] for name in block.body if name in chains]
        ours = tuple(pair for c in inner if isinstance(c, _Inside) for pair in c.chains)
        if ours:
            return _Inside(block.name, block.aliases, ours)
        reasons = dict.fromkeys(str(c) for c in inner if isinstance(c, Refusal))
        return Refusal(
            block,
            "it has no inner layer that can be widened" + "".join(f"; {r}" for r in reasons),
        )

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        inside = {
            chain.producer: (chain, filters)
            for place in places
            if isinstance(place, _Inside)
            for chain, filters in place.chains
        }
        widen(graph, list(inside.values()), self.init, seed)
        for place in places:
            if isinstance(place, _Beside):
                block = place.block
                recipe, beside = place.recipe, place.beside
                scope = fresh_scope(graph, block.name, recipe.expand)
                new = add_zero_block(graph, block.entry, recipe, scope, seed, beside)
                graph.set_operands(block.sum, (*graph.node(block.sum).operands, new))
