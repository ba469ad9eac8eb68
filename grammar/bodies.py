"""Bodies of blocks and nets as text: a statement for each node, or for each block instance.

A body is written once for all scopes that are to be its instances. What differs between them, as
text of an op's attribute, becomes a parameter of the block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .block_names import parameter_names, tensor_names
from .phrases import INDENT, applied, bracketed, quote
from .repeats import Repeat, Scope, Structure


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument of a statement: of the op or block that ``owner`` is made by."""

    owner: str
    name: str
    texts: tuple[str, ...]
    """The argument in every instance."""
    default: str
    """The text that need not be written, if there is one."""
    positional: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a block that is not a tensor, with its value in every instance."""

    name: str
    texts: tuple[str, ...]
    default: str
    """Empty if there is none."""

    def declared(self) -> str:
        kinds = {_kind(text) for text in self.texts}
        kind = f": {kinds.pop()}" if len(kinds) == 1 else ""
        return quote(self.name) + kind + (f" = {self.default}" if self.default else "")


def _kind(text: str) -> str:
    """The type of a value of the language, by its text."""
    if text.startswith('"'):
        return "str"
    if text in ("true", "false"):
        return "bool"
    number = "float" if "." in text or "e" in text else "int"
    return f"list[{number}]" if text.startswith("[") else number


@dataclass(slots=True)
class Definition:
    """A block: the scopes that are its instances, and its text."""

    name: str
    repeat: Repeat
    tensors: list[str] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    returns: list[str] = field(default_factory=list)
    uses: list[Definition] = field(default_factory=list)
    """The block of each statement that makes an instance."""
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.numbers = {scope.name: i for i, scope in enumerate(self.repeat)}

    def scope(self, name: str) -> Scope:
        return self.repeat[self.numbers[name]]

    def text(self) -> str:
        parameters = [quote(t) for t in self.tensors] + [p.declared() for p in self.parameters]
        lines = [bracketed(f"block {quote(self.name)}", parameters, " {", ""), *self.statements]
        return "\n".join([*lines, f"{INDENT}return {', '.join(self.returns)}", "}", ""])

    def call(
        self, instance: str, exits: Sequence[str], operands: Sequence[str], given: Sequence[str]
    ) -> str:
        """The statement that makes an instance. ``given``: arguments that are no tensors."""
        items = [*operands, *given]
        if len(exits) == 1:
            return bracketed(f"{quote(instance)} = {quote(self.name)}", items, "", INDENT)
        # Several names that are bound name nothing: `as` does.
        targets = ", ".join(map(quote, exits))
        after = f" as {quote(instance)}"
        return bracketed(f"{targets} = {quote(self.name)}", items, after, INDENT)


@dataclass(frozen=True, slots=True)
class Unit:
    """What one statement makes: a node, or an instance of a block."""

    name: str
    """Within the body's scope."""
    index: int
    """Which member of the scope it is, or which member comes last in it."""
    block: Definition | None = None


def write_body(
    structure: Structure, definition: Definition, blocks: Mapping[str, Definition]
) -> None:
    """Fill in the text of a block. ``blocks`` are those of the scopes inside, by name."""
    _Writer(structure, definition, blocks).write()


