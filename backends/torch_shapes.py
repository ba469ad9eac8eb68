"""How ops that move numbers, and reductions, become PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from ..ir import ops
from . import sampling
from .torch_modules import Gather
from .torch_site import Site, border, dim, lowering


@lowering(ops.Concat)
def concat(op: ops.Concat, at: Site) -> fx.Node:
    return at.call(torch.cat, at.with_batch(), dim=dim(op.axis, len(at.shape)))


@lowering(ops.Slice)
def slice_(op: ops.Slice, at: Site) -> fx.Node:
    axis, start, stop, step = op.bounds(at.types[0])
    whole = (slice(None),) * (axis + 1)
    return at.call(operator.getitem, at.x, (*whole, slice(start, stop, step)))


@lowering(ops.Pad)
def pad(op: ops.Pad, at: Site) -> fx.Node:
    widths = op.widths(at.types[0])
    if op.mode == "constant":
        return at.call(F.pad, at.x, border(widths), value=op.value)
    axes = [axis for axis, pair in enumerate(widths) if any(pair)]
    if not axes:
        return at.x
    inner = max(1, len(widths) - 1)
    # PyTorch has these borders on the last 1 to 3 axes, below at most one more beside the batch.
    if inner <= 3 and axes[0] >= len(widths) - inner:
        return at.call(F.pad, at.x, border(widths[-inner:]), mode=MODES[op.mode])
    chosen = {axis + 1: sampling.padded(op.mode, at.shape[axis], *widths[axis]) for axis in axes}
    return at.module(Gather(chosen))


MODES = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@lowering(ops.Gather)
def gather(op: ops.Gather, at: Site) -> fx.Node:
    return at.module(Gather({dim(op.axis, len(at.shape)): op.indices}))


@lowering(ops.Expand)
def expand(op: ops.Expand, at: Site) -> fx.Node:
    return at.method("expand", *at.aligned(len(op.shape)), -1, *op.shape)


@lowering(ops.Tile)
def tile(op: ops.Tile, at: Site) -> fx.Node:
    return at.method("repeat", at.x, 1, *op.repeats)


@lowering(ops.Flatten)
def flatten(op: ops.Flatten, at: Site) -> fx.Node:
    if not at.shape:
        return at.call(torch.unsqueeze, at.x, 1)
    return at.call(torch.flatten, at.x, dim(op.axis, len(at.shape)))


@lowering(ops.Reshape)
def reshape(op: ops.Reshape, at: Site) -> fx.Node:
    return at.call(torch.reshape, at.x, (-1, *at.node.type.shape))


@lowering(ops.Transpose)
def transpose(op: ops.Transpose, at: Site) -> fx.Node:
    return at.call(torch.permute, at.x, (0, *(axis + 1 for axis in op.order)))


# ---- reductions

REDUCTIONS: dict[type[ops.Reduction], Callable[..., Any]] = {
    ops.ReduceMean: torch.mean,
    ops.ReduceSum: torch.sum,
    ops.ReduceMax: torch.amax,
    ops.ReduceMin: torch.amin,
    ops.ReduceLogSumExp: torch.logsumexp,
}


@lowering(*REDUCTIONS)
def reduce(op: ops.Reduction, at: Site) -> fx.Node:
    return at.call(REDUCTIONS[type(op)], at.x, reduced(op, at), keepdim=op.keep)


@lowering(ops.ReduceL1, ops.ReduceL2)
def reduce_norm(op: ops.Reduction, at: Site) -> fx.Node:
    order = 1 if isinstance(op, ops.ReduceL1) else 2
    return at.call(torch.linalg.vector_norm, at.x, order, reduced(op, at), keepdim=op.keep)


@lowering(ops.ReduceProd)
def reduce_prod(op: ops.ReduceProd, at: Site) -> fx.Node:
    value = at.x
    for axis in reversed(reduced(op, at)):  # torch.prod takes one at a time
        value = at.call(torch.prod, value, axis, keepdim=op.keep)
    return value


def reduced(op: ops.Reduction, at: Site) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in op.reduced(at.types[0]))
