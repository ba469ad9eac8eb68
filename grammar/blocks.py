"""Blocks: their definitions, and what a call of one makes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..ir import OPS, Source, Span
from ..ir.diagnostics import did_you_mean, plural
from . import syntax as s
from . import values as v
from .calls import Arguments, Given
from .context import SIZE_OF_STEP, Frame, Stop
from .expressions import Evaluator
from .naming import Namer, bound_once
from .values import POISON, Value

MAX_BLOCK_DEPTH = 40
STEPS_OF_INSTANCE = 5


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A parsed file and those it uses, blocks resolved by name."""

    source: Source
    tree: s.File


class Returned(Exception):
    """A block's body has come to its `return`."""

    def __init__(self, value: Value) -> None:
        self.value = value


class Blocks(Evaluator):
    """Knows the blocks of all files, and makes instances of them."""

    def __init__(self, files: list[SourceFile]) -> None:
        super().__init__()
        self.files = files
        self.blocks: dict[str, tuple[s.Block, Source]] = {}
        self.calling: list[str] = []
        self.called: set[str] = set()
        self._once: dict[str, set[str]] = {}

    @abstractmethod
    def body(self, body: s.Body) -> None:
        """Elaborate the statements of a block or a net."""

    def _define_blocks(self) -> None:
        for file in self.files:
            self.frame = Frame(file.source, "", set())
            for item in file.tree.items:
                if not isinstance(item, s.Block):
                    continue
                name = item.name.text
                if name in OPS or name in v.FUNCTION_NAMES:
                    kind = "an op" if name in OPS else "a function of the language"
                    self.report(f"`{name}` is {kind}", item.name, "choose another name")
                elif name in self.blocks:
                    other, source = self.blocks[name]
                    place = Span(source, other.name.start, other.name.end)
                    self.report(
                        f"two blocks are called `{name}`",
                        item.name,
                        notes=[("the other one is here", place)],
                    )
                else:
                    self.blocks[name] = (item, file.source)
                self._check_parameters(item.parameters)

    def _check_parameters(self, parameters: list[s.Parameter]) -> None:
        seen: set[str] = set()
        defaults = False
        for parameter in parameters:
            if parameter.name.text in seen:
                self.report(f"two parameters are called `{parameter.name.text}`", parameter.name)
            seen.add(parameter.name.text)
            if parameter.type is not None and not v.is_type(parameter.type.text):
                self.report(
                    f"`{parameter.type.text}` is not a type",
                    parameter.type,
                    did_you_mean(parameter.type.text, v.TYPES)
                    or "types are int, float, bool, str, tensor, and list[…] of one of them",
                )
            if parameter.default is None and defaults:
                self.report(
                    f"`{parameter.name.text}` has no default, but follows one that has",
                    parameter.name,
                    "put parameters without a default first",
                )
            defaults = defaults or parameter.default is not None

    def is_block(self, name: str) -> bool:
        return name in self.blocks

    def block_names(self) -> list[str]:
        return list(self.blocks)

    def call_block(
        self,
        callee: s.Name,
        arguments: Arguments,
        piece: s.Expr,
        namer: Namer,
        outer: bool,
    ) -> Value:
        name = callee.text
        block, source = self.blocks[name]
        if name in self.calling:
            cycle = " → ".join([*self.calling[self.calling.index(name) :], name])
            self.fail(
                f"the block `{name}` is part of itself ({cycle})",
                callee,
                "blocks cannot be recursive; use `repeat`",
            )
        if len(self.calling) >= MAX_BLOCK_DEPTH:
            self.fail(f"blocks are nested more than {MAX_BLOCK_DEPTH} deep", callee)
        given = self._bind_arguments(block, arguments, callee)
        size = block.body.end - block.body.start
        self.spend(STEPS_OF_INSTANCE + size // SIZE_OF_STEP, callee)
        instance = namer.outer(name) if outer else namer.inner(name)
        caller = self.frame
        self.called.add(name)
        self.calling.append(name)
        self.frame = Frame(
            source,
            instance,
            self._bound_once(block),
            called_from=(instance, Span(caller.source, piece.start, piece.end)),
        )
        try:
            self._set_parameters(block.parameters, given)
            self.body(block.body)
        except Returned as returned:
            return returned.value
        finally:
            self.frame = caller
            self.calling.pop()
        self.fail(
            f"the block `{name}` returns nothing here",
            callee,
            "end its body with `return …`",
            notes=[("the block is defined here", Span(source, block.name.start, block.name.end))],
        )

    def _bound_once(self, block: s.Block) -> set[str]:
        name = block.name.text
        if name not in self._once:
            self._once[name] = bound_once(block.body, (p.name.text for p in block.parameters))
        return self._once[name]

    def _bind_arguments(
        self, block: s.Block, arguments: Arguments, callee: s.Name
    ) -> dict[str, Given]:
        """Parameter name → argument, checked against the declared types."""
        name = block.name.text
        known = [p.name.text for p in block.parameters]
        form = f"write `{name}({', '.join(known)})`"
        if len(arguments.positional) > len(known):
            self.fail(
                f"`{name}` takes {plural(len(known), 'argument')}, "
                f"but gets {len(arguments.positional)}",
                arguments.positional[len(known)][1],
                form,
            )
        given: dict[str, Given] = dict(zip(known, arguments.positional, strict=False))
        for key, (value, place) in arguments.named.items():
            if key not in known:
                self.fail(
                    f"`{name}` has no parameter `{key}`", place, did_you_mean(key, known) or form
                )
            if key in given:
                self.fail(f"`{key}` is given twice", place)
            given[key] = (value, place)
        for parameter in block.parameters:
            if parameter.name.text not in given and parameter.default is None:
                self.fail(f"`{name}` needs the argument `{parameter.name.text}`", callee, form)
        for parameter in block.parameters:
            if parameter.name.text in given:
                value, place = given[parameter.name.text]
                self._check_type(parameter, value, place, f"`{parameter.name.text}` of `{name}`")
        return given

    def _check_type(self, parameter: s.Parameter, value: Value, place: s.Piece, what: str) -> None:
        declared = parameter.type.text if parameter.type else ""
        if declared and v.is_type(declared) and not v.fits(value, declared):
            self.fail(f"{what} must be {declared}, not {v.shown(value)}", place)

    def _set_parameters(self, parameters: list[s.Parameter], given: Mapping[str, Given]) -> None:
        """Bind parameters in the new frame; a default may use the parameters before it."""
        variables = self.frame.variables
        for parameter in parameters:
            name = parameter.name.text
            if name in given:
                value = given[name][0]
            else:
                assert parameter.default is not None
                try:
                    value = self.evaluate(parameter.default, self.namer())
                    what = f"the default of `{name}`"
                    self._check_type(parameter, value, parameter.default, what)
                except Stop:
                    value = POISON
            if (
                parameter.type is not None
                and parameter.type.text == "float"
                and value is not POISON
            ):
                value = float(value)
            variables[name] = value

    def _check_uncalled(self) -> None:
        """Names of ops and blocks in blocks that nothing calls: no other check would see them."""
        for name, (block, source) in self.blocks.items():
            if name not in self.called:
                self.frame = Frame(source, "", set())
                self.check_callees(block.body)

    def check_callees(self, piece: Any) -> None:
        """Report ops and blocks that do not exist, without evaluating anything."""
        known = {*OPS, *self.blocks, *v.FUNCTION_NAMES}
        for callee in _callees(piece):
            if callee.text not in known:
                self.report(
                    f"no op or block is called `{callee.text}`",
                    callee,
                    did_you_mean(callee.text, known) or "see docs/ops.md for the ops",
                )


def _callees(piece: Any) -> Iterator[s.Name]:
    """What is applied in a piece of the syntax tree."""
    stack = [piece]
    while stack:
        at = stack.pop()
        if isinstance(at, s.Call):
            yield at.callee
            stack += [a.value for a in at.arguments]
        elif isinstance(at, s.Pipe):
            stack.append(at.first)
            for stage in at.stages:
                while isinstance(stage, (s.As, s.With)):
                    stage = stage.value
                if isinstance(stage, s.Name):
                    yield stage
                else:
                    stack.append(stage)
        elif isinstance(at, (list, tuple)):
            stack += at
        elif isinstance(at, s.Piece):
            stack += [getattr(at, name) for name in type(at).__slots__]
