"""The network that is exported: what evolution put side by side becomes one layer again."""

from __future__ import annotations

from ...compiler import run
from ...ir import Graph
from ...passes import NothingToDo
from ...train.growth_steps import checked


def fused(graph: Graph, verify: str = "proof") -> tuple[Graph, str]:
    """The network after ``fuse_branches``, and how well it is known to be the same function.

    The pass is exact but for sums of biases, which float32 rounds: then there is no proof, and the
    two are run and compared. A network with nothing to fuse is returned as it is. Raises
    :class:`GrowcError` if they differ.
    """
    try:
        compiled = run(graph, "fuse_branches", verify=verify)
    except NothingToDo:
        return graph, "nothing to fuse"
    return compiled.graph, checked(compiled)
