"""Net2Net's passes and the papers' baseline: net2wider, net2deeper, random_pad."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from growc import (
    PASSES,
    GrowcError,
    check_invariants,
    compare,
    dumps,
    initialize,
    loads,
    parse_pipeline,
    same_weights,
    testing,
)
from growc.passes import Claim, Place
from growc.proof.exact import Prover
from growc.testing_networks import fill

torch.set_num_threads(1)

BOTH = ("eval", "train")
WIDER, DEEPER, PAD = (PASSES[name] for name in ("net2wider", "net2deeper", "random_pad"))
QUICK = settings(deadline=None)
SLOW = settings(deadline=None, max_examples=max(10, settings.default.max_examples // 2))

ROUNDED = 1e-5
"""Largest relative difference that rounded parts of weights explain, computed in float64.

w/3 in float32 is off by 6e-8 of itself; the norms that follow divide by small deviations, which
enlarges that by some 1e2 in these networks."""


def verdict(before, after, modes=BOTH):
    return Prover()(before, after, modes, search=False).verdict


def open_places(applied, net):
    found = applied.find(net)
    return [item.name for item in (*found.main, *found.single()) if isinstance(item, Place)]


@st.composite
def cases(draw, cls, **fixed):
    """(network, pass): random options, at random places or at all."""
    net = draw(st.one_of(testing.residual_networks(), testing.networks()))
    applied = replace(draw(testing.passes(cls)), **fixed)
    names = open_places(applied, net)
    assume(names)
    if draw(st.booleans()) or not any(isinstance(p, Place) for p in applied.find(net).main):
        at = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
        applied = replace(applied, at=tuple(at))
    return net, applied


def net(body, shape="4, 6, 6"):
    """A network whose every parameter is random, running statistics too."""
    graph = loads(f"net n {{ input x: f32[{shape}]\n{body}\n}}")
    fill(graph, 0)
    return graph


def grow(graph, text, seed=0):
    (applied,) = parse_pipeline(text)
    result = applied(graph, seed=seed)
    check_invariants(result.graph)
    return result


# ---- what holds for all networks


@pytest.mark.parametrize("cls", [WIDER, DEEPER, PAD])
@QUICK
@given(data=st.data())
def test_structure(cls, data):
    """Everything but the function: the teacher stays as it was; the same seed, the same bytes."""
    teacher, applied = data.draw(cases(cls))
    before, arrays = teacher.copy(), dict(teacher.weights)
    numbers = {key: value.tobytes() for key, value in arrays.items()}
    student = applied(teacher).graph

    assert teacher == before
    assert list(teacher.weights) == list(arrays)
    assert all(teacher.weights[k] is a and a.tobytes() == numbers[k] for k, a in arrays.items())
    check_invariants(student)
    testing.assert_round_trips(student)
    assert student.parameter_count() > teacher.parameter_count()
    for key, spec in student.parameters().items():
        assert student.weights[key].shape == spec.shape
        assert student.weights[key].dtype == np.float32

    again = applied(teacher).graph
    assert again == student
    assert same_weights(again, student)
    assert parse_pipeline(str(applied)) == [applied]

    for key in teacher.parameters():
        old, new = teacher.weights[key], student.weights[key]
        if cls is DEEPER or new.shape == old.shape:
            assert new is old
        elif cls is PAD:
            np.testing.assert_array_equal(new[tuple(map(slice, old.shape))], old)


@QUICK
@given(case=cases(DEEPER))
def test_net2deeper_is_proved_everywhere(case):
    teacher, applied = case
    result = applied(teacher)
    assert result.claim == Claim(eval=True, train=True)
    assert verdict(teacher, result.graph) == "proved"


@QUICK
@given(case=cases(WIDER), seed=st.integers(0, 9), exact=st.booleans())
def test_net2wider_is_proved_where_it_claims_to_be_exact(case, seed, exact):
    teacher, applied = case
    if exact:
        applied = replace(applied, split="exact")
    result = applied(teacher, seed=seed)
    assert result.claim.modes == BOTH
    assume(result.claim.exact)
    assert verdict(teacher, result.graph) == "proved"


@SLOW
@given(case=cases(WIDER, choose="random", split="equal"), filters=st.integers(3, 7))
def test_net2wider_by_other_numbers_is_the_same_within_rounding(case, filters):
    teacher, applied = case
    applied = replace(applied, filters=filters)
    assume(set(applied.at or ()) <= set(open_places(applied, teacher)))
    assume(open_places(applied, teacher))
    assume(applied.at or any(isinstance(p, Place) for p in applied.find(teacher).main))
    result = applied(teacher)
    assert result.claim == Claim(eval=True, train=True, exact=False)
    worst = compare(teacher, result.graph).worst
    assert worst.relative <= ROUNDED
    if worst.relative > 1e-12:  # rounding of the weights, not of the sums in float64
        assert verdict(teacher, result.graph) != "proved"


@SLOW
@given(case=cases(WIDER))
def test_net2wider_preserves_the_function_in_torch(case):
    """The prover is not the only judge."""
    teacher, applied = case
    testing.assert_preserves(teacher, replace(applied, split="exact")(teacher).graph)


@SLOW
@given(case=cases(DEEPER))
def test_net2deeper_preserves_the_function_in_torch(case):
    teacher, applied = case
    testing.assert_preserves(teacher, applied(teacher).graph)


@SLOW
@given(case=cases(PAD))
def test_random_pad_claims_nothing(case):
    """Proved only where nothing depends on the new weights, as behind a window of padding."""
    teacher, applied = case
    result = applied(teacher)
    assert result.claim.modes == ()
    if verdict(teacher, result.graph) == "proved":
        assert compare(teacher, result.graph).worst.max_abs == 0


# ---- what the passes make of single networks

MLP = "y = x -> linear(3) as a -> relu as r -> linear(2) as b\noutput y"
CNN = (
    "y = x -> conv2d(4) as a -> batch_norm as n -> relu as r -> conv2d(4, groups=4) as w"
    " -> max_pool2d as p -> flatten as f -> linear(2) as b\noutput y"
)
RESNET = (
    "y = x -> conv2d(6) as c.a -> batch_norm as c.n -> relu as c.r -> conv2d(4) as c.b\n"
    "s = add(x, y) as c.s\nz = s -> relu as r -> flatten -> linear(2) as b\noutput z"
)
TOKENS = (
    "y = x -> linear(6) as a -> layer_norm as n -> relu as r -> linear(4) as b\n"
    "z = add(x, y) as s\noutput z"
)
NETS = {"mlp": (MLP, "5"), "cnn": (CNN, "4, 6, 6"), "resnet": (RESNET, "4, 6, 6")}
NETS["tokens"] = (TOKENS, "5, 4")


@pytest.mark.parametrize("name", NETS)
def test_random_pad_is_refuted(name):
    teacher = net(*NETS[name])
    student = grow(teacher, "random_pad").graph
    proof = Prover()(teacher, student)
    assert proof.verdict == "refuted"
    assert not proof.counterexample.agrees
    assert not compare(teacher, student).agrees
    # The baseline is as large as what it is compared with.
    wider = "r2wider{variant=concat}" if name != "tokens" else "net2wider"
    assert student.parameters() == grow(teacher, wider).graph.parameters()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("text", ["net2wider", "net2wider{choose=order}", "net2deeper"])
def test_preserving_passes_are_proved(name, text):
    teacher = net(*NETS[name])
    student = grow(teacher, text).graph
    assert verdict(teacher, student) == "proved"
    testing.assert_preserves(teacher, student)


def test_net2wider_by_hand():
    """[U]·[h] → [U/n …]·[h; …] for three hidden units, the first of which gets two copies."""
    teacher = net(MLP, "5")
    student = grow(teacher, "net2wider{filters=4, choose=order}").graph
    old, new = teacher.weights, student.weights
    copied = [0, 1, 2, 0, 1, 2, 0]
    n = np.float32([3, 2, 2, 3, 2, 2, 3])
    np.testing.assert_array_equal(new["a.weight"], old["a.weight"][copied])
    np.testing.assert_array_equal(new["a.bias"], old["a.bias"][copied])
    np.testing.assert_array_equal(new["b.weight"], old["b.weight"][:, copied] / n)
    assert new["b.bias"] is old["b.bias"]
    assert student.parameter_count() == (5 * 7 + 7) + (7 * 2 + 2)


def test_net2wider_copies_all_that_belongs_to_a_channel():
    """Norms with running statistics, depthwise kernels; after a flatten, each has nine numbers."""
    teacher = net(CNN)
    student = grow(teacher, "net2wider{filters=2, choose=order, at=a}").graph
    old, new = teacher.weights, student.weights
    copied = [0, 1, 2, 3, 0, 1]
    roles = ("weight", "bias", "running_mean", "running_var")
    for key in ["a.weight", "a.bias", *(f"n.{r}" for r in roles), "w.weight", "w.bias"]:
        np.testing.assert_array_equal(new[key], old[key][copied])
    read = old["b.weight"].reshape(2, 4, 9)[:, copied] / np.float32([2, 2, 1, 1, 2, 2])[:, None]
    np.testing.assert_array_equal(new["b.weight"], read.reshape(2, 54))
    assert student.node("w").op.groups == student.node("w").op.channels == 6


def test_a_layer_that_ends_one_chain_and_begins_another():
    teacher = net("y = x -> linear(3) as a -> tanh -> linear(2) as b -> tanh -> linear(1) as c\n"
                  "output y", "4")  # fmt: skip
    student = grow(teacher, "net2wider{choose=order}").graph
    old, new = teacher.weights["b.weight"], student.weights["b.weight"]
    np.testing.assert_array_equal(new, np.block([[old, old], [old, old]]) / 2)
    assert verdict(teacher, student) == "proved"
    odd = grow(teacher, "net2wider{choose=order, filters=5, split=exact}")
    assert odd.claim.exact
    assert verdict(teacher, odd.graph) == "proved"


def test_even_copies_are_random_and_none_comes_again_before_all_others():
    teacher = net("y = x -> linear(8) as a -> relu -> linear(2) as b\noutput y", "3")
    rows = []
    for seed in range(4):
        student = grow(teacher, "net2wider{filters=20}", seed).graph
        rows.append([tuple(row) for row in student.weights["a.weight"]])
        counts = Counter(rows[-1])
        assert sorted(counts.values()) == [3] * 4 + [4] * 4
        assert len(set(rows[-1][8:16])) == 8
    assert len({tuple(r) for r in rows}) == 4
    twice = grow(grow(teacher, "net2wider").graph, "net2wider").graph
    assert verdict(teacher, twice) == "proved"
    own, other = (grow(teacher, "net2wider{seed=7}", seed).graph for seed in (0, 1))
    assert same_weights(own, other)


def test_random_copies_repeat():
    teacher = net("y = x -> linear(8) as a -> relu -> linear(2) as b\noutput y", "3")
    weight = grow(teacher, "net2wider{choose=random}").graph.weights["a.weight"]
    assert max(Counter(map(tuple, weight)).values()) > 2


def test_group_norm_copies_whole_groups():
    body = "y = x -> conv2d(6) as a -> group_norm(3) as n -> relu -> conv2d(1) as b\noutput y"
    teacher = net(body)
    for choose in ("even", "order", "random"):
        result = grow(teacher, f"net2wider{{filters=4, choose={choose}, split=exact}}")
        assert result.graph.node("n").op.groups == 5
        pairs = result.graph.weights["n.bias"].reshape(5, 2).tolist()
        assert all(pair in pairs[:3] for pair in pairs)
        assert verdict(teacher, result.graph) == "proved"


def test_layer_norm_of_equally_many_copies():
    """[h; h] has the mean and the variance of h."""
    teacher = net(TOKENS, "5, 4")
    for text in ("net2wider", "net2wider{filters=18}", "net2wider{filters=12, split=exact}"):
        result = grow(teacher, text)
        assert result.claim.exact
        assert verdict(teacher, result.graph) == "proved"
        testing.assert_preserves(teacher, result.graph)
    image = net("y = x -> conv2d(2) as a -> layer_norm(dims=3) -> conv2d(1) as b\noutput y")
    assert verdict(image, grow(image, "net2wider").graph) == "proved"


@pytest.mark.parametrize(
    ("options", "exact"),
    [
        ("filters=3", True),  # some twice
        ("filters=6", True),  # all twice
        ("filters=7", False),  # some three times
        ("filters=12", False),  # all three times
        ("filters=18", True),  # all four times
        ("filters=19", False),  # some five times
        ("filters=42", True),  # all eight times
        ("filters=7, split=exact", True),
        ("filters=1, choose=random", True),
        ("filters=2, choose=random", False),
    ],
)
def test_claims(options, exact):
    teacher = net("y = x -> linear(6) as a -> gelu -> linear(3) as b\noutput y", "4")
    result = grow(teacher, f"net2wider{{{options}}}")
    assert result.claim == Claim(eval=True, train=True, exact=exact)
    assert (verdict(teacher, result.graph) == "proved") == (exact or "random" in options)
    assert compare(teacher, result.graph).worst.relative <= ROUNDED


@pytest.mark.parametrize("tiny", [1e-45, 3e-45, 7e-43, 1.1754944e-38, 2.3e-38])
def test_numbers_too_small_to_be_halved(tiny):
    """A denormal's last bit would be lost: the two parts of such a weight are not equal."""
    teacher = net(MLP, "5")
    teacher.weights["b.weight"] = np.full((2, 3), tiny, np.float32)
    result = grow(teacher, "net2wider")
    assert result.claim.exact
    assert verdict(teacher, result.graph) == "proved"
    assert verdict(teacher, grow(teacher, "net2wider{filters=11, split=exact}").graph) == "proved"


