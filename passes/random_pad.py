"""Random padding: the baseline that the papers compare with (R2R section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir import Graph, TensorType
from ..ir.attributes import Choice, Int, Optional, Patterns, attr
from ..ir.ops import GroupNorm, Op
from .base import CLAIMS_NOTHING, Claim, Found, Pass, Place, register
from .chains import chains_of, find_chains
from .r2r import INITS
from .widening import Chain, trace, widen, width_of


@register
@dataclass(frozen=True)
class RandomPad(Pass):
    """[W] → [W β; V …], with β and V random: another function

    It widens the layers that ``r2wider{variant=concat}`` widens, by as much, with the same scale
    of new weights, but all of them are independent: there are no equal halves, and no opposite
    signs to cancel them. The network keeps its old weights and loses its function. New channels
    of normalizations start neutral, with a running variance of one.
    """

    name: ClassVar[str] = "random_pad"
    claim: ClassVar[Claim] = CLAIMS_NOTHING

    at: Any = attr(Optional(Patterns()), None, doc="where")
    filters: int | None = attr(
        Optional(Int(1)), None, doc="new channels of each layer; as many as it has if not given"
    )
    init: str = attr(
        Choice(INITS),
        "auto",
        doc="variance of new weights: as in the layer itself (auto, match), 2/fan_in, or PyTorch's "
        "default",
    )
    seed: int | None = attr(Optional(Int(0)), None, doc="random seed; the pipeline's if not given")

    def find(self, graph: Graph) -> Found:
        def start(name: str) -> tuple[Chain, int] | str:
            width = width_of(graph.node(name).op)
            filters = self.filters or width + width % 2  # r2wider's number
            chain = trace(graph, name, filters, _unshaped)
            return chain if isinstance(chain, str) else (chain, filters)

        return find_chains(graph, start)

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        widen(graph, list(chains_of(places)), self.init, seed, halves=False)


def _unshaped(called: str, op: Op, source: TensorType, axis: int, new: int) -> str | None:
    """Why new channels do not fit at all; what they change is of no concern."""
    if isinstance(op, GroupNorm) and new % (size := source.shape[0] // op.groups):
        return f"{called} has groups of {size} channels, which {new} new ones do not fill"
    return None
