"""Parts that repeat are printed as blocks: how that looks, and where statements stay flat.

A file of ``golden/printer`` is a network as a person writes it, and after the separator the
canonical text, which GROWC_UPDATE_GOLDEN=1 renews.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from growc.grammar import dumps, loads
from growc.grammar.blocks import MAX_BLOCK_DEPTH
from growc.grammar.formatter import format_source
from growc.ir import Graph, Source, TensorType
from growc.ir.ops import Conv2d, Linear, Relu, Scale

GOLDEN = sorted((Path(__file__).parent / "golden" / "printer").glob("*.txt"))
SEPARATOR = "==== printed ====\n"


def printed(text: str) -> str:
    """The canonical text of a text, after a look at whether it means the same."""
    graph = loads(text)
    result = dumps(graph)
    assert loads(result) == graph, result
    return result


def blocks(text: str) -> list[str]:
    """The first lines of the blocks in the canonical text of a text."""
    return [line for line in printed(text).splitlines() if line.startswith("block ")]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden(path: Path) -> None:
    source, _, expected = path.read_text(encoding="utf-8").partition(SEPARATOR)
    result = printed(source)
    if os.environ.get("GROWC_UPDATE_GOLDEN") == "1":
        path.write_text(source + SEPARATOR + result, encoding="utf-8")
        return
    assert result == expected
    assert format_source(Source("test", result)) == result


def test_there_are_golden_cases() -> None:
    assert len(GOLDEN) >= 4


# ---- where blocks are found, and where not

UNIT = """
block unit(x, width: int = 8, slope: float = 0.1) {
    a = x -> linear(width) -> layer_norm -> leaky_relu(slope) -> linear(8)
    return (x + a) as sum
}
"""


def net(*statements: str, before: str = UNIT, inputs: str = "input x: f32[8]") -> str:
    return "\n".join([before, "net n {", inputs, *statements, "}"])


@pytest.fixture
def blocks_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays flat now does so for another reason than that it is short."""
    monkeypatch.setattr("growc.grammar.outline._pays", lambda *_: True)


THREE = ["a = unit(x) as stage.0", "b = unit(a) as stage.1", "c = unit(b) as stage.2"]
END = "output y = c"


def test_a_part_that_repeats_is_a_block() -> None:
    assert blocks(net(*THREE, END)) == ["block stage(x) {"]
    assert "    stage.2 = stage(stage.1)\n    output y = stage.2\n" in printed(net(*THREE, END))


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["c = unit(x) as stage.0", END], id="it occurs once"),
        pytest.param(
            ["c = x -> relu as s.0.a -> tanh as s.0.b -> relu as s.1.a -> tanh as s.1.b", END],
            id="it has two nodes",
        ),
        pytest.param([*THREE, "output y = x -> relu"], id="no output needs them"),
        pytest.param(
            [*THREE[:2], "d = b -> linear(8) as stage.0.a.more", "c = d -> relu", END],
            id="a node from elsewhere has a name in the scope",
        ),
        pytest.param(
            [
                "a = x -> linear(8) as s.0.a -> relu as s.0.b -> elu as s.0.c -> tanh as s.0.d",
                "b = a -> linear(8) as s.1.a -> relu as s.1.b -> elu as s.1.d -> tanh as s.1.c",
                "output y = b",
            ],
            id="other names inside",
        ),
        pytest.param(
            [
                "a = x -> relu as s.0.a -> elu as s.0.b -> linear(8) as s.0.c -> relu as s.0.d",
                "b = a -> relu as s.1.a -> tanh as s.1.b -> linear(8) as s.1.c -> relu as s.1.d",
                "output y = b",
            ],
            id="other ops",
        ),
        pytest.param(
            [
                "a = x -> linear(8) as s.0.a -> relu as s.0.b",
                "a = (a + x) as s.0.c -> linear(8) as s.0.d -> tanh as s.0.e",
                "b = a -> linear(8) as s.1.a -> relu as s.1.b",
                "b = (a + b) as s.1.c -> linear(8) as s.1.d -> tanh as s.1.e",
                "output y = b",
            ],
            id="other wiring",
        ),
        pytest.param(
            [
                "a = x -> linear(8) as s.0.a -> clip as s.0.b -> elu as s.0.c -> relu as s.0.d",
                "b = a -> linear(8) as s.1.a -> clip(low=0) as s.1.b",
                "b = b -> elu as s.1.c -> relu as s.1.d",
                "output y = b",
            ],
            id="an attribute that one has and the other has not",
        ),
    ],
)
def test_these_stay_flat(statements: list[str], blocks_cost_nothing: None) -> None:
    assert blocks(net(*statements)) == []


def test_what_would_get_longer_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    two = net(*THREE[:2], "output y = b")
    assert blocks(two) == []
    monkeypatch.setattr("growc.grammar.outline._pays", lambda *_: True)
    assert blocks(two) == ["block stage(x) {"]


