"""Channels and nodes that go, on networks made by hand: numbers, claims, refusals."""

from pathlib import Path

import numpy as np
import pytest

from growc import GrowcError, compare, compile, initialize, load, loads, parse_pipeline
from growc.passes.functions import exact_sum
from growc.proof.exact import Prover
from growc.testing_networks import fill

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    graph = load(EXAMPLES / f"{name}.arch")
    initialize(graph)
    return graph


def net(body, shape="4, 6, 6", seed=0):
    graph = loads(f"net n {{ input x: f32[{shape}]\n{body}\n}}")
    fill(graph, seed)
    return graph


def run(graph, text):
    (applied,) = parse_pipeline(text)
    return applied(graph)


def put(graph, key, place, value):
    """Give a parameter other numbers in one place, in a new array."""
    graph.weights[key] = graph.weights[key].copy()
    graph.weights[key][place] = value


def is_proved(before, after):
    return Prover()(before, after, search=False).verdict == "proved"


# ---- the papers' networks


@pytest.mark.parametrize("name", ["r2r_wide_teacher", "r2r_figure9", "vgg", "mlp"])
@pytest.mark.parametrize("times", [1, 2])
def test_merging_gives_back_the_teachers_size(name, times):
    teacher = example(name)
    student = compile(teacher, ", ".join(["r2wider{variant=concat}"] * times), verify="none")
    result = run(student, "merge_duplicates")
    assert result.graph.parameters() == teacher.parameters()
    assert result.claim.exact
    assert is_proved(student, result.graph)
    assert is_proved(teacher, result.graph)
    for key, value in teacher.weights.items():
        np.testing.assert_array_equal(result.graph.weights[key], value)


def test_the_published_teacher():
    student = compile(example("r2r_wide_teacher"), "r2wider{variant=concat}", verify="none")
    assert student.parameter_count() == 579_386
    result = run(student, "merge_duplicates")
    assert result.graph.parameter_count() == 259_226
    assert result.where == "9 mergeable layers"


# ---- merge_duplicates

PAIR = "y = x -> conv2d(3) as c -> {} -> conv2d(2) as d\noutput y"


def twins(between="relu", seed=0):
    """Channels 0 and 2 of ``c`` are equal."""
    graph = net(PAIR.format(between), seed=seed)
    for name in graph.weights:
        if name.startswith("c.") or graph.weights[name].shape == (3,):
            put(graph, name, 2, graph.weights[name][0])
    return graph


def test_sums_that_round_are_said_to():
    graph = twins()
    result = run(graph, "merge_duplicates")
    assert result.graph.weights["d.weight"].shape == (2, 2, 3, 3)
    assert str(result.claim) == "eval, train, within rounding"
    assert compare(graph, result.graph).worst.relative < 1e-6


@pytest.mark.parametrize("factor", [1.0, 3.0, -0.5])
def test_sums_that_do_not_round_are_exact(factor):
    graph = twins("batch_norm as n -> relu")
    weight = np.round(graph.weights["d.weight"] * 64) / 64
    weight[:, 2] = weight[:, 0] * np.float32(factor)
    graph.weights["d.weight"] = weight
    result = run(graph, "merge_duplicates")
    assert result.claim.exact
    assert result.graph.node("c").op.channels == 2
    assert is_proved(graph, result.graph)


def test_channels_that_cancel_go_both():
    graph = twins()
    graph.weights["d.weight"][:, 2] = -graph.weights["d.weight"][:, 0]
    result = run(graph, "merge_duplicates")
    assert result.claim.exact
    assert result.graph.node("c").op.channels == 1
    np.testing.assert_array_equal(
        result.graph.weights["d.weight"], graph.weights["d.weight"][:, 1:2]
    )


