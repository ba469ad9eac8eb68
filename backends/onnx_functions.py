"""How element-wise functions and arithmetic are written in ONNX."""

from __future__ import annotations

import math

from onnx import TensorProto

from ..ir import ops
from .onnx_site import Site, dim, lowering

# ---- functions that ONNX has, without attributes

FUNCTIONS: dict[type[ops.Op], str] = {
    ops.Relu: "Relu",
    ops.Sigmoid: "Sigmoid",
    ops.Tanh: "Tanh",
    ops.Exp: "Exp",
    ops.Log: "Log",
    ops.Sqrt: "Sqrt",
    ops.Reciprocal: "Reciprocal",
    ops.Abs: "Abs",
    ops.Sign: "Sign",
    ops.Floor: "Floor",
    ops.Ceil: "Ceil",
    ops.Round: "Round",
    ops.Erf: "Erf",
    ops.Sin: "Sin",
    ops.Cos: "Cos",
    ops.Tan: "Tan",
    ops.Asin: "Asin",
    ops.Acos: "Acos",
    ops.Atan: "Atan",
    ops.Sinh: "Sinh",
    ops.Cosh: "Cosh",
    ops.Asinh: "Asinh",
    ops.Acosh: "Acosh",
    ops.Atanh: "Atanh",
    ops.Softsign: "Softsign",
}


@lowering(*FUNCTIONS)
def function(op: ops.Op, at: Site) -> str:
    return at.emit(FUNCTIONS[type(op)], at.x)


# ---- others


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


@lowering(ops.LogSoftmax)
def log_softmax(op: ops.LogSoftmax, at: Site) -> str:
    return at.emit("LogSoftmax", at.x, axis=dim(op.axis, len(at.shape)))


@lowering(ops.Power)
def power(op: ops.Power, at: Site) -> str:
    return at.emit("Pow", at.x, at.number(op.exponent))


@lowering(ops.Clip)
def clip(op: ops.Clip, at: Site) -> str:
    if op.low is None and op.high is None:
        return at.x
    limits = ["" if limit is None else at.number(limit) for limit in (op.low, op.high)]
    return at.emit("Clip", at.x, *(limits if limits[1] else limits[:1]))


@lowering(ops.Softplus)
def softplus(op: ops.Softplus, at: Site) -> str:
    if op.beta == 1.0:
        return at.emit("Softplus", at.x)
    beta = at.number(op.beta)
    return at.emit("Div", at.emit("Softplus", at.emit("Mul", at.x, beta)), beta)


@lowering(ops.Mish)
def mish(op: ops.Mish, at: Site) -> str:
    if at.opset >= 18:
        return at.emit("Mish", at.x)
    return at.emit("Mul", at.x, at.emit("Tanh", at.emit("Softplus", at.x)))


@lowering(ops.Selu)
def selu(op: ops.Selu, at: Site) -> str:
    return at.emit("Selu", at.x, alpha=op.alpha, gamma=op.scale)


@lowering(ops.Celu)
def celu(op: ops.Celu, at: Site) -> str:
    return at.emit("Celu", at.x, alpha=op.alpha)


@lowering(ops.HardSigmoid)
def hard_sigmoid(op: ops.HardSigmoid, at: Site) -> str:
    return at.emit("HardSigmoid", at.x, alpha=op.slope, beta=op.offset)


@lowering(ops.ThresholdedRelu)
def thresholded_relu(op: ops.ThresholdedRelu, at: Site) -> str:
    return at.emit("ThresholdedRelu", at.x, alpha=op.threshold)


@lowering(ops.Shrink)
def shrink(op: ops.Shrink, at: Site) -> str:
    return at.emit("Shrink", at.x, lambd=op.limit, bias=op.bias)


@lowering(ops.Prelu)
def prelu(op: ops.Prelu, at: Site) -> str:
    slopes = at.params["weight"]
    return at.emit("PRelu", at.x, slopes if op.slopes == 1 else at.per_channel(slopes))


# ---- arithmetic

ARITHMETIC: dict[type[ops.Broadcasting], str] = {
    ops.Sub: "Sub",
    ops.Mul: "Mul",
    ops.Div: "Div",
    ops.Pow: "Pow",
    ops.Minimum: "Min",
    ops.Maximum: "Max",
}

COMPARISONS: dict[type[ops.Broadcasting], str] = {
    ops.Greater: "Greater",
    ops.GreaterEqual: "GreaterOrEqual",
    ops.Equal: "Equal",
}


@lowering(ops.Add)
def add(op: ops.Add, at: Site) -> str:
    return at.emit("Add" if len(at.operands) == 2 else "Sum", *at.aligned())


@lowering(*ARITHMETIC)
def arithmetic(op: ops.Broadcasting, at: Site) -> str:
    return at.emit(ARITHMETIC[type(op)], *at.aligned())


@lowering(ops.Mod)
def mod(op: ops.Mod, at: Site) -> str:
    return at.emit("Mod", *at.aligned(), fmod=1)


@lowering(*COMPARISONS)
def comparison(op: ops.Broadcasting, at: Site) -> str:
    holds = at.emit(COMPARISONS[type(op)], *at.aligned())
    return at.emit("Cast", holds, to=TensorProto.FLOAT)


@lowering(ops.Where)
def where(op: ops.Where, at: Site) -> str:
    condition, a, b = at.aligned()
    return at.emit("Where", at.emit("Cast", condition, to=TensorProto.BOOL), a, b)
