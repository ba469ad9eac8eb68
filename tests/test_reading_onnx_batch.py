"""Where foreign models have their batch: what is read computes any number of examples alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from growc import GrowcError
from growc.backends import from_onnx, run_onnx, to_onnx
from growc.ir import Graph

from .onnx_building import Net, drawn, kinds, read_rightly

torch.set_num_threads(1)

T, D = 6, 4


def shape_of(net: Net, x: str, axis: int) -> Any:
    """One size of a tensor, as exporters ask for it."""
    return net.axes("Unsqueeze", net.op("Gather", net.op("Shape", x), axis, axis=0), 0)


def chain(net: Net, x: str, *rest: int) -> Any:
    """Shape → Gather → Concat → Reshape."""
    return net.op("Reshape", x, net.op("Concat", shape_of(net, x, 0), list(rest), axis=0))


def linear(net: Net, x: str) -> Any:
    return net.op("MatMul", x, net.weight("linear.weight", D, D))


def back(net: Net, x: str) -> Any:
    return net.op("Transpose", x, perm=[1, 0, 2])


def tokens_first(net: Net, x: str) -> Any:
    y = net.op("Relu", linear(net, back(net, x)))
    return back(net, net.op("Add", y, net.weight("pos", T, 1, D)))


def softmax_over_tokens_first(net: Net, x: str) -> Any:
    return back(net, net.op("Softmax", back(net, x), axis=0))


def merged_with_tokens(net: Net, x: str) -> Any:
    flat = net.op("Reshape", x, [-1, D])
    y = net.op("Gemm", flat, net.weight("fc.weight", 3, D), net.weight("fc.bias", 3), transB=1)
    return net.op("Reshape", net.op("Relu", y), [-1, T, 3])


def merged_and_split_by_shape(net: Net, x: str) -> Any:
    y = linear(net, net.op("Reshape", x, [-1, D]))
    target = net.op("Concat", shape_of(net, x, 0), shape_of(net, x, 1), [D], axis=0)
    return net.op("Reshape", y, target)


def merged_behind(net: Net, x: str) -> Any:
    """[T, B, D] → [T, B·D] and back."""
    flat = net.op("Reshape", back(net, x), [T, -1])
    return back(net, net.op("Reshape", net.op("Tanh", flat), [T, -1, D]))


def merged_with_heads(net: Net, x: str) -> Any:
    four = net.op("Reshape", x, [0, T, 2, D // 2])
    heads = net.op("Transpose", four, perm=[0, 2, 1, 3])
    flat = net.op("Reshape", heads, [-1, T, D // 2])
    scores = net.op("MatMul", flat, net.op("Transpose", flat, perm=[0, 2, 1]))
    y = net.op("MatMul", net.op("Softmax", scores, axis=-1), flat)
    y = net.op("Transpose", net.op("Reshape", y, [-1, 2, T, D // 2]), perm=[0, 2, 1, 3])
    return net.op("Reshape", y, [0, 0, D])


def class_token(net: Net, x: str) -> Any:
    target = net.op("Concat", shape_of(net, x, 0), [1, D], axis=0)
    token = net.op("Expand", net.weight("token", 1, 1, D), target)
    return net.op("Concat", token, x, axis=1)


def class_token_by_tile(net: Net, x: str) -> Any:
    times = net.op("Concat", shape_of(net, x, 0), [1, 1], axis=0)
    return net.op("Concat", net.op("Tile", net.weight("token", 1, 1, D), times), x, axis=1)


def class_token_by_where(net: Net, x: str) -> Any:
    """Expand as torch exports it: -1 is looked for in the target."""
    target = net.op("Concat", shape_of(net, x, 0), [-1, -1], axis=0)
    minus = net.op("Equal", target, [-1, -1, -1])
    whole = net.op("Where", minus, net.op("ConstantOfShape", [3], value=one()), target)
    return net.op("Concat", net.op("Expand", net.weight("token", 1, 1, D), whole), x, axis=1)


def one() -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.ones(1, np.int64))


def zeros_of_shape(net: Net, x: str) -> Any:
    zeros = net.op("ConstantOfShape", net.op("Shape", x))
    return net.op("Concat", x, zeros, axis=2)


def positions(net: Net, x: str) -> Any:
    """A table looked up by 0, 1, 2, … up to the number of tokens."""
    count = net.op("Gather", net.op("Shape", x), 1, axis=0)
    numbers = net.op("Range", 0, count, 1)
    return net.op("Add", x, net.op("Gather", net.weight("positions", 9, D), numbers, axis=0))


def flattened_by_size(net: Net, x: str) -> Any:
    """The features from the whole size of the tensor."""
    size = net.op("Size", x)
    count = net.op("Gather", net.op("Shape", x), 0, axis=0)
    features = net.axes("Unsqueeze", net.op("Div", size, count), 0)
    return net.op("Reshape", x, net.op("Concat", [-1], features, axis=0))


def batch_behind_everything(net: Net, x: str) -> Any:
    y = net.op("Transpose", x, perm=[1, 2, 0])
    y = net.op("Mul", y, net.weight("scale", T, D, 1))
    y = net.op("ReduceMax", y, axes=[0], keepdims=1)
    return net.op("Transpose", y, perm=[2, 0, 1])


def one_axis_in_front(net: Net, x: str) -> Any:
    y = net.axes("Unsqueeze", x, 0)
    y = net.op("Add", y, net.weight("w", 1, 1, T, D))
    return net.axes("Squeeze", net.op("Relu", y), 0)


def gathered(net: Net, x: str) -> Any:
    """The first token, by a scalar index."""
    return net.op("Gather", x, 0, axis=1)


def repeated(net: Net, x: str) -> Any:
    """Keys and values of one head for several: [B, 1, T, D] → [B, 3, T, D] → [B·3, T, D]."""
    target = net.op("Concat", shape_of(net, x, 0), [3, T, D], axis=0)
    wide = net.op("Expand", net.axes("Unsqueeze", x, 1), target)
    flat = net.op("Reshape", wide, [-1, T, D])
    return net.op("Reshape", net.op("Sin", flat), [-1, 3, T, D])


LAYOUTS: list[Callable[[Net, str], Any]] = [
    lambda net, x: chain(net, x, -1),
    lambda net, x: chain(net, x, D, T),
    tokens_first,
    softmax_over_tokens_first,
    merged_with_tokens,
    merged_and_split_by_shape,
    merged_behind,
    merged_with_heads,
    class_token,
    class_token_by_tile,
    class_token_by_where,
    zeros_of_shape,
    positions,
    flattened_by_size,
    batch_behind_everything,
    one_axis_in_front,
    gathered,
    repeated,
]


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_layout(layout: Callable[[Net, str], Any], batch: int | str) -> None:
    """With the batch open, or of a fixed size in the model: growc then leaves it open, and computes
    each example as the model does."""
    net = Net(14)
    made = net.model(layout(net, net.input("x", batch, T, D)))
    if batch == "N":
        read_rightly(made, batches=(1, 2, 5))
        return
    graph = read_rightly(made, batches=(batch,))
    net = Net(14)
    for other in (1, 3):
        open_model = net.model(layout(net, net.input("x", "N", T, D)))
        assert_same_examples(graph, open_model, other)
        net = Net(14)


def assert_same_examples(graph: Graph, open_model: onnx.ModelProto, batch: int) -> None:
    """What was read of a model of a fixed batch, against the same model with an open one."""
    inputs = drawn(open_model, batch)
    (expected,) = run_onnx(open_model, inputs).values()
    (found,) = run_onnx(to_onnx(graph), inputs).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_written_out(batch: int) -> None:
    """Its size stands in shapes; growc's network takes any batch."""
    net = Net(14)
    x = net.input("x", batch, T, D)
    flat = net.op("Relu", net.op("Reshape", x, [batch * T, D]))
    made = net.model(net.op("Reshape", linear(net, flat), [batch, T, D]))
    graph = read_rightly(made, batches=(batch,))
    assert kinds(graph) == {"relu": 1, "linear": 1}


