"""Line charts as SVG, in the page's colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .axes import Axis
from .markup import Markup, tag

Point = tuple[float, float]

WIDTH, HEIGHT = 360.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 12.0, 22.0, 42.0
MOST_POINTS = 600
"""More would only make the file larger: a chart has 288 pixels for them."""
DOTS, MOST_TIPS = 40, 100
"""With more points than this the line alone is drawn; about how many points have a tooltip."""
LABEL_ROOM = 16.0
"""How far apart the numbers of growth steps must be."""
CROWD = 15
"""More marks than this do not cross the whole chart: they would hide the lines."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name in the legend, its points, and what each point's tooltip says."""

    name: str
    points: tuple[Point, ...]
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line: a growth step."""

    x: float
    number: int
    says: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Up to two lines over one axis."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    ring: Point | None = None
    """A point to draw a ring around: the best model."""


def draw(chart: Chart, more: Sequence[Markup] = ()) -> Markup:
    """The chart with its title, and a legend if it has two lines; ``more`` is drawn below these."""
    several = len(chart.series) > 1
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("strong", chart.title),
            *(_key(i, s.name) for i, s in enumerate(chart.series) if several),
        ),
        tag(
            "svg",
            *_grid(chart),
            *_marks(chart),
            *more,
            *(part for i, s in enumerate(chart.series) for part in _line(chart, i, s)),
            *_ring(chart),
            viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
            role="img",
            aria_label=f"{chart.title}: {chart.y.label} over {chart.x.label}",
        ),
        class_="chart",
    )


def _key(index: int, name: str) -> Markup:
    line = tag("path", d="M1 6h22", class_=f"line s{index + 1}")
    swatch = tag("svg", line, width="24", height="12", aria_hidden="true")
    return tag("span", swatch, name, class_="key")


def place(chart: Chart, point: Point) -> Point:
    """Where a point of the chart stands in its picture."""
    x = LEFT + chart.x.at(point[0]) * (WIDTH - LEFT - RIGHT)
    return x, HEIGHT - BOTTOM - chart.y.at(point[1]) * (HEIGHT - TOP - BOTTOM)


def _grid(chart: Chart) -> Iterator[Markup]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in chart.y.ticks:
        y = floor - chart.y.at(tick) * (floor - TOP)
        yield tag("path", d=f"M{LEFT:g} {y:.1f}H{right:g}", class_="grid")
        words = chart.y.words(tick)
        yield tag("text", words, x=LEFT - 6, y=f"{y + 3.5:.1f}", text_anchor="end")
    for tick in chart.x.ticks:
        x = LEFT + chart.x.at(tick) * (right - LEFT)
        yield tag("path", d=f"M{x:.1f} {floor:g}v4", class_="rule")
        words = chart.x.words(tick)
        yield tag("text", words, x=f"{x:.1f}", y=floor + 16, text_anchor="middle")
    yield tag("path", d=f"M{LEFT:g} {floor:g}H{right:g}", class_="rule")
    middle = (LEFT + right) / 2
    yield tag("text", chart.x.label, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="label")
    up = (TOP + floor) / 2
    turned = f"translate(13 {up:g}) rotate(-90)"
    yield tag("text", chart.y.label, transform=turned, text_anchor="middle", class_="label")


def _marks(chart: Chart) -> Iterator[Markup]:
    places = [LEFT + chart.x.at(mark.x) * (WIDTH - LEFT - RIGHT) for mark in chart.marks]
    every = _numbered(places)
    crowd = "mark crowd" if len(places) > CROWD else "mark"
    for mark, x in zip(chart.marks, places, strict=True):
        line = f"M{x:.1f} {TOP:g}V{HEIGHT - BOTTOM:g}"
        number = None
        if mark.number % every == 0:
            number = tag("text", str(mark.number), x=f"{x:.1f}", y=TOP - 5, text_anchor="middle")
        yield tag(
            "g",
            tag("title", mark.says),
            tag("path", d=line, class_="step"),
            tag("path", d=line, class_="hit"),
            tag("path", d=f"M{x:.1f} {TOP:g}v5", class_="notch"),
            number,
            class_=crowd,
        )


def _numbered(places: Sequence[float]) -> int:
    """Every how many marks have their number written, so that numbers keep apart."""
    for every in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        shown = places[every - 1 :: every]
        if all(b - a >= LABEL_ROOM for a, b in pairwise(shown)):
            return every
    return 1000


def _line(chart: Chart, index: int, series: Series) -> Iterator[Markup]:
    kept = thinned(series.points)
    places = [place(chart, series.points[i]) for i in kept]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    yield tag("path", d=f"M{path}", class_=f"line s{index + 1}")
    few = len(kept) <= DOTS
    look, radius = (f"dot s{index + 1}", "2.2") if few else ("hit", "4")
    every = -(-len(kept) // MOST_TIPS)
    for i, (x, y) in list(zip(kept, places, strict=True))[::every]:
        title = tag("title", series.says[i])
        yield tag("circle", title, cx=f"{x:.1f}", cy=f"{y:.1f}", r=radius, class_=look)


def _ring(chart: Chart) -> Iterator[Markup]:
    if chart.ring is not None:
        x, y = place(chart, chart.ring)
        yield tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="5.5", class_="best")


def thinned(points: Sequence[Point]) -> list[int]:
    """Which points to draw of a line with very many: of each stretch the first, the last, the
    lowest and the highest, so that it looks the same."""
    if len(points) <= MOST_POINTS:
        return list(range(len(points)))
    size = -(-4 * len(points) // MOST_POINTS)
    kept: list[int] = []
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        by_height = sorted(stretch, key=lambda i: points[i][1])
        kept += sorted({stretch[0], by_height[0], by_height[-1], stretch[-1]})
    return kept
