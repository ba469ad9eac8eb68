"""Syntax tree → graph: statements, blocks and nets."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..ir import OPS, Diagnostic, Graph, GrowcError, Node, Source, Span, TensorType, names
from ..ir.diagnostics import did_you_mean, plural
from ..ir.types import DTYPES, MAX_DIMENSION, MAX_ELEMENTS
from . import syntax as s
from . import values as v
from .expressions import SIZE_OF_STEP, Evaluator, Frame, Stop, TooMany
from .naming import Namer, bound_names, bound_once
from .values import POISON, Tensor, Value, ValueProblem

MAX_BLOCK_DEPTH = 40
MAX_REPEAT = 100_000


@dataclass(frozen=True, slots=True)
class WeightsBinding:
    """``weights "file" sha256 "…"``: where a net's parameters lie, and their content hash."""

    file: str
    sha256: str | None
    span: Span


@dataclass(slots=True)
class Elaborated:
    """A net made from text. ``graph`` is None for a file that holds only blocks."""

    graph: Graph | None
    weights: WeightsBinding | None = None
    warnings: list[Diagnostic] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A parsed file and those it uses, blocks resolved by name."""

    source: Source
    tree: s.File


class _Returned(Exception):
    def __init__(self, value: Value) -> None:
        self.value = value


def elaborate(
    files: list[SourceFile], hyperparameters: Mapping[str, Any] | None = None
) -> Elaborated:
    """Build the net of the first file; blocks may come from all of them.

    ``hyperparameters`` replace the net's defaults. Raises :class:`GrowcError` with a diagnostic
    for each mistake found.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # nodes and values have no cycles; collecting while they grow costs half the time
    try:
        return _Elaborator(files).run(dict(hyperparameters or {}))
    finally:
        if was_enabled:
            gc.enable()


