"""ONNX models for the tests, written like arithmetic."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from growc.backends import from_onnx, run_onnx, to_onnx, to_torch
from growc.ir import Graph

Array = NDArray[Any]


class Net:
    """An ONNX model in the making: ``net.op("Relu", x)`` adds a node and returns its result.

    Operands are results, names, or numpy's arrays and numbers, which are stored.
    """

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.stored: dict[str, Array] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.random = np.random.default_rng(seed)

    def input(self, name: str, *shape: Any, kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def op(self, kind: str, *operands: Any, count: int = 1, name: str = "", **more: Any) -> Any:
        known = [o if isinstance(o, str) else self.store(o) for o in operands]
        results = [f"v{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(kind, known, results, name, **more))
        return results[0] if count == 1 else tuple(results)

    def store(self, value: Any, name: str = "") -> str:
        """Numbers as float32, whole ones that are no floats as int64."""
        array = np.asarray(value)
        if array.dtype != np.bool_:
            array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name = name or f"c{len(self.stored)}"
        self.stored[name] = array
        return name

    def weight(self, name: str, *shape: int) -> str:
        return self.store(self.random.standard_normal(shape) / np.sqrt(shape[-1]), name)

    def axes(self, kind: str, x: str, *axes: int, since: int = 13, **more: Any) -> Any:
        """An op whose axes are an attribute until opset ``since``, then an operand."""
        if self.opset < since:
            return self.op(kind, x, axes=list(axes), **more)
        return self.op(kind, x, list(axes), **more)

    def mean(self, x: str, *axes: int) -> Any:
        return self.axes("ReduceMean", x, *axes, since=18)

    def model(self, *outputs: str) -> onnx.ModelProto:
        values = [helper.make_empty_tensor_value_info(o) for o in outputs]
        graph = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            values,
            [numpy_helper.from_array(a, n) for n, a in self.stored.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def drawn(model: onnx.ModelProto, batch: int, vary: int = 0) -> dict[str, Array]:
    """Random inputs: whole numbers from 0 to 4, conditions, or N(0, 1)."""
    found: dict[str, Array] = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        random = np.random.default_rng([batch, vary, len(found)])
        shape = [batch, *(d.dim_value for d in kind.shape.dim[1:])]
        if kind.elem_type in (TensorProto.INT64, TensorProto.INT32):
            found[value.name] = random.integers(0, 5, shape).astype(
                helper.tensor_dtype_to_np_dtype(kind.elem_type)
            )
        elif kind.elem_type == TensorProto.BOOL:
            found[value.name] = random.random(shape) < 0.6
        else:
            found[value.name] = random.standard_normal(shape).astype(np.float32)
    return found


def read_rightly(model: onnx.ModelProto, batches: Any = (1, 2, 3), rtol: float = 1e-4) -> Graph:
    """What growc reads of a model, which computes what onnxruntime does of it, and of growc's own
    export, for batches of several sizes."""
    import torch

    graph = from_onnx(model)
    module = to_torch(graph, dtype=torch.float64).eval()
    again = to_onnx(graph)
    for batch in batches:
        inputs = drawn(model, batch)
        expected = run_onnx(model, inputs)
        given = {n: x.astype(np.int64) if x.dtype.kind in "ib" else x for n, x in inputs.items()}
        tensors = [torch.from_numpy(given[name]) for name in graph.inputs]
        result = module(*(t.double() if t.is_floating_point() else t for t in tensors))
        results = result if isinstance(result, dict) else {next(iter(graph.outputs)): result}
        exported = run_onnx(again, given)
        for name, wanted in expected.items():
            scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
            for found in (results[name].detach().numpy(), exported[name]):
                assert found.shape == wanted.shape
                np.testing.assert_allclose(found, wanted, rtol=0, atol=rtol * scale)
    return graph


def kinds(graph: Graph) -> dict[str, int]:
    """How often which op, inputs and stored tensors left out."""
    return dict(
        Counter(n.op.name for n in graph if n.op.name not in ("input", "parameter", "constant"))
    )
