"""ONNX's element-wise ops, arithmetic and reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from ...ir import Op, ops
from . import operations as o
from .onnx_call import Call, handles
from .values import Bound, Const, Unreadable, Value

PLAIN: dict[str, type[Op]] = {
    "Abs": ops.Abs,
    "Acos": ops.Acos,
    "Acosh": ops.Acosh,
    "Asin": ops.Asin,
    "Asinh": ops.Asinh,
    "Atan": ops.Atan,
    "Atanh": ops.Atanh,
    "Ceil": ops.Ceil,
    "Cos": ops.Cos,
    "Cosh": ops.Cosh,
    "Erf": ops.Erf,
    "Exp": ops.Exp,
    "Floor": ops.Floor,
    "HardSwish": ops.HardSwish,
    "Log": ops.Log,
    "Mish": ops.Mish,
    "Reciprocal": ops.Reciprocal,
    "Relu": ops.Relu,
    "Round": ops.Round,
    "Sigmoid": ops.Sigmoid,
    "Sign": ops.Sign,
    "Sin": ops.Sin,
    "Sinh": ops.Sinh,
    "Softplus": ops.Softplus,
    "Softsign": ops.Softsign,
    "Sqrt": ops.Sqrt,
    "Tan": ops.Tan,
    "Tanh": ops.Tanh,
}


@handles(*PLAIN)
def plain(call: Call) -> Value:
    return o.elementwise(call.b, PLAIN[call.op](), call.x)


# op → (class, {our attribute: (ONNX's, its default)})
WITH_NUMBERS: dict[str, tuple[type[Op], dict[str, tuple[str, float]]]] = {
    "LeakyRelu": (ops.LeakyRelu, {"slope": ("alpha", 0.01)}),
    "Elu": (ops.Elu, {"alpha": ("alpha", 1.0)}),
    "Celu": (ops.Celu, {"alpha": ("alpha", 1.0)}),
    "HardSigmoid": (ops.HardSigmoid, {"slope": ("alpha", 0.2), "offset": ("beta", 0.5)}),
    "Selu": (
        ops.Selu,
        {"alpha": ("alpha", 1.6732632423543772), "scale": ("gamma", 1.0507009873554805)},
    ),
    "ThresholdedRelu": (ops.ThresholdedRelu, {"threshold": ("alpha", 1.0)}),
    "Shrink": (ops.Shrink, {"limit": ("lambd", 0.5), "bias": ("bias", 0.0)}),
}


@handles(*WITH_NUMBERS)
def with_numbers(call: Call) -> Value:
    cls, names = WITH_NUMBERS[call.op]
    values = {ours: exact(call.attr(theirs, d), d) for ours, (theirs, d) in names.items()}
    return o.elementwise(call.b, call.b.make(cls, **values), call.x)


def exact(value: float, default: float) -> float:
    """ONNX stores float32: the decimal that was meant, so that text stays short."""
    if np.float32(value) == np.float32(default):
        return default
    return float(str(np.float32(value)))


@handles("Neg")
def neg(call: Call) -> Value:
    return o.scale(call.b, call.x, -1.0)


@handles("Gelu")
def gelu(call: Call) -> Value:
    return o.elementwise(call.b, ops.Gelu(call.attr("approximate", "none")), call.x)


@handles("Swish")
def swish(call: Call) -> Value:
    alpha = exact(call.attr("alpha", 1.0), 1.0)
    if alpha == 1.0:
        return o.elementwise(call.b, ops.Silu(), call.x)
    gate = o.elementwise(call.b, ops.Sigmoid(), o.scale(call.b, call.x, alpha))
    return o.mul(call.b, call.x, gate)


@handles("Identity", layout=True)
def identity(call: Call) -> Value:
    return call.tensor()


@handles("Dropout")
def dropout(call: Call) -> Value:
    ratio = call.number(1, "ratio", 12, 0.5) if call.opset >= 12 else call.attr("ratio", 0.5)
    x = call.tensor()
    if not ratio or isinstance(x, Const):
        return x
    training = call.optional(2, "training_mode") if call.opset >= 12 else None
    if training is not None and training.number():
        raise Unreadable(
            "it drops numbers in evaluation too (training_mode=1): was the model exported in "
            "training mode?"
        )
    op = call.b.make(ops.Dropout, exact(float(ratio), 0.5))
    return o.elementwise(call.b, op, call.x)


@handles("PRelu")
def prelu(call: Call) -> Value:
    x, slope = call.x, call.const(1, "slope")
    if slope.array.size == 1:
        op = call.b.make(ops.Prelu, 1)
        flat = slope.with_array(slope.array.reshape(1))
        return replace(x, node=call.b.add(op, (x.node,), {"weight": flat}))
    b = call.b
    channels = x.real(b.batch)[1] if x.rank > 1 else 0
    spread = np.broadcast_shapes(slope.shape, (1,) * x.rank)
    if x.is_plain and slope.array.size == channels == spread[1]:
        op = b.make(ops.Prelu, channels)
        flat = slope.with_array(slope.array.reshape(channels))
        return replace(x, node=b.add(op, (x.node,), {"weight": flat}))
    # max(0, x) - slope·max(0, -x)
    negative = o.elementwise(b, ops.Relu(), o.scale(b, x, -1.0))
    return o.sub(b, o.elementwise(b, ops.Relu(), x), o.mul(b, negative, slope))


@handles("Clip")
def clip(call: Call) -> Value:
    low = call.number(1, "min", 11, None)
    high = call.number(2, "max", 11, None)
    return o.clip(call.b, call.x, low, high)


@handles("Softmax", "LogSoftmax")
def softmax(call: Call) -> Value:
    cls = ops.Softmax if call.op == "Softmax" else ops.LogSoftmax
    axis = call.attr("axis", -1 if call.opset >= 13 else 1)
    x = call.x
    if call.opset >= 13 or o.in_range(axis, x.rank) == x.rank - 1:
        return o.along(call.b, cls, x, axis)
    # Until opset 13: over all axes from this one on, together.
    shape = x.real(call.b.batch)
    axis = o.in_range(axis, x.rank)
    flat = call.b.reshape(x, (*shape[:axis], math.prod(shape[axis:])))
    return call.b.reshape(o.along(call.b, cls, flat, -1), shape)


# ---- arithmetic

BINARY = {"Add": o.add, "Sub": o.sub, "Mul": o.mul, "Div": o.div, "Pow": o.power}


@handles(*BINARY)
def binary(call: Call) -> Value:
    return BINARY[call.op](call.b, *_operands(call))


def _operands(call: Call) -> tuple[Bound | Const, Bound | Const]:
    x, y = call.tensor(0), call.tensor(1)
    if call.opset < 7 and call.attr("broadcast"):
        raise Unreadable("it broadcasts as before opset 7")
    return x, y


@handles("Sum")
def total(call: Call) -> Value:
    values = [call.tensor(i) for i in range(len(call.inputs))]
    if len(values) == 1:
        return values[0]
    return call.b.broadcast(ops.Add(), values)


@handles("Mean")
def mean(call: Call) -> Value:
    values = [call.tensor(i) for i in range(len(call.inputs))]
    whole = values[0] if len(values) == 1 else call.b.broadcast(ops.Add(), values)
    return o.scale(call.b, whole, 1 / len(values))


@handles("Min", "Max")
def extreme(call: Call) -> Value:
    kind = ops.Minimum if call.op == "Min" else ops.Maximum
    return o.extreme(call.b, kind, [call.tensor(i) for i in range(len(call.inputs))])


@handles("Mod")
def mod(call: Call) -> Value:
    if not call.attr("fmod", 0):
        raise Unreadable("it is not the mod of floating-point numbers (fmod=0)")
    return call.b.broadcast(ops.Mod(), (call.tensor(0), call.tensor(1)))


COMPARISONS: dict[str, tuple[type[Op], bool]] = {
    "Greater": (ops.Greater, False),
    "GreaterOrEqual": (ops.GreaterEqual, False),
    "Less": (ops.Greater, True),
    "LessOrEqual": (ops.GreaterEqual, True),
    "Equal": (ops.Equal, False),
}


@handles(*COMPARISONS)
def comparison(call: Call) -> Value:
    cls, swapped = COMPARISONS[call.op]
    operands = [
        o.to_float(call.b, x) if isinstance(x, Bound) else x
        for x in (call.tensor(0), call.tensor(1))
    ]
    return call.b.broadcast(cls(), operands[::-1] if swapped else operands)


# Conditions are numbers here, 0 and 1.


@handles("Not")
def negation(call: Call) -> Value:
    return o.scale(call.b, call.x, -1.0, 1.0)


@handles("And")
def conjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Mul(), (call.tensor(0), call.tensor(1)))


@handles("Or")
def disjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Maximum(), (call.tensor(0), call.tensor(1)))


@handles("Where")
def where(call: Call) -> Value:
    return o.where(call.b, call.tensor(0), call.tensor(1), call.tensor(2))


@handles("Cast", "CastLike", layout=True)
def cast(call: Call) -> Value:
    x = call.tensor()
    target = call.attr("to")
    if call.op == "CastLike":
        target = _kind_of(call.tensor(1))
    if isinstance(x, Const):
        return _cast_constant(x, target)
    if target in FLOATS:
        return o.to_float(call.b, x)
    if x.dtype == "i64" and target in ("INT64", "INT32"):
        return x
    if target == "BOOL":
        zero = Const(np.zeros((), np.float32))
        same = call.b.broadcast(ops.Equal(), (o.to_float(call.b, x), zero))
        return o.scale(call.b, same, -1.0, 1.0)
    raise Unreadable(f"it makes {str(target).lower()} of numbers that are computed")


FLOATS = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")
NUMPY = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
}


def _kind_of(like: Bound | Const) -> str:
    """ONNX's name of the element type."""
    if isinstance(like, Bound):
        return "FLOAT" if like.dtype == "f32" else "INT64"
    kind = helper.np_dtype_to_tensor_dtype(like.array.dtype)
    return str(TensorProto.DataType.Name(kind))


