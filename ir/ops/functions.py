"""More element-wise functions: what models from elsewhere compute with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import MAX_INT, Float, Int, Optional, attr
from ..types import TensorType
from .activation import Elementwise
from .base import Init, Op, ParamSpec, ShapeError, axis_index, register


@register
@dataclass(frozen=True)
class Exp(Elementwise):
    """e^x"""

    name: ClassVar[str] = "exp"


@register
@dataclass(frozen=True)
class Log(Elementwise):
    """Natural logarithm"""

    name: ClassVar[str] = "log"


@register
@dataclass(frozen=True)
class Sqrt(Elementwise):
    """Square root"""

    name: ClassVar[str] = "sqrt"


@register
@dataclass(frozen=True)
class Reciprocal(Elementwise):
    """1 / x"""

    name: ClassVar[str] = "reciprocal"


@register
@dataclass(frozen=True)
class Abs(Elementwise):
    """|x|"""

    name: ClassVar[str] = "abs"


@register
@dataclass(frozen=True)
class Sign(Elementwise):
    """-1, 0 or 1, as x is negative, zero or positive"""

    name: ClassVar[str] = "sign"


@register
@dataclass(frozen=True)
class Floor(Elementwise):
    """Largest whole number that is at most x"""

    name: ClassVar[str] = "floor"


@register
@dataclass(frozen=True)
class Ceil(Elementwise):
    """Smallest whole number that is at least x"""

    name: ClassVar[str] = "ceil"


@register
@dataclass(frozen=True)
class Round(Elementwise):
    """Nearest whole number; of two, the even one"""

    name: ClassVar[str] = "round"


@register
@dataclass(frozen=True)
class Erf(Elementwise):
    """Error function, 2/√π · ∫₀ˣ exp(-t²) dt"""

    name: ClassVar[str] = "erf"


@register
@dataclass(frozen=True)
class Sin(Elementwise):
    """Sine of x in radians"""

    name: ClassVar[str] = "sin"


@register
@dataclass(frozen=True)
class Cos(Elementwise):
    """Cosine of x in radians"""

    name: ClassVar[str] = "cos"


@register
@dataclass(frozen=True)
class Tan(Elementwise):
    """Tangent of x in radians"""

    name: ClassVar[str] = "tan"


@register
@dataclass(frozen=True)
class Asin(Elementwise):
    """Inverse sine, in radians"""

    name: ClassVar[str] = "asin"


@register
@dataclass(frozen=True)
class Acos(Elementwise):
    """Inverse cosine, in radians"""

    name: ClassVar[str] = "acos"


@register
@dataclass(frozen=True)
class Atan(Elementwise):
    """Inverse tangent, in radians"""

    name: ClassVar[str] = "atan"


@register
@dataclass(frozen=True)
class Sinh(Elementwise):
    """Hyperbolic sine"""

    name: ClassVar[str] = "sinh"


@register
@dataclass(frozen=True)
class Cosh(Elementwise):
    """Hyperbolic cosine"""

    name: ClassVar[str] = "cosh"


@register
@dataclass(frozen=True)
class Asinh(Elementwise):
    """Inverse hyperbolic sine"""

    name: ClassVar[str] = "asinh"


@register
@dataclass(frozen=True)
class Acosh(Elementwise):
    """Inverse hyperbolic cosine"""

    name: ClassVar[str] = "acosh"


@register
@dataclass(frozen=True)
class Atanh(Elementwise):
    """Inverse hyperbolic tangent"""

    name: ClassVar[str] = "atanh"


@register
@dataclass(frozen=True)
class Power(Elementwise):
    """x^exponent, with a constant exponent; what ``x ** 2`` means"""

    name: ClassVar[str] = "power"
    exponent: float = attr(Float(), doc="the constant exponent")


@register
@dataclass(frozen=True)
class Clip(Elementwise):
    """min(max(x, low), high); relu6 is clip(0, 6)"""

    name: ClassVar[str] = "clip"
    low: float | None = attr(Optional(Float()), None, doc="least result; no limit if not given")
    high: float | None = attr(Optional(Float()), None, doc="largest result; no limit if not given")


@register
@dataclass(frozen=True)
class Softplus(Elementwise):
    """log(1 + exp(beta·x)) / beta"""

    name: ClassVar[str] = "softplus"
    beta: float = attr(Float(0.0, open=True), 1.0, doc="sharpness of the bend")


@register
@dataclass(frozen=True)
class Softsign(Elementwise):
    """x / (1 + |x|)"""

    name: ClassVar[str] = "softsign"


@register
@dataclass(frozen=True)
class Selu(Elementwise):
    """scale·x where x ≥ 0, else scale·alpha·(exp(x) - 1)"""

    name: ClassVar[str] = "selu"
    alpha: float = attr(Float(), 1.6732632423543772, doc="minus the limit for very negative x")
    scale: float = attr(Float(), 1.0507009873554805, doc="factor of the result")


@register
@dataclass(frozen=True)
class Celu(Elementwise):
    """x where x ≥ 0, else alpha·(exp(x / alpha) - 1)"""

    name: ClassVar[str] = "celu"
    alpha: float = attr(Float(0.0, open=True), 1.0, doc="minus the limit for very negative x")


@register
@dataclass(frozen=True)
class Mish(Elementwise):
    """x·tanh(log(1 + exp(x)))"""

    name: ClassVar[str] = "mish"


@register
@dataclass(frozen=True)
class HardSigmoid(Elementwise):
    """min(max(slope·x + offset, 0), 1)"""

    name: ClassVar[str] = "hard_sigmoid"
    slope: float = attr(Float(), 1 / 6, doc="slope in the middle; 0.2 is ONNX's default")
    offset: float = attr(Float(), 0.5, doc="value at 0")


@register
@dataclass(frozen=True)
class ThresholdedRelu(Elementwise):
    """x where x > threshold, else 0"""

    name: ClassVar[str] = "thresholded_relu"
    threshold: float = attr(Float(), 1.0, doc="where the function begins")


@register
@dataclass(frozen=True)
class Shrink(Elementwise):
    """x + bias where x < -limit, x - bias where x > limit, else 0"""

    name: ClassVar[str] = "shrink"
    limit: float = attr(Float(0.0), 0.5, doc="half the width of the zero zone")
    bias: float = attr(Float(), 0.0, doc="how far the rest moves towards zero; soft: the limit")


@register
@dataclass(frozen=True)
class Prelu(Op):
    """x where x ≥ 0, else weight·x, with a learned slope for each channel, or one for all"""

    name: ClassVar[str] = "prelu"
    per_channel: ClassVar[bool] = True

    slopes: int = attr(Int(1), 1, doc="number of learned slopes: 1, or one for each channel")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if self.slopes != 1 and (not x.shape or x.shape[0] != self.slopes):
            raise ShapeError(
                f"`prelu(slopes={self.slopes})` needs as many channels, not {x}",
                "give one slope for all channels, or one for each",
            )
        return x

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        return (ParamSpec("weight", (self.slopes,), Init("constant", 0.25)),)


@register
@dataclass(frozen=True)
class LogSoftmax(Op):
    """Logarithm of softmax along one axis"""

    name: ClassVar[str] = "log_softmax"
    axis: Any = attr(Int(-MAX_INT), -1, doc="axis along which softmax sums to one")

    def infer(self, *operands: TensorType) -> TensorType:
        axis_index(self, self.axis, operands[0])
        return operands[0]
