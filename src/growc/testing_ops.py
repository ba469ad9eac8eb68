"""Random ops with operands that fit, random passes and pipelines: see ``growc.testing``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from .ir import OPS, Op, ShapeError, TensorType
from .ir.attributes import (
    Attribute,
    BadValue,
    Bool,
    Choice,
    Float,
    Int,
    Ints,
    Kind,
    Optional,
    Padding,
    PerAxis,
)
from .ir.ops import (
    Attention,
    Blocks,
    Broadcasting,
    Concat,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Dropout,
    Elementwise,
    Embedding,
    Expand,
    Flatten,
    Gather,
    GlobalPool,
    GroupNorm,
    InstanceNorm,
    LocalResponseNorm,
    MatMul,
    Pad,
    Pool,
    Prelu,
    Reduction,
    Reshape,
    Resize,
    Slice,
    Stored,
    Tile,
    Transpose,
)
from .passes import PASSES, Pass

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True, slots=True)
class Application:
    """An op, and types of operands that it takes."""

    op: Op
    operands: tuple[TensorType, ...]

    @property
    def result(self) -> TensorType:
        """The type that the op yields for these operands."""
        return self.op.result(*self.operands)


def ops(names: Iterable[str] | None = None) -> st.SearchStrategy[Application]:
    """Ops with random legal attributes, and operand types that they take.

    Any registered op, or one of ``names``: your own too, once it is registered. Tensors are small,
    with up to 4 axes.

        >>> @given(testing.ops(["conv2d"]))
        ... def test_channels(case):
        ...     assert case.result.shape[0] == case.op.channels
    """
    classes = [OPS[name] for name in (OPS if names is None else names)]
    return st.sampled_from(classes).flatmap(_applications)


@st.composite
def _applications(draw: Draw, cls: type[Op]) -> Application:
    if issubclass(cls, Attention):
        return _attention(draw)
    if issubclass(cls, Stored):
        return Application(instance(draw, cls, TensorType(())), ())
    x = replace(draw(_operand(cls)), dtype=draw(st.sampled_from(cls.takes)))
    op = instance(draw, cls, x)
    count = len(cls.operands) + (draw(st.integers(0, 2)) if cls.variadic else 0)
    others = [_beside(draw, op, x) for _ in range(count - 1)]
    try:
        op.infer(x, *others)
    except ShapeError:
        reject()
    return Application(op, (x, *others))


def _operand(cls: type[Op]) -> st.SearchStrategy[TensorType]:
    ranks: Iterable[int] = range(1, 5)
    if isinstance(getattr(cls, "rank", None), int):
        ranks = [cls.rank + 1]  # type: ignore[attr-defined]
    elif issubclass(cls, (GlobalPool, InstanceNorm, LocalResponseNorm, MatMul, Resize)):
        ranks = range(2, 5)
    elif issubclass(cls, Blocks):
        return _divisible(cls)
    elif issubclass(
        cls, (Elementwise, Broadcasting, Dropout, Flatten, Reshape, Prelu, Expand, Embedding)
    ):
        ranks = range(5)
    # Two numbers at least, as a norm of single ones is refused.
    least = 2 if issubclass(cls, (InstanceNorm, GroupNorm)) else 1
    sizes = [st.tuples(*[st.integers(least, 6)] * rank) for rank in ranks]
    return st.one_of(sizes).map(TensorType)


def _divisible(cls: type[Op]) -> st.SearchStrategy[TensorType]:
    """Images whose channels, or whose height and width, have divisors."""
    small, large = st.integers(1, 3), st.sampled_from([4, 6, 8, 9])
    shape = (large, small, small) if issubclass(cls, DepthToSpace) else (small, large, large)
    return st.tuples(*shape).map(TensorType)


def _beside(draw: Draw, op: Op, x: TensorType) -> TensorType:
    """A further operand's type beside the first's."""
    shape = list(x.shape)
    if isinstance(op, Concat):
        shape[op.axis] = draw(st.integers(1, 4))
    elif isinstance(op, Broadcasting):
        shape = [1 if draw(st.booleans()) else n for n in shape]
        shape = shape[draw(st.integers(0, len(shape))) if draw(st.booleans()) else 0 :]
    elif isinstance(op, MatMul):
        outer = shape[draw(st.integers(0, len(shape) - 2)) : -2]
        shape = [*(1 if draw(st.booleans()) else n for n in outer), shape[-1], draw(SMALL)]
    return x.with_shape(*shape)


SMALL = st.integers(1, 4)


def _attention(draw: Draw) -> Application:
    heads, queries, tokens = draw(SMALL), draw(SMALL), draw(SMALL)
    features, values = heads * draw(SMALL), heads * draw(SMALL)
    op = instance(draw, Attention, TensorType((queries, features)), heads=heads)
    shapes = [(queries, features), (tokens, features), (tokens, values)]
    if draw(st.booleans()):
        shapes.append((heads, queries, tokens)[draw(st.integers(0, 2)) :])
    return Application(op, tuple(map(TensorType, shapes)))


def instance(draw: Draw, cls: type[Op], x: TensorType, **fixed: Any) -> Op:
    """An op of a class that takes ``x``, its attributes random but for the ``fixed`` ones."""
    values = dict(fixed)
    for attribute in cls.attributes:
        if attribute.name not in values:
            values[attribute.name] = _attribute(draw, cls, attribute, x, values)
    op = cls(**values)
    # What fits every tensor, where these do not fit this one.
    instead: dict[str, Any] = {}
    if isinstance(op, (Conv, Pool)):
        instead = {"padding": "same"}
    elif isinstance(op, ConvTranspose):
        instead = {"padding": "valid", "extra": 0}
    elif isinstance(op, Pad):
        instead = {"mode": "edge"}
    if instead:
        try:
            op.infer(x)
        except ShapeError:
            return replace(op, **instead)
    return op


def _attribute(
    draw: Draw, cls: type[Op], attribute: Attribute, x: TensorType, values: Mapping[str, Any]
) -> Any:
    """A value for one attribute; ``values`` has those before it."""
    name = attribute.name
    if name in ("axis", "dims") and x.rank:
        return draw(st.integers(1, x.rank) if name == "dims" else st.integers(-x.rank, x.rank - 1))
    if issubclass(cls, (Conv, ConvTranspose)) and name == "groups":
        common = _divisors(math.gcd(x.shape[0], values["channels"]))
        return draw(st.sampled_from([1, 1, 1, *common]))
    if issubclass(cls, GroupNorm) and name == "groups":
        return draw(st.sampled_from([g for g in _divisors(x.shape[0]) if g != x.size] or [1]))
    if issubclass(cls, (Slice, Gather)) and name in ("start", "stop", "indices"):
        # One place on the first axis serves every axis that is at least as long.
        least = min(x.shape)
        place = st.integers(0, least - 1)
        options = {
            "start": place,
            "stop": st.none() | st.just(least),
            "indices": st.lists(place, min_size=1, max_size=4),
        }
        return draw(options[name])
    if issubclass(cls, Pad) and name in ("before", "after"):
        return draw(st.none() | st.tuples(*[st.integers(0, 2)] * x.rank))
    if issubclass(cls, Transpose):
        return draw(st.permutations(range(x.rank)))
    if issubclass(cls, Reshape):
        return draw(_shapes(x))
    if issubclass(cls, Reduction) and name == "axes":
        axes = draw(st.permutations(range(x.rank)))[: draw(st.integers(1, x.rank))]
        return [axis - x.rank if draw(st.booleans()) else axis for axis in axes]
    if issubclass(cls, Expand):
        front = draw(st.lists(SMALL, max_size=2))
        return [*front, *(draw(SMALL) if n == 1 else n for n in x.shape)]
    if issubclass(cls, Tile):
        return draw(st.tuples(*[st.integers(1, 3)] * x.rank))
    if issubclass(cls, Resize) and name in ("size", "scale"):
        sizes = st.tuples(*[st.integers(1, 8)] * (x.rank - 1))
        ratios = st.tuples(*[st.sampled_from([0.5, 1.3, 2.0])] * (x.rank - 1))
        return draw(sizes if name == "size" else st.none() | ratios)
    if issubclass(cls, Blocks) and name == "block":
        return draw(st.sampled_from(_blocks(cls, x)))
    if issubclass(cls, Prelu):
        return draw(st.sampled_from([1, *x.shape[:1]]))
    if issubclass(cls, Stored) and name == "shape":
        return draw(st.lists(st.integers(1, 6), max_size=3))
    return draw(_plain(attribute.kind))


def _blocks(cls: type[Op], x: TensorType) -> list[int]:
    channels, height, width = x.shape
    if issubclass(cls, DepthToSpace):
        return [b for b in (1, 2, 3) if channels % b**2 == 0]
    return _divisors(math.gcd(height, width))


def _shapes(x: TensorType) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes with as many numbers: axes in another order or merged, one perhaps left open."""
    options = [(x.size,), (1, x.size), x.shape[::-1], (*x.shape, 1), (-1,)]
    if x.rank > 1:
        options += [(x.shape[0], -1), (x.shape[0] * x.shape[1], *x.shape[2:])]
    return st.sampled_from(options)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


