"""The R2R block: a small trainable network that is zero at first (R2R section 3.1).

    z(x) = [β -β] · σ([W; W] * x) = β·σ(W * x) - β·σ(W * x) = 0

W is a k×k convolution (or a linear layer) to ``filters`` channels in two equal halves, σ a
normalization and an activation that treat both halves alike, [β -β] a 1×1 convolution (or a
linear layer). The halves are equal at first only: they train apart.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import OPS, Graph, ShapeError, TensorType, names
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
    Prelu,
    RmsNorm,
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
INITS = ("auto", "match", "he", "torch")


@dataclass(frozen=True)
class GrowthOptions:
    """Options that the R2R passes share. ``auto`` follows the place that is grown."""

    at: Any = attr(Optional(Patterns()), None, doc="where")
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
        "auto",
        doc="variance of new weights: as in the layer beside, 2/fan_in, or PyTorch's default; auto "
        "is match, and he where no layer is beside",
    )
    seed: int | None = attr(Optional(Int(0)), None, doc="random seed; the pipeline's if not given")


@dataclass(frozen=True, slots=True)
class Recipe:
    """An R2R block's layers, for one kind of place."""

    expand: Op
    norm: Op | None
    activation: Op | None
    project: Op
    init: str


def plan(
    options: GrowthOptions, source: TensorType, target: TensorType, style: Style, width: int
) -> Recipe | str:
    """The R2R block from a tensor of type ``source`` to one of type ``target``, or why not.

    ``style`` is what ``auto`` follows, ``width`` the number of filters if none is given.
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
    norm = _norm(options.norm, style, expand.infer(source), kind)
    if isinstance(norm, str):
        return norm
    activation = _activation(options.activation, style)
    if isinstance(activation, Prelu) and activation.slopes > 1:
        # As many slopes as there are channels, if these lie on the first axis as slopes do.
        slopes = filters if kind is not Linear or source.rank == 1 else 1
        activation = Prelu(slopes=slopes)
    return Recipe(expand, norm, activation, project, options.init)


def weight_beside(graph: Graph, recipe: Recipe, layer: str | None) -> str | None:
    """The parameter whose scale ``init=match`` follows, if it is asked for: ``layer``'s weight."""
    if recipe.init not in ("auto", "match") or layer is None:
        return None
    return graph.node(layer).parameter("weight")


NO_LAYER_BESIDE = "`init=match` needs a layer here whose weights it could follow; use init=he"


def _layer_kind(source: TensorType, target: TensorType, style: Style) -> type[Conv | Linear] | str:
    """Convolution or linear layer? As in the block; else by the number of axes."""
    if source.rank != target.rank or source.rank == 0 or source.dtype != "f32":
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


def _norm(
    word: str, style: Style, middle: TensorType, kind: type[Conv | Linear]
) -> Op | str | None:
    """The normalization, with settings such that it treats both halves alike.

    Where it does not fit, ``auto`` does without, and other words are refused with the reason.
    """
    norm = _wanted_norm(word, style, middle)
    if norm is None:
        return None
    try:
        norm.infer(middle)
    except ShapeError as error:
        return None if word == "auto" else f"norm={word} does not fit there: {error}"
    if _compares_twins_only(norm, middle, kind):
        what = f"norm={word} would normalize two equal numbers, which gives zeros"
        return None if word == "auto" else f"{what}; use more filters"
    return norm


def _wanted_norm(word: str, style: Style, middle: TensorType) -> Op | None:
    if word == "none" or (word == "auto" and style.norm is None):
        return None
    like = style.norm if word == "auto" else None
    eps = getattr(like, "eps", 1e-5)
    if word == "batch" or isinstance(like, BatchNorm):
        return BatchNorm(eps=eps, momentum=getattr(like, "momentum", 0.1))
    if word == "group" or isinstance(like, GroupNorm):
        # An even number of groups: each lies in one half, and its twin in the other.
        channels = middle.shape[0]
        most = min(getattr(like, "groups", 32), channels, middle.size - 1)
        return GroupNorm(next(g for g in range(most, 0, -1) if _splits(channels, g)), eps=eps)
    if word == "instance" or isinstance(like, InstanceNorm):
        return InstanceNorm(eps=eps)
    dims = min(getattr(like, "dims", middle.rank), middle.rank)
    return RmsNorm(dims, eps) if isinstance(like, RmsNorm) else LayerNorm(dims, eps)


