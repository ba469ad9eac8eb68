"""How the channels of a layer pass through the nodes that follow it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ..ir import Graph, Node, TensorType
from ..ir.ops import (
    Acos,
    Acosh,
    AdaptivePool,
    Asin,
    Atanh,
    Attention,
    BatchNorm,
    Broadcasting,
    Conv,
    ConvTranspose,
    Div,
    Dropout,
    Elementwise,
    Expand,
    Flatten,
    Gather,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Log,
    LogSoftmax,
    Mod,
    Op,
    Pad,
    Pool,
    Pow,
    Power,
    Prelu,
    Reciprocal,
    Reduction,
    Reshape,
    Resize,
    RmsNorm,
    Slice,
    Softmax,
    Sqrt,
    Tile,
    Transpose,
)
from ..ir.ops.pool import GlobalPool

Relates = Callable[[str, Op, TensorType, int, int], str | None]
"""Asked about a node that relates channels to each other, draws masks for them, or has no value for
some numbers: what it is called, its op, its operand's type, the channel axis, and how many numbers
that gets. Returns why the new channels can't pass, or None."""

Step = tuple[int, int | None]
"""How many numbers of an axis stand for one channel, and which axis; None where a layer reads it.
"""


def is_partial(op: Op) -> bool:
    """Whether an op has no value for some numbers: what is not a number is not zero when it is
    multiplied by zero."""
    if isinstance(op, Power):
        return op.exponent < 0 or not op.exponent.is_integer()
    return isinstance(op, (Log, Sqrt, Reciprocal, Asin, Acos, Acosh, Atanh, Div, Mod, Pow))


def no_value(called: str) -> str:
    """Why new channels must not pass a partial function."""
    return f"{called} has no value for some numbers, which the new channels may hold"


def step(
    graph: Graph,
    at: str,
    user: str,
    axis: int,
    repeat: int,
    filters: int,
    relates: Relates,
    ties: bool = False,
) -> Step | str:
    """How the channels of ``at`` pass a node, or the reason why they can't.

    With ``ties`` they may end in a layer whose weights others have, too.
    """
    node, source = graph.node(user), graph.node(at).type
    called = f"`{user}` ({node.op.name})"
    tied = isinstance(node.op, (Conv, ConvTranspose, Linear)) and getattr(node.op, "groups", 1) == 1
    if graph.is_tied(user) and not (ties and tied):
        return f"the weights of {called} are shared with another node"
    found = _into_layer(called, node.op, source, axis, repeat)
    if found is None:
        found = _through_function(graph, at, node, called, axis, repeat, filters, relates)
    if found is None:
        found = _through_window(called, node, source, axis, repeat)
    if found is None:
        found = _through_shape(node, source, axis, repeat)
    if found is not None:
        return found
    if isinstance(node.op, Attention):
        return f"{called} divides its channels among heads, which `new_heads` adds"
    return f"its channels reach {called}, which fixes their number"


def _into_layer(
    called: str, op: Op, source: TensorType, axis: int, repeat: int
) -> Step | str | None:
    if isinstance(op, (Conv, ConvTranspose)):
        if axis != 0:
            return f"{called} does not read the channels that would grow"
        if op.groups == 1:
            return repeat, None
        if isinstance(op, Conv) and op.groups == source.shape[0] == op.channels:
            return repeat, 0
        return f"{called} reads the channels in {op.groups} groups"
    if isinstance(op, Linear):
        if axis == source.rank - 1:
            return repeat, None
        return f"{called} acts on another axis than the channels"
    return None


def _through_function(
    graph: Graph,
    at: str,
    node: Node,
    called: str,
    axis: int,
    repeat: int,
    filters: int,
    relates: Relates,
) -> Step | str | None:
    """Through what keeps the shape: functions, arithmetic with numbers that are the same for all
    channels, norms, dropout, softmax."""
    op, source = node.op, graph.node(at).type
    if isinstance(op, Broadcasting):
        if not _alike_for_all(graph, at, node, axis):
            return None
        divisor = at in node.operands[1:] or isinstance(op, Pow)
        asked = is_partial(op) and divisor
        reason = relates(called, op, source, axis, filters * repeat) if asked else None
        return reason or (repeat, axis + node.type.rank - source.rank)
    if isinstance(op, (Elementwise, Prelu)) or _relates(op, source, axis) is not None:
        asked = is_partial(op) or bool(_relates(op, source, axis))
        reason = relates(called, op, source, axis, filters * repeat) if asked else None
        return reason or (repeat, axis)
    if isinstance(op, (BatchNorm, InstanceNorm)):
        return (repeat, axis) if axis == 0 else f"{called} would mix the new channels in"
    return None


