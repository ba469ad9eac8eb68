"""A growth step in a training script: the model and its optimizer, grown in place of the old."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..backends import graph_of, to_torch
from ..backends.module_weights import unwrapped
from ..compiler import Compiled, Pipeline, run
from ..ir import Graph
from .carrying import Carried, carry
from .learning_rate import scale_learning_rate, trainable_count
from .parameters import tensors_of


@dataclass(frozen=True, slots=True)
class Growth:
    """A growth step: the grown model and optimizer, and what happened."""

    model: nn.Module
    optimizer: Optimizer | None
    compiled: Compiled
    """The passes with their proofs."""
    carried: Carried | None
    """What became of the optimizer's parameters."""
    rate: float
    """What the learning rate was multiplied by: 1 if it stayed."""


def grow(
    model: nn.Module,
    optimizer: Optimizer,
    pipeline: Pipeline,
    *,
    seed: int = 0,
    verify: str = "proof",
    scale_lr: bool = True,
    scale_weight_decay: bool = False,
) -> tuple[nn.Module, Optimizer]:
    """Grow a model in the middle of its training: the grown model, and its optimizer.

        >>> model, optimizer = growc.grow(model, optimizer, "r2wider{variant=concat}")

    ``model`` is one from :func:`to_torch`, on any device; it may be compiled or wrapped for
    distributed training, which the grown one is not. The passes are proved as by :func:`compile`.
    What they leave alone keeps its very tensors, so the old model must not be trained on; new
    parameters are on the same device, of the same element type. (Of a float64 model, what a pass
    divides, as ``net2wider`` does, has float32's digits.) The optimizer keeps what it knows
    of old parameters (:func:`carry_optimizer`), and its learning rate is multiplied by |θ₁|/|θ₂|
    (R2R appendix C.3) unless ``scale_lr`` is false; the weight decay too with
    ``scale_weight_decay``. Hooks of modules, and learning rate schedulers, are to be made anew.

    Raises :class:`GrowcError` where a pass does not apply or does not keep what it claims, for a
    model that is not growc's, and for an optimizer that cannot be carried over; then nothing has
    changed.
    """
    growth = grow_step(
        model,
        optimizer,
        pipeline,
        seed=seed,
        verify=verify,
        scale_lr=scale_lr,
        scale_weight_decay=scale_weight_decay,
    )
    assert growth.optimizer is not None
    return growth.model, growth.optimizer


def grow_step(
    model: nn.Module,
    optimizer: Optimizer | None,
    pipeline: Pipeline,
    *,
    seed: int = 0,
    verify: str = "proof",
    scale_lr: bool = True,
    scale_weight_decay: bool = False,
    together: bool = False,
) -> Growth:
    """Like :func:`grow`, and tells what happened; ``optimizer`` may be None. With ``together`` the
    pipeline is proved from end to end only."""
    old = unwrapped(model)
    graph = graph_of(old)
    compiled = run(graph, pipeline, seed=seed, verify=verify, together=together)
    grown = _rebuilt(old, graph, compiled.graph)
    if optimizer is None:
        return Growth(grown, None, compiled, None, 1.0)
    carried = carry(optimizer, old, grown)
    rate = trainable_count(old) / trainable_count(grown)
    if scale_lr:
        scale_learning_rate(carried.optimizer, old, grown, weight_decay=scale_weight_decay)
    elif scale_weight_decay:
        for group in carried.optimizer.param_groups:
            group["weight_decay"] = group.get("weight_decay", 0.0) * rate
    return Growth(grown, carried.optimizer, compiled, carried, rate if scale_lr else 1.0)


def _rebuilt(old: nn.Module, before: Graph, after: Graph) -> nn.Module:
    """The module of the grown graph around the tensors of the old one."""
    tensors = tensors_of(old, before)
    kept = {
        key: tensor
        for key, tensor in tensors.items()
        if after.weights.get(key) is before.weights[key]
        and after.weights.masks.get(key) is before.weights.masks.get(key)
    }
    example = next(iter(tensors.values()), torch.zeros(()))
    grown = to_torch(after, dtype=example.dtype, reuse=kept).to(example.device)
    if any(t.ndim == 4 and _is_channels_last(t) for t in tensors.values()):
        grown = grown.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for key, tensor in tensors_of(grown, after).items():
        if key in tensors and key not in kept:
            _keep_corner(tensors[key], tensor)
            if isinstance(tensor, nn.Parameter):
                tensor.requires_grad_(tensors[key].requires_grad)
    counters = dict(old.named_buffers())
    for name, buffer in grown.named_buffers():
        if name.endswith("num_batches_tracked") and name in counters:
            buffer.copy_(counters[name])
    modes = {name: module.training for name, module in old.named_modules()}
    grown.train(old.training)
    for name, module in grown.named_modules():
        module.training = modes.get(name, module.training)  # some may be frozen, in eval mode
    return grown


def _keep_corner(old: Tensor, new: Tensor) -> None:
    """Passes compute in float32. What they only moved into a wider tensor gets all its digits."""
    if old.ndim != new.ndim or any(a > b for a, b in zip(old.shape, new.shape, strict=True)):
        return
    corner = new.detach()[tuple(slice(size) for size in old.shape)]
    same = corner == old.detach().float().to(corner.dtype)
    corner.copy_(torch.where(same, old.detach(), corner))


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
