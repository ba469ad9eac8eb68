"""The graph IR. Only this file touches networkx."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import zip_longest
from types import MappingProxyType
from typing import ClassVar

import networkx as nx
import numpy as np

from . import names
from .diagnostics import Span
from .ops import Op, ParamSpec
from .types import TensorType
from .weights import Array, Mask, Weights


@dataclass(frozen=True)
class Input(Op):
    """A tensor that comes from outside. Not an op of the language: ``input x: f32[…]`` makes it."""

    name: ClassVar[str] = "input"
    operands: ClassVar[tuple[str, ...]] = ()

    type: TensorType = field(default_factory=lambda: TensorType(()))

    def infer(self, *operands: TensorType) -> TensorType:
        return self.type


NOT_SHARED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Node:
    """One op application that yields one tensor.

    ``shared`` binds roles of the op's parameters to names in the store that are not the node's
    own (tied weights); all others are called ``<node>.<role>``.
    """

    name: str
    op: Op
    operands: tuple[str, ...]
    type: TensorType
    shared: Mapping[str, str] = field(default_factory=lambda: NOT_SHARED)
    origin: Span | None = field(default=None, compare=False)

    def parameter(self, role: str) -> str:
        """The store's name of the parameter with this role."""
        return self.shared.get(role) or (f"{self.name}.{role}" if role else self.name)


@lru_cache(maxsize=10_000)
def _infer(op: Op, operands: tuple[TensorType, ...]) -> TensorType:
    """Ops and types are values, and large networks repeat few of them."""
    return op.result(*operands)


@lru_cache(maxsize=10_000)
def _params(op: Op, operands: tuple[TensorType, ...]) -> tuple[ParamSpec, ...]:
    return op.params(*operands)


