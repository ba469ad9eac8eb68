"""Typed attributes: the arguments of ops and the options of passes.

Both are frozen dataclasses whose fields are declared with :func:`attr`. A field's *kind* reads a
plain value (int, float, bool, str, list), normalizes it, names what it accepts in an error, and
prints it back as text, so that every op and every pass has a text form that round-trips.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeGuard

from .diagnostics import did_you_mean

REQUIRED: Any = dataclasses.MISSING

MAX_INT = 2**31 - 1
MAX_FLOAT = 3.4028234663852886e38
"""The largest float32: what backends can hold."""


class BadValue(ValueError):
    """A value that an attribute does not accept; the text says what it does accept."""


class BadArgument(ValueError):
    """An argument list that does not fit. ``where`` is the argument's position or name."""

    def __init__(self, message: str, where: int | str | None = None, help: str | None = None):
        super().__init__(message)
        self.message, self.where, self.help = message, where, help


class Kind:
    """What one attribute accepts. ``expects`` completes the sentence "`kernel` must be …"."""

    expects: str = ""

    def bind(self, owner: type) -> Kind:
        """The kind as used by ``owner``; lets one declaration serve 1-d, 2-d and 3-d ops."""
        return self

    def read(self, value: object) -> Any:
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """The value as ``.arch`` text."""
        return show_value(value)

    def show_option(self, value: Any) -> str:
        """The value as a pipeline's text, where words need no quotes."""
        return self.show(value)


def show_value(value: object) -> str:
    """A plain value as it is written in ``.arch`` text and in pipelines."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(show_value(v) for v in value) + "]"
    return str(value)


def is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class Int(Kind):
    """A whole number from ``low`` to ``high``, even if ``even``."""

    low: int = 1
    high: int = MAX_INT
    even: bool = False

    @property
    def expects(self) -> str:  # type: ignore[override]
        if self.even:
            return f"an even number of at least {self.low}"
        if self.high != MAX_INT:
            return f"a whole number from {self.low} to {self.high}"
        if self.low == -MAX_INT:
            return "a whole number"
        return f"a whole number of at least {self.low}"

    def read(self, value: object) -> int:
        if is_int(value) and value > self.high == MAX_INT:
            raise BadValue(f"at most {MAX_INT:,}")
        if not is_int(value) or not self.low <= value <= self.high:
            raise BadValue(self.expects)
        if self.even and value % 2:
            raise BadValue(self.expects)
        return value


@dataclasses.dataclass(frozen=True)
class Float(Kind):
    """A finite number, at least ``low`` (or more than it, if ``open``) and below ``below``."""

    low: float = -math.inf
    open: bool = False
    below: float = math.inf

    @property
    def expects(self) -> str:  # type: ignore[override]
        limits = []
        if self.low != -math.inf:
            limits.append(f"{'more than' if self.open else 'at least'} {self.low:g}")
        if self.below != math.inf:
            limits.append(f"less than {self.below:g}")
        return "a finite number" + (f" of {' and '.join(limits)}" if limits else "")

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadValue(self.expects)
        try:
            number = float(value)
        except OverflowError:
            raise BadValue(self.expects) from None
        if MAX_FLOAT < abs(number) < math.inf:
            raise BadValue(f"a number that float32 can hold, to {MAX_FLOAT:.3g}")
        too_low = number <= self.low if self.open else number < self.low
        if not math.isfinite(number) or too_low or number >= self.below:
            raise BadValue(self.expects)
        return number


class Bool(Kind):
    """``true`` or ``false``."""

    expects = "true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise BadValue(self.expects)
        return value


@dataclasses.dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def expects(self) -> str:  # type: ignore[override]
        return "one of " + ", ".join(self.words)

    def read(self, value: object) -> str:
        if value not in self.words:
            hint = did_you_mean(value, self.words) if isinstance(value, str) else None
            raise BadValue(self.expects + (f" ({hint})" if hint else ""))
        return str(value)

    def show_option(self, value: Any) -> str:
        return str(value)


@dataclasses.dataclass(frozen=True)
class Ints(Kind):
    """A list of whole numbers, each at least ``low``; of exactly ``length`` where that is given."""

    low: int = -MAX_INT
    length: int | None = None

    @property
    def expects(self) -> str:  # type: ignore[override]
        count = "a list of" if self.length is None else f"a list of {self.length}"
        least = "" if self.low == -MAX_INT else f" of at least {self.low}"
        return f"{count} whole numbers{least}"

    def read(self, value: object) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or self.length not in (None, len(value)):
            raise BadValue(self.expects)
        if not all(is_int(v) and self.low <= v <= MAX_INT for v in value):
            raise BadValue(self.expects)
        return tuple(value)


@dataclasses.dataclass(frozen=True)
class Floats(Kind):
    """A list of finite numbers, each more than 0."""

    expects = "a list of numbers of more than 0"

    def read(self, value: object) -> tuple[float, ...]:
        if not isinstance(value, (list, tuple)):
            raise BadValue(self.expects)
        try:
            return tuple(Float(0.0, open=True).read(v) for v in value)
        except BadValue:
            raise BadValue(self.expects) from None


@dataclasses.dataclass(frozen=True)
class PerAxis(Kind):
    """One whole number per spatial axis: ``3`` or ``[3, 5]``. Length: the owner's ``rank``."""

    low: int = 1
    rank: int = 0

    def bind(self, owner: type) -> PerAxis:
        return dataclasses.replace(self, rank=owner.rank)  # type: ignore[attr-defined]

    @property
    def expects(self) -> str:  # type: ignore[override]
        each = f"a whole number of at least {self.low}"
        return each if self.rank == 1 else f"{each}, or a list of {self.rank}"

    def read(self, value: object) -> tuple[int, ...]:
        values: Sequence[Any] = value if isinstance(value, (list, tuple)) else (value,) * self.rank
        if len(values) != self.rank:
            raise BadValue(self.expects)
        if not all(is_int(v) and self.low <= v <= MAX_INT for v in values):
            raise BadValue(self.expects)
        return tuple(values)

    def show(self, value: Any) -> str:
        return show_value(value[0] if len(set(value)) == 1 else value)


