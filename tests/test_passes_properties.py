"""What holds for every pass, whatever network and options it is given."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from growc import PASSES, GrowcError, check_invariants, dumps, parse_pipeline, same_weights, testing
from growc.compiler import run
from growc.passes import Claim, Place
from growc.proof import BOTH, FLOAT64_TOLERANCE, ROUNDED_TOLERANCE, compare

# Tiny tensors: several threads, and several test processes, only wait for each other.
torch.set_num_threads(1)

QUICK = settings(deadline=None)
# A draw that runs networks in torch takes 20 times as long as one that does not.
SLOW = settings(deadline=None, max_examples=max(10, settings.default.max_examples // 2))

# These find work only in some networks, most in ones that were grown before: they have their own
# tests.
AFTER_GROWTH = {
    *("cse", "fuse_branches", "merge_duplicates", "new_connection", "prune_dead"),
    "new_heads",  # in networks with attention: tests/test_passes_heads.py
}

VARIANTS = [
    pytest.param(PASSES[name], fixed, id=",".join([name, *fixed.values()]))
    for name in PASSES
    if name not in AFTER_GROWTH
    for fixed in ([{"variant": v} for v in ("parallel", "concat")] if name == "r2wider" else [{}])
]
every_pass = pytest.mark.parametrize(("cls", "fixed"), VARIANTS)


def open_places(applied, net, single=False):
    found = applied.find(net)
    items = [*found.main, *(found.single() if single else ())]
    return [item.name for item in items if isinstance(item, Place)]


@st.composite
def cases(draw, cls, fixed):
    """(network, a pass with random options and places that applies to it)."""
    networks = (
        testing.masked_networks()
        if cls.name == "new_connection"  # which needs something that is missing
        else testing.residual_networks() | testing.networks() | testing.masked_networks()
    )
    applied = replace(draw(testing.passes(cls)), **fixed)
    if cls.name == "new_connection":
        applied = replace(applied, indices=None)
    # Some passes find work in one network of ten: fewer draws are thrown away with several tries.
    for _ in range(6):
        net = draw(networks)
        names = open_places(applied, net)
        if names:
            break
    if draw(st.booleans()):
        names = open_places(applied, net, single=True)
        at = st.lists(st.sampled_from(names), min_size=1, max_size=3) if names else st.nothing()
        applied = replace(applied, at=tuple(draw(at))) if names else applied
    assume(names)
    return net, applied


def snapshot(graph):
    return graph.copy(), dict(graph.weights), {k: v.tobytes() for k, v in graph.weights.items()}


@every_pass
@QUICK
@given(data=st.data())
def test_structure(cls, fixed, data):
    """What is true of the result of any pass, but for its function."""
    net, applied = data.draw(cases(cls, fixed))
    before, arrays, numbers = snapshot(net)
    result = applied(net)
    student = result.graph
    assert result.places

    # The input is as it was: text, keys, arrays and their bytes.
    assert net == before
    assert list(net.weights) == list(arrays)
    assert all(net.weights[k] is arrays[k] and arrays[k].tobytes() == numbers[k] for k in arrays)

    check_invariants(student)
    testing.assert_round_trips(student)
    specs = student.parameters()
    assert all(
        student.weights[k].shape == s.shape and student.weights[k].dtype == np.float32
        for k, s in specs.items()
    )
    assert student.inputs == net.inputs
    assert list(student.outputs) == list(net.outputs)

    # The same seed gives the same bytes.
    again = applied(net).graph
    assert dumps(again) == dumps(student)
    assert same_weights(again, student)


@pytest.mark.parametrize(("cls", "fixed"), [v for v in VARIANTS if v.id.startswith("r2")])
@QUICK
@given(data=st.data())
def test_r2r_keeps_the_teachers_parameters(cls, fixed, data):
    """θ_t is in θ_s: the same objects; or, where filters are concatenated, the leading corner."""
    net, applied = data.draw(cases(cls, fixed))
    student = applied(net).graph
    for key in net.parameters():
        old, new = net.weights[key], student.weights[key]
        if new is not old:
            assert fixed.get("variant") == "concat", key
            np.testing.assert_array_equal(new[tuple(map(slice, old.shape))], old)
            assert new.shape != old.shape
    assert student.parameter_count() > net.parameter_count()
    assert not same_weights(applied(net, seed=1).graph, student)


def assert_claim_holds(claim, net, student):
    """In the modes claimed, up to what rounding explains."""
    if not claim.modes:
        return
    found = compare(net, student, modes=claim.modes)
    tolerance = FLOAT64_TOLERANCE if claim.exact else ROUNDED_TOLERANCE
    excused = found.worst.max_abs == float("inf")
    # An output that is zero, as where all weights are masked, has no scale to measure against.
    excused = excused or (found.worst.scale == 0 and found.worst.max_abs <= 1e-15)
    assert excused or found.worst.relative <= tolerance, (found.worst, dumps(net), dumps(student))


@every_pass
@SLOW
@given(data=st.data())
def test_the_function_is_preserved(cls, fixed, data):
    net, applied = data.draw(cases(cls, fixed))
    result = applied(net)
    assert_claim_holds(result.claim, net, result.graph)


PRESERVING = sorted({v.values[0].name for v in VARIANTS if v.values[0].claim.modes == BOTH})


@SLOW
@given(net=testing.residual_networks(steps=2), pipeline=testing.pipelines(PRESERVING, least=2))
def test_passes_compose_in_any_order(net, pipeline):
    applied = []
    grown = net
    exact = True
    for one in pipeline:
        if open_places(one, grown) and len(grown) < 200:
            result = one(grown, seed=len(applied))
            grown, exact = result.graph, exact and result.claim.exact
            applied.append(one)
    assume(len(applied) >= 2)
    assert_claim_holds(Claim(eval=True, train=True, exact=exact), net, grown)
    testing.assert_round_trips(grown)
    if len(pipeline) == len(applied):
        text = ", ".join(map(str, pipeline))
        compiled = run(net, text, verify="none")
        assert [step.applied for step in compiled.steps] == applied
        assert all(a.result.graph is b.before for a, b in pairwise(compiled.steps))


@settings(deadline=None, max_examples=max(10, settings.default.max_examples // 4))
@given(data=st.data())
def test_teacher_and_student_agree_in_onnxruntime(data):
    from growc import run_onnx, to_onnx
    from growc.proof.numeric import random_inputs

    exact = [v.values for v in VARIANTS if v.values[0].claim.eval and v.values[0].claim.exact]
    cls, fixed = data.draw(st.sampled_from(exact))
    net, applied = data.draw(cases(cls, fixed))
    student = applied(net).graph
    testing.assert_backends_agree(student)
    inputs = {k: v.astype(np.float32) for k, v in random_inputs(net, 0, 3).items()}
    expected, found = (run_onnx(to_onnx(g), inputs) for g in (net, student))
    for name, y in expected.items():
        scale = max(float(np.abs(y).max()), 1e-3)
        # float32 rounding of the two zero halves, enlarged by norms and several blocks
        np.testing.assert_allclose(found[name], y, rtol=0, atol=1e-3 * scale)


@QUICK
@given(net=testing.networks(), pipeline=testing.pipelines(most=1))
def test_a_place_that_is_not_there_is_an_error_and_changes_nothing(net, pipeline):
    before, _, numbers = snapshot(net)
    nowhere = replace(pipeline[0], at=("no such place",))
    with pytest.raises(GrowcError, match="no place of this network is called `no such place`") as e:
        nowhere(net)
    assert e.value.diagnostics[0].help
    assert net == before
    assert {k: v.tobytes() for k, v in net.weights.items()} == numbers


@QUICK
@given(net=testing.residual_networks(), data=st.data())
def test_every_place_is_open_or_has_a_reason(net, data):
    """A place that is open can be taken alone; one that is refused says why, in one sentence."""
    (applied,) = data.draw(testing.pipelines(most=1))
    found = applied.find(net)
    for item in [*found.main, *found.single()][:6]:
        if isinstance(item, Place):
            assert replace(applied, at=(item.name,))(net).places
        else:
            assert item.reason
            assert not item.reason.endswith(".")


@SLOW
@given(net=testing.residual_networks(steps=3))
def test_the_order_of_unrelated_places_does_not_matter(net):
    (wider,) = parse_pipeline("r2wider")
    blocks = [item.block for item in wider.find(net).main if isinstance(item, Place)]
    assume(len({b.name for b in blocks}) == len(blocks) > 1)
    one, two = blocks[0], blocks[-1]
    # Blocks inside others, or with others inside, are related.
    assume(one.sum not in two.body and two.sum not in one.body)
    first, second = (replace(wider, at=(block.sum,)) for block in (one, two))
    one = second(first(net).graph).graph
    two = first(second(net).graph).graph
    assert one == two
    assert same_weights(one, two)
