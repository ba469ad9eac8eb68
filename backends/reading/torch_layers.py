"""PyTorch's layers: convolutions, products, normalizations, poolings, attention."""

from __future__ import annotations

import math

from ...ir.attributes import Pads
from . import layers, moving, products
from . import operations as o
from .torch_call import Call, handles, ints
from .values import Bound, Const, Unreadable, Value

# ---- convolutions and products


@handles("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution")
def conv(call: Call) -> Value:
    weight = call.const("weight")
    rank = weight.array.ndim - 2
    kernel = weight.shape[2:]
    stride, dilation = ints(call["stride"], rank), ints(call["dilation"], rank)
    padding = call["padding"]
    pads: Pads
    if isinstance(padding, str):
        totals = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation)]  # noqa: B905
        pads = tuple((t // 2, t - t // 2) for t in totals)
    else:
        pads = tuple((n, n) for n in ints(padding, rank))
    if call.get("transposed", False):
        return _transposed(call, weight, stride, pads, dilation, ints(call["output_padding"], rank))
    return layers.conv(
        call.b,
        call.tensor("input"),
        weight,
        call.optional("bias"),
        stride=stride,
        pads=pads,
        dilation=dilation,
        groups=call["groups"],
    )


@handles("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def conv_transpose(call: Call) -> Value:
    weight = call.const("weight")
    rank = weight.array.ndim - 2
    return _transposed(
        call,
        weight,
        ints(call["stride"], rank),
        tuple((n, n) for n in ints(call["padding"], rank)),
        ints(call["dilation"], rank),
        ints(call["output_padding"], rank),
    )


def _transposed(
    call: Call, weight: Const, stride: list[int], pads: Pads, dilation: list[int], extra: list[int]
) -> Value:
    return layers.conv_transpose(
        call.b,
        call.tensor("input"),
        weight,
        call.optional("bias"),
        stride=stride,
        pads=pads,
        dilation=dilation,
        groups=call["groups"],
        extra=extra,
    )


@handles("aten.linear")
def linear(call: Call) -> Value:
    b, x, weight = call.b, call.tensor("input"), call.tensor("weight")
    if isinstance(weight, Const):
        return products.linear(b, x, weight, call.optional("bias"))
    # A matrix that is computed from stored tensors, or from the input.
    product = products.matmul(b, x, products.turned(b, weight))
    return product if call["bias"] is None else o.add(b, product, call.tensor("bias"))


@handles("aten.mm", "aten.bmm", "aten.matmul")
def matmul(call: Call) -> Value:
    other = call.get("mat2", call.get("other"))
    return products.matmul(call.b, call.tensor(), other)


@handles("aten.addmm", "aten.baddbmm")
def addmm(call: Call) -> Value:
    x = call.get("mat1", call.get("batch1"))
    y = call.get("mat2", call.get("batch2"))
    if call.get("alpha", 1) != 1 or call.get("beta", 1) != 1:
        product = o.scale(call.b, products.matmul(call.b, x, y), float(call.get("alpha", 1)))
        return o.add(call.b, product, o.scale(call.b, call.tensor(), float(call.get("beta", 1))))
    bias = call.tensor()
    if isinstance(y, Const) and isinstance(bias, Const) and bias.array.ndim == 1:
        return products.linear(call.b, x, y.with_array(y.array.T, transposed=True), bias)
    return o.add(call.b, products.matmul(call.b, x, y), bias)


@handles("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu", "aten.lstm_cell")
@handles("aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell")
def recurrent(call: Call) -> Value:
    raise Unreadable("growc has no recurrent layers")


@handles("aten.embedding")
def embedding(call: Call) -> Value:
    return products.embedding(call.b, call.tensor("indices"), call.const("weight"))


@handles("aten.scaled_dot_product_attention")
def attention(call: Call) -> Value:
    b = call.b
    q, k, v = (o.bound(b, call[name]) for name in ("query", "key", "value"))
    if call.get("enable_gqa", False) and q.rank == k.rank:
        axis = -3
        times = q.real(b.batch)[axis] // k.real(b.batch)[axis]
        k, v = (_repeated(call, x, times) for x in (k, v))
    return products.attention(
        b,
        q,
        k,
        v,
        call.get("attn_mask"),
        causal=call.get("is_causal", False),
        factor=call.get("scale"),
        dropout=float(call.get("dropout_p", 0.0)),
    )


def _repeated(call: Call, x: Bound, times: int) -> Bound:
    """Every head several times, one after the other."""
    axis = x.rank - 3
    count = x.real(call.b.batch)[axis]
    return moving.take(call.b, x, axis, [i // times for i in range(count * times)])


# ---- normalizations


@handles("aten.batch_norm", "aten._native_batch_norm_legit_functional", "aten.native_batch_norm")
def batch_norm(call: Call) -> Value:
    mean, variance = call.optional("running_mean"), call.optional("running_var")
    if mean is None or variance is None:
        raise Unreadable("it keeps no running statistics, which growc's batch norm needs")
    momentum = call.get("momentum", 0.1)
    where = call.b.here.scope or "forward"
    if not call.get("training", call.get("train", True)) and call.mode != "evaluation":
        call.b.notes.add(f"the batch norm `{where}` does not train in the module; here it does")
    elif call.mode == "evaluation" and momentum == 0.0:
        call.b.notes.add(
            f"the batch norm `{where}` averages over all batches; here it stands still"
        )
    found = layers.batch_norm(
        call.b,
        call.tensor("input"),
        call.optional("weight"),
        call.optional("bias"),
        mean,
        variance,
        float(call["eps"]),
        float(momentum),
    )
    return found if call.op == "aten.batch_norm" else (found, None, None, None, None)


@handles("aten.instance_norm")
def instance_norm(call: Call) -> Value:
    if not call.get("use_input_stats", True):
        raise Unreadable("it uses running statistics")
    return layers.instance_norm(
        call.b,
        call.tensor("input"),
        call.optional("weight"),
        call.optional("bias"),
        float(call["eps"]),
    )


@handles("aten.layer_norm", "aten.native_layer_norm")
def layer_norm(call: Call) -> Value:
    dims = len(call["normalized_shape"])
    found = layers.layer_norm(
        call.b,
        call.tensor("input"),
        dims,
        call.optional("weight"),
        call.optional("bias"),
        float(call["eps"]),
    )
    return found if call.op == "aten.layer_norm" else (found, None, None)


@handles("aten.rms_norm")
def rms_norm(call: Call) -> Value:
    # Without an eps PyTorch takes float32's.
    eps = call.get("eps", 1.1920928955078125e-07)
    dims = len(call["normalized_shape"])
    return layers.rms_norm(call.b, call.tensor("input"), dims, call.optional("weight"), float(eps))


@handles("aten.group_norm")
def group_norm(call: Call) -> Value:
    return layers.group_norm(
        call.b,
        call.tensor("input"),
        call["num_groups"],
        call.optional("weight"),
        call.optional("bias"),
        float(call["eps"]),
    )


# ---- poolings

POOLS = {
    f"aten.{kind}_pool{rank}d": (f"{kind}_pool", rank)
    for kind in ("max", "avg")
    for rank in (1, 2, 3)
}


@handles(*POOLS, *(f"aten.max_pool{rank}d_with_indices" for rank in (1, 2, 3)))
def pool(call: Call) -> Value:
    kind, rank = POOLS[call.op.removesuffix("_with_indices")]
    kernel = ints(call["kernel_size"], rank)
    divisor = call.get("divisor_override")
    if divisor is not None and call["ceil_mode"]:
        raise Unreadable("it divides by a number of its own, also windows beyond the border")
    given = call.get("stride")
    found = layers.pool(
        call.b,
        call.tensor(),
        kind,
        kernel=kernel,
        stride=ints(given, rank) if given else kernel,
        pads=tuple((n, n) for n in ints(call["padding"], rank)),
        dilation=ints(call.get("dilation", 1), rank),
        ceil=bool(call.get("ceil_mode", False)),
        include_pad=divisor is not None or bool(call.get("count_include_pad", True)),
    )
    if divisor is not None:
        found = o.scale(call.b, found, math.prod(kernel) / divisor)
    return (found, None) if call.op.endswith("_with_indices") else found


ADAPTIVE = {
    f"aten.adaptive_{kind}_pool{rank}d": (f"adaptive_{kind}_pool", rank)
    for kind in ("avg", "max")
    for rank in (1, 2, 3)
}


@handles(*ADAPTIVE)
def adaptive_pool(call: Call) -> Value:
    kind, rank = ADAPTIVE[call.op]
    old = call.shape()[2:]
    given = ints(call["output_size"], rank)
    output = [n if n is not None else m for n, m in zip(given, old, strict=True)]
    found = layers.adaptive_pool(call.b, call.tensor(), kind, output)
    return (found, None) if "max" in kind else found
