"""One rule an op: how the result's fingerprints follow from the operands'.

Linear operators are linear in the fingerprints. All others are opaque functions of what they
depend on, with the few laws that hold for them: f(0) = 0, relu(relu(x)) = relu(x).
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from ..ir.ops import (
    AdaptivePool,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dropout,
    Elementwise,
    Elu,
    Flatten,
    Gelu,
    GroupNorm,
    HardSwish,
    Identity,
    InstanceNorm,
    LayerNorm,
    LeakyRelu,
    Linear,
    Mul,
    Pad,
    Pool,
    Relu,
    Reshape,
    Scale,
    Silu,
    Slice,
    Softmax,
    Sub,
    Tanh,
    Transpose,
)
from ..ir.ops.pool import GlobalPool
from ..ir.weights import Array
from .field import Field, Residues
from .prints import Print, Product, Site, along, rule, stack, without


def _affine(field: Field, x: Residues, parameters: dict[str, Array]) -> Residues:
    """weight·x + bias by channel, where the norm has them."""
    if "weight" in parameters:
        x = x * field.embed(parameters["weight"]) % field.primes
        x = (x + field.embed(parameters["bias"])) % field.primes
    return x


# ---- layers


@rule(Conv)
def conv(site: Site) -> Product:
    """Σ over taps of W[tap] · T(x), T the shift by the tap's offset with zeros moving in.

    The tap that does not move anything is the identity; every other T(x) is a variable of its
    own for each channel x, since shifts with a border do not commute.
    """
    op, field = site.op, site.field
    values = along(field, site.x, site.types[0].shape, 0)
    sizes, results = site.types[0].shape[1:], site.node.type.shape[1:]
    columns = []
    for tap in product(*map(range, op.kernel)):
        offset = tuple(
            t * d - begin for t, d, (begin, _) in zip(tap, op.dilation, op.pads, strict=True)
        )
        if not any(offset) and set(op.stride) == {1} and sizes == results:
            columns.append(values)
        elif _misses(offset, op.stride, sizes, results):
            columns.append(np.zeros_like(values))
        else:
            columns.append(
                field.each(values, "shift", offset, op.stride, sizes, results, zero=True)
            )
    taps = np.stack(columns, axis=1)  # [channels, taps, lanes]
    weight = site.parameters["weight"]
    groups, per_group = op.groups, len(values) // op.groups
    matrix = weight.reshape(groups, op.channels // groups, -1)
    operand = taps.reshape(groups, per_group * len(columns), field.lanes)
    return Product(matrix, operand, 0)


def _misses(
    offset: tuple[int, ...],
    stride: tuple[int, ...],
    sizes: tuple[int, ...],
    results: tuple[int, ...],
) -> bool:
    """Whether a tap only ever reads padding."""
    return any(
        o >= n or o + (m - 1) * s < 0
        for o, s, n, m in zip(offset, stride, sizes, results, strict=True)
    )


@rule(Linear)
def linear(site: Site) -> Product:
    """W·x + b along the last axis."""
    axis = site.types[0].rank - 1
    x = along(site.field, site.x, site.types[0].shape, axis)
    return Product(site.parameters["weight"][None], x[None], axis)


# ---- normalizations


@rule(BatchNorm)
def batch_norm(site: Site) -> Print | None:
    """weight·r·(x - mean) + bias. In eval mode r is a constant that depends on var and eps alone;
    in train mode r and the mean are the batch's, so the normalized channel is opaque."""
    if site.x.axis != 0:
        return _across(site, statistics=site.mode == "train")
    field, p = site.field, site.parameters
    if site.mode == "eval":
        variance = field.embed(p["running_var"])
        scale = field.each(variance, "1/sqrt(variance + eps)", site.op.eps)
        x = (site.x.values - field.embed(p["running_mean"])) % field.primes * scale % field.primes
    else:
        x = field.each(site.x.values, "batch norm", site.op.eps, zero=True)
    return Print.of(0, _affine(field, x, p))


@rule(InstanceNorm)
def instance_norm(site: Site) -> Print | None:
    """weight·N(x) + bias, N opaque; N(0) = 0."""
    if site.x.axis != 0:
        return _across(site, statistics=True)
    x = site.field.each(site.x.values, "instance norm", site.op.eps, site.rest, zero=True)
    return Print.of(0, _affine(site.field, x, site.parameters))


@rule(GroupNorm)
def group_norm(site: Site) -> Print | None:
    """weight·N(x; statistics of its group) + bias. Mean and variance of a group do not change when
    all of it is repeated."""
    if site.x.axis != 0:
        return _across(site, statistics=True)
    field, groups = site.field, site.op.groups
    grouped = site.x.values.reshape(groups, -1, field.lanes)
    parts = [_normalized(field, g, "group norm", site.op.eps, site.rest) for g in grouped]
    return Print.of(0, _affine(field, np.concatenate(parts), site.parameters))


