"""Every op: PyTorch against onnxruntime, and against what the IR says of shapes and windows."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray

from growc.backends import onnx_supports, run_onnx, to_onnx, to_torch, torch_supports
from growc.ir import OPS, Graph, TensorType, initialize

Array = NDArray[np.float32]
Shapes = Sequence[tuple[int, ...]]

TOLERANCE = 1e-5
"""Of the output's largest number (at least 1): some 80 float32 roundings, which is what sums of
a few dozen products in another order may differ by; a wrong border or window differs by 0.01."""


def case(op: str, shapes: Any, *positional: Any, **named: Any) -> Any:
    """One setting of one op. ``shapes``: one operand's shape, or a list of them."""
    text = ", ".join([*map(str, positional), *(f"{k}={v}" for k, v in named.items())])
    listed = shapes if isinstance(shapes, list) else [shapes]
    return pytest.param(op, listed, positional, named, id=f"{op}({text})-{listed}")


SPACE = {1: (11,), 2: (9, 10), 3: (6, 7, 5)}

WINDOWS = [
    case(f"{kind}{rank}d", (4, *SPACE[rank]), *first, **settings)
    for rank in (1, 2, 3)
    for kind, first in (("conv", (6,)), ("max_pool", ()), ("avg_pool", ()))
    for settings in (
        {},
        {"kernel": 3, "stride": 2, "padding": "same"},
        {"kernel": 2, "stride": 1, "padding": "same"},
        {"kernel": 4, "stride": 3, "padding": "same"},
        {"kernel": 3, "stride": 2, "padding": "valid"},
        {"kernel": 3, "stride": 1, "padding": 1},
        {"kernel": 3, "stride": 2, "padding": [0, 1, 2][:rank] + [2, 0, 1][:rank]},
        {"kernel": 3, "stride": 1, "padding": 2},
        {"kernel": [1, 2, 3][:rank], "stride": [3, 2, 1][:rank], "padding": "same"},
    )
]

DILATIONS = [
    case(f"{kind}{rank}d", (4, *SPACE[rank]), *first, kernel=2, dilation=3, padding=padding)
    for rank in (1, 2, 3)
    for kind, first in (("conv", (6,)), ("max_pool", ()))
    for padding in ("same", "valid", 1, 2, [0] * rank + [3] * rank)
]

CONVS = [
    case("conv1d", (4, 11), 6, groups=2),
    case("conv2d", (4, 9, 10), 8, groups=4, bias=False, kernel=[3, 5]),
    case("conv2d", (3, 9, 10), 2, kernel=1, padding=[0, 0, 1, 3]),
    case("conv2d", (3, 4, 4), 2, kernel=2, padding=5),
    case("conv3d", (4, 6, 7, 5), 4, groups=4, stride=2),
    case("linear", (7,), 5),
    case("linear", (7,), 5, bias=False),
    case("linear", (3, 7), 5),
    case("linear", (2, 3, 7), 5, bias=False),
]

EXCLUDED_BORDERS = [
    case(f"avg_pool{rank}d", (4, *SPACE[rank]), include_pad=False, **settings)
    for rank in (1, 2, 3)
    for settings in (
        {"kernel": 3, "stride": 2, "padding": "same"},
        {"kernel": 2, "stride": 1, "padding": "same"},
        {"kernel": 3, "stride": 2, "padding": [0, 1, 2][:rank] + [2, 0, 1][:rank]},
        {"kernel": 3, "stride": 1, "padding": 2},
    )
]

ADAPTIVE = [
    case(f"adaptive_{kind}_pool{rank}d", (3, *SPACE[rank]), output=output)
    for kind, rank in itertools.product(("avg", "max"), (1, 2, 3))
    for output in (1, 2, [4, 5, 3][:rank], [3, 3, 5][:rank], list(SPACE[rank]), [13, 9, 8][:rank])
]

GLOBAL = [
    case(f"global_{kind}_pool", (3, *SPACE[rank])) for kind in ("avg", "max") for rank in (1, 2, 3)
]

RANKS = [(6,), (6, 5), (6, 5, 4), (6, 3, 4, 2)]

NORMS = [
    *(case("batch_norm", s, affine=affine) for s in RANKS for affine in (True, False)),
    case("batch_norm", (3, 4), 1e-2),
    *(case("group_norm", s, 3, affine=affine) for s in RANKS for affine in (True, False)),
    case("group_norm", (6, 5), 6, 1e-2),
    case("group_norm", (6, 5), 1),
    *(case("instance_norm", s, affine=a) for s in RANKS[1:] for a in (True, False)),
    *(case("layer_norm", s, dims=d) for s in RANKS for d in range(1, len(s) + 1)),
    case("layer_norm", (3, 4), 2, 1e-2, affine=False),
]

