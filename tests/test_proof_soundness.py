"""No network with a fault is called proved, and equal fingerprints mean equal numbers.

Each fault changes a grown network in one small way. What is then called proved must be the same
function: a fault may hit numbers that do not matter (a weight on a channel that is zero).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import growc
from growc import testing
from growc.ir import OPS, Graph, Node, Op, ShapeError
from growc.ir.ops import (
    Abs,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Div,
    Dropout,
    Elu,
    Gather,
    Gelu,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LeakyRelu,
    Linear,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Pad,
    ReduceL2,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    Relu,
    Scale,
    Slice,
    Softmax,
    Stored,
    Sub,
    Transpose,
)
from growc.passes import PASSES
from growc.proof import Prover, compare

from .proof_channels import assert_equal_prints_are_equal

Random = random.Random
Fault = Callable[[Graph, Random], bool]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__] = function
    return function


def pick(graph: Graph, rng: Random, *classes: type) -> Node | None:
    """A node whose op is of one of the classes and on which an output depends."""
    live = set(graph.outputs.values())
    for name in reversed(graph.order()):
        if name in live:
            live.update(graph.node(name).operands)
    nodes = [n for n in graph if isinstance(n.op, classes) and n.name in live]
    return rng.choice(nodes) if nodes else None


def change(graph: Graph, rng: Random, role: str, by: Callable[[Any], Any], *classes: type) -> bool:
    """Change one random number of one random parameter with this role."""
    node = pick(graph, rng, *classes)
    keys = [k for k, s in graph.params_of(node.name) if s.role == role] if node else []
    if not keys:
        return False
    array = graph.weights[keys[0]].copy()
    index = tuple(rng.randrange(n) for n in array.shape)
    array[index] = by(array[index])
    different = bool(array[index] != graph.weights[keys[0]][index])
    graph.weights[keys[0]] = array
    return different


def reop(graph: Graph, node: Node | None, **attributes: Any) -> bool:
    """Give a node other attributes, if its parameters still fit."""
    if node is None or all(getattr(node.op, k) == v for k, v in attributes.items()):
        return False
    before = dict(graph.params_of(node.name))
    graph.set_op(node.name, replace(node.op, **attributes))
    return dict(graph.params_of(node.name)) == before


ulp = lambda x: np.nextafter(x, np.float32(np.inf))  # noqa: E731
LAYERS = (Conv, ConvTranspose, Linear)


@fault
def one_weight_by_an_ulp(g: Graph, r: Random) -> bool:
    return change(g, r, "weight", ulp, *LAYERS)


@fault
def one_weight_negated(g: Graph, r: Random) -> bool:
    return change(g, r, "weight", lambda x: -x, *LAYERS)


@fault
def one_weight_zeroed(g: Graph, r: Random) -> bool:
    return change(g, r, "weight", lambda x: x * 0, *LAYERS)


@fault
def one_weight_doubled(g: Graph, r: Random) -> bool:
    return change(g, r, "weight", lambda x: x * 2, *LAYERS)


@fault
def a_bias_of_1e_30(g: Graph, r: Random) -> bool:
    return change(g, r, "bias", lambda x: x + np.float32(1e-30), *LAYERS)


@fault
def one_bias_by_an_ulp(g: Graph, r: Random) -> bool:
    return change(g, r, "bias", ulp, *LAYERS)


@fault
def norm_scale_by_an_ulp(g: Graph, r: Random) -> bool:
    return change(g, r, "weight", ulp, BatchNorm, GroupNorm, LayerNorm, InstanceNorm)


@fault
def norm_shift_by_an_ulp(g: Graph, r: Random) -> bool:
    return change(g, r, "bias", ulp, BatchNorm, GroupNorm, LayerNorm, InstanceNorm)


@fault
def running_mean_by_an_ulp(g: Graph, r: Random) -> bool:
    return change(g, r, "running_mean", ulp, BatchNorm)


@fault
def running_var_by_an_ulp(g: Graph, r: Random) -> bool:
    return change(g, r, "running_var", ulp, BatchNorm)


@fault
def output_channels_swapped(g: Graph, r: Random) -> bool:
    node = pick(g, r, *LAYERS)
    if node is None or g.weights[node.parameter("weight")].shape[0] < 2:
        return False
    array = g.weights[node.parameter("weight")].copy()
    i, j = r.sample(range(len(array)), 2)
    array[[i, j]] = array[[j, i]]
    g.weights[node.parameter("weight")] = array
    return True


@fault
def input_channels_swapped(g: Graph, r: Random) -> bool:
    node = pick(g, r, *LAYERS)
    if node is None or g.weights[node.parameter("weight")].shape[1] < 2:
        return False
    array = g.weights[node.parameter("weight")].copy()
    i, j = r.sample(range(array.shape[1]), 2)
    array[:, [i, j]] = array[:, [j, i]]
    g.weights[node.parameter("weight")] = array
    return True


@fault
def kernel_flipped(g: Graph, r: Random) -> bool:
    node = pick(g, r, Conv)
    if node is None:
        return False
    array = g.weights[node.parameter("weight")]
    g.weights[node.parameter("weight")] = np.ascontiguousarray(array[..., ::-1])
    return array.shape[-1] > 1


@fault
def padding_shifted(g: Graph, r: Random) -> bool:
    node = pick(g, r, Conv)
    if node is None or not node.op.pads[-1][0]:  # type: ignore[attr-defined]
        return False
    *rest, (begin, end) = node.op.pads  # type: ignore[attr-defined]
    return reop(g, node, padding=(*rest, (begin - 1, end + 1)))


@fault
def dilation_changed(g: Graph, r: Random) -> bool:
    node = pick(g, r, Conv)
    return node is not None and reop(g, node, dilation=tuple(d + 1 for d in node.op.dilation))  # type: ignore[attr-defined]


@fault
def stride_changed(g: Graph, r: Random) -> bool:
    node = pick(g, r, Conv, MaxPool, AvgPool)
    return node is not None and reop(g, node, stride=(3,) * node.op.rank)  # type: ignore[attr-defined]


@fault
def eps_changed(g: Graph, r: Random) -> bool:
    node = pick(g, r, BatchNorm, GroupNorm, LayerNorm, InstanceNorm)
    return reop(g, node, eps=3e-5)


@fault
def groups_of_a_norm_changed(g: Graph, r: Random) -> bool:
    node = pick(g, r, GroupNorm)
    if node is None:
        return False
    return reop(g, node, groups=1 if node.op.groups > 1 else node.type.shape[0])  # type: ignore[attr-defined]


@fault
def activation_replaced(g: Graph, r: Random) -> bool:
    node = pick(g, r, Relu)
    if node is not None:
        g.set_op(node.name, LeakyRelu())
    return node is not None


@fault
def slope_changed(g: Graph, r: Random) -> bool:
    return reop(g, pick(g, r, LeakyRelu), slope=0.011) or reop(g, pick(g, r, Elu), alpha=1.01)


@fault
def gelu_approximated(g: Graph, r: Random) -> bool:
    node = pick(g, r, Gelu)
    return node is not None and reop(
        g,
        node,
        approximate="tanh" if node.op.approximate == "none" else "none",  # type: ignore[attr-defined]
    )


@fault
def operands_swapped(g: Graph, r: Random) -> bool:
    node = pick(g, r, Sub, Div, Concat)
    if node is None or len(set(node.operands)) < 2:
        return False
    g.set_operands(node.name, reversed(node.operands))
    return True


@fault
def slice_moved(g: Graph, r: Random) -> bool:
    node = pick(g, r, Slice)
    if node is None or not node.op.start:  # type: ignore[attr-defined]
        return False
    _, start, stop, _ = node.op.bounds(g.operand_types(node)[0])  # type: ignore[attr-defined]
    return reop(g, node, start=start - 1, stop=stop - 1)


@fault
def pad_value_changed(g: Graph, r: Random) -> bool:
    node = pick(g, r, Pad)
    return node is not None and reop(g, node, value=node.op.value + 0.5)  # type: ignore[attr-defined]


@fault
def pad_moved(g: Graph, r: Random) -> bool:
    node = pick(g, r, Pad)
    return node is not None and reop(g, node, before=node.op.after, after=node.op.before)  # type: ignore[attr-defined]


@fault
def pooling_replaced(g: Graph, r: Random) -> bool:
    node = pick(g, r, MaxPool)
    if node is None:
        return False
    op = node.op
    name = f"avg_pool{op.rank}d"  # type: ignore[attr-defined]
    pool = OPS[name].build([], {"kernel": op.kernel, "stride": op.step, "padding": op.padding})  # type: ignore[attr-defined]
    g.set_op(node.name, pool)
    return True


@fault
def constant_changed(g: Graph, r: Random) -> bool:
    node = pick(g, r, Scale)
    return node is not None and reop(g, node, offset=node.op.offset + 1e-12)  # type: ignore[attr-defined]


@fault
def dropout_rate_changed(g: Graph, r: Random) -> bool:
    node = pick(g, r, Dropout)
    return node is not None and reop(g, node, p=(node.op.p + 0.3) % 0.9)  # type: ignore[attr-defined]


@fault
def transposed_otherwise(g: Graph, r: Random) -> bool:
    node = pick(g, r, Transpose)
    if node is None:
        return False
    x = g.operand_types(node)[0]
    orders = list(permutations(range(x.rank)))
    same = [o for o in orders if Transpose(o).infer(x) == node.type]
    return reop(g, node, order=r.choice(same))


@fault
def softmax_along_another_axis(g: Graph, r: Random) -> bool:
    node = pick(g, r, Softmax)
    if node is None or node.type.rank < 2:
        return False
    return reop(g, node, axis=(node.op.axis + 1) % node.type.rank)  # type: ignore[attr-defined]


@fault
def a_stored_number_by_an_ulp(g: Graph, r: Random) -> bool:
    return change(g, r, "", ulp, Stored)


@fault
def gathered_otherwise(g: Graph, r: Random) -> bool:
    node = pick(g, r, Gather)
    return node is not None and reop(g, node, indices=node.op.indices[::-1])  # type: ignore[attr-defined]


@fault
def another_op_put_in_place(g: Graph, r: Random) -> bool:
    """The smallest for the largest, and the like."""
    node = pick(g, r, *OTHERS)
    if node is None:
        return False
    values = {a.name: getattr(node.op, a.name) for a in node.op.attributes}
    g.set_op(node.name, OTHERS[type(node.op)](**values))
    return True


OTHERS: dict[type[Op], type[Op]] = {
    Maximum: Minimum,
    Minimum: Maximum,
    Div: Mul,
    Abs: Relu,
    ReduceMin: ReduceMax,
    ReduceMean: ReduceSum,
    ReduceMax: ReduceL2,
    ReduceSum: ReduceMean,
}


@fault
def node_left_out(g: Graph, r: Random) -> bool:
    nodes = [n for n in g if n.operands and g.node(n.operands[0]).type == n.type]
    if not nodes:
        return False
    node = r.choice(nodes)
    g.redirect(node.name, node.operands[0])
    return True


@fault
def activation_put_in(g: Graph, r: Random) -> bool:
    node = r.choice([n for n in g if n.operands])
    users = [user for user, _ in g.consumers(node.name)]
    added = g.add(Relu(), (node.name,), g.fresh("fault"))
    g.redirect(node.name, added, keep={added})
    return bool(users) or g.is_output(added)


@fault
def fed_by_another_node(g: Graph, r: Random) -> bool:
    order = {name: i for i, name in enumerate(g.order())}
    pairs = [
        (n, other)
        for n in g
        for other in g.order()[: order[n.name]]
        if n.operands and other not in n.operands and g.node(other).type == g.operand_types(n)[0]
    ]
    if not pairs:
        return False
    node, other = r.choice(pairs)
    g.set_operands(node.name, (other, *node.operands[1:]))
    return True


def faulty(student: Graph, name: str, seed: int) -> Graph | None:
    """The network with one fault, or None where it has no place for it."""
    broken = student.copy()
    try:
        if not FAULTS[name](broken, Random(seed)):
            return None
        broken.settle()
        growc.check_invariants(broken)
    except (ShapeError, AssertionError, ValueError):
        return None  # not a network any more
    same_outputs = all(
        broken.node(broken.outputs[o]).type == student.node(n).type
        for o, n in student.outputs.items()
    )
    return broken if same_outputs else None


PIPELINES = ("", "r2wider", "r2deeper", "r2wider{variant=concat}")


def grown(net: Graph, pipeline: str) -> Graph:
    try:
        return growc.compile(net, pipeline, verify="none") if pipeline else net
    except growc.GrowcError:
        return net  # nothing to grow here


@pytest.mark.parametrize("name", FAULTS)
@given(data=st.data())
def test_no_fault_is_proved(name: str, data: st.DataObject) -> None:
    net = data.draw(testing.networks())
    student = grown(net, data.draw(st.sampled_from(PIPELINES)))
    broken = faulty(student, name, data.draw(st.integers(0, 2**16)))
    if broken is None:
        return
    proof = Prover()(net, broken, search=False)
    for mode in proof.proved_modes:
        found = compare(net, broken, modes=(mode,))
        assert found.worst.max_abs <= 1e-12 * max(found.worst.scale, 1), (name, mode, found)


def test_every_fault_finds_a_place() -> None:
    """The tests above really test something: each kind of fault changes some random networks, and
    nearly all of those are seen to be unequal by running them."""
    placed: Counter[str] = Counter()

    @settings(max_examples=300, database=None)
    @given(testing.networks(), st.integers(0, 2**16))
    def look(net: Graph, seed: int) -> None:
        student = grown(net, "r2deeper")
        for name in FAULTS:
            placed[name] += faulty(student, name, seed) is not None

    look()
    # Random networks hardly ever transpose axes of equal size.
    square = growc.loads("net n { input x: f32[3, 4, 4] output y = x -> transpose([0, 2, 1]) }")
    broken = next(b for b in (faulty(square, "transposed_otherwise", i) for i in range(20)) if b)
    assert Prover()(square, broken).verdict == "refuted"
    placed["transposed_otherwise"] += 1
    both = growc.loads("net n { input x: f32[4, 4] output y = x -> softmax }")
    broken = faulty(both, "softmax_along_another_axis", 0)
    assert broken is not None
    assert Prover()(both, broken).verdict == "refuted"
    placed["softmax_along_another_axis"] += 1
    assert len(FAULTS) >= 20
    assert {name for name in FAULTS if not placed[name]} == set()


# ---- equal fingerprints mean equal numbers


@pytest.mark.parametrize("mode", ["eval", "train"])
@given(data=st.data())
def test_equal_fingerprints_mean_equal_numbers(mode: str, data: st.DataObject) -> None:
    """Over all channels of all nodes of grown networks, many of them equal. No dropout, as its
    masks are drawn anew."""
    net = data.draw(testing.networks(dropout=False))
    student = grown(net, data.draw(st.sampled_from(PIPELINES)))
    assert_equal_prints_are_equal(student, mode)


# ---- completeness, on what there is


@pytest.mark.parametrize("name", sorted(PASSES))
@given(data=st.data())
def test_preserving_passes_are_proved_at_every_place(name: str, data: st.DataObject) -> None:
    """Every pass that claims exactness is proved in all claimed modes, never only run."""
    net = data.draw(testing.residual_networks())
    applied = data.draw(testing.passes(PASSES[name]))
    try:
        result = applied(net)
    except growc.GrowcError:
        return
    if not result.claim.exact or not result.claim.modes:
        return
    proof = Prover()(net, result.graph, result.claim.modes, search=False)
    if name in ("net2deeper", "new_layer") and any(isinstance(n.op, Transpose) for n in net):
        # An identity layer on an axis to which a transposition has brought others than the
        # channels is not seen to be the identity.
        assume(proof.verdict == "proved")
    assert proof.verdict == "proved", proof.parting


# ---- equal on ordinary inputs, but not everywhere


BASE = """net n {
    input x: f32[4]
    h = x -> linear(4) -> relu
    output y = h -> linear(2)
}
"""


def test_a_threshold_far_out_is_not_proved() -> None:
    """relu(h - 1e6) is zero on any ordinary input."""
    before = growc.loads(BASE)
    after = growc.loads(BASE.replace("output y = h", "z = h + relu(h - 1000000)\n output y = z"))
    growc.initialize(before)
    growc.initialize(after)
    after.weights.update(before.weights)
    assert compare(before, after).worst.max_abs == 0
    proof = growc.prove(before, after)
    assert proof.verdict == "unproved"
    assert proof.parting is not None


def test_a_bias_of_1e_30_is_not_proved() -> None:
    before = growc.loads(BASE)
    growc.initialize(before)
    before.weights["y.bias"] = np.zeros(2, np.float32)
    after = before.copy()
    after.weights["y.bias"] = np.array([0, 1e-30], np.float32)
    assert compare(before, after).agrees
    proof = growc.prove(before, after)
    assert proof.verdict == "unproved"
    assert (proof.parting.node, proof.parting.channel) == ("y", 1)  # type: ignore[union-attr]
    assert str(proof.parting).endswith("its parameter `y.bias` has other values")


def test_swapped_channels_with_nearly_equal_weights_are_not_proved() -> None:
    before = growc.loads(BASE)
    growc.initialize(before)
    row = before.weights["y.weight"][0]
    before.weights["y.weight"] = np.stack([row, np.nextafter(row, np.float32(9))])
    before.weights["y.bias"] = np.zeros(2, np.float32)
    after = before.copy()
    after.weights["y.weight"] = before.weights["y.weight"][::-1].copy()
    assert growc.prove(before, after).verdict in ("unproved", "refuted")


def test_the_same_function_of_renamed_nodes_is_proved() -> None:
    before = growc.loads(BASE)
    after = growc.loads(BASE.replace("h", "other"))
    growc.initialize(before)
    for name, array in before.weights.items():
        after.weights[name.replace("h.", "other.")] = array.copy()
    assert growc.prove(before, after).verdict == "proved"


def test_a_different_network_is_refuted_with_seed_and_difference() -> None:
    before, after = growc.loads(BASE), growc.loads(BASE)
    growc.initialize(before, seed=0)
    growc.initialize(after, seed=1)
    proof = growc.prove(before, after)
    assert proof.verdict == "refuted"
    assert proof.counterexample is not None
    assert proof.counterexample.worst.max_abs > 0.01
    again = compare(before, after, seed=proof.counterexample.seed)
    assert again.worst.max_abs == proof.counterexample.worst.max_abs


def test_modes_are_told_apart() -> None:
    """A batch norm that is the identity in evaluation is not so in training."""
    before = growc.loads("net n { input x: f32[3] output y = x -> relu }")
    after = growc.loads("net n { input x: f32[3] output y = x -> relu -> dropout(0.5) }")
    assert growc.prove(before, after, "eval").verdict == "proved"
    assert growc.prove(before, after, "train").verdict == "refuted"
    both = growc.prove(before, after)
    assert (both.verdict, both.proved_modes) == ("refuted", ("eval",))


def test_weights_that_are_not_numbers_are_not_proved() -> None:
    before = growc.loads(BASE)
    growc.initialize(before)
    before.weights["y.bias"] = np.array([np.nan, 0], np.float32)
    assert growc.prove(before, before.copy()).verdict != "proved"


@given(testing.networks())
def test_a_network_is_proved_equal_to_itself_read_back(net: Graph) -> None:
    again = growc.loads(growc.dumps(net))
    again.weights = net.weights.copy()
    assert Prover()(net, again, search=False).verdict == "proved"


def test_every_op_has_a_rule_or_is_opaque_on_purpose() -> None:
    """A new op is opaque until someone thinks about it; then it is named here or gets a rule."""
    from growc.fingerprints import rule_of

    assert {name for name, cls in OPS.items() if rule_of(cls) is None} == set()


def test_the_prover_shares_what_networks_share() -> None:
    """Proving one more edit computes only what is new."""
    net = growc.loads(BASE)
    growc.initialize(net)
    prover = Prover()
    prover(net, net.copy())
    known = len(prover._fingerprinter._known)
    prover(net, growc.compile(net, "r2deeper{at=h.relu}", verify="none"))
    # three new nodes and their sum; nothing here differs by mode
    assert len(prover._fingerprinter._known) == known + 4
