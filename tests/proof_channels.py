"""Whether channels with equal fingerprints hold equal numbers, in one network.

Fingerprints are compared across nodes of any shape: a channel that is repeated along other axes
keeps its fingerprint, so equal ones must be equal where one is repeated to the size of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import growc
from growc.fingerprints import Field, Fingerprinter, prefers_last
from growc.ir import Graph

Numbers = np.ndarray[Any, Any]
Channel = tuple[str, int, tuple[int, ...], Numbers]


def channels(graph: Graph, mode: str) -> Iterator[tuple[bytes, Channel]]:
    """(fingerprint, (node, number, shape of the channel, its numbers)) of every channel."""
    prints = Fingerprinter(Field())(graph, mode, prefers_last(graph))
    every = graph.copy()
    for name in graph.order():
        every.set_output(f"all.{name}", name)
    module = growc.to_torch(every, dtype=torch.float64).train(mode == "train")
    rng = np.random.default_rng(0)
    inputs = []
    for name in graph.inputs:
        kind = graph.node(name).type
        if kind.dtype == "i64":
            inputs.append(torch.from_numpy(rng.integers(0, 5, (4, *kind.shape))))
        else:
            inputs.append(torch.from_numpy(rng.standard_normal((4, *kind.shape))))
    with torch.no_grad():
        values = module(*inputs)
    for name in graph.order():
        found = values[f"all.{name}"].detach().numpy()
        shape = graph.node(name).type.shape
        axis = prints[name].axis
        rest = shape[:axis] + shape[axis + 1 :]
        found = np.broadcast_to(found, (4, *shape))
        moved = np.moveaxis(found, axis + 1, 0) if shape else found[None]
        assert len(moved) == len(prints[name].values), name
        for i, (row, numbers) in enumerate(zip(prints[name].values, moved, strict=True)):
            yield row.tobytes(), (name, i, rest, numbers)


def assert_equal_prints_are_equal(graph: Graph, mode: str = "eval") -> int:
    """Returns how many channels are equal to another one."""
    seen: dict[bytes, list[Channel]] = {}
    equal = 0
    found = list(channels(graph, mode))
    # 1/0 has no value, and in floating point one that depends on the zero's sign.
    unknown = {name for _, (name, *_, numbers) in found if not np.isfinite(numbers).all()}
    for node in graph:
        if not unknown.isdisjoint(node.operands):
            unknown.add(node.name)
    for key, channel in found:
        name, i, rest, numbers = channel
        if name in unknown:
            continue
        others = seen.setdefault(key, [])
        for other, j, _, expected in others:
            x, y = _common(numbers, expected)
            scale = max(float(np.abs(x).max(initial=0)), 1.0)
            worst = np.abs(x - y).max(initial=0)
            assert worst <= 1e-9 * scale, (name, i, other, j, growc.dumps(graph))
            equal += 1
        if all(rest != known for _, _, known, _ in others):
            others.append(channel)
        elif others:
            equal += 1
    return equal


def _common(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """Two channels at the sizes that they have in common: what differs in size is repeated."""
    rank = max(a.ndim, b.ndim)
    a, b = (n.reshape(len(n), *(1,) * (rank - n.ndim), *n.shape[1:]) for n in (a, b))
    for axis in range(1, rank):
        if a.shape[axis] != b.shape[axis]:
            for n in (a, b):
                assert np.ptp(n, axis=axis).max() <= 1e-9
            a, b = a.take([0], axis), b.take([0], axis)
    return a, b