def _across(site: Site, *, statistics: bool) -> Print:
    """A norm of the first axis where the channels lie on another (tokens): every channel meets the
    same scales and shifts, and the statistics of all channels together."""
    parameters = [(role, array.tobytes()) for role, array in sorted(site.parameters.items())]
    words = (site.kind, site.mode, site.types[0].shape, parameters)
    if statistics:
        return Print.of(site.x.axis, _normalized(site.field, site.x.values, *words))
    return Print.of(site.x.axis, site.field.each(site.x.values, *words))


@rule(LayerNorm)
def layer_norm(site: Site) -> Print | None:
    """Like a group norm with one group, where it normalizes the channel axis with all that it
    normalizes; opaque for each channel where it does not touch that axis."""
    op, field, rank = site.op, site.field, site.types[0].rank
    first = rank - op.dims  # the first axis that is normalized
    axis = site.x.axis
    if axis < first:  # within each channel
        content = [site.parameters[r].tobytes() for r in sorted(site.parameters)]
        x = field.each(site.x.values, "layer norm inside", op.eps, op.dims, site.rest, content)
        return Print.of(axis, x)
    inner = op.dims - 1
    x = _normalized(field, site.x.values, "layer norm", op.eps, (inner, site.rest))
    if not site.parameters:
        return Print.of(axis, x)
    if op.dims == 1:
        return Print.of(axis, _affine(field, x, site.parameters))
    # Scale and shift differ by position: opaque in x, and linear in neither.
    weight, bias = (
        np.moveaxis(site.parameters[r], axis - first, 0).reshape(len(x), -1)
        for r in ("weight", "bias")
    )
    scaled = [
        field.each(one[None], "scale by position", w.tobytes(), b.tobytes())[0]
        for one, w, b in zip(x, weight, bias, strict=True)
    ]
    return Print.of(axis, np.stack(scaled))


def _normalized(field: Field, channels: Residues, *words: object) -> Residues:
    """N(x; statistics) for the channels of one group."""
    distinct, counts = np.unique(channels, axis=0, return_counts=True)
    counts = counts // math.gcd(*counts.tolist())
    statistics = (distinct.tobytes(), counts.tobytes())
    return field.each(channels, *words, statistics)


@rule(Softmax)
def softmax(site: Site) -> Print | None:
    """exp(x) / Σ exp: depends on the channel and on the multiset of all, counts included."""
    field, values = site.field, site.x.values
    axis = site.op.axis % site.types[0].rank
    if axis != site.x.axis:
        inner = axis - (axis > site.x.axis)
        return Print.of(site.x.axis, field.each(values, "softmax inside", inner, site.rest))
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    everything = (distinct.tobytes(), counts.tobytes())
    return Print.of(site.x.axis, field.each(values, "softmax", everything))


# ---- element by element


@rule(Elementwise)
def elementwise(site: Site) -> Print:
    """An opaque function, with f(0) = 0 where that is known."""
    zero = type(site.op) in ZERO_AT_ZERO
    return Print.of(site.x.axis, site.field.each(site.x.values, site.kind, zero=zero))


ZERO_AT_ZERO = {LeakyRelu, Elu, Gelu, Silu, Tanh, HardSwish}


@rule(Relu)
def relu(site: Site) -> Print:
    """relu(0) = 0, relu(relu(x)) = relu(x)."""
    field, values = site.field, site.x.values
    result = field.each(values, "relu", zero=True)
    for i, row in enumerate(values):
        if row.tobytes() in field.rectified:
            result[i] = row
    field.rectified.update(row.tobytes() for row in result)
    return Print.of(site.x.axis, result)


@rule(Identity)
def identity(site: Site) -> Print:
    """x"""
    return site.x


@rule(Scale)
def scale(site: Site) -> Print:
    """factor·x + offset·1, the constant one being the field's."""
    field = site.field
    factor, offset = field.embed([site.op.factor, site.op.offset])
    return Print.of(site.x.axis, (site.x.values * factor + offset) % field.primes)


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


# ---- poolings


@rule(Pool, AdaptivePool, GlobalPool)
def pool(site: Site) -> Print:
    """Opaque for each channel; of zeros, zero."""
    shape = site.types[0].shape
    x = along(site.field, site.x, shape, 0)
    return Print.of(0, site.field.each(x, site.kind, shape[1:], zero=True))


# ---- arithmetic


