"""The network that is exported: what evolution put side by side becomes one layer again."""

from __future__ import annotations

import numpy as np

from ...compiler import run
from ...ir import Graph
from ...passes import NothingToDo
from ...passes.functions import exact_sum
from ...passes.fuse_branches import FuseBranches, Parallel
from ...train.growth_steps import checked


def fusible(graph: Graph) -> Graph:
    """The network with biases such that ``fuse_branches`` is exact, and so can be proved.

    Blocks side by side that become one have one bias at their end, the sum of theirs. Where that is
    not a float32 number, the first block gets the rounded sum and the others none: biases move by
    half of their last digit at most.
    """
    places = [p for p in FuseBranches().find(graph).main if isinstance(p, Parallel) and not p.exact]
    twin = graph.copy()
    for place in places:
        for group in place.groups:
            keys = [
                key
                for branch in group
                for key, spec in graph.params_of(branch.project)
                if spec.role == "bias"
            ]
            total, exact = exact_sum([graph.weights[key] for key in keys]) if keys else (None, True)
            if total is not None and not exact:
                for key in keys:
                    value = total if key == keys[0] else np.zeros_like(total)
                    twin.weights.put(key, value)
    return twin


def fused(graph: Graph, verify: str = "proof") -> tuple[Graph, str]:
    """The network after ``fuse_branches``, and how well it is known to be the same function.

    Raises :class:`GrowcError` if it is not.
    """
    try:
        compiled = run(graph, "fuse_branches", verify=verify)
    except NothingToDo:
        return graph, "nothing to fuse"
    return compiled.graph, checked(compiled)
