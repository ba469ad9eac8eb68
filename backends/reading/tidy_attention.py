"""The rule that finds multi-head attention among matrix products."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir import ops
from ...ir.ops import Constant, Op
from .operations import LOWEST, NEVER, mask
from .tidy import Tidy, near, rule

MOVES: tuple[type[Op], ...] = (ops.Reshape, ops.Flatten, ops.Transpose, ops.Slice, ops.Gather)

LARGEST = 2**24
"""Tensors of more numbers than this are not looked into."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads as parts of the features of tokens: [heads, tokens, width] of [tokens, features]."""

    source: str
    offset: int
    heads: int
    width: int
    factor: float

    def features(self, t: Tidy, at: str, kind: str) -> str:
        """The node that yields these features: the source, or a slice of it."""
        total = self.heads * self.width
        size = t.shape(self.source)[-1]
        if total == size:
            return self.source
        end = self.offset + total
        part = ops.Slice(self.offset, None if end == size else end, axis=1)
        return t.put(at, part, self.source, kind=kind)


@dataclass(frozen=True, slots=True)
class Regrouped:
    """Heads of any origin, such as rotated ones: [heads, tokens, width], or [heads, width, tokens]
    if ``turned``. They are put beside each other as features."""

    source: str
    turned: bool
    heads: int
    width: int
    factor: float

    def features(self, t: Tidy, at: str, kind: str) -> str:
        """A new node that yields the features of tokens."""
        order = [2, 0, 1] if self.turned else [1, 0, 2]
        apart = t.put(at, ops.Transpose(order), self.source, kind=f"{kind}_heads")
        return t.put(at, ops.Flatten(1), apart, kind=kind)


@rule(ops.Softmax)
def masked(t: Tidy, at: str) -> str | None:
    """softmax(where(kept, x, -∞)) → softmax(x + mask), for constants"""
    scores, rank = t.x(at), len(t.shape(at))
    last = t.op(at).axis % rank == rank - 1  # type: ignore[attr-defined]
    if not last or not t.is_a(scores, ops.Where) or t.only_user(scores) != at:
        return None
    condition, x, y = t.operands(scores)
    kept = _values(t, condition)
    if kept is None or t.shape(condition)[-1:] != t.shape(at)[-1:]:
        return None
    kept = kept != 0
    if _is_never(t, x):
        kept, x, y = ~kept, y, x
    # Where nothing is kept, all scores are the same in one form, and as before in the other.
    if not _is_never(t, y) or t.shape(x) != t.shape(scores) or not kept.any(-1).all():
        return None
    added = t.put(at, ops.Add(), x, t.constant(at, mask(kept).array, condition), kind="add")
    return t.put(at, t.op(at), added)


def _is_never(t: Tidy, name: str) -> bool:
    values = _values(t, name)
    return values is not None and values.size == 1 and float(values.reshape(())) <= NEVER


@rule(ops.Softmax)
def finite_mask(t: Tidy, at: str) -> str | None:
    """softmax(x + mask): -inf in the mask becomes float32's least number

    Both have no weight beside a number that is kept, but -inf has no exact proof.
    """
    op, scores = t.op(at), t.x(at)
    if not t.is_a(scores, ops.Add) or op.axis % len(t.shape(at)) != len(t.shape(at)) - 1:  # type: ignore[attr-defined]
        return None
    for stored in t.operands(scores):
        while t.is_a(stored, ops.Reshape) and t.only_user(stored) is not None:
            stored = t.x(stored)
        values = t.graph.weights.get(stored) if t.is_a(stored, Constant) else None
        if values is None or t.only_user(stored) is None or not np.isneginf(values).any():
            continue
        if np.isfinite(values).any(axis=-1).all():
            t.graph.weights[stored] = np.maximum(values, np.float32(LOWEST))
            t.b.sources[stored] = replace(t.b.sources[stored], exact=False)
    return None


@rule(ops.MatMul)
def attention(t: Tidy, at: str) -> str | None:
    """softmax(s·q·kᵀ + mask)·v by heads → attention"""
    weights, values = t.operands(at)
    dropout = 0.0
    if t.is_a(weights, ops.Dropout):
        dropout, weights = t.op(weights).p, t.x(weights)  # type: ignore[attr-defined]
    rank = len(t.shape(at))
    if not t.is_a(weights, ops.Softmax) or rank not in (2, 3):
        return None
    if t.op(weights).axis % rank != rank - 1:  # type: ignore[attr-defined]
        return None
    scores, mask = t.x(weights), None
    if t.is_a(scores, ops.Add) and len(t.operands(scores)) == 2:
        a, b = t.operands(scores)
        scores, mask = (a, b) if _is_scores(t, a) else (b, a)
    factor, scores = _unscaled(t, scores)
    if not t.is_a(scores, ops.MatMul):
        return None
    q, k = (
        _heads(t, x, turned) or _regrouped(t, x, turned)
        for x, turned in zip(t.operands(scores), (False, True), strict=True)
    )
    v = _heads(t, values, False) or _regrouped(t, values, False)
    if q is None or k is None or v is None or not q.heads == k.heads == v.heads:
        return None
    exit = _exit(t, at)
    if exit is None:
        return None
    factor *= q.factor * k.factor
    if not near(v.factor, 1.0):
        return None
    causal = mask is not None and _is_causal(t, mask)
    operands = [part.features(t, at, kind) for part, kind in ((q, "q"), (k, "k"), (v, "v"))]
    if mask is not None and not causal:
        wanted = _mask(t, at, mask, q.heads)
        if wanted is None:
            return None
        operands.append(wanted)
    default = 1 / math.sqrt(q.width)
    scale = None if abs(factor - default) <= 1e-5 * default else factor
    op = ops.Attention(q.heads, causal, scale, dropout)
    new = t.put(at, op, *operands)
    if t.shape(new) != t.shape(exit):
        new = t.put(at, ops.Reshape(t.shape(exit)), new, kind="flatten")
    if exit == at:
        return new
    t.replace(exit, new)
    return new


