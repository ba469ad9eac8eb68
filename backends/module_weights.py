"""From a trained module back to the graph."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from ..ir import Graph, GrowcError, Weights
from ..ir.graph import same_mask
from ..ir.weights import Mask, masked
from .registry import shortened


def weights_of(graph: Graph, module: nn.Module) -> Weights:
    """The module's present parameters and running statistics under the graph's names.

    For float32 on the CPU the arrays are views: they share the module's memory, and training goes
    on changing them. From other devices and types they are float32 copies. The module is one from
    :func:`to_torch`, also compiled or wrapped for distributed training, or any module with the
    same names.

    Masks are the graph's; what a module with masks holds where they are false, which it does not
    compute with, is given as zero.

    Raises :class:`GrowcError` naming every parameter that is missing, or has another shape or mask,
    or in a module without masks a value where the graph has no connection.
    """
    found: dict[str, Tensor] = {}
    problems: list[str] = []
    masks = graph.weights.masks
    for key, path, shape, tensor, mask in _named(graph, unwrapped(module)):
        if tensor is None:
            problems.append(f"`{path}` is missing")
        elif tuple(tensor.shape) != shape:
            problems.append(f"`{path}` has shape {list(tensor.shape)}, not {list(shape)}")
        elif key in found and found[key].data_ptr() != tensor.data_ptr():
            problems.append(f"`{path}` is no longer tied to the other uses of `{key}`")
        elif mask is None and key in masks and tensor.detach()[_missing(masks[key], tensor)].any():
            problems.append(f"`{path}` has values where its mask in the graph has no connection")
        elif mask is not None and not same_mask(mask.numpy(force=True), masks.get(key)):
            problems.append(f"`{path}` has another mask than in the graph")
        else:
            found[key] = tensor
    if problems:
        raise GrowcError(
            f"the module does not fit the graph `{graph.name}`: {shortened(problems)}",
            help="use a module made by growc.to_torch from this very graph",
        )
    weights = Weights(masks={key: mask for key, mask in masks.items() if key in found})
    for key, tensor in found.items():
        array = tensor.detach().to("cpu", torch.float32).numpy()
        weights[key] = masked(array, masks.get(key))
    return weights


def _missing(mask: Mask, tensor: Tensor) -> Tensor:
    return torch.from_numpy(~mask).to(tensor.device)


def with_weights_of(graph: Graph, module: nn.Module) -> Graph:
    """A copy of the graph that holds the module's present values, as :func:`weights_of` does.

    Raises :class:`GrowcError` if the module does not fit.
    """
    twin = graph.copy()
    twin.weights.update(weights_of(graph, module))
    return twin


MEMORY = "growc"
"""Where a ``GraphModule``'s ``meta`` has the graph it was made from, without its numbers."""


class Memory:
    """A graph that copies of a module share, and that its pickles leave out: they are to be loaded
    without growc."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __deepcopy__(self, memo: object) -> Memory:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[()]]:
        return str, ()


def remember(module: fx.GraphModule, graph: Graph) -> None:
    """Let a module know the graph that it was made from."""
    outline = graph.copy()
    outline.weights = Weights(masks=graph.weights.masks, foreign=graph.weights.foreign)
    module.meta[MEMORY] = Memory(outline)


def graph_of(module: nn.Module) -> Graph:
    """The network that a module of :func:`to_torch` computes, with the module's present values.

    As :func:`weights_of` does, it shares the module's memory on the CPU. The module may be
    compiled, wrapped for distributed training, or a deep copy; but one that was pickled has
    forgotten its graph.

    Raises :class:`GrowcError` for a module that ``to_torch`` did not make.
    """
    inner = unwrapped(module)
    memory = inner.meta.get(MEMORY) if isinstance(inner, fx.GraphModule) else None
    if not isinstance(memory, Memory):
        raise GrowcError(
            f"growc does not know the network of this {type(inner).__name__}",
            help="make the module with growc.to_torch(graph); of a module of your own, "
            "graph = growc.from_torch(module, example)",
        )
    return with_weights_of(memory.graph, inner)


def _named(
    graph: Graph, module: nn.Module
) -> Iterator[tuple[str, str, tuple[int, ...], Tensor | None, Tensor | None]]:
    """(store name, name in the module, shape, tensor or None, mask or None) of every parameter of
    every node.

    Looked up by node and role, as a tied parameter has its store name at one node only.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    for node in graph:
        for key, spec in graph.params_of(node.name):
            path = f"{node.name}.{spec.role}" if spec.role else node.name
            holder_name, _, role = path.rpartition(".")
            holder = modules.get(holder_name)
            tensor = mask = None
            if holder is not None:
                tensor = holder._parameters.get(role)
                if tensor is None:
                    tensor = holder._buffers.get(role)
                mask = holder._buffers.get(f"{role}_mask")
            yield key, path, spec.shape, tensor, mask


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside torch.compile's and DistributedDataParallel's wrappers."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.parallel.DistributedDataParallel):
            inner = module.module
        if inner is None:
            return module
        module = inner
