"""Syntax tree → the words of canonical text, with the places where a line may break.

A statement becomes a flat list of items, made with a stack of its own: a tree may be thousands of
levels deep (``x[0][0]…``), more than Python can recurse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from . import syntax as s
from .printer import quote


class Group(Enum):
    """Around breaks that are all taken or none, with one more level of indent if they are."""

    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, eq=False)
class Break:
    """Where a line may end. ``flat`` is written if it does not."""

    flat: str
    comma: bool = False
    """A comma ends the line."""
    closing: bool = False
    """The next line stands at the indent outside of the group."""


Item = str | int | Break | Group
"""A number is a place in the source: what follows was there."""


class Slot(NamedTuple):
    """An expression still to be written.

    It stands where the grammar wants operators of at least strength ``least``, and an operator of
    strength ``follow`` comes after it (0: none).
    """

    expr: s.Expr
    least: int = 0
    follow: int = 0


Part = Item | Slot

_FIRST = Break("")
_NEXT = Break(" ")
_LAST = Break("", comma=True, closing=True)
_END = Break("", closing=True)
ALWAYS = Break(" ")
"""A break that is always taken."""

_SUFFIX = 100
"""The strength of `as` and `with`: more than any operator's."""
_INDEX = 101
"""The strength of `[`, which `as name` takes for its own: `x as name[0]`."""

_SPACE = re.compile(r"[ \t\r\n\f]*(?:#[^\n]*\n[ \t\r\n\f]*)*")


def items_of(text: str, piece: s.Statement | s.Item) -> list[Item]:
    """The words of a statement or of a top-level item, up to the ``{`` if it has a body."""
    return _Words(text).statement(piece)


class _Words:
    def __init__(self, text: str) -> None:
        self._text = text

    def _flatten(self, parts: list[Part]) -> list[Item]:
        done: list[Item] = []
        todo = parts[::-1]
        while todo:
            part = todo.pop()
            if type(part) is Slot:
                todo.extend(reversed(self._expression(part)))
            else:
                done.append(part)  # type: ignore[arg-type]  # a type() test does not narrow
        return done

    # ---- statements

    def statement(self, piece: s.Statement | s.Item) -> list[Item]:
        return self._flatten(self._statement(piece))

    def _statement(self, piece: s.Statement | s.Item) -> list[Part]:
        match piece:
            case s.Bind():
                return [*self._targets(piece.targets), " = ", Slot(piece.value)]
            case s.Return():
                return ["return ", *self._values(piece.values)]
            case s.InputStatement():
                shape: list[list[Part]] = [[Slot(expr)] for expr in piece.shape]
                head = ["input ", *self._name(piece.name), ": ", *self._name(piece.dtype)]
                return [*head, *_bracketed("[", shape, "]", piece.end - 1)]
            case s.OutputStatement():
                value: list[Part] = [" = ", Slot(piece.value)] if piece.value else []
                return ["output ", *self._name(piece.name), *value]
            case s.WeightsStatement():
                return self._weights(piece)
            case s.Repeat():
                variable = [*self._name(piece.variable), " in "] if piece.variable else []
                return ["repeat ", *variable, Slot(piece.values), " {"]
            case s.If():
                return ["if ", Slot(piece.condition), " {"]
            case s.Use():
                return ["use ", *self._literal(piece.file)]
            case s.Block():
                return ["block ", *self._name(piece.name), *self._parameters(piece), " {"]
            case s.Net():
                parameters = self._parameters(piece) if piece.parameters else []
                return ["net ", *self._name(piece.name), *parameters, " {"]

    def _targets(self, targets: list[s.Name]) -> list[Part]:
        if len(targets) == 1:
            return self._name(targets[0])
        return _listed([self._name(name) for name in targets])

    def _values(self, values: list[s.Expr]) -> list[Part]:
        return [Slot(values[0])] if len(values) == 1 else _listed([[Slot(v)] for v in values])

    def _weights(self, piece: s.WeightsStatement) -> list[Part]:
        file = ["weights ", *self._literal(piece.file)]
        if piece.sha256 is None:
            return file
        return [*file, Group.OPEN, ALWAYS, "sha256 ", *self._literal(piece.sha256), Group.CLOSE]

    def _parameters(self, piece: s.Block | s.Net) -> list[Part]:
        last = piece.parameters[-1].end if piece.parameters else piece.name.end
        # The last code before the `{` is the `)`; that of a default value may come before it.
        end = last
        while (found := _SPACE.match(self._text, end)) and found.end() < piece.body.start:
            end = found.end() + 1
        return _bracketed("(", [self._parameter(p) for p in piece.parameters], ")", end - 1)

    def _parameter(self, parameter: s.Parameter) -> list[Part]:
        parts = self._name(parameter.name)
        if parameter.type is not None:
            parts += [": ", parameter.type.start, parameter.type.text]
        if parameter.default is not None:
            parts += [" = ", Slot(parameter.default)]
        return parts

    # ---- expressions

    def _name(self, name: s.Name) -> list[Part]:
        return [name.start, quote(name.text)]

    def _literal(self, piece: s.Piece) -> list[Part]:
        return [piece.start, self._text[piece.start : piece.end]]

    def _expression(self, slot: Slot) -> list[Part]:
        expr, _, follow = slot
        if _needs_parentheses(slot):
            found = _SPACE.match(self._text, expr.end)
            end = found.end() if found else expr.end
            return ["(", Group.OPEN, _FIRST, Slot(expr), _END, Group.CLOSE, end, ")"]
        match expr:
            case s.Name():
                return self._name(expr)
            case s.Number() | s.String() | s.Boolean():
                return self._literal(expr)
            case s.Call():
                arguments = [self._argument(a) for a in expr.arguments]
                return [*self._name(expr.callee), *_bracketed("(", arguments, ")", expr.end - 1)]
            case s.ListOf():
                items: list[list[Part]] = [[Slot(item)] for item in expr.items]
                return [expr.start, *_bracketed("[", items, "]", expr.end - 1)]
            case s.Pipe():
                return _chain(expr.first, [("->", stage) for stage in expr.stages], follow)
            case s.Operation():
                return _chain(expr.first, expr.rest, follow)
            case s.Unary():
                sign = "not " if expr.operator == "not" else expr.operator
                return [expr.start, sign, Slot(expr.operand, _strength(expr), follow)]
            case s.Index():
                return [Slot(expr.value, _SUFFIX, _INDEX), "[", Slot(expr.index), "]"]
            case s.As():
                indices = [part for index in expr.indices for part in ("[", Slot(index), "]")]
                return [
                    Slot(expr.value, _SUFFIX, _SUFFIX),
                    " as ",
                    *self._name(expr.name),
                    *indices,
                ]
            case s.With():
                bindings = [
                    [*self._name(own), " = ", *self._name(other)] for own, other in expr.bindings
                ]
                shared = _bracketed("(", bindings, ")", expr.end - 1)
                return [Slot(expr.value, _SUFFIX, _SUFFIX), " with ", *shared]

    def _argument(self, argument: s.Argument) -> list[Part]:
        if argument.name is None:
            return [Slot(argument.value)]
        return [*self._name(argument.name), "=", Slot(argument.value)]


