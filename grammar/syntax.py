"""The syntax tree of ``.arch`` text: what was written, with the place of every piece.

Places are character offsets ``start`` and ``end`` (exclusive) into the file's text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PRECEDENCE: dict[str, int] = {
    "->": 1,
    "..": 2,
    "or": 3,
    "and": 4,
    # `not` stands between `and` and the comparisons
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 6),
    **dict.fromkeys(("+", "-"), 7),
    **dict.fromkeys(("*", "/", "//", "%"), 8),
    # a minus sign stands between the products and the power
    "**": 10,
}
"""Binding strength of the binary operators; all group from the left but ``**``."""
NOT_PRECEDENCE = 5
MINUS_PRECEDENCE = 9


@dataclass(slots=True)
class Piece:
    """Anything with a place in the text."""

    start: int
    end: int


# ---- expressions


@dataclass(slots=True)
class Number(Piece):
    value: int | float


@dataclass(slots=True)
class String(Piece):
    value: str


@dataclass(slots=True)
class Boolean(Piece):
    value: bool


@dataclass(slots=True)
class Name(Piece):
    text: str


@dataclass(slots=True)
class ListOf(Piece):
    items: list[Expr]


@dataclass(slots=True)
class Argument(Piece):
    name: Name | None
    value: Expr


@dataclass(slots=True)
class Call(Piece):
    callee: Name
    arguments: list[Argument]


@dataclass(slots=True)
class Unary(Piece):
    operator: str
    operand: Expr


@dataclass(slots=True)
class Operation(Piece):
    """``first op a op b …``: operators of one precedence, applied from the left."""

    first: Expr
    rest: list[tuple[str, Expr]]


@dataclass(slots=True)
class Pipe(Piece):
    """``first -> stage -> stage``."""

    first: Expr
    stages: list[Expr]


@dataclass(slots=True)
class Index(Piece):
    value: Expr
    index: Expr


@dataclass(slots=True)
class As(Piece):
    """``value as name[i][j]``: the name of the node or block instance that ``value`` makes."""

    value: Expr
    name: Name
    indices: list[Expr]


@dataclass(slots=True)
class With(Piece):
    """``value with (weight = other.weight)``: parameters shared by name."""

    value: Expr
    bindings: list[tuple[Name, Name]]


Expr = (
    Number | String | Boolean | Name | ListOf | Call | Unary | Operation | Pipe | Index | As | With
)


# ---- statements


@dataclass(slots=True)
class InputStatement(Piece):
    name: Name
    dtype: Name
    shape: list[Expr]


@dataclass(slots=True)
class OutputStatement(Piece):
    name: Name
    value: Expr | None


@dataclass(slots=True)
class WeightsStatement(Piece):
    file: String
    sha256: String | None


@dataclass(slots=True)
class Bind(Piece):
    targets: list[Name]
    value: Expr


@dataclass(slots=True)
class Return(Piece):
    values: list[Expr]


@dataclass(slots=True)
class Body(Piece):
    statements: list[Statement]


@dataclass(slots=True)
class Repeat(Piece):
    variable: Name | None
    values: Expr
    body: Body


@dataclass(slots=True)
class If(Piece):
    condition: Expr
    body: Body
    otherwise: Body | If | None


Statement = InputStatement | OutputStatement | WeightsStatement | Bind | Return | Repeat | If


# ---- files


@dataclass(slots=True)
class TypeName(Piece):
    """``int`` or ``list[int]``, as text."""

    text: str


@dataclass(slots=True)
class Parameter(Piece):
    name: Name
    type: TypeName | None
    default: Expr | None


@dataclass(slots=True)
class Use(Piece):
    file: String


@dataclass(slots=True)
class Block(Piece):
    name: Name
    parameters: list[Parameter]
    body: Body


@dataclass(slots=True)
class Net(Piece):
    name: Name
    parameters: list[Parameter]
    body: Body


Item = Use | Block | Net


@dataclass(slots=True)
class Comment(Piece):
    text: str


@dataclass(slots=True)
class File:
    items: list[Item]
    comments: list[Comment] = field(default_factory=list)
