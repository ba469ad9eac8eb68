"""What passes ask of fingerprints: which channels and nodes are equal, and which sums are exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..fingerprints import Field, Fingerprinter, Print, prefers_last
from ..ir import Graph, GrowcError
from ..ir.weights import Array

MODES = ("eval", "train")

Prints = Mapping[str, tuple[Print, ...]]
"""Fingerprints of every node, one for each of ``MODES``."""

SEED = 0x0E0A1
"""Passes look at a field of their own: a proof, over another one, is then a second opinion."""


def prints_of(graph: Graph) -> Prints:
    """Fingerprints in both modes. Raises :class:`GrowcError` for numbers that are not finite."""
    for name in graph.parameters():
        if not np.isfinite(graph.weights[name]).all():
            raise GrowcError(
                f"the parameter `{name}` has numbers that are not finite, so that nothing is "
                "known about the channels that it makes"
            )
    fingerprinter, last = Fingerprinter(Field(SEED)), prefers_last(graph)
    found = [fingerprinter(graph, mode, last) for mode in MODES]
    return {name: tuple(prints[name] for prints in found) for name in found[0]}


def exact_sum(parts: Sequence[Array]) -> tuple[Array, bool]:
    """The sum of arrays of one shape, rounded once to float32, and whether nothing was rounded."""
    total = parts[0].astype(np.float64)
    certain = np.ones(total.shape, bool)
    for part in parts[1:]:
        other = part.astype(np.float64)
        result = total + other
        # Knuth's TwoSum: what this addition has rounded away.
        rounded = result - total
        certain &= (total - (result - rounded)) + (other - rounded) == 0
        total = result
    with np.errstate(over="ignore"):
        found = total.astype(np.float32)
    exact = bool((found == total)[certain].all())
    for index in map(tuple, np.argwhere(~certain)):
        numbers = [float(part[index]) for part in parts]
        found[index] = math.fsum(numbers)
        exact = exact and math.fsum([*numbers, -float(found[index])]) == 0
    return found, exact
