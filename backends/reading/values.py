"""What a tensor of a foreign model is while it is read.

Foreign models write the batch as an axis like any other: they move it about, and merge it with
its neighbours. The IR knows it only as the axis in front that is never written. A
:class:`Bound` is an IR node together with where its batch is in the foreign tensor; so a transpose
that only moves the batch, or a reshape that only merges it, leaves no trace in the IR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Unreadable(Exception):
    """Why one node of a foreign model cannot be expressed in the IR. Text, without a place."""


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """A tensor with known numbers.

    ``name`` is that of the stored tensor it is, or was transposed or reshaped from; ``trainable``
    whether it is one that training moves. ``transposed`` says that the last two axes of the stored
    tensor were swapped, and ``changed`` that it is not the stored tensor as it was.
    """

    array: NDArray[Any]
    name: str | None = None
    trainable: bool = False
    transposed: bool = False
    changed: bool = False
    rows: tuple[int, int] | None = None
    """The part of the stored tensor's first axis that it is; None for all of it."""
    origin: Const | None = None
    """The stored tensor as it was, if this is it but for axes of size 1."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def is_scalar(self) -> bool:
        """One number that is not learned: an attribute rather than a tensor."""
        return self.array.size == 1 and not self.trainable

    def number(self) -> float:
        """Its one number: of float32, the shortest decimal that stands for it."""
        value = self.array.reshape(())[()]
        return float(str(value)) if value.dtype == np.float32 else float(value)

    def ints(self) -> list[int]:
        """The numbers, flat, as Python's whole numbers."""
        return [int(n) for n in self.array.reshape(-1)]

    def with_array(self, array: NDArray[Any], *, transposed: bool = False) -> Const:
        """The same tensor in another layout."""
        changed = self.changed or not transposed
        swapped = self.transposed != transposed
        return Const(array, self.name, self.trainable, swapped, changed, self.rows)

    def viewed(self, array: NDArray[Any]) -> Const:
        """The same numbers in the same order, with other axes of size 1."""
        origin = self.origin or self
        if origin.shape == array.shape:
            return origin
        seen = self.with_array(array)
        return seen if origin.name is None or origin.changed else replace(seen, origin=origin)

    def part(self, start: int, stop: int) -> Const:
        """Some rows, for instance of the packed weights of several layers."""
        array = self.array[start:stop]
        if self.transposed or self.changed or self.rows is not None:
            return self.with_array(array)
        return replace(self, array=array, rows=(start, stop))


@dataclass(frozen=True, slots=True)
class Bound:
    """The result of an IR node.

    The IR's axes are, in order: those before the batch, ``before`` axes that are merged into the
    batch axis in front of it, ``after`` axes merged behind it, and the rest. ``batch`` is the
    batch axis's number in the foreign tensor, None for what has none: made of stored tensors alone.
    """

    node: str
    shape: tuple[int, ...]
    batch: int | None = 0
    before: int = 0
    after: int = 0
    dtype: str = "f32"

    def real(self, batch: int) -> tuple[int, ...]:
        """The foreign tensor's shape, for a batch of that size."""
        if self.batch is None:
            return self.shape
        first, last = self.batch, self.batch + self.before + self.after
        merged = batch * math.prod(self.shape[first:last])
        return (*self.shape[:first], merged, *self.shape[last:])

    @property
    def rank(self) -> int:
        """Number of axes of the foreign tensor."""
        if self.batch is None:
            return len(self.shape)
        return len(self.shape) - self.before - self.after + 1

    @property
    def behind(self) -> int:
        """How many axes of the foreign tensor come after the batch; -1 for no batch."""
        return -1 if self.batch is None else self.rank - 1 - self.batch

    def axis(self, real: int) -> int:
        """The IR's axis for one of the foreign tensor. Raises :class:`Unreadable`."""
        real = real + self.rank if real < 0 else real
        if not 0 <= real < self.rank:
            raise Unreadable(f"axis {real} is out of range")
        if self.batch is None or real < self.batch:
            return real
        if real == self.batch:
            raise Unreadable("it works along the batch axis")
        return real - 1 + self.before + self.after

    @property
    def is_plain(self) -> bool:
        """Whether the batch is the first axis, alone."""
        return self.batch == 0 and not self.before and not self.after


Value = Const | Bound | tuple[Any, ...] | None
"""A tensor, several results of one node, or an operand that is left out."""


@dataclass(slots=True)
class Hint:
    """What an IR node could be called: an exact name, or the scope it lies in and its kind."""

    name: str | None = None
    scope: str | None = None
    kind: str | None = None
    """What it is called within its scope; its op's name if not given."""
    weight: bool = False
    """Whether the node's own stored tensors say what it is called, before ``name`` does."""


@dataclass(slots=True)
class Notes:
    """What the reader wants to tell about the model it has read."""

    texts: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)


STAND_IN = 127
"""The least number that stands for the size of an open batch."""


def batch_number(taken: set[int], least: int = STAND_IN) -> int:
    """A prime of at least ``least`` that divides none of the numbers: it stands for the batch
    wherever it turns up. ``least`` is odd."""
    prime = least
    while any(n % prime == 0 for n in taken if n) or not _is_prime(prime):
        prime += 2
    return prime


def _is_prime(n: int) -> bool:
    return all(n % d for d in range(3, math.isqrt(n) + 1, 2))


def long_axes(shape: Sequence[int]) -> list[int]:
    """The sizes that are not 1."""
    return [n for n in shape if n != 1]


def shown(shape: Sequence[int], batch: int) -> str:
    """A foreign tensor's shape for a message, with N for the stand-in of an open batch."""
    words = []
    for n in shape:
        times, rest = divmod(n, max(batch, 1))
        is_open = batch >= STAND_IN and n and not rest
        words.append(str(n) if not is_open else "N" if times == 1 else f"{times}·N")
    return f"[{', '.join(words)}]"


def same_slices(array: NDArray[Any], axis: int) -> bool:
    """Whether all that lies along an axis is the same."""
    first = np.take(array, [0], axis)
    return bool((array == first).all())
