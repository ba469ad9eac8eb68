"""Batch norms become part of the layers before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph
from ..ir.attributes import Optional, Patterns, attr
from ..ir.ops import BatchNorm, Conv, ConvTranspose, Linear, Op
from ..ir.weights import Array
from .base import Claim, Found, Pass, Place, Refusal, register


@dataclass(frozen=True, slots=True, eq=False)
class _Fold(Place):
    """A layer, the batch norms in a row after it, and the weights and biases it gets."""

    layer: str
    norms: tuple[str, ...]
    weight: Array
    bias: Array


@register
@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """γ·(W·x + b - μ)/√(σ² + ε) + β → (s·W)·x + (s·(b - μ) + β), with s = γ/√(σ² + ε)

    A convolution, transposed or not, or a linear layer and the batch norm that alone reads it
    become one layer, with a bias; several batch norms in a row are folded together. In evaluation
    mode only: while training, a batch norm uses the batch's statistics, and none is left to do so.
    Within rounding: the new weights are computed in float64 and rounded once.
    """

    name: ClassVar[str] = "fold_batch_norm"
    claim: ClassVar[Claim] = Claim(eval=True, train=False, exact=False)

    at: Any = attr(Optional(Patterns()), None, doc="which batch norms, or layers before them")

    def find(self, graph: Graph) -> Found:
        items: list[Place | Refusal] = []
        folded: set[str] = set()
        for node in graph:
            if isinstance(node.op, BatchNorm) and node.name not in folded:
                item = _fold(graph, node.name)
                items.append(item)
                folded.update(item.norms if isinstance(item, _Fold) else ())
        return Found("batch norm", items)

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, _Fold)
            node = graph.node(place.layer)
            assert isinstance(node.op, (Conv, ConvTranspose, Linear))
            graph.set_op(place.layer, replace(node.op, bias=True))
            graph.weights[node.parameter("weight")] = place.weight
            graph.weights.put(node.parameter("bias"), place.bias)  # every channel gets one
            graph.redirect(place.norms[-1], place.layer)
            for name in reversed(place.norms):
                graph.remove(name)


def _fold(graph: Graph, first: str) -> _Fold | Refusal:
    """The batch norm ``first`` and those right after it, or why it can't be folded."""
    place = Place(first, graph.node(first).operands)
    reason = _obstacle(graph, first)
    if reason is not None:
        return Refusal(place, reason)
    (layer,) = graph.node(first).operands
    norms = [first]
    while (follower := _next_norm(graph, norms[-1])) is not None:
        norms.append(follower)
    values = {spec.role: graph.weights[key] for key, spec in graph.params_of(layer)}
    weight = values["weight"].astype(np.float64)
    op = graph.node(layer).op
    rows = _by_channel(op, weight)
    bias = (
        values["bias"].astype(np.float64) if "bias" in values else np.zeros(rows.shape[:2]).ravel()
    )
    for name in norms:
        norm = graph.node(name).op
        assert isinstance(norm, BatchNorm)
        p = {s.role: graph.weights[k].astype(np.float64) for k, s in graph.params_of(name)}
        variance = p["running_var"] + norm.eps
        if not (variance > 0).all():
            return Refusal(place, f"a running variance of `{name}` is negative")
        scale = p.get("weight", 1.0) / np.sqrt(variance)
        rows *= scale.reshape(*rows.shape[:2], *[1] * (rows.ndim - 2))
        bias = (bias - p["running_mean"]) * scale + p.get("bias", 0.0)
    with np.errstate(over="ignore"):
        new = weight.astype(np.float32), bias.astype(np.float32)
    if not all(np.isfinite(array).all() for array in new):
        return Refusal(place, "the new weights would be too large for float32")
    return _Fold(first, (layer, *norms[1:]), layer, tuple(norms), *new)


def _by_channel(op: Op, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """A view of a layer's weights whose first two axes are its output channels, by groups."""
    if not isinstance(op, ConvTranspose):
        return weight[None]
    groups, _, outputs = op.groups, *weight.shape[:2]
    grouped = weight.reshape(groups, -1, outputs, *weight.shape[2:])
    return grouped.swapaxes(1, 2)


def _obstacle(graph: Graph, norm: str) -> str | None:
    """Why a batch norm can't become part of what comes before it, or None."""
    (layer,) = graph.node(norm).operands
    node = graph.node(layer)
    called = f"`{layer}` ({node.op.name})"
    if not isinstance(node.op, (Conv, ConvTranspose, Linear)):
        return f"{called} before it is not a convolution or a linear layer"
    if isinstance(node.op, Linear) and node.type.rank > 1:
        return f"it normalizes another axis than the features of {called}"
    if graph.is_output(layer):
        return f"the result of {called} is also the network's output"
    if len(graph.consumers(layer)) > 1:
        return f"the result of {called} is also used elsewhere"
    for name in (layer, norm):
        if graph.is_tied(name):
            return f"the weights of `{name}` are shared with another node"
    return None


def _next_norm(graph: Graph, norm: str) -> str | None:
    users = graph.consumers(norm)
    if len(users) != 1 or graph.is_output(norm):
        return None
    follower = users[0][0]
    fits = isinstance(graph.node(follower).op, BatchNorm) and not graph.is_tied(follower)
    return follower if fits else None
