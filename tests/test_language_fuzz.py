"""Whatever the text, growc answers with a network or with diagnostics, and soon."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from growc.grammar import decode, dumps, load_source, loads
from growc.ir import Diagnostic, GrowcError, Source, check_invariants

VALID = [
    """
    block residual(x, channels: int, kernel: int = 3) {
        y = x -> conv2d(channels, kernel, bias=false) -> batch_norm -> relu as act[1]
              -> conv2d(channels, kernel, bias=false) -> batch_norm
        if channels == shape(x)[0] { return relu(x + y), channels }
        return y -> relu, channels
    }
    net resnet(width: int = 4, depth: int = 2, classes: int = 10) {
        input image: f32[3, 8, 8]  # the batch is implicit
        x = image -> conv2d(width) -> batch_norm -> relu
        repeat i in 0..depth {
            x, c = residual(x, width * 2**i)
        }
        output logits = x -> flatten -> linear(16) -> (relu) -> linear(classes)
    }
    """,
    """
    net tied(sizes: list[int] = [8, 4], flag: bool = true, name: str = "a") {
        input a: f32[4]
        input b: f32[4]
        u = a -> linear(sizes[0], bias=not false)
        `v 1` = b -> linear(sizes[0]) with (weight = u.weight, bias = u.bias)
        if flag and max(sizes) >= 4 or false { u = 2 * u - `v 1` / 4 + 1 } else if flag { u = -u }
        else { u = u * u }
        output y = concat(u, `v 1`, axis=0)
        output z = u -> slice(1, stop=3, step=2) as `odd name`
    }
    """,
]


def check(text: str) -> None:
    """Load a text; what comes back is a sound graph, or diagnostics that render."""
    source = Source("text", text)
    try:
        loaded = load_source(source, Path("/nowhere"))
    except GrowcError as error:
        found = list(error.diagnostics)
        assert found
        assert all(d.severity == "error" for d in found)
    else:
        found = loaded.warnings
        if loaded.graph is not None:
            check_invariants(loaded.graph)
            assert loads(dumps(loaded.graph)) == loaded.graph
    for diagnostic in found:
        check_diagnostic(diagnostic, text)


def check_diagnostic(diagnostic: Diagnostic, text: str) -> None:
    spans = [diagnostic.span, *(span for _, span in diagnostic.notes)]
    for span in spans:
        if span is not None:
            assert 0 <= span.start <= span.end <= max(1, len(text))
    rendered = diagnostic.render()
    assert all(line.isprintable() for line in rendered.split("\n"))
    assert len(rendered) < 20_000
    diagnostic.as_json()


PUNCTUATION = "-> + - * / // % ** == != < <= > >= .. = , : ( ) [ ] { } ( ) { }".split()
WORDS = (
    "use block net input output weights sha256 return repeat in if else as with and or not true "
    "false x y z a.b f32 int list tensor min max len shape relu conv2d linear flatten concat add"
).split()
OTHERS = [
    "1",
    "0",
    "2.5",
    "1e400",
    "3px",
    '"t"',
    '"',
    "`a b`",
    "`",
    "#",
    "\n",
    "\t",
    "'",
    "é",
    "\0",
]
TOKENS = st.sampled_from([*PUNCTUATION, *WORDS, *OTHERS])

LIMITS = settings(deadline=None, max_examples=300)


@LIMITS
@given(st.binary(max_size=200))
def test_random_bytes(content: bytes) -> None:
    try:
        text = decode("text", content).text
    except GrowcError as error:
        check_diagnostic(error.diagnostics[0], content.decode(errors="replace"))
    else:
        check(text)


@LIMITS
@given(st.text(max_size=80))
def test_random_text(text: str) -> None:
    check(text)


@LIMITS
@given(st.lists(TOKENS, max_size=40))
@example([">", "-"])  # no `->` before the text begins
def test_random_tokens(tokens: list[str]) -> None:
    check(" ".join(tokens))


@LIMITS
@given(st.lists(TOKENS, max_size=25))
def test_random_statements(tokens: list[str]) -> None:
    check("net n {\n input x: f32[3, 8, 8]\n y = x\n" + " ".join(tokens) + "\n output o = y\n}")


WORD = re.compile(r'"[^"\n]*"|`[^`\n]*`|\w+|->|\*\*|\.\.|\s+|.', re.DOTALL)
SPLITTERS = [WORD, re.compile(r".*\n?"), re.compile(r".", re.DOTALL)]


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """A valid text after a few deletions, doublings, swaps and insertions."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        pieces = draw(st.sampled_from(SPLITTERS)).findall(text)
        if not pieces:
            break
        at = draw(st.integers(0, len(pieces) - 1))
        other = draw(st.integers(0, len(pieces) - 1))
        match draw(st.sampled_from(["delete", "double", "swap", "insert", "move"])):
            case "delete":
                del pieces[at]
            case "double":
                pieces.insert(at, pieces[at])
            case "swap":
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case "insert":
                pieces.insert(at, draw(TOKENS))
            case _:
                pieces.insert(other, pieces.pop(at))
        text = "".join(pieces)
    return text


@settings(deadline=None, max_examples=500)
@given(mutants())
def test_mutants_of_valid_texts(text: str) -> None:
    check(text)


