"""Evaluating expressions: plain values are computed, ops become nodes of the graph."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, NoReturn

from ..ir import OPS, names
from ..ir.attributes import BadArgument
from ..ir.diagnostics import did_you_mean
from ..ir.ops import Add, Div, Mul, Op, Pow, Power, Reciprocal, Scale, Stored, Sub
from . import syntax as s
from . import values as v
from .calls import Calls
from .context import SIZE_OF_STEP, Stop
from .naming import Namer, join
from .phrases import OWN
from .values import POISON, Tensor, Value, ValueProblem

_BETWEEN_TENSORS: dict[str, type[Op]] = {"-": Sub, "*": Mul, "/": Div, "**": Pow}


def _role(op: str, word: str) -> str:
    """The role of a parameter that is called so; that of a stored tensor has no name."""
    stored = op in OPS and issubclass(OPS[op], Stored)
    return "" if stored and word == OWN else word


_TEXTS = ("same", "valid", "none")
"""Values of attributes that people forget to quote."""


class Evaluator(Calls):
    """Evaluates expressions into ``graph``, reporting mistakes to ``diagnostics``."""

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
            op = _BETWEEN_TENSORS.get(sign)
            if op is None:
                self.fail(
                    f"`{sign}` does not go between tensors",
                    expr,
                    "tensors take `+`, `-`, `*`, `/` and `**`",
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
            if sign == "**":
                return self.apply(self._made(Power, b), [a], expr, namer, outer)
        if isinstance(b, Tensor) and isinstance(a, (int, float)) and not isinstance(a, bool):
            if sign in ("+", "-"):
                return self._scale(b, 1.0 if sign == "+" else -1.0, a, expr, namer, outer)
            if sign == "*":
                return self._scale(b, a, 0.0, expr, namer, outer)
            if sign == "/":
                inverse = self.apply(Reciprocal(), [b], expr, namer, outer and a == 1)
                return inverse if a == 1 else self._scale(inverse, a, 0.0, expr, namer, outer)
        self.spend((v.weight(a) + v.weight(b)) // SIZE_OF_STEP, expr)
        return v.binary(sign, a, b)

    def _scale(
        self, x: Tensor, factor: float, offset: float, expr: s.Expr, namer: Namer, outer: bool
    ) -> Tensor:
        return self.apply(self._made(Scale, factor, offset), [x], expr, namer, outer)

    def _made(self, op: type[Op], *numbers: float) -> Op:
        try:
            return op(*numbers)
        except BadArgument:
            raise ValueProblem("this has no finite value") from None

    # ---- pipes and calls

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
            shared[_role(callee.text, role.text)] = self._parameter_name(source.text)
        value = self.call(callee, arguments, expr, namer, outer, list(piped), shared)
        node = self.graph.node(value.node)
        roles = [spec.role for spec in node.op.params(*self.graph.operand_types(node))]
        words = [name or OWN for name in roles]
        for role, _ in expr.bindings:
            if role.text not in words:
                self.fail(
                    f"`{node.op.name}` has no parameter `{role.text}`",
                    role,
                    did_you_mean(role.text, words) or f"it has {', '.join(words) or 'none'}",
                )
        return value

    def _parameter_name(self, written: str) -> str:
        """A parameter's name in the store: names of nodes of this block instance come first."""
        local = join(self.frame.prefix, written)
        return local if names.scope_of(local) in self.graph else written

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
