"""The loop of a neuroevolution (R2R algorithm 1): joint training, selection, mutation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import torch
from torch import nn

from ...ir import Graph, GrowcError
from ...train.data import Batches, DataSet
from ...train.data.joint import Joint, JointBatches
from ...train.observers import Observer
from ...train.optimization import set_rate
from ...train.pace import Pace, overflowed
from ...train.prefetching import in_order
from ...train.processes import Processes
from ...train.settings import Settings
from ...train.sharing import distinct_parameters, sharing_graphs
from ...train.stepping import deterministic
from .breeding import fill
from .checkpoint import State, to_bytes
from .evaluation import Predict, Scores, at_once, evaluate
from .exporting import fused, fusible
from .folder import SearchFolder
from .joint import JointTraining
from .population import Member
from .selection import select
from .settings import Evolution


class Loop:
    """A search in one process: goes from its state to the end."""

    def __init__(
        self,
        state: State,
        settings: Settings,
        evolution: Evolution,
        data: DataSet,
        train: JointBatches,
        batches: dict[str, Batches],
        folder: SearchFolder,
        identity: dict[str, Any],
        processes: Processes,
        observer: Observer,
        workers: int,
    ) -> None:
        self.state, self.settings, self.evolution = state, settings, evolution
        self.data, self.train, self.batches = data, train, batches
        self.folder, self.identity = folder, identity
        self.processes, self.observer, self.workers = processes, observer, workers
        self.training = JointTraining(state.population, state.scaler, settings, processes)
        self.pace = Pace(state.progress, processes)
        self._last: tuple[int, Scores] | None = None

    @property
    def members(self) -> list[Member]:
        return self.state.population.members

    # ---- the run

    def run(self) -> list[Member]:
        """Go on to the end: the models selected there, the best first (algorithm 1's result).

        Raises :class:`GrowcError` if a loss is no longer a number, or if a file cannot be read or
        written; the last checkpoint is kept.
        """
        progress, history, settings = self.state.progress, self.state.history, self.settings
        self.pace.start()
        train = in_order(self.train, progress.update, settings.updates, self.workers)
        with deterministic(), closing(train):
            while True:
                if self._is_due():
                    self._evaluate()
                if progress.update == self.evolution.boundary(history.generation):
                    if history.generation == self.evolution.iterations:
                        break
                    self._evolve()
                self._update(next(train))
                if self.pace.is_late():
                    self.checkpoint()
        return self._selected()

    def _is_due(self) -> bool:
        update, generation = self.state.progress.update, self.state.history.generation
        rows = self.state.progress.rows
        if rows and rows[-1]["update"] == update:
            return False  # resumed right after it
        start = self.evolution.boundary(generation - 1) if generation else 0
        ends = update == self.evolution.boundary(generation)
        return ends or (update - start) % self.settings.evaluate_every == 0

    # ---- joint training (algorithm 4)

    def _update(self, batch: Joint) -> None:
        if self.pace.updated(*self.training.step(self.state.progress.update, batch)):
            self._look()

    def _look(self) -> None:
        """Look at the losses that were not looked at yet."""
        for update, loss in self.pace.losses():
            if not math.isfinite(loss):
                raise self._diverged(f"the loss of update {update + 1} is {loss}")
            self.state.progress.losses.append(loss)
            self.observer.updated(update + 1, loss)

    def _diverged(self, what: str) -> GrowcError:
        rows = self.state.progress.rows
        if not rows:
            return overflowed(what)
        return GrowcError(
            f"{what}: training has diverged, and stopped",
            help=f"{self.folder.path / 'last.arch'} is the best model after {rows[-1]['update']} "
            "updates: start a new search with a lower --lr, with --clip, or with a longer --warmup",
        )

    # ---- evaluations and checkpoints

    def _pause(self) -> None:
        """Stop the clock, which counts training and evolution only."""
        self._look()
        self.pace.stop()

    def measure(
        self, models: Sequence[nn.Module], part: str = "judge", predict: Predict | None = None
    ) -> Scores:
        """How well models classify the validation images (or those to ``test`` with)."""
        for model in models:
            self.processes.share_buffers(model)
        loss_of, mixed = self.training.loss_of, self.training.autocast
        return evaluate(models, self.batches[part], loss_of, self.processes, mixed, predict)

    def _measured(self) -> Scores:
        """How well all models do now."""
        update = self.state.progress.update
        if self._last is None or self._last[0] != update:
            models = [m.module for m in self.members]
            predict = None
            if self.evolution.statistics == "tied":
                # With own statistics models have only their first layers in common.
                for model in models:
                    self.processes.share_buffers(model)
                predict = at_once(self.state.population.graphs(), self.processes.device)
            self._last = update, self.measure(models, predict=predict)
        return self._last[1]

    def _evaluate(self) -> None:
        self._pause()
        progress, history = self.state.progress, self.state.history
        self._require_finite()
        scores = self._measured()
        for member, loss in zip(self.members, scores.losses, strict=True):
            if not math.isfinite(loss):
                raise self._diverged(
                    f"the validation loss of model {member.number} after {progress.update} "
                    f"updates is {loss}"
                )
        graphs = self.state.population.graphs()
        best = scores.best()
        member = self.members[best]
        row: dict[str, Any] = {
            "update": progress.update,
            "seconds": round(progress.seconds, 3),
            "flops": progress.flops,
            "params": graphs[best].parameter_count(),
            "loss": scores.losses[best],
            "accuracy": scores.accuracies[best],
            "train_loss": progress.train_loss,
            "lr": set_rate(member.optimizer, self.settings, progress.update),
            "iteration": history.generation,
            "model": member.number,
            "models": len(self.members),
            "distinct_params": self.state.population.parameter_count(),
            "mean_accuracy": math.fsum(scores.accuracies) / len(self.members),
        }
        better = progress.evaluated(row)
        history.scores += self._scores(graphs, scores)
        if self.processes.first:
            # The checkpoint last: killed before it, the search makes this evaluation again.
            if better:
                found = fusible(graphs[best])
                exported, _ = fused(found, self.settings.verify)
                self.folder.write_best(found, exported)
            self.folder.write_model("last", graphs[best])
            self.folder.write_metrics(progress.rows)
            self.folder.write_scores(history.scores)
            self.folder.write_lineage(history.lineage)
            self.observer.evaluated(row, better)
        self._write_checkpoint()

    def _scores(self, graphs: Sequence[Graph], scores: Scores) -> list[dict[str, Any]]:
        return [
            {
                "update": self.state.progress.update,
                "iteration": self.state.history.generation,
                "model": member.number,
                "params": graph.parameter_count(),
                "macs": graph.macs(),
                "updates": member.updates,
                "loss": loss,
                "accuracy": accuracy,
            }
            for member, graph, loss, accuracy in zip(
                self.members, graphs, scores.losses, scores.accuracies, strict=True
            )
        ]

    def checkpoint(self) -> None:
        """Write one between evaluations."""
        self._pause()
        self._require_finite()
        for member in self.members:
            self.processes.share_buffers(member.module)
        self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        if self.processes.first:
            self.folder.write_checkpoint(to_bytes(self.state, self.identity))
        self.pace.wrote_checkpoint()

    def _require_finite(self) -> None:
        """A loss may be fine when the update after it was not: keep such weights out of files."""
        for parameter in distinct_parameters(m.module for m in self.members):
            if not bool(torch.isfinite(parameter).all()):
                update = self.state.progress.update
                raise self._diverged(f"after {update} updates, weights are not numbers")

    # ---- selection and mutation (algorithms 2 and 3)

    def _selected(self) -> list[Member]:
        """The K best of the models of now."""
        scores, told = self._measured(), self.evolution
        chosen = select(scores.correct, scores.losses, told.keep, told.select)
        return [self.members[m] for m in chosen]

    def _evolve(self) -> None:
        """Keep the best, and fill up the population with their children."""
        self._pause()
        self.pace.start()
        progress, history = self.state.progress, self.state.history
        kept = self._selected()
        self._last = None  # other models are measured next
        history.generation += 1
        self._write_last_of([m for m in self.members if m not in kept])
        self.state.population.keep(kept)
        born = fill(self.state.population, history, self.evolution, self.settings, self.processes)
        self.pace.stop()
        if self.processes.first:
            self._write_models(self.members[len(kept) :])
            self.folder.write_lineage(history.lineage)
            short = [u for u in history.unfilled if u["iteration"] == history.generation]
            self.observer.evolved(
                {
                    "iteration": history.generation,
                    "update": progress.update,
                    "kept": [m.number for m in kept],
                    "born": born,
                    "unfilled": short[0] if short else None,
                }
            )
        self._write_checkpoint()

    def _write_last_of(self, dying: Sequence[Member]) -> None:
        for member in dying:
            self.state.history.lineage[member.number]["died"] = self.state.history.generation
        if self.processes.first:
            self._write_models(dying)

    def _write_models(self, members: Sequence[Member]) -> None:
        graphs = sharing_graphs(m.module for m in members)
        self.folder.write_models({m.number: g for m, g in zip(members, graphs, strict=True)})
