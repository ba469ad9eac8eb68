"""Channels with equal fingerprints hold equal numbers: for every op, and for networks of many
branches, in which channels are equal in many ways.

Fingerprints are compared across nodes of any shape: a channel that is repeated along other axes
keeps its fingerprint, so equal ones must be equal where one is repeated to the size of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import growc
from growc.fingerprints import Field, Fingerprinter, prefers_last
from growc.ir import OPS, Graph, Op, ShapeError, TensorType
from growc.ir.ops import (
    Add,
    Concat,
    Div,
    Expand,
    Flatten,
    Gather,
    Greater,
    MatMul,
    Maximum,
    Minimum,
    Mul,
    Pad,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Reshape,
    RmsNorm,
    Scale,
    Slice,
    Softmax,
    Sub,
    Tile,
    Transpose,
    Where,
)
from growc.testing_networks import fill

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
    if not all(np.isfinite(numbers).all() for _, (*_, numbers) in found):
        return 0  # 1/0 has no value, and in floating point one that depends on the zero's sign
    for key, channel in found:
        others = seen.setdefault(key, [])
        name, i, rest, numbers = channel
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


# ---- one tensor, moved about in many ways


def _shapes_of(size: int) -> list[tuple[int, ...]]:
    """Shapes with so many numbers, axes of size 1 among them."""
    found = [(size,), (1, size), (size, 1)]
    for a in range(2, size):
        if size % a == 0:
            found += [(a, size // a), (a, 1, size // a), (1, a, size // a)]
            found += [(a, b, size // a // b) for b in range(2, size // a + 1) if size // a % b == 0]
    return found


@st.composite
def _mover(draw: Any, x: TensorType) -> Op:
    """An op that moves the numbers of one tensor."""
    rank = x.rank
    axis = draw(st.integers(0, rank - 1))
    size = x.shape[axis]
    kind = draw(
        st.sampled_from(
            "reshape reshape transpose slice gather pad tile expand reduce flatten softmax".split()
        )
    )
    match kind:
        case "reshape":
            return Reshape(draw(st.sampled_from(_shapes_of(x.size))))
        case "transpose":
            return Transpose(tuple(draw(st.permutations(range(rank)))))
        case "slice":
            start = draw(st.integers(0, size - 1))
            return Slice(start, draw(st.integers(start + 1, size)), axis=axis)
        case "gather":
            return Gather(
                tuple(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=3))), axis=axis
            )
        case "pad":
            mode = draw(st.sampled_from(["constant", "edge", "reflect", "wrap"]))
            widths = tuple(draw(st.integers(0, 1)) for _ in range(rank))
            return Pad(
                before=widths,
                after=widths[::-1],
                value=draw(st.sampled_from([0.0, 1.0])),
                mode=mode,
            )
        case "tile":
            return Tile(tuple(draw(st.integers(1, 2)) for _ in range(rank)))
        case "expand":
            front = draw(st.lists(st.integers(1, 2), max_size=1))
            return Expand((*front, *(draw(st.integers(1, 2)) if n == 1 else n for n in x.shape)))
        case "reduce":
            axes = draw(st.sets(st.integers(0, rank - 1), min_size=1))
            cls = draw(st.sampled_from([ReduceSum, ReduceMean, ReduceMax, ReduceLogSumExp]))
            return cls(tuple(axes), keep=draw(st.booleans()))
        case "flatten":
            return Flatten(axis=axis)
        case _:
            return Softmax(axis=axis)


def _joined(draw: Any, graph: Graph, a: str, b: str) -> tuple[Op, tuple[str, ...]]:
    cls = draw(
        st.sampled_from([Add, Sub, Mul, Div, Greater, Maximum, Minimum, Where, MatMul, Concat])
    )
    if cls is Where:
        return Where(), (a, b, a)
    if cls is Concat:
        rank = graph.node(a).type.rank
        return Concat(axis=draw(st.integers(0, max(0, rank - 1)))), (a, b)
    return cls(), (a, b)


@st.composite
def tangles(draw: Any) -> Graph:
    """Many small tensors made of one input by ops that move, join and relate its numbers."""
    graph = Graph("net")
    shape = draw(st.sampled_from([(2, 3, 2), (4, 3), (2, 2, 2), (6,), (3, 3), (1, 4), (4, 1)]))
    graph.add_input("x", TensorType(shape))
    stored = draw(st.sampled_from([(2,), (3,), (1, 2), (2, 2), (), (2, 1, 2)]))
    graph.add(OPS["parameter"](stored), (), "p")  # type: ignore[call-arg]
    graph.add(Scale(0.0), ("x",), "zero")
    for _ in range(draw(st.integers(4, 14))):
        names = graph.order()
        x = draw(st.sampled_from([*names[-4:], "x"]))
        kind = graph.node(x).type
        choice = draw(st.integers(0, 5))
        operands: tuple[str, ...] = (x,)
        if choice == 0 or not kind.rank:
            op, operands = _joined(draw, graph, x, draw(st.sampled_from(names)))
        elif choice == 1:
            op = draw(st.sampled_from([Relu(), Scale(2.0, 1.0), RmsNorm(affine=False)]))
        else:
            op = draw(_mover(kind))
        try:
            result = op.result(*(graph.node(o).type for o in operands))
        except ShapeError:
            continue
        if result.size <= 64 and result.rank <= 4:
            graph.add(op, operands, graph.fresh(op.name))
    last = draw(st.sampled_from(graph.order()[1:]))
    graph.set_output("y", last)
    if draw(st.booleans()) and graph.node(last).type.rank:
        graph.set_output("y", graph.add(OPS["linear"](2), (last,), graph.fresh("linear")))
    fill(graph, 0)
    if draw(st.booleans()):
        graph.weights["p"] = np.full(graph.weights["p"].shape, 0.5, np.float32)
    return graph


MOVES = settings(max_examples=4 * settings.default.max_examples)  # type: ignore[attr-defined]


@MOVES
@given(tangles())
def test_moving_numbers_about(net: Graph) -> None:
    assert_equal_prints_are_equal(net)


def test_tangles_have_channels_that_are_equal() -> None:
    counts = []

    @settings(max_examples=30, database=None)
    @given(tangles())
    def look(net: Graph) -> None:
        counts.append(assert_equal_prints_are_equal(net))

    look()
    assert sum(n > 3 for n in counts) > len(counts) / 2
