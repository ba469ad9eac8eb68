"""What ONNX nodes are called: in messages, and in the network that is read."""

from __future__ import annotations

import ast
from collections import Counter

import onnx
import onnx_ir

from .naming import path_scope
from .values import Hint


def hint_of(node: onnx_ir.Node) -> Hint:
    """What the model says of a node: the torch exporter's path of modules, or a name."""
    name = node.name or ""
    modules = _modules(node.metadata_props.get(NAME_SCOPES, ""))
    if modules is not None:
        return Hint(scope=modules)
    if name.startswith("/"):
        return Hint(scope=path_scope(name.rpartition("/")[0]))
    stem = name.rstrip("0123456789").rstrip("_").lower()
    if not name or stem in (node.op_type.lower(), "node", "n", "") or stem.startswith("node_"):
        return Hint()
    return Hint(name=name)


NAME_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's newer exporter writes the modules that a node lies in, as a list in Python."""


def _modules(text: str) -> str | None:
    """The innermost module of such a list, whose last item is the node itself."""
    try:
        listed = ast.literal_eval(text) if len(text) < 10_000 else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(listed, list) or len(listed) < 2 or listed[0] != "":
        return None
    return listed[-2] if isinstance(listed[-2], str) else None


def called(node: onnx_ir.Node) -> str:
    if node.name:
        return f"the node `{node.name}`"
    output = next((v.name for v in node.outputs if v.name), "")
    return f"the node that gives `{output}`"


def proto_called(node: onnx.NodeProto) -> str:
    if node.name:
        return f"the node `{node.name}`"
    return f"the node that gives `{node.output[0] if node.output else ''}`"


def some(places: list[str]) -> str:
    counts = Counter(places)
    shown = list(counts)[:5]
    rest = len(places) - len(shown)
    text = ", ".join(p.replace("the node `", "`") for p in shown)
    return text + (f" and {rest} more" if rest > 0 else "")


def line(error: BaseException) -> str:
    """What an error says, or the one that it came of."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
