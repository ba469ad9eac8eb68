"""Runs a network that was read from PyTorch beside the module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ...ir import Graph, GrowcError
from ...ir.diagnostics import plural
from .torch_tracing import Examples, in_mode, run
from .values import Notes


class Differs(GrowcError):
    """What was read computes something else than the module."""


def disagreement(
    graph: Graph, model: nn.Module, examples: Examples, notes: Notes, *, coarse: bool
) -> Differs | None:
    """What is wrong with a graph that was read from a module, run in evaluation mode. ``coarse``
    says whether the module computes with half numbers."""
    from ..torch_lowering import to_torch

    name, batch = type(model).__name__, examples.telling()
    try:
        expected = tensors_of(run(model, batch))
    except Exception as error:  # whatever the module's own code raises
        notes.add(f"unchecked: in evaluation mode {name} raises {type(error).__name__}")
        return None
    ours = to_torch(graph, share=all(a.flags.writeable for a in graph.weights.values()))
    with torch.no_grad(), in_mode(ours, "evaluation"):
        inputs = [x.cpu() for x in batch.in_order(graph.inputs)]
        found = tensors_of(
            ours(*(x.float() if x.is_floating_point() else x.long() for x in inputs))
        )
    if len(found) != len(expected):
        return Differs(
            f"{name} has {plural(len(found), 'output')}, and {len(expected)} in evaluation mode"
        )
    for label, a, b in zip(graph.outputs, found, expected, strict=True):
        wanted = b.cpu().float()
        b = aligned(wanted, a)
        if a.shape != b.shape:
            return Differs(
                f"the output `{label}` of {name} was read as {list(a.shape)}, but is "
                f"{list(wanted.shape)} for a batch of {len(inputs[0])}",
                help="its shape must not depend on the numbers, and its batch not on other axes",
            )
        a, b = a.nan_to_num(), b.nan_to_num()
        scale = float(b.abs().max()) if b.numel() else 0.0
        difference = float((a - b).abs().max()) if b.numel() else 0.0
        # Float32 rounds by some 1e-6 in all; half numbers by a thousand times more.
        if difference > (0.1 if coarse else 1e-3) * scale + 1e-6:
            return Differs(
                f"what was read of {name} computes something else than it does in evaluation mode: "
                f"max |Δ| {difference:.3g} at the output `{label}`, which reaches {scale:.3g}",
                help="its forward must not depend on the size of the batch or on chance; if it "
                "does not, this is a bug in growc",
            )
    return None


def run_module(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs of a module in evaluation mode, in the order of the graph that is read from it.

    ``inputs`` are called as the graph's. The module is left as it was.
    """
    known = inspect.signature(model.forward).parameters
    by_name = all(name in known and known[name].kind in NAMED for name in inputs)
    examples = Examples((), inputs) if by_name else Examples(tuple(inputs.values()), {})
    return tensors_of(run(model, examples))


NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def tensors_of(outputs: Any) -> list[Tensor]:
    """The tensors of a nest of tuples and dictionaries."""
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def aligned(found: Tensor, like: Tensor) -> Tensor:
    """The module's output with its batch as first axis, as it is in the network's, ``like``."""
    moved = [found, *(found.movedim(axis, 0) for axis in range(1, found.ndim))]
    fitting = [x for x in moved if x.shape == like.shape]
    if len(fitting) < 2:
        return fitting[0] if fitting else found
    # A batch as large as another axis leaves several.
    return min(fitting, key=lambda x: float((x - like).detach().abs().max()))
