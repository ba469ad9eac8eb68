"""Text → syntax tree."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedInput

from ..ir.diagnostics import Diagnostic, GrowcError, Source, Span
from ..ir.names import MAX_LENGTH
from . import syntax as s
from .garbage import collector_paused
from .recovery import explain_all

MAX_NESTING = 60
"""Brackets, braces and chained prefixes inside each other. Deeper is a mistake or an attack."""
MAX_DIGITS = 18

_INT = re.compile(r"[0-9]+(_[0-9]+)*\Z")
_FLOAT = re.compile(r"[0-9]+(_[0-9]+)*(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")


def parse(source: Source) -> s.File:
    """Parse a whole file.

    Raises :class:`GrowcError` with a diagnostic for each mistake found.
    """
    _check_nesting(source)
    builder = Builder(source)
    with collector_paused():
        try:
            tree = _parser().parse(source.text, builder)
        except UnexpectedInput:
            found = explain_all(source, lambda text: _problems(source, text))
            raise GrowcError(*found) from None
    if builder.problems:
        raise GrowcError(*builder.problems)
    tree.comments = builder.comments
    return tree


def _problems(source: Source, text: str) -> list[Diagnostic]:
    builder = Builder(source)
    _parser().parse(text, builder)
    return builder.problems


class _Parser:
    """lark's LALR parser with a fresh builder for every parse."""

    def __init__(self) -> None:
        self._builder: Builder | None = None
        self._lark = Lark(
            files(__package__).joinpath("arch.lark").read_text(encoding="utf-8"),
            parser="lalr",
            maybe_placeholders=False,
            keep_all_tokens=True,
            transformer=_Forward(self),
            lexer_callbacks={"COMMENT": self._comment},
        )

    def parse(self, text: str, builder: Builder) -> s.File:
        self._builder = builder
        return self._lark.parse(text)  # type: ignore[return-value]

    def _comment(self, token: Token) -> Token:
        if self._builder is not None:
            self._builder.comment(token)
        return token


class _Forward:
    """Hands each of lark's reductions to the builder of the parse that is going on."""

    def __init__(self, parser: _Parser) -> None:
        self._parser = parser

    def __getattr__(self, rule: str) -> Any:
        if rule.startswith("__") or not hasattr(Builder, rule):
            raise AttributeError(rule)
        method, parser = getattr(Builder, rule), self._parser
        return lambda children: method(parser._builder, children)


@cache
def _parser() -> _Parser:
    return _Parser()


_BRACKETS = re.compile(r'#[^\n]*|"(?:[^"\\\n]|\\.)*+|`[^`\n]*`|[()\[\]{}]')


def _check_nesting(source: Source) -> None:
    depth = 0
    for match in _BRACKETS.finditer(source.text):
        first = match.group()[0]
        if first in "([{":
            depth += 1
            if depth > MAX_NESTING:
                raise GrowcError(
                    Diagnostic(
                        f"brackets are nested more than {MAX_NESTING} deep",
                        Span(source, match.start(), match.end()),
                        "name the inner parts in statements of their own, or put them in a block",
                    )
                )
        elif first in ")]}":
            depth -= 1


def _start(child: Any) -> int:
    return int(child.start_pos or 0) if isinstance(child, Token) else int(child.start)


def _end(child: Any) -> int:
    return int(child.end_pos or 0) if isinstance(child, Token) else int(child.end)


def _without(children: list[Any], *punctuation: str) -> list[Any]:
    return [c for c in children if not (isinstance(c, Token) and c in punctuation)]


