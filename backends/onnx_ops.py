"""How each op is written in ONNX, but for normalizations and poolings."""

from __future__ import annotations

import math
from typing import Any

from ..ir import ops
from ..ir.attributes import Pads
from .onnx_site import Site, lowering


def flat(pads: Pads) -> list[int]:
    """(begin, end) of each axis in ONNX's order: all begins, then all ends."""
    return [begin for begin, _ in pads] + [end for _, end in pads]


def dim(axis: int, rank: int) -> int:
    """The tensor's dimension for an op's axis: one more, as dimension 0 is the batch."""
    return axis % rank + 1


# ---- convolutions and linear layers


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


@lowering(ops.Linear)
def linear(op: ops.Linear, at: Site) -> str:
    if len(at.shape) == 1:
        return at.emit("Gemm", at.x, *at.params.values(), transB=1)
    product = at.emit("MatMul", at.x, at.emit("Transpose", at.params["weight"], perm=[1, 0]))
    return at.emit("Add", product, at.params["bias"]) if op.bias else product


# ---- element-wise functions


@lowering(ops.Relu)
def relu(op: ops.Relu, at: Site) -> str:
    return at.emit("Relu", at.x)


@lowering(ops.LeakyRelu)
def leaky_relu(op: ops.LeakyRelu, at: Site) -> str:
    return at.emit("LeakyRelu", at.x, alpha=op.slope)


@lowering(ops.Elu)
def elu(op: ops.Elu, at: Site) -> str:
    return at.emit("Elu", at.x, alpha=op.alpha)


@lowering(ops.Gelu)
def gelu(op: ops.Gelu, at: Site) -> str:
    if at.opset >= 20:
        return at.emit("Gelu", at.x, approximate=op.approximate)
    half = at.emit("Mul", at.x, at.number(0.5))
    if op.approximate == "none":
        # x/2 · (1 + erf(x/√2))
        curve = at.emit("Erf", at.emit("Mul", at.x, at.number(math.sqrt(0.5))))
    else:
        # x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))
        cube = at.emit("Mul", at.x, at.emit("Mul", at.x, at.x))
        bent = at.emit("Add", at.x, at.emit("Mul", cube, at.number(0.044715)))
        curve = at.emit("Tanh", at.emit("Mul", bent, at.number(math.sqrt(2 / math.pi))))
    return at.emit("Mul", half, at.emit("Add", curve, at.number(1.0)))


@lowering(ops.Silu)
def silu(op: ops.Silu, at: Site) -> str:
    return at.emit("Mul", at.x, at.emit("Sigmoid", at.x))


@lowering(ops.Sigmoid)
def sigmoid(op: ops.Sigmoid, at: Site) -> str:
    return at.emit("Sigmoid", at.x)


@lowering(ops.Tanh)
def tanh(op: ops.Tanh, at: Site) -> str:
    return at.emit("Tanh", at.x)


@lowering(ops.HardSwish)
def hardswish(op: ops.HardSwish, at: Site) -> str:
    if at.opset >= 14:
        return at.emit("HardSwish", at.x)
    return at.emit("Mul", at.x, at.emit("HardSigmoid", at.x, alpha=1 / 6, beta=0.5))


@lowering(ops.Identity, ops.Dropout)
def identity(op: ops.Identity | ops.Dropout, at: Site) -> str:
    return at.x


@lowering(ops.Scale)
def scale(op: ops.Scale, at: Site) -> str:
    value = at.x
    if op.factor != 1.0:
        value = at.emit("Mul", value, at.number(op.factor))
    if op.offset != 0.0:
        value = at.emit("Add", value, at.number(op.offset))
    return value


@lowering(ops.Softmax)
def softmax(op: ops.Softmax, at: Site) -> str:
    return at.emit("Softmax", at.x, axis=dim(op.axis, len(at.shape)))


# ---- arithmetic


@lowering(ops.Add)
def add(op: ops.Add, at: Site) -> str:
    return at.emit("Add" if len(at.operands) == 2 else "Sum", *at.operands)


@lowering(ops.Sub)
def sub(op: ops.Sub, at: Site) -> str:
    return at.emit("Sub", *at.operands)


@lowering(ops.Mul)
def mul(op: ops.Mul, at: Site) -> str:
    return at.emit("Mul", *at.operands)


# ---- shapes


@lowering(ops.Concat)
def concat(op: ops.Concat, at: Site) -> str:
    return at.emit("Concat", *at.operands, axis=dim(op.axis, len(at.shape)))


def cut(at: Site, value: str, dimension: int, start: int, stop: int, step: int = 1) -> str:
    """Elements start, start + step, … below stop, of one dimension of the tensor."""
    bounds: tuple[Any, ...] = start, stop, dimension, step
    return at.emit("Slice", value, *(at.ints(n) for n in bounds))


@lowering(ops.Slice)
def slice_(op: ops.Slice, at: Site) -> str:
    axis, start, stop, step = op.bounds(at.types[0])
    return cut(at, at.x, axis + 1, start, stop, step)


@lowering(ops.Pad)
def pad(op: ops.Pad, at: Site) -> str:
    return bordered(at, op.widths(at.types[0]), op.value)


def bordered(at: Site, widths: Pads, value: float) -> str:
    """The first operand with a border of ``value``; ``widths`` are those of the last axes."""
    inner = ((0, 0),) * (1 + len(at.shape) - len(widths))
    return at.emit("Pad", at.x, at.ints(*flat(inner + widths)), at.number(value))


@lowering(ops.Flatten)
def flatten(op: ops.Flatten, at: Site) -> str:
    if len(at.node.type.shape) == 1:
        return at.emit("Flatten", at.x, axis=1)
    return at.reshape(at.x, at.node.type.shape)


@lowering(ops.Reshape)
def reshape(op: ops.Reshape, at: Site) -> str:
    return at.reshape(at.x, at.node.type.shape)


@lowering(ops.Transpose)
def transpose(op: ops.Transpose, at: Site) -> str:
    return at.emit("Transpose", at.x, perm=[0, *(axis + 1 for axis in op.order)])