@pytest.mark.parametrize("text", ["net2wider{choose=order}", "random_pad", "net2deeper"])
def test_masks_grow_with_their_parameters(text):
    teacher = net(MLP, "5")
    for key in ("a.weight", "b.weight"):
        mask = np.random.default_rng(0).random(teacher.weights[key].shape) < 0.5
        teacher.weights.put(key, np.where(mask, teacher.weights[key], np.float32(0)), mask)
    old, new = teacher.weights.masks, grow(teacher, text).graph.weights.masks
    if text == "net2deeper":
        assert new == old
    elif text == "random_pad":
        assert new["a.weight"].shape == (7, 5)
        np.testing.assert_array_equal(new["a.weight"][:3], old["a.weight"])
        assert new["a.weight"][3:].all()
        assert new["b.weight"][:, 3:].all()
    else:
        np.testing.assert_array_equal(new["a.weight"], np.tile(old["a.weight"], (2, 1)))
        np.testing.assert_array_equal(new["b.weight"], np.tile(old["b.weight"], (1, 2)))


@pytest.mark.parametrize("choose", ["even", "order"])
def test_norms_after_a_flatten(choose):
    """There a channel has nine numbers, each with its own statistics; and groups of numbers hold
    parts of several channels."""
    for norm in ("batch_norm", "group_norm(2)", "group_norm(12)", "layer_norm"):
        layers = f"conv2d(4) as a -> max_pool2d -> flatten -> {norm} as n -> linear(2) as b"
        teacher = net(f"y = x -> {layers}\noutput y")
        result = grow(teacher, f"net2wider{{at=a, choose={choose}}}")
        assert verdict(teacher, result.graph) == "proved"


