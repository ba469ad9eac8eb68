"""What the nodes of a network are called, and how parameters are shared by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from growc.grammar import dumps, load_source, loads
from growc.ir import Source

BLOCKS = """
block unit(x, n: int = 4) {
    h = x -> linear(n) -> relu
    return h -> tanh
}
block pair(x) {
    a = unit(x)
    return unit(a)
}
block inline(x) { return x -> linear(2) -> relu }
block same(x) { return x }
block two(x) { return x -> relu, x -> tanh }
"""


def names(body: str) -> str:
    graph = loads(f"{BLOCKS} net n {{ input x: f32[8]\n{body}\n}}")
    return " ".join(sorted(node.name for node in graph if node.name not in graph.inputs))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # one node takes the name of its binding; several lie in it
        ("y = x -> relu output y", "y"),
        ("y = x -> relu -> tanh output y", "y.relu y.tanh"),
        ("y = x -> relu -> relu output y", "y.relu y.relu_2"),
        ("output y = x -> relu", "y"),
        ("output y = x -> linear(2) -> relu", "y.linear y.relu"),
        ("output y = x + x", "y"),
        ("output y = x + x -> relu", "y.add y.relu"),
        ("output y = (x -> relu) + (x -> relu)", "y.add y.relu y.relu_2"),
        ("output y = 2 * x + 1", "y.scale y.scale_2"),
        ("output y = -x", "y"),
        # a name that is bound again names nothing
        ("h = x -> relu h = h -> tanh output y = h", "relu tanh"),
        ("x = x -> relu output y = x", "relu"),
        ("repeat 2 { x = x -> relu } output y = x", "relu relu_2"),
        ("repeat 2 { h = x -> relu } output y = h + x", "h h_2 y"),
        ("if true { h = x -> relu } else { h = x -> tanh } output y = h", "h"),
        ("a, b = [x -> relu, x -> tanh] output y = a + b", "relu tanh y"),
        # `as` decides
        ("output y = x -> relu as r -> tanh", "r y"),
        ("output y = x -> relu as r", "r"),
        ("repeat i in 0..2 { x = x -> relu as r[i] } output y = x", "r.0 r.1"),
        ('repeat i in ["a", "b"] { x = x -> relu as r[i][1] } output y = x', "r.a.1 r.b.1"),
        ("output y = (x + x) as total", "total"),
        ("output y = x -> relu as `odd name`", "odd name"),
        ("output y = x -> relu as a.b.0", "a.b.0"),
        ("a.b = x -> relu output y = a.b", "a.b"),
        # blocks
        ("s = unit(x) output y = s", "s.h.linear s.h.relu s.tanh"),
        ("output y = unit(x)", "y.h.linear y.h.relu y.tanh"),
        ("output y = x -> inline", "y.linear y.relu"),
        ("s = unit(x) -> relu output y = s", "s.relu s.unit.h.linear s.unit.h.relu s.unit.tanh"),
        ("repeat 2 { x = x -> same -> inline } output y = x",
         "inline.linear inline.relu inline_2.linear inline_2.relu"),
        ("output y = x -> inline as block1", "block1.linear block1.relu"),
        ("repeat i in 0..2 { x = inline(x) as stage[i] } output y = x",
         "stage.0.linear stage.0.relu stage.1.linear stage.1.relu"),
        ("p = pair(x) output y = p",
         "p.a.h.linear p.a.h.relu p.a.tanh p.unit.h.linear p.unit.h.relu p.unit.tanh"),
        ("a, b = two(x) output y = a + b", "two.relu two.tanh y"),
        # a name that is taken already gets a number
        ("relu = x -> tanh x = x -> relu output y = x + relu", "relu relu_2 y"),
        ("y = x -> relu output y = y -> relu", "y y_2"),
        ("y = x -> relu output z = y", "y"),
    ],
)  # fmt: skip
def test_names_of_nodes(body: str, expected: str) -> None:
    assert names(body) == expected


def test_outputs_have_names_of_their_own() -> None:
    graph = loads("net n { input x: f32[8] h = x -> relu output a = h output b = h output h }")
    assert dict(graph.outputs) == {"a": "h", "b": "h", "h": "h"}


def test_an_input_can_be_an_output() -> None:
    graph = loads("net n { input x: f32[8] output x output y = x }")
    assert dict(graph.outputs) == {"x": "x", "y": "x"}


TIED = """
block tied(x) {{
    a = x -> linear(8)
    return a -> linear(8) with (weight = {})
}}
net n {{ input x: f32[8] p = tied(x) output q = tied(p) }}
"""


def test_shared_parameters_exist_once() -> None:
    graph = loads(
        "net n { input x: f32[8] a = x -> linear(8)"
        " output b = a -> linear(8) with (weight = a.weight, bias = a.bias) }"
    )
    assert list(graph.parameters()) == ["a.weight", "a.bias"]
    assert graph.parameter_count() == 72


def test_blocks_share_within_their_instance() -> None:
    graph = loads(TIED.format("a.weight"))
    assert "p.linear.weight" not in graph.parameters()
    assert graph.node("p.linear").shared == {"weight": "p.a.weight"}
    assert graph.node("q.linear").shared == {"weight": "q.a.weight"}


def test_blocks_share_with_the_net_by_full_name() -> None:
    graph = loads(TIED.format("p.a.weight"))
    assert graph.node("q.linear").shared == {"weight": "p.a.weight"}


def test_a_parameter_shared_with_nobody_is_pointed_out() -> None:
    text = "net n { input x: f32[8] output y = x -> linear(8) with (weight = z.weight) }"
    loaded = load_source(Source("t", text), Path())
    assert [w.message for w in loaded.warnings] == ["no other node has the parameter `z.weight`"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("output y = x -> relu", []),
        ("a = x -> relu output y = x -> tanh", ["node `a`"]),
        ("a = x -> relu b = a -> relu output y = x -> tanh", ["node `a`", "node `b`"]),
        ("input z: f32[2] output y = x -> tanh", ["input `z`"]),
        ("k = 3 output y = x -> tanh", []),
    ],
)
def test_nodes_that_no_output_needs_are_pointed_out(body: str, expected: list[str]) -> None:
    source = Source("t", f"net n {{ input x: f32[8] {body} }}")
    loaded = load_source(source, Path())
    messages = [w.message for w in loaded.warnings]
    assert messages == [f"no output depends on the {what}" for what in expected]
    assert all(w.severity == "warning" for w in loaded.warnings)


def test_a_stored_tensor_is_shared_as_value() -> None:
    """The tensor of a `parameter` has no role in its name, so the text calls it `value`."""
    graph = loads(
        "net n { input x: f32[3]  p = parameter([3])  q = parameter([3]) with (value = p)"
        "  output y = x + p + q }"
    )
    assert list(graph.parameters()) == ["p"]
    assert "q = parameter([3]) with (value = p)" in dumps(graph)
    assert loads(dumps(graph)) == graph
