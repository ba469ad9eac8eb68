"""PyTorch's results against the formulas in the ops' docstrings, written down again in numpy."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from growc.ir import OPS, Graph

from .backend_cases import Array, Case, assert_close, by_torch
from .backend_cases_more import MORE, NORMS, RESIZES, TRANSPOSED

Numbers = NDArray[np.float64]


def softplus(x: Numbers) -> Numbers:
    return np.logaddexp(0, x)


def softmax(x: Numbers, axis: int = -1) -> Numbers:
    e = np.exp(x - x.max(axis, keepdims=True))
    result: Numbers = e / e.sum(axis, keepdims=True)
    return result


def attention(op: Any, q: Numbers, k: Numbers, v: Numbers, *mask: Numbers) -> Numbers:
    """One head after the other, with loops over them."""
    parts = []
    n, m, d, e = len(q), len(k), q.shape[1] // op.heads, v.shape[1] // op.heads
    bias = np.broadcast_to(mask[0] if mask else 0.0, (op.heads, n, m))
    for h in range(op.heads):
        qh, kh = q[:, h * d : (h + 1) * d], k[:, h * d : (h + 1) * d]
        scale = 1 / math.sqrt(d) if op.scale is None else op.scale
        scores = scale * qh @ kh.T + bias[h]
        if op.causal:
            scores = np.where(np.arange(m) <= np.arange(n)[:, None], scores, -np.inf)
        parts.append(softmax(scores) @ v[:, h * e : (h + 1) * e])
    return np.concatenate(parts, 1)


def axes(op: Any) -> dict[str, Any]:
    return {"axis": tuple(op.axes), "keepdims": op.keep}


def pad(op: Any, x: Numbers) -> Numbers:
    widths = list(zip(op.before or [0] * x.ndim, op.after or [0] * x.ndim, strict=True))
    return np.pad(x, widths, mode=op.mode)


def depth_to_space(op: Any, x: Numbers) -> Numbers:
    b, (c, h, w) = op.block, x.shape
    result = np.zeros((c // b**2, h * b, w * b))
    for channel, i, j in itertools.product(range(c // b**2), range(b), range(b)):
        apart = (i * b + j) * (c // b**2) + channel
        neighbours = channel * b**2 + i * b + j
        result[channel, i::b, j::b] = x[neighbours if op.order == "crd" else apart]
    return result


def space_to_depth(op: Any, x: Numbers) -> Numbers:
    b, (c, h, w) = op.block, x.shape
    result = np.zeros((c * b**2, h // b, w // b))
    for channel, i, j in itertools.product(range(c), range(b), range(b)):
        apart, neighbours = (i * b + j) * c + channel, channel * b**2 + i * b + j
        result[neighbours if op.order == "crd" else apart] = x[channel, i::b, j::b]
    return result


# Of one example: axes are then matched from the last one, as numpy does.
FORMULAS: dict[str, Callable[..., Any]] = {
    "exp": lambda op, x: np.exp(x),
    "log": lambda op, x: np.log(x),
    "sqrt": lambda op, x: np.sqrt(x),
    "reciprocal": lambda op, x: 1 / x,
    "abs": lambda op, x: np.abs(x),
    "sign": lambda op, x: np.sign(x),
    "floor": lambda op, x: np.floor(x),
    "ceil": lambda op, x: np.ceil(x),
    "round": lambda op, x: np.round(x),
    "erf": lambda op, x: np.vectorize(math.erf)(x),
    "sin": lambda op, x: np.sin(x),
    "cos": lambda op, x: np.cos(x),
    "tan": lambda op, x: np.tan(x),
    "asin": lambda op, x: np.arcsin(x),
    "acos": lambda op, x: np.arccos(x),
    "atan": lambda op, x: np.arctan(x),
    "sinh": lambda op, x: np.sinh(x),
    "cosh": lambda op, x: np.cosh(x),
    "asinh": lambda op, x: np.arcsinh(x),
    "acosh": lambda op, x: np.arccosh(x),
    "atanh": lambda op, x: np.arctanh(x),
    "power": lambda op, x: x**op.exponent,
    "clip": lambda op, x: np.minimum(
        np.maximum(x, -np.inf if op.low is None else op.low), np.inf if op.high is None else op.high
    ),
    "softplus": lambda op, x: softplus(op.beta * x) / op.beta,
    "softsign": lambda op, x: x / (1 + np.abs(x)),
    "selu": lambda op, x: op.scale * np.where(x >= 0, x, op.alpha * np.expm1(np.minimum(x, 0))),
    "celu": lambda op, x: np.where(x >= 0, x, op.alpha * np.expm1(np.minimum(x, 0) / op.alpha)),
    "gelu": lambda op, x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "mish": lambda op, x: x * np.tanh(softplus(x)),
    "hard_sigmoid": lambda op, x: np.minimum(np.maximum(op.slope * x + op.offset, 0), 1),
    "thresholded_relu": lambda op, x: np.where(x > op.threshold, x, 0),
    "shrink": lambda op, x: np.where(
        x < -op.limit, x + op.bias, np.where(x > op.limit, x - op.bias, 0)
    ),
    "log_softmax": lambda op, x: np.log(softmax(x, op.axis)),
    "add": lambda op, *xs: sum(xs[1:], xs[0]),
    "sub": lambda op, a, b: a - b,
    "mul": lambda op, a, b: a * b,
    "div": lambda op, a, b: a / b,
    "pow": lambda op, a, b: a**b,
    "mod": lambda op, a, b: np.fmod(a, b),
    "minimum": lambda op, a, b, *c: np.minimum(np.minimum(a, b), c[0] if c else np.inf),
    "maximum": lambda op, a, b, *c: np.maximum(np.maximum(a, b), c[0] if c else -np.inf),
    "greater": lambda op, a, b: (a > b) * 1.0,
    "greater_equal": lambda op, a, b: (a >= b) * 1.0,
    "equal": lambda op, a, b: (a == b) * 1.0,
    "where": lambda op, c, a, b: np.where(c != 0, a, b),
    "matmul": lambda op, a, b: a @ b,
    "attention": attention,
    "reduce_mean": lambda op, x: x.mean(**axes(op)),
    "reduce_sum": lambda op, x: x.sum(**axes(op)),
    "reduce_prod": lambda op, x: x.prod(**axes(op)),
    "reduce_max": lambda op, x: x.max(**axes(op)),
    "reduce_min": lambda op, x: x.min(**axes(op)),
    "reduce_l1": lambda op, x: np.abs(x).sum(**axes(op)),
    "reduce_l2": lambda op, x: np.sqrt((x**2).sum(**axes(op))),
    "reduce_log_sum_exp": lambda op, x: np.log(np.exp(x).sum(**axes(op))),
    "global_lp_pool": lambda op, x: (
        (np.abs(x) ** op.p).sum(tuple(range(1, x.ndim)), keepdims=True) ** (1 / op.p)
    ),
    "gather": lambda op, x: np.take(x, op.indices, op.axis),
    "expand": lambda op, x: np.broadcast_to(x, op.shape),
    "tile": lambda op, x: np.tile(x, op.repeats),
    "pad": pad,
    "depth_to_space": depth_to_space,
    "space_to_depth": space_to_depth,
    "to_float": lambda op, x: x,
    "identity": lambda op, x: x,
    "concat": lambda op, *xs: np.concatenate(xs, op.axis),
    "slice": lambda op, x: x[op.start : op.stop : op.step],
    "flatten": lambda op, x: x.reshape(-1),
    "reshape": lambda op, x: x.reshape(op.shape),
    "transpose": lambda op, x: x.transpose(op.order),
}


def each(graph: Graph, inputs: dict[str, Array], formula: Callable[..., Any]) -> Numbers:
    """The formula of each example on its own."""
    op = graph.node("node").op
    batch = len(next(iter(inputs.values())))
    doubles = [x.astype(np.float64) for x in inputs.values()]
    return np.stack([formula(op, *(x[i] for x in doubles)) for i in range(batch)])


@pytest.mark.parametrize("case", [c for c in MORE if c.values[0].op in FORMULAS])
def test_formulas(case: Case) -> None:
    graph = case.graph()
    inputs = case.inputs(graph, 3)
    expected = each(graph, inputs, FORMULAS[case.op])
    assert_close(by_torch(graph, inputs), expected)
    double = {
        name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in inputs.items()
    }
    # PyTorch's softplus is x itself from 20 on, which is off by e^-20.
    assert_close(by_torch(graph, double, torch.float64), expected, 5e-9)


# ---- ops with parameters


def with_parameters(graph: Graph) -> dict[str, Callable[..., Any]]:
    w = {role.role: graph.weights[key].astype(np.float64) for key, role in graph.params_of("node")}

    def rms_norm(op: Any, x: Numbers) -> Numbers:
        mean = (x**2).mean(tuple(range(-op.dims, 0)), keepdims=True)
        return x / np.sqrt(mean + op.eps) * w.get("weight", 1.0)

    def prelu(op: Any, x: Numbers) -> Numbers:
        slopes = w["weight"].reshape(-1, *(1,) * (x.ndim - 1)) if x.ndim else w["weight"][0]
        return np.where(x >= 0, x, slopes * x)

    return {
        "rms_norm": rms_norm,
        "prelu": prelu,
        "embedding": lambda op, x: w["weight"][x.astype(int)],
        "parameter": lambda op, x: w[""].reshape(op.shape),
        "constant": lambda op, x: w[""].reshape(op.shape),
    }


NAMES = {"rms_norm", "prelu", "embedding", "parameter", "constant"}


@pytest.mark.parametrize("case", [c for c in MORE if c.values[0].op in NAMES])
def test_formulas_with_parameters(case: Case) -> None:
    graph = case.graph()
    inputs = case.inputs(graph, 3)
    assert_close(by_torch(graph, inputs), each(graph, inputs, with_parameters(graph)[case.op]))


@pytest.mark.parametrize("case", [c for c in NORMS if "local" in c.values[0].op])
def test_neighbours_of_local_response_norm(case: Case) -> None:
    def formula(op: Any, x: Numbers) -> Numbers:
        total = np.zeros_like(x)
        for c in range(len(x)):
            first = c - math.floor((op.size - 1) / 2)
            last = c + math.ceil((op.size - 1) / 2)
            total[c] = (x[max(first, 0) : last + 1] ** 2).sum(0)
        return x / (op.bias + op.alpha / op.size * total) ** op.beta

    graph = case.graph()
    inputs = case.inputs(graph, 2)
    assert_close(by_torch(graph, inputs), each(graph, inputs, formula))


@pytest.mark.parametrize("case", TRANSPOSED)
def test_every_number_adds_a_window(case: Case) -> None:
    graph = case.graph()
    inputs = case.inputs(graph, 2)
    node, x = graph.node("node"), inputs["x0"].astype(np.float64)
    op: Any = node.op
    weight = graph.weights["node.weight"].astype(np.float64)
    sizes = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(
            x.shape[2:], op.stride, op.dilation, op.kernel, op.extra, strict=True
        )
    ]
    whole = np.zeros((2, op.channels, *sizes))
    per_group, inside = op.channels // op.groups, x.shape[1] // op.groups
    for place in itertools.product(*map(range, x.shape[2:])):
        for tap in itertools.product(*map(range, op.kernel)):
            at = [
                p * s + t * d for p, s, t, d in zip(place, op.stride, tap, op.dilation, strict=True)
            ]
            for group in range(op.groups):
                rows = slice(group * inside, (group + 1) * inside)
                columns = slice(group * per_group, (group + 1) * per_group)
                numbers = x[(slice(None), rows, *place)]
                whole[(slice(None), columns, *at)] += numbers @ weight[(rows, slice(None), *tap)]
    if op.bias:
        whole += graph.weights["node.bias"].reshape(-1, *(1,) * op.rank)
    cut = [slice(b, n - e) for n, (b, e) in zip(sizes, op.pads, strict=True)]
    assert_close(by_torch(graph, inputs), whole[(slice(None), slice(None), *cut)])


# ---- resize


def places(op: Any, n: int, m: int, ratio: Fraction) -> list[Fraction]:
    half = Fraction(1, 2)
    match op.coordinates:
        case "asymmetric":
            return [i / ratio for i in range(m)]
        case "align_corners":
            return [Fraction(i * (n - 1), max(m - 1, 1)) for i in range(m)]
        case "pytorch_half_pixel" if m == 1:
            return [Fraction(0)]
        case _:
            return [(i + half) / ratio - half for i in range(m)]


def sample(op: Any, x: Numbers, p: Fraction, ratio: Fraction) -> float:
    """The number at one place of a line of numbers."""

    def number(i: int) -> float:
        return float(x[min(max(i, 0), len(x) - 1)])

    low = math.floor(p)
    t = p - low
    if op.mode == "nearest":
        half = Fraction(1, 2)
        up = {
            "floor": False,
            "ceil": t > 0,
            "round_prefer_floor": t > half,
            "round_prefer_ceil": t >= half,
        }
        return number(low + 1 if up[op.rounding] else low)
    widening = max(1.0, float(1 / ratio)) if op.antialias else 1.0
    reach = math.ceil((1 if op.mode == "linear" else 2) * widening) + 1
    taps = range(low - reach, low + reach + 1)
    weights = [kernel(op, abs(float(i - p)) / widening) for i in taps]
    total = sum(w * number(i) for w, i in zip(weights, taps, strict=True))
    return total / sum(weights)


def kernel(op: Any, d: float) -> float:
    if op.mode == "linear":
        return max(0.0, 1 - d)
    a = op.cubic
    if d < 1:
        return float((a + 2) * d**3 - (a + 3) * d**2 + 1)
    return float(a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a) if d < 2 else 0.0


MEANT = {5 / 3: Fraction(5, 3), 1.6666666269302368: Fraction(5, 3)}


@pytest.mark.parametrize("case", [c for c in RESIZES if c.values[0].op == "resize"])
def test_places_that_resize_samples(case: Case) -> None:
    graph = case.graph()
    inputs = case.inputs(graph, 2)
    op: Any = graph.node("node").op
    expected = inputs["x0"].astype(np.float64)
    for axis, m in enumerate(op.size):
        n = expected.shape[axis + 2]
        ratio = Fraction(m, n)
        if op.scale is not None:
            ratio = MEANT.get(op.scale[axis], Fraction(str(op.scale[axis])))
        expected = np.stack(
            [
                np.apply_along_axis(lambda x, p=p, r=ratio: sample(op, x, p, r), axis + 2, expected)
                for p in places(op, n, m, ratio)
            ],
            axis + 2,
        )
    assert_close(by_torch(graph, inputs), expected)
    double = {"x0": inputs["x0"].astype(np.float64)}
    # PyTorch multiplies by a ratio that is rounded once, and sums polynomials in another order.
    assert_close(by_torch(graph, double, torch.float64), expected, 1e-12)


def test_every_new_op_has_a_formula() -> None:
    windows = {name for name in OPS if name.startswith(("conv", "lp_pool"))}
    known = {*FORMULAS, *NAMES, "local_response_norm", "resize", *windows}
    assert {c.values[0].op for c in MORE} <= known
