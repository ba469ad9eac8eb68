"""The R2R block: a small trainable network that is zero at first (R2R section 3.1).

    z(x) = [β -β] · σ([W; W] * x) = β·σ(W * x) - β·σ(W * x) = 0

W is a k×k convolution (or a linear layer) to ``filters`` channels in two equal halves, σ a
normalization and an activation that treat both halves alike, [β -β] a 1×1 convolution (or a
linear layer). The halves are equal at first only: they train apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import OPS, Graph, TensorType
from ..ir.attributes import Choice, Int, Optional, Patterns, attr
from ..ir.ops import (
    BatchNorm,
    Conv,
    Conv1d,
    Conv2d,
    Conv3d,
    GroupNorm,
    Init,
    InstanceNorm,
    LayerNorm,
    Linear,
    Op,
)
from ..ir.ops.conv import fan_in_uniform
from ..ir.weights import Array, draw, generator
from .blocks import Style

CONVS: dict[int, type[Conv]] = {1: Conv1d, 2: Conv2d, 3: Conv3d}

ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "hardswish",
    "identity",
)
NORM_WORDS = ("auto", "batch", "layer", "group", "instance", "none")
INITS = ("he", "match", "torch")


@dataclass(frozen=True)
class GrowthOptions:
    """Options that the R2R passes share. ``auto`` follows the place that is grown."""

    at: Any = attr(Optional(Patterns()), None, doc="where: names of blocks or nodes, with * and ?")
    filters: int | None = attr(
        Optional(Int(2, even=True)), None, doc="new hidden channels, in two equal halves"
    )
    kernel: int = attr(Int(1), 3, doc="window of the new convolution")
    norm: str = attr(Choice(NORM_WORDS), "auto", doc="normalization of the new channels")
    activation: str = attr(
        Choice(("auto", *ACTIVATIONS)), "auto", doc="activation of the new channels"
    )
    init: str = attr(
        Choice(INITS),
        "he",
        doc="scale of new weights: variance 2/fan_in, that of the layer beside, or PyTorch's",
    )
    seed: int | None = attr(Optional(Int(0)), None, doc="random seed; the pipeline's if not given")


@dataclass(frozen=True, slots=True)
class Recipe:
    """An R2R block worked out for one place: its layers, ready to be added."""

    expand: Op
    norm: Op | None
    activation: Op | None
    project: Op
    init: str
    beside: str | None
    """Parameter whose standard deviation ``match`` copies."""


def plan(
    options: GrowthOptions,
    source: TensorType,
    target: TensorType,
    style: Style,
    width: int,
    beside: str | None,
) -> Recipe | str:
    """The R2R block from a tensor of type ``source`` to one of type ``target``, or why not.

    ``style`` is what ``auto`` follows, ``width`` the number of filters if none is given, and
    ``beside`` the layer that ``init=match`` follows.
    """
    kind = _layer_kind(source, target, style)
    if isinstance(kind, str):
        return kind
    filters = options.filters or max(2, width + width % 2)
    bias = style.layer.bias if style.layer is not None else True
    expand: Op
    project: Op
    if kind is Linear:
        expand, project = Linear(filters, bias=bias), Linear(target.shape[-1], bias=bias)
    else:
        strides = _strides(source, target)
        if isinstance(strides, str):
            return strides
        conv = CONVS[source.rank - 1]
        expand = conv(filters, kernel=options.kernel, stride=strides, bias=bias)
        project = conv(target.shape[0], kernel=1, bias=bias)
    if options.init == "match" and beside is None:
        return "`init=match` needs a layer here whose weights it could follow; use init=he"
    return Recipe(
        expand,
        _norm(options.norm, style, expand.infer(source)),
        _activation(options.activation, style),
        project,
        options.init,
        f"{beside}.weight" if options.init == "match" else None,
    )


def _layer_kind(source: TensorType, target: TensorType, style: Style) -> type[Conv | Linear] | str:
    """Convolution or linear layer? As in the block; else by the number of axes."""
    if source.rank != target.rank or source.rank == 0:
        return f"no R2R block leads from {source} to {target}"
    same_rest = source.shape[:-1] == target.shape[:-1]
    if source.rank == 1 or (isinstance(style.layer, Linear) and same_rest):
        return Linear
    if source.rank - 1 not in CONVS:
        return f"no convolution takes {source}"
    return CONVS[source.rank - 1]


def _strides(source: TensorType, target: TensorType) -> tuple[int, ...] | str:
    """Strides that take the spatial sizes of one tensor to the other's, with ``same`` padding."""
    strides = []
    for size, wanted in zip(source.shape[1:], target.shape[1:], strict=True):
        stride = -(-size // wanted)
        if (size - 1) // stride + 1 != wanted:
            return (
                f"the block takes {source} to {target}, "
                f"and no stride takes a size of {size} to {wanted}"
            )
        strides.append(stride)
    return tuple(strides)


def _norm(word: str, style: Style, middle: TensorType) -> Op | None:
    """The normalization, with settings such that it treats both halves alike."""
    if word == "none" or (word == "auto" and style.norm is None):
        return None
    like = style.norm if word == "auto" else None
    eps = getattr(like, "eps", 1e-5)
    if word == "batch" or isinstance(like, BatchNorm):
        return BatchNorm(eps=eps, momentum=getattr(like, "momentum", 0.1))
    if word == "group" or isinstance(like, GroupNorm):
        # An even number of groups: each lies in one half, and its twin in the other.
        channels = middle.shape[0]
        wanted = getattr(like, "groups", 32)
        groups = next(g for g in range(min(wanted, channels), 0, -1) if _splits(channels, g))
        return GroupNorm(groups, eps=eps)
    if (word == "instance" or isinstance(like, InstanceNorm)) and middle.size > middle.shape[0]:
        return InstanceNorm(eps=eps)
    if word == "layer" or isinstance(like, LayerNorm):
        return LayerNorm(dims=getattr(like, "dims", middle.rank), eps=eps)
    return None


def _splits(channels: int, groups: int) -> bool:
    return channels % groups == 0 and (groups % 2 == 0 or groups == 1)


def _activation(word: str, style: Style) -> Op | None:
    if word == "identity":
        return None
    if word != "auto":
        return OPS[word]()
    return style.activation or OPS["relu"]()


def add_zero_block(graph: Graph, source: str, recipe: Recipe, scope: str, seed: int) -> str:
    """Add z to the graph, fed by ``source``, and return the node of its result."""
    name = _fresh_scope(graph, f"{scope}.r2r", recipe.expand.name)

    def add(op: Op, operand: str) -> str:
        return graph.add(op, (operand,), graph.fresh(f"{name}.{op.name}"))

    expand = at = add(recipe.expand, source)
    for op in (recipe.norm, recipe.activation):
        if op is not None:
            at = add(op, at)
            for key, spec in graph.params_of(at):
                graph.weights[key] = draw(spec.init, spec.shape, generator(seed, key))
    project = add(recipe.project, at)
    beside = graph.weights[recipe.beside] if recipe.beside else None
    weights = graph.weights
    for key, spec in graph.params_of(expand):
        new = new_weight(recipe.init, spec.shape, beside, generator(seed, key))
        if spec.role == "bias":
            new = np.zeros(spec.shape, np.float32)
        weights[key] = twice(new[: spec.shape[0] // 2])
    for key, spec in graph.params_of(project):
        if spec.role == "bias":
            weights[key] = np.zeros(spec.shape, np.float32)
            continue
        new = new_weight(recipe.init, spec.shape, beside, generator(seed, key))
        weights[key] = plus_minus(new[:, : spec.shape[1] // 2])
    return project


def _fresh_scope(graph: Graph, base: str, first: str) -> str:
    """``base``, ``base_2``, … whichever holds no nodes yet."""
    name, number = base, 1
    while f"{name}.{first}" in graph:
        number += 1
        name = f"{base}_{number}"
    return name


# ---- new weights


def new_weight(
    init: str, shape: tuple[int, ...], beside: Array | None, rng: np.random.Generator
) -> Array:
    """Random weights of a shape [out, in, …], at the scale that ``init`` names.

    ``he``: N(0, 2/fan_in), which keeps the variance from layer to layer under ReLU. ``match``:
    normal with the standard deviation of ``beside``, the layer that new filters join. ``torch``:
    uniform within ±1/√fan_in, PyTorch's default for layers.
    """
    fan_in = math.prod(shape[1:])
    if init == "match":
        assert beside is not None
        return draw(Init("normal", float(beside.std())), shape, rng)
    if init == "torch":
        return draw(fan_in_uniform(fan_in), shape, rng)
    return draw(Init("normal", math.sqrt(2.0 / fan_in)), shape, rng)


def twice(half: Array) -> Array:
    """[W; W]: equal halves along the output channels."""
    return np.concatenate([half, half])


def plus_minus(half: Array) -> Array:
    """[β -β]: opposite halves along the input channels."""
    return np.concatenate([half, -half], axis=1)
