"""Where the passes that shrink networks do not apply: the reason, word for word."""

import numpy as np
import pytest

from growc import GrowcError, loads, parse_pipeline
from growc.testing_networks import fill


def net(body, shape="4, 6, 6"):
    graph = loads(f"net n {{ input x: f32[{shape}]\n{body}\n}}")
    fill(graph, 0)
    return graph


def message(graph, text):
    before, arrays = graph.copy(), dict(graph.weights)
    (applied,) = parse_pipeline(text)
    with pytest.raises(GrowcError) as caught:
        applied(graph)
    assert graph == before
    assert all(graph.weights[k] is arrays[k] for k in arrays)
    return str(caught.value)


FOLD = {
    "no layer": ("y = x -> relu as r -> batch_norm as n", "`r` (relu) before it is not a "
                 "convolution or a linear layer"),
    "input": ("y = x -> batch_norm as n", "`x` (input) before it is not a convolution or a linear "
              "layer"),
    "another axis": ("y = x -> linear(3) as c -> batch_norm as n", "it normalizes another axis "
                     "than the features of `c` (linear)"),
    "output": ("c = x -> conv2d(3)\ny = c -> batch_norm as n\noutput z = c", "the result of `c` "
               "(conv2d) is also the network's output"),
    "used": ("c = conv2d(x, 3) as c\ny = relu(c) + (c -> batch_norm as n)", "the result of `c` "
             "(conv2d) is also used elsewhere"),
    "shared layer": ("c = conv2d(x, 4) as c\ny = (c -> batch_norm as n) -> conv2d(4) with "
                     "(weight = c.weight)", "the weights of `c` are shared with another node"),
    "shared norm": ("y = conv2d(x, 4) -> batch_norm as n -> relu -> batch_norm as m "
                    "with (weight = n.weight)", "the weights of `n` are shared with another node"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLD)
def test_batch_norms_that_are_not_folded(case):
    body, reason = FOLD[case]
    text = message(net(f"{body}\noutput y"), "fold_batch_norm{at=n}")
    assert text == f"error: fold_batch_norm does not apply at n: {reason}"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("n.running_var", -1.0, "a running variance of `n` is negative"),
        ("n.weight", 3e38, "the new weights would be too large for float32"),
    ],
)
def test_numbers_that_cannot_be_folded(key, value, reason):
    graph = net("y = x -> conv2d(3) -> batch_norm as n\noutput y")
    graph.weights["n.running_var"][:] = 1e-4
    graph.weights[key][1] = value
    assert message(graph, "fold_batch_norm").endswith(f"n: {reason}")


CHAINS = {
    "sum": ("r + x", "its channels reach `s` (add), which fixes their number"),
    "output": ("r -> conv2d(4)\noutput z = r", "its channels are the network's "
               "output, through `r`"),
    "layer norm": ("c -> layer_norm(dims=3) as n -> conv2d(4)", "`n` (layer_norm) relates all "
                   "channels to each other, so that none can go"),
    "dropout": ("c -> dropout as d -> conv2d(4)", "`d` (dropout) would draw other masks for fewer "
                "channels in train mode"),
    "shared reader": ("c -> conv2d(4) as p -> conv2d(4) with (weight = p.weight)", "the weights "
                      "of `p` (conv2d) are shared with another node"),
    "groups": ("c -> conv2d(4, groups=2) as g", "`g` (conv2d) reads the channels in 2 groups"),
}  # fmt: skip


@pytest.mark.parametrize("text", ["merge_duplicates", "prune_dead"])
@pytest.mark.parametrize("case", CHAINS)
def test_channels_that_have_to_stay(case, text):
    """Channels 1 and 2 are equal, and zero."""
    steps, reason = CHAINS[case]
    first = "r = relu(c)\n" if steps.startswith("r ") else ""
    steps, line, more = steps.partition("\n")
    graph = net(f"c = conv2d(x, 4)\n{first}s = {steps}\noutput y = s{line}{more}")
    for key in ("c.weight", "c.bias"):
        graph.weights[key][1:3] = 0
    assert message(graph, text) == f"error: {text} does not apply at c: {reason}"


def test_layers_with_nothing_to_take():
    graph = net("y = x -> conv2d(4) as c -> relu -> conv2d(4)\noutput y")
    assert message(graph, "merge_duplicates{at=c}") == (
        "error: merge_duplicates does not apply at c: it has no channels that are equal in both "
        "modes"
    )
    assert message(graph, "prune_dead{at=c}") == (
        "error: prune_dead does not apply at c: it has no channel that is zero in both modes or "
        "that nothing reads"
    )


@pytest.mark.parametrize("text", ["merge_duplicates", "prune_dead", "cse"])
def test_numbers_that_are_not_finite(text):
    graph = net("y = x -> conv2d(4) as c -> relu -> conv2d(4)\noutput y")
    graph.weights["c.weight"][0, 0] = np.nan
    assert message(graph, text) == (
        "error: the parameter `c.weight` has numbers that are not finite, so that nothing is known "
        "about the channels that it makes"
    )


def test_a_sum_of_different_shapes_is_left_alone():
    graph = net(
        "a = x -> conv2d(3) -> conv2d(2)\nb = x -> conv2d(3) -> conv2d(1)\noutput y = a + b"
    )
    assert message(graph, "fuse_branches").startswith("error: fuse_branches: this network has no")
