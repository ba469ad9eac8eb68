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
        return _truth(call, x)
    if kind == "float":
        raise Unreadable("it makes whole numbers of numbers that are computed")
    return x


def _truth(call: Call, x: Bound | Const) -> Bound:
    """1 where a number is not 0, else 0."""
    zero = Const(np.zeros((), np.float32))
    same = call.b.broadcast(ops.Equal(), (call.as_numbers(x), zero))
    return o.scale(call.b, same, -1.0, 1.0)


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
    found = call.b.broadcast(ops.Greater(), (call.tensor(), _tensor(limit)))
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
    return _truncated(call, call.bound())


def _truncated(call: Call, x: Bound) -> Bound:
    """Rounded towards zero."""
    size = o.elementwise(call.b, ops.Floor(), o.elementwise(call.b, ops.Abs(), x))
    return o.mul(call.b, o.elementwise(call.b, ops.Sign(), x), size)


@handles("aten.frac")
def frac(call: Call) -> Value:
    return o.sub(call.b, call.tensor(), _truncated(call, call.bound()))


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
            values = [o.extreme(call.b, ops.Maximum, [values[0], _tensor(low)])]
        if high is not None:
            values = [o.extreme(call.b, ops.Minimum, [values[0], _tensor(high)])]
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
    first = o.cut(b, call.tensor(), axis, 0, half)
    gate = o.cut(b, call.tensor(), axis, half, 2 * half)
    return o.mul(b, first, o.elementwise(b, ops.Sigmoid(), gate))


@handles("aten.softmax", "aten._softmax", "aten.log_softmax")
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
    """Both operands, as numbers; ``alpha`` multiplies the second."""
    x, y = (call.as_numbers(_tensor(call[name])) for name in ("self", "other"))
    alpha = call.get("alpha", 1)
    if alpha != 1:
        y = Const(y.array * alpha) if isinstance(y, Const) else o.scale(call.b, y, float(alpha))
    return x, y


@handles("aten.add")
def add(call: Call) -> Value:
    return o.add(call.b, *_pair(call))


@handles("aten.sub")
def sub(call: Call) -> Value:
    return o.sub(call.b, *_pair(call))


@handles("aten.rsub")
def rsub(call: Call) -> Value:
    x, y = call.numbers(), _tensor(call["other"])
    alpha = float(call.get("alpha", 1))
    return o.sub(call.b, y, x if alpha == 1 else o.scale(call.b, x, alpha))


@handles("aten.mul")
def mul(call: Call) -> Value:
    return o.mul(call.b, *_pair(call))


@handles("aten.div", "aten.true_divide")
def div(call: Call) -> Value:
    x, y = _pair(call)
    if isinstance(y, Const) and y.name is not None:
        result = call.b.broadcast(ops.Div(), (x, y))  # the stored tensor stays what it is
    else:
        result = o.div(call.b, x, y)
    rounding = call.get("rounding_mode")
    if rounding == "floor":
        return o.elementwise(call.b, ops.Floor(), result)
    return result if rounding is None else _truncated(call, result)


@handles("aten.floor_divide")
def floor_divide(call: Call) -> Value:
    return o.elementwise(call.b, ops.Floor(), o.div(call.b, *_pair(call)))


@handles("aten.remainder")
def remainder(call: Call) -> Value:
    """Like the divisor in its sign, unlike C's."""
    b, (x, y) = call.b, _pair(call)
    rest = b.broadcast(ops.Mod(), (x, y))
    signs = o.mul(b, rest, y)
    other = b.broadcast(ops.Greater(), (Const(np.zeros((), np.float32)), signs))
    return o.where(b, other, o.add(b, rest, y), rest)


@handles("aten.pow")
def power(call: Call) -> Value:
    return o.power(call.b, *(call.as_numbers(_tensor(call[n])) for n in ("self", "exponent")))


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


@handles("aten.addcdiv")
def addcdiv(call: Call) -> Value:
    b = call.b
    quotient = o.div(b, call.tensor("tensor1"), call.tensor("tensor2"))
    return o.add(b, call.tensor(), o.scale(b, quotient, float(call.get("value", 1))))


