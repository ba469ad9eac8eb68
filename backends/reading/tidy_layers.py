"""Rules that give layers and norms the stored tensors which follow them."""

from __future__ import annotations

from dataclasses import replace

from ...ir import ops
from ...ir.ops import Stored
from .builder import is_uniform
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
