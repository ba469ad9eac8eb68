"""A run's files, read and checked. By its own small reader: ``growc.train`` writes them while it
holds a model, and a report should neither import torch nor trust a file that others may edit."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..grammar import load
from ..ir import Graph, GrowcError
from ..ir.toml import read_toml

T = TypeVar("T")

DAMAGED = "the file is damaged; restore it, or make the run again"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A row of ``metrics.csv``."""

    update: int
    seconds: float
    flops: float
    params: int
    loss: float
    accuracy: float
    train_loss: float | None
    """The mean since the last evaluation; none at the first."""


@dataclass(frozen=True, slots=True)
class Growth:
    """An entry of ``growth.json``."""

    update: int
    pipeline: str
    at: tuple[tuple[str, ...], ...]
    """For each pass of the pipeline the places where it was applied."""
    params: tuple[int, int]
    """Before and after."""
    proof: str
    loss_before: Mapping[str, float | None]
    """By mode, ``eval`` and ``train``, on the same images."""
    loss_after: Mapping[str, float | None]
    seconds: float


@dataclass(frozen=True, slots=True)
class Model:
    """What ``result.json`` says of the best or the last model."""

    update: int
    validation_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    """Of several tasks, the mean."""
    by_task: dict[str, float]
    """The test accuracy of each of several tasks."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What ``result.json`` says of the hierarchical ensemble of a neuroevolution."""

    models: tuple[int, ...]
    params: int
    validation_accuracy: float
    test_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """``result.json``, which a run writes at its end."""

    updates: int
    params: int
    flops: float
    seconds: float
    best: Model
    last: Model
    shared_params: int | None
    """How many parameters several tasks have in common; None of a single task."""
    ensemble: Ensemble | None = None
    """Of a neuroevolution that was asked for one."""
    unfilled: tuple[str, ...] = ()
    """Why iterations of a neuroevolution had fewer models than wanted; each reason once."""


@dataclass(frozen=True, slots=True)
class Birth:
    """An entry of ``lineage.json``: a model of a neuroevolution."""

    model: int
    parent: int | None
    """None of the first."""
    born: int
    """In which iteration."""
    died: int | None
    """In which iteration it was not selected; None if it lives."""
    mutation: str
    """The pass that made it; empty of the first."""
    params: int
    proof: str


@dataclass(frozen=True, slots=True)
class Scored:
    """A row of ``scores.csv``: a model at an evaluation."""

    update: int
    model: int
    accuracy: float


@dataclass(frozen=True)
class Evolution:
    """What the folder of a neuroevolution has besides that of any run."""

    births: tuple[Birth, ...]
    """By the models' numbers."""
    scores: tuple[Scored, ...]
    told: Mapping[str, Any]
    """``search.toml``."""

    @cached_property
    def scores_of(self) -> Mapping[int, Sequence[Scored]]:
        """The evaluations of each model, in their order."""
        found: dict[int, list[Scored]] = {birth.model: [] for birth in self.births}
        for score in self.scores:
            found.setdefault(score.model, []).append(score)
        return found


