"""The section of growth steps: what was added where, and what it did."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from . import numbers
from .markup import Markup, joined, table, tag
from .page import Section
from .reading import Growth

SHOWN_PLACES = 3
SHOWN_OPTIONS = 90
"""How many characters of a pass's options are shown."""
LIST = re.compile(r"\[([^\[\]]*)\]")


def growth_section(growths: Sequence[Growth]) -> Section:
    """The table of growth steps."""
    words = tag(
        "p",
        "At a growth step, passes rewrite the network in the middle of training. ",
        f"{_proved(growths)} proved not to change what the network computes: right after it the ",
        "loss, on the same images, is what it was right before it, in evaluation mode and in ",
        "training mode, where a batch is normalized by its own statistics.",
    )
    headings = (
        ("", True),
        ("update", True),
        ("what was added, and where", False),
        ("parameters", True),
        ("more", True),
        ("function kept?", False),
        ("loss before → after", False),
        ("seconds", True),
    )
    lines = [_line(i, growth) for i, growth in enumerate(growths, 1)]
    return Section("growth", "Growth steps", joined([words, table(headings, lines)]))


def _proved(growths: Sequence[Growth]) -> str:
    proved, total = sum(g.proof.startswith("proved") for g in growths), len(growths)
    if total == 1:
        return "This one was" if proved else "This one was not"
    if proved == total:
        return f"Each of the {total:,} steps was"
    return f"{proved:,} of the {total:,} steps {'was' if proved == 1 else 'were'}"


def _line(number: int, growth: Growth) -> Iterator[str]:
    before, after = growth.params
    yield str(number)
    yield numbers.count(growth.update)
    yield joined(tag("div", *_described(group)) for group in grouped(growth))
    yield f"{before:,}{numbers.BLANK}→{numbers.BLANK}{after:,}"
    yield f"{100 * (after - before) / before:+.1f}{numbers.BLANK}%" if before else numbers.NONE
    yield _verdict(growth.proof)
    yield joined(
        tag("span", f"{numbers.change(before, after)} {mode}", class_="line-of")
        for mode in dict.fromkeys((*growth.loss_before, *growth.loss_after))
        for before, after in [(growth.loss_before.get(mode), growth.loss_after.get(mode))]
    )
    yield f"{growth.seconds:.2f}"


def _verdict(proof: str) -> Markup:
    kind = proof.partition(" ")[0]
    sign = {"proved": "✓ ", "measured": "≈ "}.get(kind, "")
    return tag("span", sign + proof, class_="proved" if kind == "proved" else "unproved")


# ---- pipelines in short


@dataclass(slots=True)
class Group:
    """Passes of one name in a pipeline."""

    name: str
    options: str
    """Of the last one, in braces; empty if it has none."""
    times: int = 0
    places: dict[str, None] = field(default_factory=dict)


def grouped(growth: Growth) -> list[Group]:
    """The passes of a step by name: a search may add to dozens of layers by a pass each."""
    groups: dict[str, Group] = {}
    for i, text in enumerate(split(growth.pipeline)):
        name, brace, rest = text.partition("{")
        group = groups.setdefault(name, Group(name, ""))
        group.times += 1
        group.options = brace + rest
        if i < len(growth.at):
            group.places.update(dict.fromkeys(growth.at[i]))
    return list(groups.values())


def split(pipeline: str) -> list[str]:
    """The passes of a pipeline: it is cut at commas outside of braces, brackets and quotes."""
    parts, start, depth, quoted, before = [], 0, 0, False, ""
    for i, char in enumerate(pipeline):
        if char == '"' and before != "\\":
            quoted = not quoted
        elif not quoted and char in "{[":
            depth += 1
        elif not quoted and char in "}]":
            depth -= 1
        elif not quoted and char == "," and depth == 0:
            parts.append(pipeline[start:i].strip())
            start = i + 1
        before = char
    return [*parts, pipeline[start:].strip()]


def _described(group: Group) -> Iterator[str]:
    """``r2wider{filters=8} at block1, block2``; ``new_connection × 20 at a, b, c and 17 more``."""
    if group.times == 1:
        yield tag("code", group.name + shortened(group.options))
    else:
        yield tag("code", group.name)
        yield f" × {group.times:,}"
    if group.places:
        shown = list(group.places)[:SHOWN_PLACES]
        more = len(group.places) - len(shown)
        yield " at "
        yield joined((tag("code", place) for place in shown), ", ")
        if more:
            yield f" and {more:,} more"


def shortened(options: str) -> str:
    """Options with long lists cut: ``{indices=[5, 9, … 4,096 in all]}``."""

    def cut(match: re.Match[str]) -> str:
        items = match[1].split(",")
        if len(items) <= 4:
            return match[0]
        return f"[{items[0].strip()}, {items[1].strip()}, … {len(items):,} in all]"

    text = LIST.sub(cut, options)
    return text if len(text) <= SHOWN_OPTIONS else f"{text[: SHOWN_OPTIONS - 2]}…}}"


def in_short(growth: Growth) -> str:
    """A step in a few words, without places."""
    before, after = growth.params
    passes = ", ".join(
        g.name if g.times == 1 else f"{g.name} × {g.times:,}" for g in grouped(growth)
    )
    return f"{passes}; {before:,} → {after:,} parameters"