class Graph:
    """A network: nodes in a ``networkx.MultiDiGraph``, inputs, outputs and the weights store.

    Edges carry the operand index. Nodes are immutable records; a graph is changed by its methods
    only. Passes change copies: :meth:`copy` shares nodes and weight arrays.
    """

    def __init__(self, name: str = "net", weights: Weights | None = None) -> None:
        self.name = name
        self.weights = Weights() if weights is None else weights
        self._graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        self._nodes: dict[str, Node] = {}
        self._inputs: list[str] = []
        self._outputs: dict[str, str] = {}
        self._order: list[str] | None = None
        self._dirty: set[str] = set()
        self._last_number: dict[str, int] = {}
        # The nodes that bind each parameter as one that is not their own.
        self._borrowed: dict[str, dict[str, None]] = {}

    # ---- reading

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        """Nodes in canonical order."""
        return (self._nodes[name] for name in self.order())

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self)} nodes, {self.parameter_count():,} parameters>"

    def __eq__(self, other: object) -> bool:
        """Same name, nodes, order, inputs and outputs. Weights are compared by ``same_weights``."""
        if not isinstance(other, Graph):
            return NotImplemented
        return (
            self.name == other.name
            and self._inputs == other._inputs
            and list(self._outputs.items()) == list(other._outputs.items())
            and list(self) == list(other)
        )

    __hash__ = None  # type: ignore[assignment]

    def node(self, name: str) -> Node:
        """The node called ``name``. Raises ``KeyError``."""
        return self._nodes[name]

    def operand_types(self, node: Node) -> tuple[TensorType, ...]:
        return tuple(self._nodes[o].type for o in node.operands)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input nodes, as declared."""
        return tuple(self._inputs)

    @property
    def outputs(self) -> Mapping[str, str]:
        """Output name → name of the node that yields it, as declared."""
        return MappingProxyType(self._outputs)

    def consumers(self, name: str) -> list[tuple[str, int]]:
        """(node, operand index) of every use of a node's result by other nodes."""
        return [(user, index) for _, user, index in self._graph.out_edges(name, keys=True)]

    def is_output(self, name: str) -> bool:
        return name in self._outputs.values()

    def order(self) -> list[str]:
        """The canonical order of the nodes' names: operands before users.

        It depends on the structure alone: inputs, then what each output needs, depth first and
        operands left to right, then nodes that no output needs. Raises ``ValueError`` on a cycle.
        """
        if self._order is None:
            self._order = self._sorted()
        return self._order

    def _sorted(self) -> list[str]:
        nodes = self._nodes
        done: dict[str, None] = dict.fromkeys(self._inputs)
        open_nodes: set[str] = set()
        for root in [*self._outputs.values(), *nodes]:
            if root in done:
                continue
            stack = [(root, iter(nodes[root].operands))]
            open_nodes.add(root)
            while stack:
                name, operands = stack[-1]
                for operand in operands:
                    if operand in open_nodes:
                        raise ValueError(f"the graph has a cycle through {operand}")
                    if operand not in done:
                        stack.append((operand, iter(nodes[operand].operands)))
                        open_nodes.add(operand)
                        break
                else:
                    stack.pop()
                    open_nodes.discard(name)
                    done[name] = None
        return list(done)

    # ---- parameters

    def params_of(self, name: str) -> list[tuple[str, ParamSpec]]:
        """(store name, specification) of each parameter of one node."""
        node = self._nodes[name]
        if type(node.op).params is Op.params:
            return []
        specs = _params(node.op, self.operand_types(node))
        return [(node.parameter(spec.role), spec) for spec in specs]

    def parameters(self) -> dict[str, ParamSpec]:
        """Every distinct parameter by store name, in canonical order."""
        found: dict[str, ParamSpec] = {}
        for name in self.order():
            for key, spec in self.params_of(name):
                found.setdefault(key, spec)
        return found

    def is_tied(self, name: str) -> bool:
        """Whether a node shares a parameter with another node."""
        node = self._nodes[name]
        if node.shared or not self._borrowed:
            return bool(node.shared)
        return any(key in self._borrowed for key, _ in self.params_of(name))

    def twins(self, name: str) -> tuple[str, ...]:
        """The nodes of the same op with the very parameters of this one, itself among them; the
        same in the same order for each of them, first the one that the parameters are called by.
        Empty if another node shares some of them only, or has another op."""
        if not self.is_tied(name):
            return (name,)
        node = self._nodes[name]
        keys = {spec.role: key for key, spec in self.params_of(name)}
        found: dict[str, None] = {}
        for key in keys.values():
            owner = key if key in self._nodes else key.rpartition(".")[0]
            if owner in self._nodes and any(k == key for k, _ in self.params_of(owner)):
                found[owner] = None
            found.update(self._borrowed.get(key, {}))
        for other in found:
            theirs = {spec.role: key for key, spec in self.params_of(other)}
            if theirs != keys or self._nodes[other].op != node.op:
                return ()
        return tuple(found)

    def parameter_count(self) -> int:
        """Number of trainable numbers, of a masked parameter |α|; a shared one counts once."""
        specs = self.parameters().items()
        return sum(self.weights.count(key, s.shape) for key, s in specs if s.trainable)

    def maskable(self) -> set[str]:
        """Parameters that may carry a mask: weights and biases of layers, whoever shares them."""
        users: dict[str, bool] = {}
        for name in self.order():
            for key, _ in self.params_of(name):
                users[key] = users.get(key, True) and self._nodes[name].op.maskable
        return {key for key, can in users.items() if can}

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers, for one example."""
        return sum(node.op.macs(self.operand_types(node), node.type) for node in self)

    # ---- changing

    def copy(self) -> Graph:
        """An independent graph that shares the (immutable) nodes and the weight arrays."""
        twin = Graph(self.name, self.weights.copy())
        twin._graph.add_nodes_from(self._graph)
        twin._graph.add_edges_from(self._graph.edges(keys=True))
        twin._nodes = dict(self._nodes)
        twin._inputs = list(self._inputs)
        twin._outputs = dict(self._outputs)
        twin._order = self._order
        twin._dirty = set(self._dirty)
        twin._last_number = dict(self._last_number)
        twin._borrowed = {key: dict(users) for key, users in self._borrowed.items()}
        return twin

    def fresh(self, base: str) -> str:
        """``base`` if no node is called so, else ``base_2``, ``base_3``, …"""
        return names.fresh(base, self._nodes, self._last_number)

    def add_input(self, name: str, type: TensorType, origin: Span | None = None) -> str:
        """Declare an input. Raises ``ValueError`` for a name that is taken or not valid."""
        self._insert(Node(name, Input(type), (), type, origin=origin))
        self._inputs.append(name)
        return name

    def add(
        self,
        op: Op,
        operands: Iterable[str],
        name: str,
        shared: Mapping[str, str] | None = None,
        origin: Span | None = None,
    ) -> str:
        """Add a node and return its name.

        Raises ``ValueError`` for a taken or invalid name or a wrong number of operands,
        ``KeyError`` for an unknown operand, ``ShapeError`` if the operands do not fit the op.
        """
        operands = tuple(operands)
        if not op.accepts(len(operands)):
            raise ValueError(f"{op.name} takes {op.operand_count()}, not {len(operands)}")
        result = _infer(op, tuple(self._nodes[o].type for o in operands))
        bound = MappingProxyType(dict(shared)) if shared else NOT_SHARED
        self._insert(Node(name, op, operands, result, bound, origin))
        return name

    def set_output(self, name: str, node: str) -> None:
        """Declare the output ``name``, or point it to another node."""
        if node not in self._nodes:
            raise KeyError(node)
        self._outputs[name] = node
        self._order = None

    def set_op(self, name: str, op: Op) -> None:
        """Give a node another op. Types are stale until :meth:`settle`."""
        self._nodes[name] = replace(self._nodes[name], op=op)
        self._dirty.add(name)

    def set_operands(self, name: str, operands: Iterable[str]) -> None:
        """Give a node other operands. Types are stale until :meth:`settle`.

        Raises ``KeyError`` for an unknown operand, and then changes nothing.
        """
        node = self._nodes[name]
        new = tuple(operands)
        for operand in new:
            if operand not in self._nodes:
                raise KeyError(operand)
        # Only edges that differ: a sum of many operands may get one more many times.
        for index, (old, other) in enumerate(zip_longest(node.operands, new)):
            if old != other:
                if old is not None:
                    self._graph.remove_edge(old, name, index)
                if other is not None:
                    self._graph.add_edge(other, name, index)
        self._nodes[name] = replace(node, operands=new)
        self._order = None
        self._dirty.add(name)

    def redirect(self, old: str, new: str, keep: Iterable[str] = ()) -> None:
        """Make every user of ``old``, outputs included, use ``new``; not the nodes in ``keep``."""
        if new not in self._nodes:
            raise KeyError(new)
        kept = set(keep)
        for user in dict.fromkeys(user for user, _ in self.consumers(old)):
            if user not in kept:
                operands = self._nodes[user].operands
                self.set_operands(user, (new if o == old else o for o in operands))
        for output, node in self._outputs.items():
            if node == old:
                self.set_output(output, new)

    def remove(self, name: str) -> None:
        """Remove a node that nothing uses, and the values of parameters that only it had."""
        if self.consumers(name) or self.is_output(name):
            raise ValueError(f"{name} is still used")
        node = self._nodes[name]
        keys = {key for key, _ in self.params_of(name)}
        self._graph.remove_node(name)
        del self._nodes[name]
        for key in node.shared.values():
            self._borrowed[key].pop(name, None)
            if not self._borrowed[key]:
                del self._borrowed[key]
        self._dirty.discard(name)
        if name in self._inputs:
            self._inputs.remove(name)
        self._order = None
        for key in keys - self._borrowed.keys():
            if key == name or key.rpartition(".")[0] not in self._nodes:
                self.weights.discard(key)

    def settle(self) -> None:
        """Infer again the types of changed nodes and of what follows from them.

        Raises ``ShapeError`` where operands do not fit any more.
        """
        if not self._dirty:
            return
        for name in self.order():
            if name not in self._dirty:
                continue
            node = self._nodes[name]
            result = _infer(node.op, self.operand_types(node))
            if result != node.type:
                self._nodes[name] = replace(node, type=result)
            # Parameters depend on operand types, so users are looked at again only on a change.
            if result != node.type:
                self._dirty.update(user for user, _ in self.consumers(name))
        self._dirty.clear()

    def _insert(self, node: Node) -> None:
        if node.name in self._nodes:
            raise ValueError(f"two nodes are called {node.name}")
        if not names.is_valid(node.name):
            raise ValueError(f"{node.name!r} is not a valid node name")
        self._nodes[node.name] = node
        self._graph.add_node(node.name)
        for key in node.shared.values():
            self._borrowed.setdefault(key, {})[node.name] = None
        for index, operand in enumerate(node.operands):
            self._graph.add_edge(operand, node.name, index)
        self._order = None


def same_weights(a: Graph, b: Graph) -> bool:
    """Whether both graphs have the same parameters with the same values, bit for bit, and masks.

    A parameter without a value is the same as another without one.
    """
    if a.parameters() != b.parameters():
        return False
    return all(
        _same_bits(a.weights.get(n), b.weights.get(n))
        and same_mask(a.weights.masks.get(n), b.weights.masks.get(n))
        for n in a.parameters()
    )


def _same_bits(a: Array | None, b: Array | None) -> bool:
    return a is b or (a is not None and b is not None and a.tobytes() == b.tobytes())


def same_mask(a: Mask | None, b: Mask | None) -> bool:
    """Whether two masks leave out the same connections; None leaves out none."""
    if a is None or b is None:
        return all(mask is None or bool(mask.all()) for mask in (a, b))
    return a is b or np.array_equal(a, b)