class _Writer:
    def __init__(
        self, structure: Structure, definition: Definition, blocks: Mapping[str, Definition]
    ) -> None:
        self.structure, self.definition, self.blocks = structure, definition, blocks
        self.repeat = definition.repeat
        self.model = self.repeat[0]
        self.variables: dict[int, str] = {}

    def write(self) -> None:
        definition, model = self.definition, self.model
        units = list(self._units())
        slots = [self._slots(unit) for unit in units]
        if model.name:
            taken = {unit.name for unit in units}
            definition.tensors = tensor_names(self.structure, self.repeat, taken)
            definition.parameters = _parameters([s for of in slots for s in of], taken)
        else:
            definition.tensors = [self.structure.nodes[i].name for i in model.entries]
        written = {p.texts: quote(p.name) for p in definition.parameters}
        self.variables = dict(zip(model.entries, map(quote, definition.tensors), strict=True))
        for unit, arguments in zip(units, slots, strict=True):
            given = _arguments(arguments, written)
            if unit.block is None:
                own = ", ".join(given) if arguments else None
                definition.statements.append(self._node(unit, own))
            else:
                definition.uses.append(unit.block)
                definition.statements.append(self._instance(unit, unit.block, given))
        definition.returns = [self.variables[i] for i in model.exits]

    def _units(self) -> Iterator[Unit]:
        """What the body makes, each where its last node stands in canonical order."""
        start = len(self.model.name) + 1 if self.model.name else 0
        for index, member in enumerate(self.model.members):
            name = self.structure.nodes[member].name
            inner = self._outermost(name, start)
            if inner is None:
                yield Unit(name[start:], index)
            elif self.blocks[inner].scope(inner).members[-1] == member:
                yield Unit(inner[start:], index, self.blocks[inner])

    def _outermost(self, name: str, start: int) -> str | None:
        """The largest scope of this body that holds a node and is an instance of a block."""
        if not self.blocks:
            return None
        dot = name.find(".", start)
        while dot >= 0 and name[:dot] not in self.blocks:
            dot = name.find(".", dot + 1)
        return name[:dot] if dot >= 0 else None

    def _slots(self, unit: Unit) -> list[Slot]:
        """Arguments of a statement; none for a node that is the same in all instances."""
        if unit.block is not None:
            block = unit.block
            rows = [block.numbers[scope.outside(unit.name)] for scope in self.repeat]
            return [
                Slot(unit.name, p.name, tuple(p.texts[row] for row in rows), p.default)
                for p in block.parameters
            ]
        ops = [self.structure.nodes[scope.members[unit.index]].op for scope in self.repeat]
        # Texts are compared, not values: 0.0 equals -0.0.
        written = [{a.name: text for a, text in op.arguments()} for op in ops]
        if all(row == written[0] for row in written):
            return []
        slots = []
        for a in ops[0].attributes:
            if getattr(ops[0], a.name) is None:
                continue
            has_default = not a.required and a.default is not None
            default = a.kind.show(a.default) if has_default else ""
            texts = tuple(row.get(a.name, default) for row in written)
            slots.append(Slot(unit.name, a.name, texts, default, a.required))
        return slots

    def _node(self, unit: Unit, arguments: str | None) -> str:
        place = self.model.members[unit.index]
        operands = [self.variables[o] for o in self.structure.operands[place]]
        self.variables[place] = name = quote(unit.name)
        return f"{INDENT}{name} = {applied(self.structure.nodes[place], operands, arguments)}"

    def _instance(self, unit: Unit, block: Definition, given: list[str]) -> str:
        scope = block.scope(self.model.outside(unit.name))
        operands = [self.variables[o] for o in scope.entries]
        exits = [self.model.inside(self.structure.nodes[i].name) for i in scope.exits]
        if len(exits) == 1:
            self.variables[scope.exits[0]] = quote(unit.name)
        else:
            self.variables.update(zip(scope.exits, map(quote, exits), strict=True))
        return block.call(unit.name, exits, operands, given)


def _arguments(slots: Sequence[Slot], written: Mapping[tuple[str, ...], str]) -> list[str]:
    """The arguments as they are written, where parameters are called ``written``."""
    found = []
    for slot in slots:
        text = slot.texts[0]
        if slot.texts in written:
            text = written[slot.texts]
        elif text == slot.default:
            continue
        found.append(text if slot.positional else f"{slot.name}={text}")
    return found


def _parameters(slots: Sequence[Slot], taken: set[str]) -> list[Parameter]:
    """A parameter for all slots that always have the same value; those with a default last."""
    varying: dict[tuple[str, ...], Slot] = {}
    for slot in slots:
        if len(set(slot.texts)) > 1:
            varying.setdefault(slot.texts, slot)
    firsts = list(varying.values())
    found = [
        Parameter(name, slot.texts, _default(slot))
        for slot, name in zip(
            firsts, parameter_names([(s.owner, s.name) for s in firsts], taken), strict=True
        )
    ]
    return sorted(found, key=lambda p: p.default != "")


def _default(slot: Slot) -> str:
    """The value of most instances, or else the op's own, if that is the value of some."""
    (most, count), *_ = Counter(slot.texts).most_common(1)
    if 2 * count > len(slot.texts):
        return most
    return slot.default if slot.default in slot.texts else ""
