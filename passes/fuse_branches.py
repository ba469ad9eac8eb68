"""Parallel blocks become one wider block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph
from ..ir.attributes import Optional, Patterns, attr
from ..ir.ops import Add, Conv, GroupNorm, Linear
from ..ir.weights import Array
from .base import PRESERVES, Claim, Found, Pass, Place, Refusal, register
from .functions import exact_sum
from .parallel import Branch, branch_to, is_inner, settings_of, terms
from .widening import is_layer, width_of
from .windows import embed, spanning


@dataclass(frozen=True, slots=True, eq=False)
class Parallel(Place):
    """A sum, and the sets of its branches that become one each."""

    groups: tuple[tuple[Branch, ...], ...]
    exact: bool


@register
@dataclass(frozen=True)
class FuseBranches(Pass):
    """U₁·σ(W₁ * x) + U₂·σ(W₂ * x) → [U₁ U₂] · σ([W₁; W₂] * x)

    Blocks of two layers, with norms and activations in between, that start at the same node and
    meet in one sum (or in sums of sums) become one block: what parallel R2R blocks compute, with
    fewer and larger operations. Strides, dilations, groups, activations and the settings of norms
    must agree; kernels of several sizes become one that spans all of them, filled with zeros.
    The biases of the last layers are added: exact where that is so in float32.
    """

    name: ClassVar[str] = "fuse_branches"

    at: Any = attr(Optional(Patterns()), None, doc="which sums, or one of their branches")

    def find(self, graph: Graph) -> Found:
        main: list[Place | Refusal] = []
        others: list[Refusal] = []
        for node in graph:
            if isinstance(node.op, Add) and not is_inner(graph, node.name):
                item, worth = _at(graph, node.name)
                if isinstance(item, Refusal) and not worth:
                    others.append(item)
                else:
                    main.append(item)
        help = "no sum has two blocks of two layers that start at the same node"
        return Found("fusible sum", main, lambda: others, help)

    def rewrite(self, graph: Graph, places: Sequence[Place], seed: int) -> None:
        for place in places:
            assert isinstance(place, Parallel)
            for branches in place.groups:
                _fuse(graph, branches)

    def claim_at(self, places: Sequence[Place]) -> Claim:
        exact = all(place.exact for place in places if isinstance(place, Parallel))
        return PRESERVES if exact else Claim(eval=True, train=True, exact=False)


def _at(graph: Graph, total: str) -> tuple[Place | Refusal, bool]:
    """What can be fused at a sum; or why nothing, and whether that is worth telling."""
    place = Place(total, ())
    layers = [name for name in terms(graph, total) if is_layer(graph.node(name).op)]
    if len(layers) < 2:
        return Refusal(place, "fewer than two of its terms are layers' results"), False
    branches: list[Branch] = []
    reasons: list[str] = []
    for name in layers:
        branch = branch_to(graph, name)
        if isinstance(branch, str):
            reasons.append(branch)
        else:
            branches.append(branch)
    alike: dict[object, list[Branch]] = {}
    for branch in branches:
        alike.setdefault(tuple(settings_of(graph, branch).values()), []).append(branch)
    groups = tuple(tuple(group) for group in alike.values() if len(group) > 1)
    if groups:
        names = tuple(branch.project for group in groups for branch in group)
        sums = [_bias(graph, group) for group in groups]
        if not all(bias is None or np.isfinite(bias).all() for bias, _ in sums):
            return Refusal(place, "the sum of the last layers' biases is too large"), True
        exact = all(exact for _, exact in sums)
        return Parallel(total, names, groups, exact), True
    if len(branches) < 2:
        return Refusal(place, "; ".join(reasons)), True
    first, second = branches[:2]
    a, b = (settings_of(graph, branch) for branch in (first, second))
    what = next(key for key in a if a[key] != b[key])
    return Refusal(place, f"the blocks of `{first.project}` and `{second.project}` {what}"), True


# ---- the rewrite


def _fuse(graph: Graph, branches: Sequence[Branch]) -> None:
    """Make the first block all of them, and remove the others."""
    order = _order(graph, branches)
    _fuse_first(graph, [branch.expand for branch in branches], order)
    for names in zip(*(branch.between for branch in branches), strict=True):
        _put(graph, names[0], _joined([_parameters(graph, name) for name in names], order))
        ops = [graph.node(name).op for name in names]
        if isinstance(ops[0], GroupNorm):
            groups = sum(op.groups for op in ops if isinstance(op, GroupNorm))
            graph.set_op(names[0], replace(ops[0], groups=groups))
    _fuse_last(graph, branches, order)
    for branch in branches[1:]:
        _drop_term(graph, branch.project)
        for name in reversed(branch.nodes):
            graph.remove(name)


def _order(graph: Graph, branches: Sequence[Branch]) -> NDArray[np.int64]:
    """Where each hidden channel of the fused block stands among those of all blocks.

    One block's after another's, but for grouped convolutions: a group of the fused one has the
    filters of that group of every block.
    """
    op = graph.node(branches[0].expand).op
    groups = op.groups if isinstance(op, Conv) else 1
    parts, start = [], 0
    for branch in branches:
        width = width_of(graph.node(branch.expand).op)
        parts.append(np.arange(start, start + width).reshape(groups, -1))
        start += width
    return np.concatenate(parts, axis=1).reshape(-1)


def _parameters(graph: Graph, name: str) -> dict[str, Array]:
    return {spec.role: graph.weights[key] for key, spec in graph.params_of(name)}


def _joined(own: Sequence[dict[str, Array]], order: NDArray[np.int64]) -> dict[str, Array]:
    return {role: np.concatenate([p[role] for p in own])[order] for role in own[0]}


def _put(graph: Graph, name: str, values: dict[str, Array]) -> None:
    node = graph.node(name)
    for role, value in values.items():
        # Masks go: the fused layer has every connection, at zero where a branch lacked it.
        graph.weights.put(node.parameter(role), value)


def _fuse_first(graph: Graph, names: Sequence[str], order: NDArray[np.int64]) -> None:
    """[W₁; W₂], in one window, and with a bias if one of the layers has one."""
    own = [_parameters(graph, name) for name in names]
    ops = [graph.node(name).op for name in names]
    bias = any("bias" in p for p in own)
    if bias:
        own = [{"bias": np.zeros(len(p["weight"]), np.float32)} | p for p in own]
    convs = [op for op in ops if isinstance(op, Conv)]
    if convs:
        wider = spanning(convs)
        for p, op in zip(own, convs, strict=True):
            p["weight"] = embed(p["weight"], op, wider)
        graph.set_op(names[0], replace(wider, channels=len(order), bias=bias))
    else:
        graph.set_op(names[0], Linear(len(order), bias=bias))
    _put(graph, names[0], _joined(own, order))


def _fuse_last(graph: Graph, branches: Sequence[Branch], order: NDArray[np.int64]) -> None:
    """[U₁ U₂], and the sum of the biases."""
    weights = [_parameters(graph, branch.project)["weight"] for branch in branches]
    values = {"weight": np.ascontiguousarray(np.concatenate(weights, axis=1)[:, order])}
    bias, _ = _bias(graph, branches)
    if bias is not None:
        values["bias"] = bias
    name = branches[0].project
    op = graph.node(name).op
    assert isinstance(op, (Conv, Linear))
    graph.set_op(name, replace(op, bias=bias is not None))
    _put(graph, name, values)


def _bias(graph: Graph, branches: Sequence[Branch]) -> tuple[Array | None, bool]:
    """The sum of the last layers' biases, if one has any, and whether it is exact."""
    own = [_parameters(graph, branch.project) for branch in branches]
    biases = [p["bias"] for p in own if "bias" in p]
    return exact_sum(biases) if biases else (None, True)


def _drop_term(graph: Graph, term: str) -> None:
    """Take a term out of the one sum that it is part of, in which it stands once."""
    ((total, _),) = graph.consumers(term)
    rest = [operand for operand in graph.node(total).operands if operand != term]
    if len(rest) > 1:
        graph.set_operands(total, rest)
    else:
        graph.redirect(total, rest[0])
        graph.remove(total)
