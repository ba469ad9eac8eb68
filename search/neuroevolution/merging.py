"""A population as one graph: what its models have in common is computed once.

Models of a population share parameters (R2R section 4.2), and mostly much of what they compute.
:func:`merge` joins them in two steps:

1. the same op with the same parameters, by identity, on the same operands is one node;
2. tensors that are the same function, by fingerprints, are computed in the cheapest way that some
   model has: a model that was mutated and not trained yet costs nothing beside its parent.

What is left is not batched, since on a CPU that does not pay. Measured with torch on one core of
an AMD EPYC, ten layers each, batch 128, as parts of the time they take one by one:

- Convolutions of different tensors as groups of one, after their operands are joined: 1.2 to 1.5
  (0.4 to 0.7 for 3×3 convolutions at batch 8 and below, 1.0 to 1.6 for 1×1 ones).
- Convolutions of the same tensor as one with all the filters, and slices of it: 0.6 to 1.0. But
  what follows then reads slices, which are not contiguous: a whole population of ten takes 0.95 to
  1.14 with such convolutions, at batch 32 to 250, whether channels lie first or last in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from ...fingerprints import Field, Fingerprinter, prefers_last
from ...ir import Graph, GrowcError, Node, Op, TensorType
from ...ir.ops import Add, Attention, BatchNorm, Dropout, Identity
from ...ir.weights import Array, Mask

SEED = 0x9E0
"""Of the fingerprints' field."""

LONG = 480
"""A longer name gets another one: those of several models have to be told apart by numbers."""


def merge(graphs: Sequence[Graph], *, functions: bool = True) -> Graph:
    """One graph with the models' common input, and for each model, in order, an output.

    Each output is the model's prediction in evaluation mode, in real arithmetic; with step 2 it may
    be rounded in other places, as tensors that are one function are computed in one way. The merged
    graph is for evaluation: dropout is left out, and in training mode batch norms that are one node
    update their statistics once.

    Its parameters are the models' very arrays, and masks. ``functions=False`` leaves out step 2: it
    finds little in models that were trained after they were mutated, and takes a second for some
    million weights. A model with numbers that are not finite is shared by step 1 alone.

    Outputs are called ``model0``, ``model1``, … (``model_0``, … if something else is). Models that
    compute the same share a node. Of one model, ``to_torch`` gives a tensor rather than a dict.

    Raises :class:`GrowcError` for no models, for one that has not exactly one input and one
    output, for inputs of different types, and for parameters without a value.
    """
    _check(graphs)
    merged = _united(graphs)
    return _by_function(merged) if functions else merged


def share_statistics(graphs: Sequence[Graph]) -> list[Graph]:
    """The models, with the same running statistics wherever they normalize the same thing.

    Two batch norms do if both, and all before them, have the same trainable parameters by identity:
    on one batch they then see the same numbers in training mode, and estimate the same mean and
    variance. Each gets the arrays of the first model that has it. Behind the place where models
    part, all have their own: a copy where two still hold the same array, as a child does that was
    just made.

    Made before models are trained jointly, and with the arrays tied in training, this loses
    nothing: a statistic is then updated by each step of any of its models, and so is nearer to the
    parameters that all of them move. It lets :func:`merge` share everything up to the place where
    models part. Statistics that each model keeps for itself differ after one step, and with them
    everything behind the first batch norm.

    Returns copies that share all other arrays. Raises :class:`GrowcError` as :func:`merge` does.
    """
    _check(graphs)
    ids: dict[Hashable, int] = {}
    first: dict[tuple[int, str], Array] = {}
    taken: set[int] = set()
    shared = []
    for graph in graphs:
        twin = graph.copy()
        of: dict[str, int] = {graph.inputs[0]: -1}
        for node in graph:
            if node.name in of:
                continue
            params = graph.params_of(node.name)
            statistics = {
                key: spec.role
                for key, spec in params
                if isinstance(node.op, BatchNorm) and not spec.trainable
            }
            others = tuple(_identity(graph, key) for key, _ in params if key not in statistics)
            call = node.op, tuple(of[o] for o in node.operands), others
            of[node.name] = place = ids.setdefault(call, len(ids))
            for key, role in statistics.items():
                if (place, role) not in first:
                    value = graph.weights[key]
                    first[place, role] = value.copy() if id(value) in taken else value
                    taken.add(id(value))
                twin.weights[key] = first[place, role]
        shared.append(twin)
    return shared


