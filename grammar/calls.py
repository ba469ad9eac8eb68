"""Applying ops, blocks and the functions of the language to arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from ..ir import OPS, Op, ShapeError, Span
from ..ir.attributes import BadArgument
from ..ir.diagnostics import did_you_mean
from . import syntax as s
from . import values as v
from .context import SIZE_OF_STEP, Context
from .naming import Namer
from .values import Tensor, Value, ValueProblem

MAX_NOTES = 8
MAX_NODES = 250_000

Given = tuple[Value, s.Piece]
"""An argument's value and where it is written."""


@dataclass(slots=True)
class Arguments:
    """What something is applied to; what a pipe leads in is the first positional one."""

    positional: list[Given]
    named: dict[str, Given] = field(default_factory=dict)

    def values(self) -> list[Value]:
        return [value for value, _ in (*self.positional, *self.named.values())]


def _all_tensors(value: Value) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(t, Tensor) for t in value)


class Calls(Context, ABC):
    """Applies what is called, and adds the nodes that this makes to the graph."""

    def __init__(self) -> None:
        super().__init__()
        self._ops: dict[tuple[Any, ...], Op] = {}

    @abstractmethod
    def evaluate(self, expr: s.Expr, namer: Namer, outer: bool = False) -> Value:
        """The value of an expression. ``outer``: it is the statement's whole value."""

    @abstractmethod
    def is_block(self, name: str) -> bool: ...

    @abstractmethod
    def block_names(self) -> list[str]: ...

    @abstractmethod
    def call_block(
        self,
        callee: s.Name,
        arguments: Arguments,
        piece: s.Expr,
        namer: Namer,
        outer: bool,
    ) -> Value: ...

    def call(
        self,
        callee: s.Name,
        arguments: list[s.Argument],
        piece: s.Expr,
        namer: Namer,
        outer: bool,
        piped: list[Value],
        shared: dict[str, str] | None = None,
    ) -> Value:
        """Apply an op, a block or a function of the language."""
        given = Arguments([(value, piece) for value in piped])
        for argument in arguments:
            self._take(argument, given, namer)
        self.spend(sum(map(v.weight, given.values())) // SIZE_OF_STEP, piece)
        op = OPS.get(callee.text)
        if op is not None:
            for value in piped:
                if not (isinstance(value, Tensor) or _all_tensors(value)):
                    self.fail(f"`{op.name}` is applied to a tensor, not to {v.shown(value)}", piece)
            return self._op(op, given, piece, callee, namer, outer, shared)
        if shared is not None:
            self.fail("only an op's parameters can be shared", piece, "use `with` on an op")
        if self.is_block(callee.text):
            return self.call_block(callee, given, piece, namer, outer)
        if callee.text in v.FUNCTION_NAMES:
            return self._function(callee, given)
        known = [*OPS, *self.block_names(), *v.FUNCTION_NAMES]
        hint = did_you_mean(callee.text, known)
        if hint is None and callee.text in self.frame.variables:
            hint = "it is a value: only ops and blocks can be applied"
        self.fail(
            f"no op or block is called `{callee.text}`",
            callee,
            hint or "see docs/ops.md for the ops",
        )

    def _take(self, argument: s.Argument, given: Arguments, namer: Namer) -> None:
        """Evaluate one argument and add it to those that are given."""
        value = self.evaluate(argument.value, namer)
        if argument.name is not None:
            if argument.name.text in given.named:
                self.fail(f"`{argument.name.text}` is given twice", argument.name)
            given.named[argument.name.text] = (value, argument)
        elif given.named:
            self.fail(
                "an argument without a name follows one with a name",
                argument,
                "put arguments without names first",
            )
        else:
            given.positional.append((value, argument))

    def _function(
        self,
        callee: s.Name,
        arguments: Arguments,
    ) -> Value:
        for name, (_, piece) in arguments.named.items():
            self.fail(f"`{callee.text}` has no argument `{name}`", piece)
        plain = [value for value, _ in arguments.positional]
        try:
            if callee.text != "shape":
                return v.FUNCTIONS[callee.text](plain)
            if len(plain) != 1 or not isinstance(plain[0], Tensor):
                raise ValueProblem("`shape` takes one tensor")
            return v.List(self.graph.node(plain[0].node).type.shape)
        except ValueProblem as problem:
            self.fail(problem.message, callee, problem.help)

    def _op(
        self,
        cls: type[Op],
        arguments: Arguments,
        piece: s.Expr,
        callee: s.Name,
        namer: Namer,
        outer: bool,
        shared: dict[str, str] | None,
    ) -> Tensor:
        operands: list[Tensor] = []
        rest: list[Given] = []
        for value, place in arguments.positional:
            if isinstance(value, Tensor) or _all_tensors(value):
                if rest:
                    self.fail("tensors come before the other arguments", place)
                operands += value if isinstance(value, list) else [value]
            else:
                rest.append((value, place))
        op = self._build(cls, rest, arguments.named, callee)
        if not op.accepts(len(operands)):
            self.fail(
                f"`{op.name}` takes {op.operand_count()}, but gets {len(operands)}",
                piece,
                op.signature_help(),
            )
        return self.apply(op, operands, piece, namer, outer, shared)

    def _build(
        self,
        cls: type[Op],
        rest: list[Given],
        named: dict[str, Given],
        callee: s.Name,
    ) -> Op:
        plain = [v.as_list(value) for value, _ in rest]
        by_name = {name: v.as_list(value) for name, (value, _) in named.items()}
        # Equal arguments of different type (1, 1.0, true) must not share an entry: hence repr.
        key = (cls, repr(plain), repr(by_name))
        if key in self._ops:
            return self._ops[key]
        try:
            self._ops[key] = op = cls.build(plain, by_name)
        except BadArgument as error:
            place: s.Piece = callee
            if isinstance(error.where, str) and error.where in named:
                place = named[error.where][1]
            elif isinstance(error.where, int):
                place = rest[error.where][1]
            elif error.where is not None:
                position = [a.name for a in cls.attributes].index(error.where)
                place = rest[position][1]
            offending = place.value if isinstance(place, s.Argument) else None
            help = error.help
            if help is None and isinstance(offending, s.Operation) and "/" in dict(offending.rest):
                help = "`/` gives a fraction; `//` divides whole numbers"
            self.fail(error.message, place, help)
        return op

    def apply(
        self,
        op: Op,
        operands: list[Tensor],
        piece: s.Expr,
        namer: Namer,
        outer: bool,
        shared: dict[str, str] | None = None,
    ) -> Tensor:
        """Add one node to the graph."""
        if len(self.graph) >= MAX_NODES:
            self.fail(f"this network has more than {MAX_NODES:,} nodes", piece)
        name = namer.outer(op.name) if outer else namer.inner(op.name)
        try:
            self.graph.add(
                op,
                [t.node for t in operands],
                name,
                shared,
                Span(self.frame.source, piece.start, piece.end),
            )
        except ShapeError as error:
            nodes = [self.graph.node(name) for name in dict.fromkeys(t.node for t in operands)]
            notes = [(f"`{n.name}` is {n.type}", n.origin) for n in nodes[:MAX_NOTES]]
            self.fail(error.message, piece, error.help, notes)
        except ValueError:
            self.fail(f"`{name[:80]}` cannot be the name of a node", piece, "choose a shorter name")
        return Tensor(name)
