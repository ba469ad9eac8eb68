"""Rules of ops that move numbers."""

from __future__ import annotations

import math

import numpy as np

from ..ir.ops import (
    Concat,
    DepthToSpace,
    Expand,
    Flatten,
    Gather,
    Pad,
    Reshape,
    Slice,
    SpaceToDepth,
    Tile,
    Transpose,
)
from .prints import Print, Site, along, canonical, parts, reshaped, rule, stack, without


@rule(Concat)
def concat(site: Site) -> Print:
    """Along the channels: one after the other. Along another axis: opaque for each channel."""
    axis = site.x.axis
    if len(site.inputs) == 1:
        return site.x
    shapes = tuple(t.shape for t in site.types)
    values = [
        along(site.field, p, shape, axis) for p, shape in zip(site.inputs, shapes, strict=True)
    ]
    cut = site.op.axis % site.types[0].rank
    if cut == axis:
        return Print.of(axis, np.concatenate(values))
    rests = [without(shape, axis) for shape in shapes]
    joined = site.field.scramble(stack(values), "concat", cut - (cut > axis), rests, zero=True)
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


@rule(Gather)
def gather(site: Site) -> Print:
    """Of the channels: those named. Of another axis: opaque for each channel."""
    indices, axis = site.op.indices, site.x.axis
    cut = site.op.axis % site.types[0].rank
    if cut == axis:
        return Print.of(axis, site.x.values[list(indices)])
    if indices == tuple(range(site.types[0].shape[cut])):
        return site.x
    words = ("gather", cut - (cut > axis), indices, site.rest)
    return Print.of(axis, site.field.each(site.x.values, *words, zero=True))


@rule(Pad)
def pad(site: Site) -> Print:
    """New channels are constant, or copies of channels; a border around a channel is opaque."""
    op, field, axis = site.op, site.field, site.x.axis
    widths = op.widths(site.types[0])
    before, after = widths[axis]
    inner = widths[:axis] + widths[axis + 1 :]
    values = site.x.values
    constant = op.mode == "constant"
    if any(map(any, inner)):
        border = op.value if constant else op.mode
        zero = not constant or op.value == 0
        values = field.each(values, "border", inner, border, site.rest, zero=zero)
    if constant:
        filled = [field.embed([op.value]).repeat(n, axis=0) for n in (before, after)]
        return Print.of(axis, np.concatenate([filled[0], values, filled[1]]))
    copied = np.pad(np.arange(len(values)), (before, after), mode=op.mode)
    return Print.of(axis, values[copied])


@rule(Transpose)
def transpose(site: Site) -> Print:
    """The channel axis moves; the others are transposed inside each channel, which is opaque."""
    axis = site.op.order.index(site.x.axis) if site.op.order else 0
    inner = [i for i in site.op.order if i != site.x.axis]
    if inner == sorted(inner):
        return Print.of(axis, site.x.values)
    words = ("transpose", tuple(inner), site.x.axis, site.rest)
    return Print.of(axis, site.field.each(site.x.values, *words, zero=True))


# ---- copies


@rule(Expand)
def expand(site: Site) -> Print:
    """Channels repeated along other axes are what they were."""
    shape, result = site.types[0].shape, site.node.type.shape
    axis = site.x.axis + len(result) - len(shape) if shape else site.axis
    values = site.x.values
    if len(values) == 1 and result:
        values = np.repeat(values, result[axis], axis=0)
    return Print.of(axis, values)


@rule(Tile)
def tile(site: Site) -> Print:
    """All channels one time after the other; opaque for each channel along other axes."""
    axis, repeats = site.x.axis, site.op.repeats
    values, inner = site.x.values, without(repeats, axis)
    if any(n > 1 for n in inner):
        values = site.field.each(values, "tile", inner, site.rest, zero=True)
    return Print.of(axis, np.tile(values, (repeats[axis], 1)) if repeats else values)


@rule(DepthToSpace)
def depth_to_space(site: Site) -> Print | None:
    """Opaque in the block² channels that a channel is made of, in order."""
    if site.x.axis != 0:
        return None
    op, values = site.op, site.x.values
    many, lanes = op.block**2, site.field.lanes
    if op.order == "crd":
        blocks = values.reshape(-1, many, lanes)
    else:
        blocks = values.reshape(many, -1, lanes).swapaxes(0, 1)
    return Print.of(0, site.field.scramble(blocks, site.op.name, op.block, site.rest, zero=True))


@rule(SpaceToDepth)
def space_to_depth(site: Site) -> Print | None:
    """Each channel is opaque in the one whose numbers it has, and in which these are."""
    if site.x.axis != 0:
        return None
    op, field, values = site.op, site.field, site.x.values
    parts = [
        field.each(values, op.name, op.block, number, site.rest, zero=True)
        for number in range(op.block**2)
    ]
    joined = np.stack(parts, axis=1 if op.order == "crd" else 0)
    return Print.of(0, joined.reshape(-1, field.lanes))


# ---- the same numbers in another shape


@rule(Reshape, Flatten)
def reshape(site: Site) -> Print | None:
    """Where the channels stay what they are, each is reshaped on its own. Where their axis is cut
    into several, a channel is opaque in those that it joins; where axes become one, in the place
    that its numbers have in one of the old ones."""
    old, new, axis = site.types[0].shape, site.node.type.shape, site.x.axis
    field, values = site.field, site.x.values
    if old == new:
        return site.x
    if not new:
        return Print.of(0, values)
    if len(values) == 1:
        at, rest = site.axis, without(new, site.axis)
        return Print.of(at, parts(field, values, site.rest, new[:at], new[at], rest)[0])
    taken, made = _segments(old, new, axis)
    before, after = old[slice(*taken)], new[slice(*made)]
    larger = [made[0] + i for i, n in enumerate(after) if n > 1]
    if math.prod(before) == len(values) and len(larger) == 1:
        rest = without(new, larger[0])
        return Print.of(larger[0], reshaped(field, values, site.rest, rest))
    if math.prod(before) == len(values):
        at = site.axis if site.axis in larger else larger[0]
        rest = without(new, at)
        ordered = np.moveaxis(values.reshape(*after, field.lanes), at - made[0], 0)
        groups = ordered.reshape(new[at], -1, field.lanes)
        words = ("joined", math.prod(old[: taken[0]]), canonical(site.rest), canonical(rest))
        return Print.of(at, field.scramble(groups, *words, zero=True))
    if len(larger) == 1:
        own = axis - taken[0]
        others = without(before, own)
        rest = without(new, larger[0])
        cut = parts(field, values, site.rest, old[: taken[0]], math.prod(others), rest)
        cut = cut.reshape(len(values), *others, field.lanes)
        return Print.of(larger[0], np.moveaxis(cut, 0, own).reshape(-1, field.lanes))
    return None


def _segments(
    old: tuple[int, ...], new: tuple[int, ...], axis: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The fewest axes around ``axis`` that become axes of their own: (begin, end) in both shapes.

    Shapes can be cut where as many numbers lie before the cut in both.
    """
    cuts, others = _cuts(old), _cuts(new)
    begin = next(i for i in range(axis, -1, -1) if cuts[i] in others)
    end = next(i for i in range(axis + 1, len(cuts)) if cuts[i] in others)
    # Axes of size 1 are left outside.
    first = len(others) - 1 - others[::-1].index(cuts[begin])
    return (begin, end), (first, others.index(cuts[end]))


def _cuts(shape: tuple[int, ...]) -> list[int]:
    """How many numbers lie before each axis, and in all."""
    return [math.prod(shape[:i]) for i in range(len(shape) + 1)]
