"""Questions about a graph's structure: dominators and the region between two nodes."""

from __future__ import annotations

from .graph import Graph


def input_free(graph: Graph) -> set[str]:
    """Nodes that depend on no input: parameters, constants, and what is made of them alone.

    They are the same for every example of a batch.
    """
    inputs = set(graph.inputs)
    free: set[str] = set()
    for node in graph:
        if node.name not in inputs and free.issuperset(node.operands):
            free.add(node.name)
    return free


def immediate_dominators(graph: Graph) -> dict[str, str | None]:
    """For every node, the last node that all paths from the inputs to it go through.

    None for inputs and what depends on none, and where such paths have nothing in common. One
    sweep suffices, as the graph has no cycles (Cooper, Harvey and Kennedy, "A Simple, Fast
    Dominance Algorithm").
    """
    parent: dict[str, str | None] = {}
    depth: dict[str | None, int] = {None: -1}

    def common(a: str | None, b: str | None) -> str | None:
        while a != b:
            if depth[a] >= depth[b]:
                a = parent[a] if a is not None else None
            else:
                b = parent[b] if b is not None else None
        return a

    free = input_free(graph)
    for name in graph.order():
        # A learned scale or position embedding lies on no path from the inputs.
        operands = [o for o in graph.node(name).operands if o not in free]
        meet: str | None = operands[0] if operands else None
        for other in operands[1:]:
            meet = common(meet, other)
        parent[name] = meet
        depth[name] = depth[meet] + 1
    return parent


def region(graph: Graph, entry: str, exit: str) -> list[str]:
    """Nodes on the paths from ``entry`` to ``exit``, both left out, in no particular order.

    ``entry`` must dominate ``exit``.
    """
    found: dict[str, None] = {}
    stack = list(graph.node(exit).operands)
    while stack:
        name = stack.pop()
        if name != entry and name not in found:
            found[name] = None
            stack.extend(graph.node(name).operands)
    return list(found)
