"""What exporters take apart is put together again, however it is spelled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from .onnx_building import Net, kinds, read_rightly

torch.set_num_threads(1)

OPSETS = (11, 14, 17, 20)

# ---- activations

ROOT = math.sqrt(2)
FACTOR = math.sqrt(2 / math.pi)


def curve(net: Net, x: str) -> Any:
    """√(2/π)·(x + 0.044715·x³)"""
    cube = net.op("Pow", x, 3.0)
    return net.op("Mul", FACTOR, net.op("Add", x, net.op("Mul", 0.044715, cube)))


def curve_by_products(net: Net, x: str) -> Any:
    square = net.op("Mul", x, x)
    cube = net.op("Mul", square, x)
    return net.op("Mul", net.op("Add", net.op("Mul", cube, 0.044715), x), FACTOR)


def curve_factored(net: Net, x: str) -> Any:
    """√(2/π)·x·(1 + 0.044715·x²)"""
    inner = net.op("Add", net.op("Mul", net.op("Mul", x, x), 0.044715), 1.0)
    return net.op("Mul", net.op("Mul", x, FACTOR), inner)


def gate(net: Net, curve: str) -> Any:
    return net.op("Add", curve, 1.0)


FUNCTIONS: dict[str, tuple[str, Callable[[Net, str], Any]]] = {
    "halved last": (
        "gelu",
        lambda n, x: n.op("Mul", n.op("Mul", x, gate(n, n.op("Erf", n.op("Div", x, ROOT)))), 0.5),
    ),
    "halved first": (
        "gelu",
        lambda n, x: n.op(
            "Mul", n.op("Mul", x, 0.5), gate(n, n.op("Erf", n.op("Mul", x, 1 / ROOT)))
        ),
    ),
    "gate halved": (
        "gelu",
        lambda n, x: n.op("Mul", n.op("Mul", 0.5, gate(n, n.op("Erf", n.op("Div", x, ROOT)))), x),
    ),
    "gate divided": (
        "gelu",
        lambda n, x: n.op("Mul", x, n.op("Div", gate(n, n.op("Erf", n.op("Div", x, ROOT))), 2.0)),
    ),
    "one half added": (
        "gelu",
        lambda n, x: n.op(
            "Mul", x, n.op("Add", n.op("Mul", n.op("Erf", n.op("Div", x, ROOT)), 0.5), 0.5)
        ),
    ),
    **{
        f"tanh, {name}": (
            "gelu",
            lambda n, x, c=c: n.op("Mul", n.op("Mul", x, 0.5), gate(n, n.op("Tanh", c(n, x)))),
        )
        for name, c in (
            ("power", curve),
            ("products", curve_by_products),
            ("factored", curve_factored),
        )
    },
    "silu": ("silu", lambda n, x: n.op("Mul", n.op("Sigmoid", x), x)),
    "silu by exp": (
        "silu",
        lambda n, x: n.op("Div", x, n.op("Add", n.op("Exp", n.op("Neg", x)), 1.0)),
    ),
    "mish": ("mish", lambda n, x: n.op("Mul", x, n.op("Tanh", n.op("Softplus", x)))),
    "mish by exp": (
        "mish",
        lambda n, x: n.op("Mul", x, n.op("Tanh", n.op("Log", n.op("Add", n.op("Exp", x), 1.0)))),
    ),
    "hardswish": (
        "hardswish",
        lambda n, x: n.op("Mul", x, n.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    ),
    "hardswish by clip": (
        "hardswish",
        lambda n, x: n.op("Div", n.op("Mul", x, n.op("Clip", n.op("Add", x, 3.0), 0.0, 6.0)), 6.0),
    ),
    "hardswish, clip divided": (
        "hardswish",
        lambda n, x: n.op("Mul", x, n.op("Div", n.op("Clip", n.op("Add", x, 3.0), 0.0, 6.0), 6.0)),
    ),
    "softplus": ("softplus", lambda n, x: n.op("Log", n.op("Add", n.op("Exp", x), 1.0))),
    "relu6": ("clip", lambda n, x: n.op("Min", n.op("Relu", x), 6.0)),
    "leaky_relu": ("leaky_relu", lambda n, x: n.op("Max", x, n.op("Mul", x, 0.1))),
    "log_softmax": ("log_softmax", lambda n, x: n.op("Log", n.op("Softmax", x, axis=-1))),
    "sigmoid by exp": (
        "sigmoid",
        lambda n, x: n.op("Div", 1.0, n.op("Add", n.op("Exp", n.op("Neg", x)), 1.0)),
    ),
    "softsign": (
        "softsign",
        lambda n, x: n.op("Div", x, n.op("Add", n.op("Abs", x), 1.0)),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    expected, build = FUNCTIONS[name]
    net = Net(14)
    graph = read_rightly(net.model(build(net, net.input("x", "N", 3, 5))))
    assert kinds(graph) == {expected: 1}


# ---- norms


def centred(net: Net, x: str, *axes: int) -> Any:
    return net.op("Sub", x, net.mean(x, *axes))


def variance(net: Net, d: str, *axes: int) -> Any:
    return net.op("Add", net.mean(net.op("Pow", d, 2.0), *axes), 1e-5)


def divided(net: Net, x: str, *axes: int) -> Any:
    d = centred(net, x, *axes)
    return net.op("Div", d, net.op("Sqrt", variance(net, d, *axes)))


def subtracted_twice(net: Net, x: str, *axes: int) -> Any:
    """As some exporters write it out: x - mean stands there twice."""
    square = net.op("Pow", centred(net, x, *axes), 2.0)
    root = net.op("Sqrt", net.op("Add", net.mean(square, *axes), 1e-5))
    return net.op("Div", centred(net, x, *axes), root)


def by_products(net: Net, x: str, *axes: int) -> Any:
    d = centred(net, x, *axes)
    spread = net.op("Add", 1e-5, net.mean(net.op("Mul", d, d), *axes))
    return net.op("Mul", d, net.op("Reciprocal", net.op("Sqrt", spread)))


def inverted(net: Net, x: str, *axes: int) -> Any:
    d = centred(net, x, *axes)
    return net.op("Mul", d, net.op("Div", 1.0, net.op("Sqrt", variance(net, d, *axes))))


def by_power(net: Net, x: str, *axes: int) -> Any:
    d = centred(net, x, *axes)
    return net.op("Mul", d, net.op("Pow", variance(net, d, *axes), -0.5))


NORMS = [divided, subtracted_twice, by_products, inverted, by_power]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("norm", NORMS)
def test_layer_norm(norm: Callable[..., Any], opset: int) -> None:
    net = Net(opset)
    x = net.input("x", "N", 5, 6)
    scaled = net.op("Mul", net.weight("block.norm.weight", 6), norm(net, x, -1))
    y = net.op("Add", scaled, net.weight("block.norm.bias", 6))
    graph = read_rightly(net.model(y))
    assert kinds(graph) == {"layer_norm": 1}
    assert [n.name for n in graph] == ["x", "block.norm"]
    assert graph.node("block.norm").op.eps == 1e-5  # type: ignore[attr-defined]


@pytest.mark.parametrize("axes", [(1, 2), (-2, -1), (2, -2)])
def test_layer_norm_of_two_axes(axes: tuple[int, int]) -> None:
    net = Net(17)
    graph = read_rightly(net.model(divided(net, net.input("x", "N", 5, 6), *axes)))
    assert kinds(graph) == {"layer_norm": 1}


def test_a_layer_norm_as_a_batch_norm_is_written() -> None:
    """x·s + (β - mean·s) with s = γ/√(var + ε), as TensorFlow does it."""
    net = Net(13)
    x = net.input("x", "N", 5, 6)
    mean = net.mean(x, -1)
    d = net.op("Sub", x, mean)
    root = net.op("Reciprocal", net.op("Sqrt", variance(net, d, -1)))
    s = net.op("Mul", root, net.weight("norm.gamma", 6))
    shift = net.op("Sub", net.weight("norm.beta", 6), net.op("Mul", mean, s))
    graph = read_rightly(net.model(net.op("Add", net.op("Mul", x, s), shift)))
    assert kinds(graph) == {"layer_norm": 1}


@pytest.mark.parametrize("form", [divided, by_power])
def test_rms_norm(form: Callable[..., Any]) -> None:
    net = Net(17)
    x = net.input("x", "N", 5, 6)
    root = net.op("Sqrt", net.op("Add", net.mean(net.op("Pow", x, 2.0), -1), 1e-6))
    quotient = (
        net.op("Div", x, root) if form is divided else net.op("Mul", x, net.op("Div", 1.0, root))
    )
    graph = read_rightly(net.model(net.op("Mul", net.weight("norm.weight", 6), quotient)))
    assert kinds(graph) == {"rms_norm": 1}
    assert "norm" in graph


def test_a_norm_over_other_axes_is_none() -> None:
    net = Net(17)
    graph = read_rightly(net.model(divided(net, net.input("x", "N", 5, 6), 1)))
    assert "layer_norm" not in kinds(graph)


# ---- attention

TOKENS, HEADS, WIDTH = 5, 2, 3
FEATURES = HEADS * WIDTH


def project(net: Net, x: str, name: str, features: int = FEATURES) -> Any:
    y = net.op("MatMul", x, net.weight(f"{name}.weight", FEATURES, features))
    return net.op("Add", y, net.weight(f"{name}.bias", features))


def by_heads(net: Net, x: str, order: Any = (0, 2, 1, 3)) -> Any:
    return net.op("Transpose", net.op("Reshape", x, [0, -1, HEADS, WIDTH]), perm=order)


def separate(net: Net, x: str) -> Any:
    return tuple(by_heads(net, project(net, x, part)) for part in "qkv")


def packed_split(net: Net, x: str) -> Any:
    packed = project(net, x, "qkv", 3 * FEATURES)
    if net.opset < 13:
        parts = net.op("Split", packed, axis=2, split=[FEATURES] * 3, count=3)
    else:
        parts = net.op("Split", packed, [FEATURES] * 3, axis=-1, count=3)
    return tuple(by_heads(net, part) for part in parts)


def packed_slice(net: Net, x: str) -> Any:
    packed = project(net, x, "qkv", 3 * FEATURES)
    return tuple(
        by_heads(net, net.op("Slice", packed, [i * FEATURES], [(i + 1) * FEATURES], [2]))
        for i in range(3)
    )


def packed_gather(net: Net, x: str) -> Any:
    packed = project(net, x, "qkv", 3 * FEATURES)
    five = net.op("Reshape", packed, [-1, TOKENS, 3, HEADS, WIDTH])
    turned = net.op("Transpose", five, perm=[2, 0, 3, 1, 4])
    return tuple(net.op("Gather", turned, i, axis=0) for i in range(3))


def transposed(net: Net, k: str) -> Any:
    return net.op("Transpose", k, perm=[0, 1, 3, 2])


def joined(net: Net, y: str) -> Any:
    back = net.op("Transpose", y, perm=[0, 2, 1, 3])
    return net.op("Reshape", back, [0, 0, FEATURES])


def scaled_scores(net: Net, q: str, k: str) -> Any:
    return net.op("Mul", net.op("MatMul", q, transposed(net, k)), WIDTH**-0.5)


def divided_scores(net: Net, q: str, k: str) -> Any:
    return net.op("Div", net.op("MatMul", q, transposed(net, k)), math.sqrt(WIDTH))


def scaled_queries(net: Net, q: str, k: str) -> Any:
    return net.op("MatMul", net.op("Mul", q, WIDTH**-0.5), transposed(net, k))


def scaled_both(net: Net, q: str, k: str) -> Any:
    root = WIDTH**-0.25
    return net.op("MatMul", net.op("Mul", q, root), net.op("Mul", transposed(net, k), root))


def plain(net: Net, scores: str) -> Any:
    return scores


SEEN = np.tri(TOKENS, dtype=bool)


def causal_sum(net: Net, scores: str) -> Any:
    return net.op("Add", scores, np.where(SEEN, 0, -1e30)[None, None])


def causal_infinite(net: Net, scores: str) -> Any:
    return net.op("Add", scores, np.where(SEEN, 0, -np.inf))


def causal_where(net: Net, scores: str) -> Any:
    return net.op("Where", SEEN[None, None], scores, -1e30)


def causal_where_not(net: Net, scores: str) -> Any:
    return net.op("Where", ~SEEN, -np.inf, scores)


def causal_by_sum(net: Net, scores: str) -> Any:
    """GPT-2 of old: scores·seen - 10⁴·(1 - seen), as a sum."""
    return net.op("Add", scores, (1.0 - SEEN) * -3e38)


def attended(net: Net, heads: Any, scores: Any, mask: Any) -> Any:
    q, k, v = heads
    weights = net.op("Softmax", mask(net, scores(net, q, k)), axis=3)
    return joined(net, net.op("MatMul", weights, v))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("heads", [separate, packed_split, packed_slice, packed_gather])
def test_heads_of_attention(heads: Callable[..., Any], opset: int) -> None:
    net = Net(opset)
    x = net.input("x", "N", TOKENS, FEATURES)
    y = project(net, attended(net, heads(net, x), scaled_scores, plain), "out")
    graph = read_rightly(net.model(y))
    found = kinds(graph)
    slices = found.pop("slice", 0)
    assert found == {"attention": 1, "linear": 4 if heads is separate else 2}
    assert slices == (0 if heads is separate else 3)
    (op,) = (n.op for n in graph if n.op.name == "attention")
    assert (op.heads, op.causal, op.scale) == (HEADS, False, None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("scores", [scaled_scores, divided_scores, scaled_queries, scaled_both])
@pytest.mark.parametrize(
    "mask", [causal_sum, causal_infinite, causal_where, causal_where_not, causal_by_sum]
)
def test_causal_attention(scores: Callable[..., Any], mask: Callable[..., Any]) -> None:
    net = Net(14)
    x = net.input("x", "N", TOKENS, FEATURES)
    graph = read_rightly(net.model(attended(net, separate(net, x), scores, mask)))
    assert kinds(graph) == {"attention": 1, "linear": 3}
    (op,) = (n.op for n in graph if n.op.name == "attention")
    assert (op.heads, op.causal, op.scale) == (HEADS, True, None)  # type: ignore[attr-defined]
    assert len(graph) == 5  # no mask is left


def test_attention_of_heads_merged_with_the_batch() -> None:
    """As torch's MultiheadAttention computed it: tokens first, then [batch·heads, tokens, …]."""
    net = Net(17)
    x = net.op("Transpose", net.input("x", "N", TOKENS, FEATURES), perm=[1, 0, 2])

    def merged(name: str) -> Any:
        flat = net.op("Reshape", project(net, x, name), [TOKENS, -1, WIDTH])
        return net.op("Transpose", flat, perm=[1, 0, 2])

    q, k, v = map(merged, "qkv")
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 2, 1]))
    weights = net.op("Softmax", net.op("Mul", scores, WIDTH**-0.5), axis=-1)
    back = net.op("Transpose", net.op("MatMul", weights, v), perm=[1, 0, 2])
    y = project(net, net.op("Reshape", back, [TOKENS, -1, FEATURES]), "out")
    graph = read_rightly(net.model(net.op("Transpose", y, perm=[1, 0, 2])))
    assert kinds(graph) == {"attention": 1, "linear": 4}


