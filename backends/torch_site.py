"""What the PyTorch lowering of one op works with, and the table of these lowerings."""

from __future__ import annotations

import keyword
import operator
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..ir import Node, TensorType
from .registry import Lowerings


class Tracer(fx.Tracer):
    """How unpickling reads the code of a module with constants again: reading a buffer is a node
    of the graph, where fx would compute what depends on buffers alone, and store the result.

    Only then, as a file that names this class is read where growc is installed alone."""

    proxy_buffer_attributes = True


@dataclass
class Draft:
    """The fx graph that is being made, and what it refers to by dotted names."""

    dtype: torch.dtype
    """Of the parameters, and of the constants that lowerings add."""
    free: Collection[str]
    """Nodes that depend on no input: their tensors have a batch of one example."""
    graph: fx.Graph
    modules: dict[str, nn.Module] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that belong to no module: ``nn.Parameter``, or a buffer."""
    first_input: fx.Node | None = None
    _batch: fx.Node | None = None

    def batch(self) -> fx.Node | int:
        """The number of examples, asked of the first input, once."""
        if self.first_input is None:
            return 1
        if self._batch is None:
            args = self.first_input, 0
            self._batch = self.graph.create_node("call_method", "size", args, {}, name="batch")
        return self._batch

    def expanded(self, value: fx.Node, type: TensorType, name: str) -> fx.Node:
        """A tensor that has one example, as a view with one for each of the batch."""
        args = value, self.batch(), *(-1 for _ in type.shape)
        return self.graph.create_node("call_method", "expand", args, {}, name=variable(name))


@dataclass(frozen=True)
class Site:
    """One IR node while it is lowered: its operands, and where to put what it becomes."""

    node: Node
    operands: tuple[fx.Node, ...]
    types: tuple[TensorType, ...]
    draft: Draft
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

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return self.draft.dtype

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Add a call of a function to the fx graph."""
        return self._add("call_function", function, args, kwargs)

    def method(self, name: str, *args: Any) -> fx.Node:
        """Add a call of a tensor's method; the first argument is that tensor."""
        return self._add("call_method", name, args, {})

    def module(self, module: nn.Module, *operands: fx.Node) -> fx.Node:
        """Put ``module`` under the node's name, and call it on ``operands``: by default the
        first one."""
        self.draft.modules[self.node.name] = module
        return self._add("call_module", self.node.name, operands or (self.x,), {})

    def stored(self) -> fx.Node:
        """The tensor that is called like the node."""
        return self._add("get_attr", self.node.name, (), {})

    def aligned(self, rank: int | None = None) -> tuple[fx.Node, ...]:
        """The operands with as many axes as the one that has the most, or ``rank``: further ones
        come after the batch, which is never matched with another axis."""
        rank = max(t.rank for t in self.types) if rank is None else rank
        return tuple(
            self.lifted(x, t.rank, rank) for x, t in zip(self.operands, self.types, strict=True)
        )

    def lifted(self, value: fx.Node, rank: int, wanted: int) -> fx.Node:
        """A tensor of ``rank`` axes with new ones of size 1 after the batch."""
        if rank == wanted:
            return value
        if wanted == rank + 1:
            return self.call(torch.unsqueeze, value, 1)
        return self.call(operator.getitem, value, (slice(None), *(None,) * (wanted - rank)))

    def with_batch(self) -> tuple[fx.Node, ...]:
        """The operands, all with the batch's size if one of them has it."""
        free = [name in self.draft.free for name in self.node.operands]
        if all(free):
            return self.operands
        parts = zip(free, self.operands, self.types, strict=True)
        return tuple(
            self.draft.expanded(x, t, self.node.name) if lone else x for lone, x, t in parts
        )

    def _add(self, kind: str, target: Any, args: Any, kwargs: Any) -> fx.Node:
        name = variable(self.node.name)
        return self.draft.graph.create_node(kind, target, args, kwargs, name=name)


def variable(name: str) -> str:
    """The name to ask fx for.

    It makes an identifier of it, and numbers it if it is taken, but does not know that `self` is
    taken in the code it writes, nor that `None` is a keyword.
    """
    return f"{name}_" if name == "self" or keyword.iskeyword(name) else name


def dim(axis: int, rank: int) -> int:
    """The tensor's dimension for an op's axis: one more, as dimension 0 is the batch."""
    return axis % rank + 1


def border(widths: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """(begin, end) of each axis in the order of ``F.pad``: the last axis first."""
    return tuple(n for pair in reversed(list(widths)) for n in pair)


lowering: Lowerings[Callable[[Any, Site], fx.Node]] = Lowerings("PyTorch")
"""Registers ``function(op, site)``, which returns the fx node that yields the op's result.

Modules are made on the meta device: their parameters are replaced by the graph's values.
"""
