"""Every op: PyTorch against onnxruntime in every opset, and against the IR's windows."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from growc.backends import onnx_supports, run_onnx, to_onnx, torch_supports
from growc.ir import OPS, Graph, TensorType

from .backend_cases import ADAPTIVE, CASES, Array, Case, assert_close, by_torch, give_values
from .backend_cases_more import MORE

ALL = [*CASES, *MORE]


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_known_and_tested(op: str) -> None:
    assert torch_supports(OPS[op])
    assert onnx_supports(OPS[op])
    assert op in {c.values[0].op for c in ALL}


def assert_backends_agree(case: Case, opset: int = 20) -> None:
    graph = case.graph()
    model = to_onnx(graph, opset=opset)
    for batch in (1, 3):
        inputs = case.inputs(graph, batch)
        result = by_torch(graph, inputs)
        assert result.shape == (batch, *graph.node("node").type.shape)
        assert_close(run_onnx(model, inputs)["y"], result)


@pytest.mark.parametrize("case", ALL)
def test_torch_and_onnxruntime_agree(case: Case) -> None:
    assert_backends_agree(case)


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
        elif op.name.startswith("lp"):
            result[place] = (np.abs(box) ** op.p).sum(axes) ** (1 / op.p)
        else:
            count = math.prod(op.kernel) if op.include_pad else inside.sum(axes)
            result[place] = box.sum(axes) / count
    return result


SLIDING = [
    c for c in ALL if hasattr(OPS[c.values[0].op], "pads") and "transpose" not in c.values[0].op
]


@pytest.mark.parametrize("case", SLIDING)
def test_sliding_windows_are_those_of_the_definition(case: Case) -> None:
    graph = case.graph()
    inputs = case.inputs(graph, 2)
    assert_close(by_torch(graph, inputs), expected_window_op(graph, inputs["x0"]))


@pytest.mark.parametrize("case", ADAPTIVE)
def test_adaptive_windows_are_those_of_the_ir(case: Case) -> None:
    graph = case.graph()
    inputs = case.inputs(graph, 2)
    node = graph.node("node")
    reduce = np.mean if "avg" in case.op else np.max
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
    give_values(graph)
    return graph


@pytest.mark.parametrize("opset", range(13, 24))
def test_opsets(opset: int) -> None:
    graph = net_of_everything()
    model = to_onnx(graph, opset=opset)
    assert [(i.domain, i.version) for i in model.opset_import] == [("", opset)]
    assert model.ir_version == (11 if opset == 23 else 10)
    inputs = {"image": np.random.default_rng(2).standard_normal((3, 4, 7, 6)).astype(np.float32)}
    assert_close(run_onnx(model, inputs)["logits"], by_torch(graph, inputs))


DEEP = settings.default is not None and settings.default.max_examples > 100


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_op_in_every_opset(opset: int) -> None:
    """One setting of each op, some of what is written in several ways; `make test-deep`: all."""
    left = {"resize": 40, "pad": 40, "local_response_norm": 12}
    for param in ALL:
        case: Case = param.values[0]
        left[case.op] = left.get(case.op, 1) - 1
        if left[case.op] >= 0 or DEEP:
            assert_backends_agree(case, opset)


@pytest.mark.parametrize(("opset", "expected"), [(18, "Gather"), (19, "Pad")])
def test_what_an_opset_lacks_is_not_written(opset: int, expected: str) -> None:
    """onnxruntime takes this mode in older opsets too; others go by the specification."""
    case: Case = next(c.values[0] for c in MORE if c.values[0].named.get("mode") == "wrap")
    model = to_onnx(case.graph(), opset=opset)
    assert [n.op_type for n in model.graph.node if n.op_type != "Constant"] == [expected]
