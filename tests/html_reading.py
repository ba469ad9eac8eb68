"""HTML as a tree, read strictly: what is not nested well is a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from growc.report.markup import VOID


@dataclass
class Element:
    name: str
    attributes: dict[str, str]
    content: list[Element | str] = field(default_factory=list)

    def all(self, name: str = "", class_: str = "") -> list[Element]:
        """The elements inside with this name and class, in order."""
        return [
            e
            for e in self._inside()
            if name in ("", e.name) and (not class_ or class_ in e.attributes.get("class", ""))
        ]

    def one(self, name: str = "", class_: str = "") -> Element:
        (found,) = self.all(name, class_)
        return found

    def by_id(self, id: str) -> Element:
        (found,) = (e for e in self._inside() if e.attributes.get("id") == id)
        return found

    def _inside(self) -> Iterator[Element]:
        for child in self.content:
            if isinstance(child, Element):
                yield child
                yield from child._inside()

    @property
    def text(self) -> str:
        """All text inside, with ordinary blanks."""
        parts = (c if isinstance(c, str) else c.text for c in self.content)
        return "".join(parts).replace("\N{NO-BREAK SPACE}", " ")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # `<rect/>` is right in SVG only, and ends there.
        assert any(e.name == "svg" for e in self.open), f"<{tag}/> outside of SVG"
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open[-1].name, f"</{tag}> where <{self.open[-1].name}> is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def parsed(text: str) -> Element:
    """The document. Raises AssertionError unless every element is closed in its turn, no
    attribute is twice at an element and no id twice in the page."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    (root,) = reader.open
    ids = [e.attributes["id"] for e in root._inside() if "id" in e.attributes]
    assert len(set(ids)) == len(ids), f"an id is there twice: {ids}"
    for link in root.all("a"):
        assert link.attributes["href"].removeprefix("#") in ids
    for label in root.all("label"):
        assert label.attributes["for"] in ids
    return root
