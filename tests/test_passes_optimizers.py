"""The passes that make networks smaller: what holds on random networks, grown and untidy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from growc import GrowcError, check_invariants, compare, dumps, parse_pipeline, testing
from growc.ir.ops import BatchNorm, Conv, Dropout, Identity, Linear, Relu, Scale, Stored
from growc.passes import Place
from growc.proof.exact import Prover

torch.set_num_threads(1)

QUICK = settings(deadline=None)
# A draw that runs networks in torch takes 20 times as long as one that does not.
SLOW = settings(deadline=None, max_examples=max(8, settings.default.max_examples // 4))

OPTIMIZERS = [
    "prune_dead",
    "cse",
    "cse{weights=equal}",
    "merge_duplicates",
    "fuse_branches",
    "fold_batch_norm",
]

ROUNDING = 1e-5
"""Largest difference, relative to the output's scale, that new weights rounded to float32 explain.

Each rounds by 6e-8; norms with a small variance, eps at least 1e-3, enlarge that by up to 30."""

each = pytest.mark.parametrize("text", OPTIMIZERS)


def the(text):
    (applied,) = parse_pipeline(text)
    return applied


def open_places(applied, net, single=False):
    found = applied.find(net)
    items = [*found.main, *(found.single() if single else ())]
    return [item.name for item in items if isinstance(item, Place)]


# ---- networks that leave something to do


def double(draw, net, number):
    """Another node computes the same, with the same parameters or equal ones, for one user."""
    name = draw(st.sampled_from([n.name for n in net]))
    node = net.node(name)
    users = net.consumers(name)
    if name in net.inputs or not users:
        return
    other = f"double{number}"
    # The language has no words for a stored tensor under another node's name.
    tied = draw(st.booleans()) and not isinstance(node.op, Stored)
    keys = net.params_of(name)
    shared = {spec.role: key for key, spec in keys} if tied else {}
    net.add(node.op, node.operands, other, shared)
    if not tied:
        own = net.node(other).parameter
        net.weights.update({own(s.role): net.weights[k].copy() for k, s in keys})
    user, index = draw(st.sampled_from(users))
    operands = list(net.node(user).operands)
    operands[index] = other
    net.set_operands(user, operands)


def idle(draw, net, number):
    """An operation that changes nothing stands after a node, or before one output."""
    name = draw(st.sampled_from([n.name for n in net]))
    op = draw(st.sampled_from([Identity(), Scale(), Dropout(0.0)]))
    new = net.add(op, (name,), f"idle{number}")
    net.redirect(name, new, keep={new})


def dead(draw, net, number):
    """A few nodes that no output needs."""
    name = draw(st.sampled_from([n.name for n in net]))
    first = net.add(Relu(), (name,), f"dead{number}")
    net.add(Scale(2.0), (first,), f"dead{number}_2")


def blank(draw, net, number):
    """A layer's channel is zero, a copy of another, or read with zeros."""
    layers = [n for n in net if isinstance(n.op, (Conv, Linear)) and not net.is_tied(n.name)]
    if not layers:
        return
    node = draw(st.sampled_from(layers))
    values = {spec.role: net.weights[key].copy() for key, spec in net.params_of(node.name)}
    rows, columns = values["weight"].shape[:2]
    i, j, column = (draw(st.integers(0, n - 1)) for n in (rows, rows, columns))
    match draw(st.sampled_from(["zero", "copy", "unread"])):
        case "zero":
            for value in values.values():
                value[i] = 0
        case "copy":
            for value in values.values():
                value[i] = value[j]
        case "unread":
            values["weight"][:, column] = 0
    net.weights.update({node.parameter(role): value for role, value in values.items()})


def normed(draw, net, number):
    """A batch norm stands after a layer, perhaps for one of its users only."""
    layers = [n.name for n in net if isinstance(n.op, (Conv, Linear))]
    if not layers:
        return
    name = draw(st.sampled_from(layers))
    new = net.add(BatchNorm(eps=0.1, affine=draw(st.booleans())), (name,), f"norm{number}")
    rng = np.random.default_rng(number)
    for key, spec in net.params_of(new):
        net.weights[key] = rng.uniform(0.4, 1.8, spec.shape).astype(np.float32)
    users = [user for user, _ in net.consumers(name)]
    keep = {users[0]} if len(users) > 2 and draw(st.booleans()) else set()
    net.redirect(name, new, keep={new, *keep})


MESS = {
    "prune_dead": [idle, dead, blank],
    "cse": [double],
    "cse{weights=equal}": [double],
    "merge_duplicates": [blank],
    "fuse_branches": [blank],
    "fold_batch_norm": [normed],
}
GROWTH = {
    "merge_duplicates": ["r2wider{variant=concat}", "r2wider"],
    "fuse_branches": ["r2wider", "r2wider{filters=2, kernel=1}", "r2deeper{blocks=2}"],
}


