"""PyTorch's operators that take parts of tensors, and put parts into them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import moving, products
from . import operations as o
from .torch_call import Call, handles
from .values import Bound, Const, Unreadable, Value


@handles("aten.split", "aten.split_with_sizes", "aten.chunk", "aten.tensor_split")
def split(call: Call) -> Value:
    axis = call.get("dim", 0) % call.rank()
    total = call.shape()[axis]
    if "chunks" in call.arguments:
        each = -(-total // call["chunks"])
        sizes = [min(each, total - i) for i in range(0, total, each)]
    else:
        given = call.get("split_size", call.get("split_sizes", call.get("sections")))
        if isinstance(given, Sequence):
            sizes = list(given)
        elif "sections" in call.arguments:
            more, least = total % given, total // given
            sizes = [least + (i < more) for i in range(given)]
        else:
            sizes = [min(given, total - i) for i in range(0, total, given)]
    ends = np.cumsum(sizes).tolist()
    x = call.tensor()
    if isinstance(x, Const) and axis == 0:
        return tuple(x.part(e - n, e) for n, e in zip(sizes, ends, strict=True))
    return tuple(moving.cut(call.b, x, axis, e - n, e) for n, e in zip(sizes, ends, strict=True))


@handles("aten.unbind")
def unbind(call: Call) -> Value:
    axis = call.get("dim", 0) % call.rank()
    return tuple(_select(call, axis, i) for i in range(call.shape()[axis]))


@handles("aten.select")
def select(call: Call) -> Value:
    return _select(call, call["dim"] % call.rank(), call["index"])


def _select(call: Call, axis: int, index: int) -> Bound:
    b = call.b
    one = moving.take(b, call.tensor(), axis, [index])
    return moving.squeeze(b, one, [axis])


@handles("aten.slice", "aten.narrow")
def slices(call: Call) -> Value:
    axis = call.get("dim", 0) % call.rank()
    size = call.shape()[axis]
    start = call.get("start", 0)
    if call.op == "aten.narrow":
        return moving.cut(call.b, call.tensor(), axis, start, start + call["length"])
    end = min(call.get("end", size), size)
    step = call.get("step", 1)
    x = call.tensor()
    if isinstance(x, Const) and (start, end, step) == (0, size, 1):
        return x
    if isinstance(x, Const) and axis == 0 and step == 1 and x.array.ndim <= 2 and start >= 0:
        return x.part(start, end)
    return moving.cut(call.b, x, axis, start, end, step)


@handles("aten.index_select")
def index_select(call: Call) -> Value:
    axis = call["dim"] % call.rank()
    return moving.take(call.b, call.tensor(), axis, call.const("index").ints())


@handles("aten.index")
def index(call: Call) -> Value:
    given = [(i, v) for i, v in enumerate(call["indices"]) if v is not None]
    table = call.tensor()
    if len(given) != 1:
        return _indexed(call, table, dict(given))
    axis, where = given[0]
    if isinstance(where, Bound):
        if axis or not isinstance(table, Const) or table.array.ndim != 2:
            raise Unreadable("its indices depend on the input")
        return products.embedding(call.b, where, table)
    numbers = o.const(where, "indices")
    if numbers.array.dtype == np.bool_:
        if numbers.array.ndim != 1:
            raise Unreadable("it takes numbers by a mask of several axes")
        numbers = Const(np.flatnonzero(numbers.array))
    taken = moving.take(call.b, table, axis, numbers.ints())
    old = taken.real(call.b.batch)
    return call.b.reshape(taken, (*old[:axis], *numbers.shape, *old[axis + 1 :]))


def _indexed(call: Call, table: Bound | Const, given: dict[int, Any]) -> Value:
    """x[:, i, j]: several neighbouring axes at once, by constants."""
    b, axes = call.b, sorted(given)
    arrays = [o.const(given[axis], "indices").array for axis in axes]
    if axes != list(range(axes[0], axes[0] + len(axes))) or any(
        not np.issubdtype(a.dtype, np.integer) for a in arrays
    ):
        raise Unreadable("it takes numbers by several indices that are no neighbours")
    old = call.shape()
    sizes = old[axes[0] : axes[-1] + 1]
    numbers = np.broadcast_arrays(*arrays)
    flat = np.ravel_multi_index(
        tuple(n % size for n, size in zip(numbers, sizes, strict=True)), sizes
    )
    merged = b.reshape(o.bound(b, table), (*old[: axes[0]], math.prod(sizes), *old[axes[-1] + 1 :]))
    taken = moving.take(b, merged, axes[0], [int(i) for i in flat.reshape(-1)])
    return b.reshape(taken, (*old[: axes[0]], *flat.shape, *old[axes[-1] + 1 :]))


@handles("aten.diagonal")
def diagonal(call: Call) -> Value:
    b, x = call.b, call.bound()
    first, second = (call[name] % x.rank for name in ("dim1", "dim2"))
    old = x.real(b.batch)
    if old[first] != old[second] or call["offset"]:
        raise Unreadable("growc reads the main diagonal of square matrices alone")
    rest = [i for i in range(x.rank) if i not in (first, second)]
    x = b.transpose(x, [*rest, first, second])
    flat = b.reshape(x, (*(old[i] for i in rest), old[first] ** 2))
    return moving.cut(b, flat, flat.rank - 1, 0, None, old[first] + 1)


@handles("aten.slice_scatter", "aten.select_scatter")
def scatter(call: Call) -> Value:
    """A tensor of which a part is replaced by another."""
    b, axis, source = call.b, call.get("dim", 0) % call.rank(), call.tensor("src")
    size = call.shape()[axis]
    if call.op == "aten.select_scatter":
        index = call["index"] % size
        numbers = range(index, index + 1)
        source = moving.unsqueeze(b, o.bound(b, source), [axis])
    else:
        numbers = range(*slice(call.get("start"), call.get("end"), call["step"]).indices(size))
    if numbers.step != 1:
        raise Unreadable("it writes into a part with gaps")
    if len(numbers) == size:
        return source
    before, after = (
        _part(call, axis, *ends) for ends in ((0, numbers.start), (numbers.stop, size))
    )
    return moving.concat(b, [x for x in (before, source, after) if x is not None], axis)


def _part(call: Call, axis: int, start: int, stop: int) -> Bound | Const | None:
    x = call.tensor()
    if start == stop:
        return None
    if isinstance(x, Const):
        return Const(np.take(x.array, range(start, stop), axis))
    return moving.cut(call.b, x, axis, start, stop)


@handles("aten.copy", "aten.fill")
def copy(call: Call) -> Value:
    """Another tensor's numbers in the shape of this."""
    value = call.get("src", call.get("value"))
    if not isinstance(value, (Bound, Const)):
        value = Const(np.array(value, np.float32))
    return moving.expand(call.b, value, call.shape())
