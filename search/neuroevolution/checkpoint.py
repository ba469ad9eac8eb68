"""A neuroevolution in the middle, as bytes, and back: what resuming needs, bit by bit.

Plain values and tensors only, as in ``growc.train.checkpoint``, which reads them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...grammar import dumps, loads
from ...ir import Graph, GrowcError
from ...ir.weights import Foreign
from ...train.checkpoint import FORMAT, Progress, counters, damaged, progress_of, scaler_of
from ...train.optimization import optimizer_of
from ...train.parameters import tensors_of
from ...train.settings import Settings
from ...train.sharing import sharing_graphs, sharing_modules
from .population import Member, Population


@dataclass
class History:
    """What a search knows besides how far its training is: plain values that JSON keeps exactly."""

    generation: int = 0
    """How often models were selected and mutated."""
    lineage: list[dict[str, Any]] = field(default_factory=list)
    """Every model ever alive, by number, as in ``lineage.json``."""
    scores: list[dict[str, Any]] = field(default_factory=list)
    """Every evaluation of every model, as in ``scores.csv``."""
    unfilled: list[dict[str, Any]] = field(default_factory=list)
    """The iterations that have fewer than M models, as no mutation was left, as in
    ``result.json``."""


@dataclass
class State:
    """A search in the middle."""

    population: Population
    scaler: torch.amp.GradScaler
    progress: Progress
    history: History


def to_bytes(state: State, identity: dict[str, Any]) -> bytes:
    """A checkpoint. A parameter that members share is in it once."""
    members = state.population.members
    places: dict[int, int] = {}
    tensors: list[Tensor] = []
    stored = []
    for member, graph in zip(members, sharing_graphs(m.module for m in members), strict=True):
        found = tensors_of(member.module, graph)
        for key, tensor in found.items():
            if id(tensor) not in places:
                places[id(tensor)] = len(tensors)
                # What a mask leaves out is zero in the graph, and may be anything in the module.
                tensors.append(torch.from_numpy(np.array(graph.weights[key])))
        names = {p: name for name, p in member.module.named_parameters()}
        groups = member.optimizer.param_groups
        stored.append(
            {
                "number": member.number,
                "updates": member.updates,
                "graph": dumps(graph),
                "tensors": {key: places[id(tensor)] for key, tensor in found.items()},
                "masks": {n: torch.from_numpy(np.array(m)) for n, m in graph.weights.masks.items()},
                "foreign": {
                    n: [list(f.names), f.transposed] for n, f in graph.weights.foreign.items()
                },
                "counters": counters(member.module),
                "groups": [[names[p] for p in group["params"]] for group in groups],
                # With shared moments, members' states are the same tensors: torch writes them once.
                "optimizer": member.optimizer.state_dict(),
            }
        )
    content = {
        "format": FORMAT,
        "identity": identity,
        "progress": vars(state.progress),
        "history": vars(state.history),
        "moments": state.population.moments,
        "statistics": state.population.statistics,
        "tensors": tensors,
        "members": stored,
        "scaler": state.scaler.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def restored(
    path: Path, content: dict[str, Any], settings: Settings, device: torch.device
) -> State:
    """The search in a checkpoint. Raises :class:`GrowcError` if it is damaged."""
    progress, history = progress_of(path, content), _history(path, content)
    try:
        arrays = [tensor.numpy() for tensor in content["tensors"]]
        masks: dict[tuple[int, bytes], Any] = {}
        graphs = [_graph(member, arrays, masks) for member in content["members"]]
        modules = sharing_modules(graphs, device=device, statistics=True)
        members = []
        for stored, module in zip(content["members"], modules, strict=True):
            parameters = dict(module.named_parameters())
            groups = [[parameters[name] for name in group] for group in stored["groups"]]
            optimizer = optimizer_of(settings, groups)
            optimizer.load_state_dict(stored["optimizer"])
            member = Member(stored["number"], module, optimizer, stored["updates"])
            for name, counter in counters(member.module).items():
                counter.copy_(stored["counters"][name])
            members.append(member)
        population = Population(content["moments"], content["statistics"], members)
        population.link()
        scaler = scaler_of(settings, device)
        scaler.load_state_dict(content["scaler"])
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, GrowcError) as error:
        raise damaged(path) from error
    return State(population, scaler, progress, history)


def _history(path: Path, content: dict[str, Any]) -> History:
    """Raises :class:`GrowcError` if it is not that of the members."""
    try:
        found = History(**content["history"])
        alive = [member["number"] for member in content["members"]]
        sound = type(found.generation) is int and found.generation >= 0
        sound &= [entry["model"] for entry in found.lineage] == list(range(len(found.lineage)))
        # What is not marked as dead is what there is.
        sound &= sorted(alive) == [e["model"] for e in found.lineage if e["died"] is None]
        sound &= bool(alive)
        sound &= all(isinstance(row, dict) for row in (*found.scores, *found.unfilled))
    except (LookupError, TypeError, AttributeError) as error:
        raise damaged(path) from error
    if not sound:
        raise damaged(path)
    return found


def _graph(stored: dict[str, Any], arrays: list[Any], masks: dict[tuple[int, bytes], Any]) -> Graph:
    """The network of a member, with the arrays that others have, too."""
    graph = loads(stored["graph"])
    for name, place in stored["tensors"].items():
        mask = stored["masks"].get(name)
        if mask is not None:
            # The same mask of the same array is one object again: that is what sharing goes by.
            bits = mask.numpy()
            mask = masks.setdefault((place, bits.tobytes()), bits)
        graph.weights.put(name, arrays[place], mask)
    for name, (names, transposed) in stored["foreign"].items():
        graph.weights.foreign[name] = Foreign(tuple(names), transposed)
    return graph
