"""How element-wise functions and arithmetic become PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ..ir import ops
from .torch_site import Site, dim, lowering

Function = Callable[..., Any]

# ---- functions of one tensor, without attributes

FUNCTIONS: dict[type[ops.Op], Function] = {
    ops.Relu: F.relu,
    ops.Silu: F.silu,
    ops.Sigmoid: torch.sigmoid,
    ops.Tanh: torch.tanh,
    ops.HardSwish: F.hardswish,
    ops.Exp: torch.exp,
    ops.Log: torch.log,
    ops.Sqrt: torch.sqrt,
    ops.Reciprocal: torch.reciprocal,
    ops.Abs: torch.abs,
    ops.Sign: torch.sign,
    ops.Floor: torch.floor,
    ops.Ceil: torch.ceil,
    ops.Round: torch.round,
    ops.Erf: torch.erf,
    ops.Sin: torch.sin,
    ops.Cos: torch.cos,
    ops.Tan: torch.tan,
    ops.Asin: torch.asin,
    ops.Acos: torch.acos,
    ops.Atan: torch.atan,
    ops.Sinh: torch.sinh,
    ops.Cosh: torch.cosh,
    ops.Asinh: torch.asinh,
    ops.Acosh: torch.acosh,
    ops.Atanh: torch.atanh,
    ops.Softsign: F.softsign,
    ops.Mish: F.mish,
}


@lowering(*FUNCTIONS)
def function(op: ops.Op, at: Site) -> fx.Node:
    return at.call(FUNCTIONS[type(op)], at.x)


@lowering(ops.Identity)
def identity(op: ops.Identity, at: Site) -> fx.Node:
    return at.x


# ---- functions with attributes


@lowering(ops.LeakyRelu)
def leaky_relu(op: ops.LeakyRelu, at: Site) -> fx.Node:
    return at.call(F.leaky_relu, at.x, op.slope)


@lowering(ops.Elu)
def elu(op: ops.Elu, at: Site) -> fx.Node:
    return at.call(F.elu, at.x, op.alpha)


@lowering(ops.Gelu)
def gelu(op: ops.Gelu, at: Site) -> fx.Node:
    return at.call(F.gelu, at.x, approximate=op.approximate)


@lowering(ops.Scale)
def scale(op: ops.Scale, at: Site) -> fx.Node:
    scaled = at.x if op.factor == 1.0 else at.call(torch.mul, at.x, op.factor)
    return scaled if op.offset == 0.0 else at.call(torch.add, scaled, op.offset)


@lowering(ops.Power)
def power(op: ops.Power, at: Site) -> fx.Node:
    return at.call(torch.pow, at.x, op.exponent)


@lowering(ops.Clip)
def clip(op: ops.Clip, at: Site) -> fx.Node:
    if op.low is None and op.high is None:
        return at.x
    return at.call(torch.clamp, at.x, op.low, op.high)


@lowering(ops.Softplus)
def softplus(op: ops.Softplus, at: Site) -> fx.Node:
    return at.call(F.softplus, at.x, op.beta)


@lowering(ops.Selu)
def selu(op: ops.Selu, at: Site) -> fx.Node:
    if op == ops.Selu():
        return at.call(F.selu, at.x)
    return at.call(torch.mul, at.call(F.elu, at.x, op.alpha), op.scale)


@lowering(ops.Celu)
def celu(op: ops.Celu, at: Site) -> fx.Node:
    return at.call(F.celu, at.x, op.alpha)


@lowering(ops.HardSigmoid)
def hard_sigmoid(op: ops.HardSigmoid, at: Site) -> fx.Node:
    if op == ops.HardSigmoid():
        return at.call(F.hardsigmoid, at.x)
    line = at.call(torch.add, at.call(torch.mul, at.x, op.slope), op.offset)
    return at.call(torch.clamp, line, 0.0, 1.0)


@lowering(ops.ThresholdedRelu)
def thresholded_relu(op: ops.ThresholdedRelu, at: Site) -> fx.Node:
    return at.call(F.threshold, at.x, op.threshold, 0.0)


@lowering(ops.Shrink)
def shrink(op: ops.Shrink, at: Site) -> fx.Node:
    if op.bias == op.limit:
        return at.call(F.softshrink, at.x, op.limit)
    kept = at.call(F.hardshrink, at.x, op.limit)
    if op.bias == 0.0:
        return kept
    return at.call(torch.sub, kept, at.call(torch.sign, kept), alpha=op.bias)


@lowering(ops.Prelu)
def prelu(op: ops.Prelu, at: Site) -> fx.Node:
    return at.module(nn.PReLU(op.slopes, device=torch.device("meta")))


@lowering(ops.Softmax)
def softmax(op: ops.Softmax, at: Site) -> fx.Node:
    return at.call(F.softmax, at.x, dim=dim(op.axis, len(at.shape)))


@lowering(ops.LogSoftmax)
def log_softmax(op: ops.LogSoftmax, at: Site) -> fx.Node:
    return at.call(F.log_softmax, at.x, dim=dim(op.axis, len(at.shape)))


@lowering(ops.Dropout)
def dropout(op: ops.Dropout, at: Site) -> fx.Node:
    return at.module(nn.Dropout(op.p))


# ---- arithmetic

ARITHMETIC: dict[type[ops.Broadcasting], Function] = {
    ops.Add: torch.add,
    ops.Sub: torch.sub,
    ops.Mul: torch.mul,
    ops.Div: torch.div,
    ops.Pow: torch.pow,
    ops.Mod: torch.fmod,
    ops.Minimum: torch.minimum,
    ops.Maximum: torch.maximum,
}

COMPARISONS: dict[type[ops.Broadcasting], Function] = {
    ops.Greater: torch.gt,
    ops.GreaterEqual: torch.ge,
    ops.Equal: torch.eq,
}


@lowering(*ARITHMETIC)
def arithmetic(op: ops.Broadcasting, at: Site) -> fx.Node:
    first, *others = at.aligned()
    for other in others:
        first = at.call(ARITHMETIC[type(op)], first, other)
    return first


@lowering(*COMPARISONS)
def comparison(op: ops.Broadcasting, at: Site) -> fx.Node:
    # The precision is that of the operand, whatever the module has been moved to.
    return at.method("type_as", at.call(COMPARISONS[type(op)], *at.aligned()), at.x)


@lowering(ops.Where)
def where(op: ops.Where, at: Site) -> fx.Node:
    condition, a, b = at.aligned()
    return at.call(torch.where, at.call(operator.ne, condition, 0), a, b)
