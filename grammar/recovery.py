"""Syntax errors → diagnostics: what is wrong in plain words, and several of them in one run.

lark stops at the first error. To find more, the statement that holds the error is blanked out
with spaces, so that all places stay as they are, and the text is parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ..ir.diagnostics import Diagnostic, GrowcError, Source, Span, did_you_mean

MAX_ERRORS = 10
LONG_TEXT = 500_000
MAX_TARGETS = 16
"""How many names before a `=` are looked at: more would take too long for long lists of names."""

KEYWORDS = frozenset(
    "use block net input output weights sha256 return repeat in if else as with and or not "
    "true false".split()
)
_STATEMENT_WORDS = ("input", "output", "weights", "return", "repeat", "if")
_ITEM_WORDS = ("use", "block", "net")
_CLOSING = {"(": ")", "[": "]", "{": "}"}

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*+"')
_WORD = re.compile(
    r'(?P<skip>#[^\n]*|\s+)|(?P<text>"(?:[^"\\\n]|\\.)*+"?)'
    r"|(?P<name>[A-Za-z_]\w*(?:\.\w+)*|`[^`\n]*`)|(?P<number>\d[\w.]*)|(?P<sign>->|==|.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of the text, found without the grammar; ``first`` if it begins its line."""

    kind: str
    text: str
    start: int
    end: int
    first: bool


def _words(text: str) -> list[_Word]:
    found: list[_Word] = []
    first = True
    for match in _WORD.finditer(text):
        if match.lastgroup == "skip":
            first = first or "\n" in match.group()
            continue
        found.append(_Word(match.lastgroup or "", match.group(), match.start(), match.end(), first))
        first = False
    return found


def _begins(words: list[_Word], i: int) -> bool:
    """Whether a statement, an item or a closing brace begins its line at word ``i``."""
    word = words[i]
    if not word.first and (i == 0 or words[i - 1].text not in "{}"):
        return False
    if word.text in _STATEMENT_WORDS or word.text in _ITEM_WORDS or word.text == "}":
        return True
    # `name =` or `a, b =`, but not an argument `name = value` inside a call: those are told
    # apart by _unclosed, which looks at what the line before left open.
    for at in range(i, min(i + 2 * MAX_TARGETS, len(words) - 1), 2):
        sign = words[at + 1].text
        if words[at].kind != "name" or sign not in ("=", ","):
            return False
        if sign == "=":
            return True
    return False


def explain_all(source: Source, parse: Callable[[str], list[Diagnostic]]) -> list[Diagnostic]:
    """All syntax errors of a text that does not parse, in the order of the text.

    ``parse`` parses a text and returns the mistakes in its words (bad numbers and the like). It
    raises lark's ``UnexpectedInput``.
    """
    text = source.text
    found: list[Diagnostic] = []
    bracket = _bracket_problem(source, text)
    if bracket is not None:
        diagnostic, blanked = bracket
        found.append(diagnostic)
        if blanked is None:
            return found
        text = blanked
    enough = MAX_ERRORS if len(text) <= LONG_TEXT else 1  # each costs a parse of the whole text
    while len(found) < enough:
        try:
            found += parse(text)
            break
        except GrowcError as error:
            found += error.diagnostics
            break
        except UnexpectedInput as error:
            diagnostic = _explain(source, text, error, _offset(error, text))
            found.append(diagnostic)
            assert diagnostic.span is not None
            shorter = _blank_statement(text, diagnostic.span.start)
            if shorter == text:
                break
            text = shorter
    return sorted(found, key=lambda d: d.span.start if d.span else 0)


def _offset(error: UnexpectedInput, text: str) -> int:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return len(text.rstrip())
    position = error.pos_in_stream
    return len(text) if position is None else position


# ---- brackets