@pytest.mark.parametrize("n", [3, 5, 7, 11, 100])
def test_exact_parts_add_up_to_every_weight(n):
    """In rational arithmetic, for all magnitudes and near powers of two, where the parts of one
    weight may lie on both sides of the power."""
    rng = np.random.default_rng(n)
    near = np.float32(n) * (1 + rng.integers(-40, 40, 400) * 2.0**-24)
    wide = rng.standard_normal(400) * 10.0 ** rng.integers(-44, 30, 400)
    teacher = net("y = x -> linear(1) as a -> linear(800) as b\noutput y", "1")
    teacher.weights["b.weight"] = np.concatenate([near, wide]).astype(np.float32)[:, None]
    student = grow(teacher, f"net2wider{{filters={n - 1}, split=exact}}").graph
    parts = student.weights["b.weight"]
    for old, row in zip(teacher.weights["b.weight"].ravel(), parts, strict=True):
        assert sum(map(Fraction, row.tolist())) == Fraction(float(old))
    # No part is far from the others.
    np.testing.assert_allclose(parts, np.repeat(parts[:, 1:2], n, 1), rtol=n * 3e-7, atol=n * 3e-45)


# ---- net2deeper


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_identity_is_the_tap_that_moves_nothing(kernel, rank):
    """Of even kernels too: the one where the padding before ends."""
    shape = ", ".join(["2", *["4"] * rank])
    teacher = net(f"y = x -> conv{rank}d(3) as a -> relu as r\noutput y", shape)
    student = grow(teacher, f"net2deeper{{kernel={kernel}}}").graph
    layer = f"r.net2deeper.conv{rank}d"
    weight = student.weights[f"{layer}.weight"]
    assert weight.shape == (3, 3, *[kernel] * rank)
    assert weight.sum() == np.count_nonzero(weight) == 3
    assert not student.weights[f"{layer}.bias"].any()
    assert student.parameter_count() - teacher.parameter_count() == 9 * kernel**rank + 3
    assert student.outputs["y"] == "r.net2deeper.relu"
    assert compare(teacher, student).worst.max_abs == 0
    assert verdict(teacher, student) == "proved"


