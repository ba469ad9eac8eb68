"""PyTorch's arithmetic, comparisons and logic."""

from __future__ import annotations

import numpy as np

from ...ir import Op, ops
from . import operations as o
from .torch_call import Call, handles
from .torch_numbers import tensor_of, truncated, truths
from .values import Bound, Const, Value


def _pair(call: Call) -> tuple[Bound | Const, Bound | Const]:
    """Both operands, as numbers; ``alpha`` multiplies the second."""
    x, y = (call.as_numbers(tensor_of(call[name])) for name in ("self", "other"))
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
    x, y = call.numbers(), tensor_of(call["other"])
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
    return result if rounding is None else truncated(call, result)


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
    return o.power(call.b, *(call.as_numbers(tensor_of(call[n])) for n in ("self", "exponent")))


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
    return o.add(b, call.tensor(), o.mul(b, step, tensor_of(call["weight"])))


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


@handles("aten.logical_not", "aten.bitwise_not")
def negation(call: Call) -> Value:
    (x,) = truths(call, "self")
    return o.scale(call.b, x, -1.0, 1.0)


@handles("aten.logical_and", "aten.bitwise_and")
def conjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Mul(), truths(call, "self", "other"))


@handles("aten.logical_or", "aten.bitwise_or")
def disjunction(call: Call) -> Value:
    return call.b.broadcast(ops.Maximum(), truths(call, "self", "other"))


@handles("aten.logical_xor", "aten.bitwise_xor")
def exclusion(call: Call) -> Value:
    same = call.b.broadcast(ops.Equal(), truths(call, "self", "other"))
    return o.scale(call.b, same, -1.0, 1.0)


@handles("aten.where")
def where(call: Call) -> Value:
    x, y = (call.as_numbers(tensor_of(call[name])) for name in ("self", "other"))
    (condition,) = truths(call, "condition")
    return o.where(call.b, condition, x, y)


@handles("aten.masked_fill")
def masked_fill(call: Call) -> Value:
    (hidden,) = truths(call, "mask")
    return o.where(call.b, hidden, tensor_of(call["value"]), call.numbers())