def _bracket_problem(source: Source, text: str) -> tuple[Diagnostic, str | None] | None:
    """The first bracket that does not match, and the text with its statement blanked out."""
    words = _words(text)
    opened: list[_Word] = []
    for i, word in enumerate(words):
        if word.kind == "text" and not _STRING.fullmatch(word.text):
            return _open_text(source, word), _blank_statement(text, word.start)
        if opened and opened[-1].text != "{" and _ends_statement(words, i):
            return _unclosed(source, opened[-1]), _blank(text, opened[-1].start, word.start)
        if word.text in _CLOSING:
            opened.append(word)
        elif word.text in _CLOSING.values():
            if opened and _CLOSING[opened[-1].text] == word.text:
                opened.pop()
                continue
            if not opened or opened[-1].text == "{":
                problem = Diagnostic(
                    f"this `{word.text}` closes nothing",
                    Span(source, word.start, word.end),
                    "remove it, or open it before",
                )
                return problem, text[: word.start] + " " + text[word.end :]
            return _mismatch(source, opened[-1], word), None
    if opened:
        return _unclosed(source, _outdented(source, words) or opened[0]), None
    return None


def _outdented(source: Source, words: list[_Word]) -> _Word | None:
    """The first `{` whose `}` begins a line further left than the `{`'s line does.

    When a brace is missing, all after it close the wrong ones; the indentation tells which.
    """
    opened: list[_Word] = []
    for word in words:
        if word.text == "{":
            opened.append(word)
        elif word.text == "}" and opened:
            brace = opened.pop()
            if word.first and _indentation(source, word) < _indentation(source, brace):
                return brace
    return None


def _indentation(source: Source, word: _Word) -> int:
    line = source.line(source.position(word.start)[0])
    return len(line) - len(line.lstrip())


def _open_text(source: Source, word: _Word) -> Diagnostic:
    return Diagnostic(
        "this text has no closing quote on its line",
        Span(source, word.start, word.end),
        'close it with `"`',
    )


def _ends_statement(words: list[_Word], i: int) -> bool:
    """Whether an open ``(`` or ``[`` can't go on at word ``i``: a new statement begins there."""
    word = words[i]
    if word.first and word.text in (*_STATEMENT_WORDS, *_ITEM_WORDS):
        following = words[i + 1].text if i + 1 < len(words) else ""
        return following not in ("=", ",", ")", "]", "->")
    if word.text == "}":
        return True
    previous = words[i - 1].text if i else ""
    return _begins(words, i) and previous not in (",", "(", "[")


def _unclosed(source: Source, word: _Word) -> Diagnostic:
    return Diagnostic(
        f"this `{word.text}` is never closed",
        Span(source, word.start, word.end),
        f"add the missing `{_CLOSING[word.text]}`",
    )


def _mismatch(source: Source, opened: _Word, closed: _Word) -> Diagnostic:
    return Diagnostic(
        f"this `{closed.text}` does not match the `{opened.text}` that is open here",
        Span(source, closed.start, closed.end),
        f"write `{_CLOSING[opened.text]}`",
        notes=((f"`{opened.text}` was opened here", Span(source, opened.start, opened.end)),),
    )


# ---- blanking


def _blank(text: str, start: int, end: int) -> str:
    middle = re.sub(r"[^\n]", " ", text[start:end])
    return text[:start] + middle + text[end:]


def _blank_statement(text: str, at: int) -> str:
    """The text without the statement around offset ``at``; braces stay, to keep the structure."""
    words = _words(text)
    starts = [w.start for i, w in enumerate(words) if _begins(words, i)]
    first = max((p for p in starts if p <= at), default=0)
    last = min((p for p in starts if p > max(at, first)), default=len(text))
    piece = text[first:last]
    braces = [w for w in words if w.text in "{}"]
    outer = [w.text for w in braces if w.start < first]
    if "{" in piece and outer.count("{") <= outer.count("}"):
        return _blank(text, first, _closing(braces[len(outer) :], len(text)))
    if piece.count("{") != piece.count("}"):
        # A header such as `repeat … {`: blank its words and make the body a loop over nothing.
        opening = text.find("{", first)
        if first <= opening < last and opening >= at:
            header = "if 0".ljust(opening - first)[: opening - first]
            return text[:first] + header + text[opening:]
        last = min((i for i in range(at, last) if text[i] in "{}"), default=last)
    return _blank(text, first, last)