def _strength(expr: s.Expr) -> int:
    match expr:
        case s.Pipe():
            return s.PRECEDENCE["->"]
        case s.Operation():
            return s.PRECEDENCE[expr.rest[0][0]]
        case s.Unary():
            return s.NOT_PRECEDENCE if expr.operator == "not" else s.MINUS_PRECEDENCE
    return _INDEX


def _needs_parentheses(slot: Slot) -> bool:
    """Whether the tree would be another without them.

    What begins with a prefix can stand after any operator, and takes all that is stronger and
    comes after it: `a * not b + c` is `a * (not (b + c))`. `as` too takes what comes after it.
    """
    expr = slot.expr
    if isinstance(expr, (s.Unary, s.As)):
        return slot.follow >= _strength(expr)
    return _strength(expr) < slot.least


def _chain(first: s.Expr, rest: list[tuple[str, s.Expr]], follow: int) -> list[Part]:
    """``first op a op b``; if broken, an operator begins each line."""
    strength = s.PRECEDENCE[rest[0][0]]
    # A chain of equal strength in brackets, `(a + b) + c`, is another tree than `a + b + c`.
    head = Slot(first, strength + 1, strength)
    least = strength if rest[0][0] == "**" else strength + 1
    parts: list[Part] = [head]
    last = len(rest) - 1
    if rest[0][0] in ("..", "**"):
        for i, (operator, operand) in enumerate(rest):
            parts += [operator, Slot(operand, least, follow if i == last else strength)]
        return parts
    for i, (operator, operand) in enumerate(rest):
        slot = Slot(operand, least, follow if i == last else strength)
        parts += [_NEXT, operator + " ", slot]
    # Where a chain begins with another chain, this one must break first; brackets at its
    # beginning can break on their own: `concat(⏎ … ⏎) -> relu`.
    weak = isinstance(first, (s.Pipe, s.Operation, s.Unary)) and not _needs_parentheses(head)
    parts.insert(0 if weak else 1, Group.OPEN)
    parts.append(Group.CLOSE)
    return parts


def _bracketed(opening: str, items: list[list[Part]], closing: str, end: int) -> list[Part]:
    """``(a, b)``; if broken, one item a line. ``end`` is where the closing bracket was."""
    if not items:
        return [opening, Group.OPEN, _END, Group.CLOSE, end, closing]
    parts: list[Part] = [opening, Group.OPEN, _FIRST]
    for i, item in enumerate(items):
        if i:
            parts += [",", _NEXT]
        parts += item
    parts += [_LAST, Group.CLOSE, end, closing]
    return parts


def _listed(items: list[list[Part]]) -> list[Part]:
    """``a, b`` without brackets."""
    parts: list[Part] = [Group.OPEN]
    for i, item in enumerate(items):
        if i:
            parts += [",", _NEXT]
        parts += item
    return [*parts, Group.CLOSE]
