"""A whole neuroevolution: from a network, settings and a folder to the networks that it found."""

from __future__ import annotations

import os
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...backends import graph_of, to_torch
from ...grammar import load
from ...ir import Graph, GrowcError
from ...train.checkpoint import Progress, on_device, scaler_of
from ...train.data import Batches, DataSet
from ...train.data.joint import JointBatches
from ...train.data.opening import absolute
from ...train.data.seeding import generator
from ...train.identity import (
    circumstances_of,
    describe,
    differences,
    identity,
)
from ...train.observers import Beginning, Observer, Several, TensorBoard
from ...train.optimization import optimizer_of
from ...train.prefetching import in_order
from ...train.processes import Processes, joined
from ...train.runs import (
    EVALUATION_BATCH,
    batches_of,
    beginning_of,
    begun,
    require_fitting,
    require_variance,
    sets_of,
)
from ...train.schedule import seed_of
from ...train.settings import Settings
from ...train.sharing import sharing_graphs, sharing_modules
from ...train.stepping import deterministic
from . import checkpoint
from .checkpoint import History, State
from .exporting import fused
from .folder import SearchFolder
from .head import flops_of, trained_ensemble
from .loop import MUTATE, Loop, birth, no_mutation
from .mutation import Barren, draw
from .population import Member, Population
from .settings import Evolution, require_same_search


def neuroevolution(
    graph: Graph | None,
    settings: Settings,
    evolution: Evolution,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    workers: int | None = None,
    tensorboard: bool | None = None,
    observer: Observer | None = None,
    name: str = "the network",
    data: DataSet | None = None,
) -> dict[str, Any]:
    """Neuroevolution with shared parameters (R2R algorithm 1), from one network that classifies.

        >>> neuroevolution(graph, Settings(data="digits"), Evolution(iterations=3), "out/found")

    ``settings`` say how networks are trained; how long, ``evolution`` says. Everything that a
    search gives is in its ``folder``, see :mod:`growc.search.neuroevolution.folder`. The other
    arguments are those of :func:`growc.train.train`: a search that was killed goes on with
    ``resume`` to the result that it would have had, bit by bit; under torchrun, gradients are
    averaged, evaluations shared out, and all processes evolve the same population. Models are
    selected by the validation images. The test images are looked at once, at the end.

    Returns what is in ``result.json``. Raises :class:`GrowcError` as ``train`` does, and without
    validation images, and when no network can be mutated any more.
    """
    with joined(device) as processes:
        where = SearchFolder(Path(folder))
        if resume:
            where.require()
        elif not overwrite:
            where.require_none()
        _require_apart(settings, processes)
        if data is None:
            data, *more = sets_of(settings)
            if more:
                raise GrowcError(
                    f"a neuroevolution learns one task, and there are {1 + len(more)} data sets",
                    help="give --data just one",
                )
        if not len(data.validation):
            raise GrowcError(
                f"{data.name} has no validation images here to select models by",
                help="give --validation N, how many of the training images are for that",
            )
        settings = replace(
            settings,
            updates=evolution.total_updates,
            # Unless told otherwise, only where an iteration ends.
            evaluate_every=settings.evaluate_every
            or max(evolution.first_updates, evolution.updates),
            data=absolute(settings.data),
        ).resolved(len(data.train))
        if observer is not None and processes.first:
            observer.opened(data)
        data.test.check()  # these images are looked at only at the end
        batches = _batches(data, settings, processes)
        train = JointBatches(batches["train"])
        normalization = batches["train"].normalization
        described = describe(data, normalization)
        content = None
        if resume:
            start, content = begun(graph, settings, where, described, name)
            told = where.stored_search() if content is None else content["identity"].get("search")
            require_same_search(
                where.path, told if isinstance(told, dict) else vars(told), evolution
            )
        else:
            start = beginning_of(graph, settings)
        require_fitting(start, (data,))
        require_variance((start,), settings, processes)
        _require_mutation(start, settings, evolution)
        processes.wait()  # all have seen whether there is a run
        with where.locked() if processes.first else nullcontext():
            curves = tensorboard if tensorboard is not None else not resume or where.curves.exists()
            if processes.first and not resume:
                if not overwrite:
                    where.require_none()  # another process may have made one meanwhile
                where.create_search(
                    start, settings, evolution, normalization, described, curves=curves
                )
            elif processes.first and settings != where.stored_settings():
                where.write_settings(settings)
            state = _state(start, content, settings, evolution, where, processes)
            circumstances = circumstances_of(processes)
            run = identity(start, settings, described, circumstances)
            run["search"] = dict(vars(evolution))
            watching = _watching(observer, where, processes, curves)
            if workers is None:
                # Files must be read and unpacked; what is in memory takes no time.
                workers = (os.cpu_count() or 1) if data.name == "folder" else 0
            loop = Loop(
                state,
                settings,
                evolution,
                data,
                train,
                batches,
                where,
                run,
                processes,
                watching,
                workers,
            )
            before = content["identity"].get("circumstances", {}) if content is not None else {}
            changed = differences(before, circumstances)
            try:
                watching.began(
                    Beginning(settings, (data,), start, (), state.progress.update, changed)
                )
                return _ended(loop, loop.run())
            finally:
                watching.close()


def stored(folder: str | Path) -> Evolution:
    """What the search in a folder was told. Raises :class:`GrowcError` if there is none."""
    where = SearchFolder(Path(folder))
    where.require()
    return where.stored_search()


