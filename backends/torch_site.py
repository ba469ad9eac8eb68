"""What the PyTorch lowering of one op works with, and the table of these lowerings."""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from ..ir import Node, TensorType
from .registry import Lowerings


@dataclass(frozen=True)
class Site:
    """One IR node while it is lowered: its operands, and where to put what it becomes."""

    node: Node
    operands: tuple[fx.Node, ...]
    types: tuple[TensorType, ...]
    graph: fx.Graph
    modules: dict[str, nn.Module]
    masked: bool = False
    """Whether a parameter of the node has a mask."""

    @property
    def x(self) -> fx.Node:
        """The first operand."""
        return self.operands[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The first operand's shape, without the batch."""
        return self.types[0].shape

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Add a call of a function to the fx graph."""
        return self._add("call_function", function, args, kwargs)

    def method(self, name: str, *args: Any) -> fx.Node:
        """Add a call of a tensor's method; the first argument is that tensor."""
        return self._add("call_method", name, args, {})

    def module(self, module: nn.Module) -> fx.Node:
        """Put ``module`` under the node's name, and call it on the first operand."""
        self.modules[self.node.name] = module
        return self._add("call_module", self.node.name, (self.x,), {})

    def _add(self, kind: str, target: Any, args: Any, kwargs: Any) -> fx.Node:
        name = variable(self.node.name)
        return self.graph.create_node(kind, target, args, kwargs, name=name)


def variable(name: str) -> str:
    """The name to ask fx for.

    It makes an identifier of it, and numbers it if it is taken, but does not know that `self` is
    taken in the code it writes, nor that `None` is a keyword.
    """
    return f"{name}_" if name == "self" or keyword.iskeyword(name) else name


lowering: Lowerings[Callable[[Any, Site], fx.Node]] = Lowerings("PyTorch")
"""Registers ``function(op, site)``, which returns the fx node that yields the op's result.

Modules are made on the meta device: their parameters are replaced by the graph's values.
"""