def grow(net, pipeline):
    for growth in pipeline:
        if open_places(the(growth), net) and len(net) < 100:
            net = the(growth)(net).graph
    return net


@st.composite
def untidy(draw, text):
    """A random network, grown, with some things in it that an optimizer removes."""
    net = draw(st.one_of(testing.residual_networks(steps=2), testing.networks(steps=3))).copy()
    growth = GROWTH.get(text, [])
    net = grow(
        net, draw(st.lists(st.sampled_from(growth), min_size=1, max_size=2)) if growth else []
    )
    for number in range(draw(st.integers(0 if growth else 1, 3))):
        draw(st.sampled_from(MESS[text]))(draw, net, number)
        net.settle()
    check_invariants(net)
    return net


@st.composite
def cases(draw, text):
    """(network, an optimizer that applies to it), at all places or at some."""
    net, applied = draw(untidy(text)), the(text)
    names = open_places(applied, net)
    assume(names)
    if draw(st.integers(0, 3)) == 3:
        some = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)))
        # What one place allows may depend on others that were not named.
        applied = replace(applied, at=some)
        assume(set(some) <= set(open_places(applied, net)))
    return net, applied


# ---- what holds


@each
@QUICK
@given(data=st.data())
def test_structure_and_proof(text, data):
    """All about one application, but for numbers: it is proved where it claims to be exact."""
    net, applied = data.draw(cases(text))
    before, arrays = net.copy(), dict(net.weights)
    numbers = {key: value.tobytes() for key, value in arrays.items()}
    result = applied(net)

    assert net == before
    assert list(net.weights) == list(arrays)
    assert all(net.weights[k] is arrays[k] and arrays[k].tobytes() == numbers[k] for k in arrays)

    small = result.graph
    check_invariants(small)
    testing.assert_round_trips(small)
    assert small.inputs == net.inputs
    assert list(small.outputs) == list(net.outputs)
    specs = small.parameters()
    assert set(small.weights) == set(specs)
    for key, spec in specs.items():
        assert small.weights[key].shape == spec.shape
        assert small.weights[key].dtype == np.float32
        assert small.weights[key].flags.c_contiguous
        if not text.startswith(("fuse", "fold")) and spec.shape == net.parameters()[key].shape:
            # What is not narrowed stays the same object, unless weights were added up in it.
            assert small.weights[key] is net.weights[key] or text == "merge_duplicates"
    assert len(small) <= len(net)
    if not text.startswith(("fuse", "fold")):
        assert small.parameter_count() <= net.parameter_count()

    modes = tuple(m for m in ("eval", "train") if getattr(result.claim, m))
    assert modes == (("eval",) if text == "fold_batch_norm" else ("eval", "train"))
    if result.claim.exact:
        proof = Prover()(net, small, modes, search=False)
        assert proof.verdict == "proved", f"{proof.parting}\n{dumps(net)}\n{dumps(small)}"

    if applied.at is None:  # a second run has nothing to do, and every refusal a reason
        found = applied.find(small)
        assert not any(isinstance(item, Place) for item in found.main)
        with pytest.raises(GrowcError, match=r"to apply it to|does not apply at"):
            applied(small)
        for item in [*found.main, *found.single()][:4]:
            assert item.reason
            assert not item.reason.endswith(".")
            with pytest.raises(GrowcError, match="does not apply at"):
                replace(applied, at=(item.place.name,))(small)


@each
@SLOW
@given(data=st.data())
def test_the_function_in_numbers(text, data):
    """Exact claims up to FLOAT64_TOLERANCE, others up to what rounding to float32 explains."""
    net, applied = data.draw(cases(text))
    applied = replace(applied, at=None)
    result = applied(net)
    if result.claim.exact:
        testing.assert_preserves(net, result.graph)
    else:
        modes = tuple(m for m in ("eval", "train") if getattr(result.claim, m))
        assert compare(net, result.graph, modes=modes).worst.relative <= ROUNDING


@QUICK
@given(net=st.one_of(testing.residual_networks(), testing.networks()))
def test_merging_undoes_concatenated_widening(net):
    """The widened net and the net itself come down to one size, exactly."""
    wider, merge = the("r2wider{variant=concat}"), the("merge_duplicates")
    assume(open_places(wider, net))
    result = merge(wider(net).graph)
    least = merge(net).graph if open_places(merge, net) else net
    assert result.graph.parameter_count() == least.parameter_count()
    assert [n.type for n in result.graph] == [n.type for n in least]


@QUICK
@given(net=testing.residual_networks(), times=st.integers(2, 3))
def test_blocks_beside_each_other_become_one(net, times):
    wider, fuse = the("r2wider"), the("fuse_branches")
    assume(open_places(wider, net))
    grown = net
    for _ in range(times):
        grown = wider(grown).graph
    assume(open_places(fuse, grown))
    result = fuse(grown)
    assert len(result.graph) < len(grown)
    assert not open_places(fuse, result.graph)
    assert result.claim.exact is (Prover()(grown, result.graph, search=False).verdict == "proved")
