"""The head of a hierarchical ensemble is trained (R2R section 4.3), and nothing else of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import fx

from ...backends import to_torch
from ...ir import Graph, GrowcError
from ...train.checkpoint import on_device, scaler_of
from ...train.data.joint import Joint
from ...train.optimization import autocast, loss_of, optimizer_of
from ...train.processes import Processes
from ...train.settings import Settings
from ...train.stepping import to_device, train_step
from .ensemble import ensemble, head_parameters


def trained_ensemble(
    models: Sequence[Graph],
    classes: int,
    settings: Settings,
    batches: Iterable[Joint],
    processes: Processes,
) -> fx.GraphModule:
    """The models as features of a small network that learns which of them are right.

    Each of ``batches`` is an update of the head, by the optimizer and the learning rate that
    ``settings`` have at the beginning of a run; the models stay as they are in evaluation mode.

    Raises :class:`GrowcError` if the loss is no longer a number, and for models that cannot be
    joined.
    """
    graph = ensemble(models, classes, seed=settings.seed)
    module = on_device(to_torch(graph), processes.device)
    assert isinstance(module, fx.GraphModule)
    head = set(head_parameters(graph))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in head)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = optimizer_of(settings, [trained])
    scaler = scaler_of(settings, processes.device)
    mixed = autocast(settings, processes.device)
    for update, batch in enumerate(batches, 1):
        loss = train_step(
            module,
            optimizer,
            scaler,
            to_device(batch, processes.device),
            loss_of(settings),
            mixed,
            clip=settings.clip,
            backward_done=lambda: processes.average_gradients(trained),
        )
        if not math.isfinite(float(processes.total(loss.double()))):
            raise GrowcError(
                f"the loss of the ensemble's head is no longer a number after {update} updates",
                help="start a new search with a lower --lr, or with --clip",
            )
    processes.require_same(module, "after the ensemble's head was trained")
    return module


def flops_of(graph: Graph, images: int) -> float:
    """The operations of training an ensemble's head on so many images: the models are computed
    forward only, and the head in both directions."""
    head = {key.rpartition(".")[0] for key in head_parameters(graph)}
    own = sum(
        node.op.macs(graph.operand_types(node), node.type) for node in graph if node.name in head
    )
    return 2.0 * images * (graph.macs() + 2 * own)
