"""Parts of random networks, one method each: see ``growc.testing``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from .ir import OPS, Graph, Op, TensorType
from .ir.ops import (
    Add,
    BatchNorm,
    Concat,
    Dropout,
    Flatten,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    Mul,
    Pad,
    Reshape,
    Scale,
    Sigmoid,
    Slice,
    Softmax,
    Sub,
    Transpose,
)
from .testing_foreign import foreign
from .testing_ops import Draw, instance

KINDS = ("vector", "tokens", "image1d", "image2d", "image3d")
"""What a random network's main input can be."""

ACTIVATIONS = [
    OPS[name]
    for name in "relu leaky_relu elu gelu silu sigmoid tanh hardswish identity scale".split()
]
ODD_NAMES = ("stage 1", "größe", "input", "1", "a-b", "net.0", "layer[1]", "true", "x.y.z", "5%")
MOST_NUMBERS = 600
"""A tensor with more numbers than this is pooled before the network goes on."""


@dataclass(frozen=True)
class Menu:
    """What random networks may contain."""

    kinds: Sequence[str]
    residual: bool
    dropout: bool
    several_inputs: bool
    several_outputs: bool
    tied: bool
    odd_names: bool
    foreign: bool
    steps: int


def _shape(kind: str, draw: Draw) -> tuple[int, ...]:
    if kind == "vector":
        return (draw(st.integers(1, 6)),)
    if kind == "tokens":
        return (draw(st.integers(2, 5)), draw(st.integers(1, 6)))
    longest = {"image1d": 8, "image2d": 7, "image3d": 4}[kind]
    axes = KINDS.index(kind) - 1
    return (draw(st.integers(1, 5)), *(draw(st.integers(2, longest)) for _ in range(axes)))