def _relates(op: Op, source: TensorType, axis: int) -> bool | None:
    """Whether an op does not act on each channel alone, by the same rule; None of other ops."""
    match op:
        case Dropout():
            return op.p > 0
        case LayerNorm() | RmsNorm():
            return axis >= source.rank - op.dims
        case Softmax() | LogSoftmax():
            return axis == op.axis % source.rank
        case LocalResponseNorm():
            return axis == 0
        case GroupNorm():
            return True if axis == 0 else None
    return None


def _alike_for_all(graph: Graph, at: str, node: Node, axis: int) -> bool:
    """Whether all other operands are stored numbers, the same for all channels of ``at``."""
    from_right = graph.node(at).type.rank - axis
    for operand in node.operands:
        if operand == at:
            continue
        shape = graph.node(operand).type.shape
        if not _is_stored(graph, operand):
            return False
        if len(shape) >= from_right and shape[-from_right] != 1:
            return False
    return True


def _is_stored(graph: Graph, name: str) -> bool:
    """Whether a tensor is made of stored ones alone, in a few steps."""
    waiting, seen = [name], {name}
    while waiting:
        at = waiting.pop()
        if at in graph.inputs or len(seen) > _FEW:
            return False
        new = set(graph.node(at).operands) - seen
        seen |= new
        waiting += new
    return True


_FEW = 16
"""Looking at all that a node depends on, for every node, would take time quadratic in their number.
"""


def _through_window(
    called: str, node: Node, source: TensorType, axis: int, repeat: int
) -> Step | str | None:
    op = node.op
    if isinstance(op, (Pool, AdaptivePool, GlobalPool, Resize)) and axis == 0:
        return repeat, axis
    if isinstance(op, Reduction):
        gone = op.reduced(source)
        if axis in gone:
            return f"{called} makes one number of all channels"
        return repeat, axis if op.keep else axis - sum(i < axis for i in gone)
    return None


def _through_shape(node: Node, source: TensorType, axis: int, repeat: int) -> Step | None:
    op, result = node.op, node.type
    match op:
        case Pad() if op.widths(source)[axis] == (0, 0):
            return repeat, axis
        case Slice() if op.bounds(source)[0] != axis:
            return repeat, axis
        case Gather() if op.axis % source.rank != axis:
            return repeat, axis
        case Tile() if op.repeats[axis] == 1:
            return repeat, axis
        case Expand():
            new = axis + result.rank - source.rank
            return (repeat, new) if result.shape[new] == source.shape[axis] else None
        case Transpose():
            return repeat, op.order.index(axis)
        case Flatten() | Reshape():
            return _regrouped(source.shape, result.shape, axis, repeat)
    return None


def _regrouped(old: tuple[int, ...], new: tuple[int, ...], axis: int, repeat: int) -> Step | None:
    """The axis that begins where the channels' does, and holds them all: perhaps with axes after
    them, whose numbers then belong to each channel."""
    before, after = math.prod(old[:axis]), math.prod(old[axis + 1 :])
    for i, size in enumerate(new):
        inner = size // old[axis]
        if math.prod(new[:i]) == before and size == inner * old[axis] and after % inner == 0:
            # Where channels are one, an axis of size 1 beside them could be theirs as well.
            behind = math.prod(new[i + 1 :]) == after // inner
            if behind and _cut(old[axis + 1 :], inner):
                return repeat * inner, i
    return None


def _cut(shape: tuple[int, ...], size: int) -> bool:
    """Whether some first axes of a shape hold so many numbers."""
    return any(math.prod(shape[:i]) == size for i in range(len(shape) + 1))


def with_channels(op: Op, node: Node, axis: int, change: int) -> Op:
    """The op where its result has ``change`` more numbers on the channel axis, or fewer."""
    if isinstance(op, (Conv, ConvTranspose)):
        groups = op.groups + change if op.groups > 1 else 1
        return replace(op, channels=op.channels + change, groups=groups)
    if isinstance(op, Linear):
        return replace(op, features=op.features + change)
    if isinstance(op, GroupNorm):
        channels = node.type.shape[0]
        return replace(op, groups=op.groups + change * op.groups // channels)
    if isinstance(op, Prelu) and op.slopes > 1 and axis == 0:
        return replace(op, slopes=op.slopes + change)
    if isinstance(op, (Expand, Reshape)) and op.shape[axis] != -1:
        shape = list(op.shape)
        shape[axis] += change
        return replace(op, shape=tuple(shape))
    return op
