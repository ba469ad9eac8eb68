"""A run's folder: what is in it, and how it is written so that a kill at any moment loses little.

settings.toml       what the run was told
normalization.json  what is taken off the pixels, and what they are divided by (a list for tasks)
data.json           the classes, the sizes of the sets, and what tells whether they are the same
start.arch          the network it started from, with weights
best.arch           the best model so far, with weights, and best.onnx
last.arch           the model of the last evaluation, with weights
metrics.csv         one row for each evaluation
growth.json         the growth steps; growth/UPDATE: the networks and the proof of each
checkpoint.pt       what resuming needs
result.json         accuracies at the end
tensorboard/        curves
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..compiler import Compiled, artifacts, run
from ..compiler.certificates import to_text
from ..grammar import load
from ..ir import Graph, GrowcError
from ..ir.files import write_files
from ..passes import NothingToDo
from ..passes.prune_dead import PruneDead
from .data import Normalization
from .settings import Settings, WrongSetting

SEARCH = "search.toml"
"""Where a neuroevolution has what it was told: it makes another kind of run of a folder."""
KINDS = ("arch", "safetensors", "onnx")
"""The files of a model."""
COLUMNS = ("update", "seconds", "flops", "params", "loss", "accuracy", "train_loss", "lr")


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows with a heading, as the text of a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lock(file: int) -> None:
    """Raises BlockingIOError if another process has the lock."""
    if sys.platform != "win32":  # which has none of these
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def without_dead(graph: Graph) -> Graph:
    """A network that a search grew, proved to be the same, without channels that nothing reads or
    that are zero; others as they are."""
    if not graph.weights.masks:
        return graph
    try:
        return run(graph, PruneDead()).graph
    except NothingToDo:
        return graph


class RunFolder:
    """The folder of a run."""

    searches = False
    """Whether the run is a neuroevolution."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "settings.toml"
        self.checkpoint = path / "checkpoint.pt"
        self.curves = path / "tensorboard"

    @property
    def exists(self) -> bool:
        """Whether there is a run, started at least."""
        return self.settings.exists()

    def require_none(self) -> None:
        """Raise :class:`GrowcError` if there is a run."""
        if self.exists:
            raise GrowcError(
                f"{self.path}: there is a run already",
                help="use --resume to go on with it, --force to start anew, or another folder",
            )

    def require(self) -> None:
        """Raise :class:`GrowcError` if there is no run of this kind."""
        if not self.exists:
            raise GrowcError(
                f"{self.path}: there is no run to resume", help="leave out --resume to start one"
            )
        told = self.path / SEARCH
        if not told.exists() and (self.path / "lineage.json").exists():
            # Of either kind, it would be sent to the other one's command.
            raise GrowcError(f"{told}: is missing", help="restore the file")
        if told.exists() == self.searches:
            return
        what = "no neuroevolution" if self.searches else "a neuroevolution"
        command = "train" if self.searches else "search neuroevolution"
        raise GrowcError(
            f"{self.path}: the run there is {what}", help=f"`growc {command} --resume` goes on"
        )

    def create(
        self,
        graph: Graph,
        settings: Settings,
        normalizations: Sequence[Normalization],
        data: dict[str, Any],
        *,
        curves: bool,
    ) -> None:
        """Start a run here; one that was here is forgotten. There is one of ``normalizations`` for
        each task; ``data`` describes the data. Whether it has ``curves`` is remembered by their
        folder.

        Raises :class:`GrowcError` if it cannot be written."""
        if self.exists:
            self.forget()
        if not self.searches:
            (self.path / SEARCH).unlink(missing_ok=True)
        if curves:
            self.make_room_for_curves()
        files = artifacts.contents(graph, self.path / "start")
        each = [normalization.as_json() for normalization in normalizations]
        pixels = each[0] if len(each) == 1 else each
        for name, value in (("normalization", pixels), ("data", data)):
            files[self.path / f"{name}.json"] = (json.dumps(value) + "\n").encode()
        # The settings come first and so appear last: a run that has them has its network.
        write_files({self.settings: settings.as_toml().encode(), **files}, overwrite=True)

    def forget(self) -> None:
        """Do away with the run: with what only a run writes, and last with the settings, which make
        it one."""
        names = ["checkpoint.pt", "metrics.csv", "growth.json", "result.json"]
        names += [SEARCH, "lineage.json", "scores.csv"]
        names += [f"{w}.{kind}" for w in ("best", "last", "ensemble") for kind in KINDS]
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        written = ("growth/*/*", "models/[0-9]*", "tensorboard/events.out.tfevents.*")
        for pattern in written:
            for file in self.path.glob(pattern):
                file.unlink()
        with suppress(OSError):
            self.curves.rmdir()  # stays if others wrote there, too
        self.settings.unlink()

    def forget_result(self) -> None:
        """Do away with the end of a run that goes on: it is of other models than there will be."""
        ensemble = [f"ensemble.{kind}" for kind in KINDS] if self.searches else []
        for name in ("result.json", *ensemble):
            (self.path / name).unlink(missing_ok=True)

    def make_room_for_curves(self) -> None:
        """Raises :class:`GrowcError` if there can be none."""
        try:
            self.curves.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GrowcError(
                f"{self.curves}: cannot be made a folder ({error.strerror or error})",
                help="move away what is there, or use --no-tensorboard",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here; the system lets go of it whatever happens.

        Raises :class:`GrowcError` if another one does.
        """
        if self.path.exists() and not self.path.is_dir():
            raise GrowcError(f"{self.path}: is a file, so no run can be there")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("ab")
        except OSError as error:
            raise GrowcError(f"{self.path}: {error.strerror or error}") from error
        with lock:
            try:
                _lock(lock.fileno())
            except BlockingIOError:
                raise GrowcError(
                    f"{self.path}: another growc is at work on this run",
                    help="wait for it or stop it, or give another folder",
                ) from None
            except OSError:
                pass  # a file system without locks: better to train than not
            yield

    def stored_settings(self) -> Settings:
        """Raises :class:`GrowcError` if they were damaged."""
        try:
            return Settings(**Settings.from_toml(self.settings))
        except WrongSetting as error:
            raise error.within(self.settings) from error

    def write_settings(self, settings: Settings) -> None:
        """Those of a run that goes on, where they are not as before."""
        self.write("settings.toml", settings.as_toml())

    def stored_data(self) -> Any:
        """What describes the data that the run was begun with; None if it was damaged."""
        try:
            return json.loads((self.path / "data.json").read_bytes())
        except (OSError, ValueError):
            return None

    def start(self) -> Graph:
        """The network that the run started from."""
        return load(self.path / "start.arch")

    def write_model(self, name: str, graph: Graph, *, onnx: bool = False) -> None:
        """``NAME.arch`` with its weights, and ``NAME.onnx``, which has no dead channels.

        Raises :class:`GrowcError` if it cannot be written."""
        files = artifacts.contents(graph, self.path / name)
        if onnx:
            files |= artifacts.contents(without_dead(graph), self.path / name, ("onnx",))
        self.write_all(files)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        more = [name for name in rows[0] if name not in COLUMNS]  # those of several tasks, say
        self.write("metrics.csv", as_csv(rows, [*COLUMNS, *more]))

    def write_growth(self, growths: list[dict[str, Any]], compiled: Compiled | None) -> None:
        """The list of growth steps, and the last one's networks with the proof, which
        ``growc verify --certificate`` checks again; None if it found nothing to do."""
        if compiled is not None:
            where = self.path / "growth" / str(growths[-1]["update"])
            self.write_all(
                {
                    **artifacts.contents(compiled.start, where / "before"),
                    **artifacts.contents(compiled.graph, where / "after"),
                    where / "proof.json": to_text(compiled).encode(),
                }
            )
        self.write("growth.json", json.dumps(growths, indent=2) + "\n")

    def write_result(self, result: dict[str, Any]) -> None:
        self.write("result.json", json.dumps(result, indent=2) + "\n")

    def write_checkpoint(self, content: bytes) -> None:
        self.write_all({self.checkpoint: content})

    def write(self, name: str, text: str) -> None:
        """A small file of the run."""
        self.write_all({self.path / name: text.encode()})

    def write_all(self, files: dict[Path, bytes]) -> None:
        """All files, or none. Raises :class:`GrowcError` that says how the run goes on."""
        try:
            write_files(files, overwrite=True)
        except GrowcError as error:
            raise GrowcError(
                error.diagnostics[0].message,
                help="the run is kept as of its last checkpoint: check the folder, its "
                "permissions and the free space, and go on with --resume",
            ) from error