ELEMENTWISE = [
    *(
        case(op, (3, 5))
        for op in ("relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "hardswish")
    ),
    case("relu", ()),
    case("leaky_relu", (3, 5), -0.3),
    case("elu", (3, 5), 0.3),
    case("gelu", (3, 5), approximate="tanh"),
    case("identity", (3, 5)),
    case("dropout", (3, 5), 0.9),
    case("scale", (3, 5), 2.5),
    case("scale", (3, 5), 1.0, -0.5),
    case("scale", (3, 5), -3.0, 2.0),
    case("scale", (3, 5)),
    case("softmax", (3, 5)),
    case("softmax", (3, 5), 0),
    case("softmax", (3, 5, 2), -2),
]

ARITHMETIC = [
    *(case(op, [(3, 5), (3, 5)]) for op in ("add", "sub", "mul")),
    *(case(op, [(3, 1), (1, 5)]) for op in ("add", "sub", "mul")),
    case("add", [(3, 5), (3, 5), (3, 5), (1, 5)]),
    case("add", [(), ()]),
]

SHAPES = [
    case("concat", [(3, 5)]),
    case("concat", [(3, 5), (2, 5), (1, 5)]),
    case("concat", [(3, 5), (3, 2)], -1),
    case("slice", (6, 5), 1),
    case("slice", (6, 5), 1, 6, step=2),
    case("slice", (6, 5, 4), 0, 3, axis=-2),
    case("pad", (3, 4), [1, 0], [0, 2], 0.5),
    case("pad", (3, 4), after=[2, 1]),
    case("pad", (3, 4)),
    case("flatten", (3, 4, 2)),
    case("flatten", (3, 4, 2), 1),
    case("flatten", (3, 4, 2), -1),
    case("flatten", ()),
    case("reshape", (3, 4), [2, -1, 3]),
    case("reshape", (1,), []),
    case("reshape", (), [1, 1]),
    case("transpose", (3, 4, 2), [2, 0, 1]),
    case("transpose", (3,), [0]),
]

CASES = [
    *WINDOWS,
    *DILATIONS,
    *CONVS,
    *EXCLUDED_BORDERS,
    *ADAPTIVE,
    *GLOBAL,
    *NORMS,
    *ELEMENTWISE,
    *ARITHMETIC,
    *SHAPES,
]


def build(op: str, shapes: Shapes, positional: tuple[Any, ...], named: dict[str, Any]) -> Graph:
    """A graph of one op, with parameters and statistics that are all different from 0 and 1."""
    graph = Graph("one_op")
    for index, shape in enumerate(shapes):
        graph.add_input(f"x{index}", TensorType(shape))
    graph.add(OPS[op].build(positional, named), graph.inputs, "node")
    graph.set_output("y", "node")
    initialize(graph)
    random = np.random.default_rng(1)
    for name, spec in graph.parameters().items():
        if spec.init.kind == "constant":
            graph.weights[name] = random.uniform(0.5, 1.5, spec.shape).astype(np.float32)
    return graph


def examples(graph: Graph, batch: int) -> dict[str, Array]:
    random = np.random.default_rng(2)
    return {
        name: (random.standard_normal((batch, *graph.node(name).type.shape)) * 2).astype(np.float32)
        for name in graph.inputs
    }


def by_torch(graph: Graph, inputs: dict[str, Array]) -> Any:
    """The output (or outputs) of the graph's module in evaluation mode."""
    module = to_torch(graph).eval()
    with torch.no_grad():
        return module(*(torch.from_numpy(inputs[name]) for name in graph.inputs))


def assert_close(actual: ArrayLike, expected: ArrayLike) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_known_and_tested(op: str) -> None:
    assert torch_supports(OPS[op])
    assert onnx_supports(OPS[op])
    assert op in {c.values[0] for c in CASES}


@pytest.mark.parametrize(("op", "shapes", "positional", "named"), CASES)
def test_torch_and_onnxruntime_agree(
    op: str, shapes: Shapes, positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    graph = build(op, shapes, positional, named)
    model = to_onnx(graph)
    for batch in (1, 3):
        inputs = examples(graph, batch)
        result = by_torch(graph, inputs)
        assert result.shape == (batch, *graph.node("node").type.shape)
        assert_close(run_onnx(model, inputs)["y"], result)


# ---- expectations that come from neither PyTorch nor onnxruntime


def windows(graph: Graph, x: Array) -> Iterator[tuple[Any, Any, Any]]:
    """(output position, window of the padded input, which of it is inside) of a sliding op."""
    op: Any = graph.node("node").op
    dilation = getattr(op, "dilation", (1,) * op.rank)
    stride = op.step if hasattr(op, "step") else op.stride
    widths = ((0, 0), (0, 0), *op.pads)
    padded = np.pad(x.astype(np.float64), widths)
    inside = np.pad(np.ones_like(x), widths)
    for position in itertools.product(*map(range, graph.node("node").type.shape[1:])):
        spans = [
            slice(p * s, p * s + d * (k - 1) + 1, d)
            for p, s, d, k in zip(position, stride, dilation, op.kernel, strict=True)
        ]
        box = (slice(None), slice(None), *spans)
        yield (slice(None), slice(None), *position), padded[box], inside[box] > 0


def expected_window_op(graph: Graph, x: Array) -> NDArray[np.float64]:
    op: Any = graph.node("node").op
    axes = tuple(range(2, 2 + op.rank))
    result = np.zeros((len(x), *graph.node("node").type.shape))
    for place, box, inside in windows(graph, x):
        if op.name.startswith("conv"):
            weight = graph.weights["node.weight"].astype(np.float64)
            bias = graph.weights.get("node.bias", np.zeros(op.channels))
            per_group, filters = box.shape[1] // op.groups, op.channels // op.groups
            for channel in range(op.channels):
                first = channel // filters * per_group
                taps = box[:, first : first + per_group] * weight[channel]
                result[place][:, channel] = taps.sum((1, *axes)) + bias[channel]
        elif op.name.startswith("max"):
            result[place] = np.where(inside, box, -math.inf).max(axes)
        else:
            count = math.prod(op.kernel) if op.include_pad else inside.sum(axes)
            result[place] = box.sum(axes) / count
    return result


SLIDING = [c for c in CASES if hasattr(OPS[c.values[0]], "pads")]


@pytest.mark.parametrize(("op", "shapes", "positional", "named"), SLIDING)
def test_sliding_windows_are_those_of_the_definition(
    op: str, shapes: Shapes, positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    graph = build(op, shapes, positional, named)
    inputs = examples(graph, 2)
    assert_close(by_torch(graph, inputs), expected_window_op(graph, inputs["x0"]))


@pytest.mark.parametrize(("op", "shapes", "positional", "named"), ADAPTIVE)
def test_adaptive_windows_are_those_of_the_ir(
    op: str, shapes: Shapes, positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    graph = build(op, shapes, positional, named)
    inputs = examples(graph, 2)
    node = graph.node("node")
    reduce = np.mean if "avg" in op else np.max
    expected = np.zeros((2, *node.type.shape))
    adaptive: Any = node.op
    spans: Any = adaptive.windows(graph.node("x0").type)
    for position in itertools.product(*map(range, node.type.shape[1:])):
        box: list[Any] = [slice(*span[p]) for span, p in zip(spans, position, strict=True)]
        part = inputs["x0"][(slice(None), slice(None), *box)]
        place: Any = (slice(None), slice(None), *position)
        expected[place] = reduce(part, axis=tuple(range(2, part.ndim)))
    assert_close(by_torch(graph, inputs), expected)


# ---- opsets


def net_of_everything() -> Graph:
    """One graph with every op whose ONNX form depends on the opset."""
    graph = Graph("everything")
    value = graph.add_input("image", TensorType((4, 7, 6)))
    steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("conv2d", (4, 3), {}),
        ("batch_norm", (), {}),
        ("gelu", (), {}),
        ("group_norm", (2,), {}),
        ("hardswish", (), {}),
        ("group_norm", (4,), {"affine": False}),
        ("gelu", ("tanh",), {}),
        ("instance_norm", (), {}),
        ("layer_norm", (2,), {}),
        ("silu", (), {}),
        ("layer_norm", (3,), {"affine": False}),
        ("adaptive_avg_pool2d", ([3, 4],), {}),
        ("adaptive_max_pool2d", ([2, 3],), {}),
        ("pad", ([0, 1, 1],), {}),
        ("slice", (1,), {"axis": 2}),
        ("softmax", (0,), {}),
        ("batch_norm", (), {"affine": False}),
        ("flatten", (), {}),
        ("linear", (5,), {}),
        ("group_norm", (1,), {}),
    ]
    for index, (op, positional, named) in enumerate(steps):
        value = graph.add(OPS[op].build(positional, named), [value], f"step{index}")
    graph.set_output("logits", value)
    initialize(graph)
    random = np.random.default_rng(3)
    for name, spec in graph.parameters().items():
        if spec.init.kind == "constant":
            graph.weights[name] = random.uniform(0.5, 1.5, spec.shape).astype(np.float32)
    return graph


@pytest.mark.parametrize("opset", range(13, 24))
def test_opsets(opset: int) -> None:
    graph = net_of_everything()
    model = to_onnx(graph, opset=opset)
    assert [(i.domain, i.version) for i in model.opset_import] == [("", opset)]
    assert model.ir_version == (11 if opset == 23 else 10)
    inputs = examples(graph, 3)
    assert_close(run_onnx(model, inputs)["logits"], by_torch(graph, inputs))
