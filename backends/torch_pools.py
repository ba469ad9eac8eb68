"""How poolings become PyTorch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from ..ir import ops
from .registry import begins, is_symmetric
from .torch_site import Site, border, lowering

MAX_POOL: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_AVG_POOL: dict[int, Any] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
ADAPTIVE_MAX_POOL: dict[int, Any] = {
    1: F.adaptive_max_pool1d,
    2: F.adaptive_max_pool2d,
    3: F.adaptive_max_pool3d,
}


def fits_pooling(op: ops.Pool) -> bool:
    """Whether PyTorch's own padding will do: symmetric, and at most half of the window."""
    return is_symmetric(op.pads) and all(
        2 * begin <= k for begin, k in zip(begins(op.pads), op.kernel, strict=True)
    )


@lowering(ops.MaxPool)
def max_pool(op: ops.MaxPool, at: Site) -> fx.Node:
    x, padding = at.x, begins(op.pads)
    if not fits_pooling(op):
        x, padding = at.call(F.pad, x, border(op.pads), value=-math.inf), [0] * op.rank
    return at.call(MAX_POOL[op.rank], x, op.kernel, op.step, tuple(padding), op.dilation)


@lowering(ops.AvgPool)
def avg_pool(op: ops.AvgPool, at: Site) -> fx.Node:
    if fits_average(op, at) or op.include_pad:
        return average(op, at, at.x, op.include_pad)
    # The mean counts the border. Divide by the share of each window that lies inside.
    ones = at.method("new_ones", at.x, (1, 1, *at.shape[1:]))
    return at.call(torch.div, average(op, at, at.x), average(op, at, ones))


@lowering(ops.LpPool)
def lp_pool(op: ops.LpPool, at: Site) -> fx.Node:
    # Not F.lp_pool, which takes x^p and not |x|^p, nor knows padding.
    powers = at.x if op.p % 2 == 0 else at.call(torch.abs, at.x)
    powers = powers if op.p == 1 else at.call(torch.pow, powers, op.p)
    total = at.call(torch.mul, average(op, at, powers), math.prod(op.kernel))
    return total if op.p == 1 else at.call(torch.pow, total, 1 / op.p)


def fits_average(op: ops.Pool, at: Site) -> bool:
    # PyTorch's 3-d pooling refuses tensors below the kernel's size, even if padding makes them fit.
    return fits_pooling(op) and all(n >= k for n, k in zip(at.shape[1:], op.kernel, strict=True))


def average(op: ops.Pool, at: Site, x: fx.Node, include_pad: bool = True) -> fx.Node:
    """Means under the windows; with any padding, if it counts."""
    pool, window = AVG_POOL[op.rank], (op.kernel, op.step)
    if fits_average(op, at):
        padding = tuple(begins(op.pads))
        return at.call(pool, x, *window, padding, count_include_pad=include_pad)
    return at.call(pool, at.call(F.pad, x, border(op.pads)), *window)


@lowering(ops.AdaptiveAvgPool)
def adaptive_avg_pool(op: ops.AdaptiveAvgPool, at: Site) -> fx.Node:
    return at.call(ADAPTIVE_AVG_POOL[op.rank], at.x, op.output)


@lowering(ops.AdaptiveMaxPool)
def adaptive_max_pool(op: ops.AdaptiveMaxPool, at: Site) -> fx.Node:
    return at.call(ADAPTIVE_MAX_POOL[op.rank], at.x, op.output)


@lowering(ops.GlobalAvgPool)
def global_avg_pool(op: ops.GlobalAvgPool, at: Site) -> fx.Node:
    return at.call(torch.mean, at.x, spatial_dims(at), keepdim=True)


@lowering(ops.GlobalMaxPool)
def global_max_pool(op: ops.GlobalMaxPool, at: Site) -> fx.Node:
    return at.call(torch.amax, at.x, spatial_dims(at), keepdim=True)


@lowering(ops.GlobalLpPool)
def global_lp_pool(op: ops.GlobalLpPool, at: Site) -> fx.Node:
    return at.call(torch.linalg.vector_norm, at.x, op.p, spatial_dims(at), keepdim=True)


def spatial_dims(at: Site) -> tuple[int, ...]:
    return tuple(range(2, len(at.shape) + 1))
