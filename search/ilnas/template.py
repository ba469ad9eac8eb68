"""The architecture template (ILNAS section 4.1, Figure 3) and a random baseline in it.

Stages of convolutions that keep the size, a reduction after each, then linear layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...grammar import loads
from ...ir import Graph, GrowcError, initialize
from ...ir.ops import Conv, Linear
from ...ir.weights import generator
from ...train.data import DataSet
from ...train.data.joint import task_names

LAST_STAGE = 8
"""About how many pixels wide the images of the last stage are."""
FEWEST_STAGES = 3
CONVS = (1, 2)
"""Of how many convolutions a stage is, from and to."""
VARIATION = (0.75, 1.25)
"""How much wider or narrower than its stage's width a layer may be."""
DENSITY = (0.4, 0.8)
"""How many of its kernels a convolution has."""
LARGEST = 1024


@dataclass(frozen=True)
class _Drawn:
    """One architecture, but for its overall width: of each convolution its relative width and the
    share of kernels it has, by stage."""

    stages: tuple[tuple[tuple[float, float], ...], ...]

    def widths(self, base: int) -> list[list[int]]:
        return [[max(2, round(base * w)) for w, _ in stage] for stage in self.stages]


@dataclass(frozen=True)
class Task:
    """What a network is to tell of images."""

    name: str
    """A name as of the language, not that of another task."""
    shape: tuple[int, ...]
    """Channels, height and width."""
    classes: int


def baseline(
    shape: tuple[int, ...], classes: int, parameters: int, seed: int, *, dense: bool = False
) -> Graph:
    """A random network for images of ``shape`` [channels, height, width], with values, of about
    ``parameters`` parameters and no more.

    Layers have random widths, and in their convolutions random kernels are missing, unless
    ``dense``. Of images of 28x28 or 32x32 there are three stages, of larger ones more. Raises
    :class:`GrowcError` where the smallest such network is larger, or images are too small for three
    reductions.
    """
    drawn = _draw(seed, dense, stages_of(shape))

    def made(base: int) -> Graph:
        graph = _network(shape, classes, drawn.widths(base))
        _thin(graph, drawn, seed)
        return graph

    return _of_size(made, parameters, seed)


def joint_baseline(tasks: Sequence[Task], parameters: int, seed: int, shared: float) -> Graph:
    """A random network for several tasks, with an input and an output for each (section 4.2).

    Each layer but the last is two that are added: one with weights that all tasks share, and one of
    the task's own. They have kernels in different places, so that together they are one layer
    α_t ⊙ W of that task; of all kernels that there are, the shared ones are about the share
    ``shared`` (of 0, there is only the task's own). Batch norms and last layers are each task's
    own.

    Raises :class:`GrowcError` as :func:`baseline`, and for images with different channels.
    """
    stages = min(stages_of(task.shape) for task in tasks)
    channels = sorted({task.shape[0] for task in tasks})
    if len(channels) > 1:
        raise GrowcError(
            f"tasks that share weights have images of as many channels, and these have "
            f"{' and '.join(map(str, channels))}",
            help="`?channels=3` behind a data set gives grey images three",
        )
    drawn = _draw(seed, False, stages)

    def made(base: int) -> Graph:
        graph = _joint_network(tasks, drawn.widths(base), shared > 0)
        _thin_apart(graph, tasks, drawn, seed, shared)
        return graph

    return _of_size(made, parameters, seed)


def start_for(sets: Sequence[DataSet], parameters: int, seed: int, shared: float) -> Graph:
    """A random network for these data sets, of several with ``shared`` of its kernels shared.

    Raises :class:`GrowcError` as :func:`baseline` and :func:`joint_baseline`.
    """
    tasks = [
        Task(name, one.shape, len(one.classes))
        for name, one in zip(task_names(sets), sets, strict=True)
    ]
    if len(tasks) > 1:
        return joint_baseline(tasks, parameters, seed, shared)
    return baseline(tasks[0].shape, tasks[0].classes, parameters, seed)


def stages_of(shape: tuple[int, ...]) -> int:
    """How many stages a network has for such images.

    Raises :class:`GrowcError` for too small ones.
    """
    if len(shape) != 3 or min(shape[1:]) < 2**FEWEST_STAGES:
        raise GrowcError(
            f"the template halves images {FEWEST_STAGES} times, and these are "
            f"{'x'.join(map(str, shape))}",
            help=f"give a network, or images of {2**FEWEST_STAGES}x{2**FEWEST_STAGES} at least",
        )
    return max(FEWEST_STAGES, 1 + round(math.log2(min(shape[1:]) / LAST_STAGE)))


def _of_size(made: Callable[[int], Graph], parameters: int, seed: int) -> Graph:
    """The largest network, by its width, of so many parameters at most."""
    found = made(2)
    if found.parameter_count() > parameters:
        raise GrowcError(
            f"the template's smallest network has {found.parameter_count():,} parameters, more "
            f"than {parameters:,}",
            help="allow more, or give a network",
        )
    low, high = 2, LARGEST
    while high - low > 1:  # how large it is grows with the width
        middle = (low + high) // 2
        tried = made(middle)
        if tried.parameter_count() <= parameters:
            low, found = middle, tried
        else:
            high = middle
    initialize(found, seed)
    return found


def _draw(seed: int, dense: bool, count: int) -> _Drawn:
    rng = generator(seed, "template")
    stages = []
    for i in range(count):
        layers = []
        for _ in range(int(rng.integers(CONVS[0], CONVS[1] + 1))):
            width, density = rng.uniform(*VARIATION) * 2**i, rng.uniform(*DENSITY)
            layers.append((float(width), 1.0 if dense else float(density)))
        stages.append(tuple(layers))
    return _Drawn(tuple(stages))


