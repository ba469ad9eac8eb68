"""Axes of charts: from numbers to places, and round numbers to write beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TICKS = 6
"""About how many numbers stand along an axis."""
WIDE = 30.0
"""From this ratio of the largest to the smallest number on, a logarithmic axis shows more."""

TINY = 1e-290
"""Below this, floats have too few digits to count in."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of numbers, what it is called (with its unit), and the numbers written along it."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Where a value stands, from 0 at the low end to 1 at the high one."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return (value - low) / (high - low)

    def words(self, tick: float) -> str:
        """A tick as text, with as many decimals as its neighbours need."""
        if self.logarithmic:
            return f"{tick:,g}"
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        if step < 1e-4:
            return f"{tick:.9g}"
        return f"{tick:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def axis(
    label: str,
    values: Iterable[float],
    *,
    least: float = -math.inf,
    most: float = math.inf,
    tight: bool = False,
) -> Axis:
    """An axis for these values, from one round number to another, not beyond ``least`` and
    ``most``; ``tight`` ends where the values do."""
    found = list(values)
    low, high = min(found), max(found)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), TINY):  # equal, but for rounding
        room = max(abs(low), abs(high)) / 2
        room = room if room > TINY else 1.0
        low, high = max(low - room, least), min(high + room, most)
    step = _round_step((high - low) / TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [float(f"{i * step:.12g}") for i in range(first, last + 1)]
    if not tight:
        low, high = max(ticks[0], least), min(ticks[-1], most)
    return Axis(label, low, high, tuple(t for t in ticks if low <= t <= high))


def positive_axis(label: str, values: Iterable[float]) -> Axis:
    """An axis for numbers above 0, logarithmic where they lie far apart."""
    found = list(values)
    low, high = min(found), max(found)
    if low <= 0 or high / low < WIDE:
        return axis(label, [*found, 0.0], least=0.0 if low >= 0 else -math.inf)
    for leads in ((1, 2, 5), (1, 3), (1,)):
        ticks = _powers(low, high, leads)
        if len(ticks) <= TICKS + 2:
            break
    return Axis(f"{label}, log scale", ticks[0], ticks[-1], tuple(ticks), logarithmic=True)


def _powers(low: float, high: float, leads: Sequence[int]) -> list[float]:
    """``leads`` times powers of ten, from one at most ``low`` to one at least ``high``."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [lead * 10.0**exponent for exponent in exponents for lead in leads]
    first = max(i for i, tick in enumerate(every) if tick <= low * (1 + 1e-9))
    last = min(i for i, tick in enumerate(every) if tick >= high * (1 - 1e-9))
    return every[first : last + 1]


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def prefixed(most: float) -> tuple[float, str]:
    """The power of a thousand to count numbers up to ``most`` in, and the prefix of its unit."""
    power = min(6, int(math.log10(most)) // 3) if most >= 1000 else 0
    return 1000.0**power, ("", "k", "M", "G", "T", "P", "E")[power]
