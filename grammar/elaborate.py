"""Syntax tree → graph: the net, its hyperparameters, and what must hold of the whole."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ir import Diagnostic, Graph, GrowcError, Node, names
from ..ir.diagnostics import did_you_mean
from ..ir.ops import Stored
from . import syntax as s
from . import values as v
from .blocks import SourceFile
from .calls import Given
from .context import Frame, Stop, TooMany
from .naming import bound_once
from .statements import Statements, WeightsBinding
from .values import POISON, Value, ValueProblem


@dataclass(slots=True)
class Elaborated:
    """A net made from text. ``graph`` is None for a file that holds only blocks."""

    graph: Graph | None
    weights: WeightsBinding | None = None
    warnings: list[Diagnostic] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)


def elaborate(
    files: list[SourceFile], hyperparameters: Mapping[str, Any] | None = None
) -> Elaborated:
    """Build the net of the first file; blocks may come from all of them.

    ``hyperparameters`` replace the net's defaults. Raises :class:`GrowcError` with a diagnostic
    for each mistake found.
    """
    return _Elaborator(files).run(dict(hyperparameters or {}))


class _Elaborator(Statements):
    def run(self, hyperparameters: dict[str, Any]) -> Elaborated:
        main = self.files[0]
        try:
            self._define_blocks()
            nets = [item for item in main.tree.items if isinstance(item, s.Net)]
            if nets:
                self.frame = Frame(main.source, "", set())
                self._one_net(nets)
                self._net(nets[0], hyperparameters)
            self._check_uncalled()
        except TooMany:
            pass
        except RecursionError:
            with contextlib.suppress(TooMany, Stop):
                self.fail("this is nested too deeply", s.Piece(0, 1))
        if self.diagnostics:
            raise GrowcError(*self.diagnostics)
        return Elaborated(
            self.graph if nets else None, self.weights, self.warnings, list(self.blocks)
        )

    def _one_net(self, nets: list[s.Net]) -> None:
        for extra in nets[1:]:
            self.report(
                f"a file holds one net, and `{nets[0].name.text}` is there already",
                extra.name,
                "put the other net into its own file; shared blocks go into a third, with `use`",
            )

    # ---- nets

    def _net(self, net: s.Net, hyperparameters: dict[str, Any]) -> None:
        self._check_parameters(net.parameters)
        known = [p.name.text for p in net.parameters]
        for name in hyperparameters:
            if name not in known:
                raise GrowcError(
                    f"the net `{net.name.text}` has no hyperparameter `{name}`",
                    help=did_you_mean(name, known)
                    or (f"it has {', '.join(known)}" if known else "it has none"),
                )
        self.graph.name = net.name.text
        if not names.is_valid(net.name.text):
            self.report("this cannot be the name of a net", net.name)
        self.frame = Frame(self.frame.source, "", bound_once(net.body, known))
        given: dict[str, Given] = {}
        for parameter in net.parameters:
            name = parameter.name.text
            if name in hyperparameters:
                value = self._hyperparameter(parameter, hyperparameters[name])
                given[name] = (value, parameter.name)
            elif parameter.default is None:
                self.report(
                    f"the net needs a value for `{name}`",
                    parameter.name,
                    f"give it a default, or set it: --set {name}=…",
                )
                given[name] = (POISON, parameter.name)
        self._set_parameters(net.parameters, given)
        with contextlib.suppress(Stop):  # a `return`, which has been reported
            self.body(net.body)
        if not self.graph.outputs and not self.diagnostics:
            self.report("this net has no output", net.name, "end it with `output y = …`")
        if not self.diagnostics:
            self._check_parameter_names()
        if not self.diagnostics:
            self._warn_unused(net)

    def _hyperparameter(self, parameter: s.Parameter, given: object) -> Value:
        """A value from outside, checked."""
        what = f"the hyperparameter `{parameter.name.text}`"
        try:
            value = v.from_outside(given)
        except TypeError:
            raise GrowcError(
                f"{what} must be a number, a text, true, false or a list of them, "
                f"not {'nothing' if given is None else type(given).__name__}"
            ) from None
        except ValueProblem as problem:
            raise GrowcError(f"{what} cannot be used: {problem.message}") from None
        declared = parameter.type.text if parameter.type else ""
        if declared and v.is_type(declared) and not v.fits(value, declared):
            raise GrowcError(f"{what} must be {declared}, not {v.shown(value)}")
        return value

    def _check_parameter_names(self) -> None:
        """Nodes that share a parameter agree on its shape, and no node is called like one."""
        for node in self.graph:
            owner = names.scope_of(node.name)
            if owner in self.graph and node.name in dict(self.graph.params_of(owner)):
                self._node_problem(
                    node,
                    f"a parameter of `{owner}` is called `{node.name}` already",
                    "choose another name for the node",
                )
        if not any(node.shared for node in self.graph):
            return
        users: dict[str, tuple[str, tuple[int, ...]]] = {}
        counts: Counter[str] = Counter()
        for node in self.graph:
            for key, spec in self.graph.params_of(node.name):
                counts[key] += 1
                first, shape = users.setdefault(key, (node.name, spec.shape))
                if shape != spec.shape:
                    self._node_problem(
                        node,
                        f"the shared parameter `{key}` has shape {list(shape)} in `{first}`, "
                        f"but `{node.name}` needs {list(spec.shape)}",
                    )
                elif key in self.graph and not isinstance(self.graph.node(key).op, Stored):
                    self._node_problem(
                        node,
                        f"`{key}` is a node, not a parameter",
                        f"a parameter is a node's name and its role, such as `{key}.{spec.role}`",
                    )

        if self.weights is None:
            for node in self.graph:
                self._warn_unshared(node, counts)

    def _warn_unshared(self, node: Node, users: Counter[str]) -> None:
        """A parameter that is shared with nobody is most likely a name misspelt."""
        for key in node.shared.values():
            if users[key] == 1:
                hint = did_you_mean(key, (k for k in users if k != key))
                self.warnings.append(
                    Diagnostic(
                        f"no other node has the parameter `{key}`", node.origin, hint, (), "warning"
                    )
                )

    def _node_problem(self, node: Node, message: str, help: str | None = None) -> None:
        self.diagnostics.append(Diagnostic(message, node.origin, help))

    def _warn_unused(self, net: s.Net) -> None:
        used = set(self.graph.outputs.values())
        for name in reversed(self.graph.order()):
            if name in used:
                used.update(self.graph.node(name).operands)
        for node in self.graph:
            if node.name not in used:
                what = "input" if node.name in self.graph.inputs else "node"
                self.warnings.append(
                    Diagnostic(
                        f"no output depends on the {what} `{node.name}`",
                        node.origin,
                        severity="warning",
                    )
                )
