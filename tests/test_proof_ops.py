"""Every op: channels with equal fingerprints hold equal numbers."""

from __future__ import annotations

import pytest

import growc
from growc.ir import OPS, Graph
from growc.testing_networks import fill

from .proof_channels import assert_equal_prints_are_equal

# ---- every op, on channels that are equal, zero, constant or in another order

RICH = """
    input x: f32[2, 4, 4]
    input y: f32[4, 2]
    input ids: i64[4]
    i = concat(x, x * 0, gather(x, [1, 0]), x * 0 + 1, relu(x), x)
    t = concat(y, y * 0, gather(y, [1, 0], axis=1), y * 0 + 1, relu(y), y, axis=1)
    f = gather(t, [0, 4, 8, 10, 1, 5, 9, 11], axis=1)
    c = constant([12, 4, 4])
    r = parameter([12, 1, 1])
    p = parameter([4, 12])
    w = parameter([12])
    one = parameter([1])
"""
ON_CHANNELS = {
    "abs acos acosh asin asinh atan atanh ceil celu cos cosh elu erf exp floor gelu hard_sigmoid "
    "hardswish identity leaky_relu log mish reciprocal relu round selu shrink sigmoid sign silu "
    "sin sinh softplus softsign sqrt tan tanh thresholded_relu prelu": ["{op}(i)", "{op}(t)"],
    "power": ["power(i, 2)", "power(i, 3)", "power(i, 0)", "power(t, 2)"],
    "clip": ["clip(i, 0, 1)", "clip(clip(i, 0, 1), 0, 1)", "clip(i, 0.5, 1)", "clip(t, high=-1)"],
    "scale": ["2 * i + 1", "t - 1"],
    "dropout": ["dropout(i, 0)"],
    "add": ["i + r", "t + w", "t + p", "i + one", "add(t, t, p)"],
    "sub": ["i - r", "t - t", "w - t"],
    "mul": ["i * r", "t * w", "i * c", "w * p", "one * w"],
    "div": ["i / r", "t / w", "t / one", "i / (i + 2)"],
    "pow mod greater greater_equal equal": ["{op}(abs(i) + 1, r)", "{op}(exp(t), w)", "{op}(i, i)"],
    "minimum maximum": ["{op}(i, r)", "{op}(t, w, t)", "{op}(i, i)"],
    "where": ["where(t, w, p)", "where(i, i, i)", "where(one, t, w)"],
    "softmax log_softmax": ["{op}(i, 0)", "{op}(t)", "{op}(i, 1)"],
    "reduce_mean reduce_sum reduce_prod reduce_max reduce_min reduce_l1 reduce_l2 "
    "reduce_log_sum_exp": ["{op}(i, [0])", "{op}(i, [1, 2])", "{op}(i, [0, 2], keep=true)",
                           "{op}(t, [0])", "{op}(t, [1])", "{op}(t, [0, 1])"],
    "conv1d": ["conv1d(t, 3)"],
    "conv2d": ["conv2d(i, 4)", "conv2d(i, 12, groups=12)", "conv2d(i, 4, 1)"],
    "conv3d": ["conv3d(reshape(i, [3, 4, 4, 4]), 2)"],
    "conv_transpose1d": ["conv_transpose1d(t, 3)"],
    "conv_transpose2d": [
        "conv_transpose2d(i, 4)", "conv_transpose2d(i, 12, groups=12)",
        "conv_transpose2d(i, 4, 3, stride=1, padding=\"same\")", "conv_transpose2d(i, 4, groups=2)",
        "conv_transpose2d(i, 2, 2, stride=3, padding=2, extra=1, dilation=2)",
        "conv_transpose2d(i, 3, 1, stride=1)",
    ],
    "conv_transpose3d": ["conv_transpose3d(reshape(i, [3, 4, 4, 4]), 2)"],
    "linear": ["linear(t, 5)", "linear(i, 2)"],
    "embedding": ["embedding(ids, 5, 4)"],
    "to_float": ["to_float(ids)"],
    "parameter constant": ["2 * p", "c * r"],
    "batch_norm": ["batch_norm(i)", "batch_norm(t)"],
    "instance_norm": ["instance_norm(i)", "instance_norm(t)"],
    "group_norm": ["group_norm(i, 3)", "group_norm(t, 2)", "group_norm(i, 1)"],
    "layer_norm rms_norm": ["{op}(t)", "{op}(f)", "{op}(i)", "{op}(i, 3, affine=false)",
                            "{op}(i, 2)", "{op}(t, 2)"],
    "local_response_norm": ["local_response_norm(i, 3)", "local_response_norm(t, 2)",
                            "local_response_norm(i, 40)"],
    "max_pool1d avg_pool1d lp_pool1d": ["{op}(t)"],
    "max_pool2d avg_pool2d lp_pool2d": ["{op}(i)", "{op}(i, 3, stride=1, padding=1)"],
    "max_pool3d avg_pool3d lp_pool3d": ["{op}(reshape(i, [3, 4, 4, 4]))"],
    "adaptive_avg_pool1d adaptive_max_pool1d": ["{op}(t, 2)"],
    "adaptive_avg_pool2d adaptive_max_pool2d": ["{op}(i, 3)"],
    "adaptive_avg_pool3d adaptive_max_pool3d": ["{op}(reshape(i, [3, 4, 4, 4]), 3)"],
    "global_avg_pool global_max_pool global_lp_pool": ["{op}(i)", "{op}(t)"],
    "resize": ["resize(i, [3, 7])",
               "resize(i, [8, 8], mode=\"linear\", coordinates=\"half_pixel\")",
               "resize(t, [6], mode=\"cubic\")"],
    "depth_to_space space_to_depth": ["{op}(i, 2)", "{op}(i, 2, order=\"dcr\")", "{op}(i, 1)"],
    "concat": ["concat(i, c)", "concat(t, p, axis=0)"],
    "slice": ["slice(t, 1, 3)", "slice(i, 1, 9, step=2)"],
    "gather": ["gather(t, [0, 0, 2])", "gather(i, [11, 0, 0])"],
    "pad": ["pad(i, [1, 1, 1], [1, 0, 0], mode=\"{mode}\")".replace("{mode}", mode)
            for mode in ("constant", "reflect", "edge", "wrap")],
    "expand": ["expand(r, [12, 2, 2])", "expand(w, [3, 12])", "expand(one, [2, 12])"],
    "tile": ["tile(i, [2, 1, 1])", "tile(t, [2, 2])"],
    "flatten": ["flatten(i)", "flatten(i, 1)", "flatten(t)"],
    "reshape": ["reshape(i, [12, 16])", "reshape(t, [4, 3, 4])", "reshape(i, [3, 4, 16])"],
    "transpose": ["transpose(i, [1, 0, 2])", "transpose(i, [2, 1, 0])", "transpose(t, [1, 0])"],
    "matmul": ["matmul(t, transpose(t, [1, 0]))", "matmul(i, i)", "matmul(c, i)",
               "matmul(p, linear(transpose(t, [1, 0]), 3))"],
    "attention": [
        "attention(f, f, f)", "attention(f, f, t, heads=4)", "attention(f, f, f, heads=2)",
        "attention(f, f, t, heads=4, causal=true)", "attention(f, f, f, heads=2, scale=0.5)",
        "attention(t, t, t, i, heads=12)",
        "attention(f, f, f, p * 0 -> slice(0, 4, axis=1), heads=2)",
        "attention(f, f, f, p -> slice(0, 4, axis=1), heads=2)",
    ],
}  # fmt: skip


def rich() -> tuple[Graph, dict[str, list[str]]]:
    """A network with every op, some in many ways; and the ops' expressions."""
    written = {
        op: [e.replace("{op}", op) for e in expressions]
        for names, expressions in ON_CHANNELS.items()
        for op in names.split()
    }
    lines = [f"z{i} = {e}" for i, e in enumerate(e for es in written.values() for e in es)]
    net = growc.loads("net n {" + RICH + "\n".join(lines) + "\noutput o = i\n}")
    fill(net, 1)
    # Equal channels of parameters, of layers' inputs and of tables, and constant ones.
    weights = net.weights
    for name in ("c", "r", "w"):
        value = weights[name].copy()
        value[6:] = value[:6]
        value[2] = 0.5
        weights[name] = value
    for name, spec in net.parameters().items():
        if name.endswith(".weight") and len(spec.shape) > 1:
            value = weights[name].copy()
            value[:, -1] = value[:, 0]
            value[-1] = value[0]
            weights[name] = value
    return net, written


def test_all_ops_are_looked_at() -> None:
    _, written = rich()
    assert set(written) == set(OPS)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_channels_of_every_op(mode: str) -> None:
    net, _ = rich()
    assert assert_equal_prints_are_equal(net, mode) > 300