def test_an_input_in_the_scope_keeps_it_flat(blocks_cost_nothing: None) -> None:
    graph = Graph("n")
    inputs = [graph.add_input(f"part.{i}.x", TensorType((8,))) for i in range(3)]
    for i, x in enumerate(inputs):
        graph.set_output(f"y{i}", chain(graph, x, f"part.{i}"))
    assert "block" not in dumps(graph)
    assert loads(dumps(graph)) == graph


def chain(graph: Graph, x: str, scope: str, shared: dict[str, str] | None = None) -> str:
    x = graph.add(Linear(8), [x], f"{scope}.fc1", shared)
    x = graph.add(Relu(), [x], f"{scope}.act1")
    x = graph.add(Linear(8), [x], f"{scope}.fc2")
    x = graph.add(Relu(), [x], f"{scope}.act2")
    return graph.add(Linear(8), [x], f"{scope}.fc3")


def test_a_node_called_like_the_scope_keeps_it_flat() -> None:
    graph = Graph("n")
    x = graph.add_input("x", TensorType((8,)))
    for i in range(5):
        x = graph.add(Relu(), [chain(graph, x, f"part.{i}")], f"part.{i}" if i < 2 else f"relu{i}")
    graph.set_output("y", x)
    text = dumps(graph)
    assert loads(text) == graph
    assert "    part.1.fc1 = part.0 -> linear(8)\n" in text
    assert "    part.4 = part(relu3)\n" in text


def tied(*keys: str, first: str = "first") -> str:
    """The text of parts that share the weight of their first layers with these parameters."""
    graph = Graph("tied")
    x = graph.add_input("x", TensorType((8,)))
    x = graph.add(Linear(8), [x], first)
    for i, key in enumerate(keys):
        x = chain(graph, x, f"part.{i}", {"weight": key})
    graph.set_output("y", x)
    text = dumps(graph)
    assert loads(text) == graph, text
    return text


def test_a_parameter_that_all_share_is_written_in_the_block() -> None:
    assert "    fc1 = x -> linear(8) with (weight = first.weight)\n" in tied(*["first.weight"] * 3)


def test_parameters_that_differ_between_instances_keep_them_flat() -> None:
    assert "block" not in tied(*[f"part.{i}.fc2.weight" for i in range(3)])
    assert "block" not in tied("first.weight", "part.0.fc2.weight", "part.1.fc2.weight")


def test_a_shared_name_that_would_be_one_of_the_block_keeps_them_flat() -> None:
    assert "block" not in tied(*["fc2.weight"] * 3, first="fc2")


def test_a_result_that_is_used_before_the_part_is_complete_keeps_them_flat() -> None:
    """One statement cannot make `fc1`, wait for the ReLU outside, and go on."""
    graph = Graph("n")
    x = graph.add_input("x", TensorType((8,)))
    for i in range(4):
        y = graph.add(Linear(8), [x], f"part.{i}.fc1")
        y = graph.add(Relu(), [y], f"outside{i}")
        y = graph.add(Linear(8), [y], f"part.{i}.fc2")
        y = graph.add(Relu(), [y], f"part.{i}.act")
        x = graph.add(Linear(8), [y], f"part.{i}.fc3")
    graph.set_output("y", x)
    assert "block" not in dumps(graph)
    assert loads(dumps(graph)) == graph


def test_several_results_are_returned_as_a_list() -> None:
    graph = Graph("n")
    x = graph.add_input("x", TensorType((8,)))
    ends = []
    for i in range(4):
        x = chain(graph, x, f"part.{i}")
        ends.append(f"part.{i}.act1")
    for i, end in enumerate(ends):
        graph.set_output(f"side{i}", end)
    graph.set_output("y", x)
    text = dumps(graph)
    assert loads(text) == graph
    assert "    return act1, fc3\n" in text
    assert "    part.1.act1, part.1.fc3 = part(part.0.fc3) as part.1\n" in text


def test_a_list_of_parts_is_no_part() -> None:
    """Each stage of `stage.0.0` and `stage.0.1` could be a block; its parts say more."""
    calls = [f"x = unit(x) as stage[{i}][{j}]" for i in range(3) for j in range(2)]
    text = printed(net(*calls, "output y = x"))
    assert text.count("block ") == 1
    assert "    stage.2.1 = stage(stage.2.0)\n" in text


# ---- parameters


def test_parameters_have_types_defaults_and_names() -> None:
    calls = ["a = unit(x, 4) as stage.0", "b = unit(a, 5) as stage.1"]
    calls += ["c = unit(b, 6, 0.5) as stage.2", "c = unit(c, 7) as stage.3", END]
    assert blocks(net(*calls)) == ["block stage(x, features: int, slope: float = 0.1) {"]
    assert "    stage.2 = stage(stage.1, features=6, slope=0.5)\n" in printed(net(*calls))


