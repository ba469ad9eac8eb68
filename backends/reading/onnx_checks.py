"""What must hold of an ONNX model before it is read: files may be damaged, or made to harm."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir
from onnx import TensorProto

from ...ir import GrowcError

DEEPEST = 30
"""Graphs within graphs: protobuf reads no more of them from a file."""

MOST_NODES = 1_000_000
"""More nodes than this, functions written out, are no model."""


def require_sound(proto: onnx.ModelProto) -> None:
    """Raise :class:`GrowcError` for text that is none, tensors of attributes that lie outside of
    the file, graphs too deep within graphs, and functions that call themselves or grow."""
    _require_text(o.domain for o in proto.opset_import)
    _require_graph(proto.graph)
    for function in proto.functions:
        _require_text((function.domain, function.name, *function.input, *function.output))
        _require_nodes(function.node, 0)
    counts = _Counts({(f.domain, f.name): f for f in proto.functions})
    if counts.of(proto.graph.node, ()) > MOST_NODES:
        raise GrowcError("its functions, written out, have more than a million nodes")


def _require_graph(graph: onnx.GraphProto, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise GrowcError(f"it has graphs within graphs, more than {DEEPEST} deep")
    for listed in (graph.input, graph.output, graph.initializer):
        _require_text(v.name for v in listed)
    for value in graph.input:
        _require_text(d.dim_param for d in value.type.tensor_type.shape.dim)
    _require_nodes(graph.node, depth)


def _require_nodes(nodes: Iterable[onnx.NodeProto], depth: int) -> None:
    for node in nodes:
        _require_text((node.op_type, node.domain, node.name))
        _require_text(node.input)
        _require_text(node.output)
        for attribute in node.attribute:
            _require_text((attribute.name, attribute.ref_attr_name))
            for tensor in (attribute.t, *attribute.tensors) if _has_tensor(attribute) else ():
                if tensor.data_location == TensorProto.EXTERNAL:
                    raise GrowcError(
                        f"an attribute of `{node.name or node.op_type}` lies in another file",
                        help="growc reads external data of initializers only",
                    )
            for inner in _graphs(attribute):
                _require_graph(inner, depth + 1)


def _has_tensor(attribute: onnx.AttributeProto) -> bool:
    return attribute.HasField("t") or bool(attribute.tensors)


def _graphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _require_text(words: Iterable[Any]) -> None:
    for word in words:
        if not isinstance(word, str):  # protobuf gives bytes for what is no UTF-8
            raise GrowcError(f"it has the name {bytes(word)[:60]!r}, which is no text")


class _Counts:
    """Numbers of nodes, with the functions that they call written out."""

    def __init__(self, functions: Mapping[tuple[str, str], onnx.FunctionProto]) -> None:
        self.functions = functions
        self.known: dict[tuple[str, str], int] = {}

    def of(self, nodes: Iterable[onnx.NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        count = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            count += self._of_function(key, above) if key in self.functions else 1
            for attribute in node.attribute:
                count += sum(self.of(inner.node, above) for inner in _graphs(attribute))
        return count

    def _of_function(self, key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above:
            raise GrowcError(f"its function `{key[1]}` calls itself")
        if len(above) > DEEPEST:
            raise GrowcError(f"its functions call each other more than {DEEPEST} deep")
        if key not in self.known:
            self.known[key] = self.of(self.functions[key].node, (*above, key))
        return self.known[key]


@dataclass(frozen=True, slots=True)
class _Schema:
    attributes: Mapping[str, tuple[int, bool]]
    """Name → type, and whether it must be given."""
    least: int
    most: int


@functools.cache
def _schema(op: str, opset: int) -> _Schema | None:
    try:
        found = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
    attributes: dict[str, tuple[int, bool]] = {}
    for name, attribute in found.attributes.items():
        kind: Any = attribute.type
        attributes[name] = (int(kind.value), attribute.required)
    return _Schema(attributes, found.min_input, found.max_input)


def fault_of(node: onnx_ir.Node, opset: int) -> str | None:
    """What is wrong with a node's attributes, or the number of its operands, in this opset."""
    schema = _schema(node.op_type, opset)
    if schema is None:
        return None
    for name, attribute in node.attributes.items():
        if name not in schema.attributes:
            return f"in opset {opset} it has no attribute `{name}`"
        wanted, _ = schema.attributes[name]
        if int(attribute.type) != wanted:
            kinds = onnx.AttributeProto.AttributeType
            return (
                f"its attribute `{name}` is of type {attribute.type.name}, not {kinds.Name(wanted)}"
            )
    for name, (_, required) in schema.attributes.items():
        if required and name not in node.attributes:
            return f"its attribute `{name}` is missing"
    count = len(node.inputs)
    if not schema.least <= count <= schema.most:
        least, most = schema.least, schema.most
        wanted_count = str(least) if least == most else f"{least} to {most}"
        return f"it has {count} operands, not {wanted_count}"
    return None
