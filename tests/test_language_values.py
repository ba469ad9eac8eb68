"""Arithmetic, lists, loops and conditions of the language, compared with Python's."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growc.grammar import loads
from growc.ir import GrowcError


def value_of(expression: str, *before: str) -> float:
    """The number that an expression of the language gives, exactly: it becomes an attribute."""
    lines = "\n".join([*before, f"output y = x -> scale(offset={expression})"])
    graph = loads(f"net n {{ input x: f32[3, 8, 6]\n{lines}\n}}")
    return graph.node("y").op.offset  # type: ignore[attr-defined, no-any-return]


def truth_of(expression: str) -> bool:
    return value_of("v", "v = 0", f"if {expression} {{ v = 1 }}") == 1


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 3 - 2", 2),
        ("8 / 4 / 2", 1),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("(-2) ** 2", 4),
        ("- - 3", 3),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 % 3", 1),
        ("-7 % 3", 2),
        ("7 / 2", 3.5),
        ("1_000 + 0.5", 1000.5),
        ("1e-5", 1e-5),
        ("2.5E+3", 2500),
        ("min(3, 1, 2)", 1),
        ("max([3, 1], 7)", 7),
        ("max(0..5)", 4),
        ("len([1, [2, 3]])", 2),
        ("len(3..10)", 7),
        ("len(10..3)", 0),
        ("len([])", 0),
        ("int(7 / 2)", 3),
        ("int(-3.5)", -3),
        ("shape(x)[0]", 3),
        ("shape(x)[-1]", 6),
        ("[1, 2, 3][1]", 2),
        ("[[1, 2], [3, 4]][1][0]", 3),
        ("(2..9)[3]", 5),
        ("(2..9)[-1]", 8),
        ("([1, 2] + (5..7))[3]", 6),
        ("(1 + 1..2 * 3)[0]", 2),
        ("len([1,] + [2, 3,])", 3),
    ],
)
def test_numbers(expression: str, expected: float) -> None:
    assert value_of(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 < 2", True),
        ("2 <= 1", False),
        ("1 == 1.0", True),
        ("1 != 2", True),
        ("not 1 == 2", True),
        ("not true", False),
        ("true and not false", True),
        ("false or true and false", False),
        ("(false or true) and true", True),
        ("true or 1 // 0 == 0", True),
        ("false and 1 // 0 == 0", False),
        ("1 + 1 == 2 and 2 > 1", True),
        ('"a" == "a"', True),
        ('"a" == 1', False),
        ("[1, 2] == [1, 2]", True),
        ("[1, 2] == (1..3)", True),
        ("(0..2) == (0..2)", True),
        ("[1] != [2]", True),
        (r'"\u00e9\"" == "é\""', True),
    ],
)
def test_truths(expression: str, expected: bool) -> None:
    assert truth_of(expression) is expected


SIGNS = ["+", "-", "*", "/", "//", "%", "**"]
COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]


NUMBERS = st.recursive(
    st.integers(0, 9).map(str) | st.sampled_from(["0.5", "2.25", "1e1"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(" + ".join),
        st.tuples(inner, st.sampled_from(SIGNS), inner).map(" ".join),
        inner.map("-{}".format),
        inner.map("({})".format),
        st.tuples(inner, inner).map(lambda p: f"max({p[0]}, {p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"[{p[0]}, {p[1]}][1]"),
    ),
    max_leaves=10,
).filter(lambda e: e.count("**") <= 2)
"""Expressions that our language and Python write alike."""

CONDITIONS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(COMPARISONS), NUMBERS).map(" ".join),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("not {}".format),
        inner.map("({})".format),
    ),
    max_leaves=4,
)


def in_python(expression: str) -> Any:
    """Python's value, or None where it has no real, finite one of a size that growc allows."""
    try:
        value = eval(expression, {"__builtins__": {}, "max": max})
    except (ZeroDivisionError, OverflowError):
        return None
    if isinstance(value, complex) or not math.isfinite(value) or abs(value) > 1e15:
        return None
    return value


SMALL = settings(deadline=None, max_examples=300)


