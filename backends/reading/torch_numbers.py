"""What arguments of PyTorch's operators are as numbers: tensors, conditions as 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import ops
from . import operations as o
from .torch_call import Call
from .values import Bound, Const, Unreadable


def tensor_of(value: Any) -> Bound | Const:
    if isinstance(value, (Bound, Const)):
        return value
    return Const(np.array(value, np.float64 if isinstance(value, float) else None))


def truth(call: Call, x: Bound | Const) -> Bound:
    """1 where a number is not 0, else 0."""
    zero = Const(np.zeros((), np.float32))
    same = call.b.broadcast(ops.Equal(), (call.as_numbers(x), zero))
    return o.scale(call.b, same, -1.0, 1.0)


def truths(call: Call, *names: str) -> list[Bound | Const]:
    """Operands of logic, as 0 and 1."""
    found = []
    for name in names:
        value = tensor_of(call[name])
        if isinstance(value, Const):
            value = value if value.array.dtype == np.bool_ else Const(value.array != 0)
        elif call.kinds.get(name) != "bool":
            if "bitwise" in call.op:
                raise Unreadable("it computes with the bits of whole numbers")
            value = truth(call, value)
        found.append(call.as_numbers(value))
    return found


def truncated(call: Call, x: Bound) -> Bound:
    """Rounded towards zero."""
    size = o.elementwise(call.b, ops.Floor(), o.elementwise(call.b, ops.Abs(), x))
    return o.mul(call.b, o.elementwise(call.b, ops.Sign(), x), size)
