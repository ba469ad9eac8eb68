"""What both backends share: a table of lowerings by op class, and checks before lowering."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from ..ir import Diagnostic, Graph, GrowcError, Input, Node, Op
from ..ir.attributes import Pads
from ..ir.diagnostics import plural

Function = TypeVar("Function", bound=Callable[..., object])


class Lowerings(Generic[Function]):
    """How one backend lowers each op: ``@lowering(Conv)`` registers, :meth:`find` looks up.

    A class serves its subclasses too, unless they have a lowering of their own.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._table: dict[type[Op], Function] = {}

    def __call__(self, *classes: type[Op]) -> Callable[[Function], Function]:
        def register(function: Function) -> Function:
            for cls in classes:
                if cls in self._table:
                    raise ValueError(f"two {self.backend} lowerings of {cls.__name__}")
                self._table[cls] = function
            return function

        return register

    def find(self, cls: type[Op]) -> Function | None:
        """The lowering of an op class, or of the nearest class it is derived from."""
        found = (self._table[base] for base in cls.__mro__ if base in self._table)
        return next(found, None)

    def check(self, nodes: Iterable[Node]) -> None:
        """Raise :class:`GrowcError` with one diagnostic for every node that has no lowering."""
        unknown = [
            Diagnostic(
                f"`{node.op.name}` (node `{node.name}`) cannot be lowered to {self.backend}",
                node.origin,
            )
            for node in nodes
            if not isinstance(node.op, Input) and self.find(type(node.op)) is None
        ]
        if unknown:
            raise GrowcError(*unknown)


def require_values(graph: Graph) -> None:
    """Raise :class:`GrowcError` unless every parameter of the graph has a value of its shape."""
    specs = graph.parameters()
    missing = [name for name in specs if name not in graph.weights]
    if missing:
        lack = "lacks a value" if len(missing) == 1 else "lack values"
        raise GrowcError(
            f"{plural(len(missing), 'parameter')} of `{graph.name}` {lack}, "
            f"the first is `{missing[0]}`",
            help="read its weights from a file, or call growc.initialize(graph, seed)",
        )
    wrong = [
        f"`{name}` has shape {list(graph.weights[name].shape)}, not {list(spec.shape)}"
        for name, spec in specs.items()
        if graph.weights[name].shape != spec.shape
    ]
    if wrong:
        raise GrowcError(f"the weights do not fit `{graph.name}`: {shortened(wrong)}")


def shortened(items: list[str], limit: int = 5) -> str:
    """The items in one line; a long list is cut."""
    rest = [f"and {len(items) - limit} more"] if len(items) > limit else []
    return "; ".join([*items[:limit], *rest])


def is_symmetric(pads: Pads) -> bool:
    """Whether every axis has the same padding at both ends."""
    return all(begin == end for begin, end in pads)


def begins(pads: Pads) -> list[int]:
    """The padding before each axis; with symmetric padding, the one at either end."""
    return [begin for begin, _ in pads]