REFUSALS = ("divides by zero", "larger than growc allows", "no finite real value")


def refused(error: GrowcError) -> bool:
    """Python's whole numbers are unlimited, and it lets infinities pass; growc refuses them."""
    return any(reason in str(error) for reason in REFUSALS)


@SMALL
@given(NUMBERS)
def test_expressions_equal_pythons(expression: str) -> None:
    expected = in_python(expression)
    try:
        value = value_of(expression)
    except GrowcError as error:
        if not refused(error) or (expected is not None and "larger than" not in str(error)):
            raise
    else:
        assert expected is None or value == expected


@SMALL
@given(CONDITIONS)
def test_conditions_equal_pythons(expression: str) -> None:
    expected = in_python(expression)
    try:
        value = truth_of(expression)
    except GrowcError as error:
        if not refused(error):
            raise
    else:
        assert expected is None or value is bool(expected)


def ops(body: str, **hyperparameters: Any) -> list[str]:
    graph = loads(f"net n(k: int = 2) {{ input x: f32[8]\n{body}\n}}", **hyperparameters)
    return [node.op.name for node in graph if node.name not in graph.inputs]


def test_repeat_runs_its_body_for_each_value() -> None:
    assert ops("repeat 3 { x = x -> relu }\noutput y = x") == ["relu"] * 3
    assert ops("repeat 0 { x = x -> relu }\noutput y = x -> tanh") == ["tanh"]
    assert ops("repeat 5..2 { x = x -> relu }\noutput y = x -> tanh") == ["tanh"]
    assert ops("repeat k { x = x -> relu }\noutput y = x", k=4) == ["relu"] * 4
    graph = loads(
        "net n { input x: f32[8] repeat w in [5, 3] { x = x -> linear(w) } output y = x }"
    )
    assert [node.type.shape for node in graph][1:] == [(5,), (3,)]


def test_the_loop_variable_keeps_its_last_value() -> None:
    assert value_of("i", "repeat i in 0..4 { }") == 3


def test_if_takes_one_branch() -> None:
    body = "if k == 1 { x = x -> relu } else if k == 2 { x = x -> tanh } else { x = x -> silu }"
    taken = [ops(body + "\noutput y = x", k=k) for k in (1, 2, 3)]
    assert taken == [["relu"], ["tanh"], ["silu"]]
    assert ops("if k == 7 { x = x -> relu }\noutput y = x -> elu") == ["elu"]


def test_return_ends_a_block_early() -> None:
    block = (
        "block b(x, n) { repeat i in 0..9 { if i == n { return x } x = x -> relu } return -x }\n"
    )
    text = block + "net n(k: int = 2) { input x: f32[8] output y = b(x, k) -> tanh }"
    assert len(loads(text)) == 4
    assert len(loads(text, k=5)) == 7
    assert len(loads(text, k=50)) == 12


def test_several_values_are_returned_and_taken_apart() -> None:
    block = "block b(x) { return x -> relu, 5, x -> tanh }\n"
    text = block + "net n { input x: f32[8] a, k, c = b(x) output y = concat(a, c) -> linear(k) }"
    assert loads(text).node("y.linear").type.shape == (5,)
    assert value_of("b - a", "a, b = 4..6", "b, a = [a, b]") == -1


def test_blocks_see_their_parameters_only() -> None:
    block = "block b(x, k: int = 3, m = k + 1) { return x -> linear(m) }\n"
    net = (
        "net n { input x: f32[8] k = 9 output y = x -> b output z = b(x, m=7) output w = b(x, 5) }"
    )
    graph = loads(block + net)
    assert [graph.node(n).type.shape for n in graph.outputs.values()] == [(4,), (7,), (6,)]


def test_float_parameters_turn_whole_numbers_into_floats() -> None:
    body = "output y = x -> linear(4, bias=p == 1) -> dropout(p - 1)"
    text = f"net n(p: float = 1) {{ input x: f32[8] {body} }}"
    assert loads(text).node("y.dropout").op.p == 0.0  # type: ignore[attr-defined]
