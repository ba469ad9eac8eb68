"""ONNX's layers: convolutions, products, normalizations, poolings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import ops
from ...ir.attributes import Pads
from . import layers, products
from . import operations as o
from .onnx_call import Call, handles
from .onnx_functions import exact
from .values import Bound, Const, Unreadable, Value


def window(call: Call, kernel: Sequence[int]) -> tuple[list[int], list[int], Pads]:
    """Strides, dilations and paddings of a window, with ONNX's defaults."""
    rank = len(kernel)
    stride, dilation = per_axis(call, "strides", rank), per_axis(call, "dilations", rank)
    if len(call.shape) != rank + 2:
        raise Unreadable(f"its kernel of {rank} axes does not fit {call.shown}")
    how = call.attr("auto_pad", "NOTSET")
    if how != "NOTSET":
        return stride, dilation, layers.auto_pads(how, call.shape[2:], kernel, stride, dilation)
    return stride, dilation, paddings(call, rank)


def per_axis(call: Call, name: str, rank: int, default: int = 1) -> list[int]:
    """One number for each axis of a window."""
    found = list(call.attr(name) or [default] * rank)
    if len(found) != rank:
        raise Unreadable(f"its {name} {found} are not one number for each of {rank} axes")
    if min(found) < default:
        raise Unreadable(f"its {name} {found} are too small")
    return found


def paddings(call: Call, rank: int) -> Pads:
    flat = list(call.attr("pads") or [0] * 2 * rank)
    if len(flat) != 2 * rank:
        raise Unreadable(f"it has {len(flat)} paddings for {rank} axes")
    return tuple(zip(flat[:rank], flat[rank:], strict=True))


@handles("Conv")
def conv(call: Call) -> Value:
    weight = call.const(1, "weight")
    stride, dilation, pads = window(call, weight.shape[2:])
    return layers.conv(
        call.b,
        call.tensor(),
        weight,
        call.optional(2, "bias"),
        stride=stride,
        pads=pads,
        dilation=dilation,
        groups=call.attr("group", 1),
    )


@handles("ConvTranspose")
def conv_transpose(call: Call) -> Value:
    weight = call.const(1, "weight")
    kernel = weight.shape[2:]
    rank = len(kernel)
    stride, dilation = per_axis(call, "strides", rank), per_axis(call, "dilations", rank)
    extra = per_axis(call, "output_padding", rank, 0)
    pads = list(paddings(call, rank))
    sizes = call.attr("output_shape")
    how = call.attr("auto_pad", "NOTSET")
    if sizes or how in ("SAME_UPPER", "SAME_LOWER"):
        old = call.shape[2:]
        wanted = list(sizes[-rank:]) if sizes else [n * s for n, s in zip(old, stride, strict=True)]
        for i in range(rank):
            full = (old[i] - 1) * stride[i] + extra[i] + dilation[i] * (kernel[i] - 1) + 1
            total = full - wanted[i]
            if total < 0:
                extra[i] -= total
                total = 0
            less, more = total // 2, total - total // 2
            pads[i] = (less, more) if how == "SAME_UPPER" else (more, less)
    return layers.conv_transpose(
        call.b,
        call.tensor(),
        weight,
        call.optional(2, "bias"),
        stride=stride,
        pads=tuple(pads),
        dilation=dilation,
        groups=call.attr("group", 1),
        extra=extra,
    )


@handles("MatMul")
def matmul(call: Call) -> Value:
    return products.matmul(call.b, call.tensor(0), call.tensor(1))


@handles("Gemm")
def gemm(call: Call) -> Value:
    b = call.b
    x, y, bias = call.tensor(0), call.tensor(1), call.get(2)
    alpha, beta = float(call.attr("alpha", 1.0)), float(call.attr("beta", 1.0))
    if call.attr("transA", 0):
        x = b.transpose(o.bound(b, x), [1, 0])
    if isinstance(y, Const):
        weight = y if call.attr("transB", 0) else y.with_array(y.array.T, transposed=True)
        if alpha != 1.0:
            weight = times(alpha, weight)
        if bias is None:
            return products.linear(b, x, weight)
        if isinstance(bias, Const):
            try:
                full = np.broadcast_to(
                    bias.array.reshape(bias.shape or (1,)), (1, len(weight.array))
                )
            except ValueError:
                full = None
            if full is not None:
                flat = bias if bias.shape == full.shape[1:] else bias.with_array(full[0])
                if beta != 1.0:
                    flat = times(beta, flat)
                return products.linear(b, x, weight, flat)
        product: Bound = products.linear(b, x, weight)
    else:
        y = b.transpose(o.bound(b, y), [1, 0]) if call.attr("transB", 0) else y
        product = o.scale(b, products.matmul(b, x, y), alpha)
    if bias is None or beta == 0.0:
        return product
    return o.add(b, product, o.scale(b, bias, beta) if beta != 1.0 else bias)


