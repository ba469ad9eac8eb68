"""``growc fmt``: one canonical text for one syntax tree and its comments."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import growc.grammar.syntax as s
from growc.grammar import dumps, loads
from growc.grammar.formatter import format_source
from growc.grammar.parser import parse
from growc.ir.diagnostics import GrowcError, Source

GOLDEN = sorted((Path(__file__).parent / "golden" / "format").glob("*.txt"))
SEPARATOR = "==== formatted ====\n"
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").rglob("*.arch"))


def formatted(text: str) -> str:
    return format_source(Source("test.arch", text))


def parsed(text: str) -> s.File:
    return parse(Source("test.arch", text))


def shape(tree: object) -> list[object]:
    """The tree without places, as a flat list: a deep tree must not overflow the stack."""
    flat: list[object] = []
    todo = [tree]
    while todo:
        part = todo.pop()
        if isinstance(part, s.Comment):
            continue
        if dataclasses.is_dataclass(part):
            flat.append(type(part).__name__)
            names = [f.name for f in dataclasses.fields(part)]
            todo += [getattr(part, name) for name in names if name not in ("start", "end")]
        elif isinstance(part, (list, tuple)):
            flat.append(sum(not isinstance(p, s.Comment) for p in part))
            todo += part
        else:
            flat.append(repr(part))
    return flat


def comments(text: str) -> list[str]:
    """The comments with the one change that formatting makes to them."""
    return [re.sub(r"^#(?=[^\s!#])", "# ", c.text) for c in parsed(text).comments]


# ---- examples


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden(path: Path) -> None:
    source, _, expected = path.read_text(encoding="utf-8").partition(SEPARATOR)
    result = formatted(source)
    if os.environ.get("GROWC_UPDATE_GOLDEN") == "1":
        path.write_text(source + SEPARATOR + result, encoding="utf-8")
        return
    assert result == expected
    assert formatted(result) == result


def test_there_are_golden_cases() -> None:
    assert len(GOLDEN) >= 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_of_the_project_keep_their_meaning(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert shape(parsed(formatted(text))) == shape(parsed(text))
    assert comments(formatted(text)) == comments(text)


def test_printed_graphs_are_canonical() -> None:
    graph = loads(
        """net odd {
            input `input`: f32[3, 8, 8]
            x = `input` -> conv2d(4, 3, padding=1, bias=false) as `layer 1` -> relu as layer1.0
            y = `input` -> conv2d(4, 3, padding=1, bias=false) with (weight = `layer 1.weight`)
            z = -x * 0.5 + y - x * y
            output logits = concat(z, x) -> flatten -> linear(10)
        }"""
    )
    for weights in (None, ("odd.safetensors", "ab" * 32)):
        assert formatted(dumps(graph, weights=weights)) == dumps(graph, weights=weights)


def test_what_does_not_parse_is_a_diagnostic() -> None:
    with pytest.raises(GrowcError, match=r"test\.arch:2:"):
        formatted("net n {\n    x = conv2d(\n}\n")


@pytest.mark.parametrize(("text", "expected"), [("", ""), ("\n\n", ""), (" #a\r\n", "# a\n")])
def test_files_without_code(text: str, expected: str) -> None:
    assert formatted(text) == expected


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("#x", "# x"),
        ("#", "#"),
        ("#  x  ", "#  x"),
        ("#\tx", "#\tx"),
        ("#!x", "#!x"),
        ("####", "####"),
        ("#-- x --", "# -- x --"),
    ],
)
def test_the_sign_of_a_comment_is_followed_by_a_blank(comment: str, expected: str) -> None:
    assert formatted(f"net n {{\n{comment}\n}}") == f"net n {{\n    {expected}\n}}\n"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("((a))", "a"),
        ("(a + b) + c", "(a + b) + c"),
        ("(a * b) + c", "a * b + c"),
        ("a - (b - c)", "a - (b - c)"),
        ("a->(b->c)", "a -> (b -> c)"),
        ("(a+b)->c", "a + b -> c"),
        ("(2 ** 3) ** (4 ** 5)", "(2**3)**4**5"),
        ("2 ** (- a)", "2**-a"),
        ("(- 2) ** a", "(-2)**a"),
        ("- (- a)", "--a"),
        ("-(a[0])", "-a[0]"),
        ("(-a)[0]", "(-a)[0]"),
        ("not (a == b)", "not a == b"),
        ("(not a) == b", "(not a) == b"),
        ("a == (not b)", "a == not b"),
        ("a * (not b) + c", "a * (not b) + c"),
        ("a + (not b) + c", "a + (not b) + c"),
        ("(a * not b) and c", "a * not b and c"),
        ("-(not a) + b", "-(not a) + b"),
        ("0 .. (n - 1)", "0..n - 1"),
        ("(a..b)..c", "(a..b)..c"),
        ("(x as y)[0]", "(x as y)[0]"),
        ("x as y [0]", "x as y[0]"),
        ("(x as y) as z", "x as y as z"),
        ("(a + b) as c", "(a + b) as c"),
        ("a + (b as c)", "a + b as c"),
        ("(x -> f) with (a = b)", "(x -> f) with (a = b)"),
        ("1_000 + 1e-5 + `a` + `input` + input", "1_000 + 1e-5 + a + `input` + `input`"),
        ('f ( "a # b" , k = [ 1 , ] , )', 'f("a # b", k=[1])'),
    ],
)
def test_one_line_expressions(written: str, expected: str) -> None:
    text = formatted(f"net n {{ y = {written} }}")
    assert text == f"net n {{\n    y = {expected}\n}}\n"
    assert shape(parsed(text)) == shape(parsed(f"net n {{ y = {written} }}"))


# ---- long and deep

LARGE = {
    "sum": "y = " + " + ".join(["a"] * 10_000),
    "chain": "y = x" + " -> relu" * 10_000,
    "chain with comments": "y = x" + " -> relu # a\n" * 3_000,
    "list": "y = [" + "1, # c\n" * 3_000 + "]",
    "targets": ", ".join(["a"] * 3_000) + " = x",
    "prefixes": "y = " + ("-" * 50 + "(a + ") * 58 + "b" + ")" * 58,
    "indices": "y = x" + "[0]" * 50,
    "branches": "if a {}" + " else if b {}" * 50,
    "bodies": "if a {" * 59 + "}" * 59,
    "comments before a bracket": "y = ((((x " + "# c\n" * 3_000 + "))))",
    "comments after brackets": "y = " + "(" * 50 + "a + b" + "# c\n) * c" * 50,
}


@pytest.mark.parametrize("name", LARGE)
def test_long_and_deep_text(name: str) -> None:
    text = f"net n {{ {LARGE[name]} }}"
    result = formatted(text)
    assert shape(parsed(result)) == shape(parsed(text))
    assert formatted(result) == result


def test_time_is_linear() -> None:
    statement = "    x = x -> conv2d(16, kernel=3, # in\n bias=false) -> relu # out\n# above\n\n"

    def seconds(count: int) -> float:
        text = "net n {\n" + statement * count + "}\n"
        start = time.process_time()
        formatted(text)
        return time.process_time() - start

    # 8 times the text; were the time quadratic, it would take 64 times as long.
    assert seconds(3_200) < 24 * min(seconds(400) for _ in range(3))


# ---- any text


class Author:
    """Writes random but correct text, as words. ``BETWEEN`` stands between statements."""

    BETWEEN = ""
    NAMES = ("a", "x2", "layer1.0.conv", "`a`", "`odd name`", "`input`", "`x#y`", "long" * 8)
    BARE_WORDS = ("input", "net", "in", "as")
    NUMBERS = ("0", "16", "1_000", "0.5", "1e-5", "2.5E+3", "true", "false")
    STRINGS = ('""', '"a # b"', r'"say \"hi\" {"', '"é"')
    OPERATORS = "-> -> -> ** // == != < <= > >= .. * / % + + - and or".split()

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def one(self, *choices: str) -> str:
        return self.chance.choice(choices)

    def some(self, least: int, most: int) -> range:
        return range(self.chance.randint(least, most))

    def maybe(self, *words: str) -> list[str]:
        return list(words) if self.chance.random() < 0.4 else []

    def listed(self, items: list[list[str]]) -> list[str]:
        words = [word for item in items for word in [*item, ","]]
        return words if self.maybe("trailing comma") else words[:-1]

    # ---- expressions

    def atom(self) -> list[str]:
        return [self.one(*self.NAMES, *self.NUMBERS, *self.STRINGS)]

    def expr(self, depth: int) -> list[str]:
        if depth == 0:
            return self.atom()
        kinds = [self.chain, self.chain, self.group, self.prefixed, self.call, self.suffixed]
        return self.chance.choice([*kinds, self.list_of, lambda _: self.atom()])(depth - 1)

    def chain(self, depth: int) -> list[str]:
        words = self.expr(depth)
        for _ in self.some(1, 3):
            words += [self.one(*self.OPERATORS), *self.expr(depth)]
        return words

    def group(self, depth: int) -> list[str]:
        return ["(", *self.expr(depth), ")"]

    def prefixed(self, depth: int) -> list[str]:
        return [self.one("-", "not"), *self.expr(depth)]

    def list_of(self, depth: int) -> list[str]:
        return ["[", *self.listed([self.expr(depth) for _ in self.some(0, 3)]), "]"]

    def call(self, depth: int) -> list[str]:
        items = [[*self.maybe("kernel", "="), *self.expr(depth)] for _ in self.some(0, 3)]
        return [self.one("conv2d", "`odd op`", "concat"), "(", *self.listed(items), ")"]

    def suffixed(self, depth: int) -> list[str]:
        words = self.chance.choice([self.group, self.call])(depth)
        for _ in self.some(1, 3):
            kind = self.one("index", "as", "with")
            if kind == "index":
                words += ["[", *self.expr(depth), "]"]
            elif kind == "as":
                words += ["as", self.one(*self.NAMES)]
            else:
                bindings = [[self.one("weight", "bias"), "=", "c"] for _ in self.some(1, 2)]
                words += ["with", "(", *self.listed(bindings), ")"]
        return words

    # ---- statements

    def bind(self, depth: int) -> list[str]:
        more = [word for _ in self.some(0, 1) for word in (",", self.one(*self.NAMES))]
        piped = self.maybe(self.one(*self.BARE_WORDS), "->")
        return [self.one(*self.NAMES), *more, "=", *piped, *self.expr(3)]

    def input(self, depth: int) -> list[str]:
        shape = self.listed([self.expr(1) for _ in self.some(0, 3)])
        return ["input", self.one("x", "input"), ":", "f32", "[", *shape, "]"]

    def output(self, depth: int) -> list[str]:
        return ["output", "y", *self.maybe("=", *self.expr(2))]

    def weights(self, depth: int) -> list[str]:
        return ["weights", '"f"', *self.maybe("sha256", '"ab"')]

    def repeat(self, depth: int) -> list[str]:
        return ["repeat", *self.maybe("i", "in"), *self.expr(1), *self.body(depth - 1)]

    def branches(self, depth: int) -> list[str]:
        words = ["if", *self.expr(2), *self.body(depth - 1)]
        for _ in self.some(0, 2):
            words += ["else", "if", *self.expr(1), *self.body(depth - 1)]
        return [*words, *self.maybe("else", *self.body(depth - 1))]

    def body(self, depth: int) -> list[str]:
        kinds = [self.bind, self.bind, self.input, self.output, self.weights]
        if depth > 0:
            kinds += [self.repeat, self.branches, self.branches]
        words = ["{", self.BETWEEN]
        for _ in self.some(0, 3):
            words += [*self.chance.choice(kinds)(depth), self.BETWEEN]
        returned = [self.atom(), ["(", *self.expr(2), ")"], self.atom()]
        words += self.maybe("return", *self.listed(returned), self.BETWEEN)
        return [*words, "}"]

    def parameter(self) -> list[str]:
        kind = self.maybe(":", "int") or self.maybe(":", "list", "[", "int", "]")
        return [self.one("a", "width", "`odd name`"), *kind, *self.maybe("=", *self.expr(1))]

    def item(self) -> list[str]:
        kind = self.one("use", "block", "net", "net")
        if kind == "use":
            return ["use", '"f.arch"']
        parameters = ["(", *self.listed([self.parameter() for _ in self.some(0, 3)]), ")"]
        shown = parameters if kind == "block" else self.maybe(*parameters)
        return [kind, self.one("resnet", "net"), *shown, *self.body(2)]

    def file(self) -> list[str]:
        words = [self.BETWEEN]
        for _ in self.some(0, 3):
            words += [*self.item(), self.BETWEEN]
        return words

    # ---- white space and comments

    def text(self, words: list[str], remarks: float) -> str:
        """The words with random space between them, ``remarks`` of the gaps with a comment."""
        parts: list[str] = []
        touching = False  # whether the last word could not be told from one right behind it
        for number, word in enumerate(words):
            between = "between " if word == self.BETWEEN else ""
            for _ in self.some(1, 3) if self.chance.random() < remarks else ():
                sign = self.one("#", "# ", "##", "#!", "#\t")
                space = self.one(" ", "", "\n", "\n  ", "\n\n", "\r\n\n\n")
                parts.append(f"{space}{sign}{between}{number}{self.one('', ' ')}\n")
                touching = False
            touches = touching and bool(re.match(r'[\w`"]', word))
            parts += [self.one(" ", "\n", "  ", "\n \n\n") if touches else self.space(), word]
            touching = bool(re.search(r'[\w`"]$', word)) or (touching and not word and touches)
            if word == self.BETWEEN:
                parts.append(self.one(" ", "\n", "\n\n"))
                touching = False
        return "".join(parts)

    def space(self) -> str:
        return self.one("", "", " ", " ", " ", "\n", "\t", "\n\n  ", "\r\n")


# hypothesis's own `randoms` shrink, but drawing each word from them takes ten times as long as all
# that is tested here.
chances = st.integers(0, 2**32).map(random.Random)
authors = chances.map(Author)
any_text = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def texts(remarks: float) -> st.SearchStrategy[str]:
    return authors.map(lambda author: author.text(author.file(), remarks))


@any_text
@given(texts(0.15))
def test_formatting_again_changes_nothing(text: str) -> None:
    once = formatted(text)
    assert formatted(once) == once


@any_text
@given(texts(0.15))
def test_the_tree_stays(text: str) -> None:
    assert shape(parsed(formatted(text))) == shape(parsed(text))


@any_text
@given(texts(0.3))
def test_every_comment_stays_in_order(text: str) -> None:
    assert comments(formatted(text)) == comments(text)


@any_text
@given(texts(0.3))
def test_comments_between_statements_stay_between_them(text: str) -> None:
    assert neighbours(formatted(text)) == neighbours(text)


def neighbours(text: str) -> list[tuple[int, int]]:
    """For each comment between statements: how many begin before it, how many bodies are open."""
    tree = parsed(text)
    starts: list[int] = []
    bodies: list[s.Body] = []
    todo: list[object] = [*tree.items]
    while todo:
        piece = todo.pop()
        if isinstance(piece, s.Body):
            bodies.append(piece)
            todo += piece.statements
        elif isinstance(piece, s.Piece):
            starts.append(piece.start)
            todo += [getattr(piece, "body", None), getattr(piece, "otherwise", None)]
    return [
        (
            sum(start < c.start for start in starts),
            sum(b.start < c.start < b.end for b in bodies),
        )
        for c in tree.comments
        if "between" in c.text
    ]


@any_text
@given(authors)
def test_the_layout_of_the_source_does_not_matter(author: Author) -> None:
    words = author.file()
    one, other = (without_blank_lines(formatted(author.text(words, 0))) for _ in range(2))
    assert one == other


def without_blank_lines(text: str) -> str:
    return re.sub(r"\n+", "\n", text)


@any_text
@given(texts(0.15))
def test_lines_are_tidy(text: str) -> None:
    result = formatted(text)
    assert result == "" or result.endswith("\n")
    assert not re.search(r"[ \t\r]\n|\n\n\n|\A\n|\n\n\Z|\{\n\n|\n\n *\}", result)
    for line in result.splitlines():
        assert (len(line) - len(line.lstrip())) % 4 == 0


@settings(any_text, max_examples=500)
@given(authors)
def test_parentheses_are_those_that_the_tree_needs(author: Author) -> None:
    written = author.text(["net", "n", "{", "y", "=", *author.expr(3), "}"], 0)
    text = formatted(written)
    meaning = shape(parsed(text))
    assert meaning == shape(parsed(written))
    for first, last in parentheses(text):
        fewer = f"{text[:first]} {text[first + 1 : last]} {text[last + 1 :]}"
        with contextlib.suppress(GrowcError):
            assert shape(parsed(fewer)) != meaning


def parentheses(text: str) -> list[tuple[int, int]]:
    """Pairs of parentheses that group: not those of calls and of `with`."""
    found: list[tuple[int, int]] = []
    opened: list[tuple[int, bool]] = []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|`[^`]*`|[()]', text):
        if match.group() == "(":
            groups = not re.search(r"([\w`]|\bwith )$", text[: match.start()])
            groups = groups or bool(re.search(r"\bnot $", text[: match.start()]))
            opened.append((match.start(), groups))
        elif match.group() == ")":
            first, groups = opened.pop()
            if groups:
                found.append((first, match.start()))
    return found


@any_text
@given(texts(0.1), chances)
def test_damaged_text_is_formatted_or_explained(text: str, chance: random.Random) -> None:
    at = chance.randrange(len(text) + 1)
    damaged = text[:at] + chance.choice('()[]{},=#`" \n') + text[at + chance.randrange(2) :]
    try:
        tree = parsed(damaged)
    except GrowcError:
        with pytest.raises(GrowcError):
            formatted(damaged)
        return
    result = formatted(damaged)
    assert shape(parsed(result)) == shape(tree)
    assert comments(result) == comments(damaged)
    assert formatted(result) == result
