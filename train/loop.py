"""The training loop of ``growc train``: updates, growth steps, evaluations, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import torch
from torch import nn

from ..backends import graph_of, to_torch
from ..grammar import load
from ..ir import GrowcError
from ..ir.parts import shared_size
from .checkpoint import State, on_device, to_bytes
from .data import DataSet
from .data.joint import Images, JointBatches, Labels, task_names
from .evaluation import Score, evaluate
from .growth_steps import drops, take
from .observers import Observer
from .optimization import autocast, loss_of, set_rate
from .pace import LOOK_EVERY, Pace, overflowed
from .prefetching import in_order
from .processes import Processes
from .run_folder import RunFolder
from .schedule import GrowthStep, Repeated, Schedule, seed_of
from .searching import Look
from .settings import Settings
from .stepping import deterministic, seed_dropout, to_device, train_step


class Loop:
    """A run in one process: goes from its state to the end."""

    def __init__(
        self,
        state: State,
        settings: Settings,
        data: Sequence[DataSet],
        batches: dict[str, JointBatches],
        schedule: Schedule,
        folder: RunFolder,
        identity: dict[str, Any],
        processes: Processes,
        observer: Observer,
        workers: int,
    ) -> None:
        self.state, self.settings, self.data, self.batches = state, settings, data, batches
        self.search = next((step for step in schedule if isinstance(step, Repeated)), None)
        self.schedule: dict[int, GrowthStep | Repeated] = {
            update: step
            for step in schedule
            for update in (
                step.times(settings.updates) if isinstance(step, Repeated) else [step.update]
            )
        }
        self.folder, self.identity = folder, identity
        self.processes, self.observer, self.workers = processes, observer, workers
        self.loss_of = loss_of(settings)
        self.autocast = autocast(settings, processes.device)
        self.pace = Pace(state.progress, processes)
        self._adopt(state.model)

    def _adopt(self, model: nn.Module) -> None:
        """Train this model from now on."""
        self.state.model = model
        self.called = self.processes.wrapped(model)
        self.graph = graph_of(model)
        self.drops = drops(self.graph)
        self.flops = 3 * 2 * self.graph.macs() * self.settings.batch_size

    # ---- the run

    def run(self) -> dict[str, Any]:
        """Go on to the end. Returns what is in ``result.json``.

        Raises :class:`GrowcError` if the loss is no longer a number, if a growth step fails, or if
        a file cannot be read or written; the last checkpoint is kept.
        """
        progress, updates = self.state.progress, self.settings.updates
        self.state.model.train()
        self.pace.start()
        train = in_order(self.batches["train"], progress.update, updates, self.workers)
        with deterministic(), closing(train):
            while True:
                if self._is_due():
                    self._evaluate()
                if progress.update >= updates:
                    break
                step = self._due_step()
                if step is not None:
                    self._grow(step)
                self._update(*next(train))
                if self.pace.is_late():
                    self._checkpoint()
        return self._end()

    def _is_due(self) -> bool:
        rows, update = self.state.progress.rows, self.state.progress.update
        if rows and rows[-1]["update"] == update:
            return False  # resumed right after it
        return update % self.settings.evaluate_every == 0 or update >= self.settings.updates

    def _due_step(self) -> GrowthStep | Repeated | None:
        """The growth step that is to be taken now."""
        progress, search = self.state.progress, self.search
        if self._has_grown():
            return None
        if progress.update in self.schedule:
            return self.schedule[progress.update]
        if search is None or search.flat is None or progress.update % LOOK_EVERY:
            return None
        self._look()
        return search if search.is_flat(progress.recent, progress.update) else None

    def _has_grown(self) -> bool:
        growths = self.state.progress.growths
        return bool(growths) and growths[-1]["update"] == self.state.progress.update

    # ---- an update

    def _update(self, images: Images, labels: Labels) -> None:
        state, settings, device = self.state, self.settings, self.processes.device
        progress = state.progress
        if self.drops:
            seed_dropout(settings.seed, progress.update, self.processes.rank)
        set_rate(state.optimizer, settings, progress.update)
        loss = train_step(
            self.called,
            state.optimizer,
            state.scaler,
            to_device((images, labels), device),
            self.loss_of,
            self.autocast,
            clip=settings.clip,
        )
        if self.pace.updated(loss, self.flops):
            self._look()

    def _look(self) -> None:
        """Look at the losses that were not looked at yet."""
        for update, loss in self.pace.losses():
            if not math.isfinite(loss):
                raise self._diverged(f"the loss of update {update + 1} is {loss}", update)
            self.state.progress.losses.append(loss)
            if self.search is not None and self.search.flat is not None:
                self.state.progress.recent.append(loss)
                del self.state.progress.recent[: -2 * self.search.window]
            self.observer.updated(update + 1, loss)

    def _diverged(self, what: str, update: int) -> GrowcError:
        rows = self.state.progress.rows
        if not rows:
            return overflowed(what)
        kept = f"{self.folder.path / 'last.arch'} is the model after {rows[-1]['update']} updates"
        grown = [g["update"] for g in self.state.progress.growths if g["update"] <= update]
        after = f", {update - grown[-1]} updates after the network grew" if grown else ""
        return GrowcError(
            f"{what}{after}: training has diverged, and stopped",
            help=f"{kept}: start a new run from it, with a lower --lr, with --clip, or with a "
            "longer --warmup",
        )

    # ---- evaluations and checkpoints

    def _pause(self) -> None:
        """Stop the clock, which counts training only."""
        self._look()
        self.pace.stop()

    def _evaluate(self) -> None:
        self._pause()
        state, progress = self.state, self.state.progress
        self.processes.share_buffers(state.model)
        score = self._measure(state.model, "judge")
        loss, accuracy = score.loss, score.accuracy
        if not math.isfinite(loss):
            raise self._diverged(
                f"the validation loss after {progress.update} updates is {loss}", progress.update
            )
        row = {
            "update": progress.update,
            "seconds": round(progress.seconds, 3),
            "flops": progress.flops,
            "params": self.graph.parameter_count(),
            "loss": loss,
            "accuracy": accuracy,
            "train_loss": progress.train_loss,
            "lr": set_rate(state.optimizer, self.settings, progress.update),
            **self._by_task("accuracy", score.accuracies),
        }
        better = progress.evaluated(row)
        if self.processes.first:
            # The checkpoint last: killed before it, the run makes this evaluation again, and no
            # curve lacks it.
            graph = graph_of(state.model)
            if better:
                self.folder.write_model("best", graph, onnx=True)
            self.folder.write_model("last", graph)
            self.folder.write_metrics(progress.rows)
            self.observer.evaluated(row, better)
            self.folder.write_checkpoint(to_bytes(state, self.identity))
        self.pace.wrote_checkpoint()

    def _by_task(self, what: str, values: Sequence[float]) -> dict[str, float]:
        """A column for each task, if there are several."""
        names = task_names(self.data)
        several = zip(names, values, strict=True) if len(names) > 1 else ()
        return {f"{what}_{name}": value for name, value in several}

    def _measure(self, model: nn.Module, part: str) -> Score:
        return evaluate(model, self.batches[part], self.loss_of, self.processes, self.autocast)

    def _checkpoint(self) -> None:
        self._pause()
        self._require_finite()
        self.processes.share_buffers(self.state.model)
        if self.processes.first:
            self.folder.write_checkpoint(to_bytes(self.state, self.identity))
        self.pace.wrote_checkpoint()

    def _require_finite(self) -> None:
        """A loss may be fine when the update after it was not: keep such weights out of files."""
        for parameter in self.state.model.parameters():
            if not bool(torch.isfinite(parameter).all()):
                update = self.state.progress.update
                raise self._diverged(f"after {update} updates, weights are not numbers", update)

    # ---- growth

    def _grow(self, step: GrowthStep | Repeated) -> None:
        self._pause()
        self._require_finite()
        state, progress = self.state, self.state.progress
        self.processes.share_buffers(state.model)
        start, notes, index = time.perf_counter(), None, len(progress.growths)
        progress.recent = []
        if isinstance(step, Repeated):
            choice = step.search.choose(self._look_of(index, step))
            step = GrowthStep(progress.update, choice.passes, step.span)
            notes = {**choice.notes, "seconds": round(time.perf_counter() - start, 4)}
        judged = to_device(self.batches["growth"].batch(0), self.processes.device)
        together = notes is not None
        taken = take(step, index, state, self.settings, judged, self.loss_of, together=together)
        if notes is not None:
            taken.entry["search"] = notes
            progress.seconds += notes["seconds"]
        if taken.growth is not None:
            assert taken.growth.optimizer is not None
            state.optimizer = taken.growth.optimizer
            self._adopt(taken.growth.model)
            self.processes.require_same(state.model, f"after the growth step at {step.update}")
        progress.seconds += taken.entry["seconds"]
        progress.growths.append(taken.entry)
        if self.processes.first:
            compiled = None if taken.growth is None else taken.growth.compiled
            self.folder.write_growth(progress.growths, compiled)
            self.observer.grew(taken.entry)
        self.pace.start()

    def _look_of(self, index: int, step: Repeated) -> Look:
        """What a search sees now."""
        update, settings, processes = self.state.progress.update, self.settings, self.processes
        train = self.batches["train"]
        return Look(
            graph=graph_of(self.state.model),
            index=index,
            left=1 + sum(time > update for time in step.times(settings.updates)),
            seed=seed_of(settings.seed, index),
            rate=set_rate(self.state.optimizer, settings, update),
            batches=lambda n: [
                to_device(train.batch(update + i), processes.device) for i in range(n)
            ],
            loss_of=self.loss_of,
            total=processes.total,
            processes=processes.ranks,
            device=processes.device,
        )

    # ---- the end

    def _end(self) -> dict[str, Any]:
        progress = self.state.progress
        assert progress.best is not None
        self.processes.require_same(self.state.model, "at the end")
        self.processes.wait()  # the first process may still be writing the best model
        best = on_device(to_torch(load(self.folder.path / "best.arch")), self.processes.device)
        result: dict[str, Any] = {
            "updates": progress.update,
            "params": self.graph.parameter_count(),
            "flops": progress.flops,
            "seconds": round(progress.seconds, 3),
        }
        if len(self.data) > 1:
            result["shared_params"] = shared_size(self.graph)
        for name, model, row in (
            ("best", best, progress.best),
            ("last", self.state.model, progress.rows[-1]),
        ):
            result[name] = {"update": row["update"], "validation_accuracy": row["accuracy"]}
            if all(len(data.test) for data in self.data):
                score = self._measure(model, "test")
                result[name] |= {"test_loss": score.loss, "test_accuracy": score.accuracy}
                result[name] |= self._by_task("test_accuracy", score.accuracies)
        if self.processes.first:
            self.folder.write_result(result)
            self.observer.ended(result)
        self.processes.wait()  # none leaves while another still listens to it
        return result