def times(factor: float, value: Const) -> Const:
    """A multiple of a stored tensor, which is not that tensor any more."""
    return value.with_array((np.float64(factor) * value.array).astype(np.float32))


# ---- normalizations


@handles("BatchNormalization")
def batch_norm(call: Call) -> Value:
    if call.attr("spatial", 1) != 1:
        raise Unreadable("it has statistics for each place (spatial=0)")
    if call.attr("training_mode", 0):
        raise Unreadable(
            "it normalizes by the statistics of each batch (training_mode=1): was the model "
            "exported in training mode?"
        )
    weight, bias, mean, variance = (
        call.const(i, what) for i, what in enumerate(("scale", "bias", "mean", "variance"), 1)
    )
    return layers.batch_norm(
        call.b,
        call.tensor(),
        weight,
        bias,
        mean,
        variance,
        exact(call.attr("epsilon", 1e-5), 1e-5),
        # ONNX's momentum is the share of the old statistics.
        round(1 - exact(call.attr("momentum", 0.9), 0.9), 7),
    )


@handles("InstanceNormalization")
def instance_norm(call: Call) -> Value:
    eps = exact(call.attr("epsilon", 1e-5), 1e-5)
    weight, bias = call.const(1, "scale"), call.const(2, "bias")
    return layers.instance_norm(call.b, call.tensor(), weight, bias, eps)


@handles("LayerNormalization")
def layer_norm(call: Call) -> Value:
    x = call.x
    axis = call.attr("axis", -1)
    dims = x.rank - o.in_range(axis, x.rank)
    eps = exact(call.attr("epsilon", 1e-5), 1e-5)
    weight, bias = call.optional(1, "scale"), call.optional(2, "bias")
    return layers.layer_norm(call.b, x, dims, weight, bias, eps)


@handles("RMSNormalization")
def rms_norm(call: Call) -> Value:
    x = call.x
    dims = x.rank - o.in_range(call.attr("axis", -1), x.rank)
    eps = exact(call.attr("epsilon", 1e-5), 1e-5)
    return layers.rms_norm(call.b, x, dims, call.optional(1, "scale"), eps)


@handles("GroupNormalization")
def group_norm(call: Call) -> Value:
    groups = call.attr("num_groups")
    eps = exact(call.attr("epsilon", 1e-5), 1e-5)
    weight, bias = call.const(1, "scale"), call.const(2, "bias")
    channels = call.shape[1]
    if weight.shape != (channels,):  # until opset 21, one number for each group
        weight, bias = (
            v.with_array(np.repeat(v.array, channels // groups)) for v in (weight, bias)
        )
    return layers.group_norm(call.b, call.tensor(), groups, weight, bias, eps)


@handles("LRN")
def local_response_norm(call: Call) -> Value:
    x = call.b.plain(call.x, "operand")
    op = call.b.make(
        ops.LocalResponseNorm,
        call.attr("size"),
        exact(call.attr("alpha", 1e-4), 1e-4),
        exact(call.attr("beta", 0.75), 0.75),
        exact(call.attr("bias", 1.0), 1.0),
    )
    return call.b.like(x, call.b.add(op, (x.node,)))


# ---- poolings

POOLS = {"MaxPool": "max_pool", "AveragePool": "avg_pool", "LpPool": "lp_pool"}


@handles(*POOLS)
def pool(call: Call) -> Value:
    kernel = list(call.attr("kernel_shape"))
    stride, dilation, pads = window(call, kernel)
    return layers.pool(
        call.b,
        call.tensor(),
        POOLS[call.op],
        kernel=kernel,
        stride=stride,
        pads=pads,
        dilation=dilation,
        ceil=bool(call.attr("ceil_mode", 0)),
        include_pad=bool(call.attr("count_include_pad", 0)),
        p=call.attr("p", 2),
    )


@handles("GlobalAveragePool")
def global_average(call: Call) -> Value:
    return layers.global_pool(call.b, call.tensor(), ops.GlobalAvgPool, ops.ReduceMean)


@handles("GlobalMaxPool")
def global_max(call: Call) -> Value:
    return layers.global_pool(call.b, call.tensor(), ops.GlobalMaxPool, ops.ReduceMax)


@handles("GlobalLpPool")
def global_lp(call: Call) -> Value:
    p = call.attr("p", 2)
    x = call.b.plain(call.x, "operand")
    return call.b.like(x, call.b.add(call.b.make(ops.GlobalLpPool, p), (x.node,)))
