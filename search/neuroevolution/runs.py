"""A whole neuroevolution: from a network, settings and a folder to the networks that it found."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...ir import Graph, GrowcError
from ...train.checkpoint import Progress, scaler_of
from ...train.data import Batches, DataSet
from ...train.data.joint import JointBatches
from ...train.data.opening import absolute
from ...train.identity import (
    circumstances_of,
    describe,
    differences,
    identity,
)
from ...train.observers import Beginning, Observer
from ...train.optimization import optimizer_of
from ...train.processes import Processes, joined
from ...train.runs import (
    EVALUATION_BATCH,
    batches_of,
    beginning_of,
    begun,
    require_fitting,
    require_precision,
    require_variance,
    sets_of,
    usual_workers,
    watched,
)
from ...train.settings import Settings
from ...train.sharing import sharing_modules
from . import checkpoint
from .breeding import entry_of, require_mutation
from .checkpoint import History, State
from .ending import ended
from .folder import SearchFolder
from .loop import Loop
from .mutation import nowhere
from .population import Member, Population
from .settings import LEAVE_OUT, UNDO, Evolution, require_same_search


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

    Where no mutation is left, the search goes on with the models that there are, and says so.

    Returns what is in ``result.json``. Raises :class:`GrowcError` as ``train`` does, and without
    validation images, and for a first network that has no mutation.
    """
    with joined(device) as processes:
        where = SearchFolder(Path(folder))
        if resume:
            where.require()
        elif not overwrite:
            where.require_none()
        require_precision(settings, processes)
        if settings.grow:
            raise GrowcError(
                "a neuroevolution has no growth schedule: its mutations grow the networks",
                help="leave out `grow`",
            )
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
            _require_going_on(where, vars(where.stored_search()), settings, evolution, LEAVE_OUT)

            def check(content: dict[str, Any]) -> None:
                told = content["identity"].get("search")  # search.toml may have been edited since
                _require_going_on(where, told, settings, evolution, UNDO)

            start, content = begun(graph, settings, where, described, name, check)
        else:
            start = beginning_of(graph, settings)
        require_fitting(start, (data,))
        require_variance((start,), settings, processes)
        require_mutation(start, settings, evolution)
        processes.wait()  # all have seen whether there is a run
        with where.locked() if processes.first else nullcontext():
            # Before anything is written: the checkpoint may be damaged.
            state = _state(start, content, settings, evolution, where, processes)
            curves = tensorboard if tensorboard is not None else not resume or where.curves.exists()
            if processes.first and not resume:
                if not overwrite:
                    where.require_none()  # another process may have made one meanwhile
                where.create_search(
                    start, settings, evolution, normalization, described, curves=curves
                )
            elif processes.first:
                if evolution != where.stored_search():
                    where.write_search(evolution)
                if settings != where.stored_settings():
                    where.write_settings(settings)
                if state.progress.update < settings.updates:
                    where.forget_result()
            circumstances = circumstances_of(processes)
            run = identity(start, settings, described, circumstances)
            run["search"] = dict(vars(evolution))
            watching = watched(observer, where, processes, curves)
            if workers is None:
                workers = usual_workers([data])
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
            warned = () if resume else nowhere(start, evolution.parsed_mutations())
            try:
                watching.began(
                    Beginning(settings, (data,), start, (), state.progress.update, changed, warned)
                )
                return ended(loop, loop.run())
            finally:
                watching.close()


def stored(folder: str | Path) -> Evolution:
    """What the search in a folder was told. Raises :class:`GrowcError` if there is none."""
    where = SearchFolder(Path(folder))
    where.require()
    return where.stored_search()


def _require_going_on(
    where: SearchFolder, told: Any, settings: Settings, evolution: Evolution, help: str
) -> None:
    """Raise :class:`GrowcError`, with ``help``, if a search that was told other options cannot go
    on with these."""
    require_same_search(where.path, told, evolution, help)
    if told["iterations"] != evolution.iterations and settings.rates_depend_on_length:
        raise GrowcError(
            f"{where.path}: --iterations cannot become {evolution.iterations} after "
            f"{told['iterations']}: with --lr-schedule {settings.lr_schedule} the learning rates "
            "of the updates made depend on the length of the search",
            help=help,
        )


def _batches(data: DataSet, settings: Settings, processes: Processes) -> dict[str, Batches]:
    """Those of any run, but for those that models are judged by: all, in every process."""
    batches = batches_of(data, settings, processes)
    normalization = batches["train"].normalization
    for part, examples in (("judge", data.validation), ("test", data.test)):
        batches[part] = Batches(examples, normalization, batch_size=EVALUATION_BATCH, train=False)
    return batches


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
    history = History(lineage=[entry_of(0, start)])
    return State(population, scaler_of(settings, processes.device), Progress(), history)
