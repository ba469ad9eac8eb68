"""The nodes of an ONNX graph in order, and the graph without its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ...ir import GrowcError
from .onnx_words import proto_called

SMALL = 64
"""Constants of more numbers than this are no shape arithmetic."""


def sorted_nodes(graph: onnx.GraphProto, stored: Mapping[str, Any]) -> list[onnx.NodeProto]:
    """The nodes, operands first. Raises :class:`GrowcError` for what nothing gives, and cycles."""
    known = {*stored, *(v.name for v in graph.input), ""}
    giver: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and name in known:
                raise GrowcError(
                    f"{proto_called(node)} gives `{name}`, which is an input or a stored tensor"
                )
            if name and name in giver:
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
                        f"{proto_called(graph.node[index])} reads `{name}`, which nothing gives",
                        help="an initializer or a node is missing: is the file complete?",
                    )
                other = giver[name]
                if state[other] == 1:
                    raise GrowcError(
                        f"the nodes form a cycle through {proto_called(graph.node[other])}"
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


def without_large(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model, but for the numbers of large tensors, which no shape arithmetic needs."""
    outline = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    outline.functions.extend(proto.functions)
    graph = outline.graph
    graph.name = proto.graph.name
    small = [
        t
        for t in proto.graph.initializer
        if int(np.prod(t.dims, dtype=np.float64)) <= SMALL
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