def _closing(braces: list[_Word], end: int) -> int:
    """Where the body that the first of the braces opens ends."""
    depth = 0
    for brace in braces:
        depth += 1 if brace.text == "{" else -1
        if depth <= 0:
            return brace.end
    return end


# ---- wording


def _explain(source: Source, text: str, error: UnexpectedInput, at: int) -> Diagnostic:
    if isinstance(error, UnexpectedCharacters):
        return _strange_character(source, at)
    assert isinstance(error, UnexpectedToken)
    token: Token = error.token
    accepts = set(error.accepts or ())
    if token.type == "$END":
        return Diagnostic(
            "the file ends in the middle of a statement", Span(source, at, at), _next(accepts)
        )
    span = Span(source, at, at + len(token))
    word = str(token)
    if word == ">" and text[:at].endswith("-"):
        # The lexer takes the minus sign alone where an operator cannot stand.
        word, at, span = "->", at - 1, Span(source, at - 1, at + 1)
    previous = [w for w in _words(text) if w.end <= at]
    before = _short(previous[-1].text) if previous else ""
    word = _short(word)
    last = Span(source, previous[-1].start, previous[-1].end) if previous else span
    if word == "=" and before in KEYWORDS and previous[-1].first:
        return _reserved(before, last)
    # After a comma the parser has taken the list to be complete, as it is in `return a, b,`.
    name_fits = "NAME" in accepts or before == ","
    if word in KEYWORDS and name_fits and word not in ("and", "or", "in", "else"):
        return _reserved(word, span)
    if accepts <= {"USE", "BLOCK", "NET", "$END"}:
        hint = did_you_mean(word, _ITEM_WORDS)
        return Diagnostic(
            f"`{word}` cannot stand outside of a net or a block",
            span,
            hint or "a file holds `use`, `block` and `net`; statements go inside their braces",
        )
    if word == "=" and len(previous) > 1 and previous[-1].first:
        # The next statement was read as the value that is missing at the end of this one.
        return _missing_value(previous[-2].text, Span(source, previous[-2].start, previous[-2].end))
    line_ends = bool(previous) and "\n" in text[previous[-1].end : at]
    if "NAME" in accepts and "NUMBER" in accepts:
        return _missing_value(before, last) if line_ends else _missing_value(before, span, word)
    if accepts == {"EQUAL", "COMMA"}:
        if source.text[at + 1 : at + 2] == "=":
            help = f"write `{before} = {before} {word} …`"
            return Diagnostic(f"`{word}=` is not an operator", Span(source, at, at + 2), help)
        return _not_a_statement(source, previous, word)
    if word == "=":
        return Diagnostic(f"`=` cannot follow `{before}`", span, "to compare, write `==`")
    if len(previous) > 1 and previous[-2].text == "repeat" and previous[-1].kind == "name":
        help = f"put `in` between them: `repeat {before} in …`"
        return Diagnostic(f"`{word}` cannot follow `{before}`", span, help)
    single = _next(accepts - {"RBRACE"})
    if single is not None and line_ends:
        return Diagnostic(f"a statement cannot end with `{before}`", last, single)
    if single is None and (token.type in ("NAME", "NUMBER", "STRING") or word in "([{"):
        single = "is an operator, a `->`, a comma or a bracket missing before it?"
    return Diagnostic(f"`{word}` cannot follow `{before}`", span, single or _STATEMENTS)


_STATEMENTS = (
    "a statement is `name = value`, `input`, `output`, `repeat`, `if`, `return` or `weights`"
)


def _short(word: str) -> str:
    """A word of the text in a message."""
    word = "".join(c if c.isprintable() else " " for c in word)
    return word if len(word) <= 40 else word[:39] + "…"


def _reserved(word: str, span: Span) -> Diagnostic:
    return Diagnostic(
        f"`{word}` is a word of the language, so it needs backticks to be a name",
        span,
        f"write `` `{word}` ``, or choose another name",
    )


