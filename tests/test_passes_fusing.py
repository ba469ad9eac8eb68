"""Layers that become one, on networks made by hand: numbers, claims, refusals."""

from pathlib import Path

import numpy as np
import pytest

from growc import GrowcError, compare, compile, initialize, load, loads, parse_pipeline
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


# ---- fold_batch_norm


def test_folding_grouped_layers_without_a_bias_and_several_norms():
    graph = net(
        "y = x -> conv2d(6, groups=2, bias=false) -> batch_norm -> batch_norm(affine=false)\n"
        "output z = y -> relu -> flatten -> linear(3) -> batch_norm(eps=0.1)"
    )
    result = run(graph, "fold_batch_norm")
    assert [n.op.name for n in result.graph] == ["input", "conv2d", "relu", "flatten", "linear"]
    assert set(result.graph.weights) == set(result.graph.parameters())
    assert str(result.claim) == "eval, within rounding"
    assert compare(graph, result.graph, modes=("eval",)).worst.relative < 1e-6
    assert compare(graph, result.graph, modes=("train",)).worst.relative > 1e-2


# ---- fuse_branches


def test_blocks_added_three_times_become_one():
    teacher = example("r2r_figure9")
    grown = compile(teacher, "r2wider, r2wider, r2wider", verify="none")
    result = run(grown, "fuse_branches")
    assert result.claim.exact
    assert is_proved(grown, result.graph)
    assert is_proved(teacher, result.graph)
    assert len(result.graph) == len(teacher)
    widths = [n.op.channels for n in result.graph if n.name.endswith("r2r.conv2d")]
    assert widths == [32, 64, 128]
    # Equal halves are still there, to be merged; what is left is the teacher's block, then.
    small = run(result.graph, "merge_duplicates").graph
    assert small.parameters() == teacher.parameters()


def test_kernels_of_several_sizes_line_up():
    a = "a = conv2d(x, 4, kernel={}, stride={s}, dilation={d}, padding={}) -> tanh"
    a += " -> conv2d(2, 1) as p\n"
    b = a.replace("a =", "b =").replace("as p", "as q")
    rest = "output y = a + b"
    for s, d, (ka, pa), (kb, pb) in [
        (1, 1, (3, '"same"'), (5, '"same"')),
        (1, 2, (1, 0), (3, 2)),
        (2, 1, ("[3, 1]", "[1, 0]"), ("[1, 3]", "[0, 1]")),
        (1, 1, (2, "[0, 0, 1, 1]"), (3, 1)),
        (2, 1, (1, 0), (4, "[1, 1, 2, 2]")),
        (3, 1, (3, 0), (2, 0)),
    ]:
        text = a.format(ka, pa, s=s, d=d) + b.format(kb, pb, s=s, d=d) + rest
        graph = net(text, "3, 7, 7")
        put(graph, "p.bias", ..., 0.5)
        put(graph, "q.bias", ..., 0.25)
        result = run(graph, "fuse_branches")
        assert result.claim.exact
        assert is_proved(graph, result.graph), text
        assert len(result.graph) == 4


def test_groups_of_grouped_convolutions_stay_together():
    block = "conv2d(x, {}, groups=2) -> batch_norm -> relu -> conv2d(3, 1, bias=false)"
    graph = net(f"a = {block.format(4)}\nb = {block.format(6)}\noutput y = a + b")
    result = run(graph, "fuse_branches")
    assert result.graph.node("a.conv2d").op.groups == 2
    assert is_proved(graph, result.graph)


