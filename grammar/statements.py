"""Elaborating statements: bindings, inputs and outputs, loops and branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir import Span, TensorType, names
from ..ir.diagnostics import did_you_mean, plural
from ..ir.types import DTYPES, MAX_DIMENSION, MAX_ELEMENTS
from . import syntax as s
from . import values as v
from .blocks import Blocks, Returned, SourceFile
from .context import SIZE_OF_STEP, Stop
from .naming import bound_names
from .values import POISON, Tensor, ValueProblem

MAX_REPEAT = 100_000


@dataclass(frozen=True, slots=True)
class WeightsBinding:
    """``weights "file" sha256 "…"``: where a net's parameters lie, and their content hash."""

    file: str
    sha256: str | None
    span: Span


class Statements(Blocks):
    """Elaborates the bodies of nets and blocks, statement by statement."""

    def __init__(self, files: list[SourceFile]) -> None:
        super().__init__(files)
        self.weights: WeightsBinding | None = None

    def body(self, body: s.Body) -> None:
        """Elaborate statements; after a mistake, go on with the next one."""
        for statement in body.statements:
            self.spend(1, statement)
            try:
                self._STATEMENTS[type(statement)](self, statement)
            except Stop:
                self.check_callees(statement)
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
        value = self.evaluate(statement.value, self.namer(label if one else None), outer=True)
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
            size = self.evaluate(piece, self.namer())
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
            value = self.evaluate(statement.name, self.namer())
        else:
            value = self.evaluate(statement.value, self.namer(name), outer=True)
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
        raise Returned(self.evaluate(whole, self.namer(), outer=one))

    def _repeat(self, statement: s.Repeat) -> None:
        values = self.evaluate(statement.values, self.namer())
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
        condition = self.evaluate(statement.condition, self.namer())
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
