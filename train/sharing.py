"""Modules of several graphs that share parameters, and the graphs of such modules.

Graphs share a parameter when they have the same array under the same name (and the same mask):
θ_s = θ_t ∪ θ_z of R2R section 3 is meant literally. Their modules then share one ``nn.Parameter``,
so that training one network moves what it shares with the others, and nothing else of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, fx, nn

from ..backends import graph_of, to_torch
from ..ir import Graph
from ..ir.weights import Array
from .checkpoint import on_device
from .parameters import tensors_of

_CPU = torch.device("cpu")


def sharing_modules(
    graphs: Sequence[Graph],
    *,
    made: Iterable[tuple[Graph, nn.Module]] = (),
    device: torch.device = _CPU,
    statistics: bool = False,
) -> list[fx.GraphModule]:
    """A float32 module of each graph; what graphs share is one ``nn.Parameter`` of their modules.

    ``made`` are modules that are there already, each with the graph of :func:`sharing_graphs`: the
    new modules share parameters with them, too. Running statistics are each module's own, which
    begin at the graph's values; with ``statistics`` they are shared where the graphs' arrays are.
    Memory is that of the distinct parameters.

    Raises :class:`GrowcError` as :func:`growc.to_torch` does.
    """
    known: dict[tuple[str, int, int], Tensor] = {}
    # The arrays stay alive as long as their numbers are looked up: the graphs hold them.
    held = list(made)
    for graph, module in held:
        _remember(known, graph, module, statistics)
    modules = []
    for graph in graphs:
        reuse = {
            key: known[_identity(graph, key)]
            for key in graph.parameters()
            if _identity(graph, key) in known
        }
        module = to_torch(graph, reuse=reuse)
        on_device(module, device)
        _remember(known, graph, module, statistics)
        modules.append(module)
    return modules


def sharing_graphs(modules: Iterable[nn.Module]) -> list[Graph]:
    """The graphs of modules of :func:`growc.to_torch`, with their present values.

    A parameter that modules share is one array in their graphs, a view of it on the CPU (see
    :func:`growc.graph_of`). Raises :class:`GrowcError` for a module of another make.
    """
    arrays: dict[int, Array] = {}
    graphs = []
    for module in modules:
        graph = graph_of(module)
        for key, tensor in tensors_of(module, graph).items():
            graph.weights[key] = arrays.setdefault(id(tensor), graph.weights[key])
        graphs.append(graph)
    return graphs


def distinct_parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Every parameter of the modules once, in order."""
    return list(dict.fromkeys(p for module in modules for p in module.parameters()))


def _identity(graph: Graph, key: str) -> tuple[str, int, int]:
    """What graphs must agree in to share a parameter: its name, its array, and its mask."""
    return key, id(graph.weights.get(key)), id(graph.weights.masks.get(key))


def _remember(
    known: dict[tuple[str, int, int], Tensor], graph: Graph, module: nn.Module, statistics: bool
) -> None:
    for key, tensor in tensors_of(module, graph).items():
        if statistics or isinstance(tensor, nn.Parameter):
            known.setdefault(_identity(graph, key), tensor)