@pytest.mark.parametrize("text", VALID)
def test_the_originals_are_valid(text: str) -> None:
    assert len(loads(text)) > 5


def net(*statements: str) -> str:
    return "\n".join(["net n {", "input x: f32[8]", *statements, "output y = x", "}"])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(net("a = 2**2**2**2**2**2"), id="power tower"),
        pytest.param(net("a = 10**18 ** 10**18"), id="huge power"),
        pytest.param(net("a = 1.5**1e300"), id="huge float power"),
        pytest.param(net("a = [1]", "repeat 100 { a = a + a }"), id="list that doubles"),
        pytest.param(net("a = [1]", "repeat 60 { a = [a, a] }", "b = a == a"), id="list of lists"),
        pytest.param(net("a = [x]", "repeat 16 { a = [a, a] }", "b = relu(a)"), id="tensor lists"),
        pytest.param(net("a = [1] + 0..99999", "repeat 99999 { a = a + [] }"), id="long lists"),
        pytest.param(net("a = min(0..2**31)"), id="huge range"),
        pytest.param(net("a = " + " ".join(["1 +"] * 10_000) + " 1"), id="long sum"),
        pytest.param(net("a = x" + " + x" * 10_000), id="long tensor sum"),
        pytest.param(net("a = " + "1 +" * 10_000 + "1", "b = a"), id="long sum, no spaces"),
        pytest.param(
            net("repeat 100000 { a = " + " + ".join(["1"] * 10_000) + " }"), id="long sum in a loop"
        ),
        pytest.param(net("a = x" + " -> relu" * 10_000), id="long pipe"),
        pytest.param(net("a = " + "-" * 10_000 + "1"), id="signs"),
        pytest.param(net("a = " + "not " * 10_000 + "true"), id="nots"),
        pytest.param(net("a = " + "(" * 60 + "x" + ")" * 60 + " -> relu"), id="60 brackets"),
        pytest.param("(" * 100_000, id="open brackets"),
        pytest.param(net("a = " + "[" * 10_000 + "]" * 10_000), id="many brackets"),
        pytest.param(net("a = [1]" + "[0]" * 10_000), id="indices"),
        pytest.param(net("a = x -> relu" + " as a" * 10_000), id="names of names"),
        pytest.param(
            net("if false { } " + "else if false { } " * 10_000 + "else { }"), id="else if"
        ),
        pytest.param(net("repeat 300 { repeat 300 { repeat 300 { } } }"), id="empty loops"),
        pytest.param(net("repeat 100000 { repeat 100000 { a = 1 } }"), id="long loops"),
        pytest.param(net("repeat 2000 { x = x -> relu }"), id="long net"),
        pytest.param(net(*(f"a{i} = x -> relu" for i in range(3000))), id="many nodes"),
        pytest.param("a" * 1_000_000, id="one name"),
        pytest.param("1" * 1_000_000, id="one number"),
        pytest.param(net("a = " + "1" * 1_000_000), id="one number in a net"),
        pytest.param(net("a = " + "a" * 1_000_000), id="one name in a net"),
        pytest.param(net("a = " + "a." * 500_000 + "a"), id="one dotted name"),
        pytest.param(net('a = "' + "b" * 1_000_000 + '"'), id="one text"),
        pytest.param(net('a = "' + r"\"" * 500_000), id="one open text"),
        pytest.param('"' * 300_000, id="quotes"),
        pytest.param("`" * 300_000, id="backticks"),
        pytest.param("#" * 1_000_000, id="one comment"),
        pytest.param("# a\n" * 100_000, id="comments"),
        pytest.param(" " * 1_000_000, id="spaces"),
        pytest.param("\n" * 1_000_000, id="lines"),
        pytest.param(net("a,\n" * 20_000), id="names on lines"),
        pytest.param(net(", ".join(["a"] * 50_000) + " = 1"), id="many targets"),
        pytest.param(net("=" * 100_000), id="equals signs"),
        pytest.param("{}" * 10_000, id="bodies"),
        pytest.param("net a {" * 50, id="nets in nets"),
        pytest.param("block b(x) { return x }\n" * 5_000, id="many equal blocks"),
        pytest.param(net("a = relu(" + "x, " * 20_000 + ")"), id="many operands"),
        pytest.param(
            net("a = x -> linear(3)", "b = add(a, " + "x, " * 5_000 + ")"), id="wrong operands"
        ),
        pytest.param(net("a = concat(" + "x, " * 20_000 + ")"), id="wide concatenation"),
        pytest.param(
            "".join(f"block b{i}(x) {{ y = b{i + 1}(x) return b{i + 1}(y) }}\n" for i in range(30))
            + "block b30(x) { return x -> relu }\n"
            + net("x = b0(x)"),
            id="blocks that double",
        ),
        pytest.param(
            "".join(f"block b{i}(x) {{ y = b{i + 1}(x) return b{i + 1}(y) }}\n" for i in range(30))
            + "block b30(x) { return x }\n"
            + net("x = b0(x)"),
            id="blocks that double nothing",
        ),
    ],
)
def test_nothing_blows_up(text: str) -> None:
    """Without the limits, each of these takes hours or all memory: that it ends is the test."""
    source = Source("text", text)
    try:
        load_source(source, Path("/nowhere"))
    except GrowcError as error:
        for diagnostic in error.diagnostics:
            check_diagnostic(diagnostic, text)
