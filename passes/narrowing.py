"""Taking channels out of layers that stand in plain chains: the inverse of ``widening``.

    layer → norm → activation → … → layer

A channel can go if no layer at the end of the chain reads it, or if it is zero there. Where
several are equal there, one stays for all: it is read with the sum of their weights,
[β γ] · [v; v] = (β + γ) · v.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph, TensorType
from ..ir.names import matcher
from ..ir.ops import Dropout, GroupNorm, Linear, Op
from ..ir.weights import Array
from .base import Place, Refusal
from .following import is_partial, with_channels
from .functions import Prints, exact_sum
from .widening import Chain, channel_axis, mixes, rows_first, trace

Channels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Narrow(Place):
    """A layer that loses channels. ``plan`` is common to all places of one pass."""

    plan: Narrowing


class Narrowing:
    """Which channels of which layers go, and what that makes of the weights of their readers.

    Chains are to be taken from the last to the first: rows that are gone read nothing any more.
    ``merge`` makes equal channels one, else only those go that are zero or not read. Whatever
    ``prints`` says of a node must hold for the node of that name in ``graph``.
    """

    def __init__(self, graph: Graph, prints: Prints, *, merge: bool) -> None:
        self.exact = True
        """Whether all sums of weights are exact in float32."""
        self._graph, self._prints, self._merge = graph, prints, merge
        self._gone: dict[str, tuple[Chain, Channels]] = {}
        self._weights: dict[str, Array] = {}

    def take(self, chain: Chain) -> bool:
        """Narrow the first layers of a chain as far as possible; say whether that is at all."""
        if chain.producer in self._gone:
            return True  # with a layer that its result is added to
        width = chain.width
        read = {name: self._columns(name, width) for name in chain.consumers}
        seen = {name: self._seen(name, width) for name in chain.consumers}
        gone = np.ones(width, bool)
        for name, columns in read.items():
            given = seen[name]
            gone &= ~columns.any(axis=(0, 2)) | (given is not None and ~given.any(axis=1))
        classes = self._classes(gone, seen) if self._merge else []
        for members in classes:
            sums = [exact_sum([c[:, i] for i in members])[0] for c in read.values()]
            if all(np.isfinite(s).all() for s in sums):
                cancelled = not any(s.any() for s in sums)
                gone[members if cancelled else members[1:]] = True
        gone = self._whole_groups(chain, gone)
        if gone.all():  # a layer needs a channel
            gone[0] = False
            gone = self._whole_groups(chain, gone)
        if not gone.any():
            return False
        self._gone.update(dict.fromkeys(chain.producers, (chain, gone)))
        for members in classes:
            left, dropped = ([i for i in members if gone[i] == g] for g in (False, True))
            if left and dropped:
                self._add_up(chain, read, [left[0], *dropped])
        return True

    def _columns(self, name: str, width: int) -> Array:
        """A reader's weights [rows, channels, numbers of each], without rows that are gone."""
        weight = self._weights.get(name)
        if weight is None:
            weight = self._rows(name)
        columns = weight.reshape(len(weight), width, -1)
        return columns[~self._gone[name][1]] if name in self._gone else columns

    def _rows(self, name: str) -> Array:
        """A layer's weights as they are, [out, in, …]."""
        node = self._graph.node(name)
        return rows_first(node.op, self._graph.weights[node.parameter("weight")])

    def _seen(self, name: str, width: int) -> NDArray[np.int64] | None:
        """What a reader is given: one row for each channel. None where that is not known."""
        node = self._graph.node(name)
        (source,) = node.operands
        last = isinstance(node.op, Linear)
        axis = self._graph.node(source).type.rank - 1 if last else 0
        prints = self._prints[source]
        if any(p.axis != axis for p in prints):
            return None
        return np.concatenate([p.values.reshape(width, -1) for p in prints], axis=1)

    def _classes(
        self, dead: Channels, seen: dict[str, NDArray[np.int64] | None]
    ) -> list[list[int]]:
        """Channels that all readers see as equal, two at least; not the dead ones."""
        rows = [row for row in seen.values() if row is not None]
        if len(rows) < len(seen):
            return []
        table = np.concatenate(rows, axis=1)
        classes: dict[bytes, list[int]] = {}
        for i in np.flatnonzero(~dead):
            classes.setdefault(table[i].tobytes(), []).append(int(i))
        return [members for members in classes.values() if len(members) > 1]

    def _whole_groups(self, chain: Chain, gone: Channels) -> Channels:
        """The channels of whole groups of every group norm: others are part of its statistics."""
        before = -1
        while before != (before := int(gone.sum())):
            for name in chain.through:
                op = self._graph.node(name).op
                if isinstance(op, GroupNorm):
                    numbers = gone.repeat(chain.repeat[name]).reshape(op.groups, -1)
                    whole = numbers.all(axis=1).repeat(numbers.shape[1])
                    gone = np.logical_and.reduce(whole.reshape(len(gone), -1), axis=1)
        return gone

    def _add_up(self, chain: Chain, read: dict[str, Array], members: list[int]) -> None:
        """Let all readers read the first channel with the weights of all members."""
        for name in chain.consumers:
            total, exact = exact_sum([read[name][:, i] for i in members])
            self.exact &= exact
            if name not in self._weights:
                self._weights[name] = self._rows(name).copy()
            weight = self._weights[name]
            rows = ~self._gone[name][1] if name in self._gone else slice(None)
            weight.reshape(len(weight), len(read[name][0]), -1)[rows, members[0]] = total

    # ---- the rewrite

    def commit(self, graph: Graph) -> None:
        """Take the channels out, in place."""
        out: dict[str, Channels] = {}
        inward: dict[str, Channels] = {}
        axes: dict[str, int] = {}
        for chain, gone in self._gone.values():
            axes.update(chain.axis)
            for name in chain.widened:
                out[name] = ~gone.repeat(chain.repeat[name])
            for name in chain.consumers:
                inward[name] = ~gone.repeat(chain.repeat[name])
        for name in dict.fromkeys([*out, *inward]):
            op = graph.node(name).op
            untouched = channel_axis(graph, name, axes.get(name, 0)) is None
            for key, spec in graph.params_of(name):
                value, mask = graph.weights[key], graph.weights.masks.get(key)
                if spec.role == "weight":
                    value = rows_first(op, value)
                    mask = None if mask is None else rows_first(op, mask)
                    value = self._weights.get(name, value)
                    if mask is not None:  # sums stand where their first member may have none
                        mask = mask | (value != 0)
                if name in inward and spec.role == "weight":
                    value = value[:, inward[name]]
                    mask = None if mask is None else mask[:, inward[name]]
                if name in out and not untouched:
                    value = value[out[name]]
                    mask = None if mask is None else mask[out[name]]
                if spec.role == "weight":
                    value = rows_first(op, value)
                    mask = None if mask is None else np.ascontiguousarray(rows_first(op, mask))
                if name in out or name in inward or name in self._weights:
                    graph.weights.put(key, np.ascontiguousarray(value), mask)
        for name, kept in out.items():
            node = graph.node(name)
            change = int(kept.sum()) - len(kept)
            graph.set_op(name, with_channels(node.op, node, axes[name], change))