def test_net2deeper_follows_the_nearest_layer():
    """Tokens get a linear layer, as do vectors; without biases where that layer has none."""
    body = "y = x -> linear(6, bias=false) as a -> relu as r -> linear(4) as b\noutput y"
    student = grow(net(body, "5, 4"), "net2deeper").graph
    assert student.node("r.net2deeper.linear").op.arguments() == student.node("a").op.arguments()
    np.testing.assert_array_equal(student.weights["r.net2deeper.linear.weight"], np.eye(6))
    assert (
        "r.net2deeper.conv1d"
        in grow(net("y = x -> relu as r\noutput y", "5, 4"), "net2deeper").graph
    )


def test_after_a_layer_the_identity_stands_alone():
    teacher = net("y = x -> conv2d(4) as a -> batch_norm as n -> gelu as g\noutput y")
    student = grow(teacher, "net2deeper{at=a}").graph
    assert [node.name for node in student] == ["x", "a", "a.net2deeper.conv2d", "n", "g"]
    assert verdict(teacher, student) == "proved"


def test_all_relus_or_those_named():
    teacher = net(RESNET)
    assert [p.name for p in grow(teacher, "net2deeper").places] == ["c.r", "r"]
    assert [p.name for p in grow(teacher, "net2deeper{at=[r, c.a]}").places] == ["r", "c.a"]