def _network(shape: tuple[int, ...], classes: int, widths: list[list[int]]) -> Graph:
    lines = [f"net ilnas {{\n    input image: f32[{', '.join(map(str, shape))}]\n    x = image"]
    for i, stage in enumerate(widths, 1):
        for j, width in enumerate(stage, 1):
            lines.append(
                f"    x = x -> conv2d({width}, bias=false) as stage{i}.conv{j} "
                f"-> batch_norm as stage{i}.norm{j} -> relu as stage{i}.relu{j}"
            )
        pool = "max_pool2d(2)" if i < len(widths) else "global_avg_pool -> flatten"
        lines.append(f"    x = x -> {pool}")
    hidden = widths[-1][-1]
    lines.append(
        f"    output logits = x -> linear({hidden}) as hidden -> relu -> linear({classes}) as head"
    )
    return loads("\n".join([*lines, "}", ""]))


def _joint_network(tasks: Sequence[Task], widths: list[list[int]], shares: bool) -> Graph:
    lines = ["net ilnas {"]
    for task in tasks:
        lines.append(f"    input {task.name}_image: f32[{', '.join(map(str, task.shape))}]")
    for task in tasks:
        lines.append(f"    x = {task.name}_image")
        for i, stage in enumerate(widths, 1):
            for j, width in enumerate(stage, 1):
                op = f"conv2d({width}, bias=false)"
                layer = _two(op, f"stage{i}.conv{j}", task, tasks[0] if shares else None)
                lines.append(
                    f"    x = {layer} -> batch_norm as {task.name}.stage{i}.norm{j} "
                    f"-> relu as {task.name}.stage{i}.relu{j}"
                )
            pool = "max_pool2d(2)" if i < len(widths) else "global_avg_pool -> flatten"
            lines.append(f"    x = x -> {pool}")
        op = f"linear({widths[-1][-1]}, bias=false)"
        hidden = _two(op, "hidden", task, tasks[0] if shares else None)
        lines.append(
            f"    output {task.name} = {hidden} -> relu "
            f"-> linear({task.classes}) as {task.name}.head"
        )
    return loads("\n".join([*lines, "}", ""]))


def _two(op: str, name: str, task: Task, first: Task | None) -> str:
    """A layer that is the sum of a shared one, whose weights are called after the ``first`` task's,
    and the task's own; without a first one, only that."""
    if first is None:
        return f"x -> {op} as {task.name}.{name}"
    if task is first:
        shared = f"x -> {op} as shared.{name}"
    else:
        shared = f"x -> {op} as {task.name}.shared.{name} with (weight=shared.{name}.weight)"
    return f"({shared}) + (x -> {op} as {task.name}.{name})"


def _thin_apart(
    graph: Graph, tasks: Sequence[Task], drawn: _Drawn, seed: int, shared: float
) -> None:
    """Leave out kernels such that what is shared and what is a task's own never meet, each task
    has the density that was drawn, and of all kernels the shared ones are ``shared``. In each task
    every channel keeps a kernel coming in and one going out."""
    densities = iter(density for stage in drawn.stages for _, density in stage)
    # s + T·p = 1 part, of which s is shared: a task sees s + p of them.
    of_task = shared / (shared + (1 - shared) / len(tasks))
    first = f"{tasks[0].name}."
    for node in graph:
        name = node.name.removeprefix(first)
        if node.name == name or name == "head" or not isinstance(node.op, (Conv, Linear)):
            continue
        if name.startswith("shared."):
            continue
        rows, columns, *window = graph.parameters()[node.parameter("weight")].shape
        density = next(densities, sum(DENSITY) / 2)
        key = f"shared.{name}.weight"
        split = generator(seed, "shared kernels", key).random((rows, columns)) < of_task
        common = _kernels(rows, columns, density, generator(seed, "kernels", key)) & split
        masks = {key: common}
        for task in tasks:
            own = f"{task.name}.{name}.weight"
            rng = generator(seed, "kernels", own)
            there = _kernels(rows, columns, density, rng) & ~split
            masks[own] = _completed(there | common, rng) & ~common
        for part, kernels in masks.items():
            if part in graph.parameters():
                mask = kernels.reshape(rows, columns, *[1] * len(window))
                graph.weights.masks[part] = np.broadcast_to(mask, (rows, columns, *window)).copy()


def _thin(graph: Graph, drawn: _Drawn, seed: int) -> None:
    """Leave random kernels out. Every channel keeps one coming in and one going out."""
    densities = [density for stage in drawn.stages for _, density in stage]
    layers = [node for node in graph if isinstance(node.op, Conv)]
    for node, density in zip(layers, densities, strict=True):
        key, spec = graph.params_of(node.name)[0]
        there = _kernels(spec.shape[0], spec.shape[1], density, generator(seed, "kernels", key))
        mask = np.broadcast_to(there[:, :, None, None], spec.shape).copy()
        if not mask.all():
            graph.weights.masks[key] = mask


def _kernels(
    rows: int, columns: int, density: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    there = rng.random((rows, columns)) < density
    there[np.arange(rows), rng.integers(columns, size=rows)] = True
    there[rng.integers(rows, size=columns), np.arange(columns)] = True
    return there


def _completed(there: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """With a kernel more wherever a channel has none coming in, or going out."""
    rows, columns = there.shape
    there = there.copy()
    for row in np.flatnonzero(~there.any(1)):
        there[row, rng.integers(columns)] = True
    for column in np.flatnonzero(~there.any(0)):
        there[rng.integers(rows), column] = True
    return there
