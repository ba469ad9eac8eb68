"""ILNAS (papers: "Intra-Layer Neural Architecture Search", Algorithm 1) as a search that growc's
training asks every so many updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...ir import Graph
from ...ir.attributes import Choice as Word
from ...ir.attributes import Float, Int, Optional, attr
from ...ir.parts import shared_size
from ...ir.weights import generator
from ...train.searching import Choice, Look, Search, register_search
from .choosing import (
    GRANULARITIES,
    Units,
    ahead,
    best,
    best_of_parts,
    entries,
    price_of,
    rooms,
    scores,
    units_of,
    worth,
)
from .expansion import pipeline_of
from .scoring import Hypernet
from .space import Scaffold, Space, scaffold

MIXED = ("kernel", "weight")
"""From coarse to fine, as the paper's experiments did, which left whole layers out."""


@register_search
@dataclass(frozen=True)
class Ilnas(Search):
    """α ← α ∪ {the m candidates with the largest |∂L/∂(α_i W_i) + ∂L/∂(α*_i W*_i)|}

    Each time, up to n = ``ratio``·m candidates with the largest |∂L/∂(α_i W_i)| at zero form the
    hyperarchitecture α*; after one step of gradient descent there, the m largest of the sum of both
    gradients stay (ILNAS section 3.3). m = A_lr·|α|, with A_lr the architecture learning rate,
    which is multiplied by ``decay`` from one expansion to the next.

    What is added starts at zero: the trial step only serves to choose. Units compare by what each
    parameter is worth (:func:`scores`, :func:`worth`), those of a new node or layer that they need
    included; the paper leaves open what these cost.

    In a network with several outputs, one for each task, ``shared`` is the wanted share of
    parameters that several of them depend on. These, and each task's own, are then chosen apart,
    within what each part lacks (section 4.2).
    """

    name: ClassVar[str] = "ilnas"

    max_params: int = attr(Int(1), doc="largest |α|")
    arch_lr: float | None = attr(
        Optional(Float(0, open=True)),
        None,
        doc="A_lr at first; as large as reaches max_params at the last expansion if not given",
    )
    decay: float = attr(
        Float(0, open=True), 0.95, doc="what A_lr is multiplied by from one expansion to the next"
    )
    granularity: str = attr(
        Word((*GRANULARITIES, "mixed")),
        "mixed",
        doc="what is added as a whole; mixed: kernels in the first half of the expansions, then "
        "weights",
    )
    ratio: float = attr(Float(1), 2.0, doc="n/m: how many candidates there are for each addition")
    select: str = attr(
        Word(("gradient", "random")), "gradient", doc="how it is chosen; random is a baseline"
    )
    shared: float | None = attr(
        Optional(Float(0, below=1)),
        None,
        doc="with several outputs, the share of |α| that several depend on; any if not given",
    )
    batches: int = attr(Int(1), 1, doc="training batches that each gradient is the mean of")
    nodes: int = attr(Int(0, 1024), Space.nodes, doc="placeholder nodes for each layer")
    sources: int = attr(
        Int(0),
        Space.sources,
        doc="layers, drawn at random, that may be connected with one more earlier node",
    )
    layers: int = attr(Int(0, 64), Space.layers, doc="new layers, each behind a ReLU")
    kernel: int = attr(Int(1), Space.kernel, doc="window of new convolutional layers")
    max_candidates: int = attr(
        Int(1), Space.max_candidates, doc="missing connections that are looked at, in all"
    )

    def check(self, graph: Graph) -> str | None:
        count = graph.parameter_count()
        if count >= self.max_params:
            return (
                f"the network has {count:,} parameters already, and max_params is "
                f"{self.max_params:,}"
            )
        if self.shared is not None and len(graph.outputs) < 2:
            return "`shared` is for networks with several outputs, and this one has one"
        return None

    def choose(self, look: Look) -> Choice:
        limit = self.additions(look.graph.parameter_count(), look.index, look.left)
        if not limit:
            return Choice((), {"wanted": 0, "added": 0})
        granularity = self._granularity(look)
        space = Space(self.nodes, self.sources, self.layers, self.kernel, self.max_candidates)
        made = scaffold(look.graph, space, look.seed)
        units = units_of(made, granularity)
        if self.select == "random":
            order = generator(look.seed, "random additions").random(len(units.size))
            considered, taken = 0, self._best(made, units, order + 1.0, limit)
        else:
            considered, taken = self._by_gradient(made, units, limit, look)
        notes = {
            "granularity": granularity,
            "candidates": made.candidates,
            "hyperarchitecture": considered,
            "wanted": limit,
            "added": price_of(made, units, taken),
        }
        if len(look.graph.outputs) > 1:
            notes["shared_before"] = shared_size(look.graph)
        return Choice(pipeline_of(made, entries(made, units, taken), look.seed), notes)

    def additions(self, count: int, index: int, left: int) -> int:
        """m: how many parameters expansion ``index`` may add to ``count``, of ``left`` to come."""
        room = max(0, self.max_params - count)
        if self.arch_lr is not None:
            return min(room, round(self.arch_lr * self.decay**index * count))
        return room if left == 1 else min(room, round(self._rate(count, left) * count))

    def _rate(self, count: int, left: int) -> float:
        """The A_lr that reaches the largest |α| in so many expansions: ∏ (1 + A_lr·decay^i) is what
        |α| is to be multiplied by."""
        wanted = self.max_params / count
        powers = self.decay ** np.arange(left)
        low, high = 0.0, wanted
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if np.prod(1 + middle * powers) < wanted else (low, middle)
        return high

    def _granularity(self, look: Look) -> str:
        if self.granularity != "mixed":
            return self.granularity
        return MIXED[0] if 2 * look.index < look.index + look.left else MIXED[1]

    def _by_gradient(
        self, made: Scaffold, units: Units, limit: int, look: Look
    ) -> tuple[int, NDArray[np.bool_]]:
        """How many parameters α* has more than α, and the units that stay of them."""
        net = Hypernet(made, look.device)
        seen = look.batches(self.batches)
        at_zero = net.gradients(seen, look.loss_of, look.total, look.processes)
        first = worth(made, units, scores(made, units, at_zero))
        candidates = self._best(made, units, first, limit, ratio=self.ratio)
        net.step(look.rate, entries(made, units, candidates))
        after = net.gradients(seen, look.loss_of, look.total, look.processes)
        both = {key: at_zero[key] + after[key] for key in at_zero}
        again = worth(made, units, np.where(candidates, scores(made, units, both), 0.0))
        taken = self._best(made, units, again, limit, candidates)
        return price_of(made, units, candidates), taken

    def _best(
        self,
        made: Scaffold,
        units: Units,
        score: NDArray[np.float64],
        limit: int,
        among: NDArray[np.bool_] | None = None,
        ratio: float = 1.0,
    ) -> NDArray[np.bool_]:
        """The units of highest score: ``ratio`` times ``limit`` parameters, of each part as many
        as it lacks."""
        wanted = round(ratio * limit)
        if self.shared is None:
            first = ahead(made, units, score)
            return best(made, units, score, wanted, first if among is None else first & among)
        room = rooms(made.start, limit, self.shared).times(ratio)
        return best_of_parts(made, units, score, wanted, room, among)
