"""ONNX model → graph."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from ...ir import Graph, GrowcError
from ...ir.diagnostics import plural
from ...ir.types import MAX_DIMENSION
from . import onnx_functions as onnx_functions  # these three register the handlers
from . import onnx_layers as onnx_layers
from . import onnx_shapes as onnx_shapes
from .builder import Builder
from .naming import clean, named, path_scope
from .onnx_call import HANDLERS, LAYOUT, Call
from .onnx_file import array_of, open_model, opset_of
from .tidy import tidy
from .values import Const, Hint, Unreadable, Value, batch_number

WHOLE = {TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.BOOL}
NUMBERS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}

FOLDED = 64
"""Constants of more numbers than this are no shape arithmetic: the reader folds them itself, which
keeps their names."""

MAX_CONSTANT = 2**28
"""A constant of more numbers than this is not worked out."""


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
        return _Reader(proto, folder, where, name, dict(sizes or {}), notes).read()
    except GrowcError as error:
        first = error.diagnostics[0]
        if first.span is None and not first.message.startswith(where):
            raise GrowcError(f"{where}: {first.message}", help=first.help) from error
        raise


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
        self.where, self.name, self.sizes, self.notes = where, name, sizes, notes
        self.opset = opset_of(proto, where)
        self.arrays = {t.name: array_of(t, folder) for t in proto.graph.initializer}
        if proto.graph.sparse_initializer:
            raise GrowcError("it has sparse tensors, which growc does not read")
        self.proto = proto
        self.values: dict[str, Value] = {}

    def read(self) -> Graph:
        graph = self.proto.graph
        inputs = [v for v in graph.input if v.name not in self.arrays]
        self.nodes = self._folded(_sorted(graph, self.arrays))
        self._require_known()
        self.b = Builder(self._batch(inputs))
        for value in inputs:
            self._input(value)
        for name, array in self.arrays.items():
            trainable = array.size > 1 and np.issubdtype(array.dtype, np.floating)
            self.values[name] = Const(array, name, bool(trainable))
        for node in self.nodes:
            self._node(node)
        for value in graph.output:
            self._output(value.name)
        made = self.b.graph
        made.name = clean(self.name).replace(".", "_") or "net"
        tidy(self.b)
        result = named(made, self.b.hints, self.b.sources)
        if self.notes is not None:
            self.notes += self.b.notes.texts
        return result

    # ---- inputs

    def _batch(self, inputs: Sequence[onnx.ValueInfoProto]) -> int:
        """The size that the batch has in this model: its own, or where it is open, a prime."""
        fixed = set()
        for value in inputs:
            dims = value.type.tensor_type.shape.dim
            if dims and dims[0].HasField("dim_value"):
                fixed.add(dims[0].dim_value)
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
        if size > 0:
            return int(size)
        taken = {n for array in self.arrays.values() for n in array.shape}
        for array in self.arrays.values():
            if array.size < FOLDED and np.issubdtype(array.dtype, np.integer):
                taken.update(int(n) for n in array.reshape(-1))
        for value in inputs:
            taken.update(d.dim_value for d in value.type.tensor_type.shape.dim)
        return batch_number({abs(n) for n in taken})

    def _input(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type
        name = value.name
        if not value.type.HasField("tensor_type") or kind.elem_type not in WHOLE | NUMBERS:
            raise GrowcError(f"the input `{name}` is not a tensor of numbers")
        if not kind.HasField("shape") or not kind.shape.dim:
            raise GrowcError(f"the input `{name}` has no batch axis")
        shape = []
        for i, dim in enumerate(kind.shape.dim[1:], 1):
            size = dim.dim_value or self.sizes.get(dim.dim_param, 0)
            if not 1 <= size <= MAX_DIMENSION:
                called = f"`{dim.dim_param}`" if dim.dim_param else f"number {i}"
                raise GrowcError(
                    f"axis {called} of the input `{name}` has no size",
                    help=f"give it one: sizes={{'{dim.dim_param or i}': 224}}, on the command "
                    f"line --size {dim.dim_param or i}=224",
                )
            shape.append(size)
        if kind.elem_type in WHOLE and kind.elem_type != TensorProto.INT64:
            self.b.notes.add(f"the input `{name}` takes int64 now")
        if kind.elem_type in NUMBERS and kind.elem_type != TensorProto.FLOAT:
            self.b.notes.add(f"the input `{name}` and all that follows are float32 now")
        dtype = "i64" if kind.elem_type in WHOLE else "f32"
        self.values[name] = self.b.input(name, shape, dtype)

    # ---- nodes

    def _folded(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx_ir.Node]:
        """The nodes after onnxscript's optimizer has worked out shape arithmetic and conditions."""
        outline = onnx.ModelProto()
        outline.CopyFrom(_without_large(self.proto))
        del outline.graph.node[:]
        outline.graph.node.extend(nodes)
        model = onnx_ir.serde.deserialize_model(outline)
        if model.functions:
            from onnx_ir.passes.common import InlinePass

            InlinePass()(model)
        if any(_has_graph(node) for node in model.graph):
            from onnxscript.optimizer import fold_constants

            logging.getLogger("onnxscript").setLevel(logging.ERROR)
            fold_constants(
                model,
                onnx_shape_inference=False,
                input_size_limit=FOLDED,
                output_size_limit=FOLDED,
            )
        for name, value in model.graph.initializers.items():
            if name not in self.arrays and value.const_value is not None:
                self.arrays[name] = value.const_value.numpy()
        return list(model.graph)

    def _require_known(self) -> None:
        """Raise one error that names every op that growc does not have."""
        known = set(self.arrays)
        strange: dict[tuple[str, str], list[str]] = {}
        for node in self.nodes:
            if all(v is None or v.name in known for v in node.inputs) and not _has_graph(node):
                known.update(v.name for v in node.outputs if v.name)
                if node.domain in ("", "ai.onnx") or node.op_type == "Constant":
                    continue
            if node.domain not in ("", "ai.onnx") or node.op_type not in HANDLERS:
                domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
                key = (f"{domain}{node.op_type}", str(self.opset))
                strange.setdefault(key, []).append(_called(node))
        if strange:
            count = sum(map(len, strange.values()))
            listed = "; ".join(
                f"{op} (opset {opset}) at {_some(places)}"
                for (op, opset), places in strange.items()
            )
            raise GrowcError(
                f"growc cannot read {plural(count, 'node')}: {listed}",
                help="cut the model before them, or export it without them",
            )

    def _node(self, node: onnx_ir.Node) -> None:
        inputs = [None if v is None else self.values[v.name or ""] for v in node.inputs]
        attributes = {name: _plain(a) for name, a in node.attributes.items()}
        constant = all(v is None or isinstance(v, Const) for v in inputs)
        call = Call(node.op_type, inputs, len(node.outputs), attributes, self.opset, self.b)
        self.b.here = _hint(node)
        try:
            if constant and node.op_type not in LAYOUT | {"Constant", "ConstantOfShape"}:
                results = self._evaluated(node, inputs)
            else:
                result = HANDLERS[node.op_type](call)
                results = result if isinstance(result, tuple) else (result,)
            _require_small(results)
        except Unreadable as error:
            raise GrowcError(
                f"growc cannot read {_called(node)} ({node.op_type}): {error}"
            ) from None
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise GrowcError(
                f"{_called(node)} ({node.op_type}) is not as ONNX says ({_line(error)})"
            ) from error
        for value, found in zip(node.outputs, results, strict=False):
            if value.name:
                self.values[value.name] = found
        for value in node.outputs[len(results) :]:
            if value.name and (value.uses() or value.is_graph_output()):
                raise GrowcError(
                    f"growc cannot read {_called(node)} ({node.op_type}): its result "
                    f"`{value.name}` is used"
                )

    def _evaluated(self, node: onnx_ir.Node, inputs: Sequence[Value]) -> Sequence[Value]:
        """The results of a node whose operands are all known, by ONNX's reference evaluator."""
        arrays = [v.array if isinstance(v, Const) else None for v in inputs]
        if node.op_type == "Expand" and arrays[0] is not None and arrays[1] is not None:
            shape = np.broadcast_shapes(arrays[0].shape, tuple(arrays[1].tolist()))
            return (Const(np.broadcast_to(arrays[0], shape)),)
        proto = onnx_ir.serde.serialize_node(node)
        try:
            evaluator = ReferenceEvaluator(proto, opsets={"": self.opset})
            pairs = zip(node.inputs, arrays, strict=True)
            given = {v.name or "": a for v, a in pairs if v is not None}
            found: Any = evaluator.run(None, given)
        except Exception as error:  # whatever the operator's own implementation raises
            raise Unreadable(
                f"its constant result cannot be worked out ({_line(error)})"
            ) from error
        # A table of weights stays one where only its layout was changed.
        return tuple(Const(np.asarray(a)) for a in found)

    def _output(self, name: str) -> None:
        value = self.values.get(name)
        try:
            if value is None or isinstance(value, tuple):
                raise GrowcError(f"nothing gives the output `{name}`")
            if isinstance(value, Const):
                raise GrowcError(
                    f"the output `{name}` does not depend on an input", help="leave it out"
                )
            self.b.output(name, value)
        except Unreadable as error:
            raise GrowcError(f"growc cannot read the output `{name}`: {error}") from None