Pads = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Padding(Kind):
    """``same``, ``valid``, one number, one per axis, or begin and end of every axis.

    Normalizes to ``"same"`` or to ``((begin, end), …)``; the flat list is all begins, then all
    ends, as in ONNX.
    """

    rank: int = 0

    def bind(self, owner: type) -> Padding:
        return dataclasses.replace(self, rank=owner.rank)  # type: ignore[attr-defined]

    @property
    def expects(self) -> str:  # type: ignore[override]
        lists = f"a list of {2 * self.rank} (all begins, then all ends)"
        per_axis = f"a list of {self.rank}, or " if self.rank > 1 else ""
        return f'"same", "valid", a whole number of at least 0, {per_axis}{lists}'

    def read(self, value: object) -> str | Pads:
        if value == "same":
            return "same"
        if value == "valid":
            return ((0, 0),) * self.rank
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], tuple):
            value = [pair[i] for i in (0, 1) for pair in value]
        values: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value] * self.rank
        if not all(is_int(v) and 0 <= v <= MAX_INT for v in values):
            raise BadValue(self.expects)
        if len(values) == self.rank:
            values = values * 2
        if len(values) != 2 * self.rank:
            raise BadValue(self.expects)
        return tuple(zip(values[: self.rank], values[self.rank :], strict=True))

    def show(self, value: Any) -> str:
        if value == "same":
            return '"same"'
        begins, ends = [p[0] for p in value], [p[1] for p in value]
        if begins != ends:
            return show_value(begins + ends)
        if not any(begins):
            return '"valid"'
        return show_value(begins[0] if len(set(begins)) == 1 else begins)


@dataclasses.dataclass(frozen=True)
class Optional(Kind):
    """Another kind, or nothing: leaving the attribute out has a meaning of its own."""

    kind: Kind

    def bind(self, owner: type) -> Optional:
        return Optional(self.kind.bind(owner))

    @property
    def expects(self) -> str:  # type: ignore[override]
        return self.kind.expects

    def read(self, value: object) -> Any:
        return None if value is None else self.kind.read(value)

    def show(self, value: Any) -> str:
        return self.kind.show(value)

    def show_option(self, value: Any) -> str:
        return self.kind.show_option(value)


_BARE = re.compile(r"[\w.*?!-]+(\[[^\],{}]*\][\w.*?!-]*)*\Z")


