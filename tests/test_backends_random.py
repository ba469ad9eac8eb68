"""Random instances of every op: the type that the IR infers, and both backends alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from growc import testing
from growc.backends import Session, to_onnx
from growc.ir import OPS, Graph, TensorType
from growc.ir.ops import LocalResponseNorm
from growc.proof.numeric import random_inputs

from .backend_cases import by_torch, give_values

torch.set_num_threads(1)

FEW = settings(deadline=None, max_examples=max(8, settings().max_examples // 8))


def one_op(case: testing.Application) -> Graph:
    graph = Graph("net")
    graph.add_input("batch", TensorType((1,)))
    names = [graph.add_input(f"x{i}", type) for i, type in enumerate(case.operands)]
    graph.add(case.op, names, "node")
    graph.set_output("y", "node")
    give_values(graph)
    return graph


@pytest.mark.parametrize("name", OPS)
def test_any_instance(name: str) -> None:
    @FEW
    @given(testing.ops([name]))
    def holds(case: testing.Application) -> None:
        graph = one_op(case)
        session = Session(to_onnx(graph))
        for batch in (1, 3):
            drawn = random_inputs(graph, 0, batch)
            inputs = {n: x if x.dtype == int else x.astype(np.float32) for n, x in drawn.items()}
            result = by_torch(graph, inputs)
            assert result.shape == (batch, *case.result.shape)
            assert result.dtype == {"f32": torch.float32, "i64": torch.int64}[case.result.dtype]
            # Near a pole, such as the tangent's, rounding is large in proportion to the result.
            # Of negative numbers a logarithm is NaN, in both.
            found = session.run(inputs)["y"]
            # onnxruntime moves a window's sum of squares along by adding and subtracting, which
            # leaves 1e-7 of the largest square, here some 10, beside a bias that may be as small.
            rtol = 1e-4 + (1e-6 / case.op.bias if isinstance(case.op, LocalResponseNorm) else 0)
            np.testing.assert_allclose(found, result, rtol=rtol, atol=1e-5, equal_nan=True)

    holds()
