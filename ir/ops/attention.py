"""Products of two tensors: matrix product and attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..attributes import Bool, Float, Int, Optional, attr
from ..types import TensorType
from .arithmetic import broadcast
from .base import Op, ShapeError, checked, register


@register
@dataclass(frozen=True)
class MatMul(Op):
    """Matrix product over the last two axes, [..., n, k] and [..., k, m]; others are broadcast."""

    name: ClassVar[str] = "matmul"
    operands: ClassVar[tuple[str, ...]] = ("a", "b")

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        outer = broadcast(a.shape[:-2], b.shape[:-2])
        if min(a.rank, b.rank) < 2 or a.shape[-1] != b.shape[-2] or outer is None:
            raise ShapeError(
                f"`matmul` cannot multiply {a} and {b}",
                "it takes [..., n, k] and [..., k, m]; for a learned matrix use `linear`",
            )
        return checked(a.with_shape(*outer, a.shape[-2], b.shape[-1]))

    def macs(self, operands: tuple[TensorType, ...], result: TensorType) -> int:
        return operands[0].shape[-1] * result.size


@register
@dataclass(frozen=True)
class Attention(Op):
    """Multi-head scaled dot-product attention over tokens: q [n, d], k [m, d], v [m, e] → [n, e].

    Head h has the features h·d/heads to (h+1)·d/heads of q and k, and likewise of v, and yields
    softmax(scale·q·kᵀ + mask)·v (Vaswani et al. 2017). The optional fourth operand is the mask,
    [n, m] or [heads, n, m], added to the scores.
    """

    name: ClassVar[str] = "attention"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v")

    heads: int = attr(Int(1), 1, doc="number of heads; divides the features")
    causal: bool = attr(Bool(), False, doc="whether token i sees only the tokens up to i")
    scale: float | None = attr(
        Optional(Float()), None, doc="factor of the scores; 1/√(d/heads) if not given"
    )
    dropout: float = attr(
        Float(0.0, below=1.0), 0.0, doc="while training, probability that a weight is zeroed"
    )

    def accepts(self, count: int) -> bool:
        return count in (3, 4)

    @classmethod
    def operand_count(cls) -> str:
        return "3 operands, or 4 with a mask"

    def infer(self, *operands: TensorType) -> TensorType:
        q, k, v, *mask = operands
        if any(x.rank != 2 for x in (q, k, v)):
            raise ShapeError(
                f"`attention` takes tokens, [tokens, features], not {q}, {k} and {v}",
                "flatten the axes before the last one into one",
            )
        if q.shape[1] != k.shape[1] or k.shape[0] != v.shape[0]:
            raise ShapeError(
                f"`attention` cannot combine q {q}, k {k} and v {v}",
                "q and k must have the same features, k and v the same tokens",
            )
        for what, features in (("q and k", q.shape[1]), ("v", v.shape[1])):
            if features % self.heads:
                raise ShapeError(
                    f"`attention(heads={self.heads})` does not divide the {features} features "
                    f"of {what}"
                )
        if mask:
            scores = (self.heads, q.shape[0], k.shape[0])
            if mask[0].rank > 3 or broadcast(scores, mask[0].shape) != scores:
                raise ShapeError(
                    f"the mask {mask[0]} of `attention` does not fit scores of {list(scores)}",
                    "it is [queries, keys], or [heads, queries, keys]",
                )
        return checked(q.with_shape(q.shape[0], v.shape[1]))

    def macs(self, operands: tuple[TensorType, ...], result: TensorType) -> int:
        q, k, v = operands[:3]
        return q.shape[0] * k.shape[0] * (q.shape[1] + v.shape[1])
