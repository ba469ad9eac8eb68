"""The section of a neuroevolution: the tree of its models, and who came from whom."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..ir.diagnostics import plural
from . import numbers
from .axes import axis
from .charts import Chart, Point, draw, place
from .markup import Markup, joined, table, tag
from .page import Section
from .reading import Birth, Evolution, Run, Scored

LISTED = 40
"""Of more models than this the table is folded away."""


def evolution_section(run: Run, evolution: Evolution, judged: str) -> Section:
    """The tree, the table of models, the ensemble, and what the search was told."""
    births = evolution.births
    iterations = plural(max((b.born for b in births), default=0), "iteration")
    alive = (
        f"{plural(len(births), 'model')} {'was' if len(births) == 1 else 'were'} ever alive, in "
        f"{iterations} of selection and mutation."
    )
    words = tag("p", " ".join([alive, *_kept(births), *_unfilled(run)]))
    lines = table(
        (
            ("model", True),
            ("parent", True),
            ("mutation", False),
            ("iterations", True),
            ("parameters", True),
            ("function kept?", False),
            (f"last {judged} accuracy", True),
        ),
        (_line(birth, evolution) for birth in births),
    )
    if len(births) > LISTED:
        lines = tag("details", tag("summary", f"List {plural(len(births), 'model')}"), lines)
    tree, ensemble = _tree(run, evolution, judged), _ensemble(run, judged)
    parts = [words, *tree, lines, *ensemble, _told(evolution)]
    return Section("evolution", "Evolution", joined(parts))


def _kept(births: Sequence[Birth]) -> Iterator[str]:
    """Whether children began as good as their parents, and how well that is known."""
    # "proved (eval, train)", "measured (eval)", "not checked (claims eval)", "not claimed"
    ways = Counter(b.proof.partition(" (")[0] for b in births if b.parent is not None)
    total, proved = ways.total(), ways.pop("proved", 0)
    if not total:
        return
    if proved == total:
        each = "The mutation is" if total == 1 else f"Each of the {total:,} mutations is"
        yield f"{each} proved to keep the function: a child begins as good as its parent was."
        return
    others = ", ".join(f"{way}: {number:,}" for way, number in ways.items())
    yield f"Of {plural(total, 'mutation')} {proved:,} are proved to keep the function ({others})."


def _unfilled(run: Run) -> Iterator[str]:
    for reason in run.outcome.unfilled if run.outcome is not None else ():
        yield f"Iterations had fewer models than wanted: {reason}."


def _line(birth: Birth, evolution: Evolution) -> Iterator[str]:
    yield str(birth.model)
    yield numbers.NONE if birth.parent is None else str(birth.parent)
    yield tag("code", birth.mutation) if birth.mutation else "the first network"
    yield f"{birth.born}–{'' if birth.died is None else birth.died}"
    yield numbers.count(birth.params)
    proved = birth.proof.startswith("proved")
    yield (
        tag(
            "span",
            ("✓ " if proved else "") + birth.proof,
            class_="proved" if proved else "unproved",
        )
        if birth.proof
        else numbers.NONE
    )
    mine = evolution.scores_of[birth.model]
    yield numbers.percent(mine[-1].accuracy if mine else None)


def _ensemble(run: Run, judged: str) -> Iterator[Markup]:
    found = run.outcome.ensemble if run.outcome is not None else None
    if found is None:
        return
    numbered = ", ".join(map(str, found.models))
    tested = f", on test images {numbers.percent(found.test_accuracy)}"
    yield tag(
        "p",
        f"The ensemble of the models {numbered}, with {found.params:,} parameters, has an accuracy "
        f"of {numbers.percent(found.validation_accuracy)} on {judged} images"
        f"{tested if found.test_accuracy is not None else ''}.",
    )


def _told(evolution: Evolution) -> Markup:
    """What the search was told, folded."""
    rows = [[name.replace("_", " "), _plain(value)] for name, value in evolution.told.items()]
    told = table((("option", False), ("value", False)), rows)
    return tag("details", tag("summary", "What the search was told"), told)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---- the tree


def _tree(run: Run, evolution: Evolution, judged: str) -> Iterator[Markup]:
    """Every model's accuracy, from that of its parent when it was born."""
    paths = {b.model: _path(b, evolution) for b in evolution.births}
    points = [point for path in paths.values() for point in path]
    best = run.best
    if not points or best is None:
        return
    chart = Chart(
        "Every model",
        axis("updates", [x for x, _ in points], tight=True),
        axis(f"{judged} accuracy, %", [y for _, y in points], least=0.0, most=100.0),
        (),
        (),
        (best.update, 100 * best.accuracy),
    )
    alive = {b.model for b in evolution.births if b.died is None}
    drawn = [
        part
        for model, path in sorted(paths.items(), key=lambda item: item[0] in alive)
        for part in _branch(chart, evolution.births[model], path, model in alive)
    ]
    yield draw(chart, drawn)
    yield tag(
        "p",
        "Each line is a model, from the accuracy of its parent when it was born. Those alive at "
        "the end are in colour; the ring is the best.",
        class_="muted",
    )


def _path(birth: Birth, evolution: Evolution) -> list[Point]:
    mine = [_point(score) for score in evolution.scores_of[birth.model]]
    if not mine or birth.parent is None:
        return mine
    # The parent may be newborn, too: then its own parent is what both began as.
    ancestor: int | None = birth.parent
    while ancestor is not None:
        scores = evolution.scores_of[ancestor]
        earlier = bisect_left(scores, mine[0][0], key=lambda s: s.update)
        if earlier:
            return [_point(scores[earlier - 1]), *mine]
        ancestor = evolution.births[ancestor].parent
    return mine


def _point(score: Scored) -> Point:
    return float(score.update), 100 * score.accuracy


def _branch(chart: Chart, birth: Birth, path: list[Point], alive: bool) -> Iterator[Markup]:
    if not path:
        return
    kind = " alive" if alive else ""
    places = [place(chart, point) for point in path]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    yield tag("path", d=f"M{line}", class_=f"branch{kind}")
    own = places[1:] if birth.parent is not None and len(path) > 1 else places
    values = path[-len(own) :]
    for (x, y), (update, accuracy) in zip(own, values, strict=True):
        said = f"model {birth.model}, update {update:,.0f}: {accuracy:.1f} %"
        title = tag("title", f"{said}; {birth.mutation or 'the first network'}")
        yield tag("circle", title, cx=f"{x:.1f}", cy=f"{y:.1f}", r="2.4", class_=f"leaf{kind}")
