"""Rules of poolings and reductions."""

from __future__ import annotations

import numpy as np

from ..ir.ops import (
    AdaptivePool,
    Pool,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    Reduction,
    Resize,
)
from ..ir.ops.pool import GlobalPool
from .field import Residues
from .prints import Print, Site, along, canonical, rule, split, without


@rule(Pool, AdaptivePool, GlobalPool, Resize)
def pool(site: Site) -> Print:
    """Opaque for each channel; of zeros, zero."""
    shape = site.types[0].shape
    x = along(site.field, site.x, shape, 0)
    return Print.of(0, site.field.each(x, site.kind, shape[1:], zero=True))


@rule(Reduction)
def reduction(site: Site) -> Print:
    """Over axes inside of each channel: opaque. Over the channels: their sum, or opaque in all of
    them. Over both: the latter, then the former, as sums of sums are sums, and likewise for all
    other reductions."""
    op, axis, type = site.op, site.x.axis, site.types[0]
    gone = op.reduced(type)
    values = site.x.values
    if axis in gone:
        values = _over_channels(site, values)
    inner = tuple(i - (i > axis) for i in gone if i != axis)
    rest = without(type.shape, axis)
    left = tuple(1 if i in inner else n for i, n in enumerate(rest))
    if not op.keep:
        left = tuple(n for i, n in enumerate(rest) if i not in inner)
    if inner:
        words = (op.name, inner, rest, canonical(left))
        zero = not isinstance(op, ReduceLogSumExp)
        values = site.field.each(values, *words, zero=zero)
    if axis not in gone or op.keep:
        return Print.of(axis if op.keep else axis - sum(i < axis for i in gone), values)
    return split(site.field, values, site.node.type.shape, site.axis)


def _over_channels(site: Site, values: Residues) -> Residues:
    """The reduction of all channels to one."""
    op, field = site.op, site.field
    if isinstance(op, (ReduceSum, ReduceMean)):
        total: Residues = values.sum(axis=0, keepdims=True) % field.primes
        if isinstance(op, ReduceSum):
            return total
        inverse = np.array([pow(len(values), -1, int(p)) for p in field.primes], np.int64)
        return np.asarray(total * inverse % field.primes)
    if isinstance(op, (ReduceMax, ReduceMin)):
        # The largest of a set: however often each is there, and of one, itself.
        distinct = np.unique(values, axis=0)
        if len(distinct) == 1:
            return distinct
        return field.scramble(distinct[None], op.name)
    # The order of factors and terms does not matter.
    order = np.lexsort(values.T)
    zero = not isinstance(op, ReduceLogSumExp)
    return field.scramble(values[order][None], op.name, zero=zero)
