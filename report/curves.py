"""The section of curves: accuracy, loss and size over updates, cost or time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..ir.diagnostics import plural
from . import numbers
from .axes import Axis, axis, positive_axis, prefixed
from .charts import Chart, Mark, Series, draw
from .growth import in_short
from .markup import Markup, joined, tag
from .page import Section
from .reading import Evaluation, Run

Measure = Callable[[Evaluation], float]


def curves(run: Run, judged: str) -> Section:
    """Three charts for each of three horizontal axes, to choose from. ``judged`` says which
    images the accuracy is of."""
    choices = list(_choices(run))
    buttons = [
        part
        for i, (key, name, _, _) in enumerate(choices)
        for part in (
            tag("input", type="radio", name="axis", id=f"by-{key}", checked=i == 0),
            tag("label", name, for_=f"by-{key}"),
        )
    ]
    groups = [
        tag("div", *_charts(run, judged, label, measure), class_=f"charts {key}")
        for key, _, label, measure in choices
    ]
    # The buttons stand before the charts: the style sheet shows those of the one that is chosen.
    body = tag("div", tag("span", "Over"), *buttons, *groups, class_="choice")
    return Section("curves", "Curves", joined([_legend(run), body]))


def _choices(run: Run) -> Iterator[tuple[str, str, str, Measure]]:
    """The horizontal axes: key, button, label, and what is measured."""
    last = run.evaluations[-1]
    yield "updates", "updates", "updates", lambda e: e.update
    scale, prefix = prefixed(last.flops)
    yield "cost", "computation", f"{prefix}FLOP of training", lambda e: e.flops / scale
    unit, name = next(
        (size, name)
        for size, name in ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
        if last.seconds >= 2 * size or size == 1.0
    )
    yield "time", "time", f"{name} of training", lambda e: e.seconds / unit


def _legend(run: Run) -> Markup:
    parts: list[str] = [
        _swatch(tag("circle", cx="12", cy="7", r="5", class_="best"), "the best model")
    ]
    if run.growths:
        line = tag("path", d="M12 0v14", class_="step")
        parts.append(_swatch(line, "a growth step, numbered as in the table below"))
    return tag("p", *parts, class_="legend")


def _swatch(shape: Markup, words: str) -> Markup:
    drawn = tag("svg", shape, width="24", height="14", aria_hidden="true")
    return tag("span", drawn, words, class_="key")


def _charts(run: Run, judged: str, label: str, measure: Measure) -> Iterator[Markup]:
    rows = run.evaluations
    xs = [measure(e) for e in rows]
    marks = _marks(run, xs, label == "updates")
    x = axis(label, [*xs, *(m.x for m in marks)], tight=True)
    best = run.best
    assert best is not None
    at = measure(best)

    accuracies = [(measure(e), 100 * e.accuracy) for e in rows]
    says = [f"update {e.update:,}: {numbers.percent(e.accuracy)}" for e in rows]
    y = axis(f"{judged} accuracy, %", [a for _, a in accuracies], least=0.0, most=100.0)
    line = Series(judged, tuple(accuracies), tuple(says))
    yield draw(Chart("Accuracy", x, y, (line,), marks, (at, 100 * best.accuracy)))

    lines = [_losses(judged, [(e, e.loss) for e in rows], measure)]
    trained = [(e, e.train_loss) for e in rows if e.train_loss is not None]
    if trained:
        lines.append(_losses("training", trained, measure))
    y = positive_axis("loss", [value for line in lines for _, value in line.points])
    yield draw(Chart("Loss", x, y, tuple(lines), marks, (at, best.loss)))

    yield draw(_size(run, x, marks, xs, at))


def _losses(name: str, values: list[tuple[Evaluation, float]], measure: Measure) -> Series:
    points = tuple((measure(e), value) for e, value in values)
    says = tuple(f"update {e.update:,}: {name} loss {numbers.loss(v)}" for e, v in values)
    return Series(f"{name} loss", points, says)


def _size(run: Run, x: Axis, marks: tuple[Mark, ...], xs: list[float], at: float) -> Chart:
    """Parameters: a line with a step at each growth step."""
    rows = run.evaluations
    grown = {growth.update: mark.x for growth, mark in zip(run.growths, marks, strict=True)}
    events = [(e.update, 0, xs[i], e.params) for i, e in enumerate(rows)]
    for turn, growth in enumerate(run.growths):
        # An evaluation after this many updates comes before the growth step.
        steps = enumerate(growth.params, 1 + 2 * turn)
        events += [(growth.update, i, grown[growth.update], params) for i, params in steps]
    events.sort(key=lambda event: event[:2])
    most = max(params for *_, params in events)
    scale, prefix = prefixed(most) if most >= 10_000 else (1.0, "")
    words = {"": "", "k": ", thousands", "M": ", millions", "G": ", billions"}.get(
        prefix, f", {prefix}"
    )
    y = axis(f"parameters{words}", [params / scale for *_, params in events], least=0.0)
    line = Series(
        "parameters",
        tuple((place, params / scale) for _, _, place, params in events),
        tuple(
            f"update {update:,}: {plural(params, 'parameter')}" for update, _, _, params in events
        ),
    )
    best = run.best
    assert best is not None
    return Chart("Parameters", x, y, (line,), marks, (at, best.params / scale))


def _marks(run: Run, xs: list[float], exact: bool) -> tuple[Mark, ...]:
    """The growth steps. What they cost up to there is not written down; between two evaluations
    it is taken to rise evenly."""
    updates = [e.update for e in run.evaluations]
    return tuple(
        Mark(
            float(growth.update if exact else np.interp(growth.update, updates, xs)),
            number,
            f"growth step {number}, at update {growth.update:,}: {in_short(growth)}",
        )
        for number, growth in enumerate(run.growths, 1)
    )
