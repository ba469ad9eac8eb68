"""select (R2R algorithm 2), by accuracy or by co-evolution (section 4.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...ir import GrowcError

WAYS = ("accuracy", "coevolution")


def select(
    correct: NDArray[np.bool_], losses: Sequence[float], keep: int, way: str = "accuracy"
) -> list[int]:
    """The models to keep, the best first: at most ``keep`` rows of ``correct``.

    ``correct`` is [models, examples]: c_m(i) says whether model m is right about validation example
    i. ``accuracy`` takes the models of the largest mean of c_m. ``coevolution`` takes again and
    again the largest mean of c_m(i)·w_i with w_i = (1 + Σ c_s(i))⁻², the sum over the models taken
    so far: an example that they are right about counts less, so that others get chosen who know
    the rest (R2R section 4.3; the formula is that of the author's code). Among equals, the lower of
    ``losses`` is better, then the earlier model.

    Raises :class:`GrowcError` without an example.
    """
    models, examples = correct.shape
    if not examples:
        raise GrowcError(
            "there are no validation images to select models by", help="give --validation N"
        )
    taken: list[int] = []
    right = np.zeros(examples, np.int64)
    while len(taken) < min(keep, models):
        best = min(
            (m for m in range(models) if m not in taken),
            key=lambda m: (-_score(correct[m], right), losses[m], m),
        )
        taken.append(best)
        if way == "coevolution":
            right += correct[best]
    return taken


def _score(correct: NDArray[np.bool_], right: NDArray[np.int64]) -> float:
    """mean_i c(i)·(1 + right_i)⁻², rounded once: equal scores come out equal in any order."""
    counts = np.bincount(right[correct])
    return math.fsum(int(n) / (1 + k) ** 2 for k, n in enumerate(counts)) / len(right)