def _aligned(site: Site) -> tuple[int, list[Residues]]:
    """A common axis, and the operands' fingerprints as channels of the result along it."""
    result = site.node.type
    axis = max(part.axis for part in site.inputs)
    aligned = []
    for part, type in zip(site.inputs, site.types, strict=True):
        values = along(site.field, part, type.shape, axis)
        inner, wanted = without(type.shape, axis), without(result.shape, axis)
        if inner != wanted:
            values = site.field.each(values, "repeat", inner, wanted, zero=True)
        if type.shape and type.shape[axis] != result.shape[axis]:
            values = np.repeat(values, result.shape[axis], axis=0)
        aligned.append(values)
    return axis, aligned


@rule(Add)
def add(site: Site) -> Print:
    """The sum."""
    axis, (total, *parts) = _aligned(site)
    for part in parts:
        total = (total + part) % site.field.primes
    return Print.of(axis, total)


@rule(Sub)
def sub(site: Site) -> Print:
    """The difference."""
    axis, (a, b) = _aligned(site)
    return Print.of(axis, (a - b) % site.field.primes)


@rule(Mul)
def mul(site: Site) -> Print:
    """The product: channels form a commutative ring."""
    axis, (a, b) = _aligned(site)
    return Print.of(axis, a * b % site.field.primes)


# ---- shape


@rule(Concat)
def concat(site: Site) -> Print | None:
    """Along the channels: one after the other. Along another axis: opaque for each channel."""
    axis = site.x.axis
    if len(site.inputs) == 1:
        return site.x
    if any(p.axis != axis for p in site.inputs):
        return None
    cut = site.op.axis % site.types[0].rank
    values = [p.values for p in site.inputs]
    if cut == axis:
        return Print.of(axis, np.concatenate(values))
    shapes = tuple(t.shape for t in site.types)
    joined = site.field.scramble(stack(values), "concat", cut, axis, shapes, zero=True)
    return Print.of(axis, joined)


@rule(Slice)
def slice_(site: Site) -> Print:
    """Of the channels: some of them. Of another axis: opaque for each channel."""
    cut, start, stop, step = site.op.bounds(site.types[0])
    axis = site.x.axis
    if cut == axis:
        return Print.of(axis, site.x.values[start:stop:step])
    if site.node.type == site.types[0]:
        return site.x
    words = ("slice", cut - (cut > axis), start, stop, step, site.rest)
    return Print.of(axis, site.field.each(site.x.values, *words, zero=True))


@rule(Pad)
def pad(site: Site) -> Print:
    """New channels are constant; a border around a channel is opaque."""
    widths, axis, field = site.op.widths(site.types[0]), site.x.axis, site.field
    before, after = widths[axis]
    inner = widths[:axis] + widths[axis + 1 :]
    values, value = site.x.values, site.op.value
    if any(map(any, inner)):
        values = field.each(values, "border", inner, value, site.rest, zero=value == 0)
    constant = field.embed([value])
    filled = [constant.repeat(n, axis=0) for n in (before, after)]
    return Print.of(axis, np.concatenate([filled[0], values, filled[1]]))


@rule(Flatten)
def flatten(site: Site) -> Print | None:
    """The channels' elements one after the other; element s of channel x is opaque in s and x."""
    type, axis, field = site.types[0], site.x.axis, site.field
    if type.rank <= 1:
        return Print.of(0, site.x.values)
    begin = site.op.axis % type.rank
    if begin == type.rank - 1:
        return site.x
    if begin > axis:
        words = ("flatten inside", begin, site.rest)
        return Print.of(axis, field.each(site.x.values, *words, zero=True))
    if begin != axis:
        return None
    count = math.prod(type.shape[axis + 1 :])
    if count == 1:
        return Print.of(axis, site.x.values)
    parts = [
        field.each(site.x.values, "element", s, site.rest, axis, zero=True) for s in range(count)
    ]
    return Print.of(axis, np.stack(parts, axis=1).reshape(-1, field.lanes))


@rule(Reshape)
def reshape(site: Site) -> Print | None:
    """The same shape: x. A vector into channels: each is opaque in its elements. Else opaque."""
    type, result = site.types[0], site.node.type
    if type == result:
        return site.x
    if type.rank != 1 or not result.shape:
        return None
    grouped = site.x.values.reshape(result.shape[0], -1, site.field.lanes)
    if grouped.shape[1] == 1:
        return Print.of(0, site.x.values)
    return Print.of(0, site.field.scramble(grouped, "gather", result.shape[1:], zero=True))


@rule(Transpose)
def transpose(site: Site) -> Print:
    """The channel axis moves; the others are transposed inside each channel, which is opaque."""
    axis = site.op.order.index(site.x.axis)
    inner = [i for i in site.op.order if i != site.x.axis]
    if inner == sorted(inner):
        return Print.of(axis, site.x.values)
    words = ("transpose", tuple(inner), site.x.axis, site.rest)
    return Print.of(axis, site.field.each(site.x.values, *words, zero=True))