def _fewer(called: str, op: Op, source: TensorType, axis: int, new: int) -> str | None:
    """Why channels can't be taken out before a node that relates them to each other."""
    if is_partial(op):
        return None
    if isinstance(op, GroupNorm):
        return None  # whole groups can
    if isinstance(op, Dropout):
        return f"{called} would draw other masks for fewer channels in train mode"
    return f"{called} relates all channels to each other, so that none can go"


def narrow(
    graph: Graph,
    prints: Prints,
    at: tuple[str, ...] | None,
    *,
    merge: bool,
    nothing: str,
) -> tuple[list[Place | Refusal], list[Refusal]]:
    """Plan the narrowing of all layers, or of those named ``at``, in canonical order.

    Returns the layers that lose channels, or would if they could, and all others, with the
    reason ``nothing`` where there is no such channel.
    """
    asked: Callable[[str], bool] = matcher(at) if at is not None else lambda name: True
    plan = Narrowing(graph, prints, merge=merge)
    main: list[Place | Refusal] = []
    others: list[Refusal] = []
    for name in reversed([node.name for node in graph if mixes(node.op)]):
        place = Narrow(name, (), plan)
        chain = trace(graph, name, 0, _fewer)
        if isinstance(chain, str):
            worth = _worth(graph, prints, name, merge)
            refusal = Refusal(place, chain) if worth else Refusal(place, nothing, nothing=True)
            (main if worth else others).append(refusal)
        elif asked(name) and plan.take(chain):
            main.append(place)
        else:
            others.append(Refusal(place, nothing, nothing=True))
    return main[::-1], others[::-1]


def _worth(graph: Graph, prints: Prints, name: str, merge: bool) -> bool:
    """Whether a layer itself has channels that are zero in both modes, or equal."""
    node = graph.node(name)
    axis = node.type.rank - 1 if isinstance(node.op, Linear) else 0
    if any(p.axis != axis for p in prints[name]):
        return False
    rows = np.concatenate([p.values for p in prints[name]], axis=1)
    if len(rows) == 1:
        return False
    return len(np.unique(rows, axis=0)) < len(rows) if merge else not rows.any(axis=1).all()
