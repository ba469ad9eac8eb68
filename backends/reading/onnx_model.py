"""ONNX model → graph."""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray
from onnx import TensorProto
from onnx_ir.passes.common import InlinePass

from ...ir import Graph, GrowcError, names
from ...ir.diagnostics import plural
from ...ir.ops import Pad
from ...ir.types import MAX_DIMENSION
from . import onnx_functions as onnx_functions  # these three register the handlers
from . import onnx_layers as onnx_layers
from . import onnx_shapes as onnx_shapes
from . import operations as o
from .builder import Builder
from .naming import clean, named
from .onnx_call import HANDLERS, LAYOUT, Call
from .onnx_checks import fault_of, require_sound
from .onnx_constants import WORKED_OUT, Budget, size_of, work_out
from .onnx_file import array_of, open_model, opset_of
from .onnx_order import SMALL, sorted_nodes, without_large
from .onnx_words import called, hint_of, line, some
from .operations import NEVER
from .tidy import tidy
from .values import Bound, Const, Unreadable, Value, batch_number, same_slices

WHOLE = {TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.BOOL}
NUMBERS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}

CONSTANTS = {"Constant", "ConstantOfShape"}

WHOLE_ATTRIBUTES = (
    onnx_ir.AttributeType.TENSOR,
    onnx_ir.AttributeType.INT,
    onnx_ir.AttributeType.INTS,
)


KNOWN = {*HANDLERS, *WORKED_OUT, "If"}
"""Ops that are read, some of them of constants only."""


