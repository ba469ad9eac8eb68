"""What an expansion may add to a network (ILNAS sections 3.2 and 4.1).

The *scaffold* is the network with every candidate in it, at weight zero: placeholder nodes, new
layers, connections from earlier nodes. It is made by the same passes as the expansion that follows,
so it computes the same function, and a candidate's gradient in it is ∂L/∂(α_i W_i) at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...ir import Graph
from ...ir.ops import Add, Conv, Linear
from ...ir.parts import Part, inputs_of, leads_to, outputs_of
from ...ir.weights import Mask, generator
from ...passes import Pass, Place
from ...passes.chains import Chains
from ...passes.new_connection import NewConnection
from ...passes.new_layer import NewLayer
from ...passes.new_node import MAX_CHANNELS, NewNode
from ...passes.widening import is_layer, width_of

MAX_CONVS = 64
"""How many convolutions may stand one after the other (ILNAS section 5)."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Space:
    """How much an expansion may choose from."""

    nodes: int = 8
    """Placeholder nodes for each layer."""
    sources: int = 2
    """Layers, drawn at random, each of which may be connected with one more earlier node of its
    stage. That is a layer more each time, which is computed densely however little is chosen."""
    layers: int = 0
    """New layers behind ReLUs. None unless asked for, as in the paper's experiments (section 3.4):
    each is computed densely, however few of its connections are chosen."""
    kernel: int = 3
    """Window of new convolutions."""
    max_candidates: int = 20_000_000
    """Missing connections in all: with their two gradients, 12 bytes each. Sources, then
    placeholders, are left out until there are no more."""


@dataclass(frozen=True, slots=True)
class Opener:
    """A new node or layer, whose own parameters come with the first connection that needs it."""

    cost: int
    addition: NewNode | NewLayer
    """The pass that adds it, and others like it."""
    number: int
    """Which of the placeholder nodes of that pass it is."""
    part: Part
    """The outputs it is for: only what is for the same ones may need it, as its parameters count
    for them."""


@dataclass(frozen=True, slots=True)
class Field:
    """The missing connections of one parameter of the scaffold."""

    layer: str
    key: str
    missing: Mask
    """[out, in, …]: which of its numbers are candidates."""
    openers: NDArray[np.intp]
    """Of each input channel: the number of the opener that it needs, or -1."""
    addition: NewConnection | None
    """The pass that adds the layer, where that connects a source."""
    part: Part
    """The outputs that depend on it."""
    same_place: tuple[str, ...]
    """The weights that are added to it: of a connection that both lack, one gets it."""


@dataclass(frozen=True)
class Scaffold:
    """A network with candidates, and what they are."""

    start: Graph
    graph: Graph
    openers: tuple[Opener, ...]
    fields: tuple[Field, ...]
    additions: tuple[Pass, ...]
    """The passes that made it."""
    nodes: dict[str, NewNode] = field(default_factory=dict)
    """What gave a layer its placeholders."""
    layers: dict[NewLayer, str] = field(default_factory=dict)
    """The layer that a pass added."""
    columns: dict[str, NDArray[np.intp]] = field(default_factory=dict)
    """Of the weights of each layer: the openers of its input channels, or -1."""

    @property
    def candidates(self) -> int:
        """How many connections there are to choose from."""
        return sum(int(f.missing.sum()) for f in self.fields)


