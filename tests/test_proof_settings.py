"""Other settings of an op, and other numbers of its parameters, are never called the same."""

from __future__ import annotations

import numpy as np
import pytest

import growc
from growc.ir import OPS, Graph
from growc.proof import Prover, compare
from growc.testing_networks import fill

INPUTS = """
    input x: f32[4, 4, 4]
    input y: f32[4, 8]
    input s: f32[4, 4]
    input v: f32[4]
    input ids: i64[4]
"""
QKV = "q = linear(y, 8) as q\nk = linear(y, 8) as k\nw = linear(y, 8) as w\n"
MASKED = QKV + "m = constant([4, 4]) as m\n"
PAIRS = {
    "exponent": ("power(x, 2)", "power(x, 3)"),
    "power": ("power(x, 2)", "power(x, 2.0001)"),
    "clip low": ("clip(x, -1, 1)", "clip(x, -0.5, 1)"),
    "clip high": ("clip(x, 0, 6)", "clip(x, 0, 0.5)"),
    "clip open": ("clip(x, -1, 1)", "clip(x, -1)"),
    "clip twice": ("clip(x, 0, 1)", "clip(clip(x, -1, 1), 0.1, 1)"),
    "clip of zero": ("clip(x * 0, 1, 2)", "x * 0"),
    "softplus": ("softplus(x)", "softplus(x, 1.01)"),
    "selu alpha": ("selu(x)", "selu(x, 1.7)"),
    "selu scale": ("selu(x)", "selu(x, scale=1.05)"),
    "celu": ("celu(x)", "celu(x, 1.1)"),
    "hard sigmoid": ("hard_sigmoid(x)", "hard_sigmoid(x, 0.2)"),
    "hard sigmoid offset": ("hard_sigmoid(x)", "hard_sigmoid(x, offset=0.4)"),
    "threshold": ("thresholded_relu(x)", "thresholded_relu(x, 0.9)"),
    "shrink limit": ("shrink(x)", "shrink(x, 0.6)"),
    "shrink bias": ("shrink(x)", "shrink(x, bias=0.5)"),
    "round": ("round(x)", "floor(x)"),
    "ceil": ("ceil(x)", "floor(x) + 1.0001"),
    "sine": ("sin(x)", "tanh(x)"),
    "exp of zero": ("exp(x * 0)", "x * 0"),
    "cosine of zero": ("cos(x * 0)", "x * 0"),
    "power of zero": ("power(x * 0, 0)", "x * 0"),
    "hard sigmoid of zero": ("hard_sigmoid(x * 0)", "x * 0"),
    "log sum of zero": ("reduce_log_sum_exp(x * 0, [1])", "reduce_sum(x * 0, [1])"),
    "quotient": ("x / (x * x + 3)", "(x * x + 3) / (x * x + 4)"),
    "quotient order": ("s / (v * v + 1)", "(v * v + 1) / (s * s + 1)"),
    "divisor": ("s / (v * v + 1)", "s / (v * v + 1.5)"),
    "pow order": ("pow(abs(s) + 1, v)", "pow(abs(v) + 1, s)"),
    "mod order": ("mod(s, abs(v) + 1)", "mod(v, abs(s) + 1)"),
    "greater order": ("greater(s, v)", "greater(v, s)"),
    "greater or equal": ("greater(s, s)", "greater_equal(s, s)"),
    "equal": ("equal(s, s)", "greater(s, s)"),
    "where order": ("where(relu(s), v, 2 * s)", "where(relu(s), 2 * s, v)"),
    "where condition": ("where(relu(s), v, s)", "where(relu(-s), v, s)"),
    "minimum": ("minimum(s, v)", "maximum(s, v)"),
    "three": ("maximum(s, v, 1 - s)", "maximum(s, v)"),
    "broadcast": ("x * reshape(v, [4, 1, 1])", "x * reshape(v, [1, 4, 1])"),
    "broadcast last": ("x + v", "x + reshape(v, [4, 1])"),
    "mean": ("reduce_mean(s, [0])", "reduce_mean(s, [1])"),
    "mean or sum": ("reduce_mean(x, [1, 2])", "reduce_sum(x, [1, 2])"),
    "mean of channels": ("reduce_mean(x, [0])", "reduce_sum(x, [0])"),
    "inner axes": ("reduce_sum(x, [1])", "reduce_sum(x, [2])"),
    "largest": ("reduce_max(x, [0, 1])", "reduce_min(x, [0, 1])"),
    "norms": ("reduce_l1(x, [0])", "reduce_l2(x, [0])"),
    "product": ("reduce_prod(s, [0])", "reduce_log_sum_exp(s, [0])"),
    "transposed": (
        "conv_transpose2d(x, 3, 3, stride=1, padding=1) as c",
        "conv2d(x, 3, 3, padding=1) as d",
    ),
    "transposed padding": (
        "conv_transpose2d(x, 3, 3, stride=1, padding=[1, 1, 1, 1]) as c",
        "conv_transpose2d(x, 3, 3, stride=1, padding=[2, 1, 0, 1]) as c",
    ),
    "transposed stride": (
        "conv_transpose2d(x, 3, 3, stride=2, padding=[1, 0], extra=0) as c -> slice(0, 6, axis=1)",
        "conv_transpose2d(x, 3, 3, stride=3, padding=[1, 0], extra=0) as c -> slice(0, 6, axis=1)"
        " -> pad(after=[0, 0, 1]) -> slice(0, 9, axis=2)",
    ),
    "transposed dilation": (
        "conv_transpose2d(x, 3, 2, stride=1, padding=[0, 0, 1, 1], dilation=2) as c",
        "conv_transpose2d(x, 3, 2, stride=1, padding=[1, 1, 0, 0], dilation=2) as c",
    ),
    "transposed groups": (
        "conv_transpose2d(x, 4, 2, groups=2) as c",
        "conv_transpose2d(gather(x, [2, 3, 0, 1]), 4, 2, groups=2) as c",
    ),
    "transposed bias": (
        "conv_transpose2d(x, 4, 2) as c",
        "conv_transpose2d(x, 4, 2, bias=false) as c",
    ),
    "rms eps": ("rms_norm(y) as n", "rms_norm(y, eps=0.001) as n"),
    "rms dims": ("rms_norm(x, 2, affine=false)", "rms_norm(x, 1, affine=false)"),
    "rms or layer norm": ("rms_norm(y, affine=false)", "layer_norm(y, affine=false)"),
    "rms of some": ("rms_norm(y, affine=false)", "concat(rms_norm(y -> slice(0, 4, axis=1), "
                    "affine=false), rms_norm(y -> slice(4, 8, axis=1), affine=false), axis=1)"),
    "neighbours": ("local_response_norm(x, 3, alpha=1)", "local_response_norm(x, 2, alpha=1)"),
    "neighbours' alpha": ("local_response_norm(x, 3)", "local_response_norm(x, 3, alpha=0.001)"),
    "neighbours' beta": ("local_response_norm(x, 3)", "local_response_norm(x, 3, beta=0.5)"),
    "neighbours' bias": ("local_response_norm(x, 3)", "local_response_norm(x, 3, bias=2)"),
    "neighbours' order": (
        "local_response_norm(x, 2, alpha=1)",
        "local_response_norm(x -> gather([3, 2, 1, 0]), 2, alpha=1) -> gather([3, 2, 1, 0])",
    ),
    "resize": ("resize(x, [8, 8])", 'resize(x, [8, 8], mode="linear")'),
    "resize rounding": ("resize(x, [7, 7])", 'resize(x, [7, 7], rounding="ceil")'),
    "resize places": (
        'resize(x, [8, 8], mode="linear", coordinates="half_pixel")',
        'resize(x, [8, 8], mode="linear", coordinates="align_corners")',
    ),
    "resize cubic": (
        'resize(x, [8, 8], mode="cubic")',
        'resize(x, [8, 8], mode="cubic", cubic=-0.5)',
    ),
    "resize size": (
        "resize(x, [8, 4]) -> reshape([4, 4, 8])",
        "resize(x, [4, 8])",
    ),
    "p": ("lp_pool2d(x, 2)", "lp_pool2d(x, 2, p=3)"),
    "p of all": ("global_lp_pool(x)", "global_lp_pool(x, p=1)"),
    "lp kernel": ("lp_pool2d(x, [1, 2], 2)", "lp_pool2d(x, [2, 1], 2)"),
    "depth order": ("depth_to_space(x, 2)", 'depth_to_space(x, 2, order="dcr") -> scale(1.5)'),
    "depth": (
        "depth_to_space(concat(x, 2 * x), 2)",
        'depth_to_space(concat(x, 2 * x), 2, order="dcr")',
    ),
    "space": ("space_to_depth(x, 2)", 'space_to_depth(x, 2, order="dcr")'),
    "gather order": ("gather(x, [0, 1, 2])", "gather(x, [0, 2, 1])"),
    "gather axis": ("gather(s, [1, 0, 2, 3])", "gather(s, [1, 0, 2, 3], axis=1)"),
    "tile": ("reshape(tile(s, [2, 1]), [4, 8])", "tile(s, [1, 2])"),
    "expand": ("expand(reshape(v, [4, 1]), [4, 4])", "expand(v, [4, 4])"),
    "pad mode": ('pad(x, [1, 1, 1], mode="edge")', 'pad(x, [1, 1, 1], mode="reflect")'),
    "pad wrap": ('pad(x, [0, 1, 1], mode="wrap")', 'pad(x, [0, 1, 1], mode="edge")'),
    "pad constant": ("pad(x, [0, 1, 1])", 'pad(x, [0, 1, 1], mode="edge")'),
    "product order": ("matmul(s, relu(s))", "matmul(relu(s), s)"),
    "product of transposed": ("matmul(s, relu(s))", "matmul(s, transpose(relu(s), [1, 0]))"),
    "product of matrices": ("matmul(x, relu(x))", "matmul(x, relu(x -> gather([1, 0, 2, 3])))"),
    "softmax": ("softmax(s)", "log_softmax(s)"),
    "log softmax axis": ("log_softmax(s, 0)", "log_softmax(s, 1)"),
    "log softmax inside": ("log_softmax(x, 1)", "log_softmax(x, 2)"),
    "tokens": ("to_float(ids)", "to_float(gather(ids, [1, 0, 2, 3]))"),
    "tokens embedded": (
        "embedding(ids, 5, 4) as e",
        "embedding(gather(ids, [1, 0, 2, 3]), 5, 4) as e",
    ),
    "joined": ("reshape(y, [4, 2, 4])", "transpose(reshape(y, [4, 4, 2]), [0, 2, 1])"),
    "cut": ("reshape(x, [4, 16])", "reshape(transpose(x, [0, 2, 1]), [4, 16])"),
    "cut first": ("reshape(x, [16, 4])", "reshape(transpose(x, [1, 0, 2]), [16, 4])"),
    "flat": ("flatten(s)", "flatten(transpose(s, [1, 0]))"),
    "heads": (QKV, "attention(q, k, w, heads=2)", "attention(q, k, w, heads=4)"),
    "causal": (QKV, "attention(q, k, w)", "attention(q, k, w, causal=true)"),
    "scale": (QKV, "attention(q, k, w)", "attention(q, k, w, scale=0.35)"),
    "scale by an ulp": (
        QKV, "attention(q, k, w, scale=0.5)", "attention(q, k, w, scale=0.5000000000000001)"),
    "q and k": (QKV, "attention(q, k, w)", "attention(k, q, w)"),
    "k and v": (QKV, "attention(q, k, w)", "attention(q, w, k)"),
    "mask": (MASKED, "attention(q, k, w, m)", "attention(q, k, w)"),
    "mask of zeros": (MASKED, "attention(q, k, w, m)", "attention(q, k, w, 0 * m)"),
    "mask transposed": (
        MASKED, "attention(q, k, w, m)", "attention(q, k, w, transpose(m, [1, 0]))"),
    "mask moved": (
        QKV + "m = constant([2, 4, 4]) as m\n",
        "attention(q, k, w, m, heads=2)",
        "attention(q, k, w, gather(m, [1, 0]), heads=2)"),
    "heads swapped": (
        QKV,
        "attention(q, k, w, heads=2)",
        "attention(q, k, gather(w, [4, 5, 6, 7, 0, 1, 2, 3], axis=1), heads=2)"),
    "a pair swapped": (
        QKV,
        "attention(q, k, w)",
        "attention(gather(q, [1, 0, 2, 3, 4, 5, 6, 7], axis=1), k, w)"),
    "keys left out": (
        QKV, "attention(q, k, w)", "attention(q, slice(k, 0, 3), slice(w, 0, 3))"),
}  # fmt: skip


