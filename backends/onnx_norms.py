"""How normalizations are written in ONNX, for evaluation."""

from __future__ import annotations

import math

from ..ir import ops
from .onnx_site import Site, lowering


def scale_and_shift(at: Site, shape: tuple[int, ...]) -> tuple[str, str]:
    """The names of weight and bias; ones and zeros where the op has none but ONNX wants them."""
    if "weight" in at.params:
        return at.params["weight"], at.params["bias"]
    return at.constant_of(1.0, shape), at.constant_of(0.0, shape)


@lowering(ops.BatchNorm)
def batch_norm(op: ops.BatchNorm, at: Site) -> str:
    statistics = at.params["running_mean"], at.params["running_var"]
    affine = scale_and_shift(at, at.shape[:1])
    return at.emit("BatchNormalization", at.x, *affine, *statistics, epsilon=op.eps)


@lowering(ops.InstanceNorm)
def instance_norm(op: ops.InstanceNorm, at: Site) -> str:
    affine = scale_and_shift(at, at.shape[:1])
    return at.emit("InstanceNormalization", at.x, *affine, epsilon=op.eps)


@lowering(ops.LayerNorm)
def layer_norm(op: ops.LayerNorm, at: Site) -> str:
    if at.opset >= 17:
        if op.affine and not op.bias:
            affine: tuple[str, ...] = (at.params["weight"],)
        else:
            affine = scale_and_shift(at, at.shape[-op.dims :])
        return at.emit("LayerNormalization", at.x, *affine, axis=-op.dims, epsilon=op.eps)
    # (x - mean) / sqrt(mean((x - mean)²) + eps)
    axes = range(-op.dims, 0)
    centred = at.emit("Sub", at.x, at.reduce("ReduceMean", at.x, axes))
    variance = at.reduce("ReduceMean", at.emit("Mul", centred, centred), axes)
    deviation = at.emit("Sqrt", at.emit("Add", variance, at.number(op.eps)))
    normal = at.emit("Div", centred, deviation)
    if not op.affine:
        return normal
    scaled = at.emit("Mul", normal, at.params["weight"])
    return at.emit("Add", scaled, at.params["bias"]) if op.bias else scaled


@lowering(ops.GroupNorm)
def group_norm(op: ops.GroupNorm, at: Site) -> str:
    if at.opset >= 21:
        affine = scale_and_shift(at, at.shape[:1])
        return at.emit("GroupNormalization", at.x, *affine, num_groups=op.groups, epsilon=op.eps)
    # Until opset 21 GroupNormalization scaled groups, not channels: here an instance is a group.
    ones, zeros = (at.constant_of(value, (op.groups,)) for value in (1.0, 0.0))
    groups = at.reshape(at.x, (op.groups, math.prod(at.shape) // op.groups))
    normal = at.emit("InstanceNormalization", groups, ones, zeros, epsilon=op.eps)
    value = at.reshape(normal, at.shape)
    if not op.affine:
        return value
    weight, bias = (at.per_channel(at.params[role]) for role in ("weight", "bias"))
    return at.emit("Add", at.emit("Mul", value, weight), bias)


@lowering(ops.RmsNorm)
def rms_norm(op: ops.RmsNorm, at: Site) -> str:
    if at.opset >= 23:
        shape = at.shape[-op.dims :]
        weight = at.params["weight"] if op.affine else at.constant_of(1.0, shape)
        return at.emit("RMSNormalization", at.x, weight, axis=-op.dims, epsilon=op.eps)
    square = at.reduce("ReduceMean", at.emit("Mul", at.x, at.x), range(-op.dims, 0))
    root = at.emit("Sqrt", at.emit("Add", square, at.number(op.eps)))
    normal = at.emit("Div", at.x, root)
    return at.emit("Mul", normal, at.params["weight"]) if op.affine else normal


@lowering(ops.LocalResponseNorm)
def local_response_norm(op: ops.LocalResponseNorm, at: Site) -> str:
    settings = {"alpha": op.alpha, "beta": op.beta, "bias": op.bias, "size": op.size}
    channels, *spatial = at.shape
    # onnxruntime has it for images, odd sizes and these numbers alone.
    is_known = op.size % 2 and op.alpha > 0 and op.beta > 0
    if is_known and len(spatial) == 2:
        return at.emit("LRN", at.x, **settings)
    if is_known:
        image = at.reshape(at.x, (channels, 1, math.prod(spatial)))
        return at.reshape(at.emit("LRN", image, **settings), at.shape)
    square = at.reshape(at.emit("Mul", at.x, at.x), (1, channels, math.prod(spatial)))
    before, after = (op.size - 1) // 2, op.size // 2
    mean = at.emit(
        "AveragePool",
        square,
        kernel_shape=[op.size, 1],
        pads=[before, 0, after, 0],
        count_include_pad=1,
    )
    scaled = at.emit("Mul", at.reshape(mean, at.shape), at.number(op.alpha))
    root = at.emit("Pow", at.emit("Add", scaled, at.number(op.bias)), at.number(op.beta))
    return at.emit("Div", at.x, root)
