"""PyTorch's operators that move numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from . import moving
from . import operations as o
from .torch_call import Call, handles, ints
from .values import Const, Unreadable, Value, long_axes


def reshaped(call: Call, x: Any, target: Sequence[int]) -> Value:
    """A stored tensor that is learned becomes a node, so that it stays what it is stored as."""
    if isinstance(x, Const) and long_axes(x.shape) == long_axes(target):
        return x.viewed(x.array.reshape(tuple(target)))
    source = o.bound(call.b, x)
    return call.b.reshape(source, target)


def whole(target: Sequence[int], total: int) -> list[int]:
    """A shape with its -1 worked out."""
    known = math.prod(n for n in target if n != -1)
    return [total // known if n == -1 else n for n in target]


@handles("aten.view", "aten.reshape", "aten._unsafe_view")
def view(call: Call) -> Value:
    target = call.get("size", call.get("shape"))
    return reshaped(call, call.tensor(), whole(target, math.prod(call.shape())))


@handles("aten.flatten")
def flatten(call: Call) -> Value:
    old = call.shape()
    if not old:
        return reshaped(call, call.tensor(), [1])
    first, last = call["start_dim"] % len(old), call["end_dim"] % len(old)
    target = [*old[:first], math.prod(old[first : last + 1]), *old[last + 1 :]]
    return reshaped(call, call.tensor(), target)


@handles("aten.unflatten")
def unflatten(call: Call) -> Value:
    old = call.shape()
    axis = call["dim"] % len(old)
    inner = whole(call["sizes"], old[axis])
    return reshaped(call, call.tensor(), [*old[:axis], *inner, *old[axis + 1 :]])


@handles("aten.squeeze")
def squeeze(call: Call) -> Value:
    old = call.shape()
    axes = call.arguments.get("dim")
    if axes is None:
        gone = {i for i, n in enumerate(old) if n == 1}
    else:
        listed = list(axes) if isinstance(axes, Sequence) else [axes]
        gone = {a % len(old) for a in listed if old[a] == 1}
    return reshaped(call, call.tensor(), [n for i, n in enumerate(old) if i not in gone])


@handles("aten.unsqueeze")
def unsqueeze(call: Call) -> Value:
    old = list(call.shape())
    axis = call["dim"] % (len(old) + 1)
    return reshaped(call, call.tensor(), [*old[:axis], 1, *old[axis:]])


@handles("aten.transpose", "aten.t", "aten.mT")
@handles("aten.numpy_T")
def transpose(call: Call) -> Value:
    rank = call.rank()
    if call.op == "aten.numpy_T":
        return permuted(call, list(range(rank))[::-1])
    a = call.get("dim0", call.get("axis0", 0 if call.op == "aten.t" else -2))
    z = call.get("dim1", call.get("axis1", 1 if call.op == "aten.t" else -1))
    order = list(range(rank))
    if rank > 1:
        order[a], order[z] = order[z], order[a]
    return permuted(call, order)


@handles("aten.permute")
def permute(call: Call) -> Value:
    rank = call.rank()
    return permuted(call, [axis % rank for axis in call["dims"]])


@handles("aten.movedim", "aten.moveaxis")
def movedim(call: Call) -> Value:
    sources, targets = (
        [axis % call.rank() for axis in ints(call[name], 1)] for name in ("source", "destination")
    )
    rest = iter(i for i in range(call.rank()) if i not in sources)
    placed = dict(zip(targets, sources, strict=True))
    return permuted(call, [placed[i] if i in placed else next(rest) for i in range(call.rank())])


def permuted(call: Call, order: list[int]) -> Value:
    x = call.tensor()
    if isinstance(x, Const) and order == [1, 0]:
        return x.with_array(x.array.T, transposed=True)
    if isinstance(x, Const):
        long = [axis for axis in order if x.shape[axis] > 1]
        if long == sorted(long):
            return x.viewed(x.array.transpose(order))
    return call.b.transpose(o.bound(call.b, x), order)


@handles("aten.expand")
def expand(call: Call) -> Value:
    return moving.expand(call.b, call.tensor(), call["size"])


@handles("aten.expand_as", "aten.broadcast_to")
def expand_as(call: Call) -> Value:
    if call.op == "aten.broadcast_to":
        return moving.expand(call.b, call.tensor(), call["size"])
    return moving.expand(call.b, call.tensor(), call.shape("other"))


@handles("aten.repeat", "aten.tile")
def repeat(call: Call) -> Value:
    x, repeats = call.tensor(), list(call.get("repeats", call.get("dims")))
    new = len(repeats) - call.rank()
    padded = (1,) * max(0, new) + call.shape()
    if new < 0:
        repeats = [1] * -new + repeats
    target = [n * r for n, r in zip(padded, repeats, strict=True)]
    # A class token repeated for each example has the batch where it has size 1.
    if call.b.batch in target and all(
        n == 1 or r == 1 for n, r in zip(padded, repeats, strict=True)
    ):
        return moving.expand(call.b, x, target)
    return moving.tile(call.b, x, repeats)


@handles("aten.cat")
def cat(call: Call) -> Value:
    values = [v for v in call["tensors"] if v is not None]
    return moving.concat(call.b, values, call.get("dim", 0))


@handles("aten.hstack")
def hstack(call: Call) -> Value:
    values = [o.bound(call.b, v) for v in call["tensors"]]
    return moving.concat(call.b, values, min(1, values[0].rank - 1))


@handles("aten.stack")
def stack(call: Call) -> Value:
    b = call.b
    values = [o.bound(b, v) for v in call["tensors"]]
    rank = max(v.rank for v in values)
    axis = call.get("dim", 0) % (rank + 1)
    return moving.concat(b, [moving.unsqueeze(b, v, [axis]) for v in values], axis)


@handles("aten.flip")
def flip(call: Call) -> Value:
    x = call.bound()
    for axis in call["dims"]:
        size = x.real(call.b.batch)[axis]
        x = moving.take(call.b, x, axis % x.rank, range(size - 1, -1, -1))
    return x


@handles("aten.roll")
def roll(call: Call) -> Value:
    b, x = call.b, call.bound()
    shifts, dims = ints(call["shifts"], 1), ints(call.get("dims", []), 1)
    if len(shifts) != len(dims):
        raise Unreadable("it rolls the flattened tensor")
    for shift, axis in zip(shifts, dims, strict=True):
        size = x.real(b.batch)[axis]
        at = -shift % size
        if at:
            axis %= x.rank
            parts = [moving.cut(b, x, axis, at, size), moving.cut(b, x, axis, 0, at)]
            x = moving.concat(b, parts, axis)
    return x
