"""A whole training run: from a network, settings and a folder to a trained network in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backends import to_torch
from ..ir import Graph, GrowcError, initialize
from ..ir.diagnostics import plural
from ..ir.parts import inputs_of
from . import checkpoint
from .checkpoint import Progress, State, on_device, scaler_of
from .data import Batches, DataSet, Normalization
from .data.joint import JointBatches
from .data.opening import absolute, open_all
from .growth_steps import GROWTH_IMAGES, single_numbers
from .identity import (
    circumstances_of,
    describe_all,
    differences,
    identity,
    require_continuable,
    require_same_data,
    require_same_net,
    require_same_run,
    require_same_version,
)
from .loop import Loop
from .observers import Beginning, Observer, Several, TensorBoard
from .optimization import optimizer_of
from .processes import Processes, joined
from .run_folder import RunFolder
from .schedule import parse_schedule, rehearse
from .settings import EPOCHS, Settings

EVALUATION_BATCH = 250
JUDGED_TRAINING_IMAGES = 1_000
"""Without validation images, so many training images judge the models."""


def train(
    graph: Graph | None,
    settings: Settings,
    folder: str | Path,
    *,
    epochs: int = EPOCHS,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    workers: int | None = None,
    tensorboard: bool | None = None,
    observer: Observer | None = None,
    name: str = "the network",
    data: DataSet | Sequence[DataSet] | None = None,
    grow_in: str = "--grow",
) -> dict[str, Any]:
    """Train a network that classifies images, growing it by the schedule in ``settings``.

    With several data sets, the network has an input and an output for each, in their order: it
    learns all of these tasks at a time, by the sum of their losses.

        >>> growc.train.train(graph, Settings(data="digits", updates=500), "out/run")

    ``epochs`` count where the settings have no ``updates``.

    Everything that a run gives is in its ``folder``, see :mod:`growc.train.run_folder`. With
    ``resume`` the run that was begun there goes on from its last checkpoint, to the result that it
    would have had uninterrupted, bit by bit on the same machine; ``graph`` may then be None. With
    ``overwrite`` a run that is there is forgotten. ``workers`` threads prepare batches (for folders
    of images as many as processors, else none). Started by torchrun, the processes share each batch
    and train one model; batch norms see their own part of it. ``data`` is the settings' data,
    where it is open already. ``tensorboard`` says whether there are curves: a new run has them, and
    a resumed one if it had, unless told otherwise. ``name`` and ``grow_in`` are what mistakes in
    the network and in the growth schedule are said to be in.

    Returns what is in ``result.json``. Raises :class:`GrowcError` for a network that does not
    fit the data, a growth schedule that cannot be applied (before training starts), a folder that
    has a run, or has none to resume, a run begun with another network, other settings or by another
    version of growc, a loss that is no longer a number, and files that cannot be read or written.
    """
    with joined(device) as processes:
        where = RunFolder(Path(folder))
        if resume:
            where.require()
        elif not overwrite:
            where.require_none()
        require_precision(settings, processes)
        if data is None:
            data = sets_of(settings)
        sets = (data,) if isinstance(data, DataSet) else tuple(data)
        settings = settings.resolved(largest(sets), epochs)
        # Also resumed from elsewhere, the run finds its data.
        settings = replace(settings, data=absolute(settings.data))
        schedule = parse_schedule(settings.grow, grow_in)
        if observer is not None and processes.first:
            for one in sets:
                observer.opened(one)
        for one in sets:
            one.test.check()  # these images are looked at only at the end
        batches = _batches(sets, settings, processes)
        normalizations = [part.normalization for part in batches["train"].parts]
        described = describe_all(sets, normalizations)
        content = None
        if resume:
            start, content = begun(graph, settings, where, described, name)
        else:
            start = beginning_of(graph, settings)
        require_fitting(start, sets)
        plan = rehearse(start, schedule, seed=settings.seed, updates=settings.updates)
        require_variance((start, *plan), settings, processes)
        processes.wait()  # all have seen whether there is a run
        with where.locked() if processes.first else nullcontext():
            # Before anything is written: the checkpoint may be damaged.
            state = _state(start, content, settings, where, processes)
            curves = tensorboard if tensorboard is not None else not resume or where.curves.exists()
            if processes.first and not resume:
                if not overwrite:
                    where.require_none()  # another process may have made one meanwhile
                where.create(start, settings, normalizations, described, curves=curves)
            elif processes.first:
                if settings != where.stored_settings():
                    where.write_settings(settings)
                if state.progress.update < settings.updates:
                    where.forget_result()
            circumstances = circumstances_of(processes)
            run = identity(start, settings, described, circumstances)
            watching = watched(observer, where, processes, curves)
            if workers is None:
                workers = usual_workers(sets)
            loop = Loop(
                state, settings, sets, batches, schedule, where, run, processes, watching, workers
            )
            before = content["identity"].get("circumstances", {}) if content is not None else {}
            beginning = Beginning(
                settings,
                sets,
                loop.graph,
                tuple(zip(schedule, plan, strict=True)),
                state.progress.update,
                differences(before, circumstances),
            )
            try:
                watching.began(beginning)
                return loop.run()
            finally:
                watching.close()


def sets_of(settings: Settings) -> tuple[DataSet, ...]:
    """The data sets of a run, one for each task."""
    return open_all(settings.data, validation=settings.validation, seed=settings.seed)


def largest(sets: Sequence[DataSet]) -> int:
    """How many training images the largest of them has: what an epoch is."""
    return max(len(one.train) for one in sets)


def stored_settings(where: RunFolder) -> Settings:
    """What the run in a folder was told. Raises :class:`GrowcError` if there is none."""
    where.require()
    return where.stored_settings()


def beginning_of(graph: Graph | None, settings: Settings) -> Graph:
    """The network that a new run starts from."""
    if graph is None:
        raise GrowcError("no network to train", help="give one, or resume a run")
    start = graph.copy()
    initialize(start, settings.seed)
    return start


def begun(
    graph: Graph | None,
    settings: Settings,
    where: RunFolder,
    data: dict[str, Any],
    name: str,
    check: Callable[[dict[str, Any]], None] = lambda content: None,
) -> tuple[Graph, dict[str, Any] | None]:
    """The network that a run started from, and the checkpoint if there is one to go on from, which
    ``check`` looks at, too.

    Raises :class:`GrowcError` for whatever is not as it was and must be.
    """
    stored = where.start()
    if graph is not None:
        require_same_net(where, stored, beginning_of(graph, settings), name)
    content = None
    progress, told = Progress(), where.stored_settings()
    if where.checkpoint.exists():  # else it was killed before the first one
        content = checkpoint.read(where.checkpoint)
        require_same_version(where.checkpoint, content["identity"])
        require_same_run(where.checkpoint, content["identity"], stored, where.stored_data())
        check(content)
        # What was trained was told this; the file of the settings may have been edited since.
        told = checkpoint.settings_of(where.checkpoint, content)
        progress = checkpoint.progress_of(where.checkpoint, content)
    require_continuable(where, told, settings, progress)
    require_same_data(where, where.stored_data(), data, settings.data)
    return stored, content


def require_fitting(graph: Graph, sets: Sequence[DataSet]) -> None:
    """Raise :class:`GrowcError` if the network does not take these images, or has too few outputs
    for their classes."""
    count = len(sets)
    if len(graph.inputs) != count or len(graph.outputs) != count:
        wanted = "one of each" if count == 1 else f"{count} of each for {count} data sets"
        raise GrowcError(
            f"`{graph.name}` has {plural(len(graph.inputs), 'input')} and "
            f"{plural(len(graph.outputs), 'output')}",
            help=f"a network that classifies images has {wanted}; several data sets are written "
            "'mnist:DIR + cifar10:DIR'",
        )
    depends = inputs_of(graph)
    for data, taken, (name, source) in zip(sets, graph.inputs, graph.outputs.items(), strict=True):
        shape, wanted_shape = graph.node(taken).type.shape, data.shape
        if tuple(shape) != tuple(wanted_shape):
            raise GrowcError(
                f"`{graph.name}` takes {_size(shape)} in its input `{taken}`, and images of "
                f"{data.name} are {_size(wanted_shape)}",
                help="change the input, or give other data with --data; `?size=32&channels=3` "
                "behind a data set changes its images",
            )
        others = sorted(depends[source] - {taken})
        if others or taken not in depends[source]:
            what = f"depends on the input `{others[0]}`" if others else "does not depend on it"
            raise GrowcError(
                f"the output `{name}` is for the images of `{taken}`, and {what}",
                help="the first output is for the first input, and so on; each depends on its own",
            )
        given = graph.node(source).type.shape
        if len(given) != 1 or given[0] < len(data.classes):
            raise GrowcError(
                f"`{graph.name}` gives {_size(given)} in its output `{name}`, and {data.name} has "
                f"{len(data.classes)} classes",
                help="a network that classifies gives one number for each class",
            )


def require_variance(
    graphs: Sequence[Graph | None], settings: Settings, processes: Processes
) -> None:
    """Raise :class:`GrowcError` if a batch norm would see a single number of each channel."""
    if settings.batch_size // processes.ranks > 1:
        return
    for graph in graphs:
        single = single_numbers(graph) if graph is not None else []
        if single:
            here = "" if processes.ranks == 1 else f" in each of {processes.ranks} processes"
            raise GrowcError(
                f"the batch norm `{single[0]}` sees one number in each channel of an image, and "
                f"in batches of one image{here} they have no variance to learn with",
                help=f"give --batch-size {2 * processes.ranks} or more",
            )


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


def require_precision(settings: Settings, processes: Processes) -> None:
    """Raise :class:`GrowcError` for a precision that the device has not."""
    if settings.precision == "float16" and processes.device.type == "cpu":
        raise GrowcError("float16 needs a GPU", help="bfloat16 works on the CPU, too")


def watched(
    observer: Observer | None, where: RunFolder, processes: Processes, curves: bool
) -> Observer:
    """Who is told how a run goes: in the first process the observer, and TensorBoard for curves."""
    if not processes.first:
        return Observer()
    observers = [observer or Observer()]
    if curves:
        where.make_room_for_curves()
        observers.append(TensorBoard(where.curves))
    return Several(*observers)


def usual_workers(sets: Sequence[DataSet]) -> int:
    """How many threads prepare batches. Files must be read and unpacked; what is in memory is a
    fraction of a millisecond."""
    return (os.cpu_count() or 1) if any(one.name == "folder" for one in sets) else 0


def _state(
    start: Graph,
    content: dict[str, Any] | None,
    settings: Settings,
    where: RunFolder,
    processes: Processes,
) -> State:
    if content is not None:
        return checkpoint.restored(where.checkpoint, content, settings, processes.device)
    model = on_device(to_torch(start), processes.device)
    optimizer = optimizer_of(settings, [list(model.parameters())])
    return State(model, optimizer, scaler_of(settings, processes.device), Progress())


def _batches(
    sets: Sequence[DataSet], settings: Settings, processes: Processes
) -> dict[str, JointBatches]:
    each = [batches_of(data, settings, processes) for data in sets]
    return {name: JointBatches(*(one[name] for one in each)) for name in each[0]}


def batches_of(data: DataSet, settings: Settings, processes: Processes) -> dict[str, Batches]:
    """The batches of a data set: to ``train`` on, to ``judge`` models by, to ``test`` them with,
    and those that growth steps must not move the loss of (``growth``)."""
    normalization = Normalization.of(data.train, settings.normalize)
    train = Batches(
        data.train,
        normalization,
        batch_size=settings.batch_size,
        seed=settings.seed,
        replacement=settings.replacement,
        crop=settings.crop,
        flip=settings.flip,
        rank=processes.rank,
        ranks=processes.ranks,
    )
    some = range(min(JUDGED_TRAINING_IMAGES, len(data.train)))
    judge = data.validation if len(data.validation) else data.train.part(some)
    shared = {"rank": processes.rank, "ranks": processes.ranks}
    whole = {"batch_size": EVALUATION_BATCH, "train": False}
    return {
        "train": train,
        "judge": Batches(judge, normalization, **whole, **shared),  # type: ignore[arg-type]
        "test": Batches(data.test, normalization, **whole, **shared),  # type: ignore[arg-type]
        "growth": Batches(judge, normalization, batch_size=GROWTH_IMAGES, train=False),
    }