def _sorted(graph: onnx.GraphProto, stored: Mapping[str, Any]) -> list[onnx.NodeProto]:
    """The nodes, operands first. Raises :class:`GrowcError` for what nothing gives, and cycles."""
    known = {*stored, *(v.name for v in graph.input), ""}
    giver: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and (name in giver or name in known):
                raise GrowcError(f"two nodes give `{name}`")
            giver[name] = index
    order: list[int] = []
    state = [0] * len(graph.node)  # 1: being visited, 2: done
    for first in range(len(graph.node)):
        stack: list[tuple[int, Iterator[str]]] = []
        if not state[first]:
            state[first] = 1
            stack.append((first, iter(_needs(graph.node[first]))))
        while stack:
            index, needed = stack[-1]
            for name in needed:
                if name in known:
                    continue
                if name not in giver:
                    raise GrowcError(
                        f"{_proto_called(graph.node[index])} reads `{name}`, which nothing gives",
                        help="an initializer or a node is missing: is the file complete?",
                    )
                other = giver[name]
                if state[other] == 1:
                    raise GrowcError(
                        f"the nodes form a cycle through {_proto_called(graph.node[other])}"
                    )
                if state[other] == 0:
                    state[other] = 1
                    stack.append((other, iter(_needs(graph.node[other]))))
                    break
            else:
                stack.pop()
                state[index] = 2
                order.append(index)
    return [graph.node[i] for i in order]


