"""Working out what a model computes from constants alone: shapes, masks, positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from .values import Unreadable

Array = NDArray[Any]

LEAST = 2**22
"""So many numbers a constant may always have."""


class Budget:
    """How much a model's constants may take: a file of some bytes can ask for any number of them.

    Weights that are turned, scaled or joined are as large as they were in the file, so what is
    stored there says what is reasonable.
    """

    def __init__(self, stored: int) -> None:
        self.one = LEAST + 2 * stored
        self.left = 4 * LEAST + 8 * stored

    def take(self, size: int, what: str = "its constant result") -> None:
        """Raise :class:`Unreadable` if a constant of ``size`` numbers is too large."""
        self.left -= size
        if size > self.one or self.left < 0:
            raise Unreadable(
                f"{what} would have {size:,} numbers, which is more than the size of the file "
                "explains"
            )


def work_out(node: onnx_ir.Node, arrays: Sequence[Array | None], opset: int) -> list[Array]:
    """The results of a node whose operands are all known, by ONNX's reference evaluator."""
    try:
        proto = onnx_ir.serde.serialize_node(node)
        evaluator = ReferenceEvaluator(proto, opsets={"": opset})
        pairs = zip(node.inputs, arrays, strict=True)
        given = {v.name or "": a for v, a in pairs if v is not None}
        found: Any = evaluator.run(None, given)
    except Exception as error:  # whatever the operator's own implementation raises
        text = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(f"its constant result cannot be worked out ({text[:200]})") from error
    results = [np.asarray(a) for a in found]
    if any(a.dtype.kind not in "fiub" for a in results):
        raise Unreadable("its constant result has no numbers")
    return results


def size_of(op: str, attributes: dict[str, Any], arrays: Sequence[Array | None]) -> int:
    """At most how many numbers the result of an op of :data:`WORKED_OUT` has."""
    given = [a for a in arrays if a is not None]
    first = int(given[0].size) if given else 0
    if op in BROADCASTING:
        return math.prod(np.broadcast_shapes(*(a.shape for a in given)))
    if op == "Range":
        start, limit, delta = (float(a.reshape(())) for a in given)
        if not delta:
            raise Unreadable("its step is 0")
        return max(0, math.ceil((limit - start) / delta))
    if op == "Expand":
        return math.prod(np.broadcast_shapes(given[0].shape, tuple(_ints(given[1]))))
    if op == "Tile":
        return first * math.prod(_ints(given[1]))
    if op == "OneHot":
        return first * abs(_ints(given[1])[0])
    if op == "Pad":
        widths = _ints(given[1]) if len(given) > 1 else list(attributes.get("pads", ()))
        return (first + 1) * math.prod(1 + max(0, n) for n in widths)
    if op in ("Gather", "GatherND"):
        return int(first * given[1].size)
    if op in ("MatMul", "Gemm"):
        return int(first * given[1].size) // int(max(1, min(given[0].shape[-1:] or (1,))))
    return sum(a.size for a in given) * (given[0].ndim if op == "NonZero" else 1)


def _ints(array: Array) -> list[int]:
    return [int(n) for n in array.reshape(-1)]


BROADCASTING = frozenset(
    "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less "
    "LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor".split()
)

WORKED_OUT = BROADCASTING | frozenset(
    "Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Clip "
    "Compress Concat Cos Cosh CumSum DequantizeLinear Erf Exp Expand EyeLike Floor Gather "
    "GatherElements GatherND Gemm Identity IsInf IsNaN Log LpNormalization MatMul Neg NonZero Not "
    "OneHot Pad Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax "
    "ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Round Scatter ScatterElements "
    "ScatterND Sigmoid Sign Sin Sinh Size Slice Softmax Split Sqrt Tan Tanh Tile TopK Trilu "
    "Unique".split()
)
"""Ops that are worked out where all of their operands are constants. No graphs within graphs, no
random numbers, and nothing that computes for long."""
