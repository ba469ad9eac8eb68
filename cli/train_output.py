"""What ``growc train`` prints: a line for each evaluation and growth step, and a progress bar."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..train.observers import Observer

if TYPE_CHECKING:
    from ..train.data import DataSet
    from ..train.observers import Beginning

COLUMNS = (
    ("update", 8),
    ("parameters", 12),
    ("loss", 9),
    ("accuracy", 10),
    ("train loss", 12),
    ("seconds", 9),
    ("GFLOP", 10),
)


class Talking(Observer):
    """Prints to standard output; the bar is on standard error, if that is a terminal."""

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self.folder, self.quiet = folder, quiet
        self._bar: Any = None
        self._task: Any = None

    def opened(self, data: DataSet) -> None:
        if not self.quiet:
            self._say(str(data))

    def began(self, beginning: Beginning) -> None:
        for warning in (*beginning.differences, *beginning.warnings):
            click.echo(f"warning: {warning}", err=True)
        if self.quiet:
            return
        settings, data, graph = beginning.settings, beginning.data, beginning.graph
        update = beginning.update
        judged = "validation images"
        if not all(len(one.validation) for one in data):
            judged = "training images: no validation"
        if len(data) > 1:
            judged += f", the sum and the mean of {len(data)} tasks"
        self._say(
            f"{graph.name}: {graph.parameter_count():,} parameters, {settings.updates:,} updates "
            f"of {settings.batch_size}; loss and accuracy are of the {judged}"
        )
        for step, after in beginning.plan:
            if after is None:
                self._say(f"{step}")
                continue
            then = f"{after.parameter_count():,} parameters"
            self._say(f"{step}" + (f" → {then}" if step.update >= update else " (done)"))
        if update:
            self._say(f"resumed after {update:,} updates")
        self._say("")
        self._say(click.style("".join(name.rjust(width) for name, width in COLUMNS), bold=True))
        self._say("─" * sum(width for _, width in COLUMNS))
        if sys.stderr.isatty():
            self._start_bar(settings.updates, update, graph.parameter_count())

    def _start_bar(self, updates: int, update: int, size: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[size]} parameters"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(
            "", total=updates, completed=update, loss="…", size=f"{size:,}"
        )

    def updated(self, update: int, loss: float) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=update, loss=f"{loss:.4f}")

    def evaluated(self, row: dict[str, Any], best: bool) -> None:
        trained = "–" if row["train_loss"] is None else f"{row['train_loss']:.4f}"
        cells = (
            f"{row['update']:,}",
            f"{row['params']:,}",
            f"{row['loss']:.4f}",
            f"{row['accuracy']:.4f}",
            trained,
            f"{row['seconds']:.1f}",
            f"{row['flops'] / 1e9:,.1f}",
        )
        text = "".join(c.rjust(w) for c, (_, w) in zip(cells, COLUMNS, strict=True))
        self._print(text + ("  best" if best else ""))

    def grew(self, growth: dict[str, Any]) -> None:
        before, after = growth["params"]
        if self._bar is not None:
            self._bar.update(self._task, size=f"{after:,}")
        head = f"{growth['update']:>8,}  {growth['brief'] or 'nothing to add'}: "
        idle = "".join(f"\n{'':>10}nothing to do: {why}" for why in growth["nothing"])
        if not growth["at"]:
            self._print(f"{head}the network stays as it is{idle}")
            return
        losses = "; ".join(
            f"{mode} loss {growth['loss_before'][mode]:.6f} → {growth['loss_after'][mode]:.6f}"
            for mode in ("eval", "train")
            if growth["loss_before"][mode] is not None
        )
        self._print(
            f"{head}{before:,} → {after:,} parameters, {growth['proof']}{idle}\n{'':>10}{losses}; "
            f"rate × {growth['lr_factor']:.3f}; optimizer: {growth['optimizer']}"
        )

    def ended(self, result: dict[str, Any]) -> None:
        self.close()
        if self.quiet:
            return
        self._say("")
        for name in ("best", "last"):
            one = result[name]
            tested = f", test {one['test_accuracy']:.4f}" if "test_accuracy" in one else ""
            self._say(
                f"{name}.arch: accuracy {one['validation_accuracy']:.4f} after "
                f"{one['update']:,} updates{tested}"
            )
            tasks = [k for k in one if k.startswith("test_accuracy_")]
            if tasks:
                each = (f"{k.removeprefix('test_accuracy_')} {one[k]:.4f}" for k in tasks)
                self._say(f"{'':>10}test: {', '.join(each)}")
        self._say(f"wrote {self.folder}: best.arch best.onnx last.arch metrics.csv")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, text: str) -> None:
        if self.quiet:
            return
        if self._bar is not None and sys.stdout.isatty():
            # Both streams are one terminal: the bar is erased and drawn again below.
            self._bar.console.print(text, highlight=False, soft_wrap=True, markup=False)
        else:
            self._say(text)

    def _say(self, text: str) -> None:
        try:
            click.echo(text)
        except BrokenPipeError:
            # The reader (`growc train … | head`) has seen enough; the run goes on.
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
