"""HTML and SVG in pieces: what is not :class:`Markup` is text, and escaped."""

from __future__ import annotations

from collections.abc import Iterable

from ..backends.svg_text import escape

VOID = frozenset({"br", "hr", "img", "input", "meta"})
"""Elements that have no end tag."""


class Markup(str):
    """Text that is HTML already. Only this module, and what draws whole pictures, makes it."""

    __slots__ = ()


def tag(
    element: str,
    /,
    *content: str | None,
    **attributes: str | float | bool | None,
) -> Markup:
    """``tag("td", "a < b", class_="number")`` → ``<td class="number">a &lt; b</td>``.

    In attributes' names ``_`` stands for ``-``, and one at the end for nothing. True gives an
    attribute without a value; None and False leave it out, as None does for content.
    """
    head = [element]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.removesuffix("_").replace("_", "-")
        words = f"{value:g}" if isinstance(value, float) else str(value)
        head.append(key if value is True else f'{key}="{escape(words)}"')
    start = f"<{' '.join(head)}>"
    if element in VOID:
        return Markup(start)
    return Markup(f"{start}{joined(content)}</{element}>")


def joined(parts: Iterable[str | None], between: str = "") -> Markup:
    """The parts one after the other, with ``between`` between them; texts are escaped."""
    return Markup(_safe(between).join(_safe(part) for part in parts if part is not None))


def _safe(part: str) -> str:
    return part if isinstance(part, Markup) else escape(part)


def table(
    headings: Iterable[tuple[str, bool]], lines: Iterable[Iterable[str]], caption: str | None = None
) -> Markup:
    """A table that scrolls where the window is narrow. Headings come with whether their column
    holds numbers, which stand at the right."""
    columns = list(headings)
    look = ["number" if numeric else None for _, numeric in columns]
    head = (
        tag("th", name, scope="col", class_=c) for (name, _), c in zip(columns, look, strict=True)
    )
    body = (
        tag("tr", *(tag("td", cell, class_=c) for cell, c in zip(line, look, strict=True)))
        for line in lines
    )
    whole = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
    )
    # Reached by the keyboard, so that it can be scrolled without a mouse.
    return tag("div", whole, class_="wide", tabindex="0")
