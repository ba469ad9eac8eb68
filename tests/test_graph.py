"""The graph: what its edits do and refuse, its order, and its dominators against networkx."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np
import pytest

from growc.ir import (
    Graph,
    InvariantError,
    ShapeError,
    TensorType,
    check_invariants,
    initialize,
    ops,
    same_weights,
)
from growc.ir.analysis import immediate_dominators, region

VECTOR = TensorType((4,))


def chain() -> Graph:
    """x → a (linear) → b (relu) → c (linear), and the output y"""
    graph = Graph("chain")
    graph.add_input("x", VECTOR)
    graph.add(ops.Linear(4), ["x"], "a")
    graph.add(ops.Relu(), ["a"], "b")
    graph.add(ops.Linear(3), ["b"], "c")
    graph.set_output("y", "c")
    initialize(graph)
    return graph


def random_dag(seed: int) -> Graph:
    """Additions of random earlier nodes, from one input or several."""
    rng = random.Random(seed)
    graph = Graph("dag")
    names = [graph.add_input(f"x{i}", VECTOR) for i in range(rng.randint(1, 3))]
    for i in range(rng.randint(1, 40)):
        operands = rng.choices(names[-6:], k=rng.randint(1, 3))
        op = ops.Relu() if len(operands) == 1 else ops.Add()
        names.append(graph.add(op, operands, f"n{i}"))
    for i in range(rng.randint(1, 2)):
        graph.set_output(f"y{i}", rng.choice(names))
    return graph


def edges(graph: Graph) -> set[tuple[str, str, int]]:
    """Every edge as ``consumers`` tells it, which must be what the nodes tell."""
    told = {(n.name, user, i) for n in graph for user, i in graph.consumers(n.name)}
    assert told == {(o, n.name, i) for n in graph for i, o in enumerate(n.operands)}
    return told


# ---- order and structure


@pytest.mark.parametrize("seed", range(40))
def test_order_and_dominators_of_random_graphs(seed: int) -> None:
    graph = random_dag(seed)
    place = {name: i for i, name in enumerate(graph.order())}
    assert all(place[source] < place[user] for source, user, _ in edges(graph))
    # networkx wants one root: a node before all inputs.
    plain: nx.DiGraph[str] = nx.DiGraph()
    plain.add_edges_from(("root", name) for name in graph.inputs)
    plain.add_edges_from((source, user) for source, user, _ in edges(graph))
    expected = dict(nx.immediate_dominators(plain, "root"))
    expected.pop("root", None)
    found = {name: parent or "root" for name, parent in immediate_dominators(graph).items()}
    assert found == expected
    for name, parent in immediate_dominators(graph).items():
        if parent is not None:
            between = nx.descendants(plain, parent) & nx.ancestors(plain, name)
            assert set(region(graph, parent, name)) == between


def test_the_order_depends_on_the_structure_alone() -> None:
    one, other = Graph("g"), Graph("g")
    for graph, names in ((one, "ab"), (other, "ba")):
        graph.add_input("x", VECTOR)
        for name in names:
            graph.add(ops.Relu(), ["x"], name)
        graph.add(ops.Add(), ["b", "a"], "sum")
        graph.set_output("y", "sum")
    assert one.order() == other.order() == ["x", "b", "a", "sum"]
    assert one == other


def test_a_cycle_is_named_and_no_graph() -> None:
    graph = chain()
    graph.set_operands("a", ["b"])
    with pytest.raises(ValueError, match="cycle through"):
        graph.order()
    with pytest.raises(InvariantError, match="not a graph: the graph has a cycle"):
        check_invariants(graph)


# ---- edits


def test_redirect_moves_users_and_outputs() -> None:
    graph = chain()
    graph.set_output("also", "b")
    graph.add(ops.Sigmoid(), ["b"], "new")
    graph.redirect("b", "new", keep=["new"])
    graph.settle()
    assert graph.node("c").operands == ("new",)
    assert dict(graph.outputs) == {"y": "c", "also": "new"}
    assert graph.node("new").operands == ("b",)
    edges(graph)
    check_invariants(graph)


def test_redirect_of_a_node_that_is_used_twice_by_one() -> None:
    graph = chain()
    graph.add(ops.Add(), ["b", "b", "a"], "sum")
    graph.set_output("y", "sum")
    graph.redirect("b", "a", keep=["c"])
    assert graph.node("sum").operands == ("a", "a", "a")
    assert graph.consumers("b") == [("c", 0)]
    edges(graph)


@pytest.mark.parametrize("more", [["x"], ["b", "x", "a", "b"], []])
def test_set_operands_of_another_number(more: list[str]) -> None:
    graph = chain()
    graph.add(ops.Add(), ["a", "b"], "sum")
    graph.set_operands("sum", ["a", *more])
    assert graph.node("sum").operands == ("a", *more)
    edges(graph)


def test_an_unknown_operand_changes_nothing() -> None:
    graph = chain()
    before = graph.copy()
    for edit in (
        lambda: graph.set_operands("c", ["nobody"]),
        lambda: graph.redirect("b", "nobody"),
        lambda: graph.set_output("y", "nobody"),
        lambda: graph.add(ops.Relu(), ["nobody"], "new"),
    ):
        with pytest.raises(KeyError, match="nobody"):
            edit()
        assert graph == before
        assert edges(graph) == edges(before)


def test_settle_infers_what_follows_and_nothing_else() -> None:
    graph = chain()
    graph.set_op("a", ops.Linear(7))
    graph.settle()
    assert [str(n.type) for n in graph] == ["f32[4]", "f32[7]", "f32[7]", "f32[3]"]
    assert graph.parameters()["c.weight"].shape == (3, 7)
    graph.set_op("b", ops.Concat(axis=2))
    with pytest.raises(ShapeError):
        graph.settle()


def test_remove_takes_the_parameters_that_nobody_else_has() -> None:
    graph = chain()
    graph.add(ops.Linear(3), ["b"], "tied", shared={"weight": "c.weight"})
    graph.set_output("z", "tied")
    initialize(graph)
    check_invariants(graph)
    assert graph.is_tied("c")
    for used in ("b", "tied"):
        with pytest.raises(ValueError, match=f"{used} is still used"):
            graph.remove(used)
    graph.set_output("y", "tied")
    graph.remove("c")
    assert "c.weight" in graph.weights  # `tied` has it
    assert "c.bias" not in graph.weights
    assert not edges(graph) & {("b", "c", 0)}
    graph.set_output("y", "b")
    graph.set_output("z", "b")
    graph.remove("tied")
    assert set(graph.weights) == {"a.weight", "a.bias"}
    check_invariants(graph)


def test_remove_of_a_borrower_keeps_the_owners_values() -> None:
    graph = chain()
    graph.add(ops.Linear(3), ["b"], "tied", shared={"weight": "c.weight", "bias": "c.bias"})
    weights = dict(graph.weights)
    graph.remove("tied")
    assert dict(graph.weights) == weights
    assert not graph.is_tied("c")


def test_removing_an_input() -> None:
    graph = chain()
    graph.add_input("unused", VECTOR)
    graph.remove("unused")
    assert graph.inputs == ("x",)


def test_names_are_unique_and_valid() -> None:
    graph = chain()
    for name, message in (("a", "two nodes are called a"), ("a..b", "not a valid"), ("", "not a")):
        with pytest.raises(ValueError, match=message):
            graph.add(ops.Relu(), ["x"], name)
    with pytest.raises(ValueError, match="at least 2 operands"):
        graph.add(ops.Add(), ["x"], "sum")
    assert [graph.fresh("a"), graph.fresh("new")] == ["a_2", "new"]
    graph.add(ops.Relu(), ["x"], "a_2")
    assert graph.fresh("a") == "a_3"


# ---- copies and weights


def test_a_copy_is_independent_and_shares_the_arrays() -> None:
    graph = chain()
    twin = graph.copy()
    assert twin == graph
    assert all(twin.weights[name] is graph.weights[name] for name in graph.parameters())
    assert twin.weights is not graph.weights
    before, kept = graph.order().copy(), dict(graph.weights)
    twin.add(ops.Sigmoid(), ["b"], "new")
    twin.redirect("b", "new", keep=["new"])
    twin.set_op("a", ops.Linear(6))
    twin.set_output("more", "new")
    twin.settle()
    twin.weights.clear()
    assert graph.order() == before
    assert dict(graph.outputs) == {"y": "c"}
    assert graph.weights == kept
    assert graph != twin
    check_invariants(graph)


def test_same_weights_is_bit_for_bit() -> None:
    graph = chain()
    twin = graph.copy()
    assert same_weights(graph, twin)
    twin.weights["a.bias"] = graph.weights["a.bias"].copy()
    assert same_weights(graph, twin)
    twin.weights["a.bias"] = np.nextafter(graph.weights["a.bias"], np.float32(9))
    assert not same_weights(graph, twin)
    del twin.weights["a.bias"]
    assert not same_weights(graph, twin)
    del graph.weights["a.bias"]
    assert same_weights(graph, twin)


def test_every_broken_invariant_is_told() -> None:
    graph = chain()
    graph.weights["a.bias"] = np.zeros(9, np.float32)
    graph.set_op("a", ops.Linear(5))
    graph.add(ops.Relu(), ["x"], "c.bias")
    with pytest.raises(InvariantError) as raised:
        check_invariants(graph)
    for text in (
        "a has type f32[4], but f32[5] is inferred",
        "a.bias needs shape (5,), but its value has (9,)",
        "c.bias is both a node and a parameter",
    ):
        assert text in str(raised.value)
    with pytest.raises(InvariantError, match="no output"):
        check_invariants(Graph("empty"))
