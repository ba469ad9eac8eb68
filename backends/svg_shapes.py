"""SVG elements as text: boxes, text, lines, arrowheads and the legend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .svg_layout import Point
from .svg_text import Family, escape, text_width

ARROW, HALF_ARROW = 6.5, 3.1
"""Length of an arrowhead, and half its width."""

LEGEND_ROW, LEGEND_GAP, SWATCH, LEGEND_SIZE = 20.0, 16.0, 16.0, 10.0

INK, GREY, MARK = "#1e293b", "#586577", "#e2570b"
"""Colours of text, of lesser text, and of what is highlighted."""


def number(value: float) -> str:
    """With one decimal at most: enough for a screen, and short."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def rect(
    x: float,
    y: float,
    width: float,
    height: float,
    radius: float,
    fill: str,
    line: str,
    stroke: float = 1.2,
) -> str:
    """A rounded box by its left upper corner."""
    place = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    look = f'rx="{number(radius)}" fill="{fill}" stroke="{line}" stroke-width="{number(stroke)}"'
    return f"<rect {place} {look}/>"


def text(
    x: float,
    y: float,
    words: str,
    size: float,
    fill: str,
    weight: str = "",
    anchor: str = "",
    halo: str = "",
) -> str:
    """One line of text on the baseline ``y``; with a halo in this colour if it may cross lines."""
    look = f'font-size="{number(size)}" fill="{fill}"'
    look += f' font-weight="{weight}"' if weight else ""
    look += f' text-anchor="{anchor}"' if anchor else ""
    if halo:
        look += f' stroke="{halo}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'
    return f'<text x="{number(x)}" y="{number(y)}" {look}>{escape(words)}</text>'


# ---- lines


def path(route: Sequence[Point]) -> str:
    """The line along a route of Bézier curves, up to where its arrowhead starts."""
    dx, dy = ((ARROW - 1) * part for part in _direction(route))
    points = [*route[:-2], *((x - dx, y - dy) for x, y in route[-2:])]
    before = points[0]
    parts = [f"M{number(before[0])} {number(before[1])}"]
    for a, b, end in zip(points[1::3], points[2::3], points[3::3], strict=True):
        if before[0] == a[0] == b[0] == end[0]:
            parts.append(f"V{number(end[1])}")
        else:
            parts.append("C" + " ".join(f"{number(px)} {number(py)}" for px, py in (a, b, end)))
        before = end
    return "".join(parts)


def head(route: Sequence[Point], colour: str) -> str:
    """The arrowhead at the end of a route."""
    x, y = route[-1]
    dx, dy = _direction(route)
    bx, by = x - ARROW * dx, y - ARROW * dy
    corners = (
        (x, y),
        (bx - HALF_ARROW * dy, by + HALF_ARROW * dx),
        (bx + HALF_ARROW * dy, by - HALF_ARROW * dx),
    )
    points = "L".join(f"{number(px)} {number(py)}" for px, py in corners)
    return f'<path d="M{points}z" fill="{colour}" stroke="none"/>'


def bowed(route: Sequence[Point], by: float) -> list[Point]:
    """The route moved to the right between its ends, for the second line between two boxes."""
    return [route[0], *((x + by, y) for x, y in route[1:-1]), route[-1]]


def _direction(route: Sequence[Point]) -> Point:
    """The unit vector in which a route ends."""
    x, y = route[-1]
    for px, py in reversed(route[:-1]):
        length = math.hypot(x - px, y - py)
        if length > 0.5:
            return ((x - px) / length, (y - py) / length)
    return (0.0, 1.0)


# ---- legend


def legend_rows(families: Sequence[Family], marked: bool, room: float) -> list[list[Family]]:
    """The legend's entries, row by row; ``marked`` adds one for what is highlighted."""
    entries = [*families, *([Family("highlighted", "none", MARK)] if marked else [])]
    rows: list[list[Family]] = []
    left = 0.0
    for entry in entries:
        width = _entry_width(entry)
        if not rows or width > left:
            rows.append([])
            left = room + LEGEND_GAP
        rows[-1].append(entry)
        left -= width
    return rows


def legend(rows: Sequence[Sequence[Family]], x: float, y: float) -> Iterator[str]:
    """The legend with its left upper corner at (x, y)."""
    yield '<g class="legend">'
    for row in rows:
        at = x
        for entry in row:
            stroke = 2.4 if entry.fill == "none" else 1.2
            yield rect(at, y, SWATCH, 11, 3, entry.fill, entry.line, stroke)
            yield text(at + SWATCH + 6, y + 9.2, entry.label, LEGEND_SIZE, GREY)
            at += _entry_width(entry)
        y += LEGEND_ROW
    yield "</g>"


def _entry_width(entry: Family) -> float:
    return SWATCH + 6 + text_width(entry.label, LEGEND_SIZE) + LEGEND_GAP
