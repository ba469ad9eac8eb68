"""new_heads: attention heads that change nothing at first, in every kind of attention."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from growc import GrowcError, check_invariants, dumps, loads, parse_pipeline, same_weights, testing
from growc.passes.new_heads import NewHeads
from growc.passes.r2r import INITS
from growc.proof import Prover, compare
from growc.testing_networks import fill

torch.set_num_threads(1)

SLOW = settings(max_examples=max(10, settings.default.max_examples // 2))


@st.composite
def attentions(draw, packed=None):
    """A network around one attention: packed or separate projections, of the same tokens or of
    others, masked or not, with dropout in it, behind it, or none."""
    heads, size, values = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    n, m, width = draw(st.integers(2, 4)), draw(st.integers(2, 4)), draw(st.integers(1, 5))
    packed = draw(st.booleans()) if packed is None else packed
    d, e = heads * size, heads * values
    lines = [f"input x: f32[{n}, {width}]"]
    if packed:
        m, e = n, d
        bias = draw(st.sampled_from(["", ", bias=false"]))
        lines.append(f"p = x -> layer_norm -> linear({3 * d}{bias}) as packed")
        if draw(st.booleans()):
            lines += [
                f"{t} = slice(p, {i * d}, {(i + 1) * d}, axis=1)" for i, t in enumerate("qkv")
            ]
        else:
            lines.append(f"r = reshape(p, [{n}, 3, {d}])")
            lines += [
                f"{t} = r -> gather([{i}], axis=1) -> reshape([{n}, {d}])"
                for i, t in enumerate("qkv")
            ]
    else:
        source = "x"
        if draw(st.booleans()):
            lines.append(f"input memory: f32[{m}, 4]")
            source = "memory"
        else:
            m = n
        lines += [
            f"q = linear(x, {d}) as query",
            f"k = linear({source}, {d}, bias=false) as key",
            f"v = linear({source}, {e}) as value",
        ]
    mask = draw(st.sampled_from([None, [n, m], [1, m], [1, n, m]]))
    if mask is not None:
        lines.append(f"mask = constant({mask})")
    options = f"heads={heads}"
    if draw(st.booleans()):
        options += ", causal=true"
    if draw(st.booleans()):
        options += ", scale=0.7"
    if draw(st.booleans()):
        options += ", dropout=0.3"
    behind = draw(st.sampled_from(["", "dropout(0.2) -> ", "identity -> "]))
    operands = "q, k, v" + (", mask" if mask else "")
    lines.append(f"a = attention({operands}, {options}) -> {behind}linear({width}) as project")
    lines.append(draw(st.sampled_from(["output y = x + a", "y = a\noutput y"])))
    net = loads("net n {\n" + "\n".join(lines) + "\n}")
    fill(net, draw(st.integers(0, 9)))
    return net


options = st.builds(
    NewHeads,
    heads=st.none() | st.integers(1, 3),
    variant=st.sampled_from(["parallel", "concat"]),
    init=st.sampled_from(INITS),
)


def grown(net, applied):
    """The result, or None where heads can't be concatenated."""
    if applied.variant == "concat" and "packed" in net:
        with pytest.raises(GrowcError, match="share a layer"):
            applied(net)
        return None
    return applied(net)


@given(attentions(), options)
def test_new_heads_are_proved_to_change_nothing(net, applied):
    before = net.copy()
    result = grown(net, applied)
    if result is None:
        return
    student = result.graph
    assert net == before
    check_invariants(student)
    testing.assert_round_trips(student)
    assert Prover()(net, student, search=False).verdict == "proved"
    assert dumps(applied(net).graph) == dumps(student)
    assert same_weights(applied(net).graph, student)
    assert not same_weights(applied(net, seed=1).graph, student)
    for key in net.parameters():
        old, new = net.weights[key], student.weights[key]
        if new is not old:
            assert applied.variant == "concat"
            np.testing.assert_array_equal(new[tuple(map(slice, old.shape))], old)


