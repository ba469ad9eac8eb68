"""PyTorch's operators on images: borders, patches, resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...ir import ops
from . import layers, moving, products
from .torch_call import Call, handles, ints
from .values import Bound, Const, Unreadable, Value


@handles("aten.unfold")
def unfold(call: Call) -> Value:
    """Windows along an axis; what is in a window becomes the last axis."""
    b, x = call.b, call.bound()
    axis, size, step = call["dimension"] % x.rank, call["size"], call["step"]
    old = x.real(b.batch)
    count = (old[axis] - size) // step + 1
    taken = moving.take(b, x, axis, [i * step + j for i in range(count) for j in range(size)])
    windows = b.reshape(taken, (*old[:axis], count, size, *old[axis + 1 :]))
    order = [i for i in range(windows.rank) if i != axis + 1]
    return b.transpose(windows, [*order, axis + 1])


@handles("aten.im2col")
def im2col(call: Call) -> Value:
    """Windows over two axes: [channels · taps, places]."""
    b, x = call.b, b_plain(call)
    kernel, dilation, padding, stride = (
        ints(call[name], 2) for name in ("kernel_size", "dilation", "padding", "stride")
    )
    x = moving.pad(b, x, [(0, 0), (0, 0), *((p, p) for p in padding)], 0.0, "constant")
    sizes = []
    for i, axis in enumerate((2, 3)):
        span = dilation[i] * (kernel[i] - 1) + 1
        count = (x.real(b.batch)[axis] - span) // stride[i] + 1
        taps = [
            tap * dilation[i] + at * stride[i] for tap in range(kernel[i]) for at in range(count)
        ]
        x = moving.take(b, x, axis, taps)
        sizes += [kernel[i], count]
    first = x.real(b.batch)[:2]
    apart = b.transpose(b.reshape(x, (*first, *sizes)), [0, 1, 2, 4, 3, 5])
    return b.reshape(apart, (first[0], first[1] * math.prod(kernel), sizes[1] * sizes[3]))


def b_plain(call: Call) -> Bound:
    return call.b.plain(call.bound(), "operand")


MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@handles("aten.pad", "aten.constant_pad_nd")
def pad(call: Call) -> Value:
    flat, rank = list(call["pad"]), call.rank()
    widths = [(0, 0)] * rank
    for i in range(len(flat) // 2):
        widths[rank - 1 - i] = (flat[2 * i], flat[2 * i + 1])
    mode = MODES[call.get("mode", "constant")]
    return moving.pad(call.b, call.tensor(), widths, float(call.get("value", 0.0)), mode)


@handles("aten.pixel_shuffle", "aten.pixel_unshuffle")
def pixels(call: Call) -> Value:
    x = call.b.plain(call.bound(), "operand")
    shuffle = call.op == "aten.pixel_shuffle"
    cls = ops.DepthToSpace if shuffle else ops.SpaceToDepth
    block = call["upscale_factor"] if shuffle else call["downscale_factor"]
    return call.b.like(x, call.b.add(call.b.make(cls, block), (x.node,)))


UPSAMPLES = {
    "nearest1d": ("nearest", 1),
    "nearest2d": ("nearest", 2),
    "nearest3d": ("nearest", 3),
    "_nearest_exact1d": ("exact", 1),
    "_nearest_exact2d": ("exact", 2),
    "_nearest_exact3d": ("exact", 3),
    "linear1d": ("linear", 1),
    "bilinear2d": ("linear", 2),
    "trilinear3d": ("linear", 3),
    "bicubic2d": ("cubic", 2),
    "_bilinear2d_aa": ("linear", 2),
    "_bicubic2d_aa": ("cubic", 2),
}


@handles(*(f"aten.{'_' if n.startswith('_') else ''}upsample_{n.lstrip('_')}" for n in UPSAMPLES))
def upsample(call: Call) -> Value:
    under = call.op.startswith("aten._")
    kind = call.op.rpartition("upsample_")[2]
    mode, rank = UPSAMPLES[f"_{kind}" if under else kind]
    old = call.shape()[2:]
    ratios = call.get("scale_factors")
    sizes = call.get("output_size")
    if sizes is None:
        sizes = [math.floor(n * r) for n, r in zip(old, ratios, strict=True)]
    if len(sizes) != rank:
        raise Unreadable("its sizes do not fit its operand")
    if kind.endswith("_aa"):
        return _filtered(call, kind, old, list(sizes), ratios)
    coordinates, rounding = "half_pixel", "floor"
    if mode == "nearest":
        coordinates = "asymmetric"
    elif mode == "exact":
        # floor((i + 0.5)/r): a place exactly between two numbers is the upper one's.
        mode, rounding = "nearest", "round_prefer_ceil"
    elif call.get("align_corners", False):
        coordinates = "align_corners"
    return layers.resize(
        call.b,
        call.tensor(),
        list(sizes),
        mode,
        coordinates,
        rounding,
        list(ratios) if ratios is not None else None,
    )


def _filtered(
    call: Call, kind: str, old: Sequence[int], sizes: Sequence[int], ratios: Any
) -> Value:
    """PyTorch's antialiasing leaves out what is beyond the border, unlike ONNX's: each axis is
    multiplied by the matrix of what PyTorch makes of it."""
    from torch.nn.functional import interpolate

    b, x = call.b, b_plain(call)
    matrices = []
    for axis, (n, m) in enumerate(zip(old, sizes, strict=True)):
        # One row for each example; of channels or of the other axis a single one confuses PyTorch.
        rows = torch.eye(n, dtype=torch.float64)
        rows = rows[:, None, :, None] if axis == 0 else rows[:, None, None]
        lines = rows.expand(n, 2, *((n, 2) if axis == 0 else (2, n))).contiguous()
        size = (m, 2) if axis == 0 else (2, m)
        how: dict[str, Any] = {"size": size}
        if ratios is not None:
            how = {"scale_factor": (ratios[0], 1.0) if axis == 0 else (1.0, ratios[1])}
        corners = bool(call.get("align_corners", False))
        mode = "bicubic" if "cubic" in kind else "bilinear"
        found = interpolate(lines, mode=mode, align_corners=corners, antialias=True, **how)
        single = found[:, 0, :, 0] if axis == 0 else found[:, 0, 0]
        matrices.append(Const(single.numpy().astype(np.float32)))
    down, across = matrices
    wide = products.matmul(b, x, b.free(across))
    return products.matmul(b, b.free(down.with_array(down.array.T)), wide)