def test_padding_masks() -> None:
    """(1 - mask)·-30 of an integer input, for each example. (Added to -10000 as in BERT, float32's
    scores lose most of their digits.)"""
    net = Net(14)
    x = net.input("x", "N", TOKENS, FEATURES)
    tokens = net.axes("Unsqueeze", net.input("mask", "N", TOKENS, kind=7), 1, 2)
    kept = net.op("Cast", tokens, to=1)
    added = net.op("Mul", net.op("Sub", 1.0, kept), -30.0)
    y = attended(net, separate(net, x), scaled_scores, lambda net, s: net.op("Add", s, added))
    found = kinds(read_rightly(net.model(y)))
    assert found["attention"] == 1
    assert set(found) <= {"attention", "linear", "reshape", "to_float", "scale"}


def test_a_sum_that_only_looks_like_a_mask() -> None:
    """Where the numbers are used as they are, -10³⁰ must stay -10³⁰."""
    net = Net(17)
    x = net.input("x", "N", TOKENS, TOKENS)
    graph = read_rightly(net.model(net.op("Where", SEEN, x, -1e30)))
    assert kinds(graph) == {"where": 1}


def test_masks_that_leave_nothing() -> None:
    """A softmax of equal numbers alone is uniform; that of what was masked is not."""
    net = Net(17)
    x = net.input("x", "N", TOKENS, TOKENS)
    nothing = SEEN.copy()
    nothing[2] = False
    read_rightly(net.model(net.op("Softmax", net.op("Where", nothing, x, -1e30), axis=-1)))
