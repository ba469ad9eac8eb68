"""Equal channels become one: the inverse of widening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir import Graph
from ..ir.attributes import Optional, Patterns, attr
from .base import PRESERVES, Claim, Found, Pass, Place, register
from .functions import prints_of
from .narrowing import Narrow, narrow

NOTHING = "it has no channels that are equal in both modes"


@register
@dataclass(frozen=True)
class MergeDuplicates(Pass):
    """[β γ] · [v; v] → (β + γ) · v

    Channels of a layer that are equal functions in evaluation and in training mode become one,
    which the next layers read with the sum of their weights; channels that nothing reads after
    that, or that are zero, go. Layers are taken from the last to the first, so that what
    ``r2wider{variant=concat}`` added goes again, and without rounding: (β - β) · v = 0.

    Exact where all sums of weights are exact in float32, else within their rounding. A layer must
    stand in a plain chain: layer, norms and activations, layers. Before a group norm, only whole
    groups go. Channels that are equal now would have been trained apart: merge after training.
    """

    name: ClassVar[str] = "merge_duplicates"
    looks_at_weights: ClassVar[bool] = True

    at: Any = attr(Optional(Patterns()), None, doc="which layers")

    def find(self, graph: Graph) -> Found:
        prints = prints_of(graph)
        main, others = narrow(graph, prints, self.at, merge=True, nothing=NOTHING)
        return Found("mergeable layer", main, lambda: others, "no layer has two equal channels")

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        first = places[0]
        assert isinstance(first, Narrow)
        first.plan.commit(graph)

    def claim_at(self, places: Sequence[Place]) -> Claim:
        first = places[0]
        assert isinstance(first, Narrow)
        return PRESERVES if first.plan.exact else Claim(eval=True, train=True, exact=False)