class Builder:
    """Builds syntax nodes from lark's reductions, one method a grammar rule."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.comments: list[s.Comment] = []
        self.problems: list[Diagnostic] = []
        # The last `if`, and how many it is with those in its `else`.
        self._chain: tuple[s.If | None, int] = (None, 0)

    def comment(self, token: Token) -> None:
        self.comments.append(s.Comment(token.start_pos or 0, token.end_pos or 0, token.rstrip()))

    def _problem(self, message: str, piece: Any, help: str | None = None) -> None:
        span = Span(self.source, _start(piece), _end(piece))
        self.problems.append(Diagnostic(message, span, help))

    # ---- file

    def start(self, children: list[s.Item]) -> s.File:
        return s.File(children)

    def item(self, children: list[Any]) -> Any:
        return children[0]

    statement = item

    def use(self, children: list[Any]) -> s.Use:
        return s.Use(_start(children[0]), _end(children[1]), self._string(children[1]))

    def block(self, children: list[Any]) -> s.Block:
        parameters = children[3] if isinstance(children[3], list) else []
        return s.Block(
            _start(children[0]), children[-1].end, self._name(children[1]), parameters, children[-1]
        )

    def net(self, children: list[Any]) -> s.Net:
        parameters = next((c for c in children if isinstance(c, list)), [])
        return s.Net(
            _start(children[0]), children[-1].end, self._name(children[1]), parameters, children[-1]
        )

    def parameters(self, children: list[Any]) -> list[s.Parameter]:
        return _without(children, ",")

    def parameter(self, children: list[Any]) -> s.Parameter:
        kind = next((c for c in children if isinstance(c, s.TypeName)), None)
        default = children[-1] if "=" in children[1:-1] else None
        return s.Parameter(
            _start(children[0]), _end(children[-1]), self._new_name(children[0]), kind, default
        )

    def type(self, children: list[Any]) -> s.TypeName:
        text = "".join(c.text if isinstance(c, s.TypeName) else str(c) for c in children)
        return s.TypeName(_start(children[0]), _end(children[-1]), text)

    # ---- statements

    def body(self, children: list[Any]) -> s.Body:
        return s.Body(_start(children[0]), _end(children[-1]), children[1:-1])

    def input(self, children: list[Any]) -> s.InputStatement:
        shape = children[5] if isinstance(children[5], list) else []
        return s.InputStatement(
            _start(children[0]),
            _end(children[-1]),
            self._new_name(children[1]),
            self._name(children[3]),
            shape,
        )

    def output(self, children: list[Any]) -> s.OutputStatement:
        value = children[3] if len(children) > 2 else None
        return s.OutputStatement(
            _start(children[0]), _end(children[-1]), self._name(children[1]), value
        )

    def weights(self, children: list[Any]) -> s.WeightsStatement:
        sha256 = self._string(children[3]) if len(children) > 2 else None
        return s.WeightsStatement(
            _start(children[0]), _end(children[-1]), self._string(children[1]), sha256
        )

    def bind(self, children: list[Any]) -> s.Bind:
        targets = [self._new_name(c) for c in children[:-2:2]]
        return s.Bind(_start(children[0]), children[-1].end, targets, children[-1])

    def expressions(self, children: list[Any]) -> list[s.Expr]:
        return _without(children, ",")

    def return_(self, children: list[Any]) -> s.Return:
        return s.Return(_start(children[0]), children[1][-1].end, children[1])

    def repeat(self, children: list[Any]) -> s.Repeat:
        variable = self._new_name(children[1]) if len(children) == 5 else None
        return s.Repeat(_start(children[0]), children[-1].end, variable, children[-2], children[-1])

    def if_(self, children: list[Any]) -> s.If:
        otherwise = children[4] if len(children) > 3 else None
        made = s.If(_start(children[0]), children[-1].end, children[1], children[2], otherwise)
        last, length = self._chain
        self._chain = made, length + 1 if otherwise is last else 1
        if self._chain[1] == MAX_NESTING + 1:
            self._problem(
                f"more than {MAX_NESTING} `if` follow each other here",
                made,
                "choose by the index of a list instead",
            )
        return made

    # ---- expressions

    def expr(self, children: list[Any]) -> s.Expr:
        if len(children) == 1:
            return children[0]  # type: ignore[no-any-return]
        if children[0] == "not" or children[0] == "-" or len(children) != 3:
            return _Grouping(self, children).expression(0)
        # By far the most common: one operator, nothing to group.
        return _binary(children[1], children[0], children[2])

    def postfix(self, children: list[Any]) -> s.Expr:
        value = self._atom(children[0])
        if len(children) > MAX_NESTING:
            self._problem(
                f"more than {MAX_NESTING} `[…]`, `as` or `with` follow each other here", value
            )
        for kind, end, *rest in children[1:]:
            if kind == "index":
                value = s.Index(value.start, end, value, rest[0])
            elif kind == "as":
                value = s.As(value.start, end, value, *rest)
            else:
                value = s.With(value.start, end, value, rest[0])
        return value

    def suffix(self, children: list[Any]) -> tuple[Any, ...]:
        return children[0]  # type: ignore[no-any-return]

    def index(self, children: list[Any]) -> tuple[Any, ...]:
        return ("index", _end(children[2]), children[1])

    def as_(self, children: list[Any]) -> tuple[Any, ...]:
        indices = [c[2] for c in children[2:]]
        end = children[-1][1] if indices else _end(children[-1])
        return ("as", end, self._name(children[1]), indices)

    def with_(self, children: list[Any]) -> tuple[Any, ...]:
        bindings = [c for c in children if isinstance(c, tuple)]
        return ("with", _end(children[-1]), bindings)

    def binding(self, children: list[Any]) -> tuple[s.Name, s.Name]:
        return self._name(children[0]), self._name(children[2])

    def call(self, children: list[Any]) -> s.Call:
        arguments = children[2] if isinstance(children[2], list) else []
        return s.Call(_start(children[0]), _end(children[-1]), self._name(children[0]), arguments)

    def arguments(self, children: list[Any]) -> list[s.Argument]:
        return _without(children, ",")

    def argument(self, children: list[Any]) -> s.Argument:
        name = self._name(children[0]) if len(children) == 3 else None
        return s.Argument(_start(children[0]), children[-1].end, name, children[-1])

    def list_of(self, children: list[Any]) -> s.ListOf:
        items = children[1] if isinstance(children[1], list) else []
        return s.ListOf(_start(children[0]), _end(children[-1]), items)

    def group(self, children: list[Any]) -> s.Expr:
        return children[1]  # type: ignore[no-any-return]

    # ---- words

    def _atom(self, atom: Any) -> s.Expr:
        if not isinstance(atom, Token):
            return atom  # type: ignore[no-any-return]
        if atom.type == "NAME":
            if atom == "true" or atom == "false":
                return s.Boolean(_start(atom), _end(atom), atom == "true")
            return self._name(atom)
        if atom.type == "NUMBER":
            return s.Number(_start(atom), _end(atom), self._number(atom))
        if atom.type == "UNTERMINATED":
            self._problem("this text has no closing quote on its line", atom, 'close it with `"`')
        return self._string(atom)

    def _name(self, token: Token) -> s.Name:
        text = str(token)
        if text[0] == "`":
            text = text[1:-1]
            if not text:
                self._problem("a name in backticks cannot be empty", token)
            elif not text.isprintable():
                self._problem("a name cannot hold invisible characters", token)
        if len(text) > MAX_LENGTH:
            self._problem(f"this name has more than {MAX_LENGTH} characters", token)
            text = text[:MAX_LENGTH]
        return s.Name(token.start_pos or 0, token.end_pos or 0, text)

    def _new_name(self, token: Token) -> s.Name:
        """A name that something gets here."""
        if token in ("true", "false", "not", "and", "or"):
            self._problem(
                f"`{token}` is a word of the language, so it needs backticks to be a name",
                token,
                f"write `` `{token}` ``, or choose another name",
            )
        return self._name(token)

    def _string(self, token: Token) -> s.String:
        value = token[1:]
        if token.type == "STRING":
            try:
                value = json.loads(token)
            except ValueError:
                self._problem(
                    "this text has an escape that does not exist",
                    token,
                    r"a backslash is written `\\`, a quote `\"`",
                )
        if not value.isprintable():
            self._problem("a text cannot hold invisible characters", token)
        return s.String(token.start_pos or 0, token.end_pos or 0, str(value))

    def _number(self, token: Token) -> int | float:
        if _INT.match(token):
            if len(token.replace("_", "")) <= MAX_DIGITS:
                return int(token)
            self._problem(f"this number has more than {MAX_DIGITS} digits", token)
        elif _FLOAT.match(token):
            value = float(token)
            if value != float("inf"):
                return value
            self._problem("this number is too large", token, "the largest is about 1.8e308")
        else:
            self._problem(
                f"`{token[:40]}` is not a number",
                token,
                "numbers are written 16, 1_000, 0.5 or 1e-5; a name cannot begin with a digit",
            )
        return 1


# lark names its callbacks after the rules; three of them are words of Python.
for _word in ("return", "if", "as", "with"):
    setattr(Builder, _word, getattr(Builder, _word + "_"))


def _binary(operator: str, left: s.Expr, right: s.Expr) -> s.Expr:
    if operator == "->":
        return s.Pipe(left.start, right.end, left, [right])
    return s.Operation(left.start, right.end, left, [(str(operator), right)])


class _Grouping:
    """Groups flat terms and operators by precedence (Pratt's method)."""

    def __init__(self, builder: Builder, children: list[Any]) -> None:
        self.builder, self.children, self.at, self.depth = builder, children, 0, 0

    def expression(self, least: int) -> s.Expr:
        """Read what binds at least as strongly as ``least``."""
        left = self._prefixed()
        # The node grown here, as against one that came from brackets or from the right.
        grown: s.Expr | None = None
        while self.at < len(self.children):
            operator = str(self.children[self.at])
            strength = s.PRECEDENCE[operator]
            if strength < least:
                break
            self.at += 1
            if operator == "**":
                right = self._deeper(strength)
                left = s.Operation(left.start, right.end, left, [("**", right)])
                continue
            right = self.expression(strength + 1)
            # Operators of one strength stay in one flat node, so that a sum of ten thousand
            # terms is no deeper than a sum of two.
            if isinstance(grown, s.Pipe) and operator == "->":
                grown.stages.append(right)
                grown.end = right.end
            elif isinstance(grown, s.Operation) and s.PRECEDENCE[grown.rest[0][0]] == strength:
                grown.rest.append((operator, right))
                grown.end = right.end
            else:
                left = grown = _binary(operator, left, right)
        return left

    def _prefixed(self) -> s.Expr:
        child = self.children[self.at]
        self.at += 1
        if not isinstance(child, Token):
            return child  # type: ignore[no-any-return]
        strength = s.NOT_PRECEDENCE if child == "not" else s.MINUS_PRECEDENCE
        operand = self._deeper(strength)
        return s.Unary(_start(child), operand.end, str(child), operand)

    def _deeper(self, least: int) -> s.Expr:
        self.depth += 1
        if self.depth > MAX_NESTING:
            place = self.children[self.at]
            raise GrowcError(
                Diagnostic(
                    f"operators are nested more than {MAX_NESTING} deep",
                    Span(self.builder.source, _start(place), _end(place)),
                )
            )
        result = self.expression(least)
        self.depth -= 1
        return result
