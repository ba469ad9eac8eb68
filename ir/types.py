"""Tensor types. The batch dimension is implicit everywhere: ``f32[3, 32, 32]`` is an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

DTYPES = ("f32", "i64")
"""Element types: numbers, in which lowering may still choose another precision, and whole numbers
such as tokens."""

MAX_DIMENSION = 2**31 - 1
MAX_ELEMENTS = 2**40
"""A tensor with more elements than this is a mistake in the text, not a network."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of one example of a tensor, without the batch dimension."""

    shape: tuple[int, ...]
    dtype: str = "f32"

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements in one example."""
        return math.prod(self.shape)

    def with_shape(self, *shape: int) -> TensorType:
        return TensorType(shape, self.dtype)
