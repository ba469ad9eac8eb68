"""Rules of the layers: convolutions, transposed ones, and linear layers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from ..ir.ops import Conv, ConvTranspose, Linear
from .field import Residues
from .prints import Product, Site, along, rule

Offset = tuple[int, ...]


@rule(Conv)
def conv(site: Site) -> Product:
    """Σ over taps of W[tap] · T(x), T the shift by the tap's offset with zeros moving in.

    The tap that does not move anything is the identity; every other T(x) is a variable of its
    own for each channel x, since shifts with a border do not commute.
    """
    op, weight = site.op, site.parameters["weight"]
    taps = _taps(site, "shift", _misses)
    matrix = weight.reshape(op.groups, op.channels // op.groups, -1)
    return Product(matrix, taps.reshape(op.groups, -1, site.field.lanes), 0)


@rule(ConvTranspose)
def conv_transpose(site: Site) -> Product:
    """Σ over taps of W[tap] · S(x), S the placement of x's numbers, a stride apart, from the tap's
    offset on, with zeros in between. Like a convolution's shifts, all but the identity are
    variables."""
    op, weight = site.op, site.parameters["weight"]
    taps = _taps(site, "placement", _falls_outside)
    # [inputs, outputs of a group, taps], the inputs group by group
    by_group = weight.reshape(op.groups, -1, op.channels // op.groups, taps.shape[1])
    matrix = by_group.transpose(0, 2, 1, 3).reshape(op.groups, op.channels // op.groups, -1)
    return Product(matrix, taps.reshape(op.groups, -1, site.field.lanes), 0)


def _taps(
    site: Site, word: str, misses: Callable[[Offset, Offset, Offset, Offset], bool]
) -> Residues:
    """What every tap of a window makes of every channel: [channels, taps, lanes]."""
    op, field = site.op, site.field
    values = along(field, site.x, site.types[0].shape, 0)
    sizes, results = site.types[0].shape[1:], site.node.type.shape[1:]
    taps = list(product(*map(range, op.kernel)))
    columns = np.zeros((len(values), len(taps), field.lanes), np.int64)
    moved: dict[int, tuple[object, ...]] = {}
    for i, tap in enumerate(taps):
        offset = tuple(
            t * d - begin for t, d, (begin, _) in zip(tap, op.dilation, op.pads, strict=True)
        )
        if not any(offset) and set(op.stride) == {1} and sizes == results:
            columns[:, i] = values
        elif not misses(offset, op.stride, sizes, results):
            moved[i] = (word, offset, op.stride, sizes, results)
    if moved:
        images = field.each_by_all(values, list(moved.values()), zero=True)
        columns[:, list(moved)] = images.swapaxes(0, 1)
    return columns


def _misses(offset: Offset, stride: Offset, sizes: Offset, results: Offset) -> bool:
    """Whether a tap only ever reads padding."""
    return any(
        o >= n or o + (m - 1) * s < 0
        for o, s, n, m in zip(offset, stride, sizes, results, strict=True)
    )


def _falls_outside(offset: Offset, stride: Offset, sizes: Offset, results: Offset) -> bool:
    """Whether a tap places all numbers outside of the result: the first that is not before its
    begin would be behind its end, or is none at all."""
    first = [max(0, -(o // s)) for o, s in zip(offset, stride, strict=True)]
    return any(
        i >= n or i * s + o >= m
        for i, o, s, n, m in zip(first, offset, stride, sizes, results, strict=True)
    )


@rule(Linear)
def linear(site: Site) -> Product:
    """W·x + b along the last axis."""
    axis = site.types[0].rank - 1
    x = along(site.field, site.x, site.types[0].shape, axis)
    return Product(site.parameters["weight"][None], x[None], axis)
