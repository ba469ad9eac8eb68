"""Any graph prints as text that gives the graph back; so does every op with any attributes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from growc import testing
from growc.grammar import dumps, load, loads
from growc.grammar.printer import EXPRESSION_WORDS, STATEMENT_WORDS
from growc.ir import OPS, Graph, TensorType, attributes, check_invariants, names
from growc.ir.ops import Add, Linear, Relu, Scale

FLOATS = st.floats(-1e3, 1e3) | st.floats(-3e38, 3e38)


def fits(kind: attributes.Kind, value: object) -> bool:
    try:
        kind.read(value)
    except attributes.BadValue:
        return False
    return True


@st.composite
def applications(draw: st.DrawFn, name: str) -> Graph:
    """A graph of inputs and one node of this op, whose numbers are as odd as they may be."""
    case = draw(testing.ops([name]))
    odd: dict[str, Any] = {}
    for attribute in case.op.attributes:
        if isinstance(attribute.kind, attributes.Float) and draw(st.booleans()):
            number = draw(FLOATS)
            if fits(attribute.kind, number):
                odd[attribute.name] = number
    graph = Graph("n")
    for i, kind in enumerate(case.operands or (TensorType((1,)),)):
        graph.add_input(f"x{i}", kind)
    graph.add(replace(case.op, **odd), graph.inputs[: len(case.operands)], "y")
    graph.set_output("y", "y")
    return graph


@pytest.mark.parametrize("name", OPS)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_every_op_prints_and_parses_back(name: str, data: st.DataObject) -> None:
    graph = data.draw(applications(name))
    text = dumps(graph)
    assert loads(text) == graph, text
    assert dumps(loads(text)) == text


PARTS = st.one_of(
    st.sampled_from(sorted(STATEMENT_WORDS | EXPRESSION_WORDS | {"len", "relu", "x", "int", "n"})),
    st.from_regex(r"[A-Za-z0-9_]{1,6}", fullmatch=True),
    st.text(
        st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="`."), min_size=1
    ),
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map(".".join).filter(names.is_valid)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Small graphs of linear layers, sums and ReLUs with odd names, some parameters shared."""
    graph = Graph(draw(NAMES))
    owners: list[str] = []
    for _ in range(draw(st.integers(1, 2))):
        name = draw(NAMES.filter(lambda n: n not in graph))
        graph.add_input(name, TensorType((4,)))
    for _ in range(draw(st.integers(0, 6))):
        name = draw(NAMES.filter(lambda n: n not in graph))
        nodes = st.sampled_from([node.name for node in graph])
        match draw(st.sampled_from(["relu", "add", "scale", "linear"])):
            case "relu":
                graph.add(Relu(), [draw(nodes)], name)
            case "add":
                graph.add(Add(), draw(st.lists(nodes, min_size=2, max_size=4)), name)
            case "scale":
                graph.add(
                    Scale(draw(FLOATS), draw(st.sampled_from([0.0, -0.5]))), [draw(nodes)], name
                )
            case _:
                shared = draw(st.booleans()) and owners
                role = {"weight": f"{draw(st.sampled_from(owners))}.weight"} if shared else None
                graph.add(Linear(4), [draw(nodes)], name, role)
                owners += [] if shared else [name]
    for _ in range(draw(st.integers(1, 3))):
        name = draw(NAMES.filter(lambda n: n not in graph.inputs))
        graph.set_output(name, draw(st.sampled_from([node.name for node in graph])))
    return graph


@settings(deadline=None, max_examples=250)
@given(graphs())
def test_any_graph_prints_and_parses_back(graph: Graph) -> None:
    try:
        check_invariants(graph)
    except AssertionError:
        assume(False)  # a node and a parameter of one name
    text = dumps(graph)
    again = loads(text)
    assert again == graph, text
    assert dumps(again) == text


ODD = ["true", "not", "if", "x y", "1st", "é", "a.0", "0.a", "a-b", "input", "#", '"', "\\", "len"]


@pytest.mark.parametrize("name", [*ODD, *OPS])
def test_odd_names_come_back(name: str) -> None:
    graph = Graph(name)
    graph.add_input("x", TensorType((4,)))
    graph.add(Linear(4), [graph.inputs[0]], name)
    graph.add(Linear(4), [name], f"{name}.again", {"weight": f"{name}.weight"})
    graph.set_output(name, f"{name}.again")
    assert loads(dumps(graph)) == graph


def test_use_looks_beside_the_file_that_uses(tmp_path: Path) -> None:
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    (tmp_path / "parts" / "a.arch").write_text('use "deep/b.arch"\nblock a(x) { return b(x) }')
    (tmp_path / "parts" / "deep" / "b.arch").write_text(
        'use "../a.arch"\nuse "../../net.arch"\nblock b(x) { return x -> relu }'
    )
    net = tmp_path / "net.arch"
    net.write_text('use "parts/a.arch"\nnet n { input x: f32[2] output y = a(x) }')
    assert [node.name for node in load(net)] == ["x", "y.b.relu"]


HYPER = """net n(
    width: int = 4, rate: float = 0.5, sizes: list[int] = [1], name: str = "a", free = 2
) {
    input x: f32[8]
    output y = x -> linear(width + sizes[0] + free) as m[name] -> dropout(rate)
}"""


def test_hyperparameters_replace_defaults() -> None:
    import numpy as np

    def shape(**given: Any) -> tuple[int, ...]:
        return loads(HYPER, **given).node("m.a").type.shape

    assert shape() == (7,)
    assert shape(width=8, sizes=[2, 3]) == (12,)
    assert shape(width=np.int64(8), sizes=(2,), rate=np.float32(0.25)) == (12,)
    assert shape(sizes=range(5, 7)) == (11,)
    assert "m.b" in loads(HYPER, {"name": "b"}, free=9)
