"""What the ONNX writing of one op works with, and the table of these functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from ..ir import Node, TensorType, names
from ..ir.attributes import Pads
from .registry import Lowerings


@dataclass
class Body:
    """The ONNX nodes written so far, and the names that are taken."""

    opset: int
    taken: set[str]
    free: Collection[str] = ()
    """Nodes that depend on no input: their tensors have a batch of one example."""
    first_input: str | None = None
    nodes: list[NodeProto] = field(default_factory=list)
    _constants: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _last_number: dict[str, int] = field(default_factory=dict)
    _shapes: dict[int, str] = field(default_factory=dict)
    """By number of axes, the shape [batch, 1, …]."""

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

    def batch(self) -> str:
        """A list of one number, that of the examples, asked of the first input once."""
        if self.first_input is None:
            return self.constant(np.ones(1, np.int64))
        if 0 not in self._shapes:
            name = self.fresh("batch/Shape")
            if self.opset >= 15:
                name = self.emit("Shape", [self.first_input], name, name, start=0, end=1)
            else:
                shape = self.emit("Shape", [self.first_input], name, name)
                name = self.fresh("batch/Gather")
                first = self.constant(np.zeros(1, np.int64))
                name = self.emit("Gather", [shape, first], name, name)
            self._shapes[0] = name
        return self._shapes[0]

    def whole_batch(self, rank: int) -> str:
        """The shape [batch, 1, …], which repeats one example of ``rank`` axes."""
        batch = self.batch()
        if rank not in self._shapes:
            parts = batch, self.constant(np.ones(rank, np.int64))
            name = self.fresh("batch/Concat")
            self._shapes[rank] = self.emit("Concat", parts, name, name, axis=0)
        return self._shapes[rank]


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

    def reduce(self, op_type: str, value: str, axes: Iterable[int], keep: bool = True) -> str:
        """ReduceMean, ReduceMax, … over dimensions, which stay with size 1 or go."""
        if self.opset >= 18 or op_type == "ReduceSum":
            return self.emit(op_type, value, self.ints(*axes), keepdims=int(keep))
        return self.emit(op_type, value, axes=list(axes), keepdims=int(keep))

    def per_channel(self, parameter: str) -> str:
        """A parameter of shape [channels] so that it broadcasts over the axes after these."""
        spatial = range(1, len(self.shape))
        return self.emit("Unsqueeze", parameter, self.ints(*spatial)) if spatial else parameter

    def aligned(self, rank: int | None = None) -> tuple[str, ...]:
        """The operands with as many axes as the one that has the most, or ``rank``: further ones
        come after the batch, which is never matched with another axis."""
        rank = max(t.rank for t in self.types) if rank is None else rank
        return tuple(
            self.lifted(x, t.rank, rank) for x, t in zip(self.operands, self.types, strict=True)
        )

    def lifted(self, value: str, rank: int, wanted: int) -> str:
        """A tensor of ``rank`` axes with new ones of size 1 after the batch."""
        if rank == wanted:
            return value
        return self.emit("Unsqueeze", value, self.ints(*range(1, 1 + wanted - rank)))

    def with_batch(self) -> tuple[str, ...]:
        """The operands, all with the batch's size if one of them has it."""
        free = [name in self.body.free for name in self.node.operands]
        if all(free):
            return self.operands
        parts = zip(free, self.operands, self.types, strict=True)
        return tuple(
            self.emit("Expand", x, self.body.whole_batch(t.rank)) if lone else x
            for lone, x, t in parts
        )


def flat(pads: Pads) -> list[int]:
    """(begin, end) of each axis in ONNX's order: all begins, then all ends."""
    return [begin for begin, _ in pads] + [end for _, end in pads]


def dim(axis: int, rank: int) -> int:
    """The tensor's dimension for an op's axis: one more, as dimension 0 is the batch."""
    return axis % rank + 1


def cut(at: Site, value: str, dimension: int, start: int, stop: int, step: int = 1) -> str:
    """Elements start, start + step, … below stop, of one dimension of the tensor."""
    bounds: tuple[Any, ...] = start, stop, dimension, step
    return at.emit("Slice", value, *(at.ints(n) for n in bounds))


def bordered(at: Site, x: str, widths: Pads, value: float) -> str:
    """``x``, with the axes of the first operand, and a border of ``value``; ``widths`` are those
    of the last axes."""
    inner = ((0, 0),) * (1 + len(at.shape) - len(widths))
    return at.emit("Pad", x, at.ints(*flat(inner + widths)), at.number(value))


lowering: Lowerings[Callable[[Any, Site], str]] = Lowerings("ONNX")
"""Registers ``function(op, site)``, which returns the name of the tensor with the op's result.

If that tensor was made here, it must be the result of the last node emitted.
"""
