"""What the ONNX writing of one op works with, and the table of these functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from ..ir import Node, TensorType, names
from .registry import Lowerings


@dataclass
class Body:
    """The ONNX nodes written so far, and the names that are taken."""

    opset: int
    taken: set[str]
    nodes: list[NodeProto] = field(default_factory=list)
    _constants: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _last_number: dict[str, int] = field(default_factory=dict)

    def fresh(self, base: str) -> str:
        """``base``, numbered if that name is taken; taken from now on."""
        name = names.fresh(base, self.taken, self._last_number)
        self.taken.add(name)
        return name

    def emit(
        self, op_type: str, inputs: Sequence[str], output: str, name: str, **attributes: Any
    ) -> str:
        """Add an ONNX node; return the name of its result."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], name, **attributes))
        return output

    def constant(self, array: NDArray[Any]) -> str:
        """The name of a constant tensor; equal ones are written once.

        Constants are nodes, so that the initializers are the graph's parameters and nothing else.
        """
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            name = self.fresh("constant")
            value = numpy_helper.from_array(array)
            self._constants[key] = self.emit("Constant", [], name, name, value=value)
        return self._constants[key]


@dataclass(frozen=True)
class Site:
    """One IR node while it is written: its operands, its parameters, and where to add nodes."""

    node: Node
    operands: tuple[str, ...]
    types: tuple[TensorType, ...]
    params: Mapping[str, str]
    """Role → initializer, for the parameters that the op has."""
    body: Body

    @property
    def x(self) -> str:
        """The first operand."""
        return self.operands[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The first operand's shape, without the batch."""
        return self.types[0].shape

    @property
    def opset(self) -> int:
        return self.body.opset

    def emit(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX node; return the name of its result."""
        output = self.body.fresh(f"{self.node.name}/{op_type}")
        return self.body.emit(op_type, inputs, output, output, **attributes)

    def number(self, value: float) -> str:
        """The name of a float32 scalar."""
        return self.constant_of(value, ())

    def constant_of(self, value: float, shape: tuple[int, ...]) -> str:
        """The name of a float32 constant filled with one value."""
        with np.errstate(over="ignore"):  # beyond float32, a constant is infinite, as in PyTorch
            return self.body.constant(np.full(shape, value, np.float32))

    def ints(self, *values: int) -> str:
        """The name of a list of int64."""
        return self.body.constant(np.array(values, np.int64))

    def reshape(self, value: str, shape: Iterable[int]) -> str:
        """Give ``value`` another shape; the batch, not in ``shape``, stays."""
        return self.emit("Reshape", value, self.ints(0, *shape))

    def reduce(self, op_type: str, value: str, axes: Iterable[int]) -> str:
        """ReduceMean or ReduceMax over dimensions, which stay with size 1."""
        if self.opset >= 18:
            return self.emit(op_type, value, self.ints(*axes), keepdims=1)
        return self.emit(op_type, value, axes=list(axes), keepdims=1)


lowering: Lowerings[Callable[[Any, Site], str]] = Lowerings("ONNX")
"""Registers ``function(op, site)``, which returns the name of the tensor with the op's result.

If that tensor was made here, it must be the result of the last node emitted.
"""