@dataclass
class Builder:
    """Adds random parts to one graph. Methods take the name of a node, and return that of another
    that the network goes on with."""

    draw: Draw
    menu: Menu
    kind: str
    graph: Graph = field(default_factory=lambda: Graph("net"))
    inside: str = ""
    """Prefix of new names: the block that is being built."""
    blocks: int = 0

    # ---- names and single nodes

    def chance(self, one_in: int) -> bool:
        """True once in so many draws; shrinks to False."""
        return bool(self.draw(st.integers(0, one_in - 1)) == one_in - 1)

    def add(self, op: Op, *operands: str, shared: dict[str, str] | None = None) -> str:
        name = op.name
        if self.menu.odd_names and self.chance(12):
            name = self.draw(st.sampled_from(ODD_NAMES))
        return self.graph.add(op, operands, self.graph.fresh(self.inside + name), shared)

    def random(self, cls: type[Op], x: str, **fixed: Any) -> str:
        """A node of a random op of a class."""
        return self.add(instance(self.draw, cls, self.type_of(x), **fixed), x)

    def type_of(self, x: str) -> TensorType:
        return self.graph.node(x).type

    def dense(self, x: str) -> bool:
        """Whether layers on this tensor are linear: else they are convolutions."""
        return self.type_of(x).rank == 1 or self.kind == "tokens"

    def input(self, shape: tuple[int, ...] | None = None) -> str:
        shape = _shape(self.kind, self.draw) if shape is None else shape
        name = self.draw(st.sampled_from(["image", "input", "x.0"])) if self.menu.odd_names else "x"
        return self.graph.add_input(self.graph.fresh(name), TensorType(shape))

    # ---- parts

    def step(self, x: str, part: str | None = None) -> str:
        """One part of the network, perhaps one that models from elsewhere have, then perhaps a
        smaller tensor."""
        choices = ["layer", "layer", "function", "gate", "moves", "merge"]
        if self.menu.residual:
            choices += ["residual"] * 4
        if self.menu.tied:
            choices += ["tied"]
        part = part or self.draw(st.sampled_from(choices))
        x = {
            "layer": self.layer,
            "function": self.function,
            "gate": self.gate,
            "moves": self.moves,
            "merge": self.merge,
            "tied": self.tied,
            "residual": self.residual,
        }[part](x)
        if self.menu.foreign and self.chance(3):
            x = foreign(self, x)
        return self.smaller(x)

    def layer(self, x: str) -> str:
        """A layer, then perhaps a normalization and an activation."""
        if self.dense(x):
            x = self.random(Linear, x)
        else:
            cls = OPS[f"conv{self.type_of(x).rank - 1}d"]
            channels, fixed = self.draw(st.integers(1, 6)), {}
            if self.chance(5):  # depthwise
                channels = self.type_of(x).shape[0] * self.draw(st.integers(1, 2))
                fixed = {"groups": self.type_of(x).shape[0]}
            x = self.random(cls, x, channels=channels, **fixed)
        return self.after_layer(x)

    def after_layer(self, x: str) -> str:
        if self.draw(st.booleans()):
            x = self.norm(x)
        if not self.chance(4):
            x = self.activation(x)
        if self.menu.dropout and self.chance(8):
            x = self.add(Dropout(0.4), x)
        return x

    def norm(self, x: str) -> str:
        kind = self.type_of(x)
        fitting: list[type[Op]] = [BatchNorm, LayerNorm]
        if kind.rank > 1 and kind.size > kind.shape[0]:
            fitting.append(InstanceNorm)
        if kind.size > 1:
            fitting.append(GroupNorm)
        eps = self.draw(st.sampled_from([1e-3, 0.1]))
        return self.random(self.draw(st.sampled_from(fitting)), x, eps=eps)

    def activation(self, x: str) -> str:
        cls = self.draw(st.sampled_from(ACTIVATIONS))
        if cls is Scale:
            return self.add(Scale(0.5, self.draw(st.sampled_from([0.0, -1.0]))), x)
        return self.random(cls, x)

    def function(self, x: str) -> str:
        """An op without layers: an activation, a norm, a softmax, dropout."""
        choice = self.draw(st.integers(0, 3 if self.menu.dropout else 2))
        if choice == 3:
            return self.add(Dropout(self.draw(st.sampled_from([0.5, 0.0]))), x)
        if choice == 2:
            return self.random(Softmax, x)
        return self.norm(x) if choice else self.activation(x)

    def gate(self, x: str) -> str:
        """x · sigmoid(layer(x)), the gate one number for each channel of an image."""
        kind = self.type_of(x)
        if self.dense(x):
            gate = self.random(Linear, x, features=self.draw(st.sampled_from([1, kind.shape[-1]])))
        else:
            conv = OPS[f"conv{kind.rank - 1}d"]
            gate = self.random(OPS["global_avg_pool"], x)
            gate = self.add(conv(channels=kind.shape[0], kernel=1), gate)  # type: ignore[call-arg]
        gate = self.add(Sigmoid(), gate)
        return self.add(self.draw(st.sampled_from([Mul(), Add(), Sub()])), x, gate)

    def moves(self, x: str) -> str:
        """An op that only moves numbers. The number of axes stays."""
        kind = self.type_of(x)
        choice = self.draw(st.sampled_from(["slice", "pad", "transpose", "reshape", "concat"]))
        if choice == "slice" and min(kind.shape) > 1:
            return self.random(Slice, x)
        if choice == "pad":
            return self.random(Pad, x)
        if choice == "transpose":
            return self.random(Transpose, x)
        if choice == "reshape":
            return self.add(Reshape(kind.shape[::-1]), x)
        return self.add(Concat(), x, self.activation(x))

    def merge(self, x: str) -> str:
        """Another input of the same type joins in, or the tensor itself in two versions."""
        if self.menu.several_inputs and self.chance(2):
            other = self.input(self.type_of(x).shape)
        else:
            other = self.activation(x)
        return self.add(self.draw(st.sampled_from([Add(), Mul(), Concat(-1)])), x, other)

    def tied(self, x: str) -> str:
        """Two layers with the same weights."""
        kind = self.type_of(x)
        op: Op = Linear(kind.shape[-1])
        if not self.dense(x):
            op = instance(
                self.draw,
                OPS[f"conv{kind.rank - 1}d"],
                kind,
                channels=kind.shape[0],
                padding="same",
                stride=1,
            )
        first = self.add(op, x)
        roles = ["weight", "bias"] if self.chance(2) else ["weight"]
        given = [spec.role for spec in op.params(kind) if spec.role in roles]
        shared = {role: f"{first}.{role}" for role in given}
        return self.add(op, self.activation(first), shared=shared)

    def smaller(self, x: str) -> str:
        """A pooling, where the tensor is large or by chance."""
        kind = self.type_of(x)
        large = kind.size > MOST_NUMBERS
        if kind.rank == 1 or self.kind == "tokens" or not (large or self.chance(5)):
            return self.random(Linear, x, features=4) if large else x
        names = ["max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"]
        name = f"{self.draw(st.sampled_from(names))}{kind.rank - 1}d"
        fixed = {} if name.startswith("adaptive") else {"kernel": 2, "stride": 2}
        if name.startswith("max"):
            # A dilated window can lie in the border alone, whose maximum is minus infinity.
            fixed["dilation"] = 1
        return self.random(OPS[name], x, **fixed)

    # ---- residual blocks

    def residual(self, x: str, depth: int = 0) -> str:
        """skip(x) + branch(x) + …, all named after the block."""
        outside, self.blocks = self.inside, self.blocks + 1
        if not self.chance(5):
            self.inside = f"{outside}block{self.blocks}."
        skip = self.skip(x)
        branches = [self.branch(x, self.type_of(skip), depth)]
        if self.chance(4):
            branches.append(self.branch(x, self.type_of(skip), depth))
        terms = [skip, *branches] if self.draw(st.booleans()) else [*branches, skip]
        if len(terms) > 2 and self.chance(2):
            terms = [self.add(Add(), *terms[:2]), *terms[2:]]
        total = self.add(Add(), *terms)
        if self.draw(st.booleans()):
            total = self.activation(total)
        self.inside = outside
        return total

    def skip(self, x: str) -> str:
        """The entry itself, or a projection, padding or pooling of it."""
        kind = self.type_of(x)
        way = self.draw(st.sampled_from(["same", "same", "project", "pad", "pool", "crop"]))
        if self.dense(x):
            if way == "project":
                return self.add(Linear(self.draw(st.integers(1, 6)), bias=False), x)
            more = (*(0,) * (kind.rank - 1), self.draw(st.integers(1, 2)))
            return self.add(Pad(after=more), x) if way == "pad" else x
        axes = kind.rank - 1
        if way == "project":
            cls, stride = OPS[f"conv{axes}d"], self.draw(st.integers(1, 2))
            channels = self.draw(st.integers(1, 6))
            return self.random(cls, x, channels=channels, kernel=1, stride=stride, padding="same")
        if way == "pad":
            x = self.add(Pad(after=(self.draw(st.integers(1, 2)), *(0,) * axes)), x)
        if way == "pool":
            x = self.random(OPS[f"avg_pool{axes}d"], x, kernel=2, stride=2, padding="same")
        if way == "crop" and kind.shape[1] > 2:
            x = self.add(Slice(1, kind.shape[1] - 1, axis=1), x)
        return x

    def branch(self, x: str, target: TensorType, depth: int) -> str:
        """Layers from x to the type of the skip: 1 to 3, a bottleneck or not."""
        entry, kind = x, self.type_of(x)
        if self.dense(x):
            for _ in range(self.draw(st.sampled_from([0, 1, 1, 2]))):
                x = self.after_layer(self.random(Linear, x))
            if depth == 0 and self.chance(5):
                x = self.residual(x, 1)
            x = self.random(Linear, x, features=target.shape[-1])
            return self.norm(x) if self.chance(3) else x
        cls = OPS[f"conv{kind.rank - 1}d"]
        if not self.chance(3):  # before the shape changes
            x = self.conv(cls, x, self.draw(st.integers(1, 6)))
            x = self.after_layer(x)
        if depth == 0 and self.chance(5):
            x = self.residual_same(x)
        x = self.reshape_to(cls, x, kind, target)
        if self.chance(3):
            x = self.conv(cls, self.after_layer(x), target.shape[0])
        assert x != entry
        return self.norm(x) if self.chance(3) else x

    def residual_same(self, x: str) -> str:
        """A block inside a block, of which only the channels may change."""
        before = self.type_of(x).shape[1:]
        inner = self.residual(x, 1)
        return inner if self.type_of(inner).shape[1:] == before else x

    def conv(self, cls: type[Op], x: str, channels: int) -> str:
        return self.random(cls, x, channels=channels, stride=1, padding="same")

    def reshape_to(self, cls: type[Op], x: str, kind: TensorType, target: TensorType) -> str:
        """A convolution to the target's shape: strided, or without padding where it is cropped."""
        spatial = list(zip(kind.shape[1:], target.shape[1:], strict=True))
        cropped = any(size != wanted and 2 * wanted < size for size, wanted in spatial)
        strides = tuple(1 if size == wanted else 2 for size, wanted in spatial)
        fits = all((n - 1) // s + 1 == m for (n, m), s in zip(spatial, strides, strict=True))
        if fits and not cropped:
            return self.random(cls, x, channels=target.shape[0], stride=strides, padding="same")
        kernel = tuple(size - wanted + 1 for size, wanted in spatial)
        return self.random(
            cls, x, channels=target.shape[0], kernel=kernel, stride=1, padding="valid", dilation=1
        )

    # ---- the end

    def finish(self, x: str) -> None:
        """A head or none, and the outputs."""
        if self.chance(2):
            if self.type_of(x).rank > 2 and self.chance(2):
                pool = self.draw(st.sampled_from(["global_avg_pool", "global_max_pool"]))
                x = self.random(OPS[pool], x)
            x = self.add(Flatten(), x)
            x = self.add(Linear(3), x)
        self.graph.set_output("logits", x)
        if self.menu.several_outputs and self.chance(5):
            nodes = [node.name for node in self.graph]
            self.graph.set_output("aux", self.draw(st.sampled_from(nodes)))