@dataclass(frozen=True)
class Run:
    """All that a page needs of a run folder."""

    folder: Path
    settings: Mapping[str, Any]
    evaluations: tuple[Evaluation, ...]
    growths: tuple[Growth, ...]
    outcome: Outcome | None
    """None if the run has not finished."""
    start: Graph
    net: Graph
    """The best network; the one it started from if there is no other yet."""
    evolution: Evolution | None = None
    """None if the run is no neuroevolution."""

    @property
    def best(self) -> Evaluation | None:
        """The evaluation that ``best.arch`` is of; the first one among equals, as in training."""
        return max(self.evaluations, key=lambda e: (e.accuracy, -e.loss), default=None)


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises :class:`GrowcError` naming the file that is missing or damaged, and what is wrong.
    """
    place = Path(folder)
    help = "give the folder of a run, what `growc train` was given with -o"
    if not place.exists():
        raise GrowcError(f"{place}: there is no such folder", help=help)
    if not place.is_dir():
        raise GrowcError(f"{place}: is a file, not the folder of a run", help=help)
    if not (place / "settings.toml").exists():
        raise GrowcError(f"{place}: there is no run here: it has no settings.toml", help=help)
    found = read_toml(place / "settings.toml", DAMAGED)
    settings = _checked(place / "settings.toml", found, _settings)
    evaluations = _evaluations(place / "metrics.csv")
    growths = _each(place / "growth.json", _growth)
    outcome = None
    if (place / "result.json").exists():
        outcome = _checked(place / "result.json", _json(place / "result.json"), _outcome)
    if outcome is not None and not evaluations:
        raise GrowcError(
            f"{place / 'metrics.csv'}: is missing, though the run has finished", help=DAMAGED
        )
    start = load(place / "start.arch")
    net = load(place / "best.arch") if evaluations else start
    evolution = _evolution(place) if (place / "search.toml").exists() else None
    return Run(place, settings, evaluations, growths, outcome, start, net, evolution)


# ---- one file each


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise GrowcError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise GrowcError(f"{path}: is not text in UTF-8", help=DAMAGED) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise GrowcError(f"{path}: is not JSON ({error})", help=DAMAGED) from error


def _evaluations(path: Path) -> tuple[Evaluation, ...]:
    """No file: the run has not been evaluated yet."""
    if not path.exists():
        return ()
    lines = csv.DictReader(_text(path).splitlines())
    found: list[Evaluation] = []
    for row in lines:
        found.append(_checked(f"{path}:{lines.line_num}", row, _evaluation))
        if len(found) > 1 and found[-1].update <= found[-2].update:
            raise GrowcError(
                f"{path}:{lines.line_num}: update {found[-1].update} does not come after "
                f"{found[-2].update}",
                help=DAMAGED,
            )
    return tuple(found)


def _evolution(place: Path) -> Evolution:
    births = _each(place / "lineage.json", _birth)
    for number, birth in enumerate(births):
        if birth.model != number or (birth.parent is not None and not 0 <= birth.parent < number):
            raise GrowcError(
                f"{place / 'lineage.json'}: model {birth.model} is out of order, or is older than "
                "its parent",
                help=DAMAGED,
            )
    scores: list[Scored] = []
    if (place / "scores.csv").exists():
        lines = csv.DictReader(_text(place / "scores.csv").splitlines())
        for row in lines:
            scores.append(_checked(f"{place / 'scores.csv'}:{lines.line_num}", row, _scored))
    return Evolution(births, tuple(scores), read_toml(place / "search.toml", DAMAGED))


def _each(path: Path, read: Callable[[Any], T]) -> tuple[T, ...]:
    """A file with a list; no file is an empty one."""
    if not path.exists():
        return ()
    entries = _json(path)
    if not isinstance(entries, list):
        raise GrowcError(f"{path}: is not a list", help=DAMAGED)
    return tuple(_checked(f"{path}: entry {i}", e, read) for i, e in enumerate(entries, 1))


def _checked(where: str | Path, value: Any, read: Callable[[Any], T]) -> T:
    """What ``read`` makes of a value that may be anything."""
    try:
        return read(value)
    except KeyError as error:
        raise GrowcError(f"{where}: has no `{error.args[0]}`", help=DAMAGED) from None
    except _Wrong as error:
        raise GrowcError(f"{where}: {error}", help=DAMAGED) from None
    except (TypeError, ValueError, AttributeError):  # not a table, or not two numbers
        raise GrowcError(f"{where}: is not what a run writes", help=DAMAGED) from None


# ---- one entry each


class _Wrong(Exception):
    """What is wrong with a value."""


def _settings(found: dict[str, Any]) -> dict[str, Any]:
    """All of them; those that every page speaks of are checked."""
    counts = {name: _whole(found, name) for name in ("updates", "batch_size", "evaluate_every")}
    return found | counts | {"data": _words(found["data"])}


def _evaluation(row: Any) -> Evaluation:
    return Evaluation(
        update=_whole(row, "update"),
        seconds=_number(row, "seconds"),
        flops=_number(row, "flops"),
        params=_whole(row, "params"),
        loss=_number(row, "loss"),
        accuracy=_number(row, "accuracy"),
        train_loss=_number(row, "train_loss") if row.get("train_loss") else None,
    )


def _growth(entry: Any) -> Growth:
    before, after = entry["params"]
    return Growth(
        update=_whole(entry, "update"),
        pipeline=_words(entry["pipeline"]),
        at=tuple(tuple(map(_words, places)) for places in entry["at"]),
        params=(_whole({"params": before}, "params"), _whole({"params": after}, "params")),
        proof=_words(entry["proof"]),
        loss_before=_losses(entry["loss_before"]),
        loss_after=_losses(entry["loss_after"]),
        seconds=_number(entry, "seconds"),
    )


def _birth(entry: Any) -> Birth:
    return Birth(
        model=_whole(entry, "model"),
        parent=None if entry["parent"] is None else _whole(entry, "parent"),
        born=_whole(entry, "born"),
        died=None if entry["died"] is None else _whole(entry, "died"),
        mutation="" if entry["pass"] is None else _words(entry["pass"]),
        params=_whole(entry, "params"),
        proof="" if entry["proof"] is None else _words(entry["proof"]),
    )


def _scored(row: Any) -> Scored:
    return Scored(_whole(row, "update"), _whole(row, "model"), _number(row, "accuracy"))


def _outcome(found: Any) -> Outcome:
    return Outcome(
        updates=_whole(found, "updates"),
        params=_whole(found, "params"),
        flops=_number(found, "flops"),
        seconds=_number(found, "seconds"),
        best=_model(found["best"]),
        last=_model(found["last"]),
        shared_params=_whole(found, "shared_params") if "shared_params" in found else None,
        ensemble=_ensemble(found["ensemble"]) if "ensemble" in found else None,
        unfilled=tuple(dict.fromkeys(_words(u["reason"]) for u in found.get("unfilled", ()))),
    )


def _ensemble(found: Any) -> Ensemble:
    return Ensemble(
        models=tuple(_whole({"model": number}, "model") for number in found["models"]),
        params=_whole(found, "params"),
        validation_accuracy=_number(found, "validation_accuracy"),
        test_accuracy=_number(found, "test_accuracy") if "test_accuracy" in found else None,
    )


TASK = "test_accuracy_"
"""What the keys of tasks' accuracies begin with."""


def _model(found: Any) -> Model:
    tested = "test_accuracy" in found  # not all data has test images
    return Model(
        update=_whole(found, "update"),
        validation_accuracy=_number(found, "validation_accuracy"),
        test_loss=_number(found, "test_loss") if tested else None,
        test_accuracy=_number(found, "test_accuracy") if tested else None,
        by_task={
            key.removeprefix(TASK): _number(found, key) for key in found if key.startswith(TASK)
        },
    )


def _losses(by_mode: Any) -> dict[str, float | None]:
    return {m: None if v is None else _number(by_mode, m) for m, v in by_mode.items()}


def _number(row: Any, key: str) -> float:
    value = row[key]
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        raise _Wrong(f"`{key}` is not a number: {value!r}") from None
    if not math.isfinite(number):
        raise _Wrong(f"`{key}` is {value}")
    return number


def _whole(row: Any, key: str) -> int:
    number = _number(row, key)
    if number < 0 or number != int(number):
        raise _Wrong(f"`{key}` is not a whole number: {row[key]!r}")
    return int(number)


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"{value!r} is not text")
    return value
