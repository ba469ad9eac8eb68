"""The layer table, numbers with units, names, and differences between graphs."""

from __future__ import annotations

import numpy as np
import pytest

import growc
from growc.ir import Graph, initialize, names, ops
from growc.ir.summary import diff, rows, share, si

TEXT = """net n(width: int = 4) {
    input x: f32[4]
    a = x -> linear(width)
    b = a -> relu
    c = b -> linear(4) as last
    output y = c
}
"""


def graph(width: int = 4, text: str = TEXT) -> Graph:
    made = growc.loads(text, width=width)
    initialize(made)
    return made


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (9_994, "9.99k"),
        (9_996, "10.0k"),
        (99_940, "99.9k"),
        (99_960, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (1_926_400, "1.93M"),
        (5 * 10**9, "5.00G"),
        (10**21, "1000E"),
    ],
)
def test_three_digits_and_a_unit(number: int, text: str) -> None:
    assert si(number) == text


def test_rows_sum_up_and_count_shared_parameters_once() -> None:
    made = graph(text=TEXT.replace("linear(4) as", "linear(4) with (weight = a.weight) as"))
    table = rows(made)
    assert [r.name for r in table] == ["x", "a", "b", "last"]
    assert [r.parameters for r in table] == [0, 20, 0, 4]
    assert sum(r.parameters for r in table) == made.parameter_count()
    assert sum(r.macs for r in table) == made.macs() == 32


def test_rows_of_masked_layers() -> None:
    made = graph()
    alpha = np.eye(4, dtype=np.bool_)
    made.weights.put("a.weight", made.weights["a.weight"] * alpha, alpha)
    found = [(r.name, r.parameters, r.size, r.maskable) for r in rows(made)]
    assert found == [
        ("x", 0, 0, False),
        ("a", 8, 20, True),
        ("b", 0, 0, False),
        ("last", 20, 20, True),
    ]


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0 %"),
        (0, 7, "0 %"),
        (7, 7, "100 %"),
        (37, 100, "37 %"),
        (1, 200, "<1 %"),
        (3, 400, "1 %"),
        (199, 200, ">99 %"),
        (197, 200, "98 %"),
        (99_999_999, 100_000_000, ">99 %"),
        (1, 100_000_000, "<1 %"),
    ],
)
def test_only_nothing_is_0_and_only_the_whole_is_100_percent(
    part: int, whole: int, text: str
) -> None:
    assert share(part, whole) == text


def test_nothing_differs_from_itself_or_a_copy() -> None:
    made = graph()
    for other in (made, made.copy(), graph()):
        found = diff(made, other)
        assert found.is_empty
        assert found.parameters_same == 4


def test_what_widening_changed() -> None:
    before, after = graph(), graph(6)
    after.weights["a.weight"][:4] = before.weights["a.weight"]
    after.weights["a.bias"] = -after.weights["a.bias"]
    after.weights["last.bias"] = before.weights["last.bias"] + np.float32(0.5)
    found = diff(before, after)
    assert [(o.name, n.name) for o, n in found.changed] == [("a", "a"), ("b", "b")]
    changes = {c.name: c for c in found.parameters_changed}
    assert list(changes) == ["a.weight", "a.bias", "last.weight", "last.bias"]
    assert changes["a.weight"].keeps_corner
    assert changes["a.weight"].moved is None
    assert not changes["a.bias"].keeps_corner
    assert changes["last.bias"].moved == pytest.approx(0.5)
    assert not found.added
    assert not found.removed


def test_what_was_added_and_removed() -> None:
    before = graph()
    after = before.copy()
    after.add(ops.Linear(4), ["last"], "more")
    after.set_output("y", "more")
    after.set_output("z", "b")
    after.add_input("unused", before.node("x").type)
    initialize(after)
    found = diff(before, after)
    assert [n.name for n in found.added] == ["unused", "more"]
    assert found.parameters_added == ("more.weight", "more.bias")
    assert found.interface == (
        "input `unused` added",
        "output `z` added",
        "output `y` comes from `more`, not `last`",
    )
    back = diff(after, before)
    assert [n.name for n in back.removed] == ["unused", "more"]
    assert back.parameters_removed == ("more.weight", "more.bias")
    assert set(back.interface) == {
        "input `unused` removed",
        "output `z` removed",
        "output `y` comes from `last`, not `more`",
    }


def test_values_in_one_graph_only_and_numbers_that_are_none() -> None:
    before, after = graph(), graph()
    del after.weights["a.bias"]
    for made in (before, after):
        made.weights["last.bias"] = np.full(4, np.nan, np.float32)
    (change,) = diff(before, after).parameters_changed
    assert (change.name, change.moved) == ("a.bias", None)
    del before.weights["a.bias"]
    assert diff(before, after).is_empty


# ---- names


@pytest.mark.parametrize("name", ["a", "layer1.0.conv", "é", "a b", "/model/Conv_1", "x" * 500])
def test_valid_names(name: str) -> None:
    assert names.is_valid(name)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a. .b", "a`b", "a\nb", "x" * 501])
def test_names_that_are_not_valid(name: str) -> None:
    assert not names.is_valid(name)


def test_fresh_names() -> None:
    last: dict[str, int] = {}
    taken = {"a", "a_2", "a_4"}
    assert names.fresh("b", taken, last) == "b"
    assert names.fresh("a", taken, last) == "a_3"
    taken.add("a_3")
    assert names.fresh("a", taken, last) == "a_5"


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("stage2.*", "stage2.0.conv", True),
        ("stage2.*", "stage2", False),
        ("block[12]", "block2", True),
        ("block[12]", "block[12]", True),  # a name that looks like a pattern is itself
        ("Block*", "block1", False),
        ("a?", "ab", True),
    ],
)
def test_patterns(pattern: str, name: str, fits: bool) -> None:
    assert names.matcher([pattern])(name) is fits


def test_scopes() -> None:
    assert [names.scope_of(n) for n in ("a.b.c", "a")] == ["a.b", ""]
