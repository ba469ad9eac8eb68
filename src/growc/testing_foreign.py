"""Parts of random networks that models from elsewhere have: see ``growc.testing``.

Only what is defined, and tame, for every number: no logarithms, no poles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from .ir import OPS
from .ir.ops import (
    Abs,
    Add,
    Attention,
    Clip,
    Div,
    Exp,
    Expand,
    Gather,
    MatMul,
    Maximum,
    Minimum,
    Mul,
    Parameter,
    Prelu,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    Resize,
    RmsNorm,
    Scale,
    Softmax,
    Sub,
    Tile,
    Transpose,
)

if TYPE_CHECKING:
    from .testing_builder import Builder

FUNCTIONS = "abs clip softplus mish softsign celu selu hard_sigmoid sin prelu".split()
MOST_LARGER = 150
"""A tensor with more numbers than this is not made larger."""


def foreign(b: Builder, x: str) -> str:
    """One part; what follows can go on with its result as with any other."""
    kind = b.type_of(x)
    parts = [function, quotient, extremes, reduction, stored, moves]
    if kind.size <= MOST_LARGER:
        parts.append(larger)
    if b.kind == "tokens":
        parts += [attention, product]
    part: Callable[[Builder, str], str] = b.draw(st.sampled_from(parts))
    return part(b, x)


def function(b: Builder, x: str) -> str:
    name = b.draw(st.sampled_from([*FUNCTIONS, "exp", "rms_norm"]))
    if name == "exp":
        return b.add(Exp(), b.add(Clip(-2.0, 1.0), x))
    if name == "rms_norm":
        return b.random(RmsNorm, x, eps=0.1)
    if name == "prelu":
        return b.add(Prelu(b.draw(st.sampled_from([1, b.type_of(x).shape[0]]))), x)
    fixed = {"low": -1.0, "high": b.draw(st.sampled_from([None, 0.5]))} if name == "clip" else {}
    return b.random(OPS[name], x, **fixed)


def quotient(b: Builder, x: str) -> str:
    """x / (1 + |x|)"""
    return b.add(Div(), x, b.add(Scale(offset=1.0), b.add(Abs(), x)))


def extremes(b: Builder, x: str) -> str:
    """The larger or smaller of the tensor's two versions."""
    return b.add(b.draw(st.sampled_from([Maximum(), Minimum()])), x, b.activation(x))


def reduction(b: Builder, x: str) -> str:
    """The tensor beside its mean, sum or extreme along some axes, perhaps expanded first."""
    cls = b.draw(st.sampled_from([ReduceMean, ReduceSum, ReduceMax, ReduceMin]))
    reduced = b.random(cls, x, keep=True)
    if b.chance(3):
        reduced = b.add(Expand(b.type_of(x).shape), reduced)
    return b.add(b.draw(st.sampled_from([Sub(), Add()])), x, reduced)


def stored(b: Builder, x: str) -> str:
    """A learned scale or position embedding, for all axes, some of them, or the last ones."""
    shape = [1 if b.chance(3) else n for n in b.type_of(x).shape]
    first = b.draw(st.integers(0, len(shape) - 1)) if b.chance(2) else 0
    parameter = b.add(Parameter(tuple(shape[first:]), b.chance(2)))
    return b.add(b.draw(st.sampled_from([Add(), Mul()])), x, parameter)


def moves(b: Builder, x: str) -> str:
    """The elements of an axis in another order, or some of them twice."""
    axis = b.draw(st.integers(0, b.type_of(x).rank - 1))
    size = b.type_of(x).shape[axis]
    order = b.draw(st.permutations(range(size)))
    return b.add(Gather((*order, *order[: b.draw(st.integers(0, 1))]), axis), x)


def larger(b: Builder, x: str) -> str:
    """A transposed convolution, or numbers repeated along axes."""
    kind = b.type_of(x)
    if not b.dense(x) and b.chance(2):
        cls = OPS[f"conv_transpose{kind.rank - 1}d"]
        return b.random(cls, x, channels=b.draw(st.integers(1, 4)), kernel=2, stride=2, dilation=1)
    if not b.dense(x) and b.chance(2):
        return b.add(Resize([n + 1 for n in kind.shape[1:]]), x)
    repeats = [1] * kind.rank
    repeats[b.draw(st.integers(0, kind.rank - 1))] = 2
    return b.add(Tile(repeats), x)


def attention(b: Builder, x: str) -> str:
    """x + attention of the tokens to themselves"""
    features = b.type_of(x).shape[1]
    heads = b.draw(st.sampled_from([n for n in (1, 2, 3) if features % n == 0]))
    dropout = 0.3 if b.menu.dropout and b.chance(3) else 0.0
    attended = b.add(Attention(heads, b.chance(2), dropout=dropout), x, x, x)
    return b.add(Add(), x, attended)


def product(b: Builder, x: str) -> str:
    """softmax(x·xᵀ)·x, each step an op of its own"""
    scores = b.add(MatMul(), x, b.add(Transpose([1, 0]), x))
    return b.add(MatMul(), b.add(Softmax(), scores), x)
