"""Values at elaboration time, and arithmetic on them."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..ir.attributes import show_value

MAX_INT = 2**63 - 1
MAX_LIST = 100_000
MAX_LIST_DEPTH = 16
MAX_RANGE = 2**31


@dataclass(frozen=True, slots=True)
class Tensor:
    """The result of a node of the graph being built."""

    node: str

    def __str__(self) -> str:
        return "a tensor"


class _Poison:
    """The value of a name whose definition failed: using it reports nothing again."""


POISON = _Poison()

Value = Any
"""int, float, bool, str, list of values, Tensor, range, or POISON."""


class ValueProblem(Exception):
    """An operation on values that makes no sense. Text and help, without a place."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message, self.help = message, help


class List(list[Any]):
    """A list of the language. It knows how many items it has with those of its inner lists.

    Without that count, `l = [l, l]` in a loop would make a value of 2^n items.
    """

    __slots__ = ("depth", "weight")

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        inner = [item for item in self if isinstance(item, List)]
        self.weight: int = len(self) + sum(item.weight for item in inner)
        self.depth: int = 1 + max((item.depth for item in inner), default=0)
        if self.weight > MAX_LIST:
            raise _long_list()
        if self.depth > MAX_LIST_DEPTH:
            raise ValueProblem(f"lists lie more than {MAX_LIST_DEPTH} deep in each other here")


def _long_list() -> ValueProblem:
    return ValueProblem(f"this list would have more than {MAX_LIST:,} items")


def as_list(value: Value) -> Value:
    """A range as the list of its numbers; anything else as it is."""
    if not isinstance(value, range):
        return value
    if len(value) > MAX_LIST:
        raise _long_list()
    return List(value)


def weight(value: Value) -> int:
    """How many items looking at all of a value means to look at."""
    return value.weight if isinstance(value, List) else 0