def _is_scores(t: Tidy, name: str) -> bool:
    return t.is_a(_unscaled(t, name)[1], ops.MatMul)


def _unscaled(t: Tidy, name: str) -> tuple[float, str]:
    """(c, x) for c·x."""
    factor = 1.0
    while t.number(name, ops.Scale, offset=0.0):
        factor *= t.op(name).factor  # type: ignore[attr-defined]
        name = t.x(name)
    return factor, name


def _heads(t: Tidy, name: str, turned: bool) -> Heads | None:
    """Where heads [heads, tokens, width] (``turned``: the last two axes swapped) come from.

    The way there is followed with the numbers 0, 1, 2, … in the place of the tokens' features:
    they tell where every number goes, whatever reshapes, transposes and slices do it.
    """
    chain: list[str] = []
    factor, source = 1.0, name
    while t.is_a(source, MOVES) or t.number(source, ops.Scale, offset=0.0):
        if t.is_a(source, ops.Scale):
            factor *= t.op(source).factor  # type: ignore[attr-defined]
        else:
            chain.append(source)
        source = t.x(source)
        if len(t.shape(source)) == 2 and not t.is_a(source, (*MOVES, ops.Scale)):
            break
    if len(t.shape(source)) != 2 or math.prod(t.shape(source)) > LARGEST:
        return None
    tokens, size = t.shape(source)
    numbers = np.arange(tokens * size).reshape(tokens, size)
    for step in reversed(chain):
        numbers = _moved(t, step, numbers)
    if turned:
        numbers = np.swapaxes(numbers, -1, -2)
    if numbers.ndim == 2:
        numbers = numbers[None]
    if numbers.ndim != 3 or numbers.shape[1] != tokens:
        return None
    heads, width = numbers.shape[0], numbers.shape[-1]
    offset = int(numbers[0, 0, 0])
    wanted = (
        offset
        + np.arange(heads)[:, None, None] * width
        + np.arange(tokens)[None, :, None] * size
        + np.arange(width)
    )
    if not np.array_equal(numbers, wanted):
        return None
    return Heads(source, offset, heads, width, factor)


def _regrouped(t: Tidy, name: str, turned: bool) -> Regrouped | None:
    factor, source = _unscaled(t, name)
    shape = t.shape(source)
    if len(shape) != 3:
        return None
    return Regrouped(source, turned, shape[0], shape[1 if turned else 2], factor)


def _moved(t: Tidy, name: str, numbers: NDArray[Any]) -> NDArray[Any]:
    op: Any = t.op(name)
    if isinstance(op, ops.Transpose):
        turned: NDArray[Any] = numbers.transpose(op.order)
        return turned
    if isinstance(op, ops.Slice):
        axis, start, stop, step = op.bounds(t.graph.node(t.x(name)).type)
        return numbers[(slice(None),) * axis + (slice(start, stop, step),)]
    if isinstance(op, ops.Gather):
        taken: NDArray[Any] = np.take(numbers, op.indices, op.axis)
        return taken
    return numbers.reshape(t.shape(name))


def _exit(t: Tidy, at: str) -> str | None:
    """The node after ``at`` that puts the heads beside each other again: [tokens, features]."""
    if len(t.shape(at)) == 2:
        return at
    numbers = np.arange(math.prod(t.shape(at))).reshape(t.shape(at))
    wanted = numbers.transpose(1, 0, 2).reshape(numbers.shape[1], -1)
    while True:
        user = t.only_user(at)
        if user is None or not t.is_a(user, (ops.Reshape, ops.Flatten, ops.Transpose)):
            return None
        at, numbers = user, _moved(t, user, numbers)
        # Of a single token often just the features are left.
        one = len(wanted) == 1 and numbers.shape == wanted.shape[1:]
        if numbers.shape == wanted.shape or one:
            return at if np.array_equal(numbers.reshape(wanted.shape), wanted) else None


def _values(t: Tidy, name: str) -> NDArray[np.float32] | None:
    """The numbers of a constant that is at most reshaped."""
    shape = t.shape(name)
    while t.is_a(name, ops.Reshape):
        name = t.x(name)
    return t.graph.weights[name].reshape(shape) if t.is_a(name, Constant) else None


def _is_causal(t: Tidy, mask: str) -> bool:
    values = _values(t, mask)
    if values is None or values.shape[-2:] != (values.shape[-1],) * 2 or values.shape[-1] < 2:
        return False
    square = values.reshape(-1, *values.shape[-2:])
    seen = np.tri(values.shape[-1], dtype=bool)
    return (
        len(square) == 1 and not square[0][seen].any() and bool((square[0][~seen] <= NEVER).all())
    )


def _mask(t: Tidy, at: str, mask: str, heads: int) -> str | None:
    """The mask as [queries, keys] or [heads, queries, keys]."""
    shape = t.shape(mask)
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) > 3:
        return None
    return mask if shape == t.shape(mask) else t.put(at, ops.Reshape(shape), mask)
