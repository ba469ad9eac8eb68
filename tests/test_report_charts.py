"""Axes, lines and numbers of reports."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.report import numbers
from growc.report.axes import Axis, axis, positive_axis, prefixed
from growc.report.charts import LABEL_ROOM, MOST_POINTS, _numbered, thinned
from growc.report.markup import Markup, joined, tag

VALUES = st.lists(
    st.one_of(st.floats(-1e15, 1e15), st.integers(-1000, 1000).map(float)), min_size=1, max_size=9
).filter(lambda v: max(v) == min(v) or max(v) - min(v) > 1e-6 * max(map(abs, v)))
POSITIVE = st.lists(st.floats(1e-9, 1e15), min_size=1, max_size=9).filter(
    lambda v: max(v) == min(v) or max(v) > 1.000001 * min(v)
)


def sound(made: Axis, values: list[float]) -> None:
    """Every value has a place on the axis, so has every tick, and no two say the same."""
    slack = 1e-6 * (abs(made.low) + abs(made.high))
    assert made.low - slack <= min(values) <= max(values) <= made.high + slack
    assert all(-1e-6 <= made.at(value) <= 1 + 1e-6 for value in values)
    assert 0.999 < made.at(made.high) < 1.001
    assert abs(made.at(made.low)) < 0.001
    assert all(made.low - slack <= tick <= made.high + slack for tick in made.ticks)
    assert list(made.ticks) == sorted(set(made.ticks))
    words = [made.words(tick) for tick in made.ticks]
    assert len(set(words)) == len(words)


@given(VALUES)
def test_any_numbers_have_an_axis(values: list[float]) -> None:
    made = axis("x", values)
    sound(made, values)
    assert 2 <= len(made.ticks) <= 9
    made = axis("x", values, tight=True)
    sound(made, values)
    if max(values) - min(values) > 1e-200:
        assert (made.low, made.high) == (min(values), max(values))


@given(POSITIVE)
def test_any_positive_numbers_have_an_axis(values: list[float]) -> None:
    made = positive_axis("loss", values)
    sound(made, values)
    assert made.logarithmic == ("log scale" in made.label) == (max(values) / min(values) >= 30)


def test_axes() -> None:
    made = axis("accuracy, %", [8.0, 97.0], least=0.0, most=100.0)
    assert made.ticks == (0, 20, 40, 60, 80, 100)
    assert [made.words(t) for t in made.ticks][-1] == "100"
    assert axis("accuracy, %", [100.0, 100.0], least=0.0, most=100.0).high == 100
    made = axis("x", [0.91, 0.934])
    assert [made.words(t) for t in made.ticks] == [
        "0.910",
        "0.915",
        "0.920",
        "0.925",
        "0.930",
        "0.935",
    ]
    made = positive_axis("loss", [2.3, 0.06])
    assert made.ticks == (0.05, 0.1, 0.2, 0.5, 1, 2, 5)
    assert made.at(0.5) == pytest.approx(0.5)
    assert made.words(made.ticks[0]) == "0.05"
    assert positive_axis("loss", [2.3, 0.5]).low == 0
    assert positive_axis("loss", [2.3, 0.0]).low == 0
    assert positive_axis("loss", [1e9, 1e-9]).ticks[0] == 1e-9
    assert prefixed(999.0) == (1, "")
    assert prefixed(17.7e9) == (1e9, "G")
    assert prefixed(1e30) == (1e18, "E")


@pytest.mark.parametrize("length", [0, 1, 600, 601, 5000, 99_999])
def test_a_thinned_line_keeps_its_ends_and_its_highest_and_lowest_points(length: int) -> None:
    heights = np.random.default_rng(length).normal(size=length).tolist()
    kept = thinned(list(enumerate(heights)))
    assert kept == sorted(set(kept))
    assert len(kept) <= MOST_POINTS + 4
    if length <= MOST_POINTS:
        assert len(kept) == length
    if length:
        assert {0, length - 1} <= set(kept)
        assert {heights.index(min(heights)), heights.index(max(heights))} <= set(kept)


@given(st.lists(st.floats(0, 300), max_size=80).map(sorted))
def test_numbers_of_growth_steps_keep_apart(places: list[float]) -> None:
    every = _numbered(places)
    shown = places[every - 1 :: every]
    assert all(b - a >= LABEL_ROOM for a, b in pairwise(shown))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0342, "0.034 s"),
        (5.184, "5.2 s"),
        (59.94, "59.9 s"),
        (59.96, "60 s"),
        (60, "1 min"),
        (200.4, "3 min 20 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (360_000, "100 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert numbers.duration(seconds).replace(numbers.BLANK, " ") == text


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (numbers.count(12345), "12,345"),
        (numbers.percent(0.92256), "92.3 %"),
        (numbers.percent(None), "–"),
        (numbers.loss(0.26878), "0.2688"),
        (numbers.loss(123456.0), "1.23e+05"),
        (numbers.loss(None), "–"),
        (numbers.change(0.5, 0.25), "0.500000 → 0.250000"),
        (numbers.change(None, None), "–"),
        (numbers.with_unit(17_657_241_600.0, "FLOP"), "17.7 GFLOP"),
        (numbers.with_unit(0.0, "FLOP"), "0 FLOP"),
    ],
)
def test_numbers(made: str, text: str) -> None:
    assert made.replace(numbers.BLANK, " ") == text


def test_tags() -> None:
    assert tag("td", "a < b", class_="n") == '<td class="n">a &lt; b</td>'
    assert tag("p", tag("br"), None, "&") == "<p><br>&amp;</p>"
    assert tag("input", checked=True, disabled=False, aria_label='"') == (
        '<input checked aria-label="&quot;">'
    )
    assert tag("circle", cx=1.5, r=2.0) == '<circle cx="1.5" r="2"></circle>'
    assert joined(["<", Markup("<b>")], " & ") == "&lt; &amp; <b>"