def test_a_sum_too_large_for_float32_is_not_made():
    graph = twins()
    put(graph, "d.weight", (0, slice(0, 3, 2)), 3e38)
    with pytest.raises(GrowcError, match="no mergeable layer"):
        run(graph, "merge_duplicates")


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("c.bias", 2),
        ("c.weight", (2, 1, 0, 0)),
        ("n.weight", 2),
        ("n.running_mean", 2),
        ("n.running_var", 2),
    ],
)
def test_channels_that_differ_by_the_last_bit_stay(key, place):
    graph = twins("batch_norm as n -> relu")
    assert run(graph, "merge_duplicates")
    put(graph, key, place, np.nextafter(graph.weights[key][place], np.float32(9)))
    with pytest.raises(GrowcError, match="no mergeable layer"):
        run(graph, "merge_duplicates")


def test_channels_that_are_equal_in_evaluation_mode_only_stay():
    graph = twins("batch_norm as n -> relu")
    bias, mean = graph.weights["c.bias"], graph.weights["n.running_mean"]
    bias[[0, 2]], mean[[0, 2]] = (1.0, 2.0), (0.5, 1.5)
    graph.weights["c.weight"][[0, 2]] = 0  # constant channels: bias - mean is the same
    with pytest.raises(GrowcError, match="no mergeable layer"):
        run(graph, "merge_duplicates")


def test_group_norm_loses_whole_groups_only():
    body = "y = x -> conv2d(6) as c -> group_norm({}) as n -> relu -> conv2d(2) as d\noutput y"
    halves = net(body.format(2))
    for key in ("c.weight", "c.bias", "n.weight", "n.bias"):
        halves.weights[key][3:] = halves.weights[key][:3]
    result = run(halves, "merge_duplicates")
    assert result.graph.node("c").op.channels == 3
    assert result.graph.node("n").op.groups == 1
    assert compare(halves, result.graph).worst.relative < 1e-5

    # The same channels in one group: every statistic would be the same, but not those of [v w v].
    inside = net(body.format(1))
    for key in ("c.weight", "c.bias", "n.weight", "n.bias"):
        inside.weights[key][1] = inside.weights[key][0]
    with pytest.raises(GrowcError, match="no mergeable layer"):
        run(inside, "merge_duplicates")


def test_a_flattened_channel_is_merged_with_all_its_numbers():
    body = "y = x -> conv2d(3) as c -> max_pool2d -> flatten -> linear(2) as d\noutput y"
    graph = net(body)
    for key in ("c.weight", "c.bias"):
        graph.weights[key][2] = graph.weights[key][1]
    result = run(graph, "merge_duplicates")
    assert result.graph.weights["d.weight"].shape == (2, 18)
    assert compare(graph, result.graph).worst.relative < 1e-6


# ---- prune_dead


def test_zero_channels_go_and_one_stays():
    graph = net(
        "y = x -> conv2d(3) as c -> batch_norm(affine=false) as n -> relu -> conv2d(2)\noutput y"
    )
    put(graph, "c.weight", 1, 0)
    put(graph, "c.bias", 1, 0)
    # In evaluation mode, the running mean is subtracted from a channel that is zero.
    with pytest.raises(GrowcError, match="no dead part"):
        run(graph, "prune_dead")
    put(graph, "n.running_mean", 1, 0)
    result = run(graph, "prune_dead")
    assert result.where == "c"
    assert result.graph.node("c").op.channels == 2
    assert is_proved(graph, result.graph)
    for key in ("c.weight", "c.bias", "n.running_mean"):
        put(graph, key, ..., 0)
    assert run(graph, "prune_dead").graph.node("c").op.channels == 1


def test_a_channel_read_with_zeros_goes_through_all_that_stands_between():
    graph = net(
        "y = x -> conv2d(4) as c -> instance_norm -> silu -> conv2d(4, groups=4) as w\n"
        "z = y -> avg_pool2d -> flatten\noutput a = linear(z, 3) as a\noutput b = linear(z, 2) as b"
    )
    put(graph, "a.weight", (slice(None), slice(9, 18)), 0)
    with pytest.raises(GrowcError, match="no dead part"):
        run(graph, "prune_dead")
    put(graph, "b.weight", (slice(None), slice(9, 18)), 0)
    result = run(graph, "prune_dead")
    assert result.graph.node("c").op.channels == 3
    assert result.graph.node("w").op.groups == 3
    assert result.graph.weights["a.weight"].shape == (3, 27)
    assert is_proved(graph, result.graph)


