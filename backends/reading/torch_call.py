"""One call of a PyTorch operator as its handler sees it, and the table of handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from . import operations as o
from .builder import Builder
from .values import Bound, Const, Unreadable, Value

Kind = Literal["bool", "int", "float"]


@dataclass(slots=True)
class Call:
    """A call of an ATen operator: arguments by the names of its schema, defaults filled in."""

    op: str
    arguments: dict[str, Any]
    b: Builder
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """``bool``, ``int`` or ``float`` for each argument that is a tensor in PyTorch."""
    result: Kind = "float"
    """That of the result, or of the first of several."""
    mode: str = "training"
    """Which of the modes of :mod:`torch_tracing` the module was traced in."""
    worked_out: Callable[[Bound], Const | None] = lambda x: None
    """The numbers of what is computed from stored tensors alone."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        value = self.arguments.get(name, default)
        return default if value is None else value

    def bound(self, name: str | None = None) -> Bound:
        """A tensor argument, by default the first, as the result of a node."""
        return o.bound(self.b, self.tensor(name))

    def tensor(self, name: str | None = None) -> Bound | Const:
        name = name or ("self" if "self" in self.arguments else "input")
        value = self.arguments[name]
        if not isinstance(value, (Bound, Const)):
            raise Unreadable(f"its argument `{name}` is not a tensor")
        return value

    def const(self, name: str) -> Const:
        """A tensor argument that is stored in the model, or computed from what is."""
        value = self.arguments[name]
        if isinstance(value, Bound) and value.batch is None:
            found = self.worked_out(value)
            if found is not None:
                self.b.notes.add(
                    f"the {name} of {self.op} in `{self.b.here.scope or 'forward'}` is computed "
                    "from stored tensors: its numbers are kept, which training moves by themselves"
                )
                return found
        return o.const(value, f"argument `{name}`")

    def numbers(self, name: str | None = None) -> Bound | Const:
        """A tensor argument for arithmetic, whole numbers as f32."""
        return self.as_numbers(self.tensor(name))

    def as_numbers(self, value: Bound | Const) -> Bound | Const:
        if not isinstance(value, Bound) or value.dtype == "f32":
            return value
        if self.result == "int":
            raise Unreadable("it computes with whole numbers, which growc has as indices alone")
        return o.to_float(self.b, value)

    def optional(self, name: str) -> Const | None:
        return None if self.arguments.get(name) is None else self.const(name)

    def rank(self, name: str | None = None) -> int:
        value = self.tensor(name)
        return value.array.ndim if isinstance(value, Const) else value.rank

    def shape(self, name: str | None = None) -> tuple[int, ...]:
        value = self.tensor(name)
        return value.shape if isinstance(value, Const) else value.real(self.b.batch)


Handler = Callable[[Call], Value]

HANDLERS: dict[str, Handler] = {}
"""Handlers by the operator's name, with or without its overload."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Declare the handler of these operators."""

    def declare(function: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = function
        return function

    return declare


def handler_of(target: str) -> tuple[str, Handler] | None:
    """The handler of ``aten.add.Tensor``, or of ``aten.add``, with the name it is known by.

    ``aten.add_.Tensor``, which works in place, is read like ``aten.add.Tensor``.
    """
    if target in HANDLERS:
        return target, HANDLERS[target]
    space, _, rest = target.partition(".")
    operator, _, overload = rest.partition(".")
    if changes_in_place(target):
        operator = operator[:-1]
    for name in (f"{space}.{operator}.{overload}", f"{space}.{operator}"):
        if name in HANDLERS:
            return name, HANDLERS[name]
    return None


def changes_in_place(target: str) -> bool:
    """Whether an operator such as ``aten.relu_.default`` writes into its first argument."""
    operator = target.partition(".")[2].partition(".")[0]
    return operator.endswith("_") and not operator.endswith("__")


def ints(value: Any, count: int) -> list[int]:
    """One number, or one for each axis, as one for each."""
    listed = list(value) if isinstance(value, Sequence) else [value]
    return listed * count if len(listed) == 1 else listed