@handles("aten.lerp")
def lerp(call: Call) -> Value:
    b = call.b
    step = o.sub(b, call.tensor("end"), call.tensor())
    return o.add(b, call.tensor(), o.mul(b, step, _tensor(call["weight"])))


@handles("aten.minimum", "aten.maximum", "aten.max.other", "aten.min.other")
@handles("aten.fmin", "aten.fmax")
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


def _truths(call: Call, *names: str) -> list[Bound | Const]:
    """Operands of logic, as 0 and 1."""
    found = []
    for name in names:
        value = _tensor(call[name])
        if isinstance(value, Const):
            value = value if value.array.dtype == np.bool_ else Const(value.array != 0)
        elif call.kinds.get(name) != "bool":
            if "bitwise" in call.op:
                raise Unreadable("it computes with the bits of whole numbers")
            value = _truth(call, value)
        found.append(call.as_numbers(value))
    return found


@handles("aten.logical_not", "aten.bitwise_not")
def negation(call: Call) -> Value:
    (x,) = _truths(call, "self")
    return o.scale(call.b, x, -1.0, 1.0)


@handles("aten.logical_and", "aten.bitwise_and")
def conjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Mul(), _truths(call, "self", "other"))


@handles("aten.logical_or", "aten.bitwise_or")
def disjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Maximum(), _truths(call, "self", "other"))


@handles("aten.logical_xor", "aten.bitwise_xor")
def exclusion(call: Call) -> Value:
    same = call.b.broadcast(ops.Equal(), _truths(call, "self", "other"))
    return o.scale(call.b, same, -1.0, 1.0)


@handles("aten.where")
def where(call: Call) -> Value:
    x, y = (call.as_numbers(_tensor(call[name])) for name in ("self", "other"))
    (condition,) = _truths(call, "condition")
    return o.where(call.b, condition, x, y)


@handles("aten.masked_fill")
def masked_fill(call: Call) -> Value:
    (hidden,) = _truths(call, "mask")
    return o.where(call.b, hidden, _tensor(call["value"]), call.numbers())


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
    return o.reduce(call.b, REDUCTIONS[call.op], call.numbers(), _axes(call), keep)


@handles("aten.any.dim", "aten.any.dims", "aten.all.dim", "aten.all.dims")
def quantifier(call: Call) -> Value:
    cls = ops.ReduceMax if "any" in call.op else ops.ReduceMin
    (x,) = _truths(call, "self")
    return o.reduce(call.b, cls, x, _axes(call), bool(call.get("keepdim", False)))


@handles("aten.count_nonzero")
def count_nonzero(call: Call) -> Value:
    (x,) = _truths(call, "self")
    return o.reduce(call.b, ops.ReduceSum, x, _axes(call), keep=False)


@handles("aten.max.dim", "aten.min.dim")
def extreme_along(call: Call) -> Value:
    """The second result, where it is, is left out: nothing may read it."""
    kind = ops.ReduceMax if "max" in call.op else ops.ReduceMin
    keep = bool(call.get("keepdim", False))
    return (o.reduce(call.b, kind, call.tensor(), _axes(call), keep), None)


@handles("aten.linalg_vector_norm", "aten.norm")
def norm(call: Call) -> Value:
    b, order = call.b, float(call.get("ord", call.get("p", 2)))
    axes, keep = _axes(call), bool(call.get("keepdim", False))
    if order in (1, 2):
        kind = ops.ReduceL1 if order == 1 else ops.ReduceL2
        return o.reduce(b, kind, call.tensor(), axes, keep)
    size = o.elementwise(b, ops.Abs(), call.tensor())
    if math.isinf(order):
        return o.reduce(b, ops.ReduceMax if order > 0 else ops.ReduceMin, size, axes, keep)
    if order == 0:
        raise Unreadable("it counts the numbers that are not 0")
    total = o.reduce(b, ops.ReduceSum, o.power(b, size, Const(np.array(order))), axes, keep)
    return o.power(b, total, Const(np.array(1 / order)))


@handles("aten.var", "aten.std", "aten.var_mean", "aten.std_mean")
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
    if "std" in call.op:
        found = o.elementwise(b, ops.Sqrt(), found)
    if call.op.endswith("_mean"):
        return (found, o.reduce(b, ops.ReduceMean, x, axes, keep))
    return found