def _missing_value(before: str, span: Span, word: str = "") -> Diagnostic:
    found = f", but here is `{word}`" if word else ""
    return Diagnostic(
        f"a value must follow `{before}`{found}",
        span,
        "a value is a number, a name, a call, a list or an expression in parentheses",
    )


_FROM_ELSEWHERE = {
    "for": "a loop is written `repeat i in 0..4 { … }`",
    "while": "a loop is written `repeat i in 0..4 { … }`",
    "def": "a part that is used again is a `block`, outside of the net",
    "use": "`use` stands outside of nets and blocks, at the top of the file",
    "block": "blocks stand outside of nets and of other blocks",
    "net": "a net stands outside of blocks and of other nets",
}


def _not_a_statement(source: Source, previous: list[_Word], after: str) -> Diagnostic:
    """A name that was read as the beginning of a statement, but no ``=`` follows."""
    name = previous[-1]
    span = Span(source, name.start, name.end)
    shown = _short(name.text)
    if name.first or len(previous) == 1 or previous[-2].text in "{}":
        hint = did_you_mean(name.text, _STATEMENT_WORDS) or _FROM_ELSEWHERE.get(name.text)
        if hint is None and after in ("->", "(", "[", "+", "-", "*", "/"):
            return Diagnostic(
                "a value alone is not a statement",
                span,
                "give it a name, `y = …`, or make it an output, `output y = …`",
            )
        return Diagnostic(f"`{shown}` does not begin a statement", span, hint or _STATEMENTS)
    return Diagnostic(
        f"`{shown}` cannot follow `{_short(previous[-2].text)}`",
        span,
        "is an operator, a `->`, a comma or a bracket missing before it?",
    )


_SAY = {
    "LPAR": "`(`",
    "LBRACE": "`{`",
    "LSQB": "`[`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "NAME": "a name",
    "IN": "`in`",
}


def _next(accepts: set[str]) -> str | None:
    """What must come next, where that is one thing (or one of a known few)."""
    if len(accepts) == 1:
        (only,) = accepts
        if only == "STRING":
            return 'a text is written in quotes, such as "blocks.arch"'
        return f"write {_SAY[only]} here" if only in _SAY else None
    if accepts == {"LPAR", "LBRACE"}:
        return "write `{` here, or parameters in parentheses"
    if "RBRACE" in accepts and "INPUT" in accepts:
        return "close the body with `}`"
    return None


_LOOKALIKES = {
    **dict.fromkeys("“”„«»″", '"'),
    **dict.fromkeys("‘’′", '"'),
    **dict.fromkeys("−–—", "-"),
    **dict.fromkeys("\u00a0\u2007\u202f\u3000\u200b\ufeff", " "),
    "→": "->",
    "×": "*",
    "·": "*",
    "÷": "/",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "…": "..",
}
"""What word processors and papers write, and what it is here."""


def _strange_character(source: Source, at: int) -> Diagnostic:
    char = source.text[at]
    span = Span(source, at, at + 1)
    if char == "`":
        return Diagnostic("this name has no closing backtick on its line", span, "close it")
    if char == "'":
        return Diagnostic("texts are written in double quotes", span, "write `\"` instead of `'`")
    if char == ";":
        return Diagnostic("statements need no `;` between them", span, "remove it")
    shown = f"`{char}`" if char.isprintable() else f"the character U+{ord(char):04X}"
    if char.isalpha():
        return Diagnostic(
            f"{shown} cannot be part of a plain name",
            span,
            "plain names use a to z, A to Z, digits and _; others go in backticks",
        )
    if char in _LOOKALIKES:
        plain = "a plain space" if _LOOKALIKES[char] == " " else f"`{_LOOKALIKES[char]}`"
        return Diagnostic(f"{shown} has no meaning here", span, f"write {plain}")
    help = {
        "&": "write `and`",
        "|": "write `or`; to chain ops, `->`",
        "!": "write `not`, or `!=`",
        "=": "write `==` to compare",
        "@": "a matrix product is `linear`",
        ".": "numbers have digits on both sides of the point; a range is `0..8`",
    }.get(char)
    return Diagnostic(f"{shown} has no meaning here", span, help)