def _check(graphs: Sequence[Graph]) -> None:
    if not graphs:
        raise GrowcError("there are no models to merge")
    wanted: TensorType | None = None
    for number, graph in enumerate(graphs):
        called = f"model {number}, `{graph.name}`,"
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise GrowcError(
                f"{called} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
                help="only models with one input and one output can be merged",
            )
        missing = [key for key in graph.parameters() if key not in graph.weights]
        if missing:
            raise GrowcError(
                f"{called} has parameters without a value, such as `{missing[0]}`",
                help="call growc.initialize(graph), or load its weights",
            )
        own = graph.node(graph.inputs[0]).type
        wanted = wanted or own
        if own != wanted:
            raise GrowcError(f"{called} takes {own}, and the models before it {wanted}")


def _identity(graph: Graph, key: str) -> tuple[int, int]:
    """Two parameters are the same if their arrays and their masks are the same objects."""
    return id(graph.weights[key]), id(graph.weights.masks.get(key))


# ---- a graph of nodes that all differ


@dataclass(frozen=True, slots=True)
class _Value:
    """A parameter of a node to be: its role, and what it holds."""

    role: str
    array: Array
    mask: Mask | None
    trainable: bool

    @property
    def identity(self) -> Hashable:
        return id(self.array), id(self.mask), self.trainable


@dataclass
class _Union:
    """A graph under construction, in which no op with the same parameters and operands is twice.

    ``names`` are those under which the store has arrays: a second node with an array binds the
    first one's name.
    """

    graph: Graph
    known: dict[Hashable, str] = field(default_factory=dict)
    names: dict[Hashable, str] = field(default_factory=dict)

    def add(self, op: Op, operands: tuple[str, ...], values: Sequence[_Value], name: str) -> str:
        """The node for a call, called ``name`` or alike if there is none yet."""
        call = op, operands, tuple((v.role, v.identity) for v in values)
        if call not in self.known:
            shared = {v.role: self.names[v.identity] for v in values if v.identity in self.names}
            own = [v for v in values if v.role not in shared]
            called = self._free(name, [v.role for v in values])
            self.known[call] = self.graph.add(op, operands, called, shared)
            for value in own:
                key = self.graph.node(called).parameter(value.role)
                self.names.setdefault(value.identity, key)
                self.graph.weights.put(key, value.array, value.mask)
        return self.known[call]

    def take(self, graph: Graph, node: Node, operands: tuple[str, ...]) -> str:
        """The node for one of another graph."""
        weights = graph.weights
        values = [
            _Value(spec.role, weights[key], weights.masks.get(key), spec.trainable)
            for key, spec in graph.params_of(node.name)
        ]
        return self.add(node.op, operands, values, node.name)

    def _free(self, name: str, roles: Sequence[str]) -> str:
        """A name that neither a node nor a parameter has, nor one of the node's parameters."""
        base = name if len(name) <= LONG else "node"
        taken = self.graph, self.graph.weights
        for number in count(1):
            called = base if number == 1 else f"{base}_{number}"
            wanted = {called, *(f"{called}.{role}" for role in roles if role)}
            if not any(key in names for key in wanted for names in taken):
                return called
        raise AssertionError("there is a number for every name")


def _live(graph: Graph) -> Iterator[Node]:
    """What the outputs need, operands first, without the inputs."""
    needed: set[str] = set()
    stack = list(graph.outputs.values())
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack += graph.node(name).operands
    return (node for node in graph if node.name in needed and node.name not in graph.inputs)


def _start(graph: Graph) -> _Union:
    union = _Union(Graph(graph.name))
    (name,) = graph.inputs
    union.graph.add_input(name, graph.node(name).type)
    return union


def _united(graphs: Sequence[Graph]) -> Graph:
    """Step 1: same op, same parameters, same operands."""
    union = _start(graphs[0])
    ends = []
    for graph in graphs:
        at = {graph.inputs[0]: union.graph.inputs[0]}
        for node in _live(graph):
            operands = tuple(at[o] for o in node.operands)
            if isinstance(node.op, (Dropout, Identity)):
                at[node.name] = operands[0]
            elif isinstance(node.op, Attention) and node.op.dropout > 0:
                at[node.name] = union.take(
                    graph, replace(node, op=replace(node.op, dropout=0.0)), operands
                )
            else:
                at[node.name] = union.take(graph, node, operands)
        (end,) = graph.outputs.values()
        ends.append(at[end])
    taken = {*(node.name for node in union.graph), *union.graph.weights}
    prefix = "model"
    while any(f"{prefix}{number}" in taken for number in range(len(ends))):
        prefix += "_"
    for number, end in enumerate(ends):
        union.graph.set_output(f"{prefix}{number}", end)
    return union.graph


