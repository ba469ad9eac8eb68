"""The graph as an ONNX model, in memory or in files."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from ..ir import Graph, GrowcError, Input, Node, Op, TensorType
from ..ir.analysis import input_free
from ..ir.files import write_files
from ..ir.ops import Stored
from . import onnx_attention as onnx_attention  # these register the lowerings
from . import onnx_functions as onnx_functions
from . import onnx_norms as onnx_norms
from . import onnx_ops as onnx_ops
from . import onnx_pools as onnx_pools
from . import onnx_resize as onnx_resize
from . import onnx_shapes as onnx_shapes
from .onnx_site import Body, Site, lowering
from .registry import require_values

OPSETS = range(13, 24)
IR_VERSION = 10

MAX_BYTES = 2**31 - 2**20
"""A file above this is split: protobuf, in which ONNX is written, ends at 2 GiB."""

ALIGNMENT = 4096
"""Where tensors start in an external file, so that runtimes can map them into memory."""


def onnx_supports(op: type[Op]) -> bool:
    """Whether ops of this class can be written in ONNX."""
    return lowering.find(op) is not None


def to_onnx(
    graph: Graph,
    path: str | os.PathLike[str] | None = None,
    *,
    opset: int = 20,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
) -> onnx.ModelProto:
    """The graph as an ONNX model for evaluation, checked by ``onnx.checker``.

    Inputs and outputs have the graph's names and shapes ``[batch, *shape]``, with any batch size;
    whole numbers are int64. Initializers are the graph's parameters, under their names; nodes have
    the graph's names. Dropout is the identity, batch norms use their running statistics, and nodes
    that no output needs are left out. The same graph always gives the same bytes.

    With ``path`` the model is also written there, all or nothing. If it is larger than
    ``max_bytes``, the weights go into ``<path>.data`` beside it; the two belong together.

    Raises :class:`GrowcError` for parameters without a value, ops that cannot be written, an
    opset other than 13 to 23, an output that is called like an input or a parameter, and files
    that exist (unless ``overwrite``) or cannot be written.
    """
    if opset not in OPSETS:
        raise GrowcError(
            f"opset {opset} cannot be written, only {OPSETS.start} to {OPSETS.stop - 1}",
            help="20 is what most runtimes read",
        )
    live = _live(graph)
    lowering.check(live)
    require_values(graph)
    model = _model(graph, live, opset)
    outline = _without_weights(model)
    _check(model, outline, large=_is_large(model, outline, max_bytes))
    if path is not None:
        write_files(onnx_files(model, path, max_bytes=max_bytes), overwrite=overwrite)
    return model


def onnx_files(
    model: onnx.ModelProto, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES
) -> dict[Path, bytes]:
    """The files that hold a model of :func:`to_onnx` and their contents: one, or above
    ``max_bytes`` two, the weights lying in ``<path>.data``."""
    place, outline = Path(path), _without_weights(model)
    if _is_large(model, outline, max_bytes):
        return _split(model, outline, place)
    return {place: _bytes(model)}


def _is_large(model: onnx.ModelProto, outline: onnx.ModelProto, max_bytes: int) -> bool:
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    return int(outline.ByteSize()) + weights > max_bytes


def _live(graph: Graph) -> list[Node]:
    """The inputs and what the outputs need, operands first."""
    needed = {*graph.inputs, *graph.outputs.values()}
    stack = list(needed)
    while stack:
        fresh = set(graph.node(stack.pop()).operands) - needed
        needed |= fresh
        stack += fresh
    return [node for node in graph if node.name in needed]


def _model(graph: Graph, live: list[Node], opset: int) -> onnx.ModelProto:
    params = dict.fromkeys(key for node in live for key, _ in graph.params_of(node.name))
    _check_output_names(graph, params)
    inner = {node.name for node in live} | params.keys()
    free = input_free(graph)
    first_input = next(iter(graph.inputs), None)
    body = Body(opset, taken={*inner, *graph.outputs}, free=free, first_input=first_input)
    tensors = _tensor_names(graph, live, body)
    for node in live:
        if not isinstance(node.op, Input):
            _write(graph, node, body, tensors)
    for output, source in graph.outputs.items():
        if source in free:
            name = body.fresh(f"{output}/Expand")
            shape = body.whole_batch(graph.node(source).type.rank)
            body.emit("Expand", [tensors[source], shape], output, name)
        elif tensors[source] != output:
            name = body.fresh(f"{output}/Identity")
            body.emit("Identity", [tensors[source]], output, name)
    model = helper.make_model(
        helper.make_graph(
            body.nodes,
            graph.name,
            [_typed(name, graph.node(name).type) for name in graph.inputs],
            [_typed(name, graph.node(node).type) for name, node in graph.outputs.items()],
            # The checker compares these with the shapes it infers itself.
            value_info=[
                _typed(tensors[node.name], node.type, 1 if node.name in free else "batch")
                for node in live
                if tensors[node.name] not in {*graph.outputs, *graph.inputs, *params}
            ],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=max(IR_VERSION, _least_ir_version(opset)),
        producer_name="growc",
    )
    for key in params:
        # In place: protobuf copies messages by serializing them, which ends at 2 GiB.
        tensor = model.graph.initializer.add(name=key, data_type=onnx.TensorProto.FLOAT)
        value = graph.weights.effective(key)  # ONNX knows no masks: missing connections are zeros
        tensor.dims.extend(value.shape)
        tensor.raw_data = np.asarray(value, "<f4").tobytes()
    return model


def _check_output_names(graph: Graph, params: Container[str]) -> None:
    for output, node in graph.outputs.items():
        if output in params or (output in graph.inputs and output != node):
            other = "a parameter" if output in params else "an input"
            raise GrowcError(
                f"the output `{output}` is called like {other}, which ONNX does not allow",
                help=f"rename the output `{output}`",
            )


def _tensor_names(graph: Graph, live: list[Node], body: Body) -> dict[str, str]:
    """ONNX's name for the tensor of each node: an output's name, or else the node's own.

    A node whose name is that of an output of another node gets a fresh one. What an output cannot
    have this way (an input, or the second name of one tensor) needs an Identity, and what depends
    on no input is repeated. A stored tensor's name is that of its initializer.
    """
    names = {name: name for name in graph.inputs}
    for output, source in graph.outputs.items():
        if source not in body.free:
            names.setdefault(source, output)
    for node in live:
        if isinstance(node.op, Stored):
            key = node.parameter("")
            names[node.name] = key if node.op.batch else body.fresh(f"{node.name}/Unsqueeze")
        elif node.name not in names:
            taken = node.name in graph.outputs
            names[node.name] = body.fresh(node.name) if taken else node.name
    return names


def _write(graph: Graph, node: Node, body: Body, tensors: dict[str, str]) -> None:
    """Add the ONNX nodes of one IR node; the last one gets its name."""
    operands = tuple(tensors[name] for name in node.operands)
    params = {spec.role: key for key, spec in graph.params_of(node.name)}
    lower = lowering.find(type(node.op))
    assert lower is not None  # lowering.check has looked
    result = lower(node.op, Site(node, operands, graph.operand_types(node), params, body))
    if result == tensors[node.name]:
        return  # an initializer
    if result in operands:
        body.emit("Identity", [result], tensors[node.name], node.name)
        return
    last = body.nodes[-1]
    assert list(last.output) == [result], f"{node.op.name} ends with another node"
    last.output[0], last.name = tensors[node.name], node.name


ELEMENTS = {"f32": onnx.TensorProto.FLOAT, "i64": onnx.TensorProto.INT64}


def _typed(name: str, type: TensorType, batch: int | str = "batch") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENTS[type.dtype], [batch, *type.shape])


def _least_ir_version(opset: int) -> int:
    return int(helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))


def _bytes(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


# ---- large models


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that has everything but the initializers."""
    copy = onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        opset_import=model.opset_import,
    )
    copy.graph.name = model.graph.name
    for part in ("node", "input", "output", "value_info"):
        getattr(copy.graph, part).extend(getattr(model.graph, part))
    return copy


def _check(model: onnx.ModelProto, outline: onnx.ModelProto, *, large: bool) -> None:
    if not large:
        onnx.checker.check_model(model, full_check=True)
        return
    # The checker serializes the model, which it cannot do with a large one. For its purposes a
    # weight may as well be an input.
    checked = onnx.ModelProto()
    checked.CopyFrom(outline)
    checked.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    onnx.checker.check_model(checked, full_check=True)


def _split(model: onnx.ModelProto, outline: onnx.ModelProto, path: Path) -> dict[Path, bytes]:
    """The contents of two files: the model, and the weights beside it."""
    data_path = path.with_name(f"{path.name}.data")
    data = bytearray()
    for tensor in model.graph.initializer:
        data += bytes(-len(data) % ALIGNMENT)
        entries = {"location": data_path.name, "offset": len(data), "length": len(tensor.raw_data)}
        data += tensor.raw_data
        reference = outline.graph.initializer.add()
        reference.name, reference.data_type = tensor.name, tensor.data_type
        reference.dims.extend(tensor.dims)
        reference.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries.items():
            reference.external_data.add(key=key, value=str(value))
    return {data_path: bytes(data), path: _bytes(outline)}