def _require_apart(settings: Settings, processes: Processes) -> None:
    if settings.precision == "float16" and processes.device.type == "cpu":
        raise GrowcError("float16 needs a GPU", help="bfloat16 works on the CPU, too")
    if settings.grow:
        raise GrowcError(
            "a neuroevolution has no growth schedule: its mutations grow the networks",
            help="leave out `grow`",
        )


def _batches(data: DataSet, settings: Settings, processes: Processes) -> dict[str, Batches]:
    """Those of any run, but for those that models are judged by: all, in every process."""
    batches = batches_of(data, settings, processes)
    normalization = batches["train"].normalization
    for part, examples in (("judge", data.validation), ("test", data.test)):
        batches[part] = Batches(examples, normalization, batch_size=EVALUATION_BATCH, train=False)
    return batches


def _require_mutation(start: Graph, settings: Settings, evolution: Evolution) -> None:
    """Raise :class:`GrowcError` now, rather than after hours, if the first network has none."""
    drawn = draw(
        start,
        evolution.parsed_mutations(),
        evolution.widths,
        evolution.tau,
        generator(settings.seed, MUTATE, 0),
        seed=seed_of(settings.seed, 0),
        verify="none",
    )
    if evolution.population > 1 and isinstance(drawn, Barren):
        raise no_mutation([drawn], evolution)


def _watching(
    observer: Observer | None, where: SearchFolder, processes: Processes, curves: bool
) -> Observer:
    if not processes.first:
        return Observer()
    observers = [observer or Observer()]
    if curves:
        where.make_room_for_curves()
        observers.append(TensorBoard(where.curves))
    return Several(*observers)


def _state(
    start: Graph,
    content: dict[str, Any] | None,
    settings: Settings,
    evolution: Evolution,
    where: SearchFolder,
    processes: Processes,
) -> State:
    if content is not None:
        return checkpoint.restored(where.checkpoint, content, settings, processes.device)
    (module,) = sharing_modules([start], device=processes.device)
    optimizer = optimizer_of(settings, [list(module.parameters())])
    member = Member(0, module, optimizer)
    population = Population(evolution.moments, evolution.statistics, [member])
    history = History(lineage=[birth(0, start)])
    return State(population, scaler_of(settings, processes.device), Progress(), history)


def _ended(loop: Loop, selected: list[Member]) -> dict[str, Any]:
    """The end of a search: all models are written, those selected and the best one tested."""
    state, folder, processes = loop.state, loop.folder, loop.processes
    progress, best_row = state.progress, state.progress.best
    assert best_row is not None
    for member in loop.members:
        processes.require_same(member.module, "at the end")
    graphs = dict(zip((m.number for m in loop.members), state.population.graphs(), strict=True))
    if processes.first:
        folder.write_models(graphs)
    processes.wait()  # the first process may still be writing the best model
    best_graph = load(folder.path / "best.arch")
    best = on_device(to_torch(best_graph), processes.device)
    last_row = progress.rows[-1]
    last = next(m for m in loop.members if m.number == last_row["model"])
    _, fusing = fused(best_graph, loop.settings.verify)
    result: dict[str, Any] = {
        "updates": progress.update,
        "params": graphs[last.number].parameter_count(),
        "flops": progress.flops,
        "seconds": round(progress.seconds, 3),
        "models": len(state.history.lineage),
        "best_onnx": fusing,
    }
    for word, row in (("best", best_row), ("last", last_row)):
        result[word] = {
            "update": row["update"],
            "model": row["model"],
            "params": row["params"],
            "validation_accuracy": row["accuracy"],
        }
    chosen = [m.module for m in selected]
    judged = loop.measure(chosen)
    result["selected"] = [
        {
            "model": m.number,
            "params": graphs[m.number].parameter_count(),
            "validation_accuracy": accuracy,
        }
        for m, accuracy in zip(selected, judged.accuracies, strict=True)
    ]
    if len(loop.data.test):
        tested = loop.measure([best, last.module, *chosen], "test")
        entries = [result["best"], result["last"], *result["selected"]]
        for entry, loss, accuracy in zip(entries, tested.losses, tested.accuracies, strict=True):
            entry |= {"test_loss": loss, "test_accuracy": accuracy}
    if loop.evolution.ensemble:
        result["ensemble"] = _ensemble(loop, selected)
    if processes.first:
        folder.write_result(result)
        loop.observer.ended(result)
    processes.wait()  # none leaves while another still listens to it
    return result


def _ensemble(loop: Loop, selected: list[Member]) -> dict[str, Any]:
    """The hierarchical ensemble of the models selected, in ``ensemble.arch`` and ``.onnx``."""
    told, settings, processes = loop.evolution, loop.settings, loop.processes
    updates = told.head_updates or told.updates
    start = time.perf_counter()
    first = loop.state.progress.update
    train = in_order(loop.train, first, first + updates, loop.workers)
    with deterministic(), closing(train):
        module = trained_ensemble(
            sharing_graphs(m.module for m in selected),
            len(loop.data.classes),
            settings,
            train,
            processes,
        )
    spent = time.perf_counter() - start
    graph = graph_of(module)
    judged = loop.measure([module])
    result = {
        "models": [m.number for m in selected],
        "params": graph.parameter_count(),
        "head_updates": updates,
        "flops": flops_of(graph, updates * settings.batch_size),
        "seconds": round(spent, 3),
        "validation_accuracy": judged.accuracies[0],
    }
    if len(loop.data.test):
        tested = loop.measure([module], "test")
        result |= {"test_loss": tested.losses[0], "test_accuracy": tested.accuracies[0]}
    if processes.first:
        loop.folder.write_model("ensemble", graph, onnx=True)
    return result
