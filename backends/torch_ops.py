"""How layers, normalizations and stored tensors become PyTorch: ops with parameters are modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ..ir import ops
from .registry import begins, is_symmetric
from .torch_modules import (
    CroppedConvTranspose1d,
    CroppedConvTranspose2d,
    CroppedConvTranspose3d,
    MaskedConv1d,
    MaskedConv2d,
    MaskedConv3d,
    MaskedConvTranspose1d,
    MaskedConvTranspose2d,
    MaskedConvTranspose3d,
    MaskedLinear,
    MaskedPaddedConv1d,
    MaskedPaddedConv2d,
    MaskedPaddedConv3d,
    PaddedConv1d,
    PaddedConv2d,
    PaddedConv3d,
    ToFloat,
)
from .torch_site import Site, border, lowering

META = torch.device("meta")

CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PADDED_CONV: dict[int, Any] = {1: PaddedConv1d, 2: PaddedConv2d, 3: PaddedConv3d}
MASKED_CONV: dict[int, Any] = {1: MaskedConv1d, 2: MaskedConv2d, 3: MaskedConv3d}
MASKED_PADDED_CONV: dict[int, Any] = {
    1: MaskedPaddedConv1d,
    2: MaskedPaddedConv2d,
    3: MaskedPaddedConv3d,
}
CONV_TRANSPOSE: dict[int, Any] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
CROPPED_CONV_TRANSPOSE: dict[int, Any] = {
    1: CroppedConvTranspose1d,
    2: CroppedConvTranspose2d,
    3: CroppedConvTranspose3d,
}
MASKED_CONV_TRANSPOSE: dict[int, Any] = {
    1: MaskedConvTranspose1d,
    2: MaskedConvTranspose2d,
    3: MaskedConvTranspose3d,
}
# By the number of axes without the batch.
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
INSTANCE_NORM = {2: nn.InstanceNorm1d, 3: nn.InstanceNorm2d, 4: nn.InstanceNorm3d}


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


@lowering(ops.ConvTranspose)
def conv_transpose(op: ops.ConvTranspose, at: Site) -> fx.Node:
    settings: dict[str, Any] = {
        "stride": op.stride,
        "dilation": op.dilation,
        "groups": op.groups,
        "bias": op.bias,
        "device": META,
    }
    channels = at.shape[0], op.channels
    # PyTorch cuts off the same at both ends, and then adds less than a step at the second one.
    extra = [e + begin - end for e, (begin, end) in zip(op.extra, op.pads, strict=True)]
    bounds = [max(s, d) for s, d in zip(op.stride, op.dilation, strict=True)]
    if all(0 <= e < bound for e, bound in zip(extra, bounds, strict=True)):
        padding, cropped = tuple(begins(op.pads)), None
        output_padding = tuple(extra)
    else:
        padding, output_padding = tuple(min(pair) for pair in op.pads), op.extra
        rest = [(b - p, e - p) for (b, e), p in zip(op.pads, padding, strict=True)]
        cropped = border((-b, -e) for b, e in rest)
    settings |= {"padding": padding, "output_padding": output_padding}
    if at.masked or cropped:
        settings["crop"] = cropped
        kinds = MASKED_CONV_TRANSPOSE if at.masked else CROPPED_CONV_TRANSPOSE
    else:
        kinds = CONV_TRANSPOSE
    return at.module(kinds[op.rank](*channels, op.kernel, **settings))


@lowering(ops.Linear)
def linear(op: ops.Linear, at: Site) -> fx.Node:
    kind = MaskedLinear if at.masked else nn.Linear
    return at.module(kind(at.shape[-1], op.features, op.bias, device=META))


# ---- normalizations


@lowering(ops.BatchNorm)
def batch_norm(op: ops.BatchNorm, at: Site) -> fx.Node:
    kind = BATCH_NORM[len(at.shape)]
    norm = kind(at.shape[0], op.eps, op.momentum, op.affine, device=META)
    if at.node.operands[0] in at.draft.free:
        # Its statistics while training are those of the batch.
        return at.module(norm, at.draft.expanded(at.x, at.types[0], at.node.name))
    return at.module(norm)


@lowering(ops.LayerNorm)
def layer_norm(op: ops.LayerNorm, at: Site) -> fx.Node:
    shape = at.shape[-op.dims :]
    return at.module(nn.LayerNorm(shape, op.eps, op.affine, op.bias, device=META))


@lowering(ops.GroupNorm)
def group_norm(op: ops.GroupNorm, at: Site) -> fx.Node:
    return at.module(nn.GroupNorm(op.groups, at.shape[0], op.eps, op.affine, device=META))


@lowering(ops.InstanceNorm)
def instance_norm(op: ops.InstanceNorm, at: Site) -> fx.Node:
    kind = INSTANCE_NORM[len(at.shape)]
    return at.module(kind(at.shape[0], op.eps, affine=op.affine, device=META))


@lowering(ops.RmsNorm)
def rms_norm(op: ops.RmsNorm, at: Site) -> fx.Node:
    return at.module(nn.RMSNorm(at.shape[-op.dims :], op.eps, op.affine, device=META))


@lowering(ops.LocalResponseNorm)
def local_response_norm(op: ops.LocalResponseNorm, at: Site) -> fx.Node:
    # One spatial axis, as PyTorch views others as one, which not every memory format allows.
    x = at.x if len(at.shape) == 2 else at.call(torch.flatten, at.x, 2)
    even = op.size % 2 == 0
    if even:  # PyTorch has the odd neighbour before a channel, ONNX after it
        x = at.call(torch.flip, x, (1,))
    x = at.call(F.local_response_norm, x, op.size, op.alpha, op.beta, op.bias)
    if even:
        x = at.call(torch.flip, x, (1,))
    return x if len(at.shape) == 2 else at.call(torch.unflatten, x, 2, at.shape[1:])


# ---- tensors of the store, and whole numbers


@lowering(ops.Stored)
def stored(op: ops.Stored, at: Site) -> fx.Node:
    return at.stored() if op.batch else at.call(torch.unsqueeze, at.stored(), 0)


@lowering(ops.Embedding)
def embedding(op: ops.Embedding, at: Site) -> fx.Node:
    return at.module(nn.Embedding(op.count, op.features, device=META))


@lowering(ops.ToFloat)
def to_float(op: ops.ToFloat, at: Site) -> fx.Node:
    return at.x if at.types[0].dtype == "f32" else at.module(ToFloat(at.dtype))
