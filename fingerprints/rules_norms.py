"""Rules of normalizations and softmax."""

from __future__ import annotations

import math

import numpy as np

from ..ir.ops import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    LogSoftmax,
    RmsNorm,
    Softmax,
)
from ..ir.weights import Array
from .field import Field, Residues
from .prints import Print, Site, rule, stack


def _affine(field: Field, x: Residues, parameters: dict[str, Array]) -> Residues:
    """weight·x + bias by channel, where the norm has them."""
    if "weight" in parameters:
        x = x * field.embed(parameters["weight"]) % field.primes
    if "bias" in parameters:
        x = (x + field.embed(parameters["bias"])) % field.primes
    return x


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
    words = (site.kind, site.mode, site.rest, parameters)
    if statistics:
        return Print.of(site.x.axis, _normalized(site.field, site.x.values, *words))
    return Print.of(site.x.axis, site.field.each(site.x.values, *words))


@rule(LayerNorm)
def layer_norm(site: Site) -> Print:
    """Like a group norm with one group, where it normalizes the channel axis with all that it
    normalizes; opaque for each channel where it does not touch that axis."""
    if site.x.axis < site.types[0].rank - site.op.dims:
        return _within(site)
    inner = site.op.dims - 1
    x = _normalized(site.field, site.x.values, "layer norm", site.op.eps, (inner, site.rest))
    return _scaled(site, x)


@rule(RmsNorm)
def rms_norm(site: Site) -> Print:
    """weight·x·g, with g = 1/sqrt(mean(x²) + eps) opaque in the statistic of the channels, which
    does not change when all of them are repeated. g is what normalizes a channel of ones."""
    field, op, values = site.field, site.op, site.x.values
    if site.x.axis < site.types[0].rank - op.dims:
        return _within(site)
    if op.eps == 0 and not values.any():  # 0/0
        return _scaled(site, field.each(values, "rms norm of zeros", site.rest))
    words = ("rms norm", op.eps, (op.dims - 1, site.rest), _statistics(values))
    g = field.each(field.numbers(1), *words)
    return _scaled(site, values * g % field.primes)


def _within(site: Site) -> Print:
    """A norm of axes inside of each channel."""
    op, field = site.op, site.field
    content = [site.parameters[r].tobytes() for r in sorted(site.parameters)]
    words = (f"{op.name} inside", op.eps, op.dims, site.rest, content)
    zero = isinstance(op, RmsNorm) and op.eps > 0
    return Print.of(site.x.axis, field.each(site.x.values, *words, zero=zero))


def _scaled(site: Site, x: Residues) -> Print:
    """Scale and shift of a norm of the last axes."""
    axis, field = site.x.axis, site.field
    if not site.parameters or site.op.dims == 1:
        return Print.of(axis, _affine(field, x, site.parameters))
    # Scale and shift differ by position: opaque in x, and linear in neither.
    first = site.types[0].rank - site.op.dims
    content = [
        [row.tobytes() for row in np.moveaxis(site.parameters[role], axis - first, 0)]
        for role in sorted(site.parameters)
    ]
    zero = "bias" not in site.parameters
    scaled = [
        field.each(one[None], "scale by position", site.rest, *own, zero=zero)[0]
        for one, *own in zip(x, *content, strict=True)
    ]
    return Print.of(axis, np.stack(scaled))


def _normalized(field: Field, channels: Residues, *words: object) -> Residues:
    """N(x; statistics) for the channels of one group."""
    return field.each(channels, *words, _statistics(channels))


def _statistics(channels: Residues) -> tuple[bytes, bytes]:
    """A multiset of channels, up to repetition of all of it."""
    distinct, counts = np.unique(channels, axis=0, return_counts=True)
    counts = counts // math.gcd(*counts.tolist())
    return distinct.tobytes(), counts.tobytes()


@rule(LocalResponseNorm)
def local_response_norm(site: Site) -> Print | None:
    """Opaque in the channel and its neighbours, by their places; zeros stand beyond the ends."""
    field, op, values = site.field, site.op, site.x.values
    zero = op.bias > 0 and op.alpha >= 0  # else it may be 0/0
    if site.x.axis != 0:  # the neighbours lie inside each channel
        return Print.of(site.x.axis, field.each(values, "inside", site.kind, site.rest, zero=zero))
    count = len(values)
    below = min((op.size - 1) // 2, count)
    above = min(op.size // 2, count)
    if (below + above) * count > _MOST_NEIGHBOURS:
        return None
    padded = np.pad(values, ((below, above), (0, 0)))
    neighbours = [padded[start : start + count] for start in range(below + above + 1)]
    found = field.scramble(stack([values, *neighbours]), site.kind, site.rest)
    if zero:
        found[~values.any(axis=-1)] = 0
    return Print.of(0, found)


_MOST_NEIGHBOURS = 1 << 20


@rule(Softmax, LogSoftmax)
def softmax(site: Site) -> Print:
    """exp(x) / Σ exp: depends on the channel and on the multiset of all, counts included."""
    field, values, name = site.field, site.x.values, site.op.name
    axis = site.op.axis % site.types[0].rank
    if axis != site.x.axis:
        inner = axis - (axis > site.x.axis)
        return Print.of(site.x.axis, field.each(values, f"{name} inside", inner, site.rest))
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    everything = (distinct.tobytes(), counts.tobytes())
    return Print.of(site.x.axis, field.each(values, name, everything))
