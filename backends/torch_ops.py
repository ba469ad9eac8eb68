"""How each op becomes PyTorch: ops with parameters modules, the others calls of functions."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ..ir import ops
from ..ir.ops.pool import GlobalAvgPool, GlobalMaxPool
from .registry import begins, is_symmetric
from .torch_modules import (
    MaskedConv1d,
    MaskedConv2d,
    MaskedConv3d,
    MaskedLinear,
    MaskedPaddedConv1d,
    MaskedPaddedConv2d,
    MaskedPaddedConv3d,
    PaddedConv1d,
    PaddedConv2d,
    PaddedConv3d,
)
from .torch_site import Site, lowering

META = torch.device("meta")

CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PADDED_CONV: dict[int, Any] = {1: PaddedConv1d, 2: PaddedConv2d, 3: PaddedConv3d}
MASKED_CONV: dict[int, Any] = {1: MaskedConv1d, 2: MaskedConv2d, 3: MaskedConv3d}
MASKED_PADDED_CONV: dict[int, Any] = {
    1: MaskedPaddedConv1d,
    2: MaskedPaddedConv2d,
    3: MaskedPaddedConv3d,
}
# By the number of axes without the batch.
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
INSTANCE_NORM = {2: nn.InstanceNorm1d, 3: nn.InstanceNorm2d, 4: nn.InstanceNorm3d}

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


def dim(axis: int, rank: int) -> int:
    """The tensor's dimension for an op's axis: one more, as dimension 0 is the batch."""
    return axis % rank + 1


def border(widths: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """(begin, end) of each axis in the order of ``F.pad``: the last axis first."""
    return tuple(n for pair in reversed(list(widths)) for n in pair)


# ---- convolutions and linear layers


@lowering(ops.Conv)
def conv(op: ops.Conv, at: Site) -> fx.Node:
    settings: dict[str, Any] = {
        "stride": op.stride,
        "dilation": op.dilation,
        "groups": op.groups,
        "bias": op.bias,
        "device": META,
    }
    channels = at.shape[0], op.channels
    if is_symmetric(op.pads):
        settings["padding"] = tuple(begins(op.pads))
        kinds = MASKED_CONV if at.masked else CONV
        return at.module(kinds[op.rank](*channels, op.kernel, **settings))
    settings["border"] = border(op.pads)
    kinds = MASKED_PADDED_CONV if at.masked else PADDED_CONV
    return at.module(kinds[op.rank](*channels, op.kernel, **settings))


@lowering(ops.Linear)
def linear(op: ops.Linear, at: Site) -> fx.Node:
    kind = MaskedLinear if at.masked else nn.Linear
    return at.module(kind(at.shape[-1], op.features, op.bias, device=META))


# ---- normalizations


@lowering(ops.BatchNorm)
def batch_norm(op: ops.BatchNorm, at: Site) -> fx.Node:
    kind = BATCH_NORM[len(at.shape)]
    return at.module(kind(at.shape[0], op.eps, op.momentum, op.affine, device=META))


@lowering(ops.LayerNorm)
def layer_norm(op: ops.LayerNorm, at: Site) -> fx.Node:
    return at.module(nn.LayerNorm(at.shape[-op.dims :], op.eps, op.affine, device=META))


@lowering(ops.GroupNorm)
def group_norm(op: ops.GroupNorm, at: Site) -> fx.Node:
    return at.module(nn.GroupNorm(op.groups, at.shape[0], op.eps, op.affine, device=META))


@lowering(ops.InstanceNorm)
def instance_norm(op: ops.InstanceNorm, at: Site) -> fx.Node:
    kind = INSTANCE_NORM[len(at.shape)]
    return at.module(kind(at.shape[0], op.eps, affine=op.affine, device=META))


# ---- element-wise functions


@lowering(ops.Relu)
def relu(op: ops.Relu, at: Site) -> fx.Node:
    return at.call(F.relu, at.x)


@lowering(ops.LeakyRelu)
def leaky_relu(op: ops.LeakyRelu, at: Site) -> fx.Node:
    return at.call(F.leaky_relu, at.x, op.slope)


@lowering(ops.Elu)
def elu(op: ops.Elu, at: Site) -> fx.Node:
    return at.call(F.elu, at.x, op.alpha)


@lowering(ops.Gelu)
def gelu(op: ops.Gelu, at: Site) -> fx.Node:
    return at.call(F.gelu, at.x, approximate=op.approximate)


@lowering(ops.Silu)
def silu(op: ops.Silu, at: Site) -> fx.Node:
    return at.call(F.silu, at.x)


@lowering(ops.Sigmoid)
def sigmoid(op: ops.Sigmoid, at: Site) -> fx.Node:
    return at.call(torch.sigmoid, at.x)


@lowering(ops.Tanh)
def tanh(op: ops.Tanh, at: Site) -> fx.Node:
    return at.call(torch.tanh, at.x)


@lowering(ops.HardSwish)
def hardswish(op: ops.HardSwish, at: Site) -> fx.Node:
    return at.call(F.hardswish, at.x)


@lowering(ops.Identity)
def identity(op: ops.Identity, at: Site) -> fx.Node:
    return at.x


@lowering(ops.Scale)
def scale(op: ops.Scale, at: Site) -> fx.Node:
    scaled = at.x if op.factor == 1.0 else at.call(torch.mul, at.x, op.factor)
    return scaled if op.offset == 0.0 else at.call(torch.add, scaled, op.offset)


@lowering(ops.Softmax)
def softmax(op: ops.Softmax, at: Site) -> fx.Node:
    return at.call(F.softmax, at.x, dim=dim(op.axis, len(at.shape)))


@lowering(ops.Dropout)
def dropout(op: ops.Dropout, at: Site) -> fx.Node:
    return at.module(nn.Dropout(op.p))


# ---- arithmetic


@lowering(ops.Add)
def add(op: ops.Add, at: Site) -> fx.Node:
    total = at.x
    for operand in at.operands[1:]:
        total = at.call(torch.add, total, operand)
    return total


@lowering(ops.Sub)
def sub(op: ops.Sub, at: Site) -> fx.Node:
    return at.call(torch.sub, *at.operands)


@lowering(ops.Mul)
def mul(op: ops.Mul, at: Site) -> fx.Node:
    return at.call(torch.mul, *at.operands)


# ---- poolings


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
    pool = AVG_POOL[op.rank]
    window = op.kernel, op.step
    # PyTorch's 3-d pooling refuses tensors below the kernel's size, even if padding makes them fit.
    fits = all(n >= k for n, k in zip(at.shape[1:], op.kernel, strict=True))
    if fits_pooling(op) and fits:
        padding = tuple(begins(op.pads))
        return at.call(pool, at.x, *window, padding, count_include_pad=op.include_pad)
    mean = at.call(pool, at.call(F.pad, at.x, border(op.pads)), *window)
    if op.include_pad:
        return mean
    # The mean counts the border. Divide by the share of each window that lies inside.
    ones = at.method("new_ones", at.x, (1, 1, *at.shape[1:]))
    share = at.call(pool, at.call(F.pad, ones, border(op.pads)), *window)
    return at.call(torch.div, mean, share)


@lowering(ops.AdaptiveAvgPool)
def adaptive_avg_pool(op: ops.AdaptiveAvgPool, at: Site) -> fx.Node:
    return at.call(ADAPTIVE_AVG_POOL[op.rank], at.x, op.output)


@lowering(ops.AdaptiveMaxPool)
def adaptive_max_pool(op: ops.AdaptiveMaxPool, at: Site) -> fx.Node:
    return at.call(ADAPTIVE_MAX_POOL[op.rank], at.x, op.output)


@lowering(GlobalAvgPool)
def global_avg_pool(op: GlobalAvgPool, at: Site) -> fx.Node:
    return at.call(torch.mean, at.x, spatial_dims(at), keepdim=True)


@lowering(GlobalMaxPool)
def global_max_pool(op: GlobalMaxPool, at: Site) -> fx.Node:
    return at.call(torch.amax, at.x, spatial_dims(at), keepdim=True)


def spatial_dims(at: Site) -> tuple[int, ...]:
    return tuple(range(2, len(at.shape) + 1))


# ---- shapes


@lowering(ops.Concat)
def concat(op: ops.Concat, at: Site) -> fx.Node:
    return at.call(torch.cat, at.operands, dim=dim(op.axis, len(at.shape)))


@lowering(ops.Slice)
def slice_(op: ops.Slice, at: Site) -> fx.Node:
    axis, start, stop, step = op.bounds(at.types[0])
    whole = (slice(None),) * (axis + 1)
    return at.call(operator.getitem, at.x, (*whole, slice(start, stop, step)))


@lowering(ops.Pad)
def pad(op: ops.Pad, at: Site) -> fx.Node:
    return at.call(F.pad, at.x, border(op.widths(at.types[0])), value=op.value)


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
