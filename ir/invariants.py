"""What is true of every graph. Checked after each pass."""

from __future__ import annotations

import numpy as np

from . import names
from .graph import Graph
from .ops import ParamSpec, ShapeError, Stored


class InvariantError(AssertionError):
    """A graph that breaks an invariant: a bug in the pass that made it, never a user's mistake."""


def check_invariants(graph: Graph) -> None:
    """Raise :class:`InvariantError` with every broken invariant.

    Acyclic; operands exist and their number fits; types are as inferred; names are valid and do
    not collide with parameters; shared parameters agree in shape; stored values fit; masks fit
    their parameters, which are zero where the mask is false.
    """
    problems = list(_problems(graph))
    if problems:
        raise InvariantError(f"graph {graph.name}: " + "; ".join(problems))


def _problems(graph: Graph) -> list[str]:
    try:
        order = graph.order()
    except (ValueError, KeyError) as error:
        return [f"not a graph: {error}"]
    found: list[str] = []
    specs: dict[str, ParamSpec] = {}
    for name in order:
        node = graph.node(name)
        if not names.is_valid(name):
            found.append(f"{name!r} is not a valid name")
        if not node.op.accepts(len(node.operands)) and name not in graph.inputs:
            found.append(f"{name}: {node.op.name} has {len(node.operands)} operands")
            continue
        try:
            inferred = node.op.result(*graph.operand_types(node))
        except ShapeError as error:
            found.append(f"{name}: {error}")
            continue
        if inferred != node.type:
            found.append(f"{name} has type {node.type}, but {inferred} is inferred")
        roles = set()
        for key, spec in graph.params_of(name):
            roles.add(spec.role)
            first = specs.setdefault(key, spec)
            if first.shape != spec.shape:
                found.append(f"{key} is used with shapes {first.shape} and {spec.shape}")
            if key in graph and not isinstance(graph.node(key).op, Stored):
                found.append(f"{key} is both a node and a parameter")
        found += [f"{name} has no parameter {role}" for role in node.shared if role not in roles]
    for key, spec in specs.items():
        value = graph.weights.get(key)
        if value is not None and value.shape != spec.shape:
            found.append(f"{key} needs shape {spec.shape}, but its value has {value.shape}")
        found += _mask_problems(graph, key, spec)
    masked = graph.weights.masks.keys() & specs.keys()
    found += [f"{key} cannot have a mask" for key in sorted(masked and masked - graph.maskable())]
    if not graph.outputs:
        found.append("no output")
    return found


def _mask_problems(graph: Graph, key: str, spec: ParamSpec) -> list[str]:
    mask, value = graph.weights.masks.get(key), graph.weights.get(key)
    if mask is None:
        return []
    if mask.dtype != np.bool_ or mask.shape != spec.shape:
        return [f"{key} needs a Boolean mask of {spec.shape}, not {mask.dtype} of {mask.shape}"]
    if value is not None and value.shape == mask.shape and value[~mask].any():
        return [f"{key} is not zero everywhere that its mask is false"]
    return []
