"""A training run in the middle, as bytes, and back: what resuming needs, bit by bit.

Plain values and tensors only: it is read without executing anything (``weights_only``).
"""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..backends import graph_of, to_torch
from ..grammar import dumps, loads
from ..ir import Graph, GrowcError
from ..ir.weights import Foreign
from .optimization import optimizer_of
from .settings import Settings

FORMAT = 1


@dataclass
class Progress:
    """How far a run is: plain values that JSON keeps exactly."""

    update: int = 0
    """How many updates were made."""
    seconds: float = 0.0
    """Spent in updates and growth steps; not in evaluating and writing files."""
    flops: float = 0.0
    """Of all updates: 2 for a multiplication and addition; 3 times the forward pass for both
    directions."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The evaluations, as in ``metrics.csv``."""
    growths: list[dict[str, Any]] = field(default_factory=list)
    """The growth steps, as in ``growth.json``."""
    losses: list[float] = field(default_factory=list)
    """The training losses since the last evaluation."""
    recent: list[float] = field(default_factory=list)
    """Those since the last growth step, as many as it takes to see that they no longer fall."""
    best: dict[str, Any] | None = None
    """The row of the best evaluation so far."""

    @property
    def train_loss(self) -> float | None:
        """The mean training loss since the last evaluation."""
        return math.fsum(self.losses) / len(self.losses) if self.losses else None

    def evaluated(self, row: dict[str, Any]) -> bool:
        """Add an evaluation; whether it is the best so far, equals by their loss."""
        best = self.best
        better = best is None or (row["accuracy"], -row["loss"]) > (best["accuracy"], -best["loss"])
        if better:
            self.best = row
        self.rows.append(row)
        self.losses = []
        return better


@dataclass
class State:
    """A run in the middle."""

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    progress: Progress


def to_bytes(state: State, identity: dict[str, Any]) -> bytes:
    """A checkpoint. ``identity`` says which run it is of."""
    graph = graph_of(state.model)
    names = {p: name for name, p in state.model.named_parameters()}
    content = {
        "format": FORMAT,
        "identity": identity,
        "progress": vars(state.progress),
        "graph": dumps(graph),
        "weights": {name: torch.from_numpy(np.array(a)) for name, a in graph.weights.items()},
        "masks": {name: torch.from_numpy(np.array(m)) for name, m in graph.weights.masks.items()},
        "foreign": {n: [list(f.names), f.transposed] for n, f in graph.weights.foreign.items()},
        "counters": counters(state.model),
        "groups": [[names[p] for p in g["params"]] for g in state.optimizer.param_groups],
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def counters(model: nn.Module) -> dict[str, Tensor]:
    """PyTorch's counts of batches in batch norms, which are not in the graph."""
    return {n: b for n, b in model.named_buffers() if n.endswith("num_batches_tracked")}


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint. Raises :class:`GrowcError` for a file that is none."""
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise GrowcError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, pickle.PickleError) as error:
        raise damaged(path) from error
    if not isinstance(content, dict) or "identity" not in content:
        raise damaged(path)
    return content


def settings_of(path: Path, content: dict[str, Any]) -> Settings:
    """What the run in it was told. Raises :class:`GrowcError` if it is damaged."""
    try:
        return Settings(**content["identity"]["settings"])
    except (KeyError, TypeError, GrowcError) as error:
        raise damaged(path) from error


def progress_of(path: Path, content: dict[str, Any]) -> Progress:
    """How far the run was. Raises :class:`GrowcError` if the checkpoint is damaged."""
    try:
        found = Progress(**content["progress"])
        tables = [*found.rows, *found.growths, *([found.best] if found.best is not None else [])]
        numbers = [found.seconds, found.flops, *found.losses, *found.recent]
        sound = type(found.update) is int and found.update >= 0
        sound &= all(isinstance(table, dict) for table in tables)
        sound &= all(isinstance(number, float) for number in numbers)
        sound &= all(type(row["update"]) is int for row in found.rows)
    except (KeyError, TypeError) as error:
        raise damaged(path) from error
    if not sound:
        raise damaged(path)
    return found


def restored(
    path: Path, content: dict[str, Any], settings: Settings, device: torch.device
) -> State:
    """The run that :func:`read` found. Raises :class:`GrowcError` if it is damaged."""
    try:
        graph = _graph(content)
        model = on_device(to_torch(graph), device)
        for name, buffer in counters(model).items():
            buffer.copy_(content["counters"][name])
        parameters = dict(model.named_parameters())
        groups = [[parameters[name] for name in group] for group in content["groups"]]
        optimizer = optimizer_of(settings, groups)
        optimizer.load_state_dict(content["optimizer"])
        scaler = scaler_of(settings, device)
        scaler.load_state_dict(content["scaler"])
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, GrowcError) as error:
        raise damaged(path) from error
    return State(model, optimizer, scaler, progress_of(path, content))


def _graph(content: dict[str, Any]) -> Graph:
    graph = loads(content["graph"])
    for name, tensor in content["weights"].items():
        mask = content["masks"].get(name)
        graph.weights.put(name, tensor.numpy(), None if mask is None else mask.numpy())
    for name, (names, transposed) in content["foreign"].items():
        graph.weights.foreign[name] = Foreign(tuple(names), transposed)
    return graph


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on a device, all of it in memory that torch got itself.

    Numpy's memory starts anywhere, and a matrix product may round differently by where it starts.
    """
    model = model.to(device)
    if device.type == "cpu":
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.data_ptr() % 64:
                tensor.data = tensor.data.clone()
    return model


def scaler_of(settings: Settings, device: torch.device) -> torch.amp.GradScaler:
    """Keeps float16's gradients from vanishing; does nothing for other types."""
    return torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")


def damaged(path: Path) -> GrowcError:
    """The mistake of a file that is no checkpoint."""
    return GrowcError(
        f"{path}: this is no checkpoint of growc, or it is damaged",
        help="start a new run from last.arch beside it, which has the weights without the "
        "optimizer's state",
    )