FLOATS = (1.0, 0.1, 0.5, 0.01, 2.0, 1e-5, -0.5)


def _plain(kind: Kind) -> st.SearchStrategy[Any]:
    """Small values that a kind of attribute accepts."""
    match kind:
        case Bool():
            return st.booleans()
        case Choice():
            return st.sampled_from(kind.words)
        case Float():
            return st.sampled_from([v for v in FLOATS if _accepts(kind, v)])
        case Int():
            low = max(kind.low, -4)
            steps = st.integers(0, min(5, kind.high - low))
            return steps.map(lambda n: low + n + (n % 2 if kind.even else 0))
        case PerAxis():
            return st.integers(kind.low, 3) | st.tuples(*[st.integers(kind.low, 3)] * kind.rank)
        case Padding():
            numbers = st.tuples(*[st.integers(0, 2)] * (2 * kind.rank))
            return st.sampled_from(["same", "valid"]) | st.integers(0, 2) | numbers
        case Ints():
            length = kind.length if kind.length is not None else 2
            return st.tuples(*[st.integers(max(kind.low, -4), 4)] * length)
        case Optional():
            return st.none() | _plain(kind.kind)
    return st.nothing()


def _accepts(kind: Kind, value: object) -> bool:
    try:
        kind.read(value)
    except BadValue:
        return False
    return True


# ---- passes


def passes(cls: type[Pass]) -> st.SearchStrategy[Pass]:
    """Instances of a class of passes, with random options; ``at`` is left open, ``seed`` too.

    >>> @given(testing.networks(), testing.passes(growc.PASSES["r2deeper"]))
    ... def test_r2deeper(net, deeper): ...
    """
    options = {
        a.name: st.just(a.default) | _plain(a.kind)
        for a in cls.attributes
        if a.name not in ("at", "seed")
    }
    return st.fixed_dictionaries(options).map(lambda values: cls.build([], values))


def pipelines(
    names: Iterable[str] | None = None, *, least: int = 1, most: int = 4
) -> st.SearchStrategy[list[Pass]]:
    """Lists of ``least`` to ``most`` passes, any registered ones or those in ``names``.

    >>> @given(testing.pipelines())
    ... def test_text(pipeline):
    ...     assert growc.parse_pipeline(", ".join(map(str, pipeline))) == pipeline
    """
    classes = [PASSES[name] for name in (PASSES if names is None else names)]
    return st.lists(st.sampled_from(classes).flatmap(passes), min_size=least, max_size=most)
