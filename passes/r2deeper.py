"""R2DeeperR (R2R section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

from ..ir import Graph, TensorType
from ..ir.analysis import input_free
from ..ir.attributes import Int, attr
from ..ir.ops import Add, Conv, Linear
from .base import Found, Pass, Place, Refusal, register
from .blocks import (
    Style,
    is_activation,
    nearest_layers,
    residual_blocks,
    result_of,
    style_of,
)
from .r2r import (
    NO_LAYER_BESIDE,
    GrowthOptions,
    Recipe,
    add_zero_block,
    fresh_scope,
    plan,
    weight_beside,
)


@dataclass(frozen=True, slots=True, eq=False)
class _After(Place):
    """A node whose result y becomes y + z(y)."""

    node: str
    recipe: Recipe
    beside: str | None


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
        after = partial(
            self._after,
            graph,
            input_free(graph),
            nearest_layers(graph),
            cache(partial(plan, self)),
        )
        everywhere = style_of(graph, graph.order())

        def single() -> list[Place | Refusal]:
            return [after(Place(n, ()), n, everywhere) for n in graph.order()]

        blocks = residual_blocks(graph)
        if not blocks:
            nodes = [node.name for node in graph if is_activation(node.op)]
            main = [after(Place(n, ()), n, everywhere) for n in nodes]
            return Found("activation", main, single, "name a node with at=NAME")
        main = []
        for block in blocks:
            node = result_of(graph, block)
            place = Place(block.name, (*block.aliases, node))
            main.append(after(place, node, style_of(graph, block.body)))
        return Found("residual block", main, single)

    def _after(
        self,
        graph: Graph,
        free: set[str],
        layers: dict[str, str],
        planned: Callable[[TensorType, TensorType, Style, int], Recipe | str],
        place: Place,
        node: str,
        style: Style,
    ) -> Place | Refusal:
        kind = graph.node(node).type
        if kind.rank == 0:
            return Refusal(place, f"it yields single numbers, {kind}")
        if kind.dtype != "f32":
            return Refusal(place, f"it yields whole numbers, {kind}")
        if node in free:
            return Refusal(place, "it depends on no input")
        nearest = layers.get(node)
        layer = graph.node(nearest).op if nearest is not None else None
        assert layer is None or isinstance(layer, (Conv, Linear))
        width = kind.shape[-1] if isinstance(layer, Linear) else kind.shape[0]
        recipe = planned(kind, kind, Style(layer, style.norm, style.activation), width)
        if isinstance(recipe, str):
            return Refusal(place, recipe)
        beside = weight_beside(graph, recipe, nearest)
        if recipe.init == "match" and beside is None:
            return Refusal(place, NO_LAYER_BESIDE)
        return _After(place.name, place.aliases, node, recipe, beside)

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, _After)
            users = {user for user, _ in graph.consumers(place.node)}
            scopes, new = [], []
            for _ in range(self.blocks):
                scopes.append(fresh_scope(graph, place.name, place.recipe.expand))
                new.append(
                    add_zero_block(graph, place.node, place.recipe, scopes[-1], seed, place.beside)
                )
            total = graph.fresh(f"{scopes[0]}.add")
            readers = {user for user, _ in graph.consumers(place.node)} - users
            graph.add(Add(), (place.node, *new), total)
            graph.redirect(place.node, total, keep={total, *readers})
