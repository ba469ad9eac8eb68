"""Rules that put functions together which exporters take apart: activations and norms."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...ir import ops
from .tidy import Tidy, near, rule


def factors(t: Tidy, at: str) -> tuple[float, list[str]]:
    """A product as a constant and what is multiplied: c·(a·b) → c, [a, b]."""
    constant, found, waiting = 1.0, [], [at]
    while waiting:
        name = waiting.pop()
        op = t.op(name)
        inner = name == at or t.only_user(name) is not None
        if isinstance(op, ops.Mul) and inner:
            waiting += t.operands(name)
        elif isinstance(op, ops.Scale) and op.offset == 0.0 and inner:
            constant *= op.factor
            waiting.append(t.x(name))
        else:
            found.append(name)
    return constant, found


def split_pairs(found: list[str]) -> Iterator[tuple[str, str]]:
    """Both orders of two factors."""
    if len(found) == 2:
        yield found[0], found[1]
        yield found[1], found[0]


@rule(ops.Mul, ops.Scale)
def products(t: Tidy, at: str) -> str | None:
    """x·sigmoid(x) → silu;  x·tanh(softplus(x)) → mish;  x·hard_sigmoid(x) → hardswish;
    x/2·(1 + erf(x/√2)) → gelu, and its form by tanh"""
    user = t.only_user(at)
    if user is not None and t.is_a(user, ops.Scale) and t.number(user, ops.Scale, offset=0.0):
        return None  # the whole product is looked at from its end
    constant, found = factors(t, at)
    for x, gate in split_pairs(found):
        if near(constant, 1.0):
            if t.is_a(gate, ops.Sigmoid) and t.x(gate) == x:
                return t.put(at, ops.Silu(), x)
            inner = t.x(gate) if t.is_a(gate, ops.Tanh) else gate
            if t.number(inner, ops.Softplus, beta=1.0) and inner != gate and t.x(inner) == x:
                return t.put(at, ops.Mish(), x)
            if t.number(gate, ops.HardSigmoid, slope=1 / 6, offset=0.5) and t.x(gate) == x:
                return t.put(at, ops.HardSwish(), x)
        if near(constant, 1 / 6) and _six(t, gate) == x:
            return t.put(at, ops.HardSwish(), x)
        curve = _gelu(t, x, gate, constant)
        if curve is not None:
            return t.put(at, ops.Gelu(curve), x)
    if len(found) == 1 and near(constant, 1 / 6):
        inside = _six(t, found[0])
        if inside is not None:
            return t.put(at, ops.HardSigmoid(), inside)
    return None


def _six(t: Tidy, name: str) -> str | None:
    """x, if the node is min(max(x + 3, 0), 6)."""
    if t.number(name, ops.Clip, low=0.0, high=6.0):
        inner = t.x(name)
        if t.number(inner, ops.Scale, factor=1.0, offset=3.0):
            return t.x(inner)
    return None


def _gelu(t: Tidy, x: str, gate: str, constant: float) -> str | None:
    """``none`` or ``tanh``, if constant·x·gate is that form of gelu."""
    # The gate is c·(1 + curve), where c times the constant is a half.
    op = t.op(gate)
    if not isinstance(op, ops.Scale) or not near(op.factor, op.offset):
        return None
    if not near(op.factor * constant, 0.5):
        return None
    curve = t.x(gate)
    inside = t.x(curve) if t.operands(curve) else ""
    if t.is_a(curve, ops.Erf) and t.number(inside, ops.Scale, factor=math.sqrt(0.5), offset=0.0):
        return "none" if t.x(inside) == x else None
    if t.is_a(curve, ops.Tanh):
        scaled, found = factors(t, inside)
        if near(scaled, math.sqrt(2 / math.pi)) and len(found) == 1:
            return "tanh" if _bent(t, found[0], x) else None
        if near(scaled, math.sqrt(2 / math.pi)) and len(found) == 2 and x in found:
            # x·(1 + 0.044715·x²)
            other = found[1] if found[0] == x else found[0]
            if t.number(other, ops.Scale, factor=0.044715, offset=1.0):
                return "tanh" if _power_of(t, t.x(other)) == (x, 2) else None
    return None


def _bent(t: Tidy, name: str, x: str) -> bool:
    """Whether the node is x + 0.044715·x³."""
    operands = t.operands(name)
    if not t.is_a(name, ops.Add) or len(operands) != 2 or x not in operands:
        return False
    cube = operands[1] if operands[0] == x else operands[0]
    constant, found = factors(t, cube)
    if not near(constant, 0.044715):
        return False
    powers = [_power_of(t, f) for f in found]
    return all(base == x for base, _ in powers) and sum(n for _, n in powers) == 3


def _power_of(t: Tidy, name: str) -> tuple[str, int]:
    """(x, n) for x^n, or the node itself to the power 1."""
    op = t.op(name)
    if isinstance(op, ops.Power) and op.exponent in (2.0, 3.0):
        return t.x(name), int(op.exponent)
    if isinstance(op, ops.Mul) and len(set(t.operands(name))) == 1:
        return t.x(name), 2
    return name, 1


@rule(ops.Div, ops.Reciprocal)
def quotients(t: Tidy, at: str) -> str | None:
    """1/(1 + exp(-x)) → sigmoid;  x/(1 + exp(-x)) → silu;  x/(1 + |x|) → softsign"""
    x, divisor = t.operands(at) if t.is_a(at, ops.Div) else (None, t.x(at))
    if not t.number(divisor, ops.Scale, factor=1.0, offset=1.0):
        return None
    inner = t.x(divisor)
    if t.is_a(inner, ops.Abs) and t.x(inner) == x:
        return t.put(at, ops.Softsign(), x)
    if not t.is_a(inner, ops.Exp) or not t.number(t.x(inner), ops.Scale, factor=-1.0, offset=0.0):
        return None
    source = t.x(t.x(inner))
    if x is None:
        return t.put(at, ops.Sigmoid(), source)
    return t.put(at, ops.Silu(), x) if source == x else None


@rule(ops.Maximum)
def leaky(t: Tidy, at: str) -> str | None:
    """max(x, slope·x) → leaky_relu, for slopes below 1"""
    pair = t.pair(at, ops.Maximum, ops.Scale)
    if pair is None or t.x(pair[1]) != pair[0]:
        return None
    op = t.op(pair[1])
    assert isinstance(op, ops.Scale)
    fits = op.offset == 0.0 and 0.0 < op.factor < 1.0
    return t.put(at, ops.LeakyRelu(op.factor), pair[0]) if fits else None


@rule(ops.Log)
def softplus(t: Tidy, at: str) -> str | None:
    """log(1 + exp(x)) → softplus"""
    inner = t.x(at)
    if t.number(inner, ops.Scale, factor=1.0, offset=1.0) and t.is_a(t.x(inner), ops.Exp):
        return t.put(at, ops.Softplus(), t.x(t.x(inner)))
    if t.is_a(inner, ops.Softmax):
        return t.put(at, ops.LogSoftmax(t.op(inner).axis), t.x(inner))  # type: ignore[attr-defined]
    return None


@rule(ops.Scale)
def sharp_softplus(t: Tidy, at: str) -> str | None:
    """softplus(b·x)/b → softplus(x, beta=b)"""
    curve = t.x(at)
    if not t.number(curve, ops.Softplus, beta=1.0) or not t.number(at, ops.Scale, offset=0.0):
        return None
    inner = t.op(t.x(curve))
    outer = t.op(at)
    if not t.number(t.x(curve), ops.Scale, offset=0.0) or t.only_user(curve) != at:
        return None
    beta = inner.factor  # type: ignore[attr-defined]
    if beta <= 0.0 or not near(beta * outer.factor, 1.0):  # type: ignore[attr-defined]
        return None
    return t.put(at, ops.Softplus(beta), t.x(t.x(curve)))


# ---- normalizations


@rule(ops.Div, ops.Mul)
def normalized(t: Tidy, at: str) -> str | None:
    """(x - mean) / sqrt(mean((x - mean)²) + eps) → layer_norm;  without the mean → rms_norm"""
    for x, deviation in _quotients(t, at):
        found = _mean_square(t, deviation)
        if found is None:
            continue
        centred, dims, eps = found
        if centred != x:
            continue
        source = _centred(t, x, dims)
        if source is not None and eps > 0:
            return t.put(at, ops.LayerNorm(dims, eps, affine=False), source)
        return t.put(at, ops.RmsNorm(dims, eps, affine=False), x)
    return None


@rule(ops.Add)
def folded_norm(t: Tidy, at: str) -> str | None:
    """x·s + (b - mean(x)·s) with s = w / sqrt(var + eps) → layer_norm(x)·w + b"""
    if len(t.operands(at)) != 2:
        return None
    for scaled, shift in (t.operands(at), t.operands(at)[::-1]):
        if not t.is_a(scaled, ops.Mul) or not t.is_a(shift, ops.Sub):
            continue
        bias, moved = t.operands(shift)
        if not t.is_a(moved, ops.Mul):
            continue
        for x, s in _orders(t, scaled):
            for mean, also in _orders(t, moved):
                dims = _last_axes(t, mean)
                if also != s or dims is None or t.x(mean) != x or not t.is_a(s, ops.Mul):
                    continue
                for weight, root in _orders(t, s):
                    eps = _inverse_deviation(t, root, x, dims)
                    if eps is not None:
                        norm = t.put(at, ops.LayerNorm(dims, eps, affine=False), x, kind="norm")
                        product = t.put(at, ops.Mul(), norm, weight, kind="mul")
                        return t.put(at, ops.Add(), product, bias)
    return None


def _orders(t: Tidy, name: str) -> Iterator[tuple[str, str]]:
    a, b = t.operands(name)
    yield a, b
    yield b, a


def _inverse_deviation(t: Tidy, root: str, x: str, dims: int) -> float | None:
    """eps, if the node is 1 / sqrt(var(x) + eps) over the last axes."""
    inner = None
    if t.is_a(root, ops.Reciprocal) and t.is_a(t.x(root), ops.Sqrt):
        inner = t.x(t.x(root))
    elif t.number(root, ops.Power, exponent=-0.5):
        inner = t.x(root)
    found = _mean_square(t, inner) if inner is not None else None
    if found is None or found[1] != dims or found[2] <= 0:
        return None
    return found[2] if _centred(t, found[0], dims) == x else None


def _quotients(t: Tidy, at: str) -> Iterator[tuple[str, str]]:
    """(x, deviation) for x / deviation, however it is written."""
    operands = t.operands(at)
    if len(operands) != 2:
        return
    if t.is_a(at, ops.Div):
        x, deviation = operands
        if t.is_a(deviation, ops.Sqrt):
            yield x, t.x(deviation)
        return
    for x, inverse in (operands, operands[::-1]):
        if t.number(inverse, ops.Power, exponent=-0.5):
            yield x, t.x(inverse)
        if t.is_a(inverse, ops.Reciprocal) and t.is_a(t.x(inverse), ops.Sqrt):
            yield x, t.x(t.x(inverse))


def _mean_square(t: Tidy, name: str) -> tuple[str, int, float] | None:
    """(y, dims, eps), if the node is mean(y²) + eps over the last axes."""
    eps = 0.0
    op = t.op(name)
    if isinstance(op, ops.Scale) and near(op.factor, 1.0):
        eps, name = op.offset, t.x(name)
    dims = _last_axes(t, name)
    if dims is None or eps < 0:
        return None
    base, power = _power_of(t, t.x(name))
    return (base, dims, eps) if power == 2 else None


def _last_axes(t: Tidy, name: str) -> int | None:
    """How many of the last axes the node takes the mean over, keeping them."""
    op = t.op(name)
    if isinstance(op, ops.GlobalAvgPool):
        return len(t.shape(name)) - 1
    if not isinstance(op, ops.ReduceMean) or not op.keep:
        return None
    source = t.graph.node(t.x(name)).type
    axes = op.reduced(source)
    return len(axes) if axes == tuple(range(source.rank - len(axes), source.rank)) else None


def _centred(t: Tidy, name: str, dims: int) -> str | None:
    """x, if the node is x - mean(x) over the last axes."""
    if not t.is_a(name, ops.Sub):
        return None
    x, mean = t.operands(name)
    return x if _last_axes(t, mean) == dims and t.x(mean) == x else None
