"""``.arch`` text → the same in canonical style, comments kept: ``growc fmt``.

There is one result for one syntax tree and its comments. Of the author's layout only two things
stay: blank lines between statements, and which comments have a line of their own.

Comments can stand above a statement, at the end of its line, and wherever a line may break inside
it (see ``layout.Break``). One that was anywhere else moves on to the next such place, so that
their order stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.diagnostics import Source
from . import syntax as s
from .layout import ALWAYS, Break, Group, Item, items_of
from .parser import parse

LINE_LENGTH = 100
INDENT = 4

_BLANK_LINE = re.compile(r"\n[ \t\r\f]*\n")

_Piece = s.Statement | s.Item


def format_source(source: Source) -> str:
    """The text in canonical style. Formatting it again changes nothing.

    Raises :class:`GrowcError` with a diagnostic for each mistake if the text does not parse.
    """
    tree = parse(source)
    return _Writer(source.text, [_remark(source.text, c) for c in tree.comments]).file(tree)


@dataclass(slots=True)
class _Remark:
    """A comment: its place in the source, its canonical text, and how it is to be written."""

    start: int
    end: int
    text: str
    own_line: bool
    blank: bool = False
    """A blank line comes before it."""


def _remark(text: str, comment: s.Comment) -> _Remark:
    content = comment.text[1:]
    # `#!` and frames such as `####` stay the way they are.
    as_it_is = not content or content[0] in "!#" or content[0].isspace()
    line = text.rfind("\n", 0, comment.start) + 1
    own_line = not text[line : comment.start].strip()
    return _Remark(
        comment.start, comment.end, comment.text if as_it_is else "# " + content, own_line
    )


class _Writer:
    """Writes statements in order. Every comment is taken once, in the order of the text."""

    def __init__(self, text: str, comments: list[_Remark]) -> None:
        self.text, self.comments = text, comments
        self.taken = 0
        self.last = 0
        """Up to where the source has been dealt with."""
        self.notes: list[_Remark] = []
        """Comments to be written above what comes next."""
        self.lines: list[str] = []

    def file(self, tree: s.File) -> str:
        self._sequence(tree.items, len(self.text), 0)
        return "".join(line + "\n" for line in self.lines)

    # ---- statements

    def _sequence(self, pieces: Sequence[_Piece], end: int, indent: int) -> None:
        """Write the pieces, and the comments around them up to ``end``."""
        previous: _Piece | None = None
        for i, piece in enumerate(pieces):
            limit = pieces[i + 1].start if i + 1 < len(pieces) else end
            self._note_comments(piece.start)
            if isinstance(piece, (s.Block, s.Net, s.Repeat, s.If)):
                left = self._line(piece, piece.body.start, previous, indent)
                self._bodies(piece, left, indent)
                left = []
            else:
                left = self._line(piece, self._code_end(piece.end, limit), previous, indent)
            self._end_line([*left, *self._take_rest_of_line(limit)])
            previous = piece
        self._note_comments(end)
        if previous is None:
            self._separate(None, None, False)
        self._write_notes(indent)

    def _line(self, piece: _Piece, end: int, previous: _Piece | None, indent: int) -> list[_Remark]:
        """Write a piece, up to its body if it has one. Its code, or that part, ends at ``end``.

        Returns the comments that found no place in it.
        """
        blank = self._has_blank_line(self.last, piece.start)
        items = items_of(self.text, piece)
        above, at_break, left = _place(items, self._take(end), may_go_above=True)
        if above:
            above[0].blank, blank = blank, False
            self.notes += above
        blank = self._separate(previous, piece, blank)
        self._write_notes(indent)
        if blank:
            self.lines.append("")
        self.lines += _lines(items, at_break, indent)
        self.last = end
        return left

    def _separate(self, previous: _Piece | None, piece: _Piece | None, blank: bool) -> bool:
        """Put blank lines among the notes where they must be, remove them where they may not be.

        ``blank``: one comes before ``piece``. Returns whether one shall.
        """
        if previous is None:
            if not self.notes:
                return False
            self.notes[0].blank = False
        elif isinstance(previous, s.Use) and isinstance(piece, s.Use):
            return blank and bool(self.notes)
        elif isinstance(piece, (s.Use, s.Block, s.Net)):
            if not self.notes:
                return True
            if not blank and not any(note.blank for note in self.notes):
                self.notes[0].blank = True
        return blank

    def _bodies(
        self, piece: s.Block | s.Net | s.Repeat | s.If, left: list[_Remark], indent: int
    ) -> None:
        """Write the body, and all that hangs on it by ``else``, after the ``{`` of the first."""
        body: s.Body = piece.body
        otherwise = piece.otherwise if isinstance(piece, s.If) else None
        while otherwise is not None:
            self._body(body, left, indent)
            # The `else` goes on after the `}`.
            self.lines.pop()
            if isinstance(otherwise, s.If):
                items: list[Item] = ["} else ", *items_of(self.text, otherwise)]
                body, otherwise = otherwise.body, otherwise.otherwise
            else:
                items = ["} else {"]
                body, otherwise = otherwise, None
            _, at_break, left = _place(items, self._take(body.start), may_go_above=False)
            self.lines += _lines(items, at_break, indent)
        if not body.statements and not left and not self._comes_before(body.end):
            self.lines[-1] += "}"
        else:
            self._body(body, left, indent)
        self.last = body.end

    def _body(self, body: s.Body, left: list[_Remark], indent: int) -> None:
        """Write a body after its ``{``. ``left``: comments from before that."""
        self.last = body.start + 1
        first = body.statements[0].start if body.statements else body.end
        left = [*left, *self._take_rest_of_line(first)]
        if left and left[0].own_line:
            self.notes += left
        else:
            self._end_line(left)
        self._sequence(body.statements, body.end - 1, indent + INDENT)
        self.lines.append(" " * indent + "}")

    # ---- comments

    def _comes_before(self, end: int) -> bool:
        """Whether there is another comment before ``end``."""
        return self.taken < len(self.comments) and self.comments[self.taken].start < end

    def _take(self, end: int) -> list[_Remark]:
        """The comments before ``end`` that have not been taken."""
        first = self.taken
        while self._comes_before(end):
            self.taken += 1
        return self.comments[first : self.taken]

    def _take_rest_of_line(self, limit: int) -> list[_Remark]:
        """The comment on the line that ``last`` is on, if it comes before ``limit``."""
        if not self._comes_before(limit):
            return []
        comment = self.comments[self.taken]
        return [] if "\n" in self.text[self.last : comment.start] else self._take(comment.end)

    def _note_comments(self, end: int) -> None:
        """Keep the comments before ``end`` for what is written next."""
        for comment in self._take(end):
            comment.blank = self._has_blank_line(self.last, comment.start)
            self.last = comment.end
            self.notes.append(comment)

    def _end_line(self, comments: list[_Remark]) -> None:
        """Write the first comment behind the line written last, and keep the others."""
        if comments:
            self.lines[-1] += "  " + comments[0].text
            self.notes += comments[1:]

    def _write_notes(self, indent: int) -> None:
        for note in self.notes:
            if note.blank:
                self.lines.append("")
            self.lines.append(" " * indent + note.text)
        self.notes = []

    # ---- the source

    def _has_blank_line(self, start: int, end: int) -> bool:
        return _BLANK_LINE.search(self.text, start, end) is not None

    def _code_end(self, start: int, limit: int) -> int:
        """Where the last code before ``limit`` ends, for a piece that ends at ``start``.

        Brackets around an expression, and a comma after the last one, are not in its piece.
        """
        end = position = start
        for i in range(self.taken, len(self.comments)):
            comment = self.comments[i]
            if comment.start >= limit:
                break
            if comment.start >= start:
                end = self._code_end_in(position, comment.start) or end
                position = comment.end
        return self._code_end_in(position, limit) or end

    def _code_end_in(self, start: int, end: int) -> int:
        code = self.text[start:end].rstrip()
        return start + len(code) if code else 0


# ---- one statement


def _place(
    items: list[Item], comments: list[_Remark], *, may_go_above: bool
) -> tuple[list[_Remark], dict[int, list[_Remark]], list[_Remark]]:
    """Where comments inside a statement go: above it, to its breaks, and those left over.

    A comment goes to the first break after the word it follows. Where there is none before the
    next word it goes above the statement, if nothing forbids that, or else to the next break.
    """
    above: list[_Remark] = []
    at_break: dict[int, list[_Remark]] = {}
    left: list[_Remark] = []
    if not comments:
        return above, at_break, left
    taken = 0
    near: int | None = None
    for i, item in enumerate(items):
        if isinstance(item, Break):
            near = i if near is None else near
            may_go_above = False
            if left:
                at_break.setdefault(i, []).extend(left)
                left = []
        elif isinstance(item, int):
            first = taken
            while taken < len(comments) and comments[taken].start < item:
                taken += 1
            found = comments[first:taken]
            if found and near is not None:
                at_break.setdefault(near, []).extend(found)
            elif may_go_above:
                above += found
            else:
                left += found
            near = None
    return above, at_break, left + comments[taken:]


def _lines(items: list[Item], at_break: dict[int, list[_Remark]], indent: int) -> list[str]:
    """The words on one line if they fit, or else broken, outer groups before inner ones."""
    start = " " * indent
    if not at_break:
        flat = start + "".join(_flat(item) for item in items)
        if len(flat) <= LINE_LENGTH and ALWAYS not in items:
            return [flat]
    widths = _group_widths(items, at_break)
    lines: list[str] = []
    line, column = [start], indent
    unbroken = 0  # how many groups deep inside a group that is not broken
    for i, item in enumerate(items):
        if item is Group.OPEN:
            if unbroken or column + widths[i] <= LINE_LENGTH:
                unbroken += 1
            else:
                indent += INDENT
        elif item is Group.CLOSE:
            if unbroken:
                unbroken -= 1
            else:
                indent -= INDENT
        elif isinstance(item, Break) and not unbroken:
            remarks = at_break.get(i, [])
            line.append("," if item.comma else "")
            if remarks and not remarks[0].own_line:
                line.append("  " + remarks[0].text)
                remarks = remarks[1:]
            lines.append("".join(line))
            lines += [" " * indent + remark.text for remark in remarks]
            column = indent - INDENT if item.closing else indent
            line = [" " * column]
        else:
            text = _flat(item)
            line.append(text)
            column += len(text)
    return [*lines, "".join(line)]


def _flat(item: Item) -> str:
    if isinstance(item, str):
        return item
    return item.flat if isinstance(item, Break) else ""


def _group_widths(items: list[Item], at_break: dict[int, list[_Remark]]) -> dict[int, float]:
    """The width of each group, by the index of its opening, with what follows it on its line.

    It is infinite where the group must be broken.
    """
    tails = [0] * (len(items) + 1)
    for i in range(len(items) - 1, -1, -1):
        if not isinstance(items[i], Break):
            tails[i] = tails[i + 1] + len(_flat(items[i]))
    widths: dict[int, float] = {}
    openings: list[tuple[int, int, int]] = []
    width = breaks = 0
    for i, item in enumerate(items):
        if item is Group.OPEN:
            openings.append((i, width, breaks))
        elif item is Group.CLOSE:
            opening, width_before, breaks_before = openings.pop()
            fits = breaks == breaks_before
            widths[opening] = width - width_before + tails[i] if fits else float("inf")
        elif i in at_break or item is ALWAYS:
            breaks += 1
        else:
            width += len(_flat(item))
    return widths
