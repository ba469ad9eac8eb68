"""Where passes do not apply: the reason, word for word, and that nothing is changed."""

import numpy as np
import pytest

from growc import GrowcError, initialize, loads, parse_pipeline
from growc.ir.attributes import BadArgument


def net(body, shape="4, 6, 6"):
    graph = loads(f"net n {{ input x: f32[{shape}]\n{body}\n}}")
    initialize(graph)
    return graph


def message(graph, text):
    before, arrays = graph.copy(), dict(graph.weights)
    (applied,) = parse_pipeline(text)
    with pytest.raises(GrowcError) as caught:
        applied(graph)
    assert graph == before
    assert all(graph.weights[k] is arrays[k] for k in arrays)
    assert list(graph.weights) == list(arrays)
    return str(caught.value)


def chain(*steps, last="linear(2)"):
    """conv2d → steps → flatten → linear: a chain whose first layer could be widened."""
    return " -> ".join(["y = x", "conv2d(4) as c", *steps, "flatten as f", last]) + "\noutput y"


BLOCK = "y = x -> conv2d(4) as c -> relu -> conv2d(4) as d\ns = x + y\noutput s"

REFUSED = {
    "no block": (
        chain("relu"),
        "r2wider",
        "r2wider: this network has no residual block to apply it to",
    ),
    "no activation": (chain(), "r2deeper", "r2deeper: this network has no activation to apply it"),
    "no stride": (
        "y = slice(x, 1, 6, axis=1)\nz = conv2d(x, 4, kernel=[2, 3], padding=[0, 1, 0, 1]) as c\n"
        "s = y + z\noutput s",
        "r2wider",
        "r2wider does not apply at s: the block takes f32[4, 6, 6] to f32[4, 5, 6], and no stride "
        "takes a size of 6 to 5",
    ),
    "flatten in the block": (
        "y = x -> conv2d(4) -> flatten\ns = flatten(x) + y\noutput s",
        "r2wider",
        "r2wider does not apply at s: no R2R block leads from f32[4, 6, 6] to f32[144]",
    ),
    "scalar": (
        chain("global_avg_pool", last="linear(1)").replace("output y", "z = reshape(y, [])")
        + "\noutput w = relu(z) as w",
        "r2deeper{at=w}",
        "r2deeper does not apply at w: it yields single numbers, f32[]",
    ),
    "match without a layer": (
        "y = relu(x)\noutput y",
        "r2deeper{init=match}",
        "r2deeper does not apply at y: `init=match` needs a layer here whose weights it could "
        "follow; use init=he",
    ),
    "instance norm of a vector": (
        "y = linear(x, 4)\ns = x + y\noutput s",
        "r2wider{norm=instance}",
        "r2wider does not apply at s: norm=instance does not fit there: `instance_norm` takes a "
        "tensor with channels and at least one spatial axis, not f32[4]",
    ),
    "norm of twins": (
        "y = linear(x, 4)\ns = x + y\noutput s",
        "r2wider{norm=layer, filters=2}",
        "r2wider does not apply at s: norm=layer would normalize two equal numbers, which gives "
        "zeros; use more filters",
    ),
    "layer norm": (
        chain("layer_norm(dims=3) as n"),
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: `n` (layer_norm) relates all channels to each other, so new "
        "ones would change the old",
    ),
    "softmax": (
        chain("softmax(axis=0) as n"),
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: `n` (softmax) relates all channels to each other, so new "
        "ones would change the old",
    ),
    "dropout": (
        chain("dropout(0.5) as n"),
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: `n` (dropout) draws a different mask for each half of the "
        "new channels, so the function would change in train mode",
    ),
    "grouped convolution": (
        chain("conv2d(4, groups=2) as n"),
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: `n` (conv2d) reads the channels in 2 groups",
    ),
    "grouped producer": (
        chain("conv2d(4, groups=2) as n"),
        "r2wider{variant=concat, at=n}",
        "r2wider does not apply at n: `n` is a grouped convolution",
    ),
    "group norm": (
        chain("group_norm(2) as n"),
        "r2wider{variant=concat, at=c, filters=2}",
        "r2wider does not apply at c: `n` (group_norm) has groups of 2 channels: half of the new "
        "ones, 1, must fill whole groups",
    ),
    "output in the chain": (
        "r = x -> conv2d(4) as c -> relu\ny = r\noutput r\noutput z = conv2d(y, 2) as d",
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: its channels are the network's output, through `r`",
    ),
    "unused": (
        "y = conv2d(x, 4) as c\noutput z = conv2d(x, 4) as d",
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: nothing reads `c`",
    ),
    "tied": (
        "c = x -> conv2d(4)\nd = c -> conv2d(4) with (weight = c.weight)\noutput d",
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: the weights of `c` are shared with another node",
    ),
    "reshape": (
        chain("reshape([2, 72]) as n"),
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: its channels reach `n` (reshape), which fixes their number",
    ),
    "padded channels": (
        chain("pad(after=[1, 0, 0]) as n"),
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: its channels reach `n` (pad), which fixes their number",
    ),
    "a sum": (
        BLOCK,
        "r2wider{variant=concat, at=d}",
        "r2wider does not apply at d: its channels reach `s` (add), which fixes their number",
    ),
    "batch norm over other channels": (
        "y = x -> linear(4) as c -> batch_norm as n -> linear(2)\noutput y",
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: `n` (batch_norm) would mix the new channels in",
    ),
    "linear on space": (
        "y = x -> conv2d(4) as c -> linear(2) as n\noutput y",
        "r2wider{variant=concat, at=c}",
        "r2wider does not apply at c: `n` (linear) acts on another axis than the channels",
    ),
    "no inner layer": (
        "y = conv2d(x, 4) as c\ns = x + y\noutput s",
        "r2wider{variant=concat}",
        "r2wider does not apply at s: it has no inner layer that can be widened; c: its channels "
        "reach `s` (add), which fixes their number",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reason(name):
    body, text, expected = REFUSED[name]
    vector = "linear(x, 4)\n" in body
    said = message(net(body, "4" if vector else "4, 6, 6"), text)
    assert said.removeprefix("error: ").startswith(expected)


def test_one_refused_place_among_open_ones_is_told_and_the_others_are_taken():
    graph = net(
        "a = slice(x, 1, 6, axis=1)\nb = conv2d(x, 4, kernel=[2, 3], padding=[0, 1, 0, 1])\n"
        "s = a + b\nt = s + conv2d(s, 4)\noutput t"
    )
    (applied,) = parse_pipeline("r2wider")
    result = applied(graph)
    assert result.where == "t"
    assert [r.place.name for r in result.refused] == ["s"]


def test_a_place_asked_for_by_name_must_be_open():
    """Even where other patterns of the same ``at`` name places that are."""
    graph = net(chain("relu", "conv2d(4) as d", "softmax(axis=0) as n"))
    said = message(graph, "r2wider{variant=concat, at=[c, d]}")
    assert said.startswith("error: r2wider does not apply at d: `n` (softmax) relates")
    (applied,) = parse_pipeline('r2wider{variant=concat, at="[cd]"}')
    assert [p.name for p in applied(graph).places] == ["c"]


def test_hints():
    graph = net(BLOCK)
    assert "help: did you mean `s`?" in message(graph, "r2wider{at=S}")
    assert "help: it can be applied at s" in message(graph, "r2wider{at=elsewhere}")
    assert "help: widen plain chains of layers with variant=concat" in message(
        net(chain("relu")), "r2wider"
    )


def test_long_lists_of_reasons_are_cut():
    body = "\n".join(
        f"a{i} = x -> slice(1, 6, axis=1) as k{i}\n"
        f"b{i} = conv2d(x, 4, kernel=[2, 3], padding=[0, 1, 0, 1]) as c{i}\n"
        f"s{i} = a{i} + b{i}\noutput s{i}"
        for i in range(8)
    )
    said = message(net(body), "r2wider")
    assert said.count("error:") == 6
    assert said.endswith("r2wider does not apply at 3 more places")


def test_parameters_without_values_are_asked_for():
    graph = loads("net n { input x: f32[4]\noutput y = x + linear(x, 4) }")
    assert message(graph, "r2wider").startswith(
        "error: r2wider: 2 parameters of the network have no value yet\nhelp: call growc.init"
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"filters": 3}, "`filters` of `r2wider` must be an even number of at least 2, not 3"),
        ({"kernel": 0}, "`kernel` of `r2wider` must be a whole number of at least 1, not 0"),
        ({"variant": "both"}, "must be one of parallel, concat"),
        ({"at": ()}, "must be a name pattern"),
    ],
)
def test_options_are_checked_when_a_pass_is_made(option, expected):
    from growc import PASSES

    with pytest.raises(BadArgument, match="must be") as caught:
        PASSES["r2wider"](**option)
    assert expected in caught.value.message


def test_names_do_not_grow_with_every_generation():
    """R2R blocks after R2R blocks stand beside them by name, however many there are."""
    graph = net(BLOCK)
    for generation in range(30):
        (applied,) = parse_pipeline("r2deeper")
        places = [p.name for p in applied.find(graph).main]
        (applied,) = parse_pipeline(f"r2deeper{{at={places[-1]}}}")
        graph = applied(graph, seed=generation).graph
    assert max(len(node.name) for node in graph) < 25


def test_very_long_names_leave_room_for_new_ones():
    long = "a" * 490
    graph = net(f"y = conv2d(x, 4) as {long}.c\nz = add(x, y) as {long}.s\noutput z")
    for text in ("r2wider", "r2deeper"):
        (applied,) = parse_pipeline(text)
        graph = applied(graph).graph
    assert "r2r.conv2d" in graph
    assert np.isfinite(graph.weights["r2r.conv2d.weight"]).all()
