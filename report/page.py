"""A page: a head, and sections one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .markup import Markup, joined, tag


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page with a heading, and a name that links to it."""

    name: str
    title: str
    body: Markup


@dataclass(frozen=True, slots=True)
class Page:
    """What a page is made of."""

    title: str
    lead: Markup
    """What the run is, in a few sentences."""
    sections: Sequence[Section]
    foot: Markup


@cache
def _style() -> Markup:
    return Markup(files(__package__).joinpath("page.css").read_text(encoding="utf-8"))


def document(page: Page) -> str:
    """The page as an HTML file."""
    sections = (tag("section", tag("h2", s.title, id=s.name), s.body) for s in page.sections)
    links = (tag("a", s.title, href=f"#{s.name}") for s in page.sections)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", page.title),
        tag("style", _style()),
    )
    body = tag(
        "body",
        tag("header", tag("h1", page.title), page.lead, tag("nav", *links)),
        tag("main", *sections),
        tag("footer", page.foot),
    )
    return joined([Markup("<!DOCTYPE html>"), tag("html", head, body, lang="en"), ""], "\n")