class _Elaborator(Evaluator):
    def __init__(self, files: list[SourceFile]) -> None:
        super().__init__()
        self.files = files
        self.blocks: dict[str, tuple[s.Block, Source]] = {}
        self.calling: list[str] = []
        self.called: set[str] = set()
        self.weights: WeightsBinding | None = None
        self.warnings: list[Diagnostic] = []

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

    # ---- blocks

    def _define_blocks(self) -> None:
        for file in self.files:
            self.frame = Frame(file.source, "", set())
            for item in file.tree.items:
                if not isinstance(item, s.Block):
                    continue
                name = item.name.text
                if name in OPS or name in v.FUNCTION_NAMES:
                    kind = "an op" if name in OPS else "a function of the language"
                    self.report(f"`{name}` is {kind}", item.name, "choose another name")
                elif name in self.blocks:
                    other, source = self.blocks[name]
                    place = Span(source, other.name.start, other.name.end)
                    self.report(
                        f"two blocks are called `{name}`",
                        item.name,
                        notes=[("the other one is here", place)],
                    )
                else:
                    self.blocks[name] = (item, file.source)
                self._check_parameters(item.parameters)

    def _check_parameters(self, parameters: list[s.Parameter]) -> None:
        seen: set[str] = set()
        defaults = False
        for parameter in parameters:
            if parameter.name.text in seen:
                self.report(f"two parameters are called `{parameter.name.text}`", parameter.name)
            seen.add(parameter.name.text)
            if parameter.type is not None and not v.is_type(parameter.type.text):
                self.report(
                    f"`{parameter.type.text}` is not a type",
                    parameter.type,
                    did_you_mean(parameter.type.text, v.TYPES)
                    or "types are int, float, bool, str, tensor, and list[…] of one of them",
                )
            if parameter.default is None and defaults:
                self.report(
                    f"`{parameter.name.text}` has no default, but follows one that has",
                    parameter.name,
                    "put parameters without a default first",
                )
            defaults = defaults or parameter.default is not None

    def is_block(self, name: str) -> bool:
        return name in self.blocks

    def block_names(self) -> list[str]:
        return list(self.blocks)

    def call_block(
        self,
        callee: s.Name,
        positional: list[tuple[Value, s.Piece]],
        named: dict[str, tuple[Value, s.Piece]],
        piece: s.Expr,
        namer: Namer,
        outer: bool,
    ) -> Value:
        name = callee.text
        block, source = self.blocks[name]
        if name in self.calling:
            cycle = " → ".join([*self.calling[self.calling.index(name) :], name])
            self.fail(
                f"the block `{name}` is part of itself ({cycle})",
                callee,
                "blocks cannot be recursive; use `repeat`",
            )
        if len(self.calling) >= MAX_BLOCK_DEPTH:
            self.fail(f"blocks are nested more than {MAX_BLOCK_DEPTH} deep", callee)
        arguments = self._bind_arguments(block, positional, named, callee)
        self.spend((block.body.end - block.body.start) // SIZE_OF_STEP, callee)
        instance = namer.outer(name) if outer else namer.inner(name)
        caller = self.frame
        self.called.add(name)
        self.calling.append(name)
        self.frame = Frame(
            source,
            instance,
            bound_once(block.body, (p.name.text for p in block.parameters)),
            called_from=(instance, Span(caller.source, piece.start, piece.end)),
        )
        try:
            self._set_parameters(block.parameters, arguments)
            self.body(block.body)
        except _Returned as returned:
            return returned.value
        finally:
            self.frame = caller
            self.calling.pop()
        self.fail(
            f"the block `{name}` returns nothing here",
            callee,
            "end its body with `return …`",
            notes=[("the block is defined here", Span(source, block.name.start, block.name.end))],
        )

    def _bind_arguments(
        self,
        block: s.Block,
        positional: list[tuple[Value, s.Piece]],
        named: dict[str, tuple[Value, s.Piece]],
        callee: s.Name,
    ) -> dict[str, tuple[Value, s.Piece]]:
        name = block.name.text
        known = [p.name.text for p in block.parameters]
        form = f"write `{name}({', '.join(known)})`"
        if len(positional) > len(known):
            self.fail(
                f"`{name}` takes {plural(len(known), 'argument')}, but gets {len(positional)}",
                positional[len(known)][1],
                form,
            )
        arguments = dict(zip(known, positional, strict=False))
        for key, (value, place) in named.items():
            if key not in known:
                self.fail(
                    f"`{name}` has no parameter `{key}`", place, did_you_mean(key, known) or form
                )
            if key in arguments:
                self.fail(f"`{key}` is given twice", place)
            arguments[key] = (value, place)
        for parameter in block.parameters:
            if parameter.name.text not in arguments and parameter.default is None:
                self.fail(f"`{name}` needs the argument `{parameter.name.text}`", callee, form)
        for parameter in block.parameters:
            if parameter.name.text in arguments:
                value, place = arguments[parameter.name.text]
                self._check_type(parameter, value, place, f"`{parameter.name.text}` of `{name}`")
        return arguments

    def _check_type(self, parameter: s.Parameter, value: Value, place: s.Piece, what: str) -> None:
        declared = parameter.type.text if parameter.type else ""
        if declared and v.is_type(declared) and not v.fits(value, declared):
            self.fail(f"{what} must be {declared}, not {v.shown(value)}", place)

    def _set_parameters(
        self, parameters: list[s.Parameter], given: Mapping[str, tuple[Value, s.Piece]]
    ) -> None:
        """Bind parameters in the new frame; a default may use the parameters before it."""
        variables = self.frame.variables
        for parameter in parameters:
            name = parameter.name.text
            if name in given:
                value = given[name][0]
            else:
                assert parameter.default is not None
                try:
                    value = self.evaluate(parameter.default, self._namer(None))
                    what = f"the default of `{name}`"
                    self._check_type(parameter, value, parameter.default, what)
                except Stop:
                    value = POISON
            if (
                parameter.type is not None
                and parameter.type.text == "float"
                and value is not POISON
            ):
                value = float(value)
            variables[name] = value

    def _check_uncalled(self) -> None:
        """Names of ops and blocks in blocks that nothing calls: no other check would see them."""
        for name, (block, source) in self.blocks.items():
            if name not in self.called:
                self.frame = Frame(source, "", set())
                _CalleeCheck(self).look(block.body)

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
        given: dict[str, tuple[Value, s.Piece]] = {}
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
                elif key in self.graph:
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

    # ---- statements

    def _namer(self, label: str | None) -> Namer:
        return Namer(self.taken, self.frame.prefix, label)

    def body(self, body: s.Body) -> None:
        """Elaborate statements; after a mistake, go on with the next one."""
        for statement in body.statements:
            self.spend(1, statement)
            try:
                self._STATEMENTS[type(statement)](self, statement)
            except Stop:
                _CalleeCheck(self).look(statement)
                for name in bound_names(statement):
                    self.frame.variables[name] = POISON
                if isinstance(statement, s.Return):
                    raise
                if isinstance(statement, s.OutputStatement):
                    self.frame.variables.setdefault(statement.name.text, POISON)
            except RecursionError:
                self.report("this is nested too deeply", statement, "put inner parts into blocks")

    def _bind(self, statement: s.Bind) -> None:
        targets = statement.targets
        label = targets[0].text
        one = len(targets) == 1 and label in self.frame.once
        value = self.evaluate(statement.value, self._namer(label if one else None), outer=True)
        if len(targets) == 1:
            self.frame.variables[label] = value
            return
        if not isinstance(value, (list, range)) or len(value) != len(targets):
            got = (
                plural(len(value), "item") if isinstance(value, (list, range)) else v.kind_of(value)
            )
            self.fail(
                f"{len(targets)} names take a list of {len(targets)}, not {got}", statement.value
            )
        for target, part in zip(targets, value, strict=True):
            self.frame.variables[target.text] = part

    def _input(self, statement: s.InputStatement) -> None:
        if self.calling:
            self.fail("a block has no inputs", statement, "make it a parameter of the block")
        if statement.dtype.text not in DTYPES:
            self.fail(
                f"`{statement.dtype.text}` is not an element type of growc",
                statement.dtype,
                did_you_mean(statement.dtype.text, DTYPES) or "write `f32`",
            )
        shape = []
        for piece in statement.shape:
            size = self.evaluate(piece, self._namer(None))
            if (
                not isinstance(size, int)
                or isinstance(size, bool)
                or not 1 <= size <= MAX_DIMENSION
            ):
                self.fail(
                    f"a size is a whole number from 1 to {MAX_DIMENSION}, not {v.shown(size)}",
                    piece,
                )
            shape.append(size)
        name = statement.name.text
        kind = TensorType(tuple(shape), statement.dtype.text)
        if kind.size > MAX_ELEMENTS:
            self.fail(f"{kind} is larger than growc allows ({MAX_ELEMENTS:,} elements)", statement)
        if name in self.taken:
            self.fail(f"something is called `{name}` already", statement.name)
        try:
            self.graph.add_input(self.taken.claim(name), kind, self.span(statement))
        except ValueError:
            self.fail(f"`{name[:80]}` cannot be the name of an input", statement.name)
        self.frame.variables[name] = Tensor(name)

    def _output(self, statement: s.OutputStatement) -> None:
        if self.calling:
            self.fail("a block has no outputs", statement, "write `return …`")
        name = statement.name.text
        if name in self.graph.outputs:
            self.fail(f"two outputs are called `{name}`", statement.name)
        if not names.is_valid(name):
            self.fail("this cannot be the name of an output", statement.name)
        if statement.value is None:
            value = self.evaluate(statement.name, self._namer(None))
        else:
            value = self.evaluate(statement.value, self._namer(name), outer=True)
        if not isinstance(value, Tensor):
            self.fail(f"an output is a tensor, not {v.kind_of(value)}", statement)
        if name in self.graph.inputs and name != value.node:
            self.fail(f"the input is called `{name}` already", statement.name, "rename one of them")
        self.graph.set_output(name, value.node)
        if name not in self.frame.once:
            self.frame.variables.setdefault(name, value)

    def _weights(self, statement: s.WeightsStatement) -> None:
        if self.calling:
            self.fail("only a net is bound to weights", statement)
        if self.weights is not None:
            self.fail("a net is bound to weights once", statement)
        sha256 = statement.sha256
        if sha256 is not None and not _is_sha256(sha256.value):
            self.fail("a SHA-256 is 64 digits from 0 to f", sha256)
        self.weights = WeightsBinding(
            statement.file.value, sha256.value if sha256 else None, self.span(statement)
        )

    def _return(self, statement: s.Return) -> None:
        if not self.calling:
            self.fail("only a block returns", statement, "write `output name = …`")
        one = len(statement.values) == 1
        values = statement.values
        whole = values[0] if one else s.ListOf(values[0].start, values[-1].end, values)
        raise _Returned(self.evaluate(whole, self._namer(None), outer=one))

    def _repeat(self, statement: s.Repeat) -> None:
        values = self.evaluate(statement.values, self._namer(None))
        if statement.variable is None and isinstance(values, int) and not isinstance(values, bool):
            values = range(values)
        if not isinstance(values, (list, range)):
            self.fail(
                f"`repeat` goes over a range or a list, not {v.kind_of(values)}",
                statement.values,
                "write `repeat i in 0..4 { … }` or `repeat 4 { … }`",
            )
        if isinstance(values, range) and values.stop - values.start > MAX_REPEAT:
            self.fail(
                f"this repeats {values.stop - values.start:,} times; the limit is {MAX_REPEAT:,}",
                statement.values,
            )
        cost = 1 + (statement.body.end - statement.body.start) // SIZE_OF_STEP
        for value in values:
            self.spend(cost, statement.values)
            if statement.variable is not None:
                self.frame.variables[statement.variable.text] = value
            self.body(statement.body)

    def _if(self, statement: s.If) -> None:
        condition = self.evaluate(statement.condition, self._namer(None))
        try:
            chosen = v.require_bool(condition, "`if`")
        except ValueProblem as problem:
            self.fail(problem.message, statement.condition, problem.help)
        if chosen:
            self.body(statement.body)
        elif isinstance(statement.otherwise, s.If):
            self._if(statement.otherwise)
        elif statement.otherwise is not None:
            self.body(statement.otherwise)

    _STATEMENTS: ClassVar[dict[type, Any]] = {
        s.Bind: _bind,
        s.InputStatement: _input,
        s.OutputStatement: _output,
        s.WeightsStatement: _weights,
        s.Return: _return,
        s.Repeat: _repeat,
        s.If: _if,
    }


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text.lower())


class _CalleeCheck:
    """Looks for ops and blocks that do not exist, without evaluating anything."""

    def __init__(self, elaborator: _Elaborator) -> None:
        self.elaborator = elaborator
        self.known = {*OPS, *elaborator.blocks, *v.FUNCTION_NAMES}

    def look(self, piece: Any) -> None:
        stack = [piece]
        while stack:
            at = stack.pop()
            if isinstance(at, s.Call):
                self._callee(at.callee)
                stack += [a.value for a in at.arguments]
            elif isinstance(at, s.Pipe):
                stack.append(at.first)
                for stage in at.stages:
                    while isinstance(stage, (s.As, s.With)):
                        stage = stage.value
                    if isinstance(stage, s.Name):
                        self._callee(stage)
                    else:
                        stack.append(stage)
            elif isinstance(at, (list, tuple)):
                stack += at
            elif isinstance(at, s.Piece):
                stack += [getattr(at, name) for name in type(at).__slots__]

    def _callee(self, callee: s.Name) -> None:
        if callee.text not in self.known:
            self.elaborator.report(
                f"no op or block is called `{callee.text}`",
                callee,
                did_you_mean(callee.text, self.known) or "see docs/ops.md for the ops",
            )