def from_onnx(
    model: onnx.ModelProto | str | os.PathLike[str],
    *,
    sizes: Mapping[str, int] | None = None,
    notes: list[str] | None = None,
) -> Graph:
    """Read a trained ONNX model, opset 7 to 23, as a graph with its weights.

    The first axis of every input is the batch; it may have any size afterwards. Other axes need
    sizes: where the model leaves them open, ``sizes`` gives them by their name in the model
    (``{"height": 224}``). Weights become float32. Names are the model's own, made readable; the
    net is called like the file.

    What cannot be kept is told in ``notes``, if a list is given.

    Raises :class:`GrowcError` for a file that is missing or damaged, and with one diagnostic that
    names all of them for ops that growc does not have.
    """
    proto, folder = open_model(model)
    if isinstance(model, onnx.ModelProto):
        where, name = "the model", proto.graph.name
    else:
        # What exporters call a graph, `main_graph` or `torch-jit-export`, says less than the file.
        where, name = os.fspath(model), Path(model).stem
    try:
        # Numbers that overflow are no mistake of the reader's; onnx_ir logs what it then refuses.
        with np.errstate(all="ignore"), _silent("onnx_ir"):
            return _Reader(proto, folder, where, name, dict(sizes or {}), notes).read()
    except GrowcError as error:
        first = error.diagnostics[0]
        if first.span is None and not first.message.startswith(where):
            raise GrowcError(f"{where}: {first.message}", help=first.help) from error
        raise


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Without the warnings of these loggers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Reader:
    def __init__(
        self,
        proto: onnx.ModelProto,
        folder: Path,
        where: str,
        name: str,
        sizes: dict[str, int],
        notes: list[str] | None,
    ) -> None:
        self.name, self.sizes, self.notes = name, sizes, notes
        self.opset = opset_of(proto, where)
        require_sound(proto)
        self.proto = proto
        self.arrays: dict[str, NDArray[Any]] = {}
        for tensor in proto.graph.initializer:
            if tensor.name in self.arrays:
                raise GrowcError(f"it has two stored tensors `{tensor.name}`")
            self.arrays[tensor.name] = array_of(tensor, folder)
        if proto.graph.sparse_initializer:
            raise GrowcError("it has sparse tensors, which growc does not read")
        self.stored = sum(array.size for array in self.arrays.values())

    def read(self) -> Graph:
        graph = self.proto.graph
        self.feeds = [v for v in graph.input if v.name not in self.arrays]
        self._require_names()
        batch = self._fixed_batch()
        self.nodes = self._written_out(sorted_nodes(graph, self.arrays))
        self._require_known()
        if batch is not None:
            self._build(batch)
        else:
            self._build_for_any_batch()
        made = self.b.graph
        made.name = clean(self.name).replace(".", "_") or "net"
        tidy(self.b)
        if any(isinstance(made.node(n).op, Pad) for n in self.b.infinite if n in made):
            raise GrowcError(
                "growc cannot read a Pad by minus infinity, but for the border of a max pooling"
            )
        result = named(made, self.b.hints, self.b.sources)
        if self.notes is not None:
            self.notes += self.b.notes.texts
        return result

    def _build(self, batch: int) -> None:
        """Read the nodes, with ``batch`` as the size of the batch."""
        self.b = Builder(batch, deduplicated=True)
        self.budget = Budget(self.stored)
        self.asks_batch = False
        self.firsts: list[int] = []
        """For each node of the model, the number of the first node that was made of it."""
        self.values: dict[str, Value] = {}
        for value in self.feeds:
            self._input(value)
        for name, array in self.arrays.items():
            self.values[name] = Const(array, name, _is_learned(array))
        for node in self.nodes:
            self.firsts.append(len(self.b.hints))
            self._node(node)
        for value in self.proto.graph.output:
            self._output(value.name)

    def _build_for_any_batch(self) -> None:
        """Read the nodes with a prime in the place of the batch's size, which no other size has.

        A model that asks for the size is read with two of them: what it computes must not depend
        on it.
        """
        taken = self._numbers()
        self._build(batch_number(taken))
        sizes = {n for node in self.b.graph for n in node.type.shape}
        if any(n % self.b.batch == 0 for n in sizes):
            taken |= sizes
            self._build(batch_number(taken))
        if self.asks_batch:
            first = self.b
            self._build(batch_number(taken, self.b.batch + 2))
            self._require_same(first, self.b)

    def _require_same(self, a: Builder, b: Builder) -> None:
        """Raise :class:`GrowcError` if two readings, with the batch of two sizes, differ."""
        for one, other in zip(a.graph, b.graph, strict=False):
            same = (one.op, one.operands) == (other.op, other.operands)
            if same and all(
                x is y or np.array_equal(x, y, equal_nan=True)
                for x, y in (
                    (a.graph.weights[key], b.graph.weights[key])
                    for key, _ in a.graph.params_of(one.name)
                )
            ):
                continue
            number = list(a.hints).index(one.name)
            at = max(0, bisect_right(self.firsts, number) - 1)
            raise GrowcError(
                f"growc cannot read {called(self.nodes[at])} ({self.nodes[at].op_type}): it "
                "computes with the number of examples in the batch",
                help="growc's networks compute each example by itself; fix the size of the batch "
                "in the model, or leave this node out",
            )

    # ---- inputs

    def _require_names(self) -> None:
        """Raise :class:`GrowcError` for names of inputs, outputs or ``sizes`` that cannot be."""
        graph = self.proto.graph
        for what, listed in (("input", self.feeds), ("output", list(graph.output))):
            seen: set[str] = set()
            for value in listed:
                if value.name in seen:
                    raise GrowcError(f"it has two {what}s `{value.name}`")
                if not names.is_valid(value.name):
                    raise GrowcError(
                        f"the {what} {value.name[:100]!r} has a name that growc cannot write",
                        help="give it a name of printable characters without backticks",
                    )
                seen.add(value.name)
        axes = [
            dim.dim_param or str(i)
            for value in self.feeds
            for i, dim in enumerate(value.type.tensor_type.shape.dim)
            if not dim.HasField("dim_value")
        ]
        for name in self.sizes:
            if name not in axes:
                known = ", ".join(f"`{axis}`" for axis in dict.fromkeys(axes))
                raise GrowcError(
                    f"no input has an axis `{name}` without a size",
                    help=f"such axes are {known}" if known else "all axes have sizes",
                )

    def _fixed_batch(self) -> int | None:
        """The size of the batch, if the model says it."""
        fixed = set()
        for value in self.feeds:
            dims = value.type.tensor_type.shape.dim
            if dims and dims[0].dim_value > 0:
                fixed.add(int(dims[0].dim_value))
            elif dims and dims[0].dim_param in self.sizes:
                fixed.add(self.sizes[dims[0].dim_param])
            elif dims:
                fixed.add(0)
        if len(fixed) > 1:
            raise GrowcError(
                "its inputs have first axes of different sizes, so they cannot all be the batch",
                help="growc takes the first axis of every input as the batch",
            )
        size = fixed.pop() if fixed else 1
        if size > MAX_DIMENSION:
            raise GrowcError(f"its inputs have the impossible first axis of {size:,}")
        return size or None

    def _numbers(self) -> set[int]:
        """Sizes and whole numbers that the model writes out."""
        taken = {n for array in self.arrays.values() for n in array.shape}
        small = [
            a for a in self.arrays.values() if a.size < SMALL and np.issubdtype(a.dtype, np.integer)
        ]
        for node in self.nodes:
            if node.op_type == "Constant":
                for attribute in node.attributes.values():
                    if attribute.type in WHOLE_ATTRIBUTES and attribute.value is not None:
                        small.append(_numbers_of(attribute))
        for array in small:
            if array.size < SMALL and np.issubdtype(array.dtype, np.integer):
                taken.update(int(n) for n in array.reshape(-1))
        for feed in self.feeds:
            taken.update(d.dim_value for d in feed.type.tensor_type.shape.dim)
        return {abs(n) for n in taken}

    def _input(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type
        name = value.name
        if not value.type.HasField("tensor_type") or kind.elem_type not in WHOLE | NUMBERS:
            raise GrowcError(f"the input `{name}` is not a tensor of numbers")
        if not kind.HasField("shape") or not kind.shape.dim:
            raise GrowcError(
                f"the input `{name}` has no batch axis",
                help="growc takes the first axis of every input as the batch",
            )
        shape = []
        for i, dim in enumerate(kind.shape.dim[1:], 1):
            called = dim.dim_param or str(i)
            size = dim.dim_value or self.sizes.get(called, 0)
            if dim.dim_value and not 1 <= size <= MAX_DIMENSION:
                raise GrowcError(f"axis {i} of the input `{name}` has the impossible size {size:,}")
            if not size:
                axis = f"`{called}`" if dim.dim_param else f"number {i}"
                raise GrowcError(
                    f"axis {axis} of the input `{name}` has no size",
                    help=f"give it one: sizes={{'{called}': 224}}, on the command line --size "
                    f"{called}=224",
                )
            shape.append(size)
        if kind.elem_type in WHOLE and kind.elem_type != TensorProto.INT64:
            self.b.notes.add(f"the input `{name}` takes int64 now")
        if kind.elem_type in NUMBERS and kind.elem_type != TensorProto.FLOAT:
            self.b.notes.add(f"the input `{name}` and all that follows are float32 now")
        dtype = "i64" if kind.elem_type in WHOLE else "f32"
        try:
            found = self.b.input(name, shape, dtype)
            if kind.elem_type == TensorProto.BOOL:
                # Conditions are numbers here, 0 and 1.
                found = o.to_float(self.b, found)
        except Unreadable as error:
            raise GrowcError(f"growc cannot read the input `{name}`: {error}") from None
        self.values[name] = found

    # ---- nodes

    def _written_out(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx_ir.Node]:
        """The nodes with the model's own functions written out, as onnx_ir sees them."""
        outline = onnx.ModelProto()
        outline.CopyFrom(without_large(self.proto))
        del outline.graph.node[:]
        outline.graph.node.extend(nodes)
        try:
            model = onnx_ir.serde.deserialize_model(outline)
            if model.functions:
                InlinePass()(model)
        except Exception as error:  # onnx_ir raises what its parts raise
            raise GrowcError(
                f"it is not as ONNX says ({line(error)})",
                help="onnx.checker.check_model tells more",
            ) from error
        for name, value in model.graph.initializers.items():
            if name not in self.arrays and value.const_value is not None:
                self.arrays[name] = value.const_value.numpy()
        return list(model.graph)

    def _require_known(self) -> None:
        """Raise one error that names every op that growc does not have."""
        known = set(self.arrays)
        strange: dict[tuple[str, str], list[str]] = {}
        for node in self.nodes:
            own = node.domain in ("", "ai.onnx")
            constant = all(v is None or v.name in known for v in node.inputs)
            if own and node.op_type in ("Shape", "Size", "Constant"):
                constant = True
            if own and constant and node.op_type in WORKED_OUT | LAYOUT | CONSTANTS:
                known.update(v.name for v in node.outputs if v.name)
                continue
            if not own or (node.op_type not in HANDLERS and node.op_type != "If"):
                domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
                key = (f"{domain}{node.op_type}", str(self.opset))
                strange.setdefault(key, []).append(called(node))
        if strange:
            count = sum(map(len, strange.values()))
            listed = "; ".join(
                f"{op} (opset {opset}) at {some(places)}" for (op, opset), places in strange.items()
            )
            raise GrowcError(
                f"growc cannot read {plural(count, 'node')}: {listed}",
                help="cut the model before them, or export it without them",
            )

    def _node(self, node: onnx_ir.Node) -> None:
        fault = fault_of(node, self.opset)
        if fault is not None:
            raise GrowcError(
                f"{called(node)} ({node.op_type}) is not as ONNX says: {fault}",
                help="onnx.checker.check_model tells more",
            )
        missing = [v.name for v in node.inputs if v is not None and v.name not in self.values]
        if missing:
            raise GrowcError(
                f"{called(node)} reads `{missing[0]}`, which nothing gives",
                help="an initializer or a node is missing: is the file complete?",
            )
        inputs = [None if v is None else self.values[v.name or ""] for v in node.inputs]
        constant = all(v is None or isinstance(v, Const) for v in inputs)
        self.b.here = hint_of(node)
        if node.op_type == "If" and node.domain in ("", "ai.onnx"):
            self._branch(node, inputs[0])
            return
        try:
            attributes = {name: _plain(a) for name, a in node.attributes.items()}
            call = Call(node.op_type, inputs, len(node.outputs), attributes, self.opset, self.b)
            if constant and node.op_type in WORKED_OUT - LAYOUT:
                results = self._worked_out(node, call)
            elif node.op_type not in HANDLERS:
                raise Unreadable("growc has it for constants only")
            else:
                result = HANDLERS[node.op_type](call)
                results = result if isinstance(result, tuple) else (result,)
                for found in results:
                    if isinstance(found, Const) and not _is_view(found, inputs):
                        self.budget.take(found.array.size)
        except Unreadable as error:
            raise GrowcError(
                f"growc cannot read {called(node)} ({node.op_type}): {error}",
                help="cut the model before it, or export it another way",
            ) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise GrowcError(
                f"{called(node)} ({node.op_type}) is not as ONNX says ({line(error)})",
                help="onnx.checker.check_model tells more",
            ) from error
        if node.op_type in ("Shape", "Size") and isinstance(inputs[0], Bound):
            self.asks_batch = True
        for value, found in zip(node.outputs, results, strict=False):
            if value.name:
                self.values[value.name] = found
        for value in node.outputs[len(results) :]:
            if value.name and (value.uses() or value.is_graph_output()):
                raise GrowcError(
                    f"growc cannot read {called(node)} ({node.op_type}): its result "
                    f"`{value.name}` is used, which growc does not compute",
                    help="cut the model before it, or export it another way",
                )

    def _branch(self, node: onnx_ir.Node, condition: Value) -> None:
        """Read the branch of an If that is taken; shapes usually decide it."""
        if not isinstance(condition, Const) or condition.array.size != 1:
            raise GrowcError(
                f"growc cannot read {called(node)} (If): its condition depends on the input",
                help="cut the model before it, or export it another way",
            )
        taken = "then_branch" if condition.number() else "else_branch"
        graph: onnx_ir.Graph = node.attributes[taken].value
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                self.values[name] = Const(value.const_value.numpy())
        for inner in graph:
            if inner.domain not in ("", "ai.onnx") or inner.op_type not in KNOWN:
                raise GrowcError(
                    f"growc cannot read {called(inner)} ({inner.op_type}), within {called(node)}",
                    help="cut the model before it, or export it another way",
                )
            self._node(inner)
        for outer, result in zip(node.outputs, graph.outputs, strict=False):
            if outer.name and result.name in self.values:
                self.values[outer.name] = self.values[result.name]

    def _worked_out(self, node: onnx_ir.Node, call: Call) -> Sequence[Value]:
        """The results of a node whose operands are all known."""
        arrays = [v.array if isinstance(v, Const) else None for v in call.inputs]
        self.budget.take(size_of(node.op_type, call.attributes, arrays))
        if node.op_type == "Expand":
            array, shape = (call.const(i, what) for i, what in enumerate(("operand", "shape")))
            wide = np.broadcast_shapes(array.shape, tuple(shape.ints()))
            return (array.with_array(np.broadcast_to(array.array, wide)),)
        # What is computed of learned tensors is learned, as far as anyone can tell.
        trainable = any(isinstance(v, Const) and v.trainable for v in call.inputs)
        return tuple(
            Const(a, trainable=trainable and a.size > 1 and a.dtype.kind == "f")
            for a in work_out(node, arrays, self.opset)
        )

    def _output(self, name: str) -> None:
        value = self.values.get(name)
        try:
            if value is None or isinstance(value, tuple):
                raise GrowcError(
                    f"nothing gives the output `{name}`",
                    help="a node is missing: is the file complete?",
                )
            if isinstance(value, Const):
                value = self._constant_output(name, value)
            self.b.output(name, value)
        except Unreadable as error:
            raise GrowcError(f"growc cannot read the output `{name}`: {error}") from None

    def _constant_output(self, name: str, value: Const) -> Bound:
        """A stored tensor that is repeated for each example."""
        array = value.array
        if not array.ndim or array.shape[0] != self.b.batch or not same_slices(array, 0):
            raise GrowcError(
                f"the output `{name}` does not depend on an input", help="leave it out"
            )
        like = Bound("", array.shape[1:])
        return replace(like, node=self.b.spread(value, like))


def _plain(attribute: onnx_ir.Attr) -> Any:
    """An attribute's value as Python's own, or an array."""
    value = attribute.value
    if attribute.type == onnx_ir.AttributeType.TENSOR:
        array: NDArray[Any] = value.numpy()
        return array
    if attribute.name == "to" and isinstance(value, int):
        return onnx_ir.DataType(value).name
    return list(value) if isinstance(value, (list, tuple)) else value


def _numbers_of(attribute: onnx_ir.Attr) -> NDArray[Any]:
    try:
        return np.asarray(_plain(attribute))
    except (TypeError, ValueError):  # a tensor with too many or too few numbers
        return np.zeros(0)


def _is_learned(array: NDArray[Any]) -> bool:
    """Whether a stored tensor is one that training moves, as far as its numbers tell."""
    if array.size == 1 or not np.issubdtype(array.dtype, np.floating):
        return False
    return not array.size or bool(array.min() > NEVER)  # else a mask


def _is_view(found: Const, operands: Sequence[Value]) -> bool:
    """Whether a constant needs no memory of its own."""
    return any(isinstance(v, Const) and np.may_share_memory(found.array, v.array) for v in operands)