class Patterns(Kind):
    """Name patterns with ``*``, ``?`` and ``[…]``: one, or a list of them."""

    expects = "a name pattern such as stage2.*, or a list of them"

    def read(self, value: object) -> tuple[str, ...]:
        values = value if isinstance(value, (list, tuple)) else [value]
        if not values or not all(isinstance(v, str) and v for v in values):
            raise BadValue(self.expects)
        return tuple(values)

    def show(self, value: Any) -> str:
        shown = [v if _BARE.match(v) else json.dumps(v, ensure_ascii=False) for v in value]
        return shown[0] if len(shown) == 1 else "[" + ", ".join(shown) + "]"


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
    """One declared field: its name, kind, default (``REQUIRED`` if none) and one-line meaning."""

    name: str
    kind: Kind
    default: Any
    doc: str

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def attr(kind: Kind, default: Any = REQUIRED, *, doc: str) -> Any:
    """Declare a dataclass field of ``kind``; without a default the argument is required."""
    return dataclasses.field(default=default, metadata={"kind": kind, "doc": doc})


class Attributed:
    """Base of frozen dataclasses whose fields are attributes. Values are checked when made.

    Raises :class:`BadArgument` from the constructor for a value that its kind refuses.
    """

    name: ClassVar[str]
    attributes: ClassVar[tuple[Attribute, ...]] = ()

    @classmethod
    def collect_attributes(cls) -> None:
        """Read ``attributes`` from the dataclass fields; the registries call this once a class."""
        found = []
        for f in dataclasses.fields(cls):  # type: ignore[arg-type]
            kind = f.metadata["kind"].bind(cls)
            default = f.default if f.default is REQUIRED else kind.read(f.default)
            found.append(Attribute(f.name, kind, default, f.metadata["doc"]))
        cls.attributes = tuple(found)

    def __post_init__(self) -> None:
        for attribute in self.attributes:
            value = getattr(self, attribute.name)
            try:
                normal = attribute.kind.read(value)
            except BadValue as error:
                raise BadArgument(
                    f"`{attribute.name}` of `{self.name}` must be {error}, "
                    f"not {describe_value(value)}",
                    attribute.name,
                ) from None
            if normal is not value:
                object.__setattr__(self, attribute.name, normal)

    @classmethod
    def build(cls, positional: Sequence[object], named: Mapping[str, object]) -> Self:
        """Make an instance from call arguments.

        Raises :class:`BadArgument` naming the argument: too many, unknown, given twice, missing
        or of the wrong kind.
        """
        names = [a.name for a in cls.attributes]
        if len(positional) > len(names):
            takes = f"at most {len(names)} arguments" if names else "no arguments"
            raise BadArgument(f"`{cls.name}` takes {takes}", len(names), cls.signature_help())
        values: dict[str, Any] = dict(zip(names, positional, strict=False))
        for key, value in named.items():
            if key not in names:
                hint = did_you_mean(key, names) or cls.signature_help()
                raise BadArgument(f"`{cls.name}` has no argument `{key}`", key, hint)
            if key in values:
                raise BadArgument(f"`{key}` of `{cls.name}` is given twice", key)
            values[key] = value
        missing = [a.name for a in cls.attributes if a.required and a.name not in values]
        if missing:
            raise BadArgument(
                f"`{cls.name}` needs the argument `{missing[0]}`", None, cls.signature_help()
            )
        return cls(**values)

    def arguments(self) -> list[tuple[Attribute, str]]:
        """Attributes that are required or differ from their default, with their text."""
        values = [(a, getattr(self, a.name)) for a in self.attributes]
        return [(a, a.kind.show(v)) for a, v in values if a.required or v != a.default]

    @classmethod
    def signature(cls) -> str:
        """``conv2d(channels, kernel=3, stride=1)``: what it is called with."""
        parts = [
            a.name if a.required or a.default is None else f"{a.name}={a.kind.show(a.default)}"
            for a in cls.attributes
        ]
        return f"{cls.name}({', '.join(parts)})"

    @classmethod
    def signature_help(cls) -> str:
        return f"write `{cls.signature()}`"


def describe_value(value: object) -> str:
    """A value in an error message, kept short."""
    text = show_value(value)
    return text if len(text) <= 40 else text[:37] + "…"