def convolutions(*widths: tuple[int, int], **more: tuple[object, ...]) -> str:
    """Blocks of two convolutions with these widths; ``more``: attributes of the first one."""
    graph = Graph("n")
    x = graph.add_input("x", TensorType((4, 8, 8)))
    for i, (first, second) in enumerate(widths):
        given = {name: values[i] for name, values in more.items()}
        y = graph.add(Conv2d(first, **given), [x], f"layer.{i}.conv1")  # type: ignore[arg-type]
        y = graph.add(Relu(), [y], f"layer.{i}.relu1")
        y = graph.add(Conv2d(second), [y], f"layer.{i}.conv2")
        y = graph.add(Relu(), [y], f"layer.{i}.relu2")
        x = graph.add(Relu(), [y], f"layer.{i}.relu3")
    graph.set_output("y", x)
    text = dumps(graph)
    assert loads(text) == graph, text
    return text.splitlines()[0]


def test_attributes_that_vary_together_share_a_parameter() -> None:
    assert convolutions((4, 4), (8, 8), (6, 6)) == "block layer(x, channels: int) {"


def test_values_that_are_equal_but_written_differently_are_two() -> None:
    graph = Graph("n")
    x = graph.add_input("x", TensorType((8,)))
    for i, factor in enumerate([0.0, -0.0, 0.0]):
        x = chain(graph, graph.add(Scale(factor), [x], f"part.{i}.zero"), f"part.{i}")
    graph.set_output("y", x)
    text = dumps(graph)
    assert text.startswith("block part(x, factor: float = 0.0) {")
    assert "    part.1 = part(part.0, factor=-0.0)\n" in text
    assert dumps(loads(text)) == text


def test_attributes_of_one_name_that_vary_apart_are_called_after_their_nodes() -> None:
    expected = "block layer(x, conv1_channels: int, conv2_channels: int) {"
    assert convolutions((4, 4), (8, 4), (6, 6), (2, 2)) == expected


def test_values_of_several_types_are_a_parameter_without_a_type() -> None:
    same = [(4, 4)] * 4
    assert convolutions(*same, kernel=(1, 3, [1, 3], [3, 1])) == "block layer(x, kernel = 3) {"
    assert convolutions(*same, kernel=([1, 1], 1, 3, 3)) == "block layer(x, kernel: int = 3) {"
    assert convolutions(*same, bias=(True, False, False, False)) == (
        "block layer(x, bias: bool = false) {"
    )
    assert convolutions(*same, padding=("valid", 1, 0, 2)) == "block layer(x, padding) {"


@pytest.mark.parametrize(
    ("scopes", "name"),
    [
        (["layer1.0", "layer2.1", "layer3"], "layer"),
        (["encoder.layers.0", "encoder.layers.1", "layer"], "layer"),
        (["blocks.0", "blocks.1", "block3"], "unit"),
        (["bias.0", "bias.1", "bias.2"], "bias"),
        (["net.self_attn", "cross_attn", "x.attn"], "attn"),
        (["linear1", "linear2", "linear3"], "linear_block"),
        (["len1", "len2", "len3"], "len_block"),
        (["0", "1", "2"], "unit"),
        (["down1", "up1", "bottom"], "unit"),
        (["größe1", "größe2", "größe3"], "unit"),
        (["tail.x1", "tail.y", "tail.z"], "tail"),
    ],
)
def test_names_of_blocks(scopes: list[str], name: str) -> None:
    graph = Graph("n")
    x = graph.add_input("x", TensorType((8,)))
    for scope in scopes:
        x = chain(graph, x, scope)
    graph.set_output("y", x)
    assert dumps(graph).startswith(f"block {name}(x) {{\n")
    assert loads(dumps(graph)) == graph


def test_a_parameter_is_not_called_like_a_node() -> None:
    block = """block part(input, features: int) {
        x = input -> linear(features) as x
        features = x -> relu as features
        return features -> linear(8) as y -> relu as z -> relu as `in`
    }"""
    calls = [f"x = part(x, {4 + i}) as part[{i}]" for i in range(3)]
    head = "block part(x_2, x_features: int) {"
    assert blocks(net(*calls, "output y = x", before=block)) == [head]


# ---- limits


def test_blocks_lie_no_deeper_in_each_other_than_the_language_allows() -> None:
    """Each scope is like the inside of the next larger one, 45 deep."""
    graph = Graph("deep")
    x = graph.add_input("x", TensorType((8,)))
    for levels in range(1, 46):
        for depth in range(levels):
            for j in range(6):
                scope = ".".join([f"part{levels}", *["inner"] * depth])
                x = graph.add(Relu(), [x], f"{scope}.relu{j}")
    graph.set_output("y", x)
    text = dumps(graph)
    assert text.count("block ") == MAX_BLOCK_DEPTH
    assert loads(text) == graph


def test_a_text_that_takes_too_much_work_is_printed_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = loads(net(*THREE, END))
    assert "block" in dumps(graph)
    monkeypatch.setattr("growc.grammar.outline.MAX_STEPS", 100)
    assert "block" not in dumps(graph)


def test_large_networks_are_printed_in_time() -> None:
    graph = Graph("n")
    x = graph.add_input("x", TensorType((8,)))
    for i in range(4000):
        x = chain(graph, x, f"body.stage{i % 3}.{i}")
    graph.set_output("y", x)
    start = time.perf_counter()
    text = dumps(graph)
    assert time.perf_counter() - start < 10  # 0.5 s on an idle machine
    assert text.count("\n") < 4100
