"""PyTorch's reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...ir import Op, ops
from . import operations as o
from .torch_call import Call, handles
from .torch_numbers import truths
from .values import Const, Unreadable, Value

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
    (x,) = truths(call, "self")
    return o.reduce(call.b, cls, x, _axes(call), bool(call.get("keepdim", False)))


@handles("aten.count_nonzero")
def count_nonzero(call: Call) -> Value:
    (x,) = truths(call, "self")
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