def _splits(channels: int, groups: int) -> bool:
    return channels % groups == 0 and (groups % 2 == 0 or groups == 1)


def _compares_twins_only(norm: Op, middle: TensorType, kind: type[Conv | Linear]) -> bool:
    """Whether each group that is normalized holds one number and its twin of the other half.

    It would yield zeros, through which no gradient passes: the block could never learn.
    """
    if isinstance(norm, BatchNorm):
        return False
    halves = middle.rank - 1 if kind is Linear else 0
    if isinstance(norm, (LayerNorm, RmsNorm)):
        group = math.prod(middle.shape[-norm.dims :])
        both = halves >= middle.rank - norm.dims
    else:
        groups = norm.groups if isinstance(norm, GroupNorm) else middle.shape[0]
        group = middle.size // groups
        both = halves > 0 or groups == 1
    return both and group == 2


def _activation(word: str, style: Style) -> Op | None:
    if word == "identity":
        return None
    if word != "auto":
        return OPS[word]()
    return style.activation or OPS["relu"]()


_GROWN = re.compile(r"\.(r2r|net2deeper|new_layer|new_connection|new_heads)(_\d+)?(\.[^.]*)?\Z")


def fresh_scope(graph: Graph, place: str, first: Op, word: str = "r2r") -> str:
    """``<place>.r2r``, ``<place>.r2r_2``, …: the first that holds no nodes and no parameters yet.

    Inside what a pass has added, it is one beside that: names do not grow with every pass.
    """
    base = _GROWN.sub("", place)
    while len(base) > names.MAX_LENGTH - 100:
        base = names.scope_of(base)
    base = f"{base}.{word}" if base else word
    name, number = base, 1
    while f"{name}.{first.name}" in graph or f"{name}.{first.name}.weight" in graph.weights:
        number += 1
        name = f"{base}_{number}"
    return name


def add_zero_block(
    graph: Graph, source: str, recipe: Recipe, scope: str, seed: int, beside: str | None
) -> str:
    """Add z to the graph, fed by ``source``, and return the node of its result.

    Its nodes are called after ``scope``. ``beside`` is the parameter that ``match`` follows.
    """

    def add(op: Op, operand: str) -> str:
        return graph.add(op, (operand,), graph.fresh(f"{scope}.{op.name}"))

    weights = graph.weights
    expand = at = add(recipe.expand, source)
    rng = generator(seed, expand)
    for op in (recipe.norm, recipe.activation):
        if op is not None:
            at = add(op, at)
            weights.update((key, draw(s.init, s.shape, rng)) for key, s in graph.params_of(at))
    project = add(recipe.project, at)
    like = weights[beside] if beside else None
    for layer in (expand, project):
        for key, spec in graph.params_of(layer):
            if spec.role == "bias":
                weights[key] = np.zeros(spec.shape, np.float32)
                continue
            new = new_weight(recipe.init, spec.shape, like, rng)
            half = spec.shape[layer == project] // 2
            weights[key] = twice(new[:half]) if layer == expand else plus_minus(new[:, :half])
    return project


# ---- new weights


def new_weight(
    init: str, shape: tuple[int, ...], beside: Array | None, rng: np.random.Generator
) -> Array:
    """Random weights of a shape [out, in, …], at the scale that ``init`` names.

    ``match``: normal with the standard deviation of ``beside``, the layer that new filters join.
    ``he``: N(0, 2/fan_in), which keeps the variance from layer to layer under ReLU. ``torch``:
    uniform within ±1/√fan_in, PyTorch's default for layers. ``auto``: ``match``, or ``he`` without
    ``beside``.
    """
    fan_in = math.prod(shape[1:])
    if init == "match" or (init == "auto" and beside is not None):
        assert beside is not None
        # Equal numbers, or none, have no spread to follow, and zeros would never learn.
        spread = (beside.size and float(beside.std())) or math.sqrt(2.0 / fan_in)
        return draw(Init("normal", spread), shape, rng)
    if init == "torch":
        return draw(fan_in_uniform(fan_in), shape, rng)
    return draw(Init("normal", math.sqrt(2.0 / fan_in)), shape, rng)


def twice(half: Array) -> Array:
    """[W; W]: equal halves along the output channels."""
    return np.concatenate([half, half])


def plus_minus(half: Array) -> Array:
    """[β -β]: opposite halves along the input channels."""
    return np.concatenate([half, -half], axis=1)
