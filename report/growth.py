"""The section of growth steps: what was added where, and what it did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..ir.diagnostics import plural
from . import numbers
from .markup import Markup, joined, table, tag
from .page import Section
from .reading import Growth

SHOWN_PLACES, LISTED_PLACES = 3, 50
"""How many places of a pass are shown at once, and how many when unfolded."""
SHOWN_OPTIONS, SHOWN_ITEMS = 90, 4
"""How many characters of a pass's options are shown, and how many items of a list."""


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
    yield _described(growth)
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
    options: list[dict[str, str]] = field(default_factory=list)
    """Of each pass, but for where it was applied: the places say that."""
    places: dict[str, None] = field(default_factory=dict)

    def __str__(self) -> str:
        """``r2wider{filters=8}``; ``new_connection{indices=[… 3,600]} × 12``."""
        shown = ", ".join(self._shown())
        if len(shown) > SHOWN_OPTIONS:
            shown = f"{shown[: SHOWN_OPTIONS - 1]}…"
        times = f" × {len(self.options):,}" if len(self.options) > 1 else ""
        return self.name + (f"{{{shown}}}" if shown else "") + times

    def _shown(self) -> Iterator[str]:
        """Options that all the passes have alike; of lists that differ, how long they are."""
        for key in dict.fromkeys(key for options in self.options for key in options):
            values = [options.get(key, "") for options in self.options]
            lists = [split(v[1:-1]) for v in values if v.startswith("[")]
            total = sum(map(len, lists))
            if lists and (total > SHOWN_ITEMS or len(set(values)) > 1):
                yield f"{key}=[… {total:,}]"
            elif len(set(values)) == 1:
                yield f"{key}={values[0]}"


def grouped(growth: Growth) -> list[Group]:
    """The passes of a step by name: a search may add to dozens of layers by a pass each."""
    groups: dict[str, Group] = {}
    for i, text in enumerate(split(growth.pipeline)):
        name, brace, rest = text.partition("{")
        group = groups.setdefault(name, Group(name))
        options = (part.partition("=") for part in split(rest.removesuffix("}")) if brace)
        group.options.append({key: value for key, _, value in options if key != "at"})
        if i < len(growth.at):
            group.places.update(dict.fromkeys(growth.at[i]))
    return list(groups.values())


def split(text: str) -> list[str]:
    """The passes of a pipeline, or options of a pass: cut at commas outside of brackets and
    quotes."""
    parts: list[str] = []
    start, depth, quoted, before = 0, 0, False, ""
    for i, char in enumerate(text):
        if char == '"' and before != "\\":
            quoted = not quoted
        elif not quoted and char in "{[":
            depth += 1
        elif not quoted and char in "}]":
            depth -= 1
        elif not quoted and char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
        before = char
    return [*parts, text[start:].strip()]


def _described(growth: Growth) -> Markup:
    """What was added where: ``r2wider at block1, block2``. Many places are folded away."""
    groups = grouped(growth)
    lines = [_in_full(group) for group in groups]
    if all(len(group.places) <= SHOWN_PLACES for group in groups):
        return joined(lines)
    short = (
        joined([tag("code", str(group)), f" at {plural(len(group.places), 'place')}"])
        for group in groups
    )
    return tag("details", tag("summary", joined(short, tag("br"))), *lines)


def _in_full(group: Group) -> Markup:
    shown = list(group.places)[:LISTED_PLACES]
    more = len(group.places) - len(shown)
    return tag(
        "div",
        tag("code", str(group)),
        " at " if shown else None,
        joined((tag("code", place) for place in shown), ", "),
        f" and {more:,} more" if more else None,
    )


def in_short(growth: Growth) -> str:
    """A step in a few words, without places."""
    before, after = growth.params
    passes = ", ".join(map(str, grouped(growth)))
    return f"{passes}; {before:,} → {after:,} parameters"
