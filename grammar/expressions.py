"""Evaluating expressions: plain values are computed, ops become nodes of the graph."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from ..ir import OPS, Diagnostic, Graph, Op, ShapeError, Source, Span, names
from ..ir.attributes import BadArgument
from ..ir.diagnostics import did_you_mean
from ..ir.ops import Add, Mul, Scale, Sub
from . import syntax as s
from . import values as v
from .naming import Namer, Taken, join
from .values import POISON, Tensor, Value, ValueProblem

MAX_DIAGNOSTICS = 20
MAX_NOTES = 8
MAX_NODES = 250_000
MAX_STEPS = 1_000_000
"""Work that a text may ask for. A statement is a step; so are so many items of a list that is
looked at whole, and so many characters of a body that is run again."""
SIZE_OF_STEP = 8


_TEXTS = ("same", "valid", "none")
"""Values of attributes that people forget to quote."""


class Stop(Exception):
    """The statement at hand cannot go on; what is wrong has been reported."""


class TooMany(Exception):
    """Enough has been reported."""


@dataclass(slots=True)
class Frame:
    """The body being elaborated: its file, its variables, and the block instance it is."""

    source: Source
    prefix: str
    once: set[str]
    variables: dict[str, Value] = field(default_factory=dict)
    called_from: tuple[str, Span] | None = None


def _all_tensors(value: Value) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(t, Tensor) for t in value)


class Evaluator:
    """Evaluates expressions into ``graph``, reporting mistakes to ``diagnostics``."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.taken = Taken()
        self.diagnostics: list[Diagnostic] = []
        self.steps = 0
        self._reported: set[tuple[int, int]] = set()
        self._ops: dict[tuple[Any, ...], Op] = {}
        self.frame = Frame(Source("", ""), "", set())

    # ---- reporting

    def span(self, piece: s.Piece) -> Span:
        return Span(self.frame.source, piece.start, piece.end)

    def report(
        self,
        message: str,
        piece: s.Piece,
        help: str | None = None,
        notes: Sequence[tuple[str, Span | None]] = (),
    ) -> None:
        """Record one mistake; a place in the text is reported once, however often it runs."""
        key = (id(self.frame.source), piece.start)
        if key in self._reported:
            return
        self._reported.add(key)
        if self.frame.called_from:
            name, place = self.frame.called_from
            notes = [*notes, (f"in the block instance `{name}`, made here", place)]
        self.diagnostics.append(Diagnostic(message, self.span(piece), help, notes))
        if len(self.diagnostics) >= MAX_DIAGNOSTICS:
            raise TooMany

    def fail(
        self,
        message: str,
        piece: s.Piece,
        help: str | None = None,
        notes: Sequence[tuple[str, Span | None]] = (),
    ) -> NoReturn:
        self.report(message, piece, help, notes)
        raise Stop

    def spend(self, steps: int, piece: s.Piece) -> None:
        """Count work, so that no text, however short, keeps growc busy for long."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            self.report(
                f"this network takes more than {MAX_STEPS:,} steps to build",
                piece,
                "is a loop or a list too long?",
            )
            raise TooMany

    # ---- expressions

    def evaluate(self, expr: s.Expr, namer: Namer, outer: bool = False) -> Value:
        """The value of an expression. ``outer``: it is the statement's whole value."""
        try:
            return self._METHODS[type(expr)](self, expr, namer, outer)
        except ValueProblem as problem:
            self.fail(problem.message, expr, problem.help)

    def _literal(self, expr: Any, namer: Namer, outer: bool) -> Value:
        return expr.value

    def _name(self, expr: s.Name, namer: Namer, outer: bool) -> Value:
        try:
            value = self.frame.variables[expr.text]
        except KeyError:
            self._unknown_name(expr)
        if value is POISON:
            raise Stop
        return value

    def _unknown_name(self, expr: s.Name) -> NoReturn:
        hint = did_you_mean(expr.text, [*self.frame.variables, "true", "false"])
        if expr.text in _TEXTS:
            hint = f'a text is written in quotes: "{expr.text}"'
        if expr.text in v.FUNCTION_NAMES:
            self.fail(
                f"`{expr.text}` is a function, not a value",
                expr,
                f"give it arguments: `{expr.text}(…)`",
            )
        if expr.text in OPS or self.is_block(expr.text):
            kind = "an op" if expr.text in OPS else "a block"
            self.fail(
                f"`{expr.text}` is {kind}, not a value",
                expr,
                f"apply it: `x -> {expr.text}` or `{expr.text}(x)`",
            )
        self.fail(f"nothing is called `{expr.text}` here", expr, hint)

    def _list(self, expr: s.ListOf, namer: Namer, outer: bool) -> Value:
        return v.List(self.evaluate(item, namer) for item in expr.items)

    def _index(self, expr: s.Index, namer: Namer, outer: bool) -> Value:
        value = self.evaluate(expr.value, namer)
        return v.index(value, self.evaluate(expr.index, namer))

    def _unary(self, expr: s.Unary, namer: Namer, outer: bool) -> Value:
        value = self.evaluate(expr.operand, namer)
        if expr.operator == "not":
            return not v.require_bool(value, "`not`")
        if isinstance(value, Tensor):
            return self._scale(value, -1.0, 0.0, expr, namer, outer)
        return v.negate(value)

    def _operation(self, expr: s.Operation, namer: Namer, outer: bool) -> Value:
        left = self.evaluate(expr.first, namer)
        first_sign = expr.rest[0][0]
        if first_sign in ("and", "or"):
            return self._short_circuit(left, expr, namer)
        if len(expr.rest) > 1 and first_sign in ("<", "<=", ">", ">=", "==", "!="):
            self.fail("comparisons cannot be chained", expr, "write `a < b and b < c`")
        terms = deque((sign, self.evaluate(piece, namer)) for sign, piece in expr.rest)
        while terms:
            sign, right = terms.popleft()
            if sign == "+" and isinstance(left, Tensor) and isinstance(right, Tensor):
                # `a + b + c` is one node with three operands.
                operands = [left, right]
                while terms and terms[0][0] == "+" and isinstance(terms[0][1], Tensor):
                    operands.append(terms.popleft()[1])
                left = self.apply(Add(), operands, expr, namer, outer and not terms)
            else:
                left = self._binary(sign, left, right, expr, namer, outer and not terms)
        return left

    def _short_circuit(self, left: Value, expr: s.Operation, namer: Namer) -> Value:
        for sign, piece in expr.rest:
            if v.require_bool(left, f"`{sign}`") == (sign == "or"):
                continue
            left = v.require_bool(self.evaluate(piece, namer), f"`{sign}`")
        return left

    def _binary(
        self, sign: str, a: Value, b: Value, expr: s.Expr, namer: Namer, outer: bool
    ) -> Value:
        """One operator between values, of which some may be tensors."""
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            op = {"-": Sub, "*": Mul}.get(sign)
            if op is None:
                self.fail(
                    f"`{sign}` does not go between tensors",
                    expr,
                    "tensors can be added, subtracted and multiplied",
                )
            return self.apply(op(), [a, b], expr, namer, outer)
        if isinstance(a, Tensor) and isinstance(b, (int, float)) and not isinstance(b, bool):
            if sign in ("+", "-"):
                return self._scale(a, 1.0, b if sign == "+" else -b, expr, namer, outer)
            if sign == "/" and b == 0:
                raise ValueProblem("this divides by zero")
            if sign in ("*", "/"):
                factor = b if sign == "*" else 1 / b
                return self._scale(a, factor, 0.0, expr, namer, outer)
        if isinstance(b, Tensor) and isinstance(a, (int, float)) and not isinstance(a, bool):
            if sign in ("+", "-"):
                return self._scale(b, 1.0 if sign == "+" else -1.0, a, expr, namer, outer)
            if sign == "*":
                return self._scale(b, a, 0.0, expr, namer, outer)
        self.spend((v.weight(a) + v.weight(b)) // SIZE_OF_STEP, expr)
        return v.binary(sign, a, b)

    def _scale(
        self, x: Tensor, factor: float, offset: float, expr: s.Expr, namer: Namer, outer: bool
    ) -> Tensor:
        try:
            op = Scale(factor=factor, offset=offset)
        except BadArgument:
            raise ValueProblem("this has no finite value") from None
        return self.apply(op, [x], expr, namer, outer)

    # ---- calls

    def _pipe(self, expr: s.Pipe, namer: Namer, outer: bool) -> Value:
        value = self.evaluate(expr.first, namer)
        last = len(expr.stages) - 1
        for i, stage in enumerate(expr.stages):
            value = self._stage(stage, value, namer, outer and i == last)
        return value

    def _stage(self, stage: s.Expr, piped: Value, namer: Namer, outer: bool) -> Value:
        if isinstance(stage, s.Call):
            return self.call(stage.callee, stage.arguments, stage, namer, outer, [piped])
        if isinstance(stage, s.Name):
            return self.call(stage, [], stage, namer, outer, [piped])
        if isinstance(stage, s.As):
            inner = self._named(stage, namer)
            return self._stage(stage.value, piped, inner, True)
        if isinstance(stage, s.With):
            return self._with(stage, namer, outer, piped)
        self.fail(
            "`->` leads into an op or a block",
            stage,
            "arithmetic binds more tightly than `->`: put what comes before it in parentheses"
            if isinstance(stage, (s.Operation, s.Unary))
            else "write its name, with arguments in parentheses if it needs any",
        )

    def _call(self, expr: s.Call, namer: Namer, outer: bool) -> Value:
        return self.call(expr.callee, expr.arguments, expr, namer, outer, [])

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
        positional: list[tuple[Value, s.Piece]] = [(value, piece) for value in piped]
        named: dict[str, tuple[Value, s.Piece]] = {}
        for argument in arguments:
            value = self.evaluate(argument.value, namer)
            if argument.name is not None:
                if argument.name.text in named:
                    self.fail(f"`{argument.name.text}` is given twice", argument.name)
                named[argument.name.text] = (value, argument)
            elif named:
                self.fail(
                    "an argument without a name follows one with a name",
                    argument,
                    "put arguments without names first",
                )
            else:
                positional.append((value, argument))
        given = [value for value, _ in (*positional, *named.values())]
        self.spend(sum(map(v.weight, given)) // SIZE_OF_STEP, piece)
        op = OPS.get(callee.text)
        if op is not None:
            for value in piped:
                if not (isinstance(value, Tensor) or _all_tensors(value)):
                    self.fail(f"`{op.name}` is applied to a tensor, not to {v.shown(value)}", piece)
            return self._op(op, positional, named, piece, callee, namer, outer, shared)
        if shared is not None:
            self.fail("only an op's parameters can be shared", piece, "use `with` on an op")
        if self.is_block(callee.text):
            return self.call_block(callee, positional, named, piece, namer, outer)
        if callee.text in v.FUNCTION_NAMES:
            return self._function(callee, positional, named)
        known = [*OPS, *self.block_names(), *v.FUNCTION_NAMES]
        hint = did_you_mean(callee.text, known)
        if hint is None and callee.text in self.frame.variables:
            hint = "it is a value: only ops and blocks can be applied"
        self.fail(
            f"no op or block is called `{callee.text}`",
            callee,
            hint or "see docs/ops.md for the ops",
        )

    def _function(
        self,
        callee: s.Name,
        positional: list[tuple[Value, s.Piece]],
        named: dict[str, tuple[Value, s.Piece]],
    ) -> Value:
        for name, (_, piece) in named.items():
            self.fail(f"`{callee.text}` has no argument `{name}`", piece)
        plain = [value for value, _ in positional]
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
        positional: list[tuple[Value, s.Piece]],
        named: dict[str, tuple[Value, s.Piece]],
        piece: s.Expr,
        callee: s.Name,
        namer: Namer,
        outer: bool,
        shared: dict[str, str] | None,
    ) -> Tensor:
        operands: list[Tensor] = []
        rest: list[tuple[Value, s.Piece]] = []
        for value, place in positional:
            if isinstance(value, Tensor) or _all_tensors(value):
                if rest:
                    self.fail("tensors come before the other arguments", place)
                operands += value if isinstance(value, list) else [value]
            else:
                rest.append((value, place))
        op = self._build(cls, rest, named, callee)
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
        rest: list[tuple[Value, s.Piece]],
        named: dict[str, tuple[Value, s.Piece]],
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

    # ---- names and shared parameters

    def _named(self, expr: s.As, namer: Namer) -> Namer:
        """A namer that gives exactly the name that was asked for."""
        name = expr.name.text
        for index in expr.indices:
            value = self.evaluate(index, namer)
            if not isinstance(value, (int, str)) or isinstance(value, bool):
                self.fail("a part of a name is a whole number or a text", index)
            name += f".{value}"
        full = join(self.frame.prefix, name)
        if not names.is_valid(full):
            self.fail(f"`{name[:80]}` cannot be a name", expr.name)
        if full in self.taken:
            self.fail(
                f"something is called `{full}` already",
                expr.name,
                "in a loop, number it: `as name[i]`",
            )
        return Namer(self.taken, self.frame.prefix, name)

    def _as(self, expr: s.As, namer: Namer, outer: bool) -> Value:
        inner = self._named(expr, namer)
        before = len(self.graph)
        value = self.evaluate(expr.value, inner, outer=True)
        if len(self.graph) == before:
            self.fail(
                "`as` names what an op or a block makes, and nothing is made here",
                expr,
                "it binds to the word before it; to name a sum, write `(x + y) as name`",
            )
        return value

    def _with(self, expr: s.With, namer: Namer, outer: bool, *piped: Value) -> Value:
        target = expr.value
        if isinstance(target, s.As):
            namer, outer, target = self._named(target, namer), True, target.value
        arguments = target.arguments if isinstance(target, s.Call) else []
        callee = target.callee if isinstance(target, s.Call) else target
        if not isinstance(callee, s.Name) or not (piped or isinstance(target, s.Call)):
            self.fail("`with` follows the op whose parameters are shared", expr)
        shared: dict[str, str] = {}
        for role, source in expr.bindings:
            if role.text in shared:
                self.fail(f"`{role.text}` is given twice", role)
            shared[role.text] = self._parameter_name(source.text)
        value = self.call(callee, arguments, expr, namer, outer, list(piped), shared)
        node = self.graph.node(value.node)
        roles = [spec.role for spec in node.op.params(*self.graph.operand_types(node))]
        for role, _ in expr.bindings:
            if role.text not in roles:
                self.fail(
                    f"`{node.op.name}` has no parameter `{role.text}`",
                    role,
                    did_you_mean(role.text, roles) or f"it has {', '.join(roles) or 'none'}",
                )
        return value

    def _parameter_name(self, written: str) -> str:
        """A parameter's name in the store: names of nodes of this block instance come first."""
        local = join(self.frame.prefix, written)
        return local if names.scope_of(local) in self.graph else written

    # ---- what the elaborator adds

    @abstractmethod
    def is_block(self, name: str) -> bool: ...

    @abstractmethod
    def block_names(self) -> list[str]: ...

    @abstractmethod
    def call_block(
        self,
        callee: s.Name,
        positional: list[tuple[Value, s.Piece]],
        named: dict[str, tuple[Value, s.Piece]],
        piece: s.Expr,
        namer: Namer,
        outer: bool,
    ) -> Value: ...

    _METHODS: ClassVar[dict[type, Any]] = {
        s.Number: _literal,
        s.String: _literal,
        s.Boolean: _literal,
        s.Name: _name,
        s.ListOf: _list,
        s.Index: _index,
        s.Unary: _unary,
        s.Operation: _operation,
        s.Pipe: _pipe,
        s.Call: _call,
        s.As: _as,
        s.With: _with,
    }
