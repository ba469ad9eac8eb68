"""Rules of what acts on each number alone: functions, arithmetic with broadcasting, dropout."""

from __future__ import annotations

import numpy as np

from ..ir.ops import (
    Abs,
    Add,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Broadcasting,
    Ceil,
    Celu,
    Clip,
    Div,
    Dropout,
    Elementwise,
    Elu,
    Erf,
    Floor,
    Gelu,
    HardSigmoid,
    HardSwish,
    Identity,
    LeakyRelu,
    Maximum,
    Minimum,
    Mish,
    Mul,
    Op,
    Power,
    Prelu,
    Relu,
    Round,
    Scale,
    Selu,
    Shrink,
    Sign,
    Silu,
    Sin,
    Sinh,
    Softsign,
    Sqrt,
    Sub,
    Tan,
    Tanh,
    ThresholdedRelu,
    ToFloat,
    Where,
)
from .field import Residues
from .prints import Print, Site, along, rule, stack, whole

# ---- functions of one number


@rule(Elementwise)
def elementwise(site: Site) -> Print:
    """An opaque function, with f(0) = 0 where that is known."""
    zero = zero_at_zero(site.op)
    return Print.of(site.x.axis, site.field.each(site.x.values, site.kind, zero=zero))


ZERO_AT_ZERO = (
    *(LeakyRelu, Elu, Gelu, Silu, Tanh, HardSwish),
    *(Sqrt, Abs, Sign, Floor, Ceil, Round, Erf, Sin, Tan, Asin, Atan, Sinh, Asinh, Atanh),
    *(Softsign, Selu, Celu, Mish, ThresholdedRelu),
    Shrink,  # its limit is not negative
)
"""Functions with f(0) = 0, whatever their attributes are."""


def zero_at_zero(op: Op) -> bool:
    """Whether f(0) = 0 is known of an element-wise function."""
    match op:
        case Power():
            return op.exponent > 0
        case Clip():
            return (op.low is None or op.low <= 0) and (op.high is None or op.high >= 0)
        case HardSigmoid():
            return op.offset <= 0
    return isinstance(op, ZERO_AT_ZERO)


@rule(Relu, Clip)
def settling(site: Site) -> Print:
    """relu(0) = 0, relu(relu(x)) = relu(x); the same for a clip to given limits."""
    field, values = site.field, site.x.values
    result = field.each(values, site.kind, zero=isinstance(site.op, Relu) or zero_at_zero(site.op))
    known = field.settled.setdefault(site.kind, set())
    for i, row in enumerate(values):
        if row.tobytes() in known:
            result[i] = row
    known.update(row.tobytes() for row in result)
    return Print.of(site.x.axis, result)


@rule(Identity)
def identity(site: Site) -> Print:
    """x"""
    return site.x


@rule(ToFloat)
def to_float(site: Site) -> Print:
    """Another name for each number; zero stays zero."""
    if site.types[0].dtype == "f32":
        return site.x
    return Print.of(site.x.axis, site.field.each(site.x.values, "to float", zero=True))


@rule(Scale)
def scale(site: Site) -> Print:
    """factor·x + offset·1, the constant one being the field's."""
    field = site.field
    factor, offset = field.embed([site.op.factor, site.op.offset])
    return Print.of(site.x.axis, (site.x.values * factor + offset) % field.primes)


@rule(Prelu)
def prelu(site: Site) -> Print:
    """Opaque in the channel and its slope; of zero, zero."""
    field, values, weight = site.field, site.x.values, site.parameters["weight"]
    if site.x.axis != 0 and len(weight) > 1:  # all slopes act inside each channel
        words = ("prelu inside", weight.tobytes(), site.rest)
        return Print.of(site.x.axis, field.each(values, *words, zero=True))
    slopes = np.broadcast_to(field.embed(weight), values.shape)
    found = field.scramble(stack([values, slopes]), "prelu")
    found[~values.any(axis=-1)] = 0
    return Print.of(site.x.axis, found)


