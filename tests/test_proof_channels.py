"""Channels with equal fingerprints hold equal numbers, also in tangles of moved numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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

from .proof_channels import assert_equal_prints_are_equal

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
