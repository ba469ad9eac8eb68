"""Who is told how a run goes: nobody, the command line, TensorBoard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..ir import Graph, GrowcError
from .data import DataSet
from .schedule import GrowthStep
from .settings import Settings


class Observer:
    """Is told what happens in a run, in the first process; does nothing with it."""

    def began(
        self,
        settings: Settings,
        data: DataSet,
        graph: Graph,
        plan: Sequence[tuple[GrowthStep, Graph]],
        update: int,
    ) -> None:
        """A run is about to make its next update, number ``update`` counted from 0; above 0 if it
        was resumed. ``graph`` is the network of now, ``plan`` the growth steps and the networks
        (with today's weights) that they lead to."""

    def updated(self, update: int, loss: float) -> None:
        """So many updates were made; the loss of the last one."""

    def evaluated(self, row: dict[str, Any], best: bool) -> None:
        """A row of ``metrics.csv``, and whether it is the best so far."""

    def grew(self, growth: dict[str, Any]) -> None:
        """An entry of ``growth.json``."""

    def ended(self, result: dict[str, Any]) -> None:
        """What is in ``result.json``."""

    def close(self) -> None:
        """The run is over, or was stopped."""


class Several(Observer):
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def began(
        self,
        settings: Settings,
        data: DataSet,
        graph: Graph,
        plan: Sequence[tuple[GrowthStep, Graph]],
        update: int,
    ) -> None:
        for observer in self.observers:
            observer.began(settings, data, graph, plan, update)

    def updated(self, update: int, loss: float) -> None:
        for observer in self.observers:
            observer.updated(update, loss)

    def evaluated(self, row: dict[str, Any], best: bool) -> None:
        for observer in self.observers:
            observer.evaluated(row, best)

    def grew(self, growth: dict[str, Any]) -> None:
        for observer in self.observers:
            observer.grew(growth)

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

    def began(
        self,
        settings: Settings,
        data: DataSet,
        graph: Graph,
        plan: Sequence[tuple[GrowthStep, Graph]],
        update: int,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What an interrupted run wrote after its checkpoint is hidden: it comes again. The
        # evaluation of the checkpoint itself does not.
        self._writer = SummaryWriter(str(self.folder), purge_step=update + 1 if update else None)

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
            self._writer.add_text("growth", growth["pipeline"], growth["update"])

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
