"""A graph as a table, and the difference between two graphs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .graph import Graph, Node, same_mask
from .types import TensorType


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the layer table."""

    name: str
    op: str
    type: TensorType
    parameters: int
    macs: int
    size: int
    """``parameters`` if no mask left any out."""
    maskable: bool
    """Whether its parameters may have masks."""


def rows(graph: Graph) -> list[Row]:
    """The layer table: every node in canonical order, with its own parameters and MACs.

    A shared parameter counts at the first node that uses it.
    """
    seen: set[str] = set()
    found = []
    for node in graph:
        count = size = 0
        for key, spec in graph.params_of(node.name):
            if spec.trainable and key not in seen:
                count += graph.weights.count(key, spec.shape)
                size += math.prod(spec.shape)
            seen.add(key)
        op = node.op
        macs = op.macs(graph.operand_types(node), node.type)
        found.append(Row(node.name, op.name, node.type, count, macs, size, op.maskable))
    return found


def share(part: int, whole: int) -> str:
    """``37 %``: only nothing is 0 %, and only the whole is 100 %."""
    if whole == 0 or part in (0, whole):
        return "100 %" if part else "0 %"
    if 200 * part <= whole:
        return "<1 %"
    if 200 * (whole - part) <= whole:
        return ">99 %"
    return f"{100 * part / whole:.0f} %"


def si(number: int) -> str:
    """``1926400`` → ``1.93M``: three digits and a unit."""
    if number < 1000:
        return str(number)
    exponent = min(int(math.log10(number)) // 3, 6)
    scaled = number / 1000**exponent
    if scaled >= 999.5 and exponent < 6:
        exponent, scaled = exponent + 1, scaled / 1000
    digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return f"{scaled:.{digits}f}{' kMGTPE'[exponent].strip()}"


@dataclass(frozen=True, slots=True)
class ParameterChange:
    """A parameter that both graphs have, with other values, another shape or another mask."""

    name: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    moved: float | None
    """max |Δ| of the values, for equal shapes; None where one has no values."""
    keeps_corner: bool
    """Whether the old values lie unchanged in the leading corner of the new shape."""
    connections: tuple[int, int] | None = None
    """|α| before and after, where the masks differ; without a mask every number counts."""


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """What differs between two graphs, nodes and parameters matched by name."""

    added: tuple[Node, ...]
    removed: tuple[Node, ...]
    changed: tuple[tuple[Node, Node], ...]
    parameters_added: tuple[str, ...]
    parameters_removed: tuple[str, ...]
    parameters_changed: tuple[ParameterChange, ...]
    parameters_same: int
    interface: tuple[str, ...]
    """Inputs and outputs that are not the same, in words."""

    @property
    def is_empty(self) -> bool:
        return not (
            self.added
            or self.removed
            or self.changed
            or self.parameters_added
            or self.parameters_removed
            or self.parameters_changed
            or self.interface
        )


def diff(before: Graph, after: Graph) -> GraphDiff:
    """What was added, removed and changed on the way from ``before`` to ``after``."""
    old = {node.name: node for node in before}
    new = {node.name: node for node in after}
    old_params, new_params = before.parameters(), after.parameters()
    changes = []
    same = 0
    for name, spec in old_params.items():
        if name not in new_params:
            continue
        change = _change(name, before, after, spec.shape, new_params[name].shape)
        if change is None:
            same += 1
        else:
            changes.append(change)
    return GraphDiff(
        added=tuple(n for name, n in new.items() if name not in old),
        removed=tuple(n for name, n in old.items() if name not in new),
        changed=tuple((n, new[name]) for name, n in old.items() if name in new and n != new[name]),
        parameters_added=tuple(n for n in new_params if n not in old_params),
        parameters_removed=tuple(n for n in old_params if n not in new_params),
        parameters_changed=tuple(changes),
        parameters_same=same,
        interface=tuple(_interface(before, after)),
    )


def _change(
    name: str, before: Graph, after: Graph, old: tuple[int, ...], new: tuple[int, ...]
) -> ParameterChange | None:
    a, b = before.weights.get(name), after.weights.get(name)
    connections = None
    if not same_mask(before.weights.masks.get(name), after.weights.masks.get(name)):
        connections = before.weights.count(name, old), after.weights.count(name, new)
    if a is None or b is None:
        both_missing = a is None and b is None
        if old == new and both_missing and connections is None:
            return None
        return ParameterChange(name, old, new, None, False, connections)
    if old == new:
        equal = a is b or np.array_equal(a, b, equal_nan=True)
        if equal and connections is None:
            return None
        moved = 0.0 if equal else float(np.abs(b.astype(np.float64) - a).max())
        return ParameterChange(name, old, new, moved, False, connections)
    fits = len(old) == len(new) and all(m <= n for m, n in zip(old, new, strict=True))
    corner = fits and np.array_equal(b[tuple(slice(n) for n in old)], a)
    return ParameterChange(name, old, new, None, bool(corner), connections)


def _interface(before: Graph, after: Graph) -> list[str]:
    found = []
    for what, a, b in (
        ("input", {n: n for n in before.inputs}, {n: n for n in after.inputs}),
        ("output", dict(before.outputs), dict(after.outputs)),
    ):
        found += [f"{what} `{name}` removed" for name in a if name not in b]
        found += [f"{what} `{name}` added" for name in b if name not in a]
        found += [
            f"{what} `{name}` comes from `{b[name]}`, not `{a[name]}`"
            for name in a
            if name in b and a[name] != b[name]
        ]
    return found
