"""Networks whose layers share weights in all ways: ILNAS's passes and expansions on them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import growc
from growc import Graph, GrowcError, check_invariants, loads
from growc.compiler import run
from growc.ir.parts import inputs_of
from growc.passes import NothingToDo
from growc.search.ilnas.choosing import best_of_parts, entries, price_of, rooms, units_of
from growc.search.ilnas.expansion import pipeline_of
from growc.search.ilnas.space import Space, scaffold

MANY = settings(deadline=None, max_examples=max(25, settings.default.max_examples))


class _Writer:
    """Writes a network of one to three tasks at random: layers that share weights (with biases or
    without), one after the other or side by side, sums, skips, several image sizes."""

    def __init__(self, drawn: random.Random) -> None:
        self.drawn = drawn
        self.made: list[tuple[str, int, int, bool, int]] = []
        self.count = 0

    def text(self) -> str:
        channels, tasks = self.drawn.choice([3, 4]), self.drawn.randint(1, 3)
        sizes = [self.drawn.choice([4, 8]) for _ in range(tasks)]
        lines = ["net ties {"]
        lines += [f"    input i{t}: f32[{channels}, {n}, {n}]" for t, n in enumerate(sizes)]
        for t in range(tasks):
            at, width = f"i{t}", channels
            for d in range(self.drawn.randint(2, 4)):
                text, out = self._layer(at, width)
                if self.drawn.random() < 0.3:
                    text = f"({text} + {self._layer(at, width, out)[0]})"
                if out == width and self.drawn.random() < 0.3:
                    text = f"({text} + {at})"
                if self.drawn.random() < 0.5:
                    text = f"({text} -> batch_norm)"
                if self.drawn.random() < 0.8:
                    text = f"({text} -> relu)"
                lines.append(f"    v{t}_{d} = {text}")
                at, width = f"v{t}_{d}", out
            lines.append(f"    output o{t} = {at} -> global_avg_pool -> flatten -> linear(3)")
        return "\n".join([*lines, "}", ""])

    def _layer(self, source: str, width: int, wanted: int | None = None) -> tuple[str, int]:
        self.count += 1
        name = f"l{self.count}"
        like = [m for m in self.made if m[1] == width and wanted in (None, m[2])]
        if like and self.drawn.random() < 0.6:
            other, _, out, bias, kernel = self.drawn.choice(like)
            ties = f"weight={other}.weight"
            if bias and self.drawn.random() < 0.85:
                ties += f", bias={other}.bias"
            tied = f" with ({ties})"
        else:
            out, bias = wanted or self.drawn.choice([3, 4, 5]), self.drawn.random() < 0.5
            kernel, tied = self.drawn.choice([1, 3]), ""
            self.made.append((name, width, out, bias, kernel))
        option = "" if bias else ", bias=false"
        return f"({source} -> conv2d({out}, {kernel}{option}) as {name}{tied})", out


def network(seed: int) -> Graph:
    graph = loads(_Writer(random.Random(seed)).text())
    growc.initialize(graph, seed)
    rng = np.random.default_rng(seed)
    for key in sorted(graph.maskable()):
        if rng.random() < 0.5:
            mask = rng.random(graph.weights[key].shape) < 0.6
            graph.weights.put(key, graph.weights[key] * mask, mask)
    return graph


@MANY
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("text", ["new_node{count=2}", "new_layer", "new_connection{count=3}"])
def test_passes_are_proved_where_weights_are_shared(text: str, seed: int) -> None:
    graph = network(seed)
    try:
        compiled = run(graph, text, seed=seed)
    except NothingToDo:
        return
    assert compiled.whole is not None
    assert compiled.whole.verdict == "proved"
    check_invariants(compiled.graph)
    if text.startswith("new_connection"):
        layers = {graph.node(p.name).parameter("weight") for p in compiled.steps[0].result.places}
        added = compiled.graph.parameter_count() - graph.parameter_count()
        assert added <= 3 * len(layers)


@MANY
@given(seed=st.integers(0, 10**6), limit=st.integers(1, 200), layers=st.integers(0, 1))
def test_expansions_count_right_and_mix_no_tasks(seed: int, limit: int, layers: int) -> None:
    graph = network(seed)
    made = scaffold(graph, Space(nodes=2, sources=3, layers=layers), seed)
    assert _seen(made.graph) == _seen(graph)
    for granularity in ("kernel", "weight"):
        units = units_of(made, granularity)
        score = np.random.default_rng(seed).random(len(units.size)) + 1
        taken = best_of_parts(made, units, score, limit, rooms(graph, limit, 0.2))
        price = price_of(made, units, taken)
        assert price <= limit
        passes = pipeline_of(made, entries(made, units, taken), seed)
        if passes:
            compiled = run(graph, passes, seed=seed, together=True)
            assert compiled.whole is not None
            assert compiled.whole.verdict == "proved"
            assert compiled.graph.parameter_count() - graph.parameter_count() == price
            assert _seen(compiled.graph) == _seen(graph)


def _seen(graph: Graph) -> dict[str, frozenset[str]]:
    """The inputs that each output depends on."""
    depends = inputs_of(graph)
    return {output: depends[node] for output, node in graph.outputs.items()}


def test_new_nodes_of_a_scaffold_are_those_of_the_expansion() -> None:
    """A placeholder reads no other one, whichever task's layers come first in the text."""
    found = 0
    for seed in range(40):
        graph = network(seed)
        made = scaffold(graph, Space(nodes=2, sources=0, layers=0), seed)
        nodes = [a for a in made.additions if a.name == "new_node"]
        for addition in nodes:
            alone = addition(graph, seed=seed).graph
            key = graph.node(addition.at[0]).parameter("weight")
            rows, columns = graph.weights[key].shape[:2]
            found += 1
            np.testing.assert_array_equal(
                made.graph.weights[key][rows:, :columns], alone.weights[key][rows:, :columns]
            )
    assert found > 40


def test_a_layer_that_reads_one_of_the_same_weights_takes_no_node() -> None:
    graph = loads(
        "net n {\n    input x: f32[8]\n    a = x -> linear(8)\n    h = a -> relu\n"
        "    b = h -> linear(8) with (weight = a.weight, bias = a.bias)\n"
        "    output y = b -> relu -> linear(3)\n}\n"
    )
    growc.initialize(graph)
    with pytest.raises(GrowcError, match="`b` has the weights of a layer whose channels it reads"):
        run(graph, "new_node{at=a}")
    with pytest.raises(NothingToDo):
        run(graph, "new_node")


def test_twins() -> None:
    graph = loads(
        "net n {\n    input x: f32[4]\n    input y: f32[4]\n    a = x -> linear(4)\n"
        "    b = y -> linear(4) with (weight = a.weight, bias = a.bias)\n"
        "    c = y -> linear(4) with (weight = a.weight)\n    output o = a + b\n"
        "    output p = c\n}\n"
    )
    assert graph.twins("c") == graph.twins("a") == ()  # only some are shared
    graph.set_output("p", "b")
    graph.remove("c")
    assert graph.twins("a") == graph.twins("b") == ("a", "b")
    assert graph.copy().twins("b") == ("a", "b")
    assert graph.twins("x") == ("x",)
