"""The network that is exported: what evolution put side by side becomes one layer again."""

from __future__ import annotations

import numpy as np

from ...compiler import run
from ...ir import Graph
from ...passes import NothingToDo
from ...passes.functions import exact_sum
from ...passes.fuse_branches import FuseBranches, Parallel
from ...train.growth_steps import checked


def fused(graph: Graph, verify: str = "proof") -> tuple[Graph, str]:
    """The network after ``fuse_branches``, and how well it is known to be the same function.

    Blocks side by side that become one have one bias at their end, the sum of theirs. Where that is
    not a float32 number, it is rounded first, before the pass: what the pass does can then be
    proved. A network with nothing to fuse is returned as it is. Raises :class:`GrowcError` if the
    pass does not keep what it claims.
    """
    summed, rounded = _with_rounded_sums(graph)
    try:
        compiled = run(summed, "fuse_branches", verify=verify)
    except NothingToDo:
        return graph, "nothing to fuse"
    said = checked(compiled)
    return compiled.graph, said + (", but for the last digit of summed biases" if rounded else "")


def _with_rounded_sums(graph: Graph) -> tuple[Graph, bool]:
    """A network whose parallel blocks have biases with sums that float32 holds: the first of them
    has the rounded sum, the others nothing. And whether a sum had to be rounded."""
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
            if not keys:
                continue
            total, exact = exact_sum([graph.weights[key] for key in keys])
            for key in keys if not exact else []:
                twin.weights.put(key, total if key == keys[0] else np.zeros_like(total))
    return twin, bool(places)