def from_outside(value: object) -> Value:
    """A Python value as a value of the language. Raises ``TypeError`` if there is none."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        if abs(int(value)) > MAX_INT:
            raise _too_large()
        return int(value)
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise ValueProblem("must be a finite number")
        return float(value)
    if isinstance(value, (list, tuple, range)):
        if len(value) > MAX_LIST:
            raise _long_list()
        return List(from_outside(item) for item in value)
    raise TypeError


def kind_of(value: Value) -> str:
    """What a value is, in words, with its article."""
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, range):
        return "a range"
    return "a list"


def shown(value: Value) -> str:
    """A value in an error message: itself if it is short and plain, else its kind."""
    if isinstance(value, (Tensor, range)):
        return kind_of(value)
    text = show_value(value)
    return f"`{text}`" if len(text) <= 30 else kind_of(value)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def binary(sign: str, a: Value, b: Value) -> Value:
    """``a sign b`` for plain values. Raises :class:`ValueProblem`."""
    if sign in ("==", "!="):
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            raise ValueProblem("tensors cannot be compared while the network is built")
        if isinstance(a, range) != isinstance(b, range):
            a, b = as_list(a), as_list(b)
        return (a == b) == (sign == "==")
    if sign in ("and", "or"):
        for side in (a, b):
            require_bool(side, f"`{sign}`")
        return (a and b) if sign == "and" else (a or b)
    if sign == "..":
        for side in (a, b):
            if not isinstance(side, int) or isinstance(side, bool):
                raise ValueProblem(f"a range goes between whole numbers, not {shown(side)}")
        if b - a > MAX_RANGE:
            raise ValueProblem(f"this range would have more than {MAX_RANGE:,} numbers")
        return range(a, b)
    if sign == "+" and isinstance(a, (list, range)) and isinstance(b, (list, range)):
        a, b = as_list(a), as_list(b)
        if len(a) + len(b) > MAX_LIST:
            raise _long_list()
        return List([*a, *b])
    if not (_is_number(a) and _is_number(b)):
        what = f"`{sign}` does not go between {kind_of(a)} and {kind_of(b)}"
        with_tensor = isinstance(a, Tensor) or isinstance(b, Tensor)
        help = "tensors take `+`, `-`, `*`, `/`, and `**` by a number" if with_tensor else None
        raise ValueProblem(what, help)
    if sign in _ORDER:
        return _ORDER[sign](a, b)
    return _number(sign, a, b)


def _number(sign: str, a: Any, b: Any) -> int | float:
    if sign in ("/", "//", "%") and b == 0:
        raise ValueProblem("this divides by zero")
    if sign == "**":
        if isinstance(a, int) and isinstance(b, int) and b < 0:
            a = float(a)
        if a == 0 and b < 0:
            raise ValueProblem("this divides by zero")
        if isinstance(a, int) and abs(a) > 1 and b * abs(a).bit_length() > 200:
            raise _too_large()
    try:
        result = _ARITHMETIC[sign](a, b)
    except OverflowError:
        raise _too_large() from None
    if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
        raise ValueProblem("this has no finite real value")
    if isinstance(result, int) and abs(result) > MAX_INT:
        raise _too_large()
    return result  # type: ignore[no-any-return]


def _too_large() -> ValueProblem:
    return ValueProblem("this number is larger than growc allows (2^63)")


def negate(value: Value) -> int | float:
    """``-value``. Raises :class:`ValueProblem`."""
    if not _is_number(value):
        raise ValueProblem(f"`-` goes before a number or a tensor, not {shown(value)}")
    return -value  # type: ignore[no-any-return]


def require_bool(value: Value, what: str) -> bool:
    """``value`` if it is true or false. Raises :class:`ValueProblem`."""
    if not isinstance(value, bool):
        raise ValueProblem(
            f"{what} takes true or false, not {shown(value)}",
            "compare it, for instance with `== 0` or `!= 1`",
        )
    return value


def index(value: Value, at: Value) -> Value:
    """``value[at]``. Raises :class:`ValueProblem`."""
    if not isinstance(value, (list, range)):
        raise ValueProblem(
            f"only lists have items, not {kind_of(value)}",
            "to take a part of a tensor, use `slice`" if isinstance(value, Tensor) else None,
        )
    if not isinstance(at, int) or isinstance(at, bool):
        raise ValueProblem(f"an item's number is a whole number, not {shown(at)}")
    if not -len(value) <= at < len(value):
        raise ValueProblem(
            f"there is no item {at} in {kind_of(value)} of {len(value)}",
            "items count from 0; -1 is the last" if value else "the list is empty",
        )
    return value[at]


# ---- functions of the language


def _numbers(name: str, arguments: list[Value]) -> list[Any]:
    lists = [as_list(a) for a in arguments]
    flat = [v for a in lists for v in (a if isinstance(a, list) else [a])]
    if not flat or not all(_is_number(v) for v in flat):
        raise ValueProblem(f"`{name}` takes numbers, or a list of them")
    return flat


def _length(arguments: list[Value]) -> int:
    if len(arguments) != 1 or not isinstance(arguments[0], (list, range)):
        raise ValueProblem("`len` takes one list")
    return len(arguments[0])


def _whole(arguments: list[Value]) -> int:
    (number,) = _numbers("int", arguments) if len(arguments) == 1 else [None]
    if number is None:
        raise ValueProblem("`int` takes one number")
    if abs(number) > MAX_INT:
        raise _too_large()
    return int(number)


FUNCTIONS: dict[str, Callable[[list[Value]], Value]] = {
    "min": lambda a: min(_numbers("min", a)),
    "max": lambda a: max(_numbers("max", a)),
    "len": _length,
    "int": _whole,
}
"""Functions of plain values. ``shape(x)``, which needs the graph, is the elaborator's own."""

FUNCTION_NAMES = (*FUNCTIONS, "shape")


# ---- declared types of parameters

TYPES = ("int", "float", "bool", "str", "tensor")


def is_type(text: str) -> bool:
    """Whether ``text`` is a type of the language: ``int``, ``list[int]``, …"""
    while text.startswith("list[") and text.endswith("]"):
        text = text[5:-1]
    return text in (*TYPES, "list")


def fits(value: Value, declared: str) -> bool:
    """Whether ``value`` can be given to a parameter of the declared type."""
    if declared.startswith("list"):
        inner = declared[5:-1]
        if not isinstance(value, (list, range)):
            return False
        if isinstance(value, range):
            return inner in ("", "int", "float")
        return not inner or all(fits(v, inner) for v in value)
    if declared == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if declared == "float":
        return _is_number(value)
    if declared == "tensor":
        return isinstance(value, Tensor)
    return isinstance(value, bool if declared == "bool" else str)
