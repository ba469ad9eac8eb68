"""Element-wise functions, dropout and softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..attributes import MAX_INT, Choice, Float, Int, attr
from ..types import TensorType
from .base import Op, axis_index, register


@dataclass(frozen=True)
class Elementwise(Op):
    """A deterministic function of each number on its own."""

    per_channel: ClassVar[bool] = True

    def infer(self, *operands: TensorType) -> TensorType:
        return operands[0]


@register
@dataclass(frozen=True)
class Relu(Elementwise):
    """max(0, x)"""

    name: ClassVar[str] = "relu"


@register
@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    """x where x ≥ 0, else slope·x"""

    name: ClassVar[str] = "leaky_relu"
    slope: float = attr(Float(), 0.01, doc="slope for negative x")


@register
@dataclass(frozen=True)
class Elu(Elementwise):
    """x where x ≥ 0, else alpha·(exp(x) - 1)"""

    name: ClassVar[str] = "elu"
    alpha: float = attr(Float(), 1.0, doc="minus the limit for very negative x")


@register
@dataclass(frozen=True)
class Gelu(Elementwise):
    """x·Φ(x), with Φ the normal distribution function"""

    name: ClassVar[str] = "gelu"
    approximate: str = attr(Choice(("none", "tanh")), "none", doc="exact, or by tanh")


@register
@dataclass(frozen=True)
class Silu(Elementwise):
    """x·sigmoid(x)"""

    name: ClassVar[str] = "silu"


@register
@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))"""

    name: ClassVar[str] = "sigmoid"


@register
@dataclass(frozen=True)
class Tanh(Elementwise):
    """Hyperbolic tangent"""

    name: ClassVar[str] = "tanh"


@register
@dataclass(frozen=True)
class HardSwish(Elementwise):
    """x·min(max(x + 3, 0), 6) / 6"""

    name: ClassVar[str] = "hardswish"


@register
@dataclass(frozen=True)
class Identity(Elementwise):
    """x itself"""

    name: ClassVar[str] = "identity"
    takes: ClassVar[tuple[str, ...]] = ("f32", "i64")


@register
@dataclass(frozen=True)
class Scale(Elementwise):
    """factor·x + offset, with constants; what ``2 * x`` and ``1 - x`` mean"""

    name: ClassVar[str] = "scale"
    factor: float = attr(Float(), 1.0, doc="constant to multiply by")
    offset: float = attr(Float(), 0.0, doc="constant to add after that")


@register
@dataclass(frozen=True)
class Softmax(Op):
    """exp(x) / Σ exp(x) along one axis"""

    name: ClassVar[str] = "softmax"
    axis: int = attr(Int(-MAX_INT), -1, doc="axis that sums to one; 0 is the channels")

    def infer(self, *operands: TensorType) -> TensorType:
        axis_index(self, self.axis, operands[0])
        return operands[0]


@register
@dataclass(frozen=True)
class Dropout(Op):
    """While training, zero each number with probability p and divide the others by 1 - p."""

    name: ClassVar[str] = "dropout"
    p: float = attr(Float(0.0, below=1.0), 0.5, doc="probability of a zero")

    def infer(self, *operands: TensorType) -> TensorType:
        return operands[0]