# ---- equal functions


def _by_function(graph: Graph) -> Graph:
    """Step 2: of all nodes that yield the same tensor, the cheapest; without terms that are zero.

    The graph as it is, if that is cheaper: a cost counts what two operands need twice.
    """
    found = _Functions.of(graph)
    best = _cheapest(graph, found)
    union = _start(graph)
    at = {found.kinds[name]: name for name in graph.inputs}
    stack = [best[found.kinds[end]] for end in reversed(list(graph.outputs.values()))]
    while stack:
        name = stack[-1]
        kind, operands = found.kinds[name], [found.kinds[o] for o in found.operands[name]]
        missing = [best[o] for o in operands if o not in at]
        if kind not in at and not missing:
            at[kind] = union.take(graph, graph.node(name), tuple(at[o] for o in operands))
        if kind in at:
            stack.pop()
        else:
            stack += missing
    for output, end in graph.outputs.items():
        union.graph.set_output(output, at[found.kinds[end]])
    return min(graph, union.graph, key=lambda g: sum(_cost(g, node) for node in g))


@dataclass(frozen=True)
class _Functions:
    """What the nodes of a graph yield."""

    kinds: dict[str, Hashable]
    """For every node, the tensor that it yields; itself, where numbers before it are not finite."""
    operands: dict[str, tuple[str, ...]]
    """For every node, the operands that matter."""

    @classmethod
    def of(cls, graph: Graph) -> _Functions:
        finite = Graph(graph.name, graph.weights)
        for node in graph:
            if node.name in graph.inputs:
                finite.add_input(node.name, node.type)
            elif all(o in finite for o in node.operands) and all(
                np.isfinite(graph.weights[key]).all() for key, _ in graph.params_of(node.name)
            ):
                finite.add(node.op, node.operands, node.name, node.shared)
        prints = Fingerprinter(Field(SEED))(finite, "eval", prefers_last(finite))
        kinds: dict[str, Hashable] = {node.name: node.name for node in graph}
        for name, p in prints.items():
            kinds[name] = graph.node(name).type, p.axis, p.digest
        zero = {name for name, p in prints.items() if not p.values.any()}
        return cls(kinds, {node.name: _terms(graph, node, zero) for node in graph})


def _terms(graph: Graph, node: Node, zero: set[str]) -> tuple[str, ...]:
    """A node's operands; of a sum, those that are not zero, if two are left and they have its type.

    Where one is left, it is the sum: it yields the same.
    """
    terms = tuple(o for o in node.operands if o not in zero)
    if not isinstance(node.op, Add) or len(terms) < 2:
        return node.operands
    fits = node.op.result(*(graph.node(o).type for o in terms)) == node.type
    return terms if fits else node.operands


def _cost(graph: Graph, node: Node) -> int:
    """Operations of one node: products and sums of layers, and a few for each number it yields."""
    if node.name in graph.inputs:
        return 0
    return 1 + node.type.size + node.op.macs(graph.operand_types(node), node.type)


def _cheapest(graph: Graph, found: _Functions) -> Mapping[Hashable, str]:
    """For every function, the node that yields it at the least cost, operands included.

    A node is looked at once all of its operands can be had, the cheapest first (Knuth, "A
    Generalization of Dijkstra's Algorithm", 1977). As every node costs something, none is chosen
    that needs its own function: y + z with z = 0 costs more than y.
    """
    kinds = found.kinds
    costs: dict[Hashable, int] = {}
    best: dict[Hashable, str] = {}
    readers: dict[Hashable, list[str]] = {}
    waits: dict[str, int] = {}
    order = {name: number for number, name in enumerate(graph.order())}
    heap: list[tuple[int, int, str]] = []
    for node in graph:
        needed = {kinds[o] for o in found.operands[node.name]}
        waits[node.name] = len(needed)
        for kind in needed:
            readers.setdefault(kind, []).append(node.name)
        if not needed:
            heapq.heappush(heap, (_cost(graph, node), order[node.name], node.name))
    while heap:
        cost, _, name = heapq.heappop(heap)
        if kinds[name] in best:
            continue
        best[kinds[name]], costs[kinds[name]] = name, cost
        for reader in readers.get(kinds[name], ()):
            waits[reader] -= 1
            if waits[reader] == 0:
                own = _cost(graph, graph.node(reader))
                total = own + sum(costs[kinds[o]] for o in found.operands[reader])
                heapq.heappush(heap, (total, order[reader], reader))
    return best
