"""The numeric check tells networks apart that differ, and no others."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from growc import GrowcError, Pass, compare, compile, loads, testing
from growc.ir.ops import Relu
from growc.passes import Claim, Found, Place
from growc.proof import Comparison, Difference, Probe

torch.set_num_threads(1)

SLOW = settings(deadline=None, max_examples=max(10, settings.default.max_examples // 4))

TEXT = """
net n {
    input x: f32[3, 9, 9]
    y = x -> conv2d(4, stride=2, padding=1) as c1 -> batch_norm as bn -> leaky_relu(0.1) as act
    z = y -> conv2d(4, bias=false) as c2
    s = y - z
    output logits = s -> max_pool2d(3, stride=1, padding=1) as pool -> group_norm(2) as gn
        -> dropout(0.3) as drop -> flatten -> linear(3) as fc
}
"""


def net(*edits):
    """The network above, its text edited, with the same weights where shapes agree."""
    from growc.testing_networks import fill

    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    graph = loads(text)
    fill(graph, 0)
    original = loads(TEXT)
    fill(original, 0)
    graph.weights.update({k: v for k, v in original.weights.items() if k in graph.weights})
    return graph


EDITS = {
    "padding at the other end": [("stride=2, padding=1", "stride=2, padding=[0, 1, 2, 1]")],
    "eps of a batch norm": [("batch_norm as", "batch_norm(eps=0.001) as")],
    "eps of a group norm": [("group_norm(2)", "group_norm(2, eps=0.001)")],
    "groups": [("group_norm(2)", "group_norm(4)")],
    "slope": [("leaky_relu(0.1)", "leaky_relu(0.101)")],
    "another activation": [("leaky_relu(0.1)", "elu(0.1)")],
    "sign": [("s = y - z", "s = y + z")],
    "order of operands": [("s = y - z", "s = z - y")],
    "no bias": [("padding=1) as c1", "padding=1, bias=false) as c1")],
    "pooling": [("max_pool2d(3, stride=1, padding=1)", "avg_pool2d(3, stride=1, padding=1)")],
    "probability of dropout": [("dropout(0.3)", "dropout(0.31)")],
}


def test_a_network_agrees_with_itself_exactly_also_with_dropout():
    found = compare(net(), net())
    assert found.agrees
    assert [d.max_abs for d in found.differences] == [0.0] * 4
    assert found.modes == "eval, train"


@pytest.mark.parametrize("name", EDITS)
def test_changed_settings_are_caught(name):
    found = compare(net(), net(*EDITS[name]))
    assert not found.agrees
    if name == "probability of dropout":
        assert {d.mode for d in found.differences if d.max_abs > 0} == {"train"}


@pytest.mark.parametrize("key", sorted(k for k in net().weights))
def test_one_weight_changed_by_a_hundredth_is_caught(key):
    graph = net()
    changed = graph.weights[key].copy()
    changed.flat[0] *= 1.01
    graph.weights[key] = changed
    found = compare(net(), graph)
    # Before batch statistics, a shift of a channel makes no difference in training.
    only_in_eval = key in ("bn.running_mean", "bn.running_var", "c1.bias")
    assert not compare(net(), graph, modes=("eval",)).agrees
    assert compare(net(), graph, modes=("train",)).agrees == only_in_eval
    assert not found.agrees


@pytest.mark.parametrize("key", ["c1.weight", "c2.weight", "bn.weight", "gn.bias", "fc.weight"])
def test_swapped_channels_are_caught(key):
    graph = net()
    graph.weights[key] = graph.weights[key][[1, 0, *range(2, len(graph.weights[key]))]]
    assert not compare(net(), graph).agrees


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_outputs_that_are_no_numbers_never_agree(value):
    graph = net()
    graph.weights["fc.weight"] = np.full_like(graph.weights["fc.weight"], value)
    graph.weights["gn.weight"] = np.full_like(graph.weights["gn.weight"], 3e38)
    found = compare(graph, graph, modes=("eval",))
    finite = value == 3e38  # in float64, which decides, but not in float32
    assert found.agrees == finite
    assert {d.dtype: np.isinf(d.max_abs) for d in found.differences} == {
        "float64": not finite,
        "float32": True,
    }


def test_each_output_is_measured_against_its_own_scale():
    text = (
        "net n { input x: f32[4]\n y = linear(x, 2) as small\n z = linear(x, 2) as large\n"
        "output y\n output z }"
    )
    before, after = loads(text), loads(text)
    rng = np.random.default_rng(0)
    for name, scale in (("small", 1e-6), ("large", 1e6)):
        for key, shape in ((f"{name}.weight", (2, 4)), (f"{name}.bias", (2,))):
            before.weights[key] = (rng.standard_normal(shape) * scale).astype(np.float32)
    after.weights.update(before.weights)
    after.weights["small.weight"] = before.weights["small.weight"] * np.float32(1.01)
    assert not compare(before, after).agrees
    assert compare(before, after).worst.scale < 1e-4


def test_relative_difference():
    assert Difference("eval", "float64", 0.0, 0.0).relative == 0
    assert Difference("eval", "float64", 1e-300, 0.0).relative == np.inf
    assert Difference("eval", "float64", np.inf, 5.0).relative == np.inf
    assert not Comparison((Difference("eval", "float64", np.inf, 0.0),), 0).agrees


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x: f32[3, 9, 9]", "x: f32[3, 9, 10]", "input `x`: f32[3, 9, 9] in one, f32[3, 9, 10]"),
        ("linear(3)", "linear(4)", "output `logits`: f32[3] in one, f32[4] in the other"),
        ("output logits", "output scores", "output `logits`: f32[3] in one, missing in the other"),
    ],
)
def test_other_interfaces_are_an_error(old, new, said):
    with pytest.raises(GrowcError) as caught:
        compare(net(), net((old, new)))
    assert said in str(caught.value)


@SLOW
@given(graph=testing.networks())
def test_checking_changes_no_array(graph):
    numbers = {k: v.tobytes() for k, v in graph.weights.items()}
    assert Probe()(graph).keys() == Probe()(graph).keys()
    worst = compare(graph, graph.copy()).worst
    assert worst.max_abs in (0, float("inf"))  # inf: outputs that overflow agree with nothing
    assert {k: v.tobytes() for k, v in graph.weights.items()} == numbers


# ---- passes that break their promise


@dataclass(frozen=True)
class Broken(Pass):
    """A pass of a test, whose rewrite is a class attribute."""

    name: ClassVar[str] = "broken"

    def find(self, graph):
        return Found("network", [Place("everything", ())])

    def rewrite(self, graph, places, seed):
        self.edit(graph)


def broken(edit, claim=Claim(eval=True, train=True)):  # noqa: B008 (immutable)
    return type("It", (Broken,), {"edit": staticmethod(edit), "claim": claim})()


def shift(key, by):
    def edit(graph):
        graph.weights[key] = graph.weights[key] + np.float32(by)

    return edit


def test_a_false_claim_stops_the_compile():
    with pytest.raises(GrowcError) as caught:
        compile(net(), broken(shift("c1.weight", 0.1)))
    said = str(caught.value)
    assert "broken claims to preserve the function, but does not: in eval mode" in said
    assert "help: this is a mistake in the pass itself; nothing was written" in said


def test_claims_are_held_against_each_mode_alone():
    eval_only = shift("bn.running_mean", 0.1)  # another function in eval mode, not in training
    with pytest.raises(GrowcError, match="in eval mode"):
        compile(net(), broken(eval_only))
    compile(net(), broken(eval_only, Claim(eval=False, train=True)))
    compile(net(), broken(shift("c1.weight", 0.1), Claim(eval=False, train=False)))
    compile(net(), broken(shift("c1.weight", 0.1)), verify="none")


def test_a_pass_that_changes_the_interface():
    def another_output(graph):
        graph.set_output("more", "s")

    with pytest.raises(GrowcError, match="but the networks differ in the output `more`"):
        compile(net(), broken(another_output))
    nothing = Claim(eval=False, train=False)
    student = compile(net(), [broken(another_output, nothing), broken(lambda graph: None)])
    assert list(student.outputs) == ["logits", "more"]


def wrong_weight(graph):
    graph.weights["c1.weight"] = graph.weights["c1.weight"][:2]


def no_value(graph):
    graph.set_operands("s", ("act", graph.add(graph.node("c2").op, ("act",), "new")))


def wrong_shape(graph):
    graph.set_op("pool", replace(graph.node("pool").op, padding=((0, 0), (0, 0))))
    graph.set_op("fc", Relu())
    graph.set_operands("s", ("act", "x"))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (wrong_weight, "broken left a broken graph n: c1.weight needs shape"),
        (no_value, "broken left the parameter `new.weight` without a value"),
        (wrong_shape, "broken left shapes that do not fit: `sub` cannot combine"),
    ],
)
@pytest.mark.parametrize("verify", ["numeric", "none"])
def test_a_broken_graph_is_reported(edit, said, verify):
    with pytest.raises(GrowcError) as caught:
        compile(net(), broken(edit), verify=verify)
    assert said in str(caught.value)
    assert "help: this is a mistake in the pass itself" in str(caught.value)
