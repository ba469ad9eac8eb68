"""Builds the IR of a foreign model, one operation at a time.

Both readers, of ONNX and of PyTorch, speak to it in terms of the foreign tensors: real axes and
real shapes, with the batch among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir import Graph, Op, ShapeError, TensorType, ops
from ...ir.attributes import BadArgument
from .values import Bound, Const, Hint, Notes, Unreadable, same_slices, shown


@dataclass(frozen=True, slots=True)
class Source:
    """Which tensor of the foreign model a parameter is, and whether it is stored transposed."""

    name: str | None
    transposed: bool = False
    rows: tuple[int, int] | None = None
    exact: bool = True
    """Whether it has the foreign tensor's numbers in its shape, or transposed."""


class Builder:
    """A graph in the making, whose nodes have names of no meaning until :mod:`naming` gives them
    theirs."""

    def __init__(self, batch: int, *, deduplicated: bool = False) -> None:
        self.batch = batch
        """The size that the batch has while the model is read."""
        self.deduplicated = deduplicated
        """Whether tensors of the same numbers are stored once, as exporters to ONNX do. Then the
        ones and zeros that layers begin with say nothing of tied weights."""
        self.graph = Graph()
        self.hints: dict[str, Hint] = {}
        self.sources: dict[str, Source] = {}
        """Parameter → the foreign tensor it is."""
        self.notes = Notes()
        self.infinite: list[str] = []
        """Nodes whose numbers stand for minus infinity; a max pooling must take their place."""
        self.here = Hint()
        """What the nodes made now could be called."""
        self._stored: dict[tuple[Any, ...], str] = {}
        self._tensors: dict[tuple[Any, ...], str] = {}

    # ---- nodes

    def fresh(self) -> str:
        """A name for a new node, which no input has."""
        name = f"n{len(self.hints)}"
        while name in self.graph:
            name += "_"
        return name

    def add(
        self,
        op: Op,
        operands: Sequence[str],
        params: Mapping[str, Const] | None = None,
        *,
        main: bool = True,
    ) -> str:
        """Add a node; raise :class:`Unreadable` where the op refuses its operands.

        ``main`` tells the node that is what the foreign node does from those that prepare for it.
        """
        name = self.fresh()
        shared: dict[str, str] = {}
        for role, value in (params or {}).items():
            key = self._store(name, role, value, tied=bool(shared))
            if key != _own(name, role):
                shared[role] = key
        try:
            self.graph.add(op, operands, name, shared or None)
        except ShapeError as error:
            raise Unreadable(error.message) from error
        here = self.here
        self.hints[name] = replace(here, weight=bool(params)) if main else Hint(scope=here.scope)
        return name

    def _store(self, node: str, role: str, value: Const, *, tied: bool = False) -> str:
        """Put a parameter into the store, or find it where another node has put it.

        ``tied``: other tensors of the node are those of another.
        """
        exact = not value.changed
        if value.name is not None and exact:
            known = self._stored.get((value.name, value.transposed, value.rows))
            # The key of a stored tensor that is a node of its own has no role in it.
            if known is not None and ("" in (role, _role(known)) or _role(known) == role):
                if tied or not self.deduplicated or not is_uniform(value.array):
                    return known
                value = replace(value, name=None)
        key = _own(node, role)
        self.graph.weights[key] = floats(value.array)
        self.sources[key] = Source(value.name, value.transposed, value.rows, exact)
        if value.name is not None and exact:
            self._stored.setdefault((value.name, value.transposed, value.rows), key)
        return key

    def is_turned(self, value: Const) -> bool:
        """Whether a node has the stored tensor the other way round than it is here."""
        there = (value.name, not value.transposed, value.rows)
        return value.name is not None and not value.changed and there in self._stored

    def make(self, cls: type[Op], *arguments: Any, **named: Any) -> Op:
        """An op; raise :class:`Unreadable` for attributes that it does not take."""
        try:
            return cls(*arguments, **named)
        except BadArgument as error:
            raise Unreadable(error.message) from error

    def type_of(self, node: str) -> TensorType:
        return self.graph.node(node).type

    def like(self, x: Bound, node: str) -> Bound:
        """The result of a node that leaves the axes' meaning as it is in ``x``."""
        return replace(x, node=node, shape=self.type_of(node).shape)

    def input(self, name: str, shape: Sequence[int], dtype: str = "f32") -> Bound:
        """An input whose first axis, not in ``shape``, is the batch."""
        self.graph.add_input(name, TensorType(tuple(shape), dtype))
        self.hints[name] = Hint(name=name)
        return Bound(name, tuple(shape), dtype=dtype)

    # ---- stored tensors as operands

    def free(self, value: Const) -> Bound:
        """A tensor of the store as a node of its own, without a batch."""
        shape = value.shape
        return Bound(self._tensor(value, shape, batch=False), shape, None)

    def _tensor(self, value: Const, shape: tuple[int, ...], *, batch: bool) -> str:
        """The node of a stored tensor, one for all who read it. Other axes of size 1 than those
        that it is stored with are a reshape's."""
        if 0 in value.shape:
            raise Unreadable("it reads a stored tensor without numbers")
        if value.origin is not None:
            return self._view(self._tensor(value.origin, value.origin.shape, batch=False), shape)
        key: tuple[Any, ...] = (value.name, value.transposed, value.rows)
        if value.changed or value.name is None:
            key = (floats(value.array).tobytes(), shape, batch, value.trainable)
        if key not in self._tensors:
            kind = ops.Parameter if value.trainable else ops.Constant
            array = value.array.reshape((1, *shape) if batch else shape)
            stored = value if array.shape == value.shape else value.with_array(array)
            self._tensors[key] = self.add(self.make(kind, shape, batch), (), {"": stored})
            self.hints[self._tensors[key]].weight = True
        return self._view(self._tensors[key], shape)

    def _view(self, node: str, shape: tuple[int, ...]) -> str:
        if self.type_of(node).shape == shape:
            return node
        key = (node, shape)
        if key not in self._tensors:
            self._tensors[key] = self.add(self.make(ops.Reshape, shape), (node,), main=False)
        return self._tensors[key]

    def spread(self, value: Const, like: Bound) -> str:
        """A stored tensor as an operand beside ``like``, whose batch it does not have."""
        array = value.array
        at = array.ndim - 1 - like.behind  # where the batch would be
        if like.batch is None or at < 0:
            return self._tensor(value, array.shape, batch=False)
        if array.shape[at] != 1:
            value = self._without_batch(value, at, like)
            array = value.array
        if at == 0:
            return self._tensor(value, array.shape[1:], batch=True)
        merged = like.before + like.after
        shape = (*array.shape[:at], *(1,) * merged, *array.shape[at + 1 :])
        return self._tensor(value.viewed(array.reshape(shape)), shape, batch=False)

    def _without_batch(self, value: Const, at: int, like: Bound) -> Const:
        """A stored tensor that has the batch's size at an axis, where all is the same."""
        array, total = value.array, like.real(self.batch)[like.batch or 0]
        if array.shape[at] == total and same_slices(array, at):
            return value.with_array(np.take(array, [0], at))
        raise Unreadable(
            f"a stored tensor of shape {shown(array.shape, self.batch)} differs along the batch "
            "axis"
        )

    def beside(self, x: Bound, like: Bound) -> str:
        """An operand without a batch beside one that has it: its axis of size 1 for it goes."""
        if x.batch is not None or like.batch is None:
            return x.node
        at = len(x.shape) - 1 - like.behind
        if at < 0:
            return x.node
        if x.shape[at] != 1:
            raise Unreadable(f"a tensor of shape {list(x.shape)} differs along the batch axis")
        merged = like.before + like.after
        shape = (*x.shape[:at], *(1,) * (merged if at else 0), *x.shape[at + 1 :])
        return self.add(self.make(ops.Reshape, shape), (x.node,), main=False)

    # ---- layout

    def reshape(self, x: Bound, target: Sequence[int]) -> Bound:
        """Give the foreign tensor another shape, all sizes explicit."""
        target = tuple(target)
        if x.batch is None:
            return self._reshaped(x, target, Bound("", target, None))
        first = x.batch + x.before
        ahead, behind = math.prod(x.shape[:first]), math.prod(x.shape[first:])
        options = list(self._placings(target, ahead, behind))
        if not options:
            raise Unreadable(
                f"it reshapes {shown(x.real(self.batch), self.batch)} to "
                f"{shown(target, self.batch)}, which mixes the batch with other axes"
            )
        at, before, after = min(options, key=lambda o: (o[1] > 1, o[2] > 1, o[0] != x.batch))
        inner = [n for n in (before, after) if n > 1]
        shape = (*target[:at], *inner, *target[at + 1 :])
        layout = Bound("", shape, at, int(before > 1), int(after > 1))
        return self._reshaped(x, shape, layout)

    def _placings(
        self, target: tuple[int, ...], ahead: int, behind: int
    ) -> list[tuple[int, int, int]]:
        """Axes of ``target`` that can hold the batch, with what is merged before and after it."""
        found = []
        for at, size in enumerate(target):
            outer, rest = math.prod(target[:at]), math.prod(target[at + 1 :])
            if size % self.batch or not outer or not rest or ahead % outer or behind % rest:
                continue
            before, after = ahead // outer, behind // rest
            if before * after * self.batch == size:
                found.append((at, before, after))
        return found

    def _reshaped(self, x: Bound, shape: tuple[int, ...], layout: Bound) -> Bound:
        node = x.node
        if shape != x.shape:
            node = self.add(self.make(ops.Reshape, shape), (x.node,))
        return replace(layout, node=node, dtype=x.dtype)

    def transpose(self, x: Bound, perm: Sequence[int]) -> Bound:
        """Axis i of the result is axis perm[i]."""
        if sorted(perm) != list(range(x.rank)):
            raise Unreadable(f"{list(perm)} does not order {x.rank} axes")
        order: list[int] = []
        for axis in perm:
            if x.batch is not None and axis == x.batch:
                order += range(x.batch, x.batch + x.before + x.after)
            else:
                order.append(x.axis(axis))
        batch = None if x.batch is None else list(perm).index(x.batch)
        node = x.node
        if order != sorted(order):
            node = self.add(self.make(ops.Transpose, order), (x.node,))
        return replace(x, node=node, shape=self.type_of(node).shape, batch=batch)

    def plain(self, x: Bound, what: str) -> Bound:
        """``x`` as a batch of examples, the batch in front. Raises :class:`Unreadable`."""
        if x.is_plain:
            return x
        if x.batch is None:
            raise Unreadable(f"its {what} does not depend on an input")
        if not x.before and not x.after and x.batch != 0:
            raise Unreadable(f"its {what} has the batch as axis {x.batch}, not as the first")
        raise Unreadable(f"its {what} has the batch merged with another axis")

    def output(self, name: str, x: Bound) -> None:
        """Declare an output. Its batch comes first, alone."""
        if x.batch is not None and (x.before or x.after):
            raise Unreadable("its batch is merged with another axis")
        if x.batch not in (0, None):
            self.notes.add(f"the output `{name}` has the batch as its first axis now")
        self.graph.set_output(name, x.node)

    # ---- operands together

    def together(self, values: Sequence[Bound | Const]) -> tuple[Bound, list[str]]:
        """Operands of a broadcasting op: the layout of its result, and the nodes."""
        bound = [v for v in values if isinstance(v, Bound)]
        if not bound:
            bound = [self.free(v) for v in values[:1] if isinstance(v, Const)]
            values = [*bound, *values[1:]]
        batched = [b for b in bound if b.batch is not None] or bound
        widest = max(batched, key=lambda b: b.rank)
        if any(b.behind != widest.behind for b in batched):
            raise Unreadable("its operands have their batch at different axes")
        merged = widest.batch is not None and any(
            (b.before, b.after) != (widest.before, widest.after) or _merged(b) != _merged(widest)
            for b in batched
        )
        nodes = []
        for value in values:
            if isinstance(value, Const):
                nodes.append(self.spread(value, widest))
            elif value.batch is None:
                nodes.append(self.beside(value, widest))
            elif merged:
                raise Unreadable("its operands have different axes merged into their batch")
            else:
                nodes.append(value.node)
        return widest, nodes

    def broadcast(self, op: Op, values: Sequence[Bound | Const]) -> Bound:
        """A broadcasting op of tensors of any ranks."""
        layout, nodes = self.together(values)
        node = self.add(op, nodes)
        shape = self.type_of(node).shape
        batch = layout.batch
        if batch is not None:
            # An operand of more axes puts its own in front of the batch.
            batch = len(shape) - layout.before - layout.after - layout.behind
        return replace(layout, node=node, shape=shape, batch=batch, dtype="f32")


def _merged(x: Bound) -> tuple[int, ...]:
    assert x.batch is not None
    return x.shape[x.batch : x.batch + x.before + x.after]


def _own(node: str, role: str) -> str:
    return f"{node}.{role}" if role else node


def is_uniform(array: NDArray[Any]) -> bool:
    """Whether all numbers are the same, as those that a layer begins with."""
    first = array.reshape(-1)[:1]
    return bool((array.reshape(-1)[-1:] == first).all() and (array == first).all())


def _role(key: str) -> str:
    return key.partition(".")[2]


def floats(array: NDArray[Any]) -> NDArray[np.float32]:
    """A stored tensor as float32, the same array if it is that already."""
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32, order="C")  # ascontiguousarray adds an axis to ()
