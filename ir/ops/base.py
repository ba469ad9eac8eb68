"""What an op is, and the registry of all ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from ..attributes import Attributed
from ..types import MAX_DIMENSION, MAX_ELEMENTS, TensorType


class ShapeError(ValueError):
    """Operands whose shapes an op cannot take. Says why, and in ``help`` what would fit."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message, self.help = message, help


@dataclass(frozen=True, slots=True)
class Init:
    """How a new parameter is filled.

    ``uniform`` draws from [-bound, bound], ``normal`` from N(0, bound²), ``constant`` is bound.
    """

    kind: Literal["uniform", "normal", "constant"]
    bound: float


ZEROS = Init("constant", 0.0)
ONES = Init("constant", 1.0)


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One parameter of an op: its role (PyTorch's name for it), shape and initial value.

    Running statistics are parameters that are not ``trainable``; they do not count as parameters.
    """

    role: str
    shape: tuple[int, ...]
    init: Init
    trainable: bool = True


@dataclass(frozen=True)
class Op(Attributed):
    """An operation and its attributes: one immutable value, compared by content.

    A subclass is one op of the language. It gives ``name``, the attributes, ``infer``, and where
    they apply ``params`` and ``macs``. Shapes never include the batch dimension.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)
    """Names of the operands, in order."""
    variadic: ClassVar[bool] = False
    """True if the last operand may be given more than once."""
    maskable: ClassVar[bool] = False
    """True if the parameters may carry a mask: each number is one connection."""
    per_channel: ClassVar[bool] = False
    """True if channel c of the result depends on channel c of the operand alone, and by the same
    rule for every channel, up to that channel's own parameters."""

    takes: ClassVar[tuple[str, ...]] = ("f32",)
    """Element types of operands: arithmetic takes numbers alone."""

    def infer(self, *operands: TensorType) -> TensorType:
        """The result's type. Raises :class:`ShapeError` where the operands do not fit."""
        raise NotImplementedError

    def result(self, *operands: TensorType) -> TensorType:
        """:meth:`infer`, after a look at the element types of the operands."""
        for operand in operands:
            if operand.dtype not in self.takes:
                raise ShapeError(
                    f"`{self.name}` takes {' or '.join(self.takes)}, not {operand}",
                    "whole numbers become f32 by `to_float`" if operand.dtype == "i64" else None,
                )
        return self.infer(*operands)

    def params(self, *operands: TensorType) -> tuple[ParamSpec, ...]:
        """The parameters that the op needs for operands of these types."""
        return ()

    def macs(self, operands: tuple[TensorType, ...], result: TensorType) -> int:
        """Multiply-accumulates for one example (convolutions and linear layers only)."""
        return 0

    def accepts(self, count: int) -> bool:
        """Whether the op takes ``count`` operands."""
        least = len(self.operands)
        return count >= least if self.variadic else count == least

    @classmethod
    def call_signature(cls) -> str:
        """``x -> conv2d(channels, kernel=3)`` or ``add(a, b, …)``: how it is written."""
        inside = cls.signature()[len(cls.name) + 1 : -1]
        if len(cls.operands) == 1 and not cls.variadic:
            return f"{cls.operands[0]} -> {cls.name}" + (f"({inside})" if inside else "")
        parts = [*cls.operands, *["…"][: cls.variadic], *[inside][: bool(inside)]]
        return f"{cls.name}({', '.join(parts)})"

    @classmethod
    def signature_help(cls) -> str:
        return f"write `{cls.call_signature()}`"

    @classmethod
    def operand_count(cls) -> str:
        """``1 operand`` or ``at least 2 operands``."""
        count = len(cls.operands)
        noun = "operand" if count == 1 else "operands"
        return f"at least {count} {noun}" if cls.variadic else f"{count} {noun}"


OPS: dict[str, type[Op]] = {}
"""Every op of the language by name."""

OpClass = TypeVar("OpClass", bound=type[Op])


def register(cls: OpClass) -> OpClass:
    """Make an op known to the language, the printer and the documentation."""
    if cls.name in OPS:
        raise ValueError(f"two ops are called {cls.name}")
    cls.collect_attributes()
    OPS[cls.name] = cls
    return cls


def checked(result: TensorType) -> TensorType:
    """``result``, unless it is larger than any tensor of a real network."""
    if any(d > MAX_DIMENSION for d in result.shape) or result.size > MAX_ELEMENTS:
        raise ShapeError(
            f"the result {result} is larger than growc allows "
            f"({MAX_ELEMENTS:,} elements an example)"
        )
    return result


def axis_index(op: Op, axis: int, x: TensorType) -> int:
    """``axis`` counted from 0. Raises :class:`ShapeError` if ``x`` has no such axis."""
    if not -x.rank <= axis < x.rank:
        raise ShapeError(
            f"`{op.name}` has axis {axis}, but {x} has only {x.rank} axes",
            "axes count from 0 without the batch: 0 is the channels, -1 the last",
        )
    return axis % x.rank


AXES = {1: "channels, length", 2: "channels, height, width", 3: "channels, depth, height, width"}


def require_spatial(op: Op, x: TensorType, rank: int) -> None:
    """Raise :class:`ShapeError` unless ``x`` is channels and ``rank`` spatial axes."""
    if x.rank != rank + 1:
        raise ShapeError(
            f"`{op.name}` takes a tensor of {rank + 1} axes ({AXES[rank]}), not {x}",
            _spatial_help(op, x, rank),
        )


def _spatial_help(op: Op, x: TensorType, rank: int) -> str | None:
    stem = op.name.removesuffix(f"{rank}d")
    other = f"{stem}{x.rank - 1}d"
    if stem != op.name and other in OPS:
        return f"for {x}, use `{other}`"
    return "a flattened tensor goes into `linear`" if x.rank == 1 else None