def _needs(node: onnx.NodeProto) -> list[str]:
    """What a node reads, its inner graphs included."""
    found = list(node.input)
    for attribute in node.attribute:
        for inner in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
            own = {v.name for v in (*inner.input, *inner.initializer)}
            own.update(name for n in inner.node for name in n.output)
            found += [name for n in inner.node for name in _needs(n) if name not in own]
    return found


def _without_large(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model, but for the numbers of large tensors, which no shape arithmetic needs."""
    outline = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    outline.functions.extend(proto.functions)
    graph = outline.graph
    graph.name = proto.graph.name
    small = [
        t
        for t in proto.graph.initializer
        if int(np.prod(t.dims, dtype=np.float64)) <= FOLDED
        and t.data_location != TensorProto.EXTERNAL
    ]
    kept = {t.name for t in small}
    graph.initializer.extend(small)
    graph.input.extend(v for v in proto.graph.input if v.name not in kept)
    declared = {v.name for v in graph.input}
    for tensor in proto.graph.initializer:
        if tensor.name not in kept and tensor.name not in declared:
            graph.input.add(name=tensor.name)
    graph.output.extend(proto.graph.output)
    return outline


def _has_graph(node: onnx_ir.Node) -> bool:
    kinds = (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)
    return any(a.type in kinds for a in node.attributes.values())


def _plain(attribute: onnx_ir.Attr) -> Any:
    """An attribute's value as Python's own, or an array."""
    value = attribute.value
    if attribute.type == onnx_ir.AttributeType.TENSOR:
        array: NDArray[Any] = value.numpy()
        return array
    if attribute.name == "to" and isinstance(value, int):
        return onnx_ir.DataType(value).name
    return list(value) if isinstance(value, (list, tuple)) else value


def _require_small(results: Sequence[Value]) -> None:
    for found in results:
        if isinstance(found, Const) and found.array.size > MAX_CONSTANT:
            raise Unreadable(f"its constant result of shape {list(found.shape)} is too large")


def _hint(node: onnx_ir.Node) -> Hint:
    """What the model says of a node: the torch exporter's path of modules, or a name."""
    name = node.name or ""
    if name.startswith("/"):
        return Hint(scope=path_scope(name.rpartition("/")[0]))
    stem = name.rstrip("0123456789").rstrip("_").lower()
    if not name or stem in (node.op_type.lower(), "node", "n", "") or stem.startswith("node_"):
        return Hint()
    return Hint(name=name)


def _called(node: onnx_ir.Node) -> str:
    if node.name:
        return f"the node `{node.name}`"
    output = next((v.name for v in node.outputs if v.name), "")
    return f"the node that gives `{output}`"


def _proto_called(node: onnx.NodeProto) -> str:
    if node.name:
        return f"the node `{node.name}`"
    return f"the node that gives `{node.output[0] if node.output else ''}`"


def _some(places: list[str]) -> str:
    counts = Counter(places)
    shown = list(counts)[:5]
    rest = len(places) - len(shown)
    text = ", ".join(p.removeprefix("the node ") for p in shown)
    return text + (f" and {rest} more" if rest > 0 else "")


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
