"""Who is told how a run goes: nobody, the command line, TensorBoard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ir import Graph, GrowcError
from .data import DataSet
from .schedule import GrowthStep, Repeated
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Beginning:
    """What is known before a run makes its next update."""

    settings: Settings
    data: tuple[DataSet, ...]
    """One for each task."""
    graph: Graph
    """The network of now."""
    plan: tuple[tuple[GrowthStep | Repeated, Graph | None], ...]
    """The growth steps, and the networks (with today's weights) that they lead to; a search leads
    nobody knows where."""
    update: int
    """The number of the next update, counted from 0; above 0 if the run was resumed."""
    differences: tuple[str, ...]
    """How the circumstances of its checkpoint differ from those of now: then a resumed run is as
    good, but not the same bit by bit."""
    warnings: tuple[str, ...] = ()
    """What was told that may be a mistake."""


class Observer:
    """Is told what happens in a run, in the first process; does nothing with it."""

    def opened(self, data: DataSet) -> None:
        """A data set is there; what comes before the first update may take a while yet."""

    def began(self, beginning: Beginning) -> None:
        """A run is about to make its next update."""

    def updated(self, update: int, loss: float) -> None:
        """So many updates were made; the loss of the last one."""

    def evaluated(self, row: dict[str, Any], best: bool) -> None:
        """A row of ``metrics.csv``, and whether it is the best so far."""

    def grew(self, growth: dict[str, Any]) -> None:
        """An entry of ``growth.json``."""

    def evolved(self, event: dict[str, Any]) -> None:
        """An iteration of neuroevolution begins: its number, the update, the numbers of the models
        that were ``kept``, the entries of ``lineage.json`` of those ``born``, and what
        ``result.json`` will say if there are fewer than wanted, in ``unfilled``."""

    def ended(self, result: dict[str, Any]) -> None:
        """What is in ``result.json``."""

    def close(self) -> None:
        """The run is over, or was stopped."""


class Several(Observer):
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def opened(self, data: DataSet) -> None:
        for observer in self.observers:
            observer.opened(data)

    def began(self, beginning: Beginning) -> None:
        for observer in self.observers:
            observer.began(beginning)

    def updated(self, update: int, loss: float) -> None:
        for observer in self.observers:
            observer.updated(update, loss)

    def evaluated(self, row: dict[str, Any], best: bool) -> None:
        for observer in self.observers:
            observer.evaluated(row, best)

    def grew(self, growth: dict[str, Any]) -> None:
        for observer in self.observers:
            observer.grew(growth)

    def evolved(self, event: dict[str, Any]) -> None:
        for observer in self.observers:
            observer.evolved(event)

    def ended(self, result: dict[str, Any]) -> None:
        for observer in self.observers:
            observer.ended(result)

    def close(self) -> None:
        for observer in self.observers:
            observer.close()


class TensorBoard(Observer):
    """Writes the columns of ``metrics.csv`` and the growth steps for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def began(self, beginning: Beginning) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What an interrupted run wrote after its checkpoint is hidden: it comes again. The
        # evaluation of the checkpoint itself does not.
        self._writer = SummaryWriter(
            str(self.folder), purge_step=beginning.update + 1 if beginning.update else None
        )

    def evaluated(self, row: dict[str, Any], best: bool) -> None:
        update = row["update"]
        for name, tag in (
            ("loss", "loss/validation"),
            ("train_loss", "loss/training"),
            ("accuracy", "accuracy/validation"),
            ("lr", "learning_rate"),
            ("params", "size/parameters"),
            ("flops", "cost/flops"),
            ("seconds", "cost/seconds"),
        ):
            if row[name] is not None:
                with self._writing():
                    self._writer.add_scalar(tag, row[name], update)
        with self._writing():
            self._writer.flush()

    def grew(self, growth: dict[str, Any]) -> None:
        with self._writing():
            self._writer.add_text("growth", growth["brief"], growth["update"])

    def evolved(self, event: dict[str, Any]) -> None:
        born = "; ".join(f"{b['parent']} → {b['model']}: {b['pass']}" for b in event["born"])
        with self._writing():
            self._writer.add_text("evolution", born, event["update"])

    def close(self) -> None:
        if self._writer is not None:
            # On a full disk the run has ended for that reason already.
            with contextlib.suppress(OSError):
                self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise GrowcError(
                f"{self.folder}: cannot be written ({error.strerror or error})",
                help="the last checkpoint is kept; make room and resume, or use --no-tensorboard",
            ) from error
