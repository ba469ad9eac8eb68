"""An expansion as a pipeline of passes, which growc proves and anybody can replay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...passes import Pass
from ...passes.new_connection import NewConnection
from ...passes.new_layer import NewLayer
from ...passes.new_node import NewNode
from ...passes.widening import is_layer
from .space import Field, Scaffold


def pipeline_of(
    scaffold: Scaffold, chosen: Mapping[str, NDArray[np.bool_]], seed: int
) -> tuple[Pass, ...]:
    """The passes that add the chosen connections to the network, and the nodes and layers that
    they need.

    ``chosen`` are the numbers of the scaffold's parameters; ``seed`` is the scaffold's. New layers
    come first, then new nodes from the last layer on, then connections from earlier nodes, then
    what was missing: each pass finds the network as the scaffold's did, but for what was not kept.
    """
    kept = _kept(scaffold, chosen)
    called = _layers(scaffold, kept)
    fields = {f.key: f for f in scaffold.fields if f.key in chosen}
    passes: list[Pass] = []
    filled: dict[str, list[int]] = {}
    sources: dict[NewConnection, Pass] = {}
    for key, field in fields.items():
        numbers = _numbers(scaffold, field, chosen[key], kept)
        if field.addition is None:
            layer = called.get(field.layer, field.layer)
            filled.setdefault(layer, []).extend(numbers)
        else:
            sources[field.addition] = replace(field.addition, indices=tuple(numbers), seed=seed)
    for addition in scaffold.additions:
        match addition:
            case NewLayer() if addition in kept:
                passes.append(replace(addition, seed=seed))
            case NewNode() if addition in kept:
                passes.append(replace(addition, keep=kept[addition], seed=seed))
            case NewConnection() if addition in sources:
                passes.append(sources[addition])
    passes += [
        NewConnection(at=(layer,), indices=tuple(numbers), seed=seed)
        for layer, numbers in filled.items()
    ]
    return tuple(passes)


def _kept(
    scaffold: Scaffold, chosen: Mapping[str, NDArray[np.bool_]]
) -> dict[Pass, tuple[int, ...]]:
    """Of each pass that adds nodes or a layer: which of them the chosen connections need."""
    needed: set[int] = set()
    for field in scaffold.fields:
        if field.key in chosen:
            mask = chosen[field.key]
            used = np.nonzero(mask)[1] if mask.ndim > 1 else np.zeros(int(mask.any()), np.intp)
            needed.update(field.openers[used].tolist())
    kept: dict[Pass, list[int]] = {}
    for i in sorted(needed - {-1}):
        opener = scaffold.openers[i]
        kept.setdefault(opener.addition, []).append(opener.number)
    return {addition: tuple(numbers) for addition, numbers in kept.items()}


def _layers(scaffold: Scaffold, kept: Mapping[Pass, tuple[int, ...]]) -> dict[str, str]:
    """What the new layers will be called: names depend on what is there, and not all are kept."""
    called = {}
    graph = scaffold.start
    for addition in scaffold.additions:
        if isinstance(addition, NewLayer) and addition in kept:
            before, graph = graph, addition(graph).graph
            (new,) = (n.name for n in graph if n.name not in before and is_layer(n.op))
            called[scaffold.layers[addition]] = new
    return called


def _numbers(
    scaffold: Scaffold,
    field: Field,
    chosen: NDArray[np.bool_],
    kept: Mapping[Pass, tuple[int, ...]],
) -> list[int]:
    """The connections by their numbers in the layer as it will be, without what is not kept."""
    if chosen.ndim > 1:
        # A placeholder that is not kept has no chosen connection: its column goes. Placeholders'
        # rows come last, so that those which go do not count.
        return np.flatnonzero(chosen[:, _columns(scaffold, field.openers, kept)]).tolist()
    # Biases are numbered after the weights.
    weight = scaffold.graph.node(field.layer).parameter("weight")
    rows, columns, *window = scaffold.graph.weights[weight].shape
    addition = scaffold.nodes.get(field.layer)
    if addition is not None:
        rows -= addition.count - len(kept.get(addition, ()))
    columns = int(_columns(scaffold, scaffold.columns[weight], kept).sum())
    before = rows * columns * math.prod(window)
    return [before + i for i in np.flatnonzero(chosen).tolist()]


def _columns(
    scaffold: Scaffold, openers: NDArray[np.intp], kept: Mapping[Pass, tuple[int, ...]]
) -> NDArray[np.bool_]:
    """Which input channels of a scaffold's layer there are after the expansion."""
    there = (
        [
            i < 0 or o.number in kept.get(o.addition, ())
            for i in openers.tolist()
            for o in (scaffold.openers[i],)
        ]
        if scaffold.openers
        else [True] * len(openers)
    )
    return np.array(there, bool)
