"""How layers and stored tensors are written in ONNX."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from ..ir import ops
from .onnx_site import Site, bordered, cut, flat, lowering


@lowering(ops.Conv)
def conv(op: ops.Conv, at: Site) -> str:
    return at.emit(
        "Conv",
        at.x,
        *at.params.values(),
        kernel_shape=op.kernel,
        strides=op.stride,
        pads=flat(op.pads),
        dilations=op.dilation,
        group=op.groups,
    )


@lowering(ops.ConvTranspose)
def conv_transpose(op: ops.ConvTranspose, at: Site) -> str:
    settings: dict[str, Any] = {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": flat(op.pads),
        "dilations": op.dilation,
        "group": op.groups,
    }
    if all(extra < stride for extra, stride in zip(op.extra, op.stride, strict=True)):
        settings["output_padding"] = op.extra
        return at.emit("ConvTranspose", at.x, *at.params.values(), **settings)
    # onnxruntime does not add a whole step: here zeros are added to the whole result, before what
    # padding stands for is cut off from it.
    settings["pads"] = [0] * 2 * op.rank
    value = at.emit("ConvTranspose", at.x, at.params["weight"], **settings)
    value = bordered(at, value, tuple((0, extra) for extra in op.extra), 0.0)
    for axis, ((begin, end), size) in enumerate(zip(op.pads, at.node.type.shape[1:], strict=True)):
        if begin or end:
            value = cut(at, value, axis + 2, begin, begin + size)
    return at.emit("Add", value, at.per_channel(at.params["bias"])) if op.bias else value


@lowering(ops.Linear)
def linear(op: ops.Linear, at: Site) -> str:
    if len(at.shape) == 1:
        return at.emit("Gemm", at.x, *at.params.values(), transB=1)
    product = at.emit("MatMul", at.x, at.emit("Transpose", at.params["weight"], perm=[1, 0]))
    return at.emit("Add", product, at.params["bias"]) if op.bias else product


@lowering(ops.Embedding)
def embedding(op: ops.Embedding, at: Site) -> str:
    return at.emit("Gather", at.params["weight"], at.x, axis=0)


@lowering(ops.Stored)
def stored(op: ops.Stored, at: Site) -> str:
    value = at.params[""]
    return value if op.batch else at.emit("Unsqueeze", value, at.ints(0))


@lowering(ops.ToFloat)
def to_float(op: ops.ToFloat, at: Site) -> str:
    return at.x if at.types[0].dtype == "f32" else at.emit("Cast", at.x, to=TensorProto.FLOAT)
