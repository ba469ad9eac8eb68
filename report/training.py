"""The page about a training run, with growth on the way or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..backends.svg import to_svg
from ..ir.diagnostics import plural
from ..train.settings import DEFAULTS
from . import numbers
from .curves import curves
from .evolution import evolution_section
from .growth import growth_section
from .heat_maps import connections, masked_layers
from .markup import Markup, joined, table, tag
from .page import Page, Section
from .reading import Model, Run

SMALL = 60
"""Networks with more nodes than this are folded away."""
SAID = {"data", "updates", "batch_size", "evaluate_every", "grow"}
"""Settings that the page says elsewhere."""


def page_of(run: Run) -> Page:
    """The page, with the sections that the run has something for."""
    return Page(
        f"{'Training run' if run.evolution is None else 'Neuroevolution'}: {run.net.name}",
        joined([tag("p", *_lead(run), class_="lead"), _unfinished(run)]),
        list(_sections(run)),
        tag("p", *_foot(run)),
    )


def _judged(run: Run) -> str:
    """Which images the accuracy of an evaluation is of."""
    return "training" if run.settings.get("validation") == 0 else "validation"


def _sections(run: Run) -> Iterator[Section]:
    if run.evaluations:
        yield _result(run)
        yield curves(run, _judged(run))
    if run.growths:
        yield growth_section(run.growths)
    if run.evolution is not None and run.evolution.births:
        yield evolution_section(run, run.evolution, _judged(run))
    layers = masked_layers(run.net)
    if layers:
        yield connections(run.net, layers)
    yield _architecture(run)
    yield _settings(run)


# ---- what the run is


def _lead(run: Run) -> Iterator[str]:
    settings = run.settings
    updates, batch = settings["updates"], settings["batch_size"]
    yield "The network "
    yield tag("strong", run.net.name)
    yield " learns to classify the images of "
    yield tag("strong", _shown(settings["data"]))
    yield f", in {plural(updates, 'update')} with {plural(batch, 'image')} each"
    if run.growths:
        before, after = run.growths[0].params[0], run.growths[-1].params[1]
        yield f". On the way it grows in {plural(len(run.growths), 'step')}, "
        yield f"from {before:,} to {plural(after, 'parameter')}"
    if run.evolution is not None:
        yield ". Children of it and of theirs, which share parameters, learn together with it: "
        yield f"{plural(len(run.evolution.births), 'model')} in all"
    yield "."


def _unfinished(run: Run) -> Markup | None:
    if run.outcome is not None:
        return None
    rows = run.evaluations
    if rows:
        done = f"{rows[-1].update:,} of {run.settings['updates']:,} updates are done. "
        what = "All that follows is of its evaluations so far; "
    else:
        done, what = "It has not been evaluated yet. ", ""
    return tag(
        "p",
        tag("strong", "This run has not finished. "),
        f"{done}{what}if it was stopped, the command that began it goes on with ",
        tag("code", "--resume", class_="whole"),
        ".",
        class_="notice",
    )


def _foot(run: Run) -> Iterator[str]:
    from .. import __version__

    yield f"Made by growc {__version__} from "
    yield tag("code", str(run.folder))
    more = "growth.json" if run.evolution is None else "scores.csv, lineage.json"
    yield f". All numbers are in metrics.csv, {more} and result.json there."


# ---- the result


def _result(run: Run) -> Section:
    tiles = tag("dl", *_tiles(run), class_="tiles")
    every = plural(run.settings["evaluate_every"], "update")
    several = ""
    if run.outcome is not None and run.outcome.shared_params is not None:
        several = (
            "Several tasks are learned at a time: accuracy is their mean, and loss their sum. "
            f"They share {run.outcome.shared_params:,} of the last model's "
            f"{run.outcome.params:,} parameters. "
        )
    note = tag(
        "p",
        several,
        f"The best model is the one with the highest accuracy on the {_judged(run)} images, on "
        f"which the network is tried every {every}. "
        "Computation counts 2 operations for each multiplication with addition, and the backward "
        "pass as two forward ones; time is that of updates and growth steps.",
        class_="muted",
    )
    return Section("result", "Result", joined([tiles, _models(run), note]))


def _tiles(run: Run) -> Iterator[Markup]:
    best, last, outcome = run.best, run.evaluations[-1], run.outcome
    assert best is not None
    if outcome is not None and outcome.best.test_accuracy is not None:
        yield _tile("test accuracy", numbers.percent(outcome.best.test_accuracy), "best model")
    yield _tile(f"{_judged(run)} accuracy", numbers.percent(best.accuracy), "best model")
    first = run.evaluations[0].params
    grown = f"from {first:,}" if first != last.params else ""
    yield _tile("parameters", numbers.count(last.params), grown)
    yield _tile("computation", numbers.with_unit(last.flops, "FLOP"), "of training")
    yield _tile("time", numbers.duration(last.seconds), "of training")


def _tile(name: str, value: str, more: str = "") -> Markup:
    return tag("div", tag("dt", name), tag("dd", value), tag("dd", more, class_="muted"))


def _models(run: Run) -> Markup:
    """The best and the last model, side by side."""
    best, outcome = run.best, run.outcome
    assert best is not None
    judged = _judged(run)
    headings = [
        ("model", False),
        ("after updates", True),
        ("parameters", True),
        (f"{judged} accuracy", True),
        (f"{judged} loss", True),
    ]
    pairs: list[tuple[str, Any, Model | None]] = [
        ("best", best, outcome.best if outcome else None),
        ("last", run.evaluations[-1], outcome.last if outcome else None),
    ]
    lines: list[list[str]] = [
        [
            name,
            numbers.count(e.update),
            numbers.count(e.params),
            numbers.percent(e.accuracy),
            numbers.loss(e.loss),
        ]
        for name, e, _ in pairs
    ]
    if outcome is not None and outcome.best.test_accuracy is not None:
        headings += [("test accuracy", True), ("test loss", True)]
        for line, (_, _, model) in zip(lines, pairs, strict=True):
            assert model is not None
            line += [numbers.percent(model.test_accuracy), numbers.loss(model.test_loss)]
            line += [numbers.percent(share) for share in model.by_task.values()]
        headings += [(f"test, {task}", True) for task in outcome.best.by_task]
    return table(headings, lines)


# ---- the network


def _architecture(run: Run) -> Section:
    old = {node.name for node in run.start}
    new = [node.name for node in run.net if node.name not in old]
    picture = tag("div", Markup(to_svg(run.net, highlight=new)), class_="picture", tabindex="0")
    best = run.best
    of = f"the best network, after {plural(best.update, 'update')}" if best else "the network"
    words = f"This is {of}, from inputs at the top to outputs at the bottom."
    if new:
        words += f" {plural(len(new), 'node')} of {len(run.net):,}, outlined, grew on the way."
    if len(run.net) > SMALL:
        fold = tag("summary", f"Draw its {plural(len(run.net), 'node')}")
        picture = tag("details", fold, picture)
    return Section("architecture", "Architecture", joined([tag("p", words), picture]))


# ---- settings


def _settings(run: Run) -> Section:
    changed = {
        name: value
        for name, value in run.settings.items()
        if name not in SAID and _plain(value) != _plain(DEFAULTS.get(name))
    }
    if not changed:
        words = tag("p", "All other settings are the defaults.")
        return Section("settings", "Settings", words)
    lines = [
        [
            name.replace("_", " "),
            _shown(value),
            _shown(_plain(DEFAULTS[name])) if name in DEFAULTS else numbers.NONE,
        ]
        for name, value in changed.items()
    ]
    words = tag("p", "What differs from the defaults; all of it is in settings.toml.")
    headings = (("setting", False), ("value", False), ("default", False))
    return Section("settings", "Settings", joined([words, table(headings, lines)]))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """A setting as text; a long one is cut."""
    if value is None or value == "":
        return numbers.NONE
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 200 else f"{text[:199]}…"
