"""Growth schedules: what is read, and what is found before training starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import growc
from growc.train.schedule import doable, parse_schedule, rehearse

DIGITS = "examples/digits.arch"


def test_steps_in_order() -> None:
    text = ' at 1_500:r2wider{variant=concat,\n at=["a.b","c*"]} ,r2deeper ;\nat 4500 : net2wider;'
    first, second = parse_schedule(text)
    assert (first.update, second.update) == (1500, 4500)
    assert [p.name for p in first.passes] == ["r2wider", "r2deeper"]
    assert second.pipeline == "net2wider"
    assert parse_schedule("  ") == ()


@given(
    st.lists(
        st.tuples(
            st.integers(1, 9),
            st.sampled_from(["r2wider", "r2deeper", "r2wider{filters=4, at=[x.*, y]}, cse"]),
        )
    )
)
def test_what_is_printed_is_read_back(parts: list[tuple[int, str]]) -> None:
    at, words = 0, []
    for gap, passes in parts:
        at += gap
        words.append(f"at {at}: {passes}")
    steps = parse_schedule("; ".join(words))
    assert len(steps) == len(parts)
    assert parse_schedule("; ".join(map(str, steps))) == steps


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("at 50 r2wider", "1:1", "no growth step starts here"),
        ("at 5: r2wider; 9: cse", "1:16", "no growth step starts here"),
        ("at 5: r2wder", "1:7", "no pass is called `r2wder`"),
        ("at 5: r2wider{filtrs=1}", "1:15", "has no option `filtrs`"),
        ("at 5: r2wider{", "1:15", "an option's name is missing here"),
        ("at 5: r2wider at 6: cse", "1:15", "a growth step ends with `;`"),
        ("at 5: r2wider;\n at 5: cse", "2:5", "the growth step at 5 comes twice"),
        ("at 5: r2wider; at 4: cse", "1:19", "the growth step at 4 is out of order"),
        ("at -5: r2wider", "1:1", "no growth step starts here"),
        ("at 5:", "1:6", "a pass's name is missing here"),
    ],
)
def test_mistakes_have_a_place(text: str, place: str, message: str) -> None:
    with pytest.raises(growc.GrowcError) as caught:
        parse_schedule(text)
    assert f"--grow:{place}: error: " in str(caught.value)
    assert message in str(caught.value)


def test_rehearsal_gives_the_networks_to_come() -> None:
    graph = growc.load(DIGITS)
    steps = parse_schedule("at 3: r2wider; at 7: r2deeper{at=block1}")
    wide, deep = rehearse(graph, steps, seed=0, updates=8)
    assert graph.parameter_count() < wide.parameter_count() < deep.parameter_count()
    assert not graph.weights  # the one given is left alone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("at 3: r2wider; at 8: r2deeper", "--grow:1:16: error: the run ends after 8 updates"),
        ("at 3: r2wider{at=block7}", "--grow:1:1: error: r2wider: no place of this network is"),
        ("at 3: r2wider; at 5: r2wider{at=b}", "is called `b`"),
    ],
)
def test_rehearsal_finds_what_would_fail(text: str, message: str) -> None:
    with pytest.raises(growc.GrowcError) as caught:
        rehearse(growc.load(DIGITS), parse_schedule(text), seed=0, updates=8)
    assert message in str(caught.value)


NET = """
net n {
    input image: f32[1, 8, 8]
    x = image -> flatten -> linear(16) -> relu
    y = x -> linear(16) -> relu
    output z = y -> linear(10)
}
"""


@pytest.mark.parametrize("grow", ["prune_dead", "merge_duplicates", "cse", "prune_dead{at=x*}"])
def test_nothing_to_do_with_the_weights_of_now(grow: str) -> None:
    """That is no mistake: training moves weights."""
    graph = growc.loads(NET)
    (after,) = rehearse(graph, parse_schedule(f"at 3: {grow}"), seed=0, updates=8)
    assert growc.dumps(after) == growc.dumps(graph)
    with pytest.raises(growc.GrowcError):
        growc.compile(graph, grow)


@pytest.mark.parametrize(
    ("grow", "message"),
    [
        ("prune_dead{at=nowhere}", "no place of this network is called `nowhere`"),
        ("r2deeper{at=nowhere}", "no place of this network is called `nowhere`"),
        ("fold_batch_norm", "this network has no batch norm"),
    ],
)
def test_what_weights_have_no_say_in_is_still_a_mistake(grow: str, message: str) -> None:
    with pytest.raises(growc.GrowcError, match=message):
        rehearse(growc.loads(NET), parse_schedule(f"at 3: {grow}"), seed=0, updates=8)


def test_where_a_pass_has_something_to_do_and_does_not_apply() -> None:
    text = NET.replace("relu\n    y", "relu -> dropout(0.5)\n    y").replace(
        "linear(16)", "linear(2)"
    )
    graph = growc.loads(text)
    growc.initialize(graph)
    first = next(node for node in graph if node.op.name == "linear")
    for role in ("weight", "bias"):
        key = first.parameter(role)
        graph.weights[key] = graph.weights[key][[0, 0]]
    steps = parse_schedule("at 3: merge_duplicates")
    with pytest.raises(growc.GrowcError, match="draw other masks"):
        rehearse(graph, steps, seed=0, updates=8)
    found = doable(graph, steps[0].passes, 0)
    assert found.passes == ()
    assert "draw other masks" in found.idle[0]


def test_one_place_with_nothing_to_do_keeps_no_pass_from_the_others() -> None:
    graph = growc.loads(NET)
    growc.initialize(graph)
    before = graph.parameter_count()
    layers = [node.name for node in graph if node.op.name == "linear"]
    weight = graph.node(layers[1]).parameter("weight")
    bias = graph.node(layers[1]).parameter("bias")
    graph.weights[weight] = graph.weights[weight][[0, *range(15)]]
    graph.weights[bias] = graph.weights[bias][[0, *range(15)]]
    (step,) = parse_schedule(f"at 3: merge_duplicates{{at=[{layers[0]}, {layers[1]}]}}")
    assert doable(graph, step.passes, 0).graph.parameter_count() < before
