"""Stored tensors, what depends on no input, tokens and attention, beyond one op at a time."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from growc.backends import run_onnx, to_onnx, to_torch, weights_of, with_weights_of
from growc.ir import Graph, GrowcError, TensorType, ops, same_weights
from growc.proof import compare, compare_runtimes
from growc.proof.numeric import random_inputs

from .backend_cases import Array, assert_close, by_torch, give_values


def vision_net() -> Graph:
    """Stored tensors beside, inside and below modules; joined, attended to, and given out."""
    graph = Graph("net")
    graph.add_input("tokens", TensorType((4,), "i64"))
    graph.add_input("x", TensorType((4, 6)))
    graph.add(ops.Embedding(7, 6), ["tokens"], "blocks.0.embed")
    graph.add(ops.Parameter([4, 6]), [], "blocks.0.gamma")
    graph.add(ops.Parameter([6], batch=True), [], "blocks.0.embed.beta")
    graph.add(ops.Parameter([1, 6], batch=True), [], "cls")
    graph.add(ops.Constant([5, 5]), [], "mask")
    graph.add(ops.Mul(), ["blocks.0.embed", "blocks.0.gamma"], "scaled")
    graph.add(ops.Add(), ["scaled", "x", "blocks.0.embed.beta"], "sum")
    graph.add(ops.Relu(), ["cls"], "cls.relu")
    graph.add(ops.Concat(), ["cls.relu", "sum"], "joined")
    graph.add(ops.Attention(2, True), ["joined", "joined", "joined", "mask"], "blocks.0.attn")
    graph.add(ops.Attention(3), ["cls.relu", "blocks.0.attn", "blocks.0.attn"], "pool")
    graph.add(ops.Linear(3), ["pool"], "head")
    graph.add(ops.Add(), ["blocks.0.embed.beta", "blocks.0.gamma"], "free")
    graph.set_output("logits", "head")
    graph.set_output("free", "free")
    graph.set_output("start", "cls")
    graph.set_output("again", "cls")
    give_values(graph)
    return graph


def inputs_of(graph: Graph, batch: int) -> dict[str, Array]:
    found = random_inputs(graph, 5, batch)
    return {n: x if x.dtype == np.int64 else x.astype(np.float32) for n, x in found.items()}


KEYS = {
    "blocks.0.embed.weight",
    "blocks.0.gamma",
    "blocks.0.embed.beta",
    "cls",
    "mask",
    "head.weight",
    "head.bias",
}


def test_stored_tensors_are_at_their_nodes_names() -> None:
    module: Any = to_torch(vision_net())
    assert set(module.state_dict()) == KEYS
    assert set(dict(module.named_parameters())) == KEYS - {"mask"}
    assert dict(module.named_buffers()).keys() >= {"mask"}
    assert isinstance(module.blocks.get_submodule("0.embed"), nn.Embedding)
    assert module.cls.shape == (1, 1, 6)
    assert module.blocks.get_parameter("0.gamma").shape == (4, 6)


def test_the_values_come_back() -> None:
    graph = vision_net()
    module = to_torch(graph)
    assert same_weights(with_weights_of(graph, module), graph)
    result = module(*(torch.from_numpy(x) for x in inputs_of(graph, 3).values()))
    sum(r.square().sum() for r in result.values()).backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    moved = weights_of(graph, module)
    changed = {k for k in KEYS if not np.array_equal(moved[k], graph.weights[k])}
    assert changed == KEYS - {"mask"}
    shared: Any = to_torch(graph, share=True)
    assert shared.cls.data_ptr() == graph.weights["cls"].ctypes.data


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copies_have_the_same_tensors(twin: Any, dtype: torch.dtype) -> None:
    graph = vision_net()
    module = to_torch(graph, dtype=dtype).eval()
    inputs = [torch.from_numpy(x) for x in inputs_of(graph, 2).values()]
    inputs[1] = inputs[1].to(dtype)
    other = twin(module)
    assert list(other.state_dict()) == list(module.state_dict())
    with torch.no_grad():
        other.mask.add_(1.0)  # a buffer, read again at every call
        other.get_parameter("cls").add_(1.0)
        module.mask.add_(1.0)
        module.get_parameter("cls").add_(1.0)
    expected = module(*inputs)
    for name, result in other(*inputs).items():
        assert torch.equal(result, expected[name])


@pytest.mark.parametrize("opset", [13, 14, 15, 18, 20, 23])
def test_any_batch_in_onnx(opset: int) -> None:
    graph = vision_net()
    model = to_onnx(graph, opset=opset)
    assert {t.name for t in model.graph.initializer} == KEYS
    for batch in (1, 2, 4, 6):  # 4 tokens, 6 features: never taken for the batch
        inputs = inputs_of(graph, batch)
        expected = by_torch(graph, inputs)
        found = run_onnx(model, inputs)
        for name in graph.outputs:
            assert found[name].shape == (batch, *graph.node(graph.outputs[name]).type.shape)
            assert_close(found[name], expected[name])
        np.testing.assert_array_equal(found["start"], found["again"])
    shapes = [n for n in model.graph.node if n.op_type == "Shape"]
    assert len(shapes) == 1  # the batch's size is asked for once


def test_what_is_alone_is_not_expanded() -> None:
    """A position embedding is added as it is."""
    graph = Graph("net")
    graph.add_input("x", TensorType((4, 6)))
    graph.add(ops.Parameter([1, 6]), [], "pos")
    graph.add(ops.Add(), ["x", "pos"], "y")
    graph.set_output("y", "y")
    give_values(graph)
    assert [n.op_type for n in to_onnx(graph).graph.node] == ["Constant", "Unsqueeze", "Add"]
    calls = [n.op for n in to_torch(graph).graph.nodes]
    assert calls == ["placeholder", "get_attr", "call_function", "call_function", "output"]


def test_tied_stored_tensors() -> None:
    graph = Graph("net")
    graph.add_input("x", TensorType((3,)))
    graph.add(ops.Parameter([3, 3]), [], "matrix")
    graph.add(ops.Linear(3, bias=False), ["x"], "a", shared={"weight": "matrix"})
    graph.add(ops.Parameter([3, 3]), [], "again", shared={"": "a.twin"})
    graph.add(ops.Linear(3, bias=False), ["a"], "b", shared={"weight": "a.twin"})
    graph.add(ops.MatMul(), ["matrix", "again"], "product")
    graph.add(ops.Add(), ["b", "product"], "y")
    graph.set_output("y", "y")
    give_values(graph)
    module: Any = to_torch(graph)
    assert module.a.weight is module.matrix
    assert module.b.weight is module.again
    assert set(module.state_dict()) == {"matrix", "a.weight", "again", "b.weight"}
    assert set(weights_of(graph, module)) == {"matrix", "a.twin"}
    inputs = inputs_of(graph, 2)
    assert_close(run_onnx(to_onnx(graph), inputs)["y"], by_torch(graph, inputs))


@pytest.mark.parametrize("name", ["train", "self", "head.weight", "a.type"])
def test_names_that_a_tensor_cannot_have_are_refused(name: str) -> None:
    graph = Graph("net")
    graph.add_input("x", TensorType((4,)))
    graph.add(ops.Linear(4), ["x"], "head")
    graph.add(ops.Parameter([4]), [], name)
    graph.add(ops.Add(), ["head", name], "y")
    graph.set_output("y", "y")
    give_values(graph)
    with pytest.raises(GrowcError, match=f"the node `{name}` cannot keep its name in PyTorch"):
        to_torch(graph)


def test_a_module_below_a_tensor_is_refused() -> None:
    graph = Graph("net")
    graph.add_input("x", TensorType((4,)))
    graph.add(ops.Parameter([4]), [], "pos")
    graph.add(ops.Linear(4), ["pos"], "pos.linear")
    graph.add(ops.Add(), ["x", "pos.linear"], "y")
    graph.set_output("y", "y")
    give_values(graph)
    with pytest.raises(GrowcError, match=r"the node `pos\.linear` cannot keep its name"):
        to_torch(graph)


def test_a_batch_norm_of_a_parameter_trains() -> None:
    """Its statistics are those of the batch, in which the tensor is repeated."""
    graph = Graph("net")
    graph.add_input("x", TensorType((3,)))
    graph.add(ops.Parameter([3]), [], "p")
    graph.add(ops.BatchNorm(), ["p"], "norm")
    graph.add(ops.Concat(), ["x", "norm"], "y")
    graph.set_output("y", "y")
    give_values(graph)
    module = to_torch(graph)
    result = module(torch.randn(4, 3))
    torch.testing.assert_close(result[:, 3:], module.norm.bias.expand(4, -1))  # type: ignore[union-attr, operator]
    inputs = inputs_of(graph, 3)
    assert_close(run_onnx(to_onnx(graph), inputs)["y"], by_torch(graph, inputs))


# ---- tokens


def test_random_tokens_are_valid() -> None:
    """Below the smallest table that they reach, moved as they may be; else 0 or 1."""
    graph = Graph("net")
    for name in ("a", "b", "c"):
        graph.add_input(name, TensorType((50,), "i64"))
    graph.add(ops.Concat(), ["a", "b"], "joined")
    graph.add(ops.Slice(10), ["joined"], "part")
    graph.add(ops.Embedding(5, 2), ["part"], "small")
    graph.add(ops.Embedding(9, 2), ["b"], "large")
    graph.add(ops.Embedding(9, 2), ["a"], "other")
    graph.add(ops.ToFloat(), ["c"], "numbers")
    for name in ("small", "large", "other", "numbers"):
        graph.set_output(name, name)
    give_values(graph)
    drawn = random_inputs(graph, 0, 8)
    assert {x.dtype for x in drawn.values()} == {np.dtype(np.int64)}
    assert [set(drawn[n].ravel().tolist()) for n in "abc"] == [set(range(5)), set(range(5)), {0, 1}]
    assert compare(graph, graph.copy()).worst.max_abs == 0
    comparison, _ = compare_runtimes(graph, to_onnx(graph))
    assert comparison.agrees


def test_tokens_in_any_precision() -> None:
    graph = Graph("net")
    graph.add_input("tokens", TensorType((4,), "i64"))
    graph.add(ops.ToFloat(), ["tokens"], "numbers")
    graph.add(ops.Linear(2), ["numbers"], "y")
    graph.set_output("y", "y")
    give_values(graph)
    tokens = torch.tensor([[0, 1, 2, 3]])
    for module in (to_torch(graph, dtype=torch.float64), to_torch(graph).double()):
        assert module(tokens).dtype == torch.float64
        assert set(module.state_dict()) == {"y.weight", "y.bias"}
    assert to_torch(graph).bfloat16()(tokens).dtype == torch.bfloat16


def test_numbers_are_no_tokens() -> None:
    graph = Graph("net")
    graph.add_input("tokens", TensorType((2,), "i64"))
    graph.add(ops.Embedding(3, 2), ["tokens"], "y")
    graph.set_output("y", "y")
    give_values(graph)
    model = to_onnx(graph)
    small = run_onnx(model, {"tokens": np.array([[0, 2]], np.int8)})["y"]
    np.testing.assert_array_equal(small[0], graph.weights["y.weight"][[0, 2]])
    for wrong in (np.array([[0.0, 1.0]]), np.array([[0, 3]])):
        with pytest.raises(GrowcError, match="onnxruntime cannot run the model"):
            run_onnx(model, {"tokens": wrong})


# ---- attention


def attention_net(**settings: Any) -> Graph:
    graph = Graph("net")
    for name, shape in (("q", (5, 8)), ("k", (6, 8)), ("v", (6, 6)), ("mask", (5, 6))):
        graph.add_input(name, TensorType(shape))
    graph.add(ops.Attention(2, **settings), ["q", "k", "v", "mask"], "attn")
    graph.set_output("y", "attn")
    return graph


@pytest.mark.parametrize("causal", [False, True])
def test_attention_drops_weights_while_training(causal: bool) -> None:
    graph = attention_net(causal=causal, dropout=0.25)
    module: Any = to_torch(graph)
    shapes = [graph.node(name).type.shape for name in graph.inputs]
    q, k, _, mask = (torch.randn(400, *shape) for shape in shapes)
    # As many values as tokens in each head, and only their own one is 1: the results are weights.
    v = torch.zeros(400, 6, 6)
    v[:, range(3), range(3)] = v[:, range(3), range(3, 6)] = 1.0
    kept = module.eval()(q, k, v, mask)
    for explicit in (False, True):
        module.attn.explicit = explicit
        dropped = module.train()(q, k, v, mask)
        is_zero = (dropped == 0) & (kept != 0)
        share = float(is_zero.sum() / (kept != 0).sum())
        assert abs(share - 0.25) < 0.03
        torch.testing.assert_close(dropped[~is_zero], kept[~is_zero] / 0.75)
        torch.testing.assert_close(module.eval()(q, k, v, mask), kept)


def test_the_numeric_check_fixes_what_attention_drops() -> None:
    graph = attention_net(dropout=0.5)
    assert compare(graph, graph.copy()).worst.max_abs == 0
    other = attention_net(dropout=0.4)
    differences = {d.mode: d.max_abs for d in compare(graph, other).differences}
    assert differences["eval"] == 0
    assert differences["train"] > 0.1


def test_attention_without_dropout_is_no_module() -> None:
    graph = attention_net()
    assert not list(to_torch(graph).children())
    text = to_torch(graph).code
    assert text.count("unflatten") == 3  # q, k and v


# ---- what lowerings hold beside the parameters


def test_constants_move_with_the_module() -> None:
    graph = Graph("net")
    graph.add_input("x", TensorType((3, 4, 5)))
    graph.add(ops.Resize([7, 3], "linear", "asymmetric"), ["x"], "resize")
    graph.add(ops.Gather([2, 0]), ["resize"], "gather")
    graph.set_output("y", "gather")
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    module = to_torch(graph)
    assert not module.state_dict()
    expected = to_torch(graph, dtype=torch.float64)(torch.from_numpy(x))
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 0.05)):
        for twin in (module, pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
            result = twin.to(dtype)(torch.from_numpy(x).to(dtype))
            assert result.dtype == dtype
            torch.testing.assert_close(result.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("pads", ["valid", 1, [0, 2, 2, 1]])
def test_masked_transposed_convolution(pads: Any) -> None:
    graph = Graph("net")
    graph.add_input("x", TensorType((4, 5, 3)))
    op = ops.ConvTranspose2d(6, 3, 2, pads, extra=1, groups=2)
    graph.add(op, ["x"], "up")
    graph.set_output("y", "up")
    give_values(graph)
    random = np.random.default_rng(0)
    for key in ("up.weight", "up.bias"):
        mask = random.random(graph.weights[key].shape) < 0.5
        graph.weights.put(key, np.where(mask, graph.weights[key], np.float32(0)), mask)
    dense = graph.copy()
    dense.weights.masks.clear()
    inputs = inputs_of(graph, 2)
    assert_close(by_torch(graph, inputs), by_torch(dense, inputs))
    assert_close(run_onnx(to_onnx(graph), inputs)["y"], by_torch(dense, inputs))
    module: Any = to_torch(graph)
    module(torch.from_numpy(inputs["x"])).square().sum().backward()
    missing = ~torch.from_numpy(graph.weights.masks["up.weight"])
    assert not module.up.weight.grad[missing].any()
    assert module.up.weight.grad[~missing].any()
    assert same_weights(with_weights_of(graph, module), graph)