def scaffold(graph: Graph, space: Space, seed: int) -> Scaffold:
    """The network with all that ``space`` allows to add to it, some of it drawn by ``seed``."""
    smaller = space
    while True:
        made = _Builder(graph, smaller, seed).build()
        if made.candidates <= space.max_candidates:
            return made
        if smaller.sources:
            smaller = replace(smaller, sources=smaller.sources // 2)
        elif smaller.nodes:
            smaller = replace(smaller, nodes=smaller.nodes // 2)
        elif smaller.layers:
            smaller = replace(smaller, layers=smaller.layers - 1)
        else:
            return made  # what is missing in the network itself


class _Builder:
    """Makes one scaffold."""

    def __init__(self, graph: Graph, space: Space, seed: int) -> None:
        self.start, self.space, self.seed = graph, space, seed
        self.graph = graph
        self.additions: list[Pass] = []
        self.openers: list[Opener] = []
        self.first: dict[str, int] = {}
        """The opener of a new layer, by the layer's name."""
        self.feeding: dict[str, tuple[int, int, int]] = {}
        """Of a node with placeholders among its channels: the first one's opener, the number of
        channels without them, and how many channels stand for one."""
        self.nodes: dict[str, NewNode] = {}
        self.places: set[str] = set()
        """The ReLUs that new layers were put behind."""
        self.beside: dict[str, NewConnection] = {}
        self.columns: dict[str, NDArray[np.intp]] = {}
        self.outputs = outputs_of(graph)

    def build(self) -> Scaffold:
        self._add_layers()
        self._add_nodes()
        self._add_sources()
        fields = tuple(self._fields())
        openers, additions = tuple(self.openers), tuple(self.additions)
        layers = {
            addition: name
            for name, i in self.first.items()
            if isinstance(addition := self.openers[i].addition, NewLayer)
        }
        made = self.start, self.graph, openers, fields, additions, self.nodes, layers
        return Scaffold(*made, self.columns)

    def _apply(self, addition: Pass) -> Graph:
        """Apply a pass; the network before it."""
        before = self.graph
        self.graph = addition(before, seed=self.seed).graph
        self.additions.append(addition)
        self.outputs = outputs_of(self.graph)
        return before

    @staticmethod
    def _layers(graph: Graph) -> Iterable[tuple[str, str]]:
        """The layers that may get connections, and what each reads; of those with the same
        weights, the first."""
        for node in graph:
            grouped = getattr(node.op, "groups", 1) > 1
            if is_layer(node.op) and not grouped and graph.twins(node.name)[:1] == (node.name,):
                yield node.name, node.operands[0]

    # ---- new layers

    def _add_layers(self) -> None:
        if not self.space.layers:
            return
        depth = conv_depth(self.graph)
        wanted = NewLayer(kernel=self.space.kernel)
        places = [p for p in wanted.find(self.graph).main if isinstance(p, Place)]
        order = generator(self.seed, "new layers").permutation(len(places))
        for place in [places[i] for i in order][: self.space.layers]:
            conv = isinstance(getattr(place, "layer", None), Conv)
            if conv and depth >= MAX_CONVS:
                continue
            depth += conv
            self.places.add(place.name)
            addition = replace(wanted, at=(place.name,))
            before = self._apply(addition)
            for name, _ in list(self._layers(self.graph)):
                if name not in before:
                    self.first[name] = len(self.openers)
                    cost = self.graph.parameter_count() - before.parameter_count()
                    self.openers.append(Opener(cost, addition, 0, self.outputs[name]))

    # ---- placeholder nodes

    def _add_nodes(self) -> None:
        if not self.space.nodes:
            return
        before = self.graph
        # Only where any of them may be kept: before a group norm whole groups are added or none.
        single = NewNode(count=self.space.nodes, keep=(0,))
        for place in self._one_of_each(single.find(before).main):
            ((chain, _),) = place.chains
            count = self.space.nodes
            behind = any(name in self.first for name in (*chain.producers, *chain.consumers))
            taken = any(name in self.nodes for name in chain.producers)
            if behind or taken or chain.width + count > MAX_CHANNELS:
                continue  # nothing reads a new layer yet but what it was put before
            addition = NewNode(at=(chain.producer,), count=count)
            smaller = self._apply(addition)
            cost = (self.graph.parameter_count() - smaller.parameter_count()) // count
            opener = len(self.openers)
            part = self.outputs[chain.producer]
            self.openers += [Opener(cost, addition, i, part) for i in range(count)]
            self.nodes.update(dict.fromkeys(chain.producers, addition))
            for name in chain.widened:
                width = before.node(name).type.shape[chain.axis[name]]
                self.feeding[name] = opener, width, chain.repeat[name]

    def _one_of_each(self, places: Sequence[object]) -> Iterable[Chains]:
        """Of the layers that get more channels together, one: the first, of those that are for the
        same outputs as one drawn at random. So what is shared and what is not both get nodes.

        Layers come before those whose channels they read: a new node reads no other new one, in the
        expansion neither.
        """
        groups: dict[frozenset[str], list[Chains]] = {}
        for place in reversed(places):
            assert isinstance(place, Chains)
            groups.setdefault(frozenset(place.chains[0][0].producers), []).append(place)
        while groups:
            reads = {name for key in groups for name in key}
            last = [
                key
                for key, group in groups.items()
                if not (reads - key) & set(group[0].chains[0][0].consumers)
            ]
            if not last:
                return  # layers that share weights read each other
            group = groups.pop(last[0])
            parts = list(dict.fromkeys(self.outputs[place.name] for place in group))
            rng = generator(self.seed, "new nodes", group[0].name)
            drawn = parts[int(rng.integers(len(parts)))] if len(parts) > 1 else parts[0]
            yield next(place for place in group if self.outputs[place.name] == drawn)

    # ---- connections from earlier nodes

    def _add_sources(self) -> None:
        if not self.space.sources:
            return
        # Not those that a new layer adds, or that a layer will read again without it.
        read = dict.fromkeys(
            source
            for _, source in self._layers(self.graph)
            if source in self.start and source not in self.places
        )
        leads, depends = leads_to(self.graph), inputs_of(self.graph)
        seen = {name: depends[node] for name, node in self.graph.outputs.items()}
        possible: dict[str, list[str]] = {}
        for source in read:
            for place in NewConnection(source=source, indices=()).find(self.graph).main:
                if not isinstance(place, Place) or place.name in self.first:
                    continue
                # What an output does not depend on stays so: another task's images, say.
                if all(depends[source] <= seen[output] for output in leads[place.name]):
                    possible.setdefault(place.name, []).append(source)
        order = generator(self.seed, "sources").permutation(len(possible))
        for name in [list(possible)[i] for i in order][: self.space.sources]:
            sources = possible[name]
            drawn = int(generator(self.seed, "source", name).integers(len(sources)))
            addition = NewConnection(at=(name,), source=sources[drawn], indices=())
            found = addition.find(self.graph).main
            if not any(p.name == name for p in found if isinstance(p, Place)):
                continue  # another new connection leads the other way now
            before = self._apply(addition)
            for node in self.graph:
                if node.name in before:
                    continue
                if is_layer(node.op):
                    self.beside[node.name] = addition
                elif name in self.feeding:  # the sum, which is read instead of the layer
                    self.feeding[node.name] = self.feeding[name]

    # ---- what is missing

    def _fields(self) -> Iterable[Field]:
        for name, source in self._layers(self.graph):
            node = self.graph.node(name)
            assert isinstance(node.op, (Conv, Linear))
            of = self._beside_of(name)
            rows = width_of(node.op) - (self.nodes[of].count if of in self.nodes else 0)
            for key, _ in self.graph.params_of(name):
                missing = ~self.graph.weights.mask(key)
                missing[rows:] = False  # of placeholders, which have theirs
                beside = tuple(self._same_place(name)) if missing.ndim > 1 else ()
                for other in beside:
                    missing &= ~self.graph.weights.mask(other)
                openers = np.full(missing.shape[1] if missing.ndim > 1 else 1, -1, np.intp)
                if missing.ndim > 1 and source in self.feeding:
                    opener, width, repeat = self.feeding[source]
                    new = (np.arange(width, len(openers)) - width) // repeat
                    openers[width:] = opener + new
                if name in self.first:
                    openers[:] = self.first[name]
                if missing.ndim > 1:
                    self.columns[key] = openers
                part = self.outputs[name]
                for i in np.unique(openers[openers >= 0]):
                    if part != self.openers[i].part:
                        missing[:, openers == i] = False
                if missing.any():
                    addition = self.beside.get(name)
                    yield Field(name, key, missing, openers, addition, part, beside)

    def _same_place(self, name: str) -> Iterable[str]:
        """The weights that are added to a layer's own: what is there in one of them is not missing
        in the other, as they are one layer of a task (:func:`joint_baseline`)."""
        graph = self.graph
        twins = graph.twins(name)
        for twin in twins:
            node = graph.node(twin)
            for user, _ in graph.consumers(node.operands[0]):
                other = graph.node(user)
                if user in twins or other.op != node.op or other.operands != node.operands:
                    continue
                total = _total(graph, user)
                if total is not None and total == _total(graph, twin):
                    yield other.parameter("weight")

    def _beside_of(self, name: str) -> str:
        """The layer whose placeholders are also rows of this one."""
        addition = self.beside.get(name)
        return name if addition is None else addition.at[0]


def _total(graph: Graph, name: str) -> str | None:
    """The sum that a node's result is only a part of."""
    found = None
    while len(users := graph.consumers(name)) == 1 and isinstance(graph.node(users[0][0]).op, Add):
        found = name = users[0][0]
    return found


def conv_depth(graph: Graph) -> int:
    """How many convolutions the longest way through a network has."""
    depth: dict[str, int] = {}
    for node in graph:
        before = max((depth[name] for name in node.operands), default=0)
        depth[node.name] = before + isinstance(node.op, Conv)
    return max(depth.values(), default=0)
