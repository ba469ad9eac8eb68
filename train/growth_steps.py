"""A growth step of a run: taken, measured, and told.

GROWTH_IMAGES images are looked at just before and just after it: the loss must not move.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..backends import graph_of
from ..compiler import Compiled
from ..ir import Diagnostic, Graph, GrowcError
from ..ir.ops import Attention, BatchNorm, Dropout
from .checkpoint import State, on_device
from .data.joint import Joint
from .growing import Growth, grow_step
from .optimization import Loss, logits_of, total_loss
from .schedule import GrowthStep, Repeated, doable, parse_schedule, seed_of
from .settings import Settings

MOVED = 1e-3
"""How much of itself (at least of 1) the loss may move when a proved pass grows a network: float32
rounds by 1e-7 in each of its layers."""
GROWTH_IMAGES = 256
"""How many images the loss before and after a growth step is taken of."""

Losses = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A growth step that was taken."""

    growth: Growth | None
    """None if no pass found anything to do."""
    entry: dict[str, Any]
    """What ``growth.json`` has of it."""


def take(
    step: GrowthStep,
    index: int,
    state: State,
    settings: Settings,
    judged: Joint,
    loss_of: Loss,
    *,
    together: bool = False,
) -> Taken:
    """Take a growth step. ``state`` is left as it is, but shares tensors with what is returned.

    With ``together`` the step is proved from end to end only, not pass by pass.

    ``judged`` are the images and labels (of each task) whose loss must not move. Raises
    :class:`GrowcError` if a pass does not apply, or does not keep what it claims.
    """
    device = judged[1][0].device
    before = _losses(state.model, judged, loss_of)
    start = time.perf_counter()
    growth = None
    idle: tuple[str, ...] = ()
    try:
        old = graph_of(state.model)
        passes = step.passes
        if any(applied.looks_at_weights for applied in passes):
            there = doable(old, passes, seed_of(settings.seed, index))
            passes, idle = there.passes, there.idle
        if passes:
            growth = grow_step(
                state.model,
                state.optimizer,
                passes,
                seed=seed_of(settings.seed, index),
                verify=settings.verify,
                scale_lr=settings.scale_lr,
                scale_weight_decay=settings.scale_weight_decay,
                together=together,
            )
            on_device(growth.model, device)
    except GrowcError as error:
        raise _failed(step, settings, error) from error
    spent = time.perf_counter() - start
    after, new = before, old
    if growth is not None:
        after, new = _losses(growth.model, judged, loss_of), growth.compiled.graph
        _require_unmoved(step, growth, before, after)
    steps = () if growth is None else growth.compiled.steps
    entry = {
        "update": step.update,
        "pipeline": step.pipeline,
        "brief": step.brief,
        "at": [[p.name for p in s.result.places] for s in steps],
        "nothing": list(idle),
        "params": [old.parameter_count(), new.parameter_count()],
        "macs": [old.macs(), new.macs()],
        "proof": "nothing changed" if growth is None else checked(growth.compiled),
        "loss_before": before,
        "loss_after": after,
        "lr_factor": 1.0 if growth is None else growth.rate,
        "optimizer": "as it was" if growth is None else str(growth.carried),
        "seconds": round(spent, 4),
    }
    return Taken(growth, entry)


def _failed(step: GrowthStep, settings: Settings, error: GrowcError) -> GrowcError:
    """The mistake, and how the run can go on all the same."""
    first, *more = error.diagnostics
    schedule = parse_schedule(settings.grow)
    if any(isinstance(s, Repeated) for s in schedule):
        ways = "this is a mistake of the search or of growc; the last checkpoint is kept"
    else:
        others = "; ".join(str(s) for s in schedule if s.update != step.update)
        ways = f"resume with `--grow '{others}'` to go on without this step, or with another one"
        ways += " in it"
    help = f"{first.help}; {ways}" if first.help else ways
    message = f"the growth step at {step.update} failed: {first.message}"
    return GrowcError(Diagnostic(message, help=help, notes=first.notes), *more)


def _losses(model: nn.Module, judged: Joint, loss_of: Loss) -> Losses:
    """The loss on the same images, in each mode. Running statistics are not touched.

    In train mode only where that is a function: dropout draws anew, and a batch norm needs more
    than one number in each channel.
    """
    images, labels = judged
    graph = graph_of(model)
    losses: Losses = {"eval": None, "train": None}
    several = min(map(len, images)) > 1
    determined = not drops(graph) and (several or not single_numbers(graph))
    was_training = model.training
    with torch.no_grad():
        for mode in losses:
            if mode == "train" and not determined:
                continue
            model.train(mode == "train")
            buffers = {name: b.clone() for name, b in model.named_buffers()}
            logits = logits_of(partial(_called, model, buffers), images)
            losses[mode] = float(total_loss(loss_of, logits, labels))
    model.train(was_training)
    return losses


def _called(model: nn.Module, buffers: dict[str, Tensor], *images: Tensor) -> Any:
    """The model's outputs; the buffers are changed in its place."""
    return torch.func.functional_call(model, buffers, images)


def drops(graph: Graph) -> bool:
    """Whether a network draws masks in train mode."""
    ops = [node.op for node in graph]
    return any(
        (isinstance(op, Dropout) and op.p > 0) or (isinstance(op, Attention) and op.dropout > 0)
        for op in ops
    )


def single_numbers(graph: Graph) -> list[str]:
    """The batch norms that see one number in each channel of an image: of one image alone, they
    have no variance in train mode."""
    return [
        node.name
        for node in graph
        if isinstance(node.op, BatchNorm) and node.type.size == node.type.shape[0]
    ]


def _require_unmoved(step: GrowthStep, growth: Growth, before: Losses, after: Losses) -> None:
    for mode in growth.compiled.modes:
        a, b = before[mode], after[mode]
        if a is not None and b is not None and not abs(a - b) <= MOVED * max(1.0, abs(a)):
            raise GrowcError(
                f"the growth step at {step.update} moved the loss in {mode} mode from {a:.6g} "
                f"to {b:.6g}, though {step.brief} claims to preserve the function",
                help="this is a bug in the pass or in growc; the last checkpoint is kept, and can "
                "go on without this step: resume with another --grow",
            )


def checked(compiled: Compiled) -> str:
    """How well the passes are known to preserve the function, in few words."""
    if not compiled.modes:
        return "not claimed"
    modes = ", ".join(compiled.modes)
    if compiled.whole is not None and compiled.whole.verdict == "proved":
        return f"proved ({modes})"
    if any(step.check for step in compiled.steps):
        return f"measured ({modes})"
    return f"not checked (claims {modes})"
