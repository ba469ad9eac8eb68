"""One ONNX node as its handler sees it, and the table of handlers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import operations as o
from .builder import Builder
from .values import Bound, Const, Unreadable, Value, shown


@dataclass(slots=True)
class Call:
    """A node of the model, its operands as they were read."""

    op: str
    inputs: Sequence[Value]
    outputs: int
    """How many results the node has; those that nothing uses may count."""
    attributes: dict[str, Any]
    opset: int
    b: Builder

    def get(self, index: int) -> Bound | Const | None:
        """An operand, or None where it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        assert not isinstance(value, tuple)
        return value

    def tensor(self, index: int = 0) -> Bound | Const:
        """An operand that must be there."""
        value = self.get(index)
        if value is None:
            raise Unreadable(f"operand {index} is missing")
        return value

    @property
    def x(self) -> Bound:
        """The first operand."""
        return o.bound(self.b, self.tensor())

    @property
    def shape(self) -> tuple[int, ...]:
        """The first operand's real shape."""
        value = self.tensor()
        return value.shape if isinstance(value, Const) else value.real(self.b.batch)

    @property
    def shown(self) -> str:
        """The first operand's shape for a message, the batch as N."""
        return shown(self.shape, self.b.batch)

    def const(self, index: int, what: str) -> Const:
        """An operand whose numbers must be known."""
        return o.const(self.tensor(index), what)

    def optional(self, index: int, what: str) -> Const | None:
        """An operand whose numbers must be known, if it is there."""
        value = self.get(index)
        return None if value is None else o.const(value, what)

    def ints(self, index: int, what: str) -> list[int]:
        return self.const(index, what).ints()

    def attr(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def axes(self, index: int, since: int) -> list[int] | None:
        """``axes``: an attribute until opset ``since``, then an operand. None if not given."""
        if self.opset >= since:
            given = self.optional(index, "axes")
            return None if given is None else given.ints()
        axes = self.attr("axes")
        return None if axes is None else list(axes)

    def number(self, index: int, name: str, since: int, default: float | None) -> float | None:
        """A number that is an attribute until opset ``since``, an operand from it on."""
        if self.opset >= since:
            given = self.optional(index, f"`{name}`")
            return default if given is None or not given.array.size else given.number()
        value = self.attr(name, default)
        return None if value is None else float(value)


Handler = Callable[[Call], Value]

HANDLERS: dict[str, Handler] = {}
"""Handlers by ONNX's op type."""

LAYOUT: set[str] = set()
"""Ops that move numbers of a constant, which keeps its name; others make new constants."""


def handles(*names: str, layout: bool = False) -> Callable[[Handler], Handler]:
    """Declare the handler of these ops."""

    def declare(function: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = function
            if layout:
                LAYOUT.add(name)
        return function

    return declare


def is_whole(array: Any) -> bool:
    return np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_
