"""ILNAS's three additions: connections, nodes and layers that change nothing (section 3.2)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import growc
from growc import (
    PASSES,
    GrowcError,
    check_invariants,
    initialize,
    loads,
    parse_pipeline,
    same_weights,
    testing,
)
from growc.ir.weights import masked
from growc.passes import Place
from growc.proof.exact import Prover

torch.set_num_threads(1)

ADDITIONS = ("new_connection", "new_node", "new_layer")
SLOW = settings(deadline=None, max_examples=max(10, settings.default.max_examples // 2))


def net(body, shape="3, 6, 6"):
    graph = loads(f"net n {{ input x: f32[{shape}]\n{body}\n}}")
    initialize(graph)
    return graph


def mask(graph, key, alpha):
    alpha = np.broadcast_to(alpha, graph.weights[key].shape).copy()
    graph.weights.put(key, masked(graph.weights[key], alpha), alpha)


def apply(graph, text, seed=0):
    """The result of one pass, which is proved and whose input is not changed."""
    before, arrays, masks = graph.copy(), dict(graph.weights), dict(graph.weights.masks)
    (applied,) = parse_pipeline(text)
    result = applied(graph, seed=seed).graph
    assert graph == before
    assert all(graph.weights[k] is v for k, v in arrays.items())
    assert all(graph.weights.masks[k] is v for k, v in masks.items())
    check_invariants(result)
    assert Prover()(graph, result, search=False).verdict == "proved"
    return result


def is_open(applied, graph):
    return any(isinstance(item, Place) for item in applied.find(graph).main)


# ---- any network


@st.composite
def additions(draw, graph):
    """One of the passes, with random options, that applies to the network."""
    source = draw(st.sampled_from(graph.order()))
    drawn = [draw(testing.passes(PASSES[name])) for name in ADDITIONS]
    connection = replace(drawn[0], indices=None)
    candidates = [connection, replace(connection, source=source), *drawn[1:]]
    fitting = [applied for applied in candidates if is_open(applied, graph)]
    assume(fitting)
    return draw(st.sampled_from(fitting))


@SLOW
@given(data=st.data())
def test_any_sequence_of_additions_is_proved(data):
    start = data.draw(testing.masked_networks(steps=3) | testing.residual_networks(steps=2))
    prover, graph = Prover(), start
    for seed in range(data.draw(st.integers(1, 5))):
        applied = data.draw(additions(graph))
        result = applied(graph, seed=seed).graph
        check_invariants(result)
        assert prover(graph, result, search=False).verdict == "proved"
        # All that was there is there, with the numbers that it had.
        assert graph.parameter_count() < result.parameter_count()
        for key, old in graph.weights.items():
            corner = tuple(map(slice, old.shape))
            np.testing.assert_array_equal(result.weights[key][corner], old)
            alpha = graph.weights.mask(key)
            assert result.weights.mask(key)[corner][alpha].all()
        graph = result
    assert prover(start, graph, search=False).verdict == "proved"
    testing.assert_round_trips(graph)
    trainable = [key for key, spec in graph.parameters().items() if spec.trainable]
    assert graph.parameter_count() == sum(int(graph.weights.mask(k).sum()) for k in trainable)


@SLOW
@given(data=st.data())
def test_grown_networks_run_alike(data):
    """In torch in both modes, in onnxruntime, and when read from files."""
    start = data.draw(testing.masked_networks(steps=2))
    graph = start
    for seed in range(2):
        graph = data.draw(additions(graph))(graph, seed=seed).graph
    testing.assert_preserves(start, graph)
    testing.assert_backends_agree(graph)


@SLOW
@given(data=st.data())
def test_the_seed_decides_and_text_round_trips(data):
    graph = data.draw(testing.masked_networks(steps=3))
    applied = data.draw(additions(graph))
    assert parse_pipeline(str(applied)) == [applied]
    one, two = applied(graph, seed=5).graph, applied(graph, seed=5).graph
    assert one == two
    assert same_weights(one, two)


@SLOW
@given(graph=testing.masked_networks(tied=False), count=st.integers(1, 30), seed=st.integers(0, 3))
def test_new_connections_are_counted(graph, count, seed):
    applied = PASSES["new_connection"](count=count)
    assume(is_open(applied, graph))
    expected = 0
    for node in graph:
        keys = [k for k, _ in graph.params_of(node.name) if k in graph.weights.masks]
        expected += min(count, sum(int((~graph.weights.masks[k]).sum()) for k in keys))
    result = applied(graph, seed=seed).graph
    assert result.parameter_count() - graph.parameter_count() == expected
    assert all(result.weights[k] is v for k, v in graph.weights.items())


# ---- new connections

BODY = "y = x -> conv2d(4) as a -> relu as r -> conv2d(5) as b -> relu as s -> linear(2) as l\n"
CHAIN = BODY + "output y"


def sparse():
    graph = net(CHAIN)
    rng = np.random.default_rng(0)
    mask(graph, "b.weight", rng.random((5, 4, 3, 3)) < 0.5)
    mask(graph, "b.bias", [True, False, True, True, False])
    mask(graph, "l.weight", np.eye(2, 6, dtype=bool))
    return graph


def test_random_connections_of_every_masked_layer():
    graph = sparse()
    grown = apply(graph, "new_connection{count=7}")
    assert grown.parameter_count() == graph.parameter_count() + 14
    one, two = (apply(graph, "new_connection", seed).weights.masks for seed in (0, 1))
    assert any((one[k] != two[k]).any() for k in one)


def test_connections_by_number():
    """Weights first, then biases, as they lie in memory."""
    graph = sparse()
    weight, bias = (~graph.weights.masks[k].ravel() for k in ("b.weight", "b.bias"))
    first, last = np.flatnonzero(weight)[[0, -1]]
    grown = apply(graph, f"new_connection{{at=b, indices=[{first}, {last}, {5 * 4 * 9 + 4}]}}")
    added = grown.weights.mask("b.weight").ravel() & weight
    assert np.flatnonzero(added).tolist() == [first, last]
    assert (grown.weights.mask("b.bias") & bias).tolist() == [False] * 4 + [True]
    assert grown.parameter_count() == graph.parameter_count() + 3


def test_whole_kernels():
    graph = sparse()
    graph.weights.masks["b.weight"] = alpha = graph.weights.masks["b.weight"].copy()
    alpha[2, 1] = True
    grown = apply(graph, "new_connection{at=b, per=kernel, indices=[6, 21]}")
    changed = grown.weights.mask("b.weight") & ~alpha
    assert np.argwhere(changed.any(axis=(2, 3))).tolist() == [[1, 2]]
    assert grown.weights.mask("b.weight")[1, 2].all()
    assert grown.weights.mask("b.bias")[1]
    with pytest.raises(GrowcError, match="at b: its connection 9 is not missing"):
        apply(graph, "new_connection{at=b, per=kernel, indices=[9]}")


def test_all_connections_and_none_left():
    graph = sparse()
    grown = apply(graph, "new_connection{count=1000}")
    assert not grown.weights.masks
    assert grown.parameter_count() == sum(v.size for v in grown.weights.values())
    with pytest.raises(GrowcError, match="this network has no masked layer to apply it to"):
        apply(grown, "new_connection")


@pytest.mark.parametrize(("per", "count", "size"), [("weight", 4, 4), ("kernel", 2, 18)])
def test_connections_from_an_earlier_layer(per, count, size):
    graph = net("y = x -> conv2d(4) as a -> relu as r -> conv2d(5, dilation=2) as b\noutput y")
    grown = apply(graph, f"new_connection{{source=a, at=b, count={count}, per={per}}}")
    new = grown.node("b.new_connection.conv2d")
    assert new.operands == ("a",)
    assert new.op.dilation == (2, 2)
    key = "b.new_connection.conv2d.weight"
    alpha = grown.weights.masks[key]
    assert not grown.weights[key].any()
    assert alpha.shape == (5, 4, 3, 3)
    assert alpha.sum() == size == grown.parameter_count() - graph.parameter_count()
    if per == "kernel":
        assert set(alpha.sum(axis=(2, 3)).ravel()) == {0, 9}
    # What is zero now learns, and nothing else in its layer does.
    module = growc.to_torch(grown)
    module(torch.randn(2, 3, 6, 6)).square().sum().backward()
    assert ((module.get_parameter(key).grad.numpy() != 0) == alpha).all()
    # The same place twice: its missing weights are in the layer that is there.
    message = r"`b.new_connection.conv2d` connects it with `a` already: add what is missing there"
    with pytest.raises(GrowcError, match=message):
        apply(grown, "new_connection{source=a, at=b}")
    again = apply(grown, "new_connection{at=b.new_connection.conv2d}")
    assert again.parameter_count() == grown.parameter_count() + 1
    # Another source beside it.
    two = apply(grown, "new_connection{source=x, at=b}")
    assert two.node("b.new_connection_2.conv2d").operands == ("x",)


def test_connections_by_number_from_an_earlier_layer():
    graph = net("y = x -> linear(4) as a -> relu -> linear(3) as b\noutput y", shape="2, 5")
    grown = apply(graph, "new_connection{source=x, at=b, indices=[0, 14]}")
    alpha = grown.weights.masks["b.new_connection.linear.weight"]
    assert np.argwhere(alpha).tolist() == [[0, 0], [2, 4]]


# ---- new nodes


def test_a_placeholder_has_random_inputs_and_no_outputs():
    graph = net("y = x -> conv2d(4) as a -> batch_norm -> relu -> dropout(0.5) -> flatten -> "
                "linear(3) as l\noutput y")  # fmt: skip
    grown = apply(graph, "new_node{count=3}")
    incoming = grown.weights["a.weight"][4:]
    assert incoming.all()
    assert len({w.tobytes() for w in incoming}) == 3
    alpha = grown.weights.masks["l.weight"]
    assert list(grown.weights.masks) == ["l.weight"]
    assert alpha[:, :144].all()
    assert not alpha[:, 144:].any()
    assert not grown.weights["l.weight"][:, 144:].any()
    # weights and bias of a node, and the two parameters of its batch norm
    assert grown.parameter_count() - graph.parameter_count() == 3 * (27 + 1 + 2)
    # A gradient reaches the missing outgoing weights once they are there.
    open_all = grown.copy()
    open_all.weights.masks.clear()
    module = growc.to_torch(open_all)
    module(torch.randn(2, 3, 6, 6)).square().sum().backward()
    assert module.l.weight.grad[:, 144:].any()


def test_nodes_of_neighbouring_layers_do_not_read_each_other():
    grown = apply(net(CHAIN.replace("linear(2) as l", "conv2d(2) as l")), "new_node{count=2}")
    alpha = grown.weights.masks["b.weight"]
    assert alpha.shape == (7, 6, 3, 3)
    assert alpha[:, :4].all()
    assert not alpha[:, 4:].any()


def test_nodes_of_masked_layers_keep_the_masks():
    graph = net(CHAIN.replace("linear(2) as l", "conv2d(2) as l"))
    rng = np.random.default_rng(0)
    for key in ("a.weight", "b.weight", "b.bias"):
        mask(graph, key, rng.random(graph.weights[key].shape) < 0.5)
    grown = apply(graph, "new_node{at=a}")
    for key in ("a.weight", "b.weight"):
        old = graph.weights.masks[key]
        np.testing.assert_array_equal(grown.weights.masks[key][tuple(map(slice, old.shape))], old)
    assert grown.weights.masks["a.weight"][4].all()
    assert grown.weights.masks["b.bias"] is graph.weights.masks["b.bias"]


def test_keep_adds_the_very_nodes_of_a_larger_number():
    graph = net(CHAIN.replace("linear(2) as l", "conv2d(2) as l"))
    all_of_them = apply(graph, "new_node{at=[a, b], count=5, seed=3}")
    # From the last layer on, so that no node reads another new one.
    some = apply(graph, "new_node{at=b, count=5, keep=[4], seed=3}")
    some = apply(some, "new_node{at=a, count=5, keep=[2, 0], seed=3}")
    np.testing.assert_array_equal(
        some.weights["a.weight"], all_of_them.weights["a.weight"][[0, 1, 2, 3, 4, 6]]
    )
    np.testing.assert_array_equal(
        some.weights["b.weight"][5], all_of_them.weights["b.weight"][9, :6]
    )
    assert not some.weights.masks["b.weight"][:, 4:].any()


SUM = """y = x -> conv2d(4) as a -> relu
y = (y -> conv2d(5) as b) + (y -> conv2d(5, bias=false) as c) -> batch_norm -> relu
y = y -> flatten -> linear(3) as l
output y"""


def test_a_node_of_a_layer_beside_another_has_none_of_its_weights():
    graph = net(SUM)
    grown = apply(graph, "new_node{at=b, count=2}")
    assert grown.node("c").op.channels == 7
    alpha = grown.weights.masks["c.weight"]
    assert alpha[:5].all()
    assert not alpha[5:].any()
    assert grown.weights["b.weight"][5:].all()
    assert growc.prove(graph, grown).verdict == "proved"


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("r2wider{variant=concat, at=b, filters=4}", "merge_duplicates"),
        ("net2wider{at=b, filters=5}", "merge_duplicates"),
        ("new_node{at=c}", "prune_dead"),
    ],
)
def test_layers_whose_results_are_added_grow_and_shrink_together(text, back):
    graph = net(SUM)
    grown = apply(graph, text)
    assert grown.node("b").op.channels == grown.node("c").op.channels > 5
    smaller = apply(grown, back)
    assert smaller.node("b").op.channels == smaller.node("c").op.channels == 5
    assert smaller.parameter_count() == graph.parameter_count()
    for one in (grown, smaller):
        assert growc.prove(graph, one).verdict == "proved"


def test_a_layer_that_something_else_reads_is_not_widened_for_a_sum():
    graph = net("y = x -> conv2d(4) as a\nz = x -> conv2d(4) as b\n"
                "output y = (y + z) -> relu -> conv2d(2)\noutput z = z -> relu")  # fmt: skip
    with pytest.raises(GrowcError, match="which fixes their number"):
        apply(graph, "new_node{at=a}")


def test_at_most_1024_channels():
    graph = net("y = x -> linear(1020) as a -> relu -> linear(2)\noutput y", shape="2")
    assert apply(graph, "new_node{count=4}").node("a").op.features == 1024
    message = (
        "at a: it has 1,020 channels, and 5 more would be more than the 1,024 that ILNAS allows"
    )
    with pytest.raises(GrowcError, match=message):
        apply(graph, "new_node{count=5, at=a}")


# ---- new layers


@pytest.mark.parametrize(
    ("shape", "op", "weights"),
    [
        ("7", "linear", (7, 7)),
        ("3, 8", "conv1d", (3, 3, 3)),
        ("3, 4, 5", "conv2d", (3, 3, 3, 3)),
        ("3, 2, 4, 5", "conv3d", (3, 3, 3, 3, 3)),
    ],
)
def test_a_new_layer_is_the_identity_and_nothing_else(shape, op, weights):
    graph = net("output y = relu(x) as r", shape=shape)
    grown = apply(graph, "new_layer")
    key = f"r.new_layer.{op}.weight"
    assert grown.weights[key].shape == weights
    np.testing.assert_array_equal(grown.weights[key], grown.weights.masks[key])
    channels = weights[0]
    assert grown.weights[key].sum() == channels
    assert grown.parameter_count() == 2 * channels
    assert apply(graph, "new_layer{bias=false}").parameter_count() == channels


def test_several_layers_at_one_place():
    grown = apply(net(CHAIN), "new_layer{count=3, at=r, kernel=5}")
    names = [n.name for n in grown if "new_layer" in n.name]
    assert names == [f"r.new_layer{n}.{op}" for n in ("", "_2", "_3") for op in ("conv2d", "relu")]
    # One that grows behind another has a short name too.
    again = apply(grown, "new_layer{at=r.new_layer_3.relu}")
    assert "r.new_layer_4.relu" in again


def test_kernels_of_one_of_a_single_channel_need_no_mask():
    assert not apply(
        net("output y = relu(x)", shape="1, 4, 4"), "new_layer{kernel=1}"
    ).weights.masks


def test_random_places():
    graph = net("y = x -> relu as a -> linear(3) -> relu as b -> linear(3) -> relu as c\noutput y",
                shape="3")  # fmt: skip
    (applied,) = parse_pipeline("new_layer{places=2}")
    chosen = {tuple(p.name for p in applied(graph, seed=s).places) for s in range(20)}
    assert chosen == {("a", "b"), ("a", "c"), ("b", "c")}
    (applied,) = parse_pipeline("new_layer{places=9}")
    assert len(applied(graph).places) == 3


# ---- refusals

REFUSED = {
    "nothing is missing": (
        CHAIN,
        "new_connection{at=a}",
        "new_connection does not apply at a: nothing is missing: all its connections are there",
    ),
    "no masked layer": (
        CHAIN,
        "new_connection",
        "new_connection: this network has no masked layer to apply it to",
    ),
    "not missing": (
        CHAIN,
        "new_connection{at=a, indices=3}",
        "`indices` of `new_connection` must be a list of whole numbers of at least 0, not 3",
    ),
    "beyond": (
        CHAIN,
        "new_connection{at=a, indices=[112]}",
        "new_connection does not apply at a: it has 112 connections, numbered from 0, so none is "
        "number 112",
    ),
    "beyond a new layer": (
        CHAIN,
        "new_connection{at=b, source=x, per=kernel, indices=[15]}",
        "new_connection does not apply at b: it has 15 connections, numbered from 0, so none is "
        "number 15",
    ),
    "no such source": (
        CHAIN,
        "new_connection{source=c}",
        "new_connection: no node of this network is called `c`",
    ),
    "cycle": (
        CHAIN,
        "new_connection{source=s, at=b}",
        "new_connection does not apply at b: `s` depends on it, so the connection would make a "
        "cycle",
    ),
    "itself": (
        CHAIN,
        "new_connection{source=b, at=b}",
        "new_connection does not apply at b: `b` depends on it, so the connection would make a "
        "cycle",
    ),
    "already read": (
        CHAIN,
        "new_connection{source=r, at=b}",
        "new_connection does not apply at b: it reads `r` already: add what is missing without "
        "`source`",
    ),
    "another stage": (
        "y = x -> conv2d(4) as a -> max_pool2d -> relu -> conv2d(5) as b\noutput y",
        "new_connection{source=x, at=b}",
        "new_connection does not apply at b: `x` is f32[3, 6, 6], which differs from its result "
        "f32[5, 3, 3] in more than the channels: it lies in another stage",
    ),
    "another rank": (
        "y = x -> conv2d(4) as a -> flatten -> relu -> linear(5) as b\noutput y",
        "new_connection{source=a, at=b}",
        "new_connection does not apply at b: `a` is f32[4, 6, 6], which differs from its result "
        "f32[5] in more than the channels: it lies in another stage",
    ),
    "node to keep beyond the number": (
        CHAIN,
        "new_node{at=a, count=2, keep=[1, 2]}",
        "new_node does not apply at a: of 2 nodes, numbered from 0, none is number 2",
    ),
    "no node to keep": (
        CHAIN,
        "new_node{at=a, keep=[]}",
        "new_node does not apply at a: of 1 node, numbered from 0, `keep` names none of them",
    ),
    "node of the output": (
        CHAIN,
        "new_node{at=l}",
        "new_node does not apply at l: its channels are the network's output, through `l`",
    ),
    "node before a layer norm": (
        "y = x -> conv2d(4) as a -> layer_norm(dims=3) as n -> conv2d(2)\noutput y",
        "new_node{at=a}",
        "new_node does not apply at a: `n` (layer_norm) relates all channels to each other, so "
        "new ones would change the old",
    ),
    "node before a group norm": (
        "y = x -> conv2d(4) as a -> group_norm(2) as n -> conv2d(2)\noutput y",
        "new_node{at=a, count=3}",
        "new_node does not apply at a: `n` (group_norm) has groups of 2 channels, which 3 new "
        "ones do not fill",
    ),
    "no chain": (
        "output y = conv2d(x, 4)",
        "new_node",
        "new_node: this network has no layer to apply it to",
    ),
    "layer after tanh": (
        "output y = tanh(x) as t",
        "new_layer{at=t}",
        "new_layer does not apply at t: f(f(x)) is not f(x) for tanh, so a second one would "
        "change the function",
    ),
    "layer after a layer": (
        CHAIN,
        "new_layer{at=a}",
        "new_layer does not apply at a: it is a layer, and no relu: a relu behind a new layer "
        "would change the function",
    ),
    "layer after a pool": (
        "output y = x -> relu -> max_pool2d as p",
        "new_layer{at=p}",
        "new_layer does not apply at p: it is neither a relu nor a layer, but of the kind "
        "max_pool2d",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "text", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(body, text, message):
    graph = net(body)
    before, arrays = graph.copy(), dict(graph.weights)
    with pytest.raises(GrowcError) as caught:
        parse_pipeline(text)[0](graph)
    assert caught.value.diagnostics[0].message == message
    assert graph == before
    assert all(graph.weights[k] is v for k, v in arrays.items())


def test_group_norms_are_filled():
    graph = net("y = x -> conv2d(4) as a -> group_norm(2) -> relu -> conv2d(2)\noutput y")
    assert apply(graph, "new_node{count=4}").node("a").op.channels == 8


# ---- all together


def test_grow_save_train_and_grow_again(tmp_path):
    graph = net(CHAIN.replace("linear(2) as l", "flatten -> linear(2) as l"))
    for text in ("new_layer{places=1}", "new_node", "new_connection{count=5}"):
        graph = apply(graph, text)
    growc.save(graph, tmp_path / "n")
    loaded = growc.load(tmp_path / "n.arch")
    assert same_weights(loaded, graph)
    module = growc.to_torch(loaded)
    optimizer = torch.optim.AdamW(module.parameters(), 0.01, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.randn(4, 3, 6, 6)).square().sum().backward()
        optimizer.step()
    trained = growc.with_weights_of(loaded, module)
    assert trained.parameter_count() == graph.parameter_count()
    for text in ("new_connection{count=3}", "new_connection{source=a, at=b}", "new_layer{at=s}"):
        trained = apply(trained, text)
    testing.assert_backends_agree(trained)