def test_names_do_not_grow_with_every_generation():
    graph = net(RESNET)
    for generation in range(12):
        last = [p.name for p in DEEPER().find(graph).main][generation % 2]
        graph = grow(graph, f"net2deeper{{at={last}}}").graph
    assert max(len(node.name) for node in graph) < 30


# ---- random_pad


def test_random_pad_has_no_equal_halves_and_keeps_the_old_corner():
    teacher = net(CNN)
    student = grow(teacher, "random_pad{filters=4, at=a}").graph
    old, new = teacher.weights, student.weights
    for key, axis in (("a.weight", 0), ("w.weight", 0), ("b.weight", 1)):
        grown = np.moveaxis(new[key], axis, 0)
        added = grown[len(old[key]) if axis == 0 else old[key].shape[1] :]
        rows = added.reshape(len(added), -1)
        assert len({tuple(abs(row)) for row in rows}) == len(rows)
        assert prod(rows.shape) == np.unique(np.abs(rows)).size
    for role, start in (("weight", 1), ("running_var", 1), ("bias", 0), ("running_mean", 0)):
        assert (new[f"n.{role}"][4:] == start).all()
    assert not same_weights(student, grow(teacher, "random_pad{filters=4, at=a}", 1).graph)


def test_random_pad_goes_where_copies_would_change_the_function():
    body = "y = x -> conv2d(4) as a -> layer_norm(dims=3) as n -> dropout(0.5) -> softmax(axis=0)"
    student = grow(net(f"{body} -> conv2d(2) as b\noutput y"), "random_pad{filters=3}").graph
    assert student.weights["n.weight"].shape == (7, 6, 6)
    assert (student.weights["n.weight"][4:] == 1).all()


