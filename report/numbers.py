"""Numbers as people read them. A blank before a unit does not break."""

from __future__ import annotations

from ..ir.summary import si

BLANK = "\N{NO-BREAK SPACE}"
NONE = "–"
"""Where there is no number."""


def count(number: int) -> str:
    """``12,345``"""
    return f"{number:,}"


def percent(share: float | None) -> str:
    """``92.3 %`` for 0.923."""
    return NONE if share is None else f"{100 * share:.1f}{BLANK}%"


def loss(value: float | None, digits: int = 4) -> str:
    """``0.2688``; very large ones short."""
    if value is None:
        return NONE
    return f"{value:.{digits}f}" if abs(value) < 10_000 else f"{value:.3g}"


def change(before: float | None, after: float | None) -> str:
    """``0.296634 → 0.296634``, with the digits in which float32 rounds."""
    if before is None and after is None:
        return NONE
    return f"{loss(before, 6)}{BLANK}→{BLANK}{loss(after, 6)}"


def with_unit(number: float, unit: str) -> str:
    """``17.7 GFLOP``: three digits and a prefix."""
    text = si(round(number))
    digits, prefix = (text[:-1], text[-1]) if text[-1].isalpha() else (text, "")
    return f"{digits}{BLANK}{prefix}{unit}"


def duration(seconds: float) -> str:
    """``0.034 s``, ``5.2 s``, ``3 min 20 s``, ``2 h 5 min``: two parts at most."""
    if seconds < 60:
        digits = 0 if seconds >= 59.95 or seconds == 0 else 1 if seconds >= 1 else 3
        return f"{seconds:.{digits}f}{BLANK}s"
    whole = round(seconds)
    if whole < 3600:
        return _two(*divmod(whole, 60), "min", "s")
    return _two(*divmod(round(whole / 60), 60), "h", "min")


def _two(large: int, small: int, unit: str, part: str) -> str:
    first = f"{large:,}{BLANK}{unit}"
    return f"{first} {small}{BLANK}{part}" if small else first