def test_what_only_dead_channels_read_dies_with_them():
    graph = net(
        "y = x -> linear(3) as a -> relu -> linear(3) as b -> tanh -> linear(2) as c\noutput y", "5"
    )
    put(graph, "c.weight", (slice(None), 0), 0)
    put(graph, "b.weight", (slice(1, None), 2), 0)
    result = run(graph, "prune_dead")
    assert [result.graph.node(n).op.features for n in "abc"] == [2, 2, 2]
    assert is_proved(graph, result.graph)
    # Asked for alone, `a` has no such channel: `b` still reads it.
    with pytest.raises(GrowcError, match="does not apply at a: it has no channel that is zero"):
        run(graph, "prune_dead{at=a}")


def test_a_dead_owner_of_weights_leaves_them_to_their_user():
    graph = net(
        "a = conv2d(x, 4) as a\nb = conv2d(x, 4) with (weight = a.weight) as b\noutput y = relu(b)"
    )
    result = run(graph, "prune_dead").graph
    assert "a" not in result
    assert set(result.weights) == {"a.weight", "b.bias"}
    assert result.weights["a.weight"] is graph.weights["a.weight"]


# ---- cse

COPIES = "a = conv2d(x, 4) as a\nb = conv2d(x, 4) as b\noutput y = a + relu(b)"


def test_equal_parameters_are_merged_only_if_asked_for():
    graph = net(COPIES)
    graph.weights |= {"b.weight": graph.weights["a.weight"].copy()}
    graph.weights |= {"b.bias": graph.weights["a.bias"].copy()}
    with pytest.raises(GrowcError) as caught:
        run(graph, "cse")
    assert str(caught.value) == (
        "error: cse does not apply at b: it computes what `a` does, but has parameters of its own "
        "that may be trained apart; merge them with weights=equal"
    )
    result = run(graph, "cse{weights=equal}")
    assert set(result.graph.weights) == {"a.weight", "a.bias"}
    assert is_proved(graph, result.graph)
    put(graph, "b.bias", 0, np.nextafter(graph.weights["b.bias"][0], np.float32(9)))
    for text in ("cse", "cse{weights=equal}"):
        with pytest.raises(GrowcError, match="no common subexpression"):
            run(graph, text)


def test_both_outputs_may_become_one_node():
    graph = net("output a = relu(x) as a\noutput b = relu(x) as b")
    result = run(graph, "cse").graph
    assert dict(result.outputs) == {"a": "a", "b": "a"}


# ---- sums


def test_exact_sums():
    f = np.float32
    cases = [
        ([1.5, -1.5], 0.0, True),
        ([1.0, 2.0**-30], 1.0, False),
        ([1.0, 2.0**-23], 1 + 2.0**-23, True),
        ([2.0**100, 1.0, -(2.0**100)], 1.0, True),
        ([2.0**100, 1.0], 2.0**100, False),
        ([2.0**-149, 2.0**-149], 2.0**-148, True),
        ([2.0**60, 2.0**-60, -(2.0**60), 1.0], 1.0, False),
    ]
    for numbers, total, exact in cases:
        found, is_exact = exact_sum([f([n]) for n in numbers])
        assert (found.dtype, float(found[0]), is_exact) == (np.float32, total, exact), numbers
    together, _ = exact_sum([f([1.5, 1.0, 2.0]), f([-1.5, 2.0**-30, 1.0])])
    assert together.tolist() == [0.0, 1.0, 3.0]
    huge, is_exact = exact_sum([f([3e38]), f([3e38])])
    assert np.isinf(huge[0])
    assert not is_exact
