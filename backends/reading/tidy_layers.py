"""Rules that give layers and norms the stored tensors which follow them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import OPS, ShapeError, ops
from ...ir.attributes import BadArgument
from ...ir.ops import Stored
from .builder import Source, is_uniform
from .layers import padding
from .operations import LOWEST
from .tidy import Tidy, rule


def _take_over(t: Tidy, stored: str, node: str, role: str, shape: tuple[int, ...]) -> None:
    """Make a stored tensor a parameter of a node. It may still serve other nodes by itself."""
    key = f"{node}.{role}"
    value = t.graph.weights[stored]
    t.graph.weights[key] = value.reshape(shape)
    source = t.b.sources[stored]
    if (source.name, role) in t.given:
        source = replace(source, name=None)  # only the first is called so
    t.given.add((source.name, role))
    t.b.sources[key] = replace(source, exact=source.exact and value.shape == shape)


def _vector(t: Tidy, stored: str, shape: tuple[int, ...]) -> bool:
    """Whether a stored tensor has this shape, but for axes of size 1 in front."""
    found = t.shape(stored)
    lead = len(found) - len(shape)
    return lead >= 0 and found[lead:] == shape and set(found[:lead]) <= {1}


def _is_own(t: Tidy, stored: str, at: str) -> bool:
    """Whether no other node reads a stored tensor, or only because exporters store what layers
    begin with, ones and zeros, once for all."""
    if t.only_user(stored) == at:
        return True
    return t.b.deduplicated and is_uniform(t.graph.weights[stored])


@rule(ops.Add)
def bias(t: Tidy, at: str) -> str | None:
    """linear(x) + b → linear(x) with the bias b, likewise for convolutions and norms"""
    pair = t.pair(at, ops.Add, Stored)
    if pair is None:
        return None
    layer, stored = pair
    op = t.op(layer)
    if t.only_user(layer) != at or not _is_own(t, stored, at):
        return None
    if isinstance(op, (ops.Linear, ops.Conv, ops.ConvTranspose)) and not op.bias:
        linear = isinstance(op, ops.Linear)
        width = t.shape(layer)[-1 if linear else 0]
        wanted = (width,) if linear else (width, *(1,) * (len(t.shape(layer)) - 1))
        if not _vector(t, stored, wanted):
            return None
        t.graph.set_op(layer, replace(op, bias=True))
        _take_over(t, stored, layer, "bias", (width,))
        return layer
    if isinstance(op, ops.LayerNorm) and op.affine and not op.bias:
        shape = t.shape(layer)[-op.dims :]
        if _vector(t, stored, shape):
            t.graph.set_op(layer, replace(op, bias=True))
            _take_over(t, stored, layer, "bias", shape)
            return layer
    return None


@rule(ops.Scale)
def lone_bias(t: Tidy, at: str) -> str | None:
    """linear(x) + c → linear(x) with the bias c, where there is one channel"""
    layer = t.x(at)
    op = t.op(layer)
    if not t.number(at, ops.Scale, factor=1.0) or t.only_user(layer) != at:
        return None
    if not isinstance(op, (ops.Linear, ops.Conv, ops.ConvTranspose)) or op.bias:
        return None
    if (op.features if isinstance(op, ops.Linear) else op.channels) != 1:
        return None
    offset = t.op(at).offset  # type: ignore[attr-defined]
    t.graph.set_op(layer, replace(op, bias=True))
    t.graph.weights[f"{layer}.bias"] = np.full(1, offset, np.float32)
    t.b.sources[f"{layer}.bias"] = Source(None, exact=False)
    return layer


@rule(ops.Mul)
def scaled(t: Tidy, at: str) -> str | None:
    """norm(x) · w → norm(x) with the scale w"""
    pair = t.pair(at, ops.Mul, Stored)
    if pair is None:
        return None
    norm, stored = pair
    op = t.op(norm)
    if t.only_user(norm) != at or not _is_own(t, stored, at):
        return None
    if not isinstance(op, (ops.LayerNorm, ops.RmsNorm)) or op.affine:
        return None
    shape = t.shape(norm)[-op.dims :]
    if not _vector(t, stored, shape):
        return None
    if isinstance(op, ops.LayerNorm):
        t.graph.set_op(norm, replace(op, affine=True, bias=False))
    else:
        t.graph.set_op(norm, replace(op, affine=True))
    _take_over(t, stored, norm, "weight", shape)
    t.b.hints[norm] = replace(t.b.hints[norm], weight=True)
    return norm


def _does_nothing(t: Tidy, norm: str) -> bool:
    """Whether a norm scales by ones and shifts by zeros, as ONNX's InstanceNormalization must where
    another scale follows."""
    node = t.graph.node(norm)
    weight, bias = (t.graph.weights[node.parameter(role)] for role in ("weight", "bias"))
    return bool((weight == 1).all()) and not bias.any()


@rule(ops.Reshape, ops.Flatten)
def group_norm(t: Tidy, at: str) -> str | None:
    """Instances of groups of channels, normalized → group_norm (PyTorch, before opset 18)"""
    norm = t.x(at)
    if not t.is_a(norm, ops.InstanceNorm) or t.only_user(norm) != at:
        return None
    apart = t.x(norm)
    if not t.is_a(apart, (ops.Reshape, ops.Flatten)) or t.only_user(apart) != norm:
        return None
    op: Any = t.op(norm)
    groups, shape = t.shape(apart)[0], t.shape(t.x(apart))
    if t.shape(at) != shape or shape[0] % groups:
        return None
    if op.affine:
        weight, bias = (
            t.graph.weights[t.graph.node(norm).parameter(r)] for r in ("weight", "bias")
        )
        if (weight != 1).any() or bias.any():
            return None
    return t.put(at, ops.GroupNorm(groups, op.eps, affine=False), t.x(apart))


@rule(ops.Add)
def scaled_channels(t: Tidy, at: str) -> str | None:
    """norm(x)·w + b → norm(x) with the scale w and the shift b, for norms of channels"""
    outer = t.pair(at, ops.Add, Stored)
    inner = t.pair(outer[0], ops.Mul, Stored) if outer is not None else None
    if outer is None or inner is None or t.only_user(outer[0]) != at:
        return None
    norm, op = inner[0], t.op(inner[0])
    if not isinstance(op, (ops.GroupNorm, ops.InstanceNorm)):
        return None
    if op.affine and not _does_nothing(t, norm):
        return None
    channels, *rest = t.shape(norm)
    stored = {"weight": (inner[1], outer[0]), "bias": (outer[1], at)}
    wanted = (channels, *(1,) * len(rest))
    if t.only_user(norm) != outer[0] or not all(
        _is_own(t, s, user) and _vector(t, s, wanted) for s, user in stored.values()
    ):
        return None
    t.graph.set_op(norm, replace(op, affine=True))
    for role, (name, _) in stored.items():
        _take_over(t, name, norm, role, (channels,))
    t.b.hints[norm] = replace(t.b.hints[norm], weight=True)
    return norm


@rule(*(c for c in OPS.values() if issubclass(c, (ops.Conv, ops.MaxPool, ops.AvgPool))))
def padded(t: Tidy, at: str) -> str | None:
    """conv(pad(x)) → conv(x) with that padding;  poolings likewise, with their border's value"""
    op: Any = t.op(at)
    border, source = t.op(t.x(at)), t.graph.node(t.x(at))
    if (
        not isinstance(border, ops.Pad)
        or border.mode != "constant"
        or t.only_user(source.name) != at
    ):
        return None
    widths = border.widths(t.graph.node(source.operands[0]).type)
    lowest = isinstance(op, ops.MaxPool)
    if any(widths[0]) or (border.value > LOWEST if lowest else border.value != 0.0):
        return None
    pads = tuple((a + b, y + z) for (a, y), (b, z) in zip(op.pads, widths[1:], strict=True))
    dilation = getattr(op, "dilation", (1,) * len(pads))
    named: dict[str, Any] = {"padding": padding(pads, op.kernel, dilation)}
    if isinstance(op, ops.AvgPool):
        if any(map(any, op.pads)) and not op.include_pad:
            return None
        named = {"padding": pads, "include_pad": True}
    try:
        new = replace(op, **named)
        fits = new.result(t.graph.node(source.operands[0]).type) == t.graph.node(at).type
    except (BadArgument, ShapeError):  # more than the op can do by itself
        return None
    if not fits:
        return None
    t.graph.set_op(at, new)
    t.graph.set_operands(at, source.operands)
    t.drop(source.name)
    return at
