"""Names for the nodes of a network that was read: those of the model's own layers and modules."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...ir import Graph, Node, names
from ...ir.ops import AdaptivePool, Concat, Flatten, Pool, Reshape, Resize, Stored, Transpose
from ...ir.ops.pool import GlobalPool
from ...ir.weights import Weights
from .builder import Source
from .motifs import motif_scopes
from .values import Hint


def named(graph: Graph, hints: Mapping[str, Hint], sources: Mapping[str, Source]) -> Graph:
    """The same network with names of meaning.

    A layer is called as its stored tensors are (``layer1.0.conv1`` of ``layer1.0.conv1.weight``);
    what has none is called as the foreign model calls it, or by its op in the scope of what it
    reads.
    """
    return Naming(graph, hints, sources).renamed()


class Naming:
    """Finds the names; :meth:`renamed` gives the network that has them. Then ``found`` has the
    new name of every node, and ``keys`` that of every parameter."""

    def __init__(
        self, graph: Graph, hints: Mapping[str, Hint], sources: Mapping[str, Source]
    ) -> None:
        self.graph, self.hints, self.sources = graph, hints, sources
        self.found: dict[str, str] = dict.fromkeys(graph.inputs, "")
        self.taken: set[str] = set()
        self.last: dict[str, int] = {}
        self.keys: dict[str, str] = {}

    def renamed(self) -> Graph:
        graph = self.graph
        for name in graph.inputs:
            self.found[name] = self._claim(name)
        self.certain = {
            node.name: self._certain(node) for node in graph if node.name not in self.found
        }
        self._part_tensors_from_layers()
        self.leaves = self._leaf_scopes()
        self.after = self._scopes_after()
        nodes = [node for node in graph if node.name not in self.found]
        self.scopes = {name: names.scope_of(name) for name in graph.inputs}
        position = {name: i for i, name in enumerate(graph.order())}
        for node in nodes:
            self.scopes[node.name] = self._scope(node, position)
        lost = [n.name for n in nodes if not self.scopes[n.name] and self._is_nameless(n.name)]
        self.scopes.update(motif_scopes(graph, lost))
        for node in nodes:
            self.found[node.name] = self._claim(self._base(node))
        return self._rebuilt()

    def _part_tensors_from_layers(self) -> None:
        """A tensor that is a node cannot be an attribute of what is a layer in PyTorch."""
        layers = {
            self.certain.get(node.name)
            for node in self.graph
            if not isinstance(node.op, Stored) and self.graph.params_of(node.name)
        }
        for node in self.graph:
            name = self.certain.get(node.name)
            if isinstance(node.op, Stored) and name and names.scope_of(name) in layers:
                self.certain[node.name] = name.replace(".", "_")

    def _certain(self, node: Node) -> str | None:
        """What the node's tensors, or the model itself, call it."""
        hint = self.hints[node.name]
        if hint.weight:
            of_tensors = self._of_tensors(node)
            if of_tensors:
                return of_tensors
        return clean(hint.name) if hint.name else None

    def _of_tensors(self, node: Node) -> str | None:
        """``layer1.0.conv1``, if that is where all of the node's own named tensors lie."""
        found = set()
        for key, spec in self.graph.params_of(node.name):
            source = self.sources.get(key)
            own = key not in node.shared.values() or not spec.role
            if not own or source is None or source.name is None:
                continue
            scope = _scope_of(source.name, spec.role)
            if scope is not None:
                found.add(scope)
        return clean(found.pop()) if len(found) == 1 else None

    def _leaf_scopes(self) -> set[str]:
        """Scopes that only nodes of one kind lie in, with nothing below: modules of one op."""
        kinds: dict[str, set[str]] = {}
        above: set[str] = set()
        for node in self.graph:
            if node.name in self.graph.inputs:
                continue
            name = self.certain[node.name]
            scope = clean(self.hints[node.name].scope or "")
            if name is not None:
                above.update(_parents(name))
            elif scope:
                kinds.setdefault(scope, set()).add(node.op.name)
                above.update(_parents(scope))
        return {scope for scope, ops in kinds.items() if len(ops) == 1 and scope not in above}

    def _is_nameless(self, name: str) -> bool:
        return self.certain[name] is None and self.hints[name].scope is None

    def _base(self, node: Node) -> str:
        name, scope = self.certain[node.name], self.scopes[node.name]
        if name is not None:
            return name
        if scope in self.leaves:
            return scope
        kind = self.hints[node.name].kind or node.op.name
        return f"{scope}.{kind}" if scope else kind

    def _scope(self, node: Node, position: Mapping[str, int]) -> str:
        """Where a node lies: as its name or the model says, else beside what it reads."""
        name, hint = self.certain[node.name], self.hints[node.name]
        if name is not None:
            return names.scope_of(name)
        if hint.scope is not None:
            return clean(hint.scope)
        operands = [o for o in node.operands if o not in self.graph.inputs]
        # A layer of unnamed tensors says nothing of its own, and may begin something else.
        if not operands or self.graph.params_of(node.name):
            return ""
        scopes = [self.scopes[o] for o in sorted(operands, key=position.__getitem__)]
        scope = scopes[-1]
        # The sum of a block's own branch and of one in a module of the block lies in the block.
        for other in scopes[:-1]:
            if other and scope.startswith(f"{other}."):
                scope = other
            elif _are_parts(scope, other):
                scope = names.scope_of(scope)
        if isinstance(node.op, BETWEEN):
            return _common(scope, self.after[node.name])
        return scope

    def _scopes_after(self) -> dict[str, str]:
        """For every node, the scope of the first one down the line that has a name."""
        after: dict[str, str] = {}
        for at in reversed(self.graph.order()):
            users = [user for user, _ in self.graph.consumers(at)]
            named = (name for user in users if (name := self.certain.get(user)))
            found = next(named, None)
            inherited = next((after[user] for user in users if after[user]), "")
            after[at] = inherited if found is None else names.scope_of(found)
        return after

    def _claim(self, base: str) -> str:
        name = names.fresh(base, self.taken, self.last)
        self.taken.add(name)
        return name

    def _rebuilt(self) -> Graph:
        old = self.graph
        graph = Graph(old.name, Weights())
        for node in old:
            for key, spec in old.params_of(node.name):
                if key not in node.shared.values():
                    new = self.found[node.name]
                    self.keys[key] = f"{new}.{spec.role}" if spec.role else new
        # A node that is nothing but a stored tensor holds it, whoever else has it.
        holders = {node.shared[""]: node.name for node in old if "" in node.shared}
        self.keys.update((key, self.found[name]) for key, name in holders.items())
        for name in old.inputs:
            graph.add_input(self.found[name], old.node(name).type)
        for node in old:
            if node.name in old.inputs:
                continue
            shared = {
                spec.role: self.keys[key]
                for key, spec in old.params_of(node.name)
                if key in node.shared.values() or key in holders
                if holders.get(key) != node.name
            }
            operands = [self.found[o] for o in node.operands]
            graph.add(node.op, operands, self.found[node.name], shared or None)
        for output, source in old.outputs.items():
            graph.set_output(output, self.found[source])
        for key in old.parameters():
            graph.weights[self.keys[key]] = old.weights[key]
        return graph


