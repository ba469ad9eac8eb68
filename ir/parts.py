"""Which outputs a parameter is for: several architectures over one set of weights (ILNAS 4.2).

A network for tasks 1…T has an output for each. A parameter that several of them depend on belongs
to the shared part α_1 ∧ α_2; the others are a task's own. All of it is one network, so that the
gradients of what is shared add up by themselves: ∇_W f = ∇_W f(α_1 ⊙ W) + ∇_W f(α_2 ⊙ W) + …
"""

from __future__ import annotations

from collections.abc import Mapping

from .graph import Graph

Part = frozenset[str]
"""The outputs that something is for."""


def leads_to(graph: Graph) -> dict[str, Part]:
    """Which outputs depend on the value of each node."""
    reached: dict[str, set[str]] = {node.name: set() for node in graph}
    for output, source in graph.outputs.items():
        reached[source].add(output)
    for name in reversed(graph.order()):
        for operand in graph.node(name).operands:
            reached[operand] |= reached[name]
    return {name: frozenset(found) for name, found in reached.items()}


def inputs_of(graph: Graph) -> dict[str, frozenset[str]]:
    """Which inputs each node depends on."""
    inputs = set(graph.inputs)
    found: dict[str, frozenset[str]] = {}
    for name in graph.order():
        own = frozenset({name} & inputs)
        found[name] = own.union(*(found[operand] for operand in graph.node(name).operands))
    return found


def outputs_of(graph: Graph) -> dict[str, Part]:
    """Which outputs each node is for: those that depend on its value, or on weights that it shares
    with others."""
    reached = leads_to(graph)
    by_parameter = _parts(graph, reached)
    return {
        name: found.union(*(by_parameter[key] for key, _ in graph.params_of(name)))
        for name, found in reached.items()
    }


def parts_of(graph: Graph) -> dict[str, Part]:
    """Which outputs depend on each parameter."""
    of_node = outputs_of(graph)
    return _parts(graph, of_node)


def _parts(graph: Graph, of_node: Mapping[str, Part]) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for node in graph:
        for key, _ in graph.params_of(node.name):
            found[key] = found.get(key, frozenset()) | of_node[node.name]
    return found


def sizes(graph: Graph) -> dict[Part, int]:
    """|α| of each part."""
    counts: dict[Part, int] = {frozenset({name}): 0 for name in graph.outputs}
    parts = parts_of(graph)
    for key, spec in graph.parameters().items():
        if spec.trainable:
            part = parts[key]
            counts[part] = counts.get(part, 0) + graph.weights.count(key, spec.shape)
    return counts


def shared_size(graph: Graph) -> int:
    """How many parameters several outputs depend on."""
    return sum(count for part, count in sizes(graph).items() if len(part) > 1)