@rule(Dropout)
def dropout(site: Site) -> Print:
    """eval, or p = 0: x. train: the mask depends on the node's name and on the channel's number."""
    if site.mode == "eval" or site.op.p == 0:
        return site.x
    field = site.field
    number = field.numbers(len(site.x.values))
    words = ("dropout", site.node.name, site.op.p, site.rest)
    values = field.scramble(stack([site.x.values, number]), *words)
    values[~site.x.values.any(axis=-1)] = 0
    return Print.of(site.x.axis, values)


# ---- arithmetic


def aligned(site: Site) -> tuple[int, list[Residues]]:
    """A common axis, and the operands' fingerprints as channels of the result along it.

    Axes are matched from the last one. An operand without that axis is the same for all channels.
    """
    result = site.node.type
    axis = _common_axis(site)
    count = result.shape[axis] if result.shape else 1
    found = []
    for part, type in zip(site.inputs, site.types, strict=True):
        own = axis - (result.rank - type.rank)
        values = (
            along(site.field, part, type.shape, own)
            if type.rank and own >= 0
            else whole(site.field, part, type.shape)
        )
        found.append(values if len(values) == count else np.repeat(values, count, axis=0))
    return axis, found


def _common_axis(site: Site) -> int:
    """The axis of the result that the operands of its shape follow, else those with as many axes,
    else any; where they disagree, the last one. Zero follows any axis."""
    result = site.node.type
    nonzero = any(part.values.any() for part in site.inputs)
    axes: list[tuple[bool, bool, int]] = [
        (type.shape == result.shape, type.rank == result.rank, part.axis + result.rank - type.rank)
        for part, type in zip(site.inputs, site.types, strict=True)
        if type.rank and (part.values.any() or not nonzero)
    ]
    return max(axes)[-1] if axes else 0


@rule(Add)
def add(site: Site) -> Print:
    """The sum."""
    axis, (total, *parts) = aligned(site)
    for part in parts:
        total = (total + part) % site.field.primes
    return Print.of(axis, total)


@rule(Sub)
def sub(site: Site) -> Print:
    """The difference."""
    axis, (a, b) = aligned(site)
    return Print.of(axis, (a - b) % site.field.primes)


@rule(Mul)
def mul(site: Site) -> Print:
    """The product: channels form a commutative ring."""
    axis, (a, b) = aligned(site)
    return Print.of(axis, a * b % site.field.primes)


@rule(Div)
def div(site: Site) -> Print:
    """a · r(b), r opaque: linear in a. 0/b is not called zero, as it has no value where b has a
    zero."""
    field = site.field
    axis, (a, b) = aligned(site)
    found = a * field.each(b, "1/x") % field.primes
    nothing = ~a.any(axis=-1)
    if nothing.any():
        found[nothing] = field.each(b[nothing], "0/x")
    return Print.of(axis, found)


@rule(Broadcasting)
def of_several(site: Site) -> Print:
    """Opaque in the numbers of all operands, at each place: powers, remainders, comparisons."""
    axis, parts = aligned(site)
    return Print.of(axis, site.field.scramble(stack(parts), site.op.name))


@rule(Where)
def where(site: Site) -> Print:
    """Opaque, but where(c, a, a) = a."""
    axis, (condition, a, b) = aligned(site)
    found = site.field.scramble(stack([condition, a, b]), "where")
    same = (a == b).all(axis=-1)
    found[same] = a[same]
    return Print.of(axis, found)


@rule(Minimum, Maximum)
def extreme(site: Site) -> Print:
    """Opaque in the multiset of operands; of equal ones, these."""
    axis, parts = aligned(site)
    rows = np.stack(parts, axis=1)  # [channels, operands, lanes]
    whole_rows = np.ascontiguousarray(rows).view(f"V{rows.itemsize * rows.shape[-1]}")
    ordered = np.sort(whole_rows, axis=1).view(np.int64).reshape(rows.shape)
    found = site.field.scramble(ordered, site.op.name)
    same = (rows == rows[:, :1]).all(axis=(1, 2))
    found[same] = parts[0][same]
    return Print.of(axis, found)
