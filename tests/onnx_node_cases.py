"""The onnx package's own test cases of single nodes, in forms that growc can read.

growc takes the first axis of every input as the batch, so a case is tried as it is, with all
operands but the first stored, and with a new axis in front of everything.
"""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]

NEWEST, OLDEST = 23, 7


@dataclass(frozen=True)
class Form:
    """One way to ask for what a case computes."""

    what: str
    model: onnx.ModelProto
    inputs: dict[str, Array]
    outputs: list[Array]


@dataclass(frozen=True)
class NodeCase:
    """A node, its operands and the results that the onnx package expects."""

    name: str
    node: onnx.NodeProto
    opset: int
    inputs: dict[str, Array]
    outputs: list[Array]
    rtol: float

    def forms(self) -> Iterator[Form]:
        """The case as models whose first axes are batches."""
        names = [n for n in self.node.input if n]
        floats = [n for n in names if self.inputs[n].dtype.kind not in "iub"]
        for kept in dict.fromkeys((tuple(names[:1]), tuple(floats), tuple(names))):
            if kept:
                yield from self._as_it_is(kept)
                yield from self._in_front(kept)

    def _as_it_is(self, kept: tuple[str, ...]) -> Iterator[Form]:
        first = {self.inputs[n].shape[:1] for n in kept}
        if len(first) == 1 and first != {()}:
            inputs = {n: self.inputs[n] for n in kept}
            for fixed in (False, True):
                if all(o.shape[:1] == min(first) for o in self.outputs):
                    what = f"{', '.join(kept)} as they are{', the batch fixed' * fixed}"
                    yield self._form(what, self.node, inputs, {}, self.outputs, fixed)

    def _in_front(self, kept: tuple[str, ...]) -> Iterator[Form]:
        """With an axis of size 2 in front of the operands ``kept`` and of the results."""
        node = copy.deepcopy(self.node)
        ranks = [self.inputs[n].ndim for n in kept]
        rank = max(ranks)
        if (
            node.op_type == "MatMul"
            and min(a.ndim for a in self.inputs.values()) == 1
            and (len(kept) > 1 or max(a.ndim for a in self.inputs.values()) > 2)
        ):
            return  # a vector has no place for a batch
        wide = rank if node.op_type in BROADCASTING else 0
        inputs = {n: _twice(self.inputs[n], wide) for n in kept}
        stored: dict[str, Array] = {}
        if _shifted(node, rank, self.inputs, stored, self.opset):
            outputs = [_twice(o) for o in self.outputs]
            what = f"{', '.join(kept)} with a batch in front"
            yield self._form(what, node, inputs, stored, outputs, False)

    def _form(
        self,
        what: str,
        node: onnx.NodeProto,
        inputs: dict[str, Array],
        stored: dict[str, Array],
        outputs: list[Array],
        fixed: bool,
    ) -> Form:
        rest = {n: a for n, a in self.inputs.items() if n not in inputs} | stored
        given = zip([o for o in node.output if o], outputs, strict=True)
        graph = helper.make_graph(
            [node],
            "case",
            [_declared(n, a, fixed) for n, a in inputs.items()],
            [_declared(n, a, fixed) for n, a in given],
            [numpy_helper.from_array(np.asarray(a), n) for n, a in rest.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return Form(what, helper.make_model(graph, opset_imports=opsets), inputs, outputs)


def _declared(name: str, array: Array, fixed: bool) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    first: list[Any] = list(array.shape[:1]) if fixed else ["N"]
    return helper.make_tensor_value_info(name, kind, [*first, *array.shape[1:]])


def _twice(array: Array, rank: int = 0) -> Array:
    array = np.asarray(array)
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    return np.stack([array, array])


BROADCASTING = set(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual MatMul Max Mean Min Mod Mul Or Pow "
    "Sub Sum Where".split()
)


AXIS = set(
    "Concat Gather LayerNormalization LogSoftmax LpNormalization RMSNormalization Softmax "
    "Split".split()
)
PLAIN = set(
    "Abs Acos Acosh Asin Asinh Atan Atanh Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf "
    "Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log Mish Neg Not PRelu Reciprocal "
    "Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh "
    "ThresholdedRelu".split()
)
ROW_OF_AXES = {"Squeeze": 1, "Unsqueeze": 1, "Slice": 3}


def _shifted(
    node: onnx.NodeProto, rank: int, given: dict[str, Array], stored: dict[str, Array], opset: int
) -> bool:
    """Make a node work behind a new first axis; False where that cannot be said."""
    op = node.op_type
    attributes = {a.name: a for a in node.attribute}
    operands = [given[n].tolist() if n else None for n in node.input[1:]]

    def operand(index: int) -> Any:
        return operands[index - 1] if index <= len(operands) else None

    def attribute(name: str, default: Any) -> Any:
        return helper.get_attribute_value(attributes[name]) if name in attributes else default

    def give(index: int, value: Any) -> None:
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = f"new_{index}"
        stored[f"new_{index}"] = np.asarray(value, np.int64)

    def say(name: str, value: Any) -> None:
        if name in attributes:
            node.attribute.remove(attributes[name])
        node.attribute.append(helper.make_attribute(name, value))

    def moved(axes: Any, of: int = rank) -> list[int]:
        return [int(a) % of + 1 for a in axes]

    if op in PLAIN or op in BROADCASTING:
        return True
    if op in AXIS:
        default = 0 if op in ("Gather", "Split") else -1
        if op in ("Softmax", "LogSoftmax") and opset < 13:
            default = 1
        say("axis", attribute("axis", default) % rank + 1)
    elif op.startswith("Reduce"):
        axes = attribute("axes", operand(1)) or range(rank)
        if attribute("noop_with_empty_axes", 0) and not operand(1):
            return True
        if opset >= (13 if op == "ReduceSum" else 18):
            give(1, moved(axes))
        else:
            say("axes", moved(axes))
    elif op == "Transpose":
        say("perm", [0, *moved(attribute("perm", range(rank)[::-1]))])
    elif op == "Squeeze" and attribute("axes", operand(1)) is None:
        return True
    elif op == "Pad" and operand(3) is None:
        half = len(operand(1)) // 2
        give(1, [0, *operand(1)[:half], 0, *operand(1)[half:]])
    elif op == "Slice" and operand(3) is None:
        give(3, moved(range(len(operand(1)))))
    elif op in ("Squeeze", "Unsqueeze", "Slice", "Pad"):
        index = ROW_OF_AXES.get(op, 3)
        axes = operand(index)
        give(index, moved(axes, rank + (len(axes) if op == "Unsqueeze" else 0)))
    elif op == "Tile":
        give(1, [1, *operand(1)])
    elif op == "Expand" and len(operand(1)) <= rank:
        give(1, [1, *(1,) * (rank - len(operand(1))), *operand(1)])
    elif op == "Reshape":
        shape = given[node.input[0]].shape
        if attribute("allowzero", 0):
            return False
        sizes = [shape[i] if n == 0 else n for i, n in enumerate(operand(1))]
        left = math.prod(shape) // math.prod(n for n in sizes if n != -1)
        give(1, [-1, *(left if n == -1 else n for n in sizes)])
    elif op == "MeanVarianceNormalization":
        say("axes", moved(attribute("axes", [0, 2, 3])))
    else:
        return False
    return True


@functools.cache
def node_cases() -> tuple[NodeCase, ...]:
    """All cases of one node of ONNX's own ops that growc promises to read."""
    from onnx.backend.test.case.node import collect_testcases

    from growc.backends.reading import onnx_model as onnx_model
    from growc.backends.reading.onnx_call import HANDLERS

    found: dict[str, NodeCase] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listed = collect_testcases("")
    for case in listed:
        model = case.model
        node = model.graph.node[0]
        if len(model.graph.node) != 1 or node.domain or node.op_type not in HANDLERS:
            continue
        opset = _opset(node, model.opset_import[0].version)
        if opset is None:
            continue
        for number, (inputs, outputs) in enumerate(case.data_sets):
            name = f"{case.name}_{number}" if number else case.name
            names = [v.name for v in model.graph.input]
            node = copy.deepcopy(node)
            results = [_array(a) for a in outputs]
            if node.op_type in FIRST_ALONE:
                del node.output[1:], results[1:]
            given = dict(zip(names, map(_array, inputs), strict=True))
            found[name] = NodeCase(name, node, opset, given, results, case.rtol)
    return tuple(found.values())


FIRST_ALONE = ("BatchNormalization", "Dropout", "LayerNormalization", "MaxPool")
"""Ops whose further results are statistics, masks and places: growc has one result for each."""


def _array(value: Any) -> Array:
    return (
        numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    )


def _opset(node: onnx.NodeProto, version: int) -> int | None:
    """A version that growc reads in which the node means the same."""
    wanted = min(max(version, OLDEST), NEWEST)
    try:
        schema = onnx.defs.get_schema(node.op_type, wanted, "")
    except onnx.defs.SchemaError:
        return None
    if schema.deprecated:
        last = [v for v in range(OLDEST, NEWEST) if _known(node.op_type, v)]
        return last[-1] if last else None
    if any(a.name not in schema.attributes for a in node.attribute):
        return None
    return wanted


def _known(op: str, version: int) -> bool:
    try:
        return not onnx.defs.get_schema(op, version, "").deprecated
    except onnx.defs.SchemaError:
        return False