def _cast_constant(x: Const, target: Any) -> Value:
    if target in FLOATS:
        return x.with_array(x.array.astype(np.float32)) if x.array.dtype != np.float32 else x
    if target in NUMPY:
        return Const(x.array.astype(NUMPY[target]))
    raise Unreadable(f"it casts to {str(target).lower()}")


# ---- reductions

REDUCTIONS: dict[str, type[Op]] = {
    "ReduceMean": ops.ReduceMean,
    "ReduceSum": ops.ReduceSum,
    "ReduceProd": ops.ReduceProd,
    "ReduceMax": ops.ReduceMax,
    "ReduceMin": ops.ReduceMin,
    "ReduceL1": ops.ReduceL1,
    "ReduceL2": ops.ReduceL2,
    "ReduceLogSumExp": ops.ReduceLogSumExp,
    "ReduceLogSum": ops.ReduceSum,
    "ReduceSumSquare": ops.ReduceSum,
}


@handles(*REDUCTIONS)
def reduction(call: Call) -> Value:
    axes = call.axes(1, 13 if call.op == "ReduceSum" else 18)
    b, x = call.b, call.x
    if not axes:
        if call.attr("noop_with_empty_axes", 0):
            axes = []
        else:
            axes = list(range(x.rank))
            if x.batch is not None:
                raise Unreadable("it reduces over the batch")
    if call.op == "ReduceSumSquare":
        x = o.bound(b, o.mul(b, x, x))
    result: Any = o.reduce(b, REDUCTIONS[call.op], x, axes, bool(call.attr("keepdims", 1)))
    return o.elementwise(b, ops.Log(), result) if call.op == "ReduceLogSum" else result


@handles("LpNormalization")
def lp_normalization(call: Call) -> Value:
    axis = call.attr("axis", -1)
    kind = ops.ReduceL1 if call.attr("p", 2) == 1 else ops.ReduceL2
    size = o.reduce(call.b, kind, call.x, [axis], keep=True)
    # Zeros stay zeros, as in onnxruntime.
    return o.div(call.b, call.x, o.clip(call.b, size, SMALLEST, None))


SMALLEST = 1.2e-38
"""A little more than float32's least normal number."""


@handles("MeanVarianceNormalization")
def mean_variance(call: Call) -> Value:
    b, x = call.b, call.x
    axes: Sequence[int] = call.attr("axes", [0, 2, 3])
    mean = o.reduce(b, ops.ReduceMean, x, axes, keep=True)
    centred = o.sub(b, x, mean)
    variance = o.reduce(b, ops.ReduceMean, o.mul(b, centred, centred), axes, keep=True)
    deviation = o.scale(b, o.elementwise(b, ops.Sqrt(), variance), 1.0, 1e-9)
    return o.div(b, centred, deviation)
