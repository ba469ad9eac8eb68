"""Ops that move numbers without changing them. Axis 0 is the first one after the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..attributes import MAX_INT, Choice, Float, Int, Ints, Optional, attr
from ..types import TensorType
from .arithmetic import broadcast
from .base import Op, ShapeError, axis_index, checked, register

ANY = ("f32", "i64")


@register
@dataclass(frozen=True)
class Concat(Op):
    """Tensors one after another along an axis; for images, their channels."""

    name: ClassVar[str] = "concat"
    takes: ClassVar[tuple[str, ...]] = ANY
    operands: ClassVar[tuple[str, ...]] = ("a",)
    variadic: ClassVar[bool] = True

    axis: int = attr(Int(-MAX_INT), 0, doc="axis to join along; 0 is the channels")

    def infer(self, *operands: TensorType) -> TensorType:
        first = operands[0]
        axis = axis_index(self, self.axis, first)
        rest = first.shape[:axis] + first.shape[axis + 1 :]
        for other in operands[1:]:
            same_rest = other.shape[:axis] + other.shape[axis + 1 :] == rest
            if other.rank != first.rank or not same_rest:
                raise ShapeError(
                    f"`concat` cannot join {first} and {other} along axis {axis}",
                    "all other axes must have equal sizes",
                )
        total = sum(o.shape[axis] for o in operands)
        return checked(first.with_shape(*first.shape[:axis], total, *first.shape[axis + 1 :]))


@register
@dataclass(frozen=True)
class Slice(Op):
    """Elements start, start + step, … below stop, of one axis."""

    name: ClassVar[str] = "slice"
    takes: ClassVar[tuple[str, ...]] = ANY

    start: int = attr(Int(0), doc="first element")
    stop: int | None = attr(
        Optional(Int(1)), None, doc="end, exclusive; the axis's size if not given"
    )
    axis: int = attr(Int(-MAX_INT), 0, doc="axis to cut; 0 is the channels")
    step: int = attr(Int(1), 1, doc="distance between the elements taken")

    def bounds(self, x: TensorType) -> tuple[int, int, int, int]:
        """(axis, start, stop, step), all explicit and counted from 0."""
        axis = axis_index(self, self.axis, x)
        return axis, self.start, x.shape[axis] if self.stop is None else self.stop, self.step

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        axis, start, stop, step = self.bounds(x)
        if not start < stop <= x.shape[axis]:
            raise ShapeError(
                f"`slice` takes {start} to {stop} of an axis of size {x.shape[axis]}",
                "start must be below stop, and stop at most the axis's size",
            )
        count = len(range(start, stop, step))
        return x.with_shape(*x.shape[:axis], count, *x.shape[axis + 1 :])


@register
@dataclass(frozen=True)
class Pad(Op):
    """A border on any axis, the channels included: of one value, or of the tensor's own numbers
    (mirrored without its edge, its edge repeated, or from its other end)."""

    name: ClassVar[str] = "pad"

    before: Any = attr(
        Optional(Ints(0)), None, doc="how much before each axis; nothing if not given"
    )
    after: Any = attr(Optional(Ints(0)), None, doc="how much after each axis; nothing if not given")
    value: float = attr(Float(), 0.0, doc="the border's value")
    mode: str = attr(
        Choice(("constant", "reflect", "edge", "wrap")),
        "constant",
        doc="what the border holds: the value, or numbers of the tensor",
    )

    def widths(self, x: TensorType) -> tuple[tuple[int, int], ...]:
        """(before, after) of every axis. Raises :class:`ShapeError` if the lists do not fit."""
        for side in ("before", "after"):
            given = getattr(self, side)
            if given is not None and len(given) != x.rank:
                raise ShapeError(
                    f"`pad({side}={list(given)})` has {len(given)} numbers, but {x} has "
                    f"{x.rank} axes",
                    "give one number for every axis, the channels first",
                )
        zeros = (0,) * x.rank
        return tuple(zip(self.before or zeros, self.after or zeros, strict=True))

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        widths = self.widths(x)
        self._check_mode(x, widths)
        return checked(
            x.with_shape(*(n + b + a for n, (b, a) in zip(x.shape, widths, strict=True)))
        )

    def _check_mode(self, x: TensorType, widths: tuple[tuple[int, int], ...]) -> None:
        limits = {"reflect": -1, "wrap": 0}
        if self.mode not in limits:
            return
        for size, pair in zip(x.shape, widths, strict=True):
            most = size + limits[self.mode]
            if max(pair) > most:
                raise ShapeError(
                    f'`pad(mode="{self.mode}")` pads an axis of size {size} by {max(pair)}',
                    f"this mode has numbers for at most {most}",
                )


@register
@dataclass(frozen=True)
class Flatten(Op):
    """All axes from ``axis`` on become one."""

    name: ClassVar[str] = "flatten"
    takes: ClassVar[tuple[str, ...]] = ANY

    axis: int = attr(Int(-MAX_INT), 0, doc="first axis to flatten; those before it stay")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.rank == 0:
            return x.with_shape(1)
        axis = axis_index(self, self.axis, x)
        return x.with_shape(*x.shape[:axis], math.prod(x.shape[axis:]))


@register
@dataclass(frozen=True)
class Reshape(Op):
    """The same numbers in another shape, row by row; one axis may be -1: what is left."""

    name: ClassVar[str] = "reshape"
    takes: ClassVar[tuple[str, ...]] = ANY

    shape: Any = attr(Ints(-1), doc="the new shape, without the batch")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        known = math.prod(n for n in self.shape if n != -1)
        holes = self.shape.count(-1)
        fits = known > 0 and holes <= 1 and (x.size % known == 0 if holes else x.size == known)
        if not fits:
            raise ShapeError(
                f"`reshape` cannot make [{', '.join(map(str, self.shape))}] from {x}",
                f"the sizes must multiply to {x.size:,}, with at most one -1",
            )
        return x.with_shape(*(x.size // known if n == -1 else n for n in self.shape))


@register
@dataclass(frozen=True)
class Transpose(Op):
    """Axes in another order: axis i of the result is axis order[i] of x."""

    name: ClassVar[str] = "transpose"
    takes: ClassVar[tuple[str, ...]] = ANY

    order: Any = attr(Ints(0), doc="for each axis of the result, the axis of x; without the batch")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if sorted(self.order) != list(range(x.rank)):
            raise ShapeError(
                f"`transpose({list(self.order)})` does not order the {x.rank} axes of {x}",
                f"name each of 0 to {x.rank - 1} once",
            )
        return x.with_shape(*(x.shape[i] for i in self.order))


@register
@dataclass(frozen=True)
class Gather(Op):
    """Elements of one axis by their numbers, in any order, as often as wanted."""

    name: ClassVar[str] = "gather"
    takes: ClassVar[tuple[str, ...]] = ANY

    indices: Any = attr(Ints(0), doc="the elements' numbers, from 0")
    axis: int = attr(Int(-MAX_INT), 0, doc="axis to take them from; 0 is the channels")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        axis = axis_index(self, self.axis, x)
        if not self.indices or max(self.indices) >= x.shape[axis]:
            raise ShapeError(
                f"`gather` takes elements of an axis of size {x.shape[axis]}: at least one, each "
                f"from 0 to {x.shape[axis] - 1}"
            )
        return checked(x.with_shape(*x.shape[:axis], len(self.indices), *x.shape[axis + 1 :]))


@register
@dataclass(frozen=True)
class Expand(Op):
    """Axes of size 1, and new ones in front, repeated to a larger shape."""

    name: ClassVar[str] = "expand"
    takes: ClassVar[tuple[str, ...]] = ANY

    shape: Any = attr(Ints(1), doc="the new shape, without the batch")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if broadcast(x.shape, self.shape) != self.shape:
            raise ShapeError(
                f"`expand` cannot repeat {x} to {list(self.shape)}",
                "only axes of size 1 are repeated, and new axes come in front",
            )
        return checked(x.with_shape(*self.shape))


@register
@dataclass(frozen=True)
class Tile(Op):
    """The whole tensor repeated along each axis."""

    name: ClassVar[str] = "tile"
    takes: ClassVar[tuple[str, ...]] = ANY

    repeats: Any = attr(Ints(1), doc="how often, for every axis")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if len(self.repeats) != x.rank:
            raise ShapeError(
                f"`tile({list(self.repeats)})` has {len(self.repeats)} numbers, but {x} has "
                f"{x.rank} axes"
            )
        return checked(x.with_shape(*(n * r for n, r in zip(x.shape, self.repeats, strict=True))))
