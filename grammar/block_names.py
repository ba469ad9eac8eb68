"""Names for blocks that the printer finds, and for their parameters."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from ..ir import OPS, names
from .phrases import EXPRESSION_WORDS, STATEMENT_WORDS
from .repeats import Repeat, Scope, Structure
from .values import FUNCTION_NAMES

_RESERVED = {*OPS, *FUNCTION_NAMES, *STATEMENT_WORDS, *EXPRESSION_WORDS}
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_UNNAMED = "unit"
"""A block of scopes whose names have no word in common, or say `block` alone."""
_MANY_OPS = 3


def block_names(structure: Structure, repeats: Sequence[Repeat]) -> list[str]:
    """A name for each repeat, no two the same."""
    alike: dict[str, list[int]] = defaultdict(list)
    # Of several that would be called the same, the most frequent one comes first.
    for i in sorted(range(len(repeats)), key=lambda i: -len(repeats[i])):
        alike[block_name(structure, repeats[i])].append(i)
    used = set(_RESERVED)
    found = [""] * len(repeats)
    for base, group in alike.items():
        before = [_word_before(repeats[i]) for i in group]
        for i, word in zip(group, before, strict=True):
            if len(group) > 1 and all(before) and len(set(before)) == len(group):
                name = f"{word}_{base}"
            else:
                more = "" if i == group[0] else _what_more(structure, repeats[i], repeats[group[0]])
                name = f"{base}_{more}" if more else base
            found[i] = _claim(name, used)
    return found


def block_name(structure: Structure, repeat: Repeat) -> str:
    """The word that the scopes have in common: ``layer`` for ``layer1.0`` and ``layer2.1``."""
    for word in [*_common_words(repeat), _ops(structure, repeat[0]), _UNNAMED]:
        for name in (word, f"{word}_block") if word not in ("", "block") else ():
            if _WORD.match(name) and name not in _RESERVED:
                return name
    raise AssertionError(_UNNAMED)


def _common_words(repeat: Repeat) -> list[str]:
    """Words that may name all scopes, the best first."""
    paths = [[_stem(part) for part in _singular(scope.name.split("."))] for scope in repeat]
    last = {path[-1] if path else "" for path in ([p for p in path if p] for path in paths)}
    if len(last) == 1:
        return [*last]
    # `self_attn` and `cross_attn`; then `encoder.norm.0` and `decoder.norm.x`.
    tails = {word.rpartition("_")[2] for word in last}
    shared = set(paths[0]).intersection(*paths[1:])
    return [*(tails if len(tails) == 1 else ()), *(w for w in reversed(paths[0]) if w in shared)]


def _stem(part: str) -> str:
    """``layer`` for ``layer1`` and ``layer_1``; nothing for ``0``."""
    return part.rstrip("0123456789").rstrip("_")


def _singular(parts: list[str]) -> list[str]:
    """``layers.0`` is a ``layer``."""
    if len(parts) < 2 or not parts[-1].isdigit():
        return parts
    *before, many, number = parts
    plural = re.search(r"[^aius]s\Z", many) and len(many) > 3
    return [*before, many[:-1] if plural else many, number]


def _ops(structure: Structure, scope: Scope) -> str:
    """``conv2d_batch_norm_relu``, for a scope of few nodes."""
    ops = [structure.nodes[member].op.name for member in scope.members]
    return "_".join(ops) if len(ops) <= _MANY_OPS else ""


def _word_before(repeat: Repeat) -> str:
    """``encoder``, if all scopes are like ``encoder.layer.0``."""
    paths = [[w for w in map(_stem, scope.name.split(".")) if w][:-1] for scope in repeat]
    shared = set(paths[0]).intersection(*paths[1:])
    return next((word for word in reversed(paths[0]) if word in shared and _WORD.match(word)), "")


def _what_more(structure: Structure, repeat: Repeat, other: Repeat) -> str:
    """A word for what one kind of scope has and the other has not: ``downsample``."""
    theirs = _parts(structure, other[0])
    mine = (part for part in _parts(structure, repeat[0]) if part not in theirs)
    return next((part for part in mine if _WORD.match(part)), "")


def _parts(structure: Structure, scope: Scope) -> list[str]:
    """The first words of names in a scope, those of scopes inside first."""
    inside = [scope.inside(structure.nodes[member].name).split(".") for member in scope.members]
    return [_stem(path[0]) for path in sorted(inside, key=lambda path: len(path) == 1)]


def tensor_names(structure: Structure, repeat: Repeat, taken: Iterable[str]) -> list[str]:
    """Parameters for the tensors that the scopes are applied to: ``x``, or ``x, y``.

    One that is the same tensor for all is called what it is, such as ``mask``.
    """
    used = set(taken)
    found = []
    for entries in zip(*(scope.entries for scope in repeat), strict=True):
        name = structure.nodes[entries[0]].name.rpartition(".")[2]
        if len(set(entries)) > 1 or not _WORD.match(name) or name in _RESERVED:
            name = next((letter for letter in "xyz" if letter not in used), "x")
        found.append(_claim(name, used))
    return found


def parameter_names(slots: Sequence[tuple[str, str]], taken: Collection[str]) -> list[str]:
    """Parameters for arguments of these owners and names: ``channels``, or ``conv1_channels``.

    The shortest form is taken that all arguments of one name can have.
    """
    no_good = {*taken, *STATEMENT_WORDS, *EXPRESSION_WORDS}
    forms: dict[str, list[list[str]]] = defaultdict(list)
    for owner, name in slots:
        last = owner.rpartition(".")[2]
        longer = [_of_owner(owner if last.isdigit() else last, name), _of_owner(owner, name)]
        forms[name].append([name, *longer])
    chosen: dict[str, int] = {}
    for name, rows in forms.items():
        for form, column in enumerate(zip(*rows, strict=True)):
            chosen[name] = form
            if len(set(column)) == len(column) and not no_good.intersection(column):
                break
    used = set(taken)
    return [_claim(forms[name].pop(0)[chosen[name]], used) for _, name in slots]


def _of_owner(owner: str, name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "_", owner).strip("_") or "own"
    return f"{name}_{plain}" if plain[0].isdigit() else f"{plain}_{name}"


def _claim(base: str, used: set[str]) -> str:
    name = names.fresh(base, used, {})
    used.add(name)
    return name
