"""What growc exports it reads back: the same function, no larger, in every opset it writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from growc import dumps, prove, testing
from growc.backends import from_onnx, to_onnx
from growc.ir import OPS, Graph, TensorType
from growc.ir.ops import AdaptivePool, Stored
from growc.proof.numeric import random_inputs

from .backend_cases import by_torch, give_values

torch.set_num_threads(1)

FEW = settings(deadline=None, max_examples=max(6, settings().max_examples // 5))
SOME = settings(deadline=None, max_examples=max(10, settings().max_examples // 2))

OPSETS = st.integers(13, 23)


def one_op(case: testing.Application) -> Graph:
    graph = Graph("net")
    graph.add_input("batch", TensorType((1,)))
    names = [graph.add_input(f"x{i}", type) for i, type in enumerate(case.operands)]
    graph.add(case.op, names, "node")
    graph.set_output("y", "node")
    give_values(graph)
    return graph


def assert_same(before: Graph, after: Graph) -> None:
    """The same function: proved, or as float64 computes it, with factors that are float32."""
    assert after.inputs == before.inputs
    assert set(after.outputs) == set(before.outputs)
    if prove(before, after, "eval").verdict == "proved":
        return
    for batch in (1, 3):
        drawn = random_inputs(before, 0, batch)
        inputs = {n: x if x.dtype == int else x.astype(np.float64) for n, x in drawn.items()}
        a, b = (by_torch(g, inputs, torch.float64) for g in (before, after))
        pairs = [(a[n], b[n]) for n in before.outputs] if isinstance(a, dict) else [(a, b)]
        for x, y in pairs:
            assert x.shape == y.shape
            np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", OPS)
def test_any_op(name: str) -> None:
    @FEW
    @given(testing.ops([name]), OPSETS)
    def holds(case: testing.Application, opset: int) -> None:
        graph = one_op(case)
        model = to_onnx(graph, opset=opset)
        # What onnxruntime's Resize cannot do is written as products with matrices.
        assume("Einsum" not in {n.op_type for n in model.graph.node})
        assert_same(graph, from_onnx(model))

    holds()


@SOME
@given(testing.networks(), OPSETS)
def test_networks(net: Graph, opset: int) -> None:
    model = to_onnx(net, opset=opset)
    assume("Einsum" not in {n.op_type for n in model.graph.node})
    again = from_onnx(model)
    assert_same(net, again)
    # ONNX has no adaptive pooling; a bias that layers share stays a sum with a stored tensor, and a
    # stored tensor that is also an output, repeated for each example, is there twice. A stored
    # tensor of one number is a factor, as far as anyone can tell.
    apart = any(node.shared or isinstance(node.op, AdaptivePool) for node in net)
    apart |= any(np.prod(spec.shape) == 1 for spec in net.parameters().values())
    if not apart and not any(isinstance(net.node(n).op, Stored) for n in net.outputs.values()):
        assert len(again) <= len(net), f"{dumps(net)}\n{dumps(again)}"
