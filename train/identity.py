"""What must be the same for a run to go on, and what may change because nothing was made of it yet.

A resumed run gives what a run with its present settings would have given from the beginning. So
growth steps that are still to come may be others, and the run may be longer where the learning
rates of the updates made do not depend on its length. (Its evaluation at the former end stays, so
that the next row's training loss is the mean since then.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..compiler.certificates import fingerprint_of
from ..ir import Graph, GrowcError
from .checkpoint import Progress
from .data import DataSet, Examples, Normalization
from .data.joint import task_names
from .data.opening import same_but_for_folder
from .processes import Processes
from .run_folder import RunFolder
from .schedule import GrowthStep, Repeated, parse_schedule
from .settings import DEFAULTS, Settings

LOOKED_AT = 16
"""How many images of each part of the data are hashed."""


def identity(
    graph: Graph, settings: Settings, data: dict[str, Any], circumstances: dict[str, Any]
) -> dict[str, Any]:
    """What a checkpoint is compared by. ``circumstances`` should be the same, but need not."""
    from .. import __version__

    return {
        "growc": __version__,
        "net": fingerprint_of(graph),
        "settings": dict(vars(settings)),
        "data": data,
        "circumstances": circumstances,
    }


def describe_all(
    sets: Sequence[DataSet], normalizations: Sequence[Normalization]
) -> dict[str, Any]:
    """The data of a run, as plain values; of several sets, by the names of their tasks."""
    each = [describe(*pair) for pair in zip(sets, normalizations, strict=True)]
    return each[0] if len(each) == 1 else dict(zip(task_names(sets), each, strict=True))


def describe(data: DataSet, normalization: Normalization) -> dict[str, Any]:
    """A data set, as plain values.

    The hashes are of all labels, and of LOOKED_AT images of each part, evenly spread; all training
    images are in the normalization, unless there is none.
    """
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        "classes": list(data.classes),
        "shape": list(data.shape),
        "sizes": {name: len(part) for name, part in parts.items()},
        "labels": {name: _hash(part.labels.tobytes()) for name, part in parts.items()},
        "images": {name: _hash(_some(part)) for name, part in parts.items()},
        "normalization": _hash(repr(normalization.as_json()).encode()),
    }


def _some(examples: Examples) -> bytes:
    count = min(LOOKED_AT, len(examples))
    chosen = np.linspace(0, len(examples) - 1, count).astype(np.int64)
    return examples.images(chosen).tobytes() if count else b""


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def require_same_data(folder: RunFolder, stored: Any, given: dict[str, Any], spec: str) -> None:
    """Raise :class:`GrowcError` if the data is not what a run was begun with."""
    stored = stored if isinstance(stored, dict) else {}
    changed = [name for name, value in given.items() if stored.get(name) != value]
    if not changed:
        return
    what = " and ".join([", ".join(changed[:-1]), changed[-1]] if changed[1:] else changed)
    raise GrowcError(
        f"{spec}: the data changed since the run in {folder.path} was begun: other {what}",
        help="give the data of then with --data, or give another folder to start a new run",
    )


def require_continuable(
    folder: RunFolder, stored: Settings, given: Settings, progress: Progress
) -> None:
    """Raise :class:`GrowcError` naming every setting that a run was begun with another value of,
    but for those that may change after ``progress``."""
    free = ["updates", "grow"]
    if same_but_for_folder(stored.data, given.data):
        free.append("data")
    require_same_values(folder, vars(stored), vars(given), free=free)
    if stored.updates != given.updates:
        _require_extendable(folder, stored, given, progress)
    before, now = (
        [s for s in parse_schedule(x.grow) if _has_begun(s, progress)] for x in (stored, given)
    )
    if before != now:
        was = "; ".join(map(str, before)) or "none"
        raise GrowcError(
            f"{folder.path}: after {progress.update:,} updates, the growth steps made so far are "
            f"`{was}`, and would now be others",
            help=f"keep them in --grow or in {folder.settings} as they were: only steps that are "
            "still to come may be others",
        )


def _has_begun(step: GrowthStep | Repeated, progress: Progress) -> bool:
    """Whether a growth step was made, or a search could have been asked."""
    if isinstance(step, Repeated):
        # From the beginning, losses tell whether it is asked early.
        early = step.flat is not None and progress.update > 0
        return bool(progress.growths) or early or step.every < progress.update
    made = [g["update"] for g in progress.growths]
    return step.update < progress.update or step.update in made


def _require_extendable(
    folder: RunFolder, stored: Settings, given: Settings, progress: Progress
) -> None:
    change = f"{folder.path}: --updates cannot become {given.updates:,} after {stored.updates:,}"
    if given.rates_depend_on_length:
        raise GrowcError(
            f"{change}: with --lr-schedule {given.lr_schedule} the learning rates of the updates "
            "made depend on the length of the run",
            help=f"leave it out (or undo the change in {folder.settings}); "
            f"{folder.path / 'last.arch'} can start a new run",
        )
    if given.updates < progress.update:
        raise GrowcError(
            f"{change}: {progress.update:,} are made already", help="give more, or leave it out"
        )


def require_same_values(
    folder: RunFolder, stored: Mapping[str, Any], given: Mapping[str, Any], *, free: Any = ()
) -> None:
    """Raise :class:`GrowcError` naming every setting in ``given`` that has another value than in
    ``stored``."""
    changed = [
        f"--{name.replace('_', '-')} was {_shown(stored[name])}, not {_shown(given[name])}"
        for name in DEFAULTS
        if name in given and name not in free and stored[name] != given[name]
    ]
    if changed:
        raise GrowcError(
            f"{folder.path}: the run was begun with other settings: {'; '.join(changed)}",
            help=f"leave out the options (or undo the changes in {folder.settings}) to go on as it "
            f"was begun, or give another folder; {folder.path / 'last.arch'} can start a new run",
        )


def require_same_net(folder: RunFolder, stored: Graph, given: Graph, name: str) -> None:
    """Raise :class:`GrowcError` if a file no longer has the network that a run was begun with."""
    before, now = fingerprint_of(stored), fingerprint_of(given)
    if before != now:
        what = "network" if before["net"] != now["net"] else "network's weights"
        raise GrowcError(
            f"{name}: the {what} changed since the run in {folder.path} was begun",
            help=f"`growc diff {folder.path / 'start.arch'} {name}` shows it; leave out {name} to "
            "go on with the old one, or give another folder",
        )


def require_same_version(path: Path, stored: dict[str, Any]) -> None:
    """Raise :class:`GrowcError` for a checkpoint of another version of growc."""
    from .. import __version__

    if stored.get("growc") != __version__:
        raise GrowcError(
            f"{path}: was written by growc {stored.get('growc')}, and this is growc {__version__}",
            help="go on with that version, which gives the same result as an uninterrupted run; "
            "or start a new run from last.arch beside it",
        )


def require_same_run(path: Path, stored: dict[str, Any], graph: Graph, data: Any) -> None:
    """Raise :class:`GrowcError` for a checkpoint that is not of the run whose files it is among."""
    if stored.get("net") != fingerprint_of(graph) or stored.get("data") != data:
        raise GrowcError(
            f"{path}: is of another run than the files beside it",
            help="put back the files of its run",
        )


CHANGES = {
    "torch": "its sums may be rounded otherwise",
    "threads": "sums may be rounded otherwise",
    "device": "sums are rounded otherwise, and dropout draws other masks",
    "processes": "batch norms see other parts of each batch, and dropout draws other masks",
}
"""What a bitwise equal result also depends on, and what another value of it does."""


def circumstances_of(processes: Processes) -> dict[str, Any]:
    """The values now of what is in CHANGES."""
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": processes.device.type,
        "processes": processes.ranks,
    }


def differences(stored: dict[str, Any], now: dict[str, Any]) -> tuple[str, ...]:
    """How the circumstances of a checkpoint differ from those of now."""
    return tuple(
        f"{name} was {stored[name]}, now {now[name]}: {what}, so that this is no longer the run "
        "that it would have been uninterrupted (only as good as one)"
        for name, what in CHANGES.items()
        if name in stored and stored[name] != now[name]
    )


def _shown(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else str(value)
