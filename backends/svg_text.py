"""What a node's box in the picture says, how much room the text takes, and its colours."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..ir import Graph, Input, Node, Op, ops


@dataclass(frozen=True)
class Family:
    """Ops drawn in the same colours."""

    label: str
    fill: str
    line: str


INPUT = Family("input", "#e2e8f0", "#334155")
LAYER = Family("layer", "#dbeafe", "#3b78d8")
NORM = Family("normalization", "#ede9fe", "#8467d7")
ACTIVATION = Family("activation", "#fef3c7", "#c28a16")
POOL = Family("pooling", "#d9f2e3", "#3f9467")
MERGE = Family("arithmetic, merge", "#fce4ef", "#c45c92")
SHAPE = Family("shape", "#f1f5f9", "#8494a8")

FAMILIES = (INPUT, LAYER, NORM, ACTIVATION, POOL, MERGE, SHAPE)
"""In the order of the legend."""

_BY_CLASS: tuple[tuple[Any, Family], ...] = (
    (Input, INPUT),
    (ops.NORMS, NORM),
    (ops.Scale, MERGE),
    ((ops.Elementwise, ops.Softmax, ops.Dropout), ACTIVATION),
    ((ops.Pool, ops.AdaptivePool, ops.GlobalAvgPool, ops.GlobalMaxPool), POOL),
    ((ops.Broadcasting, ops.Concat), MERGE),
)


def family_of(graph: Graph, node: Node) -> Family:
    """The family of a node; ops that are not known here are layers if they have parameters."""
    for classes, family in _BY_CLASS:
        if isinstance(node.op, classes):
            return family
    return LAYER if graph.params_of(node.name) else SHAPE


# ---- the op in words


def op_words(op: Op, channels: int | None = None) -> str:
    """``conv2d 64, 3×3 /2``: the op and its main arguments. ``channels`` are the operand's."""
    words = _main_arguments(op, channels)
    return f"{op.name} {words}" if words else op.name


def _main_arguments(op: Op, channels: int | None) -> str:
    match op:
        case Input():
            return ""
        case ops.Conv():
            parts = [str(op.channels), _size(op.kernel) + _step(op.stride)]
            if op.groups != 1:
                depthwise = op.groups == channels
                parts.append("depthwise" if depthwise else f"{op.groups} groups")
            if any(d != 1 for d in op.dilation):
                uniform = len(set(op.dilation)) == 1
                parts.append(f"dilation {op.dilation[0] if uniform else _size(op.dilation)}")
            return ", ".join(parts)
        case ops.Linear():
            return str(op.features)
        case ops.Pool():
            return _size(op.kernel) + _step(op.step)
        case ops.AdaptivePool():
            return f"to {_size(op.output)}"
        case ops.BatchNorm() | ops.LayerNorm() | ops.InstanceNorm():
            return ""  # eps and momentum are for the tooltip
        case ops.GroupNorm():
            return f"{op.groups} groups"
        case ops.Scale():
            offset = f"{'+' if op.offset > 0 else '−'} {abs(op.offset):g}" if op.offset else ""
            return f"× {op.factor:g} {offset}".rstrip()
        case ops.Reshape():
            return ""  # the box says the shape
        case ops.Slice():
            return f"{op.start}:{'' if op.stop is None else op.stop}"
        case ops.Pad():
            return "zeros" if op.value == 0 else f"{op.value:g}"
    shown = op.arguments()
    return ", ".join(text if a.required else f"{a.name} {text}" for a, text in shown)


def _size(numbers: Sequence[int]) -> str:
    """``3×3``; for one axis just ``3``."""
    return "×".join(map(str, numbers))


def _step(stride: Sequence[int]) -> str:
    """`` /2`` for a stride of 2 on every axis, `` /2×1`` for others, nothing for 1."""
    if all(s == 1 for s in stride):
        return ""
    return f" /{stride[0]}" if len(set(stride)) == 1 else f" /{_size(stride)}"


def shape_words(node: Node) -> str:
    """``64×32×32``"""
    return _size(node.type.shape) or "scalar"


def tooltip(node: Node) -> str:
    """Everything about a node, its full name first."""
    arguments = ", ".join(f"{a.name}={text}" for a, text in node.op.arguments())
    if isinstance(node.op, Input):
        return f"{node.name}\ninput {node.type}"
    return f"{node.name}\n{node.op.name}({arguments})\n→ {node.type}"


# ---- text that fits

_NARROW = frozenset("iljtfrI.,:;|!'()[] /`")
_WIDE = frozenset("mwMW@%—…→×÷")


@lru_cache(maxsize=4096)
def _em(char: str) -> float:
    """About the advance of one character, in ems.

    The viewer's font is not known here, so this is on the wide side for common sans-serif fonts.
    """
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.1
    if char in _NARROW:
        return 0.39
    if char in _WIDE:
        return 0.98
    if ord(char) > 0x24F:
        return 0.8
    return 0.68 if char.isupper() or char.isdigit() else 0.61


def text_width(text: str, size: float) -> float:
    """About the width of ``text`` in pixels at a font size in pixels."""
    return size * sum(map(_em, text))


def fit(text: str, size: float, room: float) -> str:
    """``text``, or its beginning and end around ``…``, so that it takes at most ``room`` pixels."""
    if text_width(text, size) <= room + 0.01:  # room is often the width of this very text
        return text
    budget = room / size - _em("…")
    # The end of a name tells siblings apart (conv2d_17), so it gets half of the room.
    head = tail = 0
    used = 0.0
    while head + tail < len(text):
        char = text[head] if head <= tail else text[-1 - tail]
        used += _em(char)
        if used > budget:
            break
        if head <= tail:
            head += 1
        else:
            tail += 1
    return f"{text[:head].rstrip()}…{text[len(text) - tail :].lstrip()}"


def escape(text: str) -> str:
    """Text as XML character data or attribute value; what XML cannot hold becomes �."""
    return html.escape("".join(c if _is_xml(ord(c)) else "\ufffd" for c in text))


def _is_xml(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or code >= 0x10000
    )
