"""Graph → canonical ``.arch`` text. ``loads(dumps(graph))`` gives the graph back.

- ``phrases.py``: names and applications of ops as text
- ``repeats.py``: parts of the graph that are alike
- ``outline.py``: which of them become blocks
- ``bodies.py``, ``block_names.py``: the text of those
"""

from __future__ import annotations

from ..ir import Graph
from ..ir.attributes import show_value
from .outline import blocks_of, outline
from .phrases import EXPRESSION_WORDS, INDENT, STATEMENT_WORDS, application, quote

__all__ = ["EXPRESSION_WORDS", "STATEMENT_WORDS", "application", "dumps", "quote"]


def dumps(graph: Graph, *, weights: tuple[str, str] | None = None) -> str:
    """The graph as text, defaults left out: a statement for each node, in canonical order.

    Parts that repeat, below dotted names such as ``layer1.0``, are printed once, as a block, where
    that makes the text shorter. ``weights`` binds the text to a safetensors file: its name and
    SHA-256.
    """
    net = outline(graph)
    if net is None:
        nodes = list(graph)[len(graph.inputs) :]
        statements = [f"{INDENT}{quote(node.name)} = {application(node)}" for node in nodes]
        results = [quote(name) for name in graph.outputs.values()]
    else:
        statements, results = net.statements, net.returns
    lines = [block.text() for block in blocks_of(net)] if net else []
    lines.append(f"net {quote(graph.name)} {{")
    if weights is not None:
        file, sha256 = weights
        lines.append(f"{INDENT}weights {show_value(file)}")
        lines.append(f"{INDENT}{INDENT}sha256 {show_value(sha256)}")
    lines += [f"{INDENT}input {quote(name)}: {graph.node(name).type}" for name in graph.inputs]
    lines += statements
    for output, result in zip(map(quote, graph.outputs), results, strict=True):
        lines.append(f"{INDENT}output {output}" + ("" if output == result else f" = {result}"))
    return "\n".join([*lines, "}", ""])
