"""Makes a network that was read say what it does: no plumbing, whole functions for their parts.

Exporters take functions apart (``x · sigmoid(x)``), and write shapes out. Each rule here looks at
one node and what it reads, and puts one that says the same in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir import Op
from ...ir.analysis import input_free
from ...ir.ops import Constant
from .builder import Builder
from .values import Hint

Rule = Callable[["Tidy", str], str | None]
"""A simpler node that yields the same as the one of this name, or None."""

RULES: dict[type[Op], list[Rule]] = {}


def rule(*classes: type[Op]) -> Callable[[Rule], Rule]:
    """Declare a rule for nodes of these ops."""

    def declare(function: Rule) -> Rule:
        for cls in classes:
            RULES.setdefault(cls, []).append(function)
        return function

    return declare


class Tidy:
    """A graph in the making, as the rules see it."""

    def __init__(self, builder: Builder) -> None:
        self.b = builder
        self.graph = builder.graph
        self.free = input_free(self.graph)
        self.seen: dict[tuple[Op, tuple[str, ...]], str] = {}
        """A node of this op and these operands."""
        self.made: list[str] = []
        """New nodes, which no rule has looked at yet."""
        self.given: set[tuple[str | None, str]] = set()
        """Stored tensors that became parameters, and of which role."""

    # ---- looking

    def op(self, name: str) -> Op:
        return self.graph.node(name).op

    def is_a(self, name: str, cls: type[Op] | tuple[type[Op], ...]) -> bool:
        return isinstance(self.op(name), cls)

    def operands(self, name: str) -> tuple[str, ...]:
        return self.graph.node(name).operands

    def x(self, name: str) -> str:
        """The first operand."""
        return self.graph.node(name).operands[0]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.node(name).type.shape

    def only_user(self, name: str) -> str | None:
        """The one node that reads this one, if that is its only use."""
        users = self.graph.consumers(name)
        return users[0][0] if len(users) == 1 and not self.graph.is_output(name) else None

    def pair(
        self, name: str, cls: type[Op], second: type[Op] | tuple[type[Op], ...]
    ) -> tuple[str, str] | None:
        """The operands of a node of two, the one of the second kind last."""
        operands = self.operands(name)
        if not self.is_a(name, cls) or len(operands) != 2:
            return None
        a, b = operands
        if self.is_a(b, second):
            return a, b
        return (b, a) if self.is_a(a, second) else None

    def number(self, name: str, cls: type[Op], **wanted: Any) -> bool:
        """Whether a node is that op with these attributes, numbers within float32's rounding."""
        op = self.op(name)
        return isinstance(op, cls) and all(
            near(getattr(op, key), value) for key, value in wanted.items()
        )

    # ---- changing

    def put(self, at: str, op: Op, *operands: str, kind: str | None = None) -> str:
        """A new node in the place of another, with its hint for a name; or of that kind beside."""
        name = self.b.fresh()
        self.graph.add(op, operands, name)
        hint = self.b.hints[at]
        self.b.hints[name] = Hint(scope=hint.scope, kind=kind) if kind else hint
        if self.free.issuperset(operands):
            self.free.add(name)
        self.made.append(name)
        return name

    def constant(self, at: str, array: NDArray[np.float32], like: str) -> str:
        """A new stored tensor, called like another that it takes the place of."""
        name = self.put(at, Constant(array.shape), kind="constant")
        self.graph.weights[name] = array
        self.b.sources[name] = replace(self.b.sources[like], exact=False)
        self.b.hints[name] = self.b.hints[like]
        return name

    def replace(self, old: str, new: str) -> None:
        self.graph.redirect(old, new)
        self.drop(old)

    def drop(self, name: str) -> None:
        """Remove a node that nothing uses, and then what only it used."""
        waiting = [name]
        while waiting:
            at = waiting.pop()
            if at not in self.graph or at in self.graph.inputs:
                continue
            if self.graph.consumers(at) or self.graph.is_output(at):
                continue
            operands = self.graph.node(at).operands
            self.graph.remove(at)
            waiting += operands


def twice(t: Tidy, at: str) -> str | None:
    """The same of the same, computed before → that"""
    node = t.graph.node(at)
    if not node.operands or t.graph.params_of(at) or node.op.name in ("dropout", "attention"):
        return None
    other = t.seen.get((node.op, node.operands), at)
    if other != at and other in t.graph:
        found = t.graph.node(other)  # it may read something else by now
        if found.op == node.op and found.operands == node.operands:
            return other
    t.seen[node.op, node.operands] = at
    return None


def near(a: Any, b: float) -> bool:
    return isinstance(a, (int, float)) and abs(a - b) <= 1e-6 * max(1.0, abs(b))


def tidy(builder: Builder) -> None:
    """Apply all rules until none applies; then remove what no output needs."""
    from . import tidy_attention as tidy_attention
    from . import tidy_functions as tidy_functions
    from . import tidy_layers as tidy_layers
    from . import tidy_plumbing as tidy_plumbing

    tools = Tidy(builder)
    graph = builder.graph
    waiting = list(graph.order())
    while waiting:
        again: dict[str, None] = {}
        for name in waiting:
            if name not in graph or name in graph.inputs:
                continue
            for apply in (twice, *RULES.get(type(graph.node(name).op), ())):
                new = apply(tools, name)
                if new is not None:
                    users = [user for user, _ in graph.consumers(name)]
                    if new != name and name in graph:
                        tools.replace(name, new)
                    again[new] = None
                    again.update(dict.fromkeys(tools.made))
                    tools.made.clear()
                    again.update(dict.fromkeys(users))
                    break
        waiting = [name for name in graph.order() if name in again]
    graph.settle()
    for name in reversed(graph.order()):
        tools.drop(name)
