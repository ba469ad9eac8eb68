"""A run's folder: what is in it, and how it is written so that a kill at any moment loses little.

settings.toml       what the run was told
normalization.json  what is taken off the pixels, and what they are divided by
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
from pathlib import Path
from typing import Any

from ..compiler import Compiled, artifacts
from ..compiler.certificates import fingerprint_of, to_text
from ..grammar import load
from ..ir import Graph, GrowcError
from ..ir.files import write_files
from .data import Normalization
from .settings import DEFAULTS, Settings

COLUMNS = ("update", "seconds", "flops", "params", "loss", "accuracy", "train_loss", "lr")


class RunFolder:
    """The folder of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "settings.toml"
        self.checkpoint = path / "checkpoint.pt"

    @property
    def exists(self) -> bool:
        """Whether there is a run, started at least."""
        return self.settings.exists()

    def require(self) -> None:
        """Raise :class:`GrowcError` if there is no run."""
        if not self.exists:
            raise GrowcError(
                f"{self.path}: there is no run to resume", help="leave out --resume to start one"
            )

    def create(self, graph: Graph, settings: Settings, normalization: Normalization) -> None:
        """Start a run here; one that was here is forgotten.

        Raises :class:`GrowcError` if it cannot be written."""
        if self.path.exists() and not self.path.is_dir():
            raise GrowcError(f"{self.path}: is a file, so no run can be there")
        if self.exists:
            self._forget()
        files = artifacts.contents(graph, self.path / "start")
        normalized = json.dumps(normalization.as_json()) + "\n"
        files[self.path / "normalization.json"] = normalized.encode()
        # The settings come first and so appear last: a run that has them has its network.
        write_files({self.settings: settings.as_toml().encode(), **files}, overwrite=True)

    def _forget(self) -> None:
        """Remove what only a run writes; the settings, which make it one, last."""
        names = ["checkpoint.pt", "metrics.csv", "growth.json", "result.json"]
        names += [f"{w}.{s}" for w in ("best", "last") for s in ("arch", "safetensors", "onnx")]
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        for pattern in ("growth/*/*", "tensorboard/events.out.tfevents.*"):
            for file in self.path.glob(pattern):
                file.unlink()
        self.settings.unlink()

    def stored_settings(self) -> Settings:
        return Settings(**Settings.from_toml(self.settings))

    def start(self) -> Graph:
        """The network that the run started from."""
        return load(self.path / "start.arch")

    def write_model(self, name: str, graph: Graph, *, onnx: bool = False) -> None:
        """``NAME.arch`` with its weights, and ``NAME.onnx``."""
        kinds = ("arch", "onnx") if onnx else ("arch",)
        write_files(artifacts.contents(graph, self.path / name, kinds), overwrite=True)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write("metrics.csv", text.getvalue())

    def write_growth(self, growths: list[dict[str, Any]], compiled: Compiled | None) -> None:
        """The list of growth steps, and the last one's networks with the proof, which
        ``growc verify --certificate`` checks again; None if it found nothing to do."""
        if compiled is not None:
            where = self.path / "growth" / str(growths[-1]["update"])
            write_files(
                {
                    **artifacts.contents(compiled.start, where / "before"),
                    **artifacts.contents(compiled.graph, where / "after"),
                    where / "proof.json": to_text(compiled).encode(),
                },
                overwrite=True,
            )
        self._write("growth.json", json.dumps(growths, indent=2) + "\n")

    def write_result(self, result: dict[str, Any]) -> None:
        self._write("result.json", json.dumps(result, indent=2) + "\n")

    def write_checkpoint(self, content: bytes) -> None:
        write_files({self.checkpoint: content}, overwrite=True)

    def _write(self, name: str, text: str) -> None:
        write_files({self.path / name: text.encode()}, overwrite=True)


def identity(graph: Graph, settings: Settings, circumstances: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for a run to go on, and (``circumstances``) what should be."""
    from .. import __version__

    return {
        "growc": __version__,
        "net": fingerprint_of(graph),
        "settings": settings.as_toml(),
        "circumstances": circumstances,
    }


def require_same_settings(folder: RunFolder, stored: Settings, given: Settings) -> None:
    """Raise :class:`GrowcError` naming every setting that a run was begun with another value of."""
    changed = [
        f"--{name.replace('_', '-')} was {_shown(getattr(stored, name))}, not "
        f"{_shown(getattr(given, name))}"
        for name in DEFAULTS
        if getattr(stored, name) != getattr(given, name)
    ]
    if changed:
        raise GrowcError(
            f"{folder.path}: the run was begun with other settings: {'; '.join(changed)}",
            help="leave out the options to go on as it was begun, or give another folder; "
            f"{folder.path / 'last.arch'} can start a new run",
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


def _shown(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else str(value)
