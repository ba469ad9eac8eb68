"""How poolings are written in ONNX."""

from __future__ import annotations

import math
from typing import Any

from ..ir import ops
from .onnx_site import Site, bordered, cut, flat, lowering


@lowering(ops.MaxPool)
def max_pool(op: ops.MaxPool, at: Site) -> str:
    window: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.step}
    # ONNX counts the border as minus infinity, but onnxruntime wants it below the kernel's size,
    # which a dilated window may exceed.
    if all(max(pair) < k for pair, k in zip(op.pads, op.kernel, strict=True)):
        return at.emit("MaxPool", at.x, pads=flat(op.pads), dilations=op.dilation, **window)
    return at.emit(
        "MaxPool", bordered(at, at.x, op.pads, -math.inf), dilations=op.dilation, **window
    )


@lowering(ops.AvgPool)
def avg_pool(op: ops.AvgPool, at: Site) -> str:
    return at.emit(
        "AveragePool",
        at.x,
        kernel_shape=op.kernel,
        strides=op.step,
        pads=flat(op.pads),
        count_include_pad=int(op.include_pad),
    )


@lowering(ops.LpPool)
def lp_pool(op: ops.LpPool, at: Site) -> str:
    window = {"kernel_shape": op.kernel, "strides": op.step, "pads": flat(op.pads)}
    return at.emit("LpPool", at.x, p=op.p, **window)


@lowering(ops.AdaptiveAvgPool)
def adaptive_avg_pool(op: ops.AdaptiveAvgPool, at: Site) -> str:
    return adaptive_pool(op, at, "AveragePool", "ReduceMean")


@lowering(ops.AdaptiveMaxPool)
def adaptive_max_pool(op: ops.AdaptiveMaxPool, at: Site) -> str:
    return adaptive_pool(op, at, "MaxPool", "ReduceMax")


def adaptive_pool(op: ops.AdaptivePool, at: Site, pool: str, reduce: str) -> str:
    """Axis by axis: a mean (or maximum) over a box is one over an axis after one over another.

    Axes that divide evenly go into one ordinary pooling; each of the others is cut into its
    windows, of different sizes, and put together again.
    """
    value = at.x
    sizes = list(zip(at.shape[1:], op.output, strict=True))
    kernel = [n // m if n % m == 0 else 1 for n, m in sizes]
    if any(k > 1 for k in kernel):
        value = at.emit(pool, value, kernel_shape=kernel, strides=kernel)
    for axis, ((n, m), windows) in enumerate(zip(sizes, op.windows(at.types[0]), strict=True)):
        if n % m:
            dimension = axis + 2
            parts = [
                at.reduce(reduce, cut(at, value, dimension, start, stop), [dimension])
                for start, stop in windows
            ]
            value = at.emit("Concat", *parts, axis=dimension)
    return value


@lowering(ops.GlobalAvgPool)
def global_avg_pool(op: ops.GlobalAvgPool, at: Site) -> str:
    return at.emit("GlobalAveragePool", at.x)


@lowering(ops.GlobalMaxPool)
def global_max_pool(op: ops.GlobalMaxPool, at: Site) -> str:
    return at.emit("GlobalMaxPool", at.x)


@lowering(ops.GlobalLpPool)
def global_lp_pool(op: ops.GlobalLpPool, at: Site) -> str:
    if at.opset < 22:
        return at.emit("GlobalLpPool", at.x, p=op.p)
    # onnxruntime lacks the version of opset 22.
    return at.emit("LpPool", at.x, p=op.p, kernel_shape=at.shape[1:])
