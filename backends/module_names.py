"""Putting modules at dotted names, and telling which names a PyTorch module cannot have."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Mapping

from torch import Tensor, fx, nn

from ..ir import Diagnostic, Graph, GrowcError


def assemble(
    graph: Graph, modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]
) -> nn.Module:
    """A module that holds each of ``modules`` and ``tensors`` at its dotted name, below plain
    holders.

    Raises :class:`GrowcError` with one diagnostic for every node whose name cannot be used.
    """
    # Names are taken where the attributes of a GraphModule are, as the root becomes one.
    root: nn.Module = fx.GraphModule({}, fx.Graph())
    problems = []
    # Shorter names first: `stem` must be there before `stem.relu` is put into it.
    placed: dict[str, nn.Module | Tensor] = {**modules, **tensors}
    for name in sorted(placed, key=lambda n: n.count(".")):
        problem = _place(root, name.split("."), placed[name])
        if problem:
            problems.append(
                Diagnostic(
                    f"the node `{name}` cannot keep its name in PyTorch: {problem}",
                    graph.node(name).origin,
                    help=f"rename the node `{name}`",
                )
            )
    if problems:
        raise GrowcError(*problems)
    return root


def _place(root: nn.Module, parts: list[str], value: nn.Module | Tensor) -> str | None:
    """Put the module or tensor there; say why not, if it cannot be done."""
    if parts == ["self"]:
        return "it would name the module itself in the code that fx writes"
    *path, last = parts
    holder = root
    for part in path:
        inner = holder._modules.get(part)
        if inner is None:
            problem = _unusable(holder, part)
            if problem:
                return problem
            inner = nn.Module()
            holder.add_module(part, inner)
        holder = inner
    problem = _unusable(holder, last)
    if problem:
        return problem
    if isinstance(value, nn.Module):
        holder.add_module(last, value)
    elif isinstance(value, nn.Parameter):
        holder.register_parameter(last, value)
    else:
        holder.register_buffer(last, value)
    return None


def _unusable(holder: nn.Module, part: str) -> str | None:
    if hasattr(holder, part):
        return f"`{part}` is already an attribute of a PyTorch module"
    # fx writes Python code: self.stem.conv(x), or getattr(self.stem, "0")(x).
    if keyword.iskeyword(part):
        return f"`{part}` is a keyword of Python"
    if part.isidentifier() and unicodedata.normalize("NFKC", part) != part:
        return f"Python reads `{part}` as `{unicodedata.normalize('NFKC', part)}`"
    if '"' in part or "\\" in part:
        return "it has a quotation mark or a backslash"
    return None
