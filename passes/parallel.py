"""Blocks of two layers whose results meet in one sum."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..ir import Graph
from ..ir.ops import Add, BatchNorm, Conv, Elementwise, GroupNorm, InstanceNorm, Linear
from .widening import is_layer
from .windows import phase


@dataclass(frozen=True, slots=True)
class Branch:
    """layer → norm, activation, … → layer, each of which only the next one reads."""

    expand: str
    between: tuple[str, ...]
    project: str

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.expand, *self.between, self.project


def is_inner(graph: Graph, total: str) -> bool:
    """Whether a sum is only a term of another sum of the same shape."""
    users = graph.consumers(total)
    if len(users) != 1 or graph.is_output(total):
        return False
    user = graph.node(users[0][0])
    return isinstance(user.op, Add) and _one_shape(graph, user.name)


def _one_shape(graph: Graph, total: str) -> bool:
    node = graph.node(total)
    return {node.type} == set(graph.operand_types(node))


def terms(graph: Graph, total: str) -> list[str]:
    """The terms of a sum, and of the sums that are its terms."""
    if not _one_shape(graph, total):
        return []
    found: list[str] = []
    for operand in graph.node(total).operands:
        if isinstance(graph.node(operand).op, Add) and is_inner(graph, operand):
            inner = terms(graph, operand)
            found += inner or [operand]
        else:
            found.append(operand)
    return found


def branch_to(graph: Graph, project: str) -> Branch | str:
    """The block that ends with a layer, or why it is none."""
    last = graph.node(project)
    between: list[str] = []
    at = last.operands[0]
    while not is_layer(graph.node(at).op):
        op = graph.node(at).op
        by_channel = isinstance(op, Elementwise) or (
            isinstance(op, (BatchNorm, InstanceNorm, GroupNorm))
            and (isinstance(last.op, Conv) or last.type.rank == 1)
        )
        if not by_channel:
            before = f"`{at}` ({op.name}) before it"
            return f"`{project}` does not end a block of two layers: {before} is no activation" + (
                " and no norm that treats channels one by one or in groups"
            )
        between.insert(0, at)
        at = graph.node(at).operands[0]
    found = Branch(at, tuple(between), project)
    first = graph.node(at).op
    if isinstance(first, Conv) != isinstance(last.op, Conv):
        return f"`{at}` ({first.name}) and `{project}` ({last.op.name}) act on other axes"
    if isinstance(last.op, Conv) and last.op.groups > 1:
        return f"`{project}` is a grouped convolution"
    in_groups = [n for n in between if isinstance(graph.node(n).op, GroupNorm)]
    if isinstance(first, Conv) and first.groups > 1 and in_groups:
        return f"`{in_groups[0]}` (group_norm) follows the grouped convolution `{at}`"
    for name in found.nodes:
        if graph.is_tied(name):
            return f"the weights of `{name}` are shared with another node"
        if any(key in graph.weights.masks for key, _ in graph.params_of(name)):
            return f"`{name}` has weights missing under a mask, which the fused layer would have"
        if len(graph.consumers(name)) > 1 or graph.is_output(name):
            return f"the result of `{name}` is also used elsewhere"
    return found


def settings_of(graph: Graph, branch: Branch) -> dict[str, object]:
    """What blocks must have in common, by what is said where they have not."""
    expand, project = graph.node(branch.expand), graph.node(branch.project)
    found: dict[str, object] = {
        "start at different nodes": expand.operands,
        "begin with different kinds of layers": type(expand.op),
    }
    if isinstance(expand.op, Conv):
        found |= {
            "have different strides": expand.op.stride,
            "have different dilations": expand.op.dilation,
            "have different groups": expand.op.groups,
            "have windows that do not line up": phase(expand.op),
        }
    between: list[object] = []
    for name in branch.between:
        op = graph.node(name).op
        if isinstance(op, GroupNorm):
            size = graph.node(name).type.shape[0] // op.groups
            between += [size, replace(op, groups=1)]
        else:
            between.append(op)
    found["have different norms or activations"] = tuple(between)
    assert isinstance(project.op, (Conv, Linear))
    found["end with different layers"] = replace(project.op, bias=True)
    return found