def test_groups_of_group_norms_stay_together():
    block = "conv2d(x, {}) -> group_norm({}) -> relu -> conv2d(3, 1, bias=false)"
    graph = net(f"a = {block.format(4, 2)}\nb = {block.format(6, 3)}\noutput y = a + b")
    result = run(graph, "fuse_branches")
    assert result.graph.node("a.group_norm").op.groups == 5
    assert is_proved(graph, result.graph)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("relu", "tanh", "have different norms or activations"),
        ("batch_norm -> relu", "relu", "have different norms or activations"),
        (
            "batch_norm -> relu",
            "batch_norm(eps=0.1) -> relu",
            "have different norms or activations",
        ),
        ("group_norm(2)", "group_norm(1)", "have different norms or activations"),
        (", stride=2", ", stride=2, groups=2", "have different groups"),
        (", stride=2, kernel=1", ", stride=3, padding=[1, 1, 2, 2]", "have different strides"),
        (", padding=2, dilation=2", "", "have different dilations"),
        (
            ", dilation=2, kernel=2, padding=1",
            ", dilation=2, kernel=2, padding=[0, 0, 2, 2]",
            "have windows that do not line up",
        ),
    ],
)
def test_blocks_that_differ_are_not_fused(first, second, reason):
    a, b = (
        f"{n} = conv2d(x, 4{w}) -> relu -> conv2d(3, 1)"
        if w.startswith(",") or not w
        else f"{n} = conv2d(x, 4) -> {w} -> conv2d(3, 1)"
        for n, w in (("a", first), ("b", second))
    )
    with pytest.raises(GrowcError) as caught:
        run(net(f"{a}\n{b}\ns = a + b\noutput s"), "fuse_branches")
    assert str(caught.value) == (
        "error: fuse_branches does not apply at s: the blocks of `a.conv2d_2` and `b.conv2d_2` "
        + reason
    )


NOT_BLOCKS = {
    "used elsewhere": (
        "c = conv2d(x, 4) as c\na = relu(c) -> conv2d(3)\nb = relu(c) -> conv2d(3)",
        "the result of `c` is also used elsewhere; the result of `c` is also used elsewhere",
    ),
    "outputs": (
        "c = conv2d(x, 4)\na = conv2d(c, 3)\nb = conv2d(x, 4) -> conv2d(3)\n"
        "output z = c\noutput w = b",
        "the result of `c` is also used elsewhere; the result of `b.conv2d_2` is also used "
        "elsewhere",
    ),
    "shared": (
        "a = conv2d(x, 4) -> conv2d(3) as p\n"
        "b = conv2d(x, 4) -> conv2d(3) with (weight = p.weight) as q",
        "the weights of `p` are shared with another node; "
        "the weights of `q` are shared with another node",
    ),
    "other kinds": (
        "a = conv2d(x, 4) -> layer_norm(dims=3) as n -> conv2d(4) as p\n"
        "b = conv2d(x, 4) -> relu -> conv2d(4, groups=2) as q",
        "`p` does not end a block of two layers: `n` (layer_norm) before it is no activation and "
        "no norm that treats channels one by one or in groups; `q` is a grouped convolution",
    ),
    "other axes": (
        "a = conv2d(x, 4) as c -> linear(6) as p\nb = conv2d(x, 4) -> conv2d(4) as q",
        "`c` (conv2d) and `p` (linear) act on other axes",
    ),
}


@pytest.mark.parametrize("case", NOT_BLOCKS)
def test_what_is_no_block_of_two_layers(case):
    body, reason = NOT_BLOCKS[case]
    with pytest.raises(GrowcError) as caught:
        run(net(f"{body}\ns = a + b\noutput s"), "fuse_branches")
    assert str(caught.value) == f"error: fuse_branches does not apply at s: {reason}"


def test_biases_whose_sum_rounds_are_said_to():
    graph = net(
        "a = linear(x, 3) -> linear(2) as p\nb = linear(x, 2) -> linear(2) as q\noutput y = a + b",
        "5",
    )
    put(graph, "p.bias", ..., 1.0)
    put(graph, "q.bias", ..., 2.0**-30)
    result = run(graph, "fuse_branches")
    assert not result.claim.exact
    assert compare(graph, result.graph).worst.relative < 1e-7
    put(graph, "q.bias", ..., 2.0**-20)
    assert run(graph, "fuse_branches").claim.exact


def test_branches_with_missing_weights_are_not_fused():
    """The fused layer would bring back what the mask leaves out."""
    graph = net(
        "a = linear(x, 3) -> linear(2) as p\nb = linear(x, 2) -> linear(2) as q\noutput y = a + b",
        "5",
    )
    mask = np.ones((2, 3), bool)
    mask[0, 1] = False
    graph.weights.put("p.weight", graph.weights["p.weight"] * mask, mask)
    with pytest.raises(GrowcError, match="`p` has weights missing under a mask"):
        run(graph, "fuse_branches")