def pair(name: str, reader: str = "") -> list[Graph]:
    """Two networks with the same parameters, wherever they have the same ones."""
    given, *expressions = PAIRS[name] if len(PAIRS[name]) == 3 else ("", *PAIRS[name])
    nets = [
        growc.loads(f"net n {{{INPUTS}{given}r = ({e}){reader}\noutput r\n}}") for e in expressions
    ]
    for net in nets:
        fill(net, 2)
    specs = nets[1].parameters()
    for key, value in nets[0].weights.items():
        if key in specs and specs[key].shape == value.shape:
            nets[1].weights[key] = value
    return nets


@pytest.mark.parametrize("reader", ["", " -> linear(3) as reader"])
@pytest.mark.parametrize("name", PAIRS)
def test_other_settings_are_not_proved(name: str, reader: str) -> None:
    """Also where a layer reads the last axis, along which the fingerprints then lie."""
    before, after = pair(name, reader)
    proof = Prover()(before, after, search=False)
    assert proof.proved_modes == ()
    assert compare(before, after).worst.max_abs > 0
    # What is proved is the same function: read anew, with copies of its weights.
    again = growc.loads(growc.dumps(before))
    again.weights.update({key: value.copy() for key, value in before.weights.items()})
    assert Prover()(before, again, search=False).verdict == "proved"


