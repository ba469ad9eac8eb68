"""Net2WiderNet (Chen, Goodfellow and Shlens, "Net2Net", 2016; R2R section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph, TensorType
from ..ir.attributes import Choice, Int, Optional, Patterns, attr
from ..ir.ops import ConvTranspose, Dropout, GroupNorm, LayerNorm, Op, RmsNorm
from ..ir.weights import Array, generator
from .base import PRESERVES, Claim, Found, Pass, Place, register
from .chains import chains_of, find_chains
from .following import is_partial, with_channels
from .widening import Chain, channel_axis, is_depthwise, mixes, rows_first, trace, width_of

Indices = NDArray[np.intp]


@register
@dataclass(frozen=True)
class Net2Wider(Pass):
    """U·[h] → [U/n U/n …]·[h; h; …], n the number of copies of h

    New channels of a layer are copies of old ones, with all that is theirs up to the layers that
    read them: norms with their running statistics, depthwise kernels. Those layers' weights for a
    channel are divided by the number of times that it exists now. It widens the inner layers of
    residual blocks; in a network without any, every plain chain of layers.

    ``choose=even`` copies in random order, none again before all others; ``order`` goes from
    first to last and starts over; ``random`` draws each copy independently, as Chen et al. do.
    Where every n is a power of two, the division is exact and so is the function. Else it is the
    same up to rounding, or exactly with ``split=exact``: there the parts of a weight differ in
    their last bits, such that their sum is the weight. Chen et al. add noise to the copies; that
    changes the function, so it is not offered.
    """

    name: ClassVar[str] = "net2wider"

    at: Any = attr(Optional(Patterns()), None, doc="where")
    filters: int | None = attr(
        Optional(Int(1)), None, doc="new channels of each layer; as many as it has if not given"
    )
    choose: str = attr(Choice(("even", "order", "random")), "even", doc="which channels are copied")
    split: str = attr(
        Choice(("equal", "exact")), "equal", doc="n equal parts of a weight, or with its exact sum"
    )
    seed: int | None = attr(Optional(Int(0)), None, doc="random seed; the pipeline's if not given")

    def find(self, graph: Graph) -> Found:
        def start(name: str) -> tuple[Chain, int] | str:
            filters = self.filters or width_of(graph.node(name).op)
            chain = trace(graph, name, filters, self._relates)
            return chain if isinstance(chain, str) else (chain, filters)

        return find_chains(graph, start)

    def _relates(self, called: str, op: Op, source: TensorType, axis: int, new: int) -> str | None:
        """Why copies would not stay copies, or would change what the channels yield."""
        if is_partial(op):
            return None  # a copy has a value where the old channel has one
        if isinstance(op, Dropout):
            return (
                f"{called} draws a different mask for each copy of a channel, so the function "
                "would change in train mode"
            )
        if isinstance(op, GroupNorm):
            size = source.shape[0] // op.groups
            if new % size == 0:
                return None
            return f"{called} has groups of {size} channels, of which only whole ones can be copied"
        if not isinstance(op, (LayerNorm, RmsNorm)):
            return f"{called} relates all channels to each other, so new ones would change the old"
        # Mean and variance stay what they are if every channel is there equally often.
        if self.choose != "random" and new % source.shape[axis] == 0:
            return None
        multiple = f"filters a multiple of {source.shape[axis]}, and choose=even or order"
        return f"{called} normalizes all channels together: it takes {multiple}"

    def claim_at(self, places: Sequence[Place]) -> Claim:
        exact = self.split == "exact" or all(map(self._powers_of_two, chains_of(places)))
        return Claim(PRESERVES.eval, PRESERVES.train, exact)

    def _powers_of_two(self, chosen: tuple[Chain, int]) -> bool:
        """Whether every channel is there 1, 2, 4, … times, whatever the seed."""
        chain, count = chosen
        if self.choose == "random":
            return count == 1
        rounds, rest = divmod(count, chain.width)
        return _is_power(rounds + 1) and (rest == 0 or _is_power(rounds + 2))

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        rows: dict[str, Indices] = {}
        columns: dict[str, Indices] = {}
        axes: dict[str, int] = {}
        for chain, count in chains_of(places):
            copied = self._copied(graph, chain, count, seed)
            axes.update(chain.axis)
            for name in chain.widened:
                rows[name] = _numbers(copied, chain.repeat[name])
            for name in chain.consumers:
                columns[name] = _numbers(copied, chain.repeat[name])
            for name in chain.through:
                if (axis := channel_axis(graph, name, chain.axis[name])) is not None:
                    for key, _ in graph.params_of(name):
                        _extend(graph, key, rows[name], axis)
        for name in dict.fromkeys([*rows, *columns]):
            if mixes(graph.node(name).op) and not is_depthwise(graph, name):
                self._widen_layer(graph, name, rows.get(name), columns.get(name))
        for name, copied in rows.items():
            node = graph.node(name)
            graph.set_op(name, with_channels(node.op, node, axes[name], len(copied)))

    def _copied(self, graph: Graph, chain: Chain, count: int, seed: int) -> Indices:
        """For each new channel the old one that it copies; whole groups where norms have them."""
        unit = 1
        for name in chain.through:
            op, repeat = graph.node(name).op, chain.repeat[name]
            if isinstance(op, GroupNorm):
                size = graph.node(name).type.shape[0] // op.groups
                unit = math.lcm(unit, math.lcm(size, repeat) // repeat)
        units, wanted = chain.width // unit, count // unit
        # The seed also depends on the width, so that widening twice copies others.
        rng = generator(seed, chain.producer, str(chain.width))
        if self.choose == "random":
            picked = rng.integers(units, size=wanted)
        elif self.choose == "order":
            picked = np.arange(wanted) % units
        else:
            rounds = [rng.permutation(units) for _ in range(0, wanted, units)]
            picked = np.concatenate(rounds)[:wanted]
        return _numbers(picked, unit)

    def _widen_layer(
        self, graph: Graph, name: str, rows: Indices | None, columns: Indices | None
    ) -> None:
        op = graph.node(name).op
        transposed = isinstance(op, ConvTranspose)
        for key, spec in graph.params_of(name):
            if columns is not None and spec.role == "weight":
                value = rows_first(op, graph.weights.effective(key))
                mask = graph.weights.masks.get(key)
                wider = _split(value, columns, exact=self.split == "exact")
                graph.weights.put(
                    key,
                    np.ascontiguousarray(rows_first(op, wider)),
                    None if mask is None else _extended(mask, columns, int(not transposed)),
                )
            if rows is not None:
                _extend(graph, key, rows, int(transposed and spec.role == "weight"))


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0


def _numbers(channels: Indices, repeat: int) -> Indices:
    """Indices of all numbers of these channels, where each has ``repeat`` of them."""
    return (channels[:, None] * repeat + np.arange(repeat)).ravel()


def _extend(graph: Graph, key: str, copied: Indices, axis: int) -> None:
    """Append copies of a parameter's rows, and of its mask's."""
    mask = graph.weights.masks.get(key)
    graph.weights.put(
        key,
        _extended(graph.weights[key], copied, axis),
        None if mask is None else _extended(mask, copied, axis),
    )


def _extended(old: NDArray[Any], copied: Indices, axis: int) -> NDArray[Any]:
    return np.concatenate([old, old.take(copied, axis)], axis)


def _split(weight: Array, copied: Indices, *, exact: bool) -> Array:
    """[U/n U/n …]: the weights for each input channel, divided among it and its copies.

    ``exact`` makes the parts of every weight add up to it. Parts that do are made in any case
    where n is a power of two: only numbers below 2^-125 are then not divided exactly.
    """
    columns = weight.shape[1]
    counts = 1 + np.bincount(copied, minlength=columns)
    n = counts.reshape(-1, *(1,) * (weight.ndim - 2))
    part = weight / n.astype(np.float32)
    first = part
    rounded = part.astype(np.float64) * n != weight
    if not exact:
        rounded &= n & (n - 1) == 0
    if rounded.any():
        # With one bit less in each copy, what is left for the first has at most 24 bits too: it is
        # a multiple of the same power of two, and hardly larger.
        copy = (part.view(np.uint32) & np.uint32(0xFFFFFFFE)).view(np.float32)
        part = np.where(rounded, copy, part)
        rest = weight.astype(np.float64) - (n - 1) * part.astype(np.float64)
        first = np.where(rounded, rest.astype(np.float32), first)
    return np.concatenate([first, part.take(copied, 1)], 1)
