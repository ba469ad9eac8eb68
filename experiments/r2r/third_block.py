"""The growth step of figures 7 and 8: the base network's third block, put into the deep teacher.

The paper's R2DeeperR adds a whole block of the base network (conv-BN-ReLU, conv-BN-ReLU, then an
R2R block) where the teacher only pads channels. growc's `r2deeper` adds an R2R block alone; the two
layers before it may be anything, as the R2R block makes zero of whatever it is fed. With them the
student has the base network's layers and its 579,386 parameters, as the net trained from scratch.

`third_block` is zero at first, which growc proves; `random_third_block`, the paper's random
padding, has the same layers with independent random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from growc.ir import Graph
from growc.ir.ops import Add, BatchNorm, Conv2d, Relu
from growc.ir.weights import draw, generator
from growc.passes import Found, Pass, Place, register
from growc.passes.base import CLAIMS_NOTHING, Claim
from growc.passes.blocks import Style
from growc.passes.r2r import GrowthOptions, add_zero_block, new_weight, plan

SKIP = "block3.pad"
WIDTH = 128


def add_block(graph: Graph, place: Place, seed: int) -> tuple[str, str]:
    """Add the block; the last two convolutions, which are the R2R block's."""
    (at,) = graph.node(place.name).operands
    for _ in range(2):
        at = graph.add(Conv2d(WIDTH), (at,), graph.fresh("block3.y.conv2d"))
        weight, bias = graph.params_of(at)
        rng = generator(seed, at)
        graph.weights[weight[0]] = new_weight("he", weight[1].shape, None, rng)
        graph.weights[bias[0]] = np.zeros(bias[1].shape, np.float32)
        at = graph.add(BatchNorm(), (at,), graph.fresh("block3.y.batch_norm"))
        graph.weights.update((k, draw(s.init, s.shape, rng)) for k, s in graph.params_of(at))
        at = graph.add(Relu(), (at,), graph.fresh("block3.y.relu"))
    style = Style(Conv2d(WIDTH), BatchNorm(), Relu())
    source, target = graph.node(at).type, graph.node(place.name).type
    recipe = plan(GrowthOptions(filters=WIDTH), source, target, style, WIDTH)
    assert not isinstance(recipe, str)
    last = add_zero_block(graph, at, recipe, "block3.y.r2r", seed, None)
    total = graph.add(Add(), (place.name, last), graph.fresh("block3.add"))
    graph.redirect(place.name, total, keep={total})
    return "block3.y.r2r.conv2d", last


@register
@dataclass(frozen=True)
class ThirdBlock(Pass):
    """pad(x) → pad(x) + z(x), z a block of the base network that is zero at first"""

    name: ClassVar[str] = "third_block"

    def find(self, graph: Graph) -> Found:
        return Found("place", [Place(SKIP, ())] if SKIP in graph else [])

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            add_block(graph, place, seed)


@register
@dataclass(frozen=True)
class RandomThirdBlock(ThirdBlock):
    """pad(x) → pad(x) + z(x), z a block of the base network with random weights"""

    name: ClassVar[str] = "random_third_block"
    claim: ClassVar[Claim] = CLAIMS_NOTHING

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            for layer in add_block(graph, place, seed):
                key, spec = graph.params_of(layer)[0]
                rng = generator(seed, "random", layer)
                graph.weights[key] = new_weight("he", spec.shape, None, rng)
