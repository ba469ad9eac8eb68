"""Which numbers `resize` and `pad` take from each axis, exactly: what both backends go by."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..ir import ops

Indices = NDArray[np.int64]
Matrix = NDArray[np.float64]

SIMPLE = 1000
"""A ratio is taken for the fraction with a denominator up to this that it is the rounding of."""


def exact(ratio: float) -> Fraction:
    """The fraction that is meant: 1.1 is 11/10, and 1.6666666 is 5/3.

    Nearest neighbours lie on the edge between two numbers often, where a ratio that is off by a
    rounding would take the wrong one.
    """
    simple = Fraction(ratio).limit_denominator(SIMPLE)
    return simple if abs(simple - Fraction(ratio)) <= Fraction(ratio) / 10**7 else Fraction(ratio)


def ratios(op: ops.Resize, sizes: tuple[int, ...]) -> tuple[Fraction, ...]:
    """The ratio of each spatial axis, by which places are computed."""
    if op.scale is not None:
        return tuple(exact(r) for r in op.scale)
    return tuple(Fraction(m, n) for n, m in zip(sizes, op.size, strict=True))


def place(op: ops.Resize, i: int, n: int, m: int, ratio: Fraction) -> Fraction:
    """Where result i of m lies among n numbers."""
    match op.coordinates:
        case "asymmetric":
            return i / ratio
        case "align_corners":
            return Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)
        case "pytorch_half_pixel" if m == 1:
            return Fraction(0)
        case _:
            return (i + Fraction(1, 2)) / ratio - Fraction(1, 2)


HALF = Fraction(1, 2)
ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda p: math.ceil(p - HALF),
    "round_prefer_ceil": lambda p: math.floor(p + HALF),
}


def nearest(op: ops.Resize, n: int, m: int, ratio: Fraction) -> Indices:
    """The number that each result is, along one axis."""
    chosen = [ROUNDINGS[op.rounding](place(op, i, n, m, ratio)) for i in range(m)]
    return np.clip(np.array(chosen, np.int64), 0, n - 1)


def matrix(op: ops.Resize, n: int, m: int, ratio: Fraction) -> Matrix:
    """[m, n]: the weights of the numbers that each result is a mean of, along one axis."""
    weights = np.zeros((m, n))
    widening = max(1.0, float(1 / ratio)) if op.antialias else 1.0
    reach = (2 if op.mode == "cubic" else 1) * widening
    for i in range(m):
        centre = place(op, i, n, m, ratio)
        taps = np.arange(
            math.floor(centre - Fraction(reach)), math.ceil(centre + Fraction(reach)) + 1
        )
        distance = np.abs(np.array([float(t - centre) for t in taps.tolist()])) / widening
        share = _cubic(distance, op.cubic) if op.mode == "cubic" else np.maximum(1 - distance, 0)
        np.add.at(weights[i], np.clip(taps, 0, n - 1), share / share.sum())
    return weights


def _cubic(x: Matrix, a: float) -> Matrix:
    """Keys's kernel: two cubic polynomials, one up to distance 1, one up to distance 2."""
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def padded(mode: str, n: int, before: int, after: int) -> Indices:
    """Which of n numbers stands where, along an axis with a border made of its own numbers."""
    return np.pad(np.arange(n), (before, after), mode=mode)  # type: ignore[call-overload, no-any-return]


def keeps(chosen: Indices | Matrix, n: int) -> bool:
    """Whether these indices, or this matrix, leave an axis of n numbers as it is."""
    same = np.arange(n) if chosen.ndim == 1 else np.eye(n)
    return np.array_equal(chosen, same)