@pytest.mark.parametrize("init", ["he", "match", "torch"])
def test_random_pad_draws_at_the_scale_of_init(init):
    teacher = net("y = x -> linear(400) as a -> relu -> linear(3) as b\noutput y", "100")
    new = grow(teacher, f"random_pad{{init={init}}}").graph.weights["a.weight"][400:]
    scale = {"he": 0.02**0.5, "torch": 0.1 / 3**0.5, "match": teacher.weights["a.weight"].std()}
    assert abs(new.std() / scale[init] - 1) < 0.05


# ---- where they do not apply


def chain(*steps, last="linear(2)"):
    return " -> ".join(["y = x", "conv2d(4) as c", *steps, "flatten as f", last]) + "\noutput y"


WIDER_AT_C = "net2wider{at=c}"
REFUSED = {
    "dropout": (
        chain("dropout(0.5) as n"),
        WIDER_AT_C,
        "c: `n` (dropout) draws a different mask for each copy of a channel, so the function "
        "would change in train mode",
    ),
    "softmax": (
        chain("softmax(axis=0) as n"),
        WIDER_AT_C,
        "c: `n` (softmax) relates all channels to each other, so new ones would change the old",
    ),
    "parts of groups": (
        chain("group_norm(2) as n"),
        "net2wider{at=c, filters=3}",
        "c: `n` (group_norm) has groups of 2 channels, of which only whole ones can be copied",
    ),
    "layer norm of unequally many copies": (
        chain("layer_norm(dims=3) as n"),
        "net2wider{at=c, filters=6}",
        "c: `n` (layer_norm) normalizes all channels together: it takes filters a multiple of 4, "
        "and choose=even or order",
    ),
    "layer norm of random copies": (
        chain("layer_norm(dims=3) as n"),
        "net2wider{at=c, choose=random}",
        "c: `n` (layer_norm) normalizes all channels together: it takes filters a multiple of 4, "
        "and choose=even or order",
    ),
    "groups": (
        chain("conv2d(4, groups=2) as n"),
        WIDER_AT_C,
        "c: `n` (conv2d) reads the channels in 2 groups",
    ),
    "output": (
        "y = x -> conv2d(4) as c -> relu as r\noutput y",
        WIDER_AT_C,
        "c: its channels are the network's output, through `r`",
    ),
    "sum": (
        "y = conv2d(x, 4) as c\ns = x + y\noutput s",
        "net2wider",
        "s: it has no inner layer that can be widened; c: its channels reach `s` (add), which "
        "fixes their number",
    ),
    "random_pad, parts of groups": (
        chain("group_norm(2) as n"),
        "random_pad{at=c, filters=3}",
        "c: `n` (group_norm) has groups of 2 channels, which 3 new ones do not fill",
    ),
    "gelu": (
        chain("gelu as g"),
        "net2deeper{at=g}",
        "g: f(f(x)) is not f(x) for gelu, so a second one would change the function",
    ),
    "pooling": (
        chain("max_pool2d as p"),
        "net2deeper{at=p}",
        "p: it is neither a relu nor a layer, but of the kind max_pool2d",
    ),
    "scalar": (
        chain("global_avg_pool", last="linear(1)").replace("output y", "z = reshape(y, [])")
        + "\noutput w = relu(z) as w",
        "net2deeper",
        "w: it yields single numbers, f32[]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reason(name):
    body, text, expected = REFUSED[name]
    graph = net(body)
    (applied,) = parse_pipeline(text)
    with pytest.raises(GrowcError) as caught:
        applied(graph)
    assert str(caught.value) == f"error: {applied.name} does not apply at {expected}"


def test_a_network_without_relu():
    with pytest.raises(GrowcError) as caught:
        grow(net(chain("gelu")), "net2deeper")
    assert str(caught.value) == (
        "error: net2deeper: this network has no relu to apply it to\n"
        "help: name a layer with at=NAME: its identity needs no relu"
    )


def test_texts():
    for text in (
        "net2wider{at=c.a, filters=3, choose=order, split=exact, seed=4}",
        "net2deeper{at=[r, c.*], kernel=5}",
        "random_pad{filters=3, init=torch}",
    ):
        assert str(parse_pipeline(text)[0]) == text
    graph = loads(f"net n {{ input x: f32[4, 6, 6]\n{RESNET}\n}}")
    initialize(graph)
    assert "conv2d(12)" in dumps(grow(graph, "net2wider").graph)
