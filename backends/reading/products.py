"""Products of foreign tensors: layers, matrices, attention, tables."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import ops
from . import moving
from . import operations as o
from .builder import Builder
from .operations import Tensor, bound
from .values import Bound, Const, Unreadable, same_slices


def linear(b: Builder, x: Tensor, weight: Const, bias: Const | None = None) -> Bound:
    """W·x + b along the last axis; ``weight`` is [features, inputs]."""
    source = bound(b, x)
    source.axis(-1)  # not the batch
    if b.is_turned(weight):  # tied to a layer that has it the other way round
        stored = weight.with_array(weight.array.T, transposed=True)
        product = matmul(b, source, b.free(stored))
        return product if bias is None else o.add(b, product, bias)
    params = {"weight": weight} | ({} if bias is None else {"bias": bias})
    op = b.make(ops.Linear, weight.shape[0], bias is not None)
    if weight.array.ndim != 2 or weight.shape[1] != source.shape[-1]:
        raise Unreadable(
            f"a matrix of shape {list(weight.shape[::-1])} does not fit {list(source.shape)}"
        )
    if bias is not None and bias.shape != (weight.shape[0],):
        raise Unreadable(f"a bias of shape {list(bias.shape)} does not fit the matrix")
    return b.like(source, b.add(op, (source.node,), params))


def matmul(b: Builder, x: Tensor, y: Tensor) -> Bound:
    """The matrix product of numpy and ONNX."""
    if isinstance(y, Const) and y.array.ndim == 2 and isinstance(x, Bound) and not y.origin:
        return linear(b, x, y.with_array(y.array.T, transposed=True))
    if isinstance(y, Const) and y.array.ndim == 1 and isinstance(x, Bound):
        return moving.squeeze(b, matmul(b, x, y.viewed(y.array[:, None])), [-1])
    if isinstance(y, Const) and _batched(x) and y.origin is not None:
        alike = y.origin.shape == y.shape[-2:] and set(y.shape[:-2]) == {1}
        if alike and y.array.ndim <= x.rank:  # type: ignore[union-attr]
            return matmul(b, x, y.origin)
    if isinstance(y, Bound) and y.batch is not None and y.behind == 0 and not _batched(x):
        return bound(b, turned(b, matmul(b, turned(b, y), turned(b, x))))
    x, y = bound(b, x), bound(b, y)
    if x.batch is not None and x.behind == 1 and y.batch is None and y.rank >= 2:
        return _rows(b, x, y)
    if min(x.rank, y.rank) < 2:
        raise Unreadable("it multiplies a vector that is not a constant")
    layout, nodes = b.together((x, y))
    if layout.batch is not None and layout.behind < 2:
        raise Unreadable("it multiplies along the batch axis")
    node = b.add(ops.MatMul(), nodes)
    shape = b.type_of(node).shape
    batch = layout.batch
    if batch is not None:
        batch = len(shape) - layout.before - layout.after - layout.behind
    return replace(layout, node=node, shape=shape, batch=batch)


def _batched(x: Tensor) -> bool:
    return isinstance(x, Bound) and x.batch is not None


def turned(b: Builder, x: Tensor) -> Tensor:
    """The last two axes swapped."""
    if isinstance(x, Const) and x.array.ndim == 2:
        return x.with_array(x.array.T, transposed=True)
    source = bound(b, x)
    rank = source.rank
    return b.transpose(source, [*range(rank - 2), rank - 1, rank - 2])


def _rows(b: Builder, x: Bound, y: Bound) -> Bound:
    """A product whose left rows are the batch, by a matrix that is the same for all of it."""
    assert x.batch is not None
    lead, merged, inner = x.shape[: x.batch], x.shape[x.batch : -1], x.shape[-1]
    rows = b.add(b.make(ops.Reshape, (*lead, math.prod(merged), inner)), (x.node,), main=False)
    node = b.add(ops.MatMul(), (rows, y.node))
    *outer, _, width = b.type_of(node).shape
    shape = (*outer, *merged, width)
    node = b.add(b.make(ops.Reshape, shape), (node,), main=False)
    return replace(x, node=node, shape=shape, batch=len(outer))


def attention(
    b: Builder,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kept: Tensor | None = None,
    *,
    causal: bool = False,
    factor: float | None = None,
    dropout: float = 0.0,
) -> Bound:
    """softmax(factor·q·kᵀ + mask)·v over the last two axes, heads in front of them.

    Made of matrix products; :mod:`tidy` finds the heads and makes one node of it.
    """
    q, k, v = bound(b, q), bound(b, k), bound(b, v)
    turned = b.transpose(k, [*range(k.rank - 2), k.rank - 1, k.rank - 2])
    scores = matmul(b, q, turned)
    scores = o.scale(b, scores, 1 / math.sqrt(q.shape[-1]) if factor is None else factor)
    if causal:
        rows, columns = scores.shape[-2:]
        scores = o.add(b, scores, o.mask(np.tri(rows, columns, dtype=bool)))
    if isinstance(kept, Const) and kept.array.dtype == np.bool_:
        kept = o.mask(kept.array)
    elif isinstance(kept, Const) and not kept.trainable:
        kept = Const(np.maximum(floats32(kept.array), np.float32(o.LOWEST)))
    if kept is not None:
        scores = o.add(b, scores, kept)
    weights = o.along(b, ops.Softmax, scores, -1)
    if dropout > 0:
        weights = o.elementwise(b, b.make(ops.Dropout, dropout), weights)
    return matmul(b, weights, v)


def floats32(array: Any) -> Any:
    return np.asarray(array, np.float32)


def embedding(b: Builder, ids: Tensor, table: Const) -> Bound:
    """Rows of a table [count, features] by whole numbers."""
    if isinstance(ids, Const):
        rows = ids.array
        if rows.ndim > 1 and rows.shape[0] == b.batch and same_slices(rows, 0):
            rows = rows[:1]
        flat = [int(i) for i in rows.reshape(-1)]
        taken = moving.take(b, b.free(table), 0, flat)
        return b.reshape(taken, (*rows.shape, table.shape[1]))
    if ids.dtype != "i64":
        raise Unreadable("its indices are not whole numbers")
    op = b.make(ops.Embedding, table.shape[0], table.shape[1])
    node = b.add(op, (ids.node,), {"weight": table})
    return replace(ids, node=node, shape=b.type_of(node).shape, dtype="f32")
