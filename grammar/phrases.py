"""Pieces of canonical text: names, applications of ops, lists in brackets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir import Node
from ..ir.names import BARE
from ..ir.ops import Add, Mul, Op, Scale, Sub

# Words with a meaning at the start of a statement, and words with a meaning in expressions.
STATEMENT_WORDS = frozenset("input output weights return repeat if else use block net".split())
EXPRESSION_WORDS = frozenset("true false not and or as with in sha256".split())

LINE_LENGTH = 100
INDENT = "    "

_INFIX: dict[type[Op], str] = {Add: "+", Sub: "-", Mul: "*"}


def quote(name: str) -> str:
    """A name as it is written: plain, or in backticks."""
    plain = BARE.match(name) and name not in STATEMENT_WORDS and name not in EXPRESSION_WORDS
    return name if plain else f"`{name}`"


def application(node: Node) -> str:
    """The right-hand side of a node's statement: ``x -> conv2d(16)`` or ``a + b``."""
    return applied(node, [quote(o) for o in node.operands])


def applied(node: Node, operands: Sequence[str], arguments: str | None = None) -> str:
    """A node's op, applied to these operands. ``arguments`` are written instead of its own."""
    op = node.op
    sign = _INFIX.get(type(op))
    if sign is not None and (len(operands) == 2 or sign == "+"):
        return f" {sign} ".join(operands)
    if arguments is None:
        if type(op) is Scale and op.factor == -1.0 and op.offset == 0.0:
            return f"-{operands[0]}"
        arguments = op_arguments(op)
    if len(operands) == 1:
        call = f"{operands[0]} -> {op.name}" + (f"({arguments})" if arguments else "")
    else:
        inside = ", ".join([*operands, arguments] if arguments else operands)
        call = f"{op.name}({inside})"
    return call + shared_parameters(node.shared) if node.shared else call


def op_arguments(op: Op) -> str:
    """``16, kernel=5``: required attributes by position, others by name unless default."""
    return ", ".join(
        text if attribute.required else f"{attribute.name}={text}"
        for attribute, text in op.arguments()
    )


OWN = "value"
"""What the tensor of a ``parameter`` or ``constant`` is called where it is shared."""


def shared_parameters(shared: Mapping[str, str]) -> str:
    # The one tensor of a `parameter` has no role, but needs a word here.
    bindings = ", ".join(f"{role or OWN} = {quote(key)}" for role, key in shared.items())
    return f" with ({bindings})"


def bracketed(before: str, items: Sequence[str], after: str, indent: str) -> str:
    """``before(a, b)after``, as `growc fmt` lays it out: one item a line if it is too long."""
    line = f"{indent}{before}({', '.join(items)}){after}"
    if len(line) <= LINE_LENGTH or not items:
        return line
    lines = [f"{indent}{INDENT}{item}," for item in items]
    return "\n".join([f"{indent}{before}(", *lines, f"{indent}){after}"])
