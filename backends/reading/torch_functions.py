"""PyTorch's element-wise operators, arithmetic and reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import Op, ops
from . import operations as o
from .torch_call import Call, handles
from .values import Bound, Const, Unreadable, Value

PLAIN: dict[str, type[Op]] = {
    "aten.abs": ops.Abs,
    "aten.acos": ops.Acos,
    "aten.acosh": ops.Acosh,
    "aten.asin": ops.Asin,
    "aten.asinh": ops.Asinh,
    "aten.atan": ops.Atan,
    "aten.atanh": ops.Atanh,
    "aten.ceil": ops.Ceil,
    "aten.cos": ops.Cos,
    "aten.cosh": ops.Cosh,
    "aten.erf": ops.Erf,
    "aten.exp": ops.Exp,
    "aten.floor": ops.Floor,
    "aten.hardsigmoid": ops.HardSigmoid,
    "aten.hardswish": ops.HardSwish,
    "aten.log": ops.Log,
    "aten.mish": ops.Mish,
    "aten.reciprocal": ops.Reciprocal,
    "aten.relu": ops.Relu,
    "aten.round": ops.Round,
    "aten.selu": ops.Selu,
    "aten.sigmoid": ops.Sigmoid,
    "aten.sign": ops.Sign,
    "aten.silu": ops.Silu,
    "aten.sin": ops.Sin,
    "aten.sinh": ops.Sinh,
    "aten.sqrt": ops.Sqrt,
    "aten.tan": ops.Tan,
    "aten.tanh": ops.Tanh,
}


@handles(*PLAIN)
def plain(call: Call) -> Value:
    return o.elementwise(call.b, PLAIN[call.op](), call.tensor())


@handles("aten.identity", "aten.alias", "aten.contiguous", "aten.clone", "aten.detach")
@handles("aten.lift_fresh_copy", "aten.detach_", "aten._to_copy", "aten.to", "aten.type_as")
@handles("aten.float")
def same(call: Call) -> Value:
    x = call.tensor()
    wanted = str(call.get("dtype", ""))
    if isinstance(x, Bound) and x.dtype == "i64" and "float" in wanted:
        return replace(x, node=call.b.add(ops.ToFloat(), (x.node,)), dtype="f32")
    if isinstance(x, Bound) and x.dtype == "f32" and ("int" in wanted or "bool" in wanted):
        raise Unreadable(f"it makes {wanted.removeprefix('torch.')} of numbers that are computed")
    return x


@handles("aten.dropout", "aten.native_dropout", "aten.feature_dropout", "aten.dropout_")
def dropout(call: Call) -> Value:
    if call.op == "aten.feature_dropout" and call["p"]:
        raise Unreadable("growc has no dropout of whole channels")
    if not call["p"]:
        return call.tensor()
    op = call.b.make(ops.Dropout, float(call["p"]))
    return o.elementwise(call.b, op, call.tensor("input"))


@handles("aten.leaky_relu")
def leaky_relu(call: Call) -> Value:
    op = call.b.make(ops.LeakyRelu, float(call["negative_slope"]))
    return o.elementwise(call.b, op, call.tensor())


@handles("aten.elu", "aten.celu")
def elu(call: Call) -> Value:
    if call.op == "aten.celu":
        return o.elementwise(call.b, call.b.make(ops.Celu, float(call["alpha"])), call.tensor())
    if call["scale"] != 1 or call["input_scale"] != 1:
        raise Unreadable("its scale is not 1")
    return o.elementwise(call.b, call.b.make(ops.Elu, float(call["alpha"])), call.tensor())


@handles("aten.gelu")
def gelu(call: Call) -> Value:
    return o.elementwise(call.b, ops.Gelu(call.get("approximate", "none")), call.tensor())


@handles("aten.softplus")
def softplus(call: Call) -> Value:
    # Beyond the threshold PyTorch returns x, which differs by less than rounding.
    return o.elementwise(call.b, call.b.make(ops.Softplus, float(call["beta"])), call.tensor())


@handles("aten.log_sigmoid")
def log_sigmoid(call: Call) -> Value:
    b = call.b
    return o.scale(b, o.elementwise(b, ops.Softplus(), o.scale(b, call.tensor(), -1.0)), -1.0)


@handles("aten.log1p")
def log1p(call: Call) -> Value:
    return o.elementwise(call.b, ops.Log(), o.scale(call.b, call.tensor(), 1.0, 1.0))


@handles("aten.hardtanh", "aten.relu6", "aten.clamp", "aten.clamp_min", "aten.clamp_max")
def clamp(call: Call) -> Value:
    if call.op == "aten.relu6":
        return o.clip(call.b, call.tensor(), 0.0, 6.0)
    if call.op == "aten.hardtanh":
        return o.clip(call.b, call.tensor(), float(call["min_val"]), float(call["max_val"]))
    low, high = call.get("min"), call.get("max")
    values: list[Any] = [call.tensor()]
    if isinstance(low, (Bound, Const)) or isinstance(high, (Bound, Const)):
        if low is not None:
            values = [o.extreme(call.b, ops.Maximum, [values[0], _tensor(low)])]
        if high is not None:
            values = [o.extreme(call.b, ops.Minimum, [values[0], _tensor(high)])]
        return values[0]  # type: ignore[no-any-return]
    limits = [None if n is None else float(n) for n in (low, high)]
    return o.clip(call.b, call.tensor(), *limits)


@handles("aten.threshold")
def threshold(call: Call) -> Value:
    if call["value"] != 0:
        raise Unreadable("it replaces small numbers by something else than 0")
    op = call.b.make(ops.ThresholdedRelu, float(call["threshold"]))
    return o.elementwise(call.b, op, call.tensor())


@handles("aten.prelu", "aten._prelu_kernel")
def prelu(call: Call) -> Value:
    b, weight = call.b, call.const("weight")
    x = call.bound()
    if weight.array.size > 1:
        x = b.plain(x, "operand")
    op = b.make(ops.Prelu, weight.array.size)
    flat = weight if weight.array.ndim == 1 else weight.with_array(weight.array.reshape(-1))
    return replace(x, node=b.add(op, (x.node,), {"weight": flat}))


@handles("aten.glu")
def glu(call: Call) -> Value:
    b, axis = call.b, call["dim"] % call.rank()
    half = call.shape()[axis] // 2
    first = o.cut(b, call.tensor(), axis, 0, half)
    gate = o.cut(b, call.tensor(), axis, half, 2 * half)
    return o.mul(b, first, o.elementwise(b, ops.Sigmoid(), gate))


@handles("aten.softmax", "aten._softmax", "aten._safe_softmax", "aten.log_softmax")
@handles("aten._log_softmax")
def softmax(call: Call) -> Value:
    cls = ops.LogSoftmax if "log" in call.op else ops.Softmax
    return o.along(call.b, cls, call.tensor(), call["dim"])


# ---- arithmetic


def _tensor(value: Any) -> Bound | Const:
    if isinstance(value, (Bound, Const)):
        return value
    return Const(np.array(value, np.float64 if isinstance(value, float) else None))


def _pair(call: Call) -> tuple[Bound | Const, Bound | Const]:
    """Both operands; ``alpha`` multiplies the second."""
    x, y = _tensor(call["self"]), _tensor(call["other"])
    alpha = call.get("alpha", 1)
    if alpha != 1:
        y = Const(y.array * alpha) if isinstance(y, Const) else o.scale(call.b, y, float(alpha))
    return x, y


@handles("aten.add")
def add(call: Call) -> Value:
    return o.add(call.b, *_pair(call))


@handles("aten.sub", "aten.subtract")
def sub(call: Call) -> Value:
    return o.sub(call.b, *_pair(call))


@handles("aten.rsub")
def rsub(call: Call) -> Value:
    if call.get("alpha", 1) != 1:
        raise Unreadable("its alpha is not 1")
    return o.sub(call.b, _tensor(call["other"]), _tensor(call["self"]))


@handles("aten.mul", "aten.multiply")
def mul(call: Call) -> Value:
    return o.mul(call.b, *_pair(call))


@handles("aten.div", "aten.divide", "aten.true_divide")
def div(call: Call) -> Value:
    result = o.div(call.b, *_pair(call))
    rounding = call.get("rounding_mode")
    if rounding == "floor":
        return o.elementwise(call.b, ops.Floor(), result)
    if rounding is not None:
        raise Unreadable("it cuts off the fraction of a quotient")
    return result


@handles("aten.pow")
def power(call: Call) -> Value:
    return o.power(call.b, _tensor(call["self"]), _tensor(call["exponent"]))


@handles("aten.square")
def square(call: Call) -> Value:
    return o.power(call.b, call.tensor(), Const(np.array(2.0)))


@handles("aten.rsqrt")
def rsqrt(call: Call) -> Value:
    return o.power(call.b, call.tensor(), Const(np.array(-0.5)))


@handles("aten.neg")
def neg(call: Call) -> Value:
    return o.scale(call.b, call.tensor(), -1.0)


@handles("aten.fmod")
def fmod(call: Call) -> Value:
    return call.b.broadcast(ops.Mod(), _pair(call))


@handles("aten.addcmul")
def addcmul(call: Call) -> Value:
    b = call.b
    product = o.mul(b, call.tensor("tensor1"), call.tensor("tensor2"))
    return o.add(b, call.tensor(), o.scale(b, product, float(call.get("value", 1))))


@handles("aten.lerp")
def lerp(call: Call) -> Value:
    b = call.b
    step = o.sub(b, call.tensor("end"), call.tensor())
    return o.add(b, call.tensor(), o.mul(b, step, _tensor(call["weight"])))


@handles("aten.minimum", "aten.maximum", "aten.max.other", "aten.min.other")
def extreme(call: Call) -> Value:
    kind = ops.Minimum if "min" in call.op else ops.Maximum
    return o.extreme(call.b, kind, _pair(call))


COMPARISONS: dict[str, tuple[type[Op], bool]] = {
    "aten.gt": (ops.Greater, False),
    "aten.ge": (ops.GreaterEqual, False),
    "aten.lt": (ops.Greater, True),
    "aten.le": (ops.GreaterEqual, True),
    "aten.eq": (ops.Equal, False),
    "aten.ne": (ops.Equal, False),
}


@handles(*COMPARISONS)
def comparison(call: Call) -> Value:
    cls, swapped = COMPARISONS[call.op]
    operands = _pair(call)
    found = call.b.broadcast(cls(), operands[::-1] if swapped else operands)
    return o.scale(call.b, found, -1.0, 1.0) if call.op == "aten.ne" else found


@handles("aten.logical_not", "aten.bitwise_not")
def negation(call: Call) -> Value:
    return o.scale(call.b, call.tensor(), -1.0, 1.0)


@handles("aten.logical_and", "aten.bitwise_and")
def conjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Mul(), _pair(call))


@handles("aten.logical_or", "aten.bitwise_or")
def disjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Maximum(), _pair(call))


@handles("aten.where")
def where(call: Call) -> Value:
    x, y = _tensor(call["self"]), _tensor(call["other"])
    return o.where(call.b, call.tensor("condition"), x, y)


@handles("aten.masked_fill")
def masked_fill(call: Call) -> Value:
    value = _tensor(call["value"])
    return o.where(call.b, call.tensor("mask"), value, call.tensor())


# ---- reductions

REDUCTIONS: dict[str, type[Op]] = {
    "aten.mean": ops.ReduceMean,
    "aten.sum": ops.ReduceSum,
    "aten.prod": ops.ReduceProd,
    "aten.amax": ops.ReduceMax,
    "aten.amin": ops.ReduceMin,
    "aten.logsumexp": ops.ReduceLogSumExp,
}


def _axes(call: Call) -> list[int]:
    axes = call.arguments.get("dim")
    if axes is None or axes == []:
        raise Unreadable("it reduces over the batch")
    return list(axes) if isinstance(axes, Sequence) else [axes]


@handles(*REDUCTIONS)
def reduction(call: Call) -> Value:
    keep = bool(call.get("keepdim", False))
    return o.reduce(call.b, REDUCTIONS[call.op], call.tensor(), _axes(call), keep)


@handles("aten.max.dim", "aten.min.dim")
def extreme_along(call: Call) -> Value:
    kind = ops.ReduceMax if "max" in call.op else ops.ReduceMin
    keep = bool(call.get("keepdim", False))
    return (o.reduce(call.b, kind, call.tensor(), _axes(call), keep), None)


@handles("aten.linalg_vector_norm", "aten.norm")
def norm(call: Call) -> Value:
    order = call.get("ord", call.get("p", 2))
    if order not in (1, 2):
        raise Unreadable(f"growc has the norms 1 and 2, not {order}")
    kind = ops.ReduceL1 if order == 1 else ops.ReduceL2
    return o.reduce(call.b, kind, call.tensor(), _axes(call), bool(call.get("keepdim", False)))


@handles("aten.var", "aten.std", "aten.var_mean")
def variance(call: Call) -> Value:
    b, x, axes = call.b, call.bound(), _axes(call)
    keep = bool(call.get("keepdim", False))
    real = x.real(b.batch)
    count = math.prod(real[axis] for axis in axes)
    less = call.get("correction", 1 if call.get("unbiased", True) else 0)
    if count <= less:
        raise Unreadable("it takes the variance of a single number")
    centred = o.sub(b, x, o.reduce(b, ops.ReduceMean, x, axes, keep=True))
    square_ = o.power(b, centred, Const(np.array(2.0)))
    found = o.reduce(b, ops.ReduceMean, square_, axes, keep)
    found = o.scale(b, found, count / (count - less))
    if call.op == "aten.var_mean":
        return (found, o.reduce(b, ops.ReduceMean, x, axes, keep))
    return o.elementwise(b, ops.Sqrt(), found) if call.op == "aten.std" else found
