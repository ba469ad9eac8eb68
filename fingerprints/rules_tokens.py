"""Rules of what works on tokens: stored tensors, embeddings, matrix products, attention."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from ..ir.ops import Attention, Embedding, MatMul, Stored
from ..ir.weights import Array
from .field import Field, Residues
from .prints import Print, Site, along, canonical, rule, stack, whole, without

# ---- stored tensors


@rule(Stored)
def stored(site: Site) -> Print:
    """A channel whose numbers are all the same is that constant; any other is named after its
    numbers."""
    shape, axis = site.node.type.shape, site.axis
    array = site.parameters[""].reshape(shape)
    rows = np.moveaxis(array, axis, 0).reshape(shape[axis], -1) if shape else array.reshape(1, 1)
    return Print.of(axis, _named(site.field, rows, "stored", canonical(without(shape, axis))))


def _named(field: Field, rows: Array, *words: object) -> Residues:
    """Rows of numbers by their content: those of one number throughout are that constant."""
    first = rows[:, 0]
    constant = (rows == first[:, None]).all(axis=1) & np.isfinite(first)
    found = np.empty((len(rows), field.lanes), np.int64)
    found[constant] = field.embed(first[constant])
    for i in np.flatnonzero(~constant):
        digest = hashlib.blake2b(rows[i].tobytes(), digest_size=32).digest()
        found[i] = field.each(field.numbers(1), *words, digest)[0]
    return found


@rule(Embedding)
def embedding(site: Site) -> Print:
    """Feature f of a token is a function of the token that column f of the table defines."""
    columns = np.ascontiguousarray(site.parameters["weight"].T)
    words = ("embedding", site.types[0].shape, site.x.digest.hex())
    return Print.of(site.node.type.rank - 1, _named(site.field, columns, *words))


# ---- products


@rule(MatMul)
def matmul(site: Site) -> Print | None:
    """Matrices of a common outer axis are multiplied one by one. Else a column of the result is
    opaque in a and a column of b, or a row in a row of a and in b."""
    field, (a, b), (left, right) = site.field, site.inputs, site.types
    rank = site.node.type.rank
    rows, columns = a.axis == left.rank - 2, b.axis == right.rank - 1
    shapes: tuple[object, ...] = (left.shape, without(right.shape, b.axis))
    outer = a.axis - left.rank
    if outer == b.axis - right.rank and outer < -2:
        count = site.node.type.shape[outer]
        parts = [np.repeat(p.values, count // len(p.values), axis=0) for p in (a, b)]
        name, axis = "matmul", rank + outer
        shapes = (without(left.shape, a.axis), without(right.shape, b.axis), outer)
    elif columns:
        repeated = np.repeat(whole(field, a, left.shape), len(b.values), axis=0)
        parts, name, axis = [repeated, b.values], "matmul columns", rank - 1
    elif rows:
        repeated = np.repeat(whole(field, b, right.shape), len(a.values), axis=0)
        parts, name, axis = [a.values, repeated], "matmul rows", rank - 2
        shapes = (without(left.shape, a.axis), right.shape)
    else:
        return None
    found = field.scramble(stack(parts), name, shapes)
    for part in parts:
        found[~part.any(axis=-1)] = 0
    return Print.of(axis, found)


@rule(Attention)
def attention(site: Site) -> Print:
    """Heads do not see each other. A head's weights are opaque in the products of its channels of q
    and k, and in the mask; a channel of its result in the weights and its channel of v."""
    field, op = site.field, site.op
    q, k, v = (
        along(field, p, t.shape, 1) for p, t in zip(site.inputs[:3], site.types[:3], strict=True)
    )
    size, rest = len(q) // op.heads, (site.types[0].shape[0], site.types[1].shape[0])
    scale = ("1/sqrt", size) if op.scale is None else op.scale
    found = []
    for head, mask in enumerate(_masks(site, rest)):
        own = slice(head * size, (head + 1) * size)
        # q·k is a sum over channels, in any order, in which zeros do not count.
        pairs = np.concatenate([q[own], k[own]], axis=1)
        pairs = pairs[q[own].any(axis=1) & k[own].any(axis=1)]
        pairs = pairs[np.lexsort(pairs.T)]
        drawn = op.dropout > 0 and site.mode == "train"
        words = (
            *("attention", rest, scale, op.causal, pairs.tobytes(), mask),
            (site.node.name, head, op.dropout) if drawn else None,
        )
        values = np.split(v, op.heads)[head]
        found.append(field.each(values, *words, zero=True))
    return Print.of(1, np.concatenate(found))


def _masks(site: Site, rest: tuple[int, int]) -> Iterator[object]:
    """What every head's mask is called; None for zeros, which change nothing."""
    field, heads = site.field, site.op.heads
    if len(site.inputs) == 3:
        yield from [None] * heads
        return
    mask, shape = site.inputs[3], site.types[3].shape
    if len(shape) == 3 and shape[0] > 1:
        values = along(field, mask, shape, 0)
    else:
        values = whole(field, mask, shape).repeat(heads, axis=0)
    for row in values:
        yield row.tobytes() if row.any() else None
