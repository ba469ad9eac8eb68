"""Which axis of each tensor holds its channels."""

from __future__ import annotations

import math

from ..ir import Graph, Op, TensorType
from ..ir.ops import (
    AdaptivePool,
    Attention,
    BatchNorm,
    Blocks,
    Broadcasting,
    Conv,
    ConvTranspose,
    Embedding,
    Expand,
    Flatten,
    GroupNorm,
    InstanceNorm,
    Linear,
    LocalResponseNorm,
    MatMul,
    Pool,
    Prelu,
    Reduction,
    Reshape,
    Resize,
    Transpose,
)
from ..ir.ops.pool import GlobalPool

READ_FIRST = (
    Conv,
    ConvTranspose,
    BatchNorm,
    InstanceNorm,
    GroupNorm,
    LocalResponseNorm,
    Pool,
    AdaptivePool,
    GlobalPool,
    Resize,
    Blocks,
)


def prefers_last(graph: Graph) -> set[str]:
    """Nodes whose channels lie on the last axis, since a linear layer or an attention reads them
    there; those of all others lie on the first.

    The choice decides what can be proved, not what is true: fingerprints along different axes
    never agree.
    """
    last: set[str] = set()
    first: set[str] = set()
    for name in reversed(graph.order()):
        node = graph.node(name)
        end = node.type.rank - 1
        read: set[int | None] = set()
        followed: set[int | None] = set()
        for user, index in graph.consumers(name):
            reader = graph.node(user)
            read.add(_own(reader.op, index, node.type))
            if user in last or user in first:
                axis = reader.type.rank - 1 if user in last else 0
                followed.add(_through(reader.op, node.type, index, reader.type, axis))
        if end > 0 and 0 in read:
            first.add(name)
        elif end >= 0 and end in read | followed:
            last.add(name)
        elif end >= 0 and 0 in followed:
            first.add(name)
    return last


def _own(op: Op, index: int, x: TensorType) -> int | None:
    """The axis on which an op itself reads the channels of an operand."""
    if isinstance(op, READ_FIRST) or (isinstance(op, Prelu) and op.slopes > 1):
        return 0
    if isinstance(op, Linear) or (isinstance(op, Attention) and index < 3):
        return x.rank - 1
    return None


def _through(op: Op, x: TensorType, index: int, result: TensorType, axis: int) -> int | None:
    """The axis of an operand that becomes ``axis`` of the result, where there is one."""
    match op:
        case Broadcasting() | Expand():  # axes are matched from the last one
            own = axis - (result.rank - x.rank)
            return own if own >= 0 else None
        case MatMul():
            own = axis - (result.rank - x.rank)
            # Columns of the result are made of columns of b, rows of rows of a.
            beside = axis >= result.rank - 2 and (axis == result.rank - 1) != (index == 1)
            return None if beside or own < 0 else own
        case Transpose():
            return int(op.order[axis])
        case Reduction():
            gone = () if op.keep else op.reduced(x)
            return [i for i in range(x.rank) if i not in gone][axis]
        case Reshape() | Flatten():
            return _regrouped(x, result, axis)
        case Attention() | Embedding():
            return None
    return axis if x.rank == result.rank else None


def _regrouped(x: TensorType, result: TensorType, axis: int) -> int | None:
    """The axis of the same size that has as many numbers before it."""
    before = math.prod(result.shape[:axis])
    for i, size in enumerate(x.shape):
        if size == result.shape[axis] and math.prod(x.shape[:i]) == before:
            return i
    return None