@SLOW
@given(attentions(), options)
def test_the_numbers_stay(net, applied):
    result = grown(net, applied)
    if result is not None:
        assert compare(net, result.graph).agrees


@SLOW
@given(attentions(), options)
def test_new_heads_can_learn(net, applied):
    """The zero projection has a gradient at once, and the others once it is not zero."""
    from growc import to_torch

    result = grown(net, applied)
    if result is None:
        return
    student = result.graph
    module = to_torch(student, dtype=torch.float64).eval()
    inputs = [torch.randn(3, *student.node(n).type.shape).double() for n in student.inputs]
    module(*inputs).square().sum().backward()
    names = {name for name, _ in module.named_parameters()}
    key = (
        next(n for n in names if n.endswith("new_heads.linear_4.weight"))
        if applied.variant == "parallel"
        else "project.weight"
    )
    gradient = dict(module.named_parameters())[key].grad
    columns = 0 if applied.variant == "parallel" else net.weights[key].shape[1]
    assert gradient[:, columns:].abs().max() > 0


@given(attentions(packed=False), st.integers(1, 3))
def test_heads_are_appended_as_the_last_ones(net, count):
    student = NewHeads(heads=count, variant="concat")(net).graph
    old = next(n.op for n in net if n.op.name == "attention")
    new = next(n.op for n in student if n.op.name == "attention")
    assert new == replace(old, heads=old.heads + count)
    zeros = student.weights["project.weight"][:, net.weights["project.weight"].shape[1] :]
    assert not zeros.any()
    assert zeros.shape[1] == net.weights["project.weight"].shape[1] // old.heads * count
    assert student.weights["query.weight"][len(net.weights["query.weight"]) :].all()


@given(attentions(), options, options)
def test_growing_twice(net, one, two):
    """Heads beside packed ones have layers of their own, to which more can be appended."""
    first = grown(net, one)
    if first is not None:
        second = two(first.graph)
        check_invariants(second.graph)
        assert Prover()(net, second.graph, search=False).verdict == "proved"


def test_random_projections_are_not_zero_and_masks_stay():
    """A mask of the old layers takes in all that is new."""
    net = loads(
        "net n { input x: f32[3, 4]\n"
        "q = linear(x, 4)\nk = linear(x, 4)\nv = linear(x, 4)\n"
        "output y = attention(q, k, v, heads=2) -> linear(4) as project }"
    )
    fill(net, 0)
    mask = np.ones((4, 4), bool)
    mask[0, 0] = False
    for key in ("q.weight", "project.weight"):
        net.weights.put(key, np.where(mask, net.weights[key], np.float32(0)), mask)
    student = NewHeads(variant="concat")(net).graph
    check_invariants(student)
    for key in ("q.weight", "project.weight"):
        grown_mask = student.weights.masks[key]
        assert not grown_mask[0, 0]
        assert grown_mask.sum() == grown_mask.size - 1


def net_of(*lines):
    net = loads("net n {\ninput x: f32[5, 8]\n" + "\n".join(lines) + "\n}")
    fill(net, 0)
    return net


