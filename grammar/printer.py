"""Graph → canonical ``.arch`` text. ``loads(dumps(graph))`` gives the graph back."""

from __future__ import annotations

from ..ir import Graph, Node
from ..ir.attributes import show_value
from ..ir.names import BARE
from ..ir.ops import Add, Mul, Op, Scale, Sub

# Words with a meaning at the start of a statement, and words with a meaning in expressions.
STATEMENT_WORDS = frozenset("input output weights return repeat if else use block net".split())
EXPRESSION_WORDS = frozenset("true false not and or as with in sha256".split())

_INFIX: dict[type[Op], str] = {Add: "+", Sub: "-", Mul: "*"}


def quote(name: str) -> str:
    """A name as it is written: plain, or in backticks."""
    plain = BARE.match(name) and name not in STATEMENT_WORDS and name not in EXPRESSION_WORDS
    return name if plain else f"`{name}`"


def dumps(graph: Graph, *, weights: tuple[str, str] | None = None) -> str:
    """The graph as text, one statement a node, in canonical order, defaults left out.

    ``weights`` binds the text to a safetensors file: its name and SHA-256.
    """
    lines = [f"net {quote(graph.name)} {{"]
    if weights is not None:
        file, sha256 = weights
        lines.append(f"    weights {show_value(file)}\n        sha256 {show_value(sha256)}")
    for name in graph.inputs:
        lines.append(f"    input {quote(name)}: {graph.node(name).type}")
    for node in graph:
        if node.name not in graph.inputs:
            lines.append(f"    {quote(node.name)} = {application(node)}")
    for output, name in graph.outputs.items():
        lines.append(
            f"    output {quote(output)}" + ("" if output == name else f" = {quote(name)}")
        )
    return "\n".join([*lines, "}", ""])


def application(node: Node) -> str:
    """The right-hand side of a node's statement: ``x -> conv2d(16)`` or ``a + b``."""
    operands = [quote(o) for o in node.operands]
    sign = _INFIX.get(type(node.op))
    if sign is not None and (len(operands) == 2 or sign == "+"):
        return f" {sign} ".join(operands)
    if type(node.op) is Scale and node.op.factor == -1.0 and node.op.offset == 0.0:
        return f"-{operands[0]}"
    arguments = op_arguments(node.op)
    if len(operands) == 1:
        call = f"{operands[0]} -> {node.op.name}" + (f"({arguments})" if arguments else "")
    else:
        inside = ", ".join([*operands, arguments] if arguments else operands)
        call = f"{node.op.name}({inside})"
    if node.shared:
        bindings = ", ".join(f"{role} = {quote(key)}" for role, key in node.shared.items())
        call += f" with ({bindings})"
    return call


def op_arguments(op: Op) -> str:
    """``16, kernel=5``: required attributes by position, others by name unless default."""
    return ", ".join(
        text if attribute.required else f"{attribute.name}={text}"
        for attribute, text in op.arguments()
    )