PARAMETERS = {
    "prelu": "prelu(x, 4) as o",
    "one slope": "prelu(x) as o",
    "parameter": "y + parameter([4, 8]) as o",
    "broadcast parameter": "x * parameter([4, 1, 1]) as o",
    "constant": "y + constant([8]) as o",
    "embedding": "embedding(ids, 2, 6) as o",
    "tied": "linear(embedding(ids, 2, 6) as o, 2, bias=false) with (weight = o.weight)",
    "conv_transpose": "conv_transpose2d(x, 3, 3, padding=1) as o",
    "groups": "conv_transpose2d(x, 4, 2, groups=2) as o",
    "rms_norm": "rms_norm(y) as o",
    "rms_norm of two axes": "rms_norm(y, 2) as o",
    "mask": "attention(y, y, y, constant([4, 4]) as o, heads=2)",
    "query": "attention(linear(y, 8) as o, y, y, heads=2, causal=true)",
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_other_numbers_are_not_proved(name: str) -> None:
    """By one unit in the last place, and with two different ones exchanged."""
    net = growc.loads(f"net n {{{INPUTS}r = {PARAMETERS[name]}\noutput r\n}}")
    fill(net, 2)
    rng = np.random.default_rng(0)
    (key,) = (k for k in net.parameters() if k in ("o", "o.weight"))
    for _ in range(6):
        changed, swapped = net.copy(), net.copy()
        value, other = net.weights[key].ravel().copy(), net.weights[key].ravel().copy()
        i = rng.integers(value.size)
        value[i] = np.nextafter(value[i], np.float32(np.inf))
        j = (i + 1) % value.size
        other[[i, j]] = other[[j, i]]
        changed.weights[key] = value.reshape(net.weights[key].shape)
        swapped.weights[key] = other.reshape(net.weights[key].shape)
        assert Prover()(net, changed, search=False).proved_modes == ()
        if value.size > 1:
            assert Prover()(net, swapped, search=False).proved_modes == ()


@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_groups_are_layers_of_their_own(op: str) -> None:
    """Weights lie as the rules take them: one with groups is proved equal to two without."""
    together = growc.loads(
        f"net n {{ input x: f32[4, 5, 5]\noutput r = {op}(x, 6, 3, groups=2) as a }}"
    )
    apart = growc.loads(
        "net n { input x: f32[4, 5, 5]\n"
        f"s = x -> slice(0, 2) -> {op}(3, 3) as b\nt = x -> slice(2, 4) -> {op}(3, 3) as c\n"
        "output r = concat(s, t) }"
    )
    fill(together, 2)
    weight, bias = together.weights["a.weight"], together.weights["a.bias"]
    half = len(weight) // 2
    for name, rows, numbers in (("b", weight[:half], bias[:3]), ("c", weight[half:], bias[3:])):
        apart.weights[f"{name}.weight"], apart.weights[f"{name}.bias"] = rows, numbers
    assert compare(together, apart).agrees
    assert Prover()(together, apart, search=False).verdict == "proved"


def test_dropout_in_attention_is_told_apart_by_name_head_and_rate() -> None:
    def net(name: str, p: float, heads: str = "w") -> Graph:
        text = f"{QKV}a = attention(q, k, {heads}, heads=2, dropout={p}) as {name}"
        graph = growc.loads(f"net n {{{INPUTS}{text}\noutput a\n}}")
        fill(graph, 2)
        return graph

    before = net("d", 0.3)
    prove = Prover()
    assert prove(before, net("d", 0.3), search=False).verdict == "proved"
    for other in (net("e", 0.3), net("d", 0.4)):
        assert prove(before, other, search=False).proved_modes == ("eval",)
    same = "gather(w, [0, 1, 2, 3, 0, 1, 2, 3], axis=1)"
    twice = net("d", 0.3, same)
    for key in ("q", "k"):
        for role in (".weight", ".bias"):
            value = twice.weights[key + role].copy()
            value[4:] = value[:4]
            twice.weights[key + role] = value
    moved = twice.copy()
    last = moved.add(OPS["gather"]((4, 5, 6, 7, 0, 1, 2, 3), axis=1), (moved.outputs["a"],), "g")
    moved.set_output("a", last)
    assert prove(twice, moved, search=False).proved_modes == ("eval",)


def test_a_large_mask_costs_little() -> None:
    """A million numbers are hashed once, not embedded one by one."""
    import time

    net = growc.loads(
        "net n { input x: f32[1024, 8]\nm = constant([1024, 1024])\n"
        "output y = attention(x, x, x, m, heads=2) }"
    )
    fill(net, 0)
    start = time.perf_counter()
    assert Prover()(net, net.copy(), search=False).verdict == "proved"
    assert time.perf_counter() - start < 2
