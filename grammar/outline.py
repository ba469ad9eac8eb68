"""Which repeats of a graph are printed as blocks, and the text of those."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .block_names import block_name, block_names
from .blocks import MAX_BLOCK_DEPTH, STEPS_OF_INSTANCE
from .bodies import Definition, write_body
from .context import MAX_STEPS, SIZE_OF_STEP
from .phrases import INDENT, application, quote
from .repeats import Repeat, Scope, Structure, find_repeats


def outline(graph: Graph) -> Definition | None:
    """The graph as a body that uses blocks, or None if there is nothing to gain by them."""
    if not any("." in name for name in graph.order()):
        return None
    structure = Structure(graph)
    blocks = _choose(structure)
    if not blocks:
        return None
    # Inner blocks come later in the choice: their parameters must be known first.
    for block in reversed(list({id(block): block for block in blocks.values()}.values())):
        write_body(structure, block, blocks)
    inputs = len(graph.inputs)
    members = tuple(range(inputs, len(structure.nodes)))
    results = tuple(structure.place[name] for name in graph.outputs.values())
    net = Definition(graph.name, [Scope("", members, tuple(range(inputs)), results)])
    write_body(structure, net, blocks)
    # Blocks make a text short, but not its work: a body is counted each time that it is run.
    return net if _steps(net, {}) <= MAX_STEPS // 2 else None


def blocks_of(net: Definition) -> list[Definition]:
    """The blocks that a net needs, each before those that use it."""
    found: dict[int, Definition] = {}

    def visit(body: Definition) -> None:
        for block in body.uses:
            if id(block) not in found:
                visit(block)
                found[id(block)] = block

    visit(net)
    return list(found.values())


def _choose(structure: Structure) -> dict[str, Definition]:
    """The block of each scope that is to be an instance of one. Large repeats come first.

    Of a block's instances only the first one's inside is text, so a repeat inside counts there.
    """
    chosen: dict[str, Definition] = {}
    shown: dict[str, str] = {}  # the first instance, for each
    depths: dict[str, int] = {}
    selected: list[Definition] = []
    for repeat in find_repeats(structure):
        if _wraps(structure, repeat[0], chosen):
            continue
        above = [list(_scopes_above(scope.name, chosen)) for scope in repeat]
        written = [
            scope
            for scope, outer in zip(repeat, above, strict=True)
            if all(shown[name] == name for name in outer)
        ]
        depth = 1 + max((depths[name] for outer in above for name in outer), default=0)
        if len(written) < 2 or depth > MAX_BLOCK_DEPTH or not _pays(structure, repeat, written):
            continue
        block = Definition("", repeat)
        selected.append(block)
        for scope in repeat:
            chosen[scope.name] = block
            shown[scope.name] = written[0].name
            depths[scope.name] = depth
    for block, name in zip(
        selected, block_names(structure, [b.repeat for b in selected]), strict=True
    ):
        block.name = name
    return chosen


def _wraps(structure: Structure, scope: Scope, chosen: dict[str, Definition]) -> bool:
    """Whether a scope is nothing but one instance of a block that was chosen."""
    name = structure.nodes[scope.members[0]].name
    return any(
        len(chosen[inner].scope(inner).members) == len(scope.members)
        for inner in _scopes_above(name, chosen)
        if inner.startswith(f"{scope.name}.")
    )


def _scopes_above(name: str, chosen: dict[str, Definition]) -> Iterator[str]:
    dot = name.find(".")
    while dot >= 0:
        if name[:dot] in chosen:
            yield name[:dot]
        dot = name.find(".", dot + 1)


def _pays(structure: Structure, repeat: Repeat, written: list[Scope]) -> bool:
    """Whether a block and its calls are less text than the statements of these scopes."""
    trial = Definition(block_name(structure, repeat), repeat)
    write_body(structure, trial, {})
    texts = [trial.text()]
    for scope in written:
        number = trial.numbers[scope.name]
        operands = [quote(structure.nodes[i].name) for i in scope.entries]
        exits = [structure.nodes[i].name for i in scope.exits]
        given = [
            f"{p.name}={p.texts[number]}" for p in trial.parameters if p.texts[number] != p.default
        ]
        texts.append(trial.call(scope.name, exits, operands, given))
    flat = [
        f"{INDENT}{quote(structure.nodes[i].name)} = {application(structure.nodes[i])}"
        for scope in written
        for i in scope.members
    ]
    return _size(texts) < _size(flat) and sum(map(len, texts)) < sum(map(len, flat))


def _size(texts: list[str]) -> int:
    """How many lines."""
    return sum(text.count("\n") + 1 for text in texts)


def _steps(body: Definition, known: dict[int, int]) -> int:
    """About how much work the elaborator counts for an instance of a body."""
    if id(body) not in known:
        length = sum(map(len, body.statements)) + len(body.statements)
        own = STEPS_OF_INSTANCE + length // SIZE_OF_STEP + len(body.statements) + 1
        known[id(body)] = own + sum(_steps(block, known) for block in body.uses)
    return known[id(body)]
