"""PyTorch's functions of single numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import Op, ops
from . import moving
from . import operations as o
from .torch_call import Call, handles
from .torch_numbers import tensor_of, truncated, truth
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


@handles("aten.alias", "aten.contiguous", "aten.clone", "aten.detach", "aten.to")
@handles("aten._to_copy", "aten.type_as")
def same(call: Call) -> Value:
    x, kind = call.tensor(), call.kinds.get("self", call.result)
    if "detach" in call.op and isinstance(x, Bound) and x.batch is not None:
        call.b.notes.add(
            f"gradients stop at a detach in `{call.b.here.scope or 'forward'}`; here they do not"
        )
    if kind == call.result or isinstance(x, Const):
        return x
    if call.result == "float":
        return o.to_float(call.b, x)
    if call.result == "bool":
        return truth(call, x)
    if kind == "float":
        raise Unreadable("it makes whole numbers of numbers that are computed")
    return x


@handles("aten._assert_tensor_metadata", "aten._assert_async", "aten._assert_scalar")
def nothing(call: Call) -> Value:
    return None


@handles("aten.sym_size")
def size(call: Call) -> Any:
    return call.shape()[call["dim"]]


FILLED = {
    "aten.full_like": None,
    "aten.zeros_like": 0.0,
    "aten.ones_like": 1.0,
    "aten.empty_like": 0.0,
    "aten.new_full": None,
    "aten.new_zeros": 0.0,
    "aten.new_ones": 1.0,
    "aten.new_empty": 0.0,
}


@handles(*FILLED)
def filled(call: Call) -> Value:
    """A constant that has its shape, or just its element type, from another tensor."""
    value = FILLED[call.op]
    if value is None:
        value = call["fill_value"]
    if isinstance(value, (Bound, Const)):
        value = o.const(value, "value").number()
    shape = call["size"] if "size" in call.arguments else call.shape()
    kind = {"bool": np.bool_, "int": np.int64, "float": np.float32}[call.result]
    return Const(np.full(tuple(shape), value, kind))


@handles("aten.dropout", "aten.native_dropout", "aten.feature_dropout", "aten.alpha_dropout")
@handles("aten.feature_alpha_dropout")
def dropout(call: Call) -> Value:
    if not call["p"] or not call.get("train", True):
        return call.tensor()
    if call.op != "aten.dropout" and call.op != "aten.native_dropout":
        kind = call.op.removeprefix("aten.").replace("_", " ")
        call.b.notes.add(
            f"growc has no {kind}: that of `{call.b.here.scope or 'forward'}` is left out"
        )
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
    b, beta, threshold = call.b, float(call["beta"]), float(call["threshold"])
    smooth = o.elementwise(b, b.make(ops.Softplus, beta), call.tensor())
    # Beyond the threshold PyTorch returns x; beyond 16 that differs by less than rounding.
    return smooth if threshold >= 16 else _above(call, threshold / beta, call.tensor(), smooth)


def _above(call: Call, limit: float, x: Bound | Const, y: Bound | Const) -> Bound:
    """``x`` where the operand is above a limit, else ``y``."""
    found = call.b.broadcast(ops.Greater(), (call.tensor(), tensor_of(limit)))
    return o.where(call.b, found, x, y)


@handles("aten.softshrink", "aten.hardshrink")
def shrink(call: Call) -> Value:
    limit = float(call["lambd"])
    bias = limit if call.op == "aten.softshrink" else 0.0
    return o.elementwise(call.b, call.b.make(ops.Shrink, limit, bias), call.tensor())


@handles("aten.rrelu", "aten.rrelu_with_noise")
def rrelu(call: Call) -> Value:
    if call.get("training", False):
        call.b.notes.add(
            f"growc has no random slopes: `{call.b.here.scope or 'forward'}` has their mean"
        )
    slope = (float(call["lower"]) + float(call["upper"])) / 2
    return o.elementwise(call.b, call.b.make(ops.LeakyRelu, slope), call.tensor())


@handles("aten.log_sigmoid")
def log_sigmoid(call: Call) -> Value:
    b = call.b
    return o.scale(b, o.elementwise(b, ops.Softplus(), o.scale(b, call.tensor(), -1.0)), -1.0)


@handles("aten.log1p")
def log1p(call: Call) -> Value:
    return o.elementwise(call.b, ops.Log(), o.scale(call.b, call.tensor(), 1.0, 1.0))


@handles("aten.log2", "aten.log10")
def log(call: Call) -> Value:
    base = 2.0 if call.op == "aten.log2" else 10.0
    return o.scale(call.b, o.elementwise(call.b, ops.Log(), call.tensor()), 1 / math.log(base))


@handles("aten.logit")
def logit(call: Call) -> Value:
    b, x, eps = call.b, call.tensor(), call.get("eps")
    if eps is not None:
        x = o.clip(b, x, float(eps), 1.0 - float(eps))
    return o.elementwise(b, ops.Log(), o.div(b, x, o.scale(b, x, -1.0, 1.0)))


@handles("aten.exp2", "aten.expm1")
def exponential(call: Call) -> Value:
    two = call.op.endswith("exp2")
    x = o.scale(call.b, call.tensor(), math.log(2) if two else 1.0)
    return o.scale(call.b, o.elementwise(call.b, ops.Exp(), x), 1.0, 0.0 if two else -1.0)


@handles("aten.erfc")
def erfc(call: Call) -> Value:
    return o.scale(call.b, o.elementwise(call.b, ops.Erf(), call.tensor()), -1.0, 1.0)


@handles("aten.round")
def rounded(call: Call) -> Value:
    factor = 10.0 ** call.get("decimals", 0)
    whole = o.elementwise(call.b, ops.Round(), o.scale(call.b, call.tensor(), factor))
    return o.scale(call.b, whole, 1 / factor)


@handles("aten.trunc")
def trunc(call: Call) -> Value:
    return truncated(call, call.bound())


@handles("aten.frac")
def frac(call: Call) -> Value:
    return o.sub(call.b, call.tensor(), truncated(call, call.bound()))


@handles("aten.atan2")
def atan2(call: Call) -> Value:
    raise Unreadable("growc has no angle of two coordinates")


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
            values = [o.extreme(call.b, ops.Maximum, [values[0], tensor_of(low)])]
        if high is not None:
            values = [o.extreme(call.b, ops.Minimum, [values[0], tensor_of(high)])]
        return values[0]  # type: ignore[no-any-return]
    limits = [None if n is None else float(n) for n in (low, high)]
    return o.clip(call.b, call.tensor(), *limits)


@handles("aten.threshold")
def threshold(call: Call) -> Value:
    if call["value"] != 0:
        value = Const(np.array(call["value"], np.float32))
        return _above(call, float(call["threshold"]), call.tensor(), value)
    op = call.b.make(ops.ThresholdedRelu, float(call["threshold"]))
    return o.elementwise(call.b, op, call.tensor())


@handles("aten.prelu")
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
    first = moving.cut(b, call.tensor(), axis, 0, half)
    gate = moving.cut(b, call.tensor(), axis, half, 2 * half)
    return o.mul(b, first, o.elementwise(b, ops.Sigmoid(), gate))


@handles("aten.softmax", "aten._softmax", "aten.log_softmax")
@handles("aten._log_softmax")
def softmax(call: Call) -> Value:
    cls = ops.LogSoftmax if "log" in call.op else ops.Softmax
    return o.along(call.b, cls, call.tensor(), call["dim"])