OWN = "q = linear(x, 8)\nk = linear(x, 8)\nv = linear(x, 8)"
REFUSED = {
    "output": (
        [OWN, "output a = attention(q, k, v)"],
        "new_heads",
        "a: the result of `a` is the network's output",
    ),
    "two readers": (
        [OWN, "a = attention(q, k, v)", "output y = linear(a, 2)", "output z = linear(a, 3)"],
        "new_heads",
        "a: the result of `a` goes to 2 places, not to one linear layer",
    ),
    "no reader": (
        [OWN, "a = attention(q, k, v)", "output y = x"],
        "new_heads",
        "a: the result of `a` goes to 0 places, not to one linear layer",
    ),
    "norm behind": (
        [OWN, "a = attention(q, k, v) as a", "output y = a -> layer_norm as n -> linear(2)"],
        "new_heads",
        "a: its result goes to `n` (layer_norm), not to a linear layer",
    ),
    "no projection": (
        [OWN, "a = attention(x, k, v) as a", "output y = linear(a, 2)"],
        "new_heads",
        "a: its queries, `x`, come from no linear layer",
    ),
    "norm of keys": (
        [OWN, "m = layer_norm(k)", "a = attention(q, m, v) as a", "output y = linear(a, 2)"],
        "new_heads",
        "a: its keys, `m`, come from no linear layer",
    ),
    "no tokens": (
        [
            "i = reshape(x, [5, 2, 4])",
            "p = i -> linear(4) -> reshape([10, 4])",
            "a = attention(p, p, p) as a",
            "output y = linear(a, 2)",
        ],
        "new_heads",
        "a: `i` is f32[5, 2, 4], not 10 tokens as `p.reshape` is",
    ),
    "mask for every head": (
        [
            OWN,
            "m = constant([2, 5, 5])",
            "a = attention(q, k, v, m, heads=2) as a",
            "output y = linear(a, 2)",
        ],
        "new_heads{variant=concat}",
        "a: its mask f32[2, 5, 5] has a part for every head, and none for new ones",
    ),
    "mask for another number": (
        [
            OWN,
            "m = constant([2, 5, 5])",
            "a = attention(q, k, v, m, heads=2) as a",
            "output y = linear(a, 2)",
        ],
        "new_heads{heads=1}",
        "a: its mask f32[2, 5, 5] has a part for each of 2 heads, not for 1",
    ),
    "one tensor": (
        ["q = linear(x, 8)", "a = attention(q, q, q) as a", "output y = linear(a, 2)"],
        "new_heads{variant=concat}",
        "a: two of its queries, keys and values are one tensor; use variant=parallel",
    ),
    "tied": (
        [
            "q = linear(x, 8)",
            "k = linear(x, 8) with (weight = q.weight)",
            "v = linear(x, 8)",
            "a = attention(q, k, v) as a",
            "output y = linear(a, 2)",
        ],
        "new_heads{variant=concat}",
        "a: the weights of `q` are shared with another node",
    ),
    "used elsewhere": (
        [OWN, "a = attention(q, k, v) as a", "output y = linear(a, 8) + q"],
        "new_heads{variant=concat}",
        "a: the result of `q` is also used elsewhere",
    ),
    "no attention": (["output y = linear(x, 2)"], "new_heads", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reason(name):
    lines, text, expected = REFUSED[name]
    net = net_of(*lines)
    before, arrays = net.copy(), dict(net.weights)
    (applied,) = parse_pipeline(text)
    with pytest.raises(GrowcError) as refused:
        applied(net)
    assert net == before
    assert all(net.weights[k] is a for k, a in arrays.items())
    said = str(refused.value).removeprefix("error: ")
    if expected is None:
        assert said == "new_heads: this network has no attention to apply it to"
    else:
        assert said == f"new_heads does not apply at {expected}"


def test_a_mask_for_every_head_serves_as_many_new_ones():
    lines = [
        OWN,
        "m = constant([2, 5, 5])",
        "a = attention(q, k, v, m, heads=2) as a",
        "output y = linear(a, 2)",
    ]
    net = net_of(*lines)
    student = NewHeads()(net).graph
    assert Prover()(net, student, search=False).verdict == "proved"


def test_the_projection_may_be_shared_beside_new_heads():
    """No old parameter is touched, so tied ones do no harm."""
    net = net_of(
        "p = linear(x, 8)",
        "q = linear(p, 8)",
        "a = attention(q, q, q) -> linear(8) with (weight = p.weight)",
        "output y = a",
    )
    student = NewHeads()(net).graph
    check_invariants(student)
    assert Prover()(net, student, search=False).verdict == "proved"
    assert compare(net, student).agrees
