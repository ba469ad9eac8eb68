"""The architecture template (ILNAS section 4.1, Figure 3) and a random baseline in it.

Stages of convolutions that keep the size, a reduction after each, then linear layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...grammar import loads
from ...ir import Graph, GrowcError, initialize
from ...ir.ops import Conv
from ...ir.weights import generator

STAGES = 3
CONVS = (1, 2)
"""Of how many convolutions a stage is, from and to."""
VARIATION = (0.75, 1.25)
"""How much wider or narrower than its stage's width a layer may be."""
DENSITY = (0.4, 0.8)
"""How many of its kernels a convolution has."""
LARGEST = 1024


@dataclass(frozen=True)
class _Drawn:
    """One architecture, but for its overall width: of each convolution its relative width and the
    share of kernels it has, by stage."""

    stages: tuple[tuple[tuple[float, float], ...], ...]

    def widths(self, base: int) -> list[list[int]]:
        return [[max(2, round(base * w)) for w, _ in stage] for stage in self.stages]


def baseline(
    shape: tuple[int, ...], classes: int, parameters: int, seed: int, *, dense: bool = False
) -> Graph:
    """A random network for images of ``shape`` [channels, height, width], with values, of about
    ``parameters`` parameters and no more.

    Layers have random widths, and in their convolutions random kernels are missing, unless
    ``dense``. Raises :class:`GrowcError` where the smallest such network is larger, or images are
    too small for three reductions.
    """
    if len(shape) != 3 or min(shape[1:]) < 2**STAGES:
        raise GrowcError(
            f"the template halves images {STAGES} times, and these are {'x'.join(map(str, shape))}",
            help=f"give a network, or images of {2**STAGES}x{2**STAGES} at least",
        )
    drawn = _draw(seed, dense)
    smallest = found = _network(shape, classes, drawn.widths(2))
    _thin(smallest, drawn, seed)
    if smallest.parameter_count() > parameters:
        raise GrowcError(
            f"the template's smallest network has {smallest.parameter_count():,} parameters, more "
            f"than {parameters:,}",
            help="allow more, or give a network",
        )
    low, high = 2, LARGEST
    while high - low > 1:  # how large it is grows with the width
        middle = (low + high) // 2
        tried = _network(shape, classes, drawn.widths(middle))
        _thin(tried, drawn, seed)
        if tried.parameter_count() <= parameters:
            low, found = middle, tried
        else:
            high = middle
    initialize(found, seed)
    return found


def _draw(seed: int, dense: bool) -> _Drawn:
    rng = generator(seed, "template")
    stages = []
    for i in range(STAGES):
        layers = []
        for _ in range(int(rng.integers(CONVS[0], CONVS[1] + 1))):
            width, density = rng.uniform(*VARIATION) * 2**i, rng.uniform(*DENSITY)
            layers.append((float(width), 1.0 if dense else float(density)))
        stages.append(tuple(layers))
    return _Drawn(tuple(stages))


def _network(shape: tuple[int, ...], classes: int, widths: list[list[int]]) -> Graph:
    lines = [f"net ilnas {{\n    input image: f32[{', '.join(map(str, shape))}]\n    x = image"]
    for i, stage in enumerate(widths, 1):
        for j, width in enumerate(stage, 1):
            lines.append(
                f"    x = x -> conv2d({width}, bias=false) as stage{i}.conv{j} "
                f"-> batch_norm as stage{i}.norm{j} -> relu as stage{i}.relu{j}"
            )
        pool = "max_pool2d(2)" if i < len(widths) else "global_avg_pool -> flatten"
        lines.append(f"    x = x -> {pool}")
    hidden = widths[-1][-1]
    lines.append(
        f"    output logits = x -> linear({hidden}) as hidden -> relu -> linear({classes}) as head"
    )
    return loads("\n".join([*lines, "}", ""]))


def _thin(graph: Graph, drawn: _Drawn, seed: int) -> None:
    """Leave random kernels out. Every channel keeps one coming in and one going out."""
    densities = [density for stage in drawn.stages for _, density in stage]
    layers = [node for node in graph if isinstance(node.op, Conv)]
    for node, density in zip(layers, densities, strict=True):
        key, spec = graph.params_of(node.name)[0]
        there = _kernels(spec.shape[0], spec.shape[1], density, generator(seed, "kernels", key))
        mask = np.broadcast_to(there[:, :, None, None], spec.shape).copy()
        if not mask.all():
            graph.weights.masks[key] = mask


def _kernels(
    rows: int, columns: int, density: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    there = rng.random((rows, columns)) < density
    there[np.arange(rows), rng.integers(columns, size=rows)] = True
    there[rng.integers(rows, size=columns), np.arange(columns)] = True
    return there