def _scope_of(tensor: str, role: str) -> str | None:
    """Where the layer is whose tensor of this role is called so; None if that does not tell."""
    tensor = tensor.replace("/", ".").strip(".")
    if not role:
        return tensor
    scope, _, last = tensor.rpartition(".")
    if last == role or last.lower() in _ROLES.get(role, ()):
        return scope or None
    if last.endswith(f"_{role}"):
        inner = last[: -len(role) - 1]
        return f"{scope}.{inner}" if scope else inner
    return None


_ROLES = {
    "weight": ("gamma", "kernel", "w", "scale"),
    "bias": ("beta", "b"),
    "running_mean": ("moving_mean", "mean"),
    "running_var": ("moving_variance", "var"),
}


BETWEEN = (Pool, AdaptivePool, GlobalPool, Flatten, Reshape, Transpose, Resize, Concat)
"""What stands between the blocks of a network as often as inside of them."""


def _are_parts(a: str, b: str) -> bool:
    """Whether both are modules of one that are called by words, as the branches of a block are;
    blocks that follow each other are numbered."""
    outer = names.scope_of(a)
    return (
        a != b
        and bool(outer)
        and outer == names.scope_of(b)
        and not any(name.rpartition(".")[2].isdigit() for name in (a, b))
    )


def _common(a: str, b: str) -> str:
    """The scope that both lie in."""
    parts = []
    for x, y in zip(a.split("."), b.split("."), strict=False):
        if x != y:
            break
        parts.append(x)
    return ".".join(parts)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


_ODD = re.compile(r"[^A-Za-z0-9_.]+")


def clean(name: str) -> str:
    """A foreign name as one that needs no backticks."""
    dotted = [part for part in name.strip("./").split(".") if part]
    parts = [_ODD.sub("_", p).strip("_" if _ODD.search(p) else "") or "_" for p in dotted]
    if not parts:
        return ""
    if not re.match(r"[A-Za-z_]", parts[0]):
        parts[0] = f"_{parts[0]}"
    return ".".join(parts)[: names.MAX_LENGTH - 20]


def path_scope(path: str) -> str:
    """``layer1.0.conv1`` for a torch exporter's ``/layer1/layer1.0/conv1``."""
    scope = ""
    for part in path.strip("/").split("/"):
        if not part:
            continue
        scope = part if part == scope or part.startswith(f"{scope}.") else f"{scope}.{part}"
        scope = scope.lstrip(".")
    return scope