def test_a_constant_of_the_batch() -> None:
    """A stored tensor with a row for each example, all the same."""
    net = Net(14)
    x = net.input("x", 4, T, D)
    same = np.broadcast_to(net.random.standard_normal((1, T, D)), (4, T, D))
    graph = read_rightly(net.model(net.op("Add", x, same)), batches=(4,))
    assert kinds(graph) == {"add": 1}


REFUSED: dict[str, tuple[Callable[[Net, str], Any], str]] = {
    "sum over the batch": (
        lambda n, x: n.op("ReduceMean", x, axes=[0], keepdims=1),
        "(ReduceMean): it works along the batch axis",
    ),
    "softmax over the batch": (
        lambda n, x: n.op("Softmax", x, axis=0),
        "(Softmax): it works along the batch axis",
    ),
    "number of examples": (
        lambda n, x: n.op("Div", x, n.op("Cast", shape_of(n, x, 0), to=1)),
        "computes with the number of examples",
    ),
    "numbered examples": (
        lambda n, x: n.op(
            "Add",
            x,
            n.op(
                "Reshape",
                n.op("Cast", n.op("Range", 0, n.op("Squeeze", shape_of(n, x, 0)), 1), to=1),
                [-1, 1, 1],
            ),
        ),
        "differs along the batch axis",
    ),
    "first examples": (
        lambda n, x: n.op("Slice", x, [0], [100], [0]),
        "it takes a part of the batch",
    ),
    "last example": (
        lambda n, x: n.op("Slice", x, [-1], [2**31 - 1], [0]),
        "it takes a part of the batch",
    ),
    "one example": (lambda n, x: n.op("Gather", x, 0, axis=0), "it takes a part of the batch"),
    "backwards": (
        lambda n, x: n.op("Slice", x, [-1], [-(2**31)], [0], [-1]),
        "it takes a part of the batch",
    ),
    "between examples": (
        lambda n, x: n.op("MatMul", n.op("Flatten", x), n.op("Transpose", n.op("Flatten", x))),
        "batch",
    ),
    "mixed": (
        lambda n, x: n.op("Reshape", n.op("Transpose", x, perm=[1, 0, 2]), [-1, 2, D]),
        "which mixes the batch with other axes",
    ),
    "still merged": (
        lambda n, x: n.op("Reshape", x, [-1, D]),
        "its batch is merged with another axis",
    ),
    "a convolution of tokens first": (
        lambda n, x: n.op("Conv", n.op("Transpose", x, perm=[1, 2, 0]), n.weight("w", 2, D, 1)),
        "its operand has the batch as axis 2, not as the first",
    ),
    "a convolution of each token": (
        lambda n, x: n.op("Conv", n.op("Reshape", x, [-1, 1, 2, 2]), n.weight("w", 3, 1, 2, 2)),
        "its operand has the batch merged with another axis",
    ),
    "doubled": (lambda n, x: n.op("Concat", x, x, axis=0), "it works along the batch axis"),
    "tiled": (lambda n, x: n.op("Tile", x, [2, 1, 1]), "it works along the batch axis"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_batch(name: str) -> None:
    build, expected = REFUSED[name]
    net = Net(14)
    made = net.model(build(net, net.input("x", "N", T, D)))
    with pytest.raises(GrowcError) as error:
        from_onnx(made)
    assert expected in str(error.value)


def test_an_axis_as_long_as_the_stand_in() -> None:
    """127 stands for the batch while a model is read, unless it has another meaning there."""
    net = Net(14)
    x = net.input("x", "N", 60, 2)
    wide = net.op("Concat", x, net.op("Pad", x, [0, 0, 0, 0, 7, 0]), axis=1)
    made = net.model(net.op("Reshape", net.op("Transpose", wide, perm=[1, 0, 2]), [127, -1, 2]))
    graph = from_onnx(made)
    (output,) = graph.outputs.values()
    assert graph.node(output).type.shape == (127, 2)


def test_outputs_get_their_batch_in_front() -> None:
    net = Net(14)
    notes: list[str] = []
    made = net.model(net.op("Relu", back(net, net.input("x", "N", T, D))))
    graph = from_onnx(made, notes=notes)
    assert notes == [
        f"the output `{made.graph.output[0].name}` has the batch as its first axis now"
    ]
    assert graph.node(graph.outputs[made.graph.output[0].name]).type.shape == (T, D)


def test_inputs_of_conditions_and_small_integers() -> None:
    net = Net(14)
    x = net.input("x", "N", T, kind=onnx.TensorProto.BOOL)
    z = net.input("z", "N", T, kind=onnx.TensorProto.INT32)
    kept = net.op("And", x, net.op("Not", net.op("Equal", z, 3)))
    table = net.op("Gather", net.weight("table", 5, D), z, axis=0)
    y = net.op("Where", net.axes("Unsqueeze", kept, 2), table, 0.0)
    made = net.model(y)
    made.graph.initializer[[i.name for i in made.graph.initializer].index("c0")].CopyFrom(
        onnx.numpy_helper.from_array(np.array(3, np.int32), "c0")
    )
    notes: list[str] = []
    from_onnx(made, notes=notes)
    assert notes == ["the input `x` takes int64 now", "the input `z` takes int64 now"]
    read_rightly(made)


def test_inputs_without_a_common_batch() -> None:
    net = Net(14)
    y = net.op("Add", net.input("a", 3, T), net.input("b", 1, T))
    with pytest.raises(GrowcError, match="first axes of different sizes"):
        from_onnx(net.model(y))


def test_the_batch_may_be_given() -> None:
    net = Net(14)
    made = net.model(net.op("Add", net.input("a", "rows", T), net.input("b", 3, T)))
    inputs = drawn(made, 3)
    graph = from_onnx(made, sizes={"rows": 3})
    assert graph.inputs == ("a", "b")
    assert run_onnx(made, inputs)
