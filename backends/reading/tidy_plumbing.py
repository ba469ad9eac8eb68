"""Rules for what only moves numbers, for constants, and for what is computed twice."""

from __future__ import annotations

import math

from ...ir import OPS, ops
from ...ir.ops import Broadcasting
from .tidy import Tidy, near, rule


@rule(ops.Identity)
def identity(t: Tidy, at: str) -> str | None:
    """identity(x) → x"""
    return t.x(at)


@rule(ops.Scale)
def scale(t: Tidy, at: str) -> str | None:
    """1·x + 0 → x;  a·(c·x + d) + b → ac·x + (ad + b)"""
    op, x = t.op(at), t.x(at)
    assert isinstance(op, ops.Scale)
    if op.factor == 1.0 and op.offset == 0.0:
        return x
    inner = t.op(x)
    if isinstance(inner, ops.Scale) and t.only_user(x) == at:
        factor = op.factor * inner.factor
        offset = op.factor * inner.offset + op.offset
        if math.isfinite(factor) and math.isfinite(offset):
            factor = 1.0 if near(factor, 1.0) else factor
            return t.put(at, ops.Scale(factor, offset), t.x(x))
    return None


@rule(ops.Dropout)
def dropout(t: Tidy, at: str) -> str | None:
    """dropout(x, p=0) → x"""
    return t.x(at) if t.number(at, ops.Dropout, p=0.0) else None


@rule(ops.Relu)
def relu(t: Tidy, at: str) -> str | None:
    """relu(relu(x)) → relu(x);  clip(relu(x), high) is left to :func:`clip`"""
    return t.x(at) if t.is_a(t.x(at), ops.Relu) else None


@rule(ops.Clip)
def clip(t: Tidy, at: str) -> str | None:
    """min(max(x, low), high) in two steps → in one"""
    op, x = t.op(at), t.x(at)
    assert isinstance(op, ops.Clip)
    inner = t.op(x)
    if t.only_user(x) != at:
        return None
    if isinstance(inner, ops.Relu) and op.low is None and op.high is not None and op.high > 0:
        return t.put(at, ops.Clip(0.0, op.high), t.x(x))
    if isinstance(inner, ops.Clip) and inner.high is None and op.low is None:
        low, high = inner.low, op.high
        if low is not None and high is not None and low <= high:
            return t.put(at, ops.Clip(low, high), t.x(x))
    return None


@rule(ops.Reshape, ops.Flatten)
def reshape(t: Tidy, at: str) -> str | None:
    """reshape(reshape(x)) → reshape(x);  to the same shape → x;  to one axis → flatten"""
    x, shape = t.x(at), t.shape(at)
    if shape == t.shape(x):
        return x
    if t.is_a(x, (ops.Reshape, ops.Flatten)):
        return t.put(at, ops.Reshape(shape), t.x(x))
    if t.is_a(at, ops.Reshape):
        old = t.shape(x)
        begin = len(shape) - 1
        if len(shape) < len(old) and begin >= 0 and old[:begin] == shape[:begin]:
            return t.put(at, ops.Flatten(begin), x)
    return None


@rule(ops.Transpose)
def transpose(t: Tidy, at: str) -> str | None:
    """transpose(transpose(x)) → transpose(x);  of axes of size 1 alone → reshape"""
    op, x = t.op(at), t.x(at)
    assert isinstance(op, ops.Transpose)
    inner = t.op(x)
    order = list(op.order)
    if isinstance(inner, ops.Transpose):
        order = [inner.order[i] for i in order]
        x = t.x(x)
        if order == sorted(order):
            return x
        return t.put(at, ops.Transpose(order), x)
    long = [i for i in order if t.shape(x)[i] > 1]
    if long == sorted(long):
        return t.put(at, ops.Reshape(t.shape(at)), x)
    return None


@rule(ops.Slice)
def slices(t: Tidy, at: str) -> str | None:
    """A slice of a slice of the same axis → one slice;  of everything → x"""
    op, x = t.op(at), t.x(at)
    assert isinstance(op, ops.Slice)
    if t.shape(at) == t.shape(x):
        return x
    inner = t.op(x)
    if isinstance(inner, ops.Slice):
        axis, start, stop, step = op.bounds(t.graph.node(x).type)
        inner_axis, inner_start, _, inner_step = inner.bounds(t.graph.node(t.x(x)).type)
        if axis == inner_axis and inner_step == 1:
            size = t.shape(t.x(x))[axis]
            end = inner_start + stop
            whole = ops.Slice(inner_start + start, None if end == size else end, axis, step)
            return t.put(at, whole, t.x(x))
    return None


@rule(ops.Concat)
def concat(t: Tidy, at: str) -> str | None:
    """concat(concat(a, b), c) → concat(a, b, c)"""
    op = t.op(at)
    assert isinstance(op, ops.Concat)
    rank = len(t.shape(at))
    parts: list[str] = []
    for x in t.operands(at):
        inner = t.op(x)
        joined = isinstance(inner, ops.Concat) and inner.axis % rank == op.axis % rank
        parts += t.operands(x) if joined and t.only_user(x) == at else (x,)
    return t.put(at, op, *parts) if tuple(parts) != t.operands(at) else None


@rule(ops.ReduceMean, ops.ReduceMax)
def whole_channels(t: Tidy, at: str) -> str | None:
    """A mean or maximum over all of each channel, axes kept → global pooling"""
    op, x = t.op(at), t.x(at)
    assert isinstance(op, (ops.ReduceMean, ops.ReduceMax))
    rank = len(t.shape(x))
    source = t.graph.node(x).type
    if op.keep and 2 <= rank <= 4 and op.reduced(source) == tuple(range(1, rank)):
        # Tokens are no image: there the mean is over features.
        if rank == 2:
            return None
        pool = ops.GlobalAvgPool() if isinstance(op, ops.ReduceMean) else ops.GlobalMaxPool()
        return t.put(at, pool, x)
    if not op.keep and rank >= 3 and t.is_a(x, (ops.GlobalAvgPool, ops.GlobalMaxPool)):
        return t.put(at, ops.Reshape(t.shape(at)), x)
    return None


@rule(*(cls for cls in OPS.values() if issubclass(cls, Broadcasting)))
def repeated(t: Tidy, at: str) -> str | None:
    """expand(x) + y → x + y, where that repeats x anyway"""
    operands = [t.x(x) if t.is_a(x, ops.Expand) else x for x in t.operands(at)]
    if tuple(operands) == t.operands(at):
        return None
    types = [t.graph.node(x).type for x in operands]
    op = t.op(at)
    return t.put(at, op, *operands) if op.result(*types).shape == t.shape(at) else None
