"""Every pass on networks as people have them: it applies and is proved, or says why not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from growc import GrowcError, check_invariants, load, loads, parse_pipeline, testing
from growc.passes import PASSES, Place
from growc.proof import ROUNDED_TOLERANCE, Prover, compare
from growc.testing_networks import fill

torch.set_num_threads(1)

NETWORKS = Path(__file__).parent / "networks"
TEXTS = [
    *PASSES,
    "r2wider{variant=concat}",
    "new_heads{variant=concat}",
    "r2wider{init=match}",
    "net2wider{filters=1}",
]

NO_BLOCK = "this network has no residual block to apply it to"
NO_RELU = "this network has no relu to apply it to"
NO_NORM = "this network has no batch norm to apply it to"
NO_HEADS = "this network has no attention to apply it to"
NO_DEAD = "this network has no dead part to apply it to"
NEVER = {
    "cse": "this network has no common subexpression to apply it to",
    "fuse_branches": "this network has no fusible sum to apply it to",
    "merge_duplicates": "this network has no mergeable layer to apply it to",
    "new_connection": "this network has no masked layer to apply it to",
}
REFUSED = {
    "vit": {"net2deeper": NO_RELU, "new_layer": NO_RELU, "fold_batch_norm": NO_NORM},
    "gpt2": {
        "net2deeper": NO_RELU,
        "new_layer": NO_RELU,
        "fold_batch_norm": NO_NORM,
        "prune_dead": NO_DEAD,
        "new_heads{variant=concat}": "new_heads does not apply at layer.a.attention: its queries, "
        "keys and values share a layer, which variant=parallel leaves alone",
    },
    "unet": {"r2wider": NO_BLOCK, "new_heads": NO_HEADS, "prune_dead": NO_DEAD},
    "mobilenet": {"new_heads": NO_HEADS, "prune_dead": NO_DEAD},
    "densenet": {"r2wider": NO_BLOCK, "new_heads": NO_HEADS, "prune_dead": NO_DEAD},
    "convnext": {
        "net2deeper": NO_RELU,
        "new_layer": NO_RELU,
        "fold_batch_norm": NO_NORM,
        "new_heads": NO_HEADS,
        "prune_dead": NO_DEAD,
    },
}
"""The reason by network and pass; those of ``NEVER`` hold for all networks."""


def network(name):
    graph = load(NETWORKS / f"{name}.arch")
    fill(graph, 1)
    return graph


def reason(name, text):
    """Why a pass does not apply; ``concat`` needs no residual block."""
    own = REFUSED[name] | NEVER
    if text == "r2wider{variant=concat}":
        return None
    return own.get(text) or own.get(text.partition("{")[0])


def numbers_agree(claim, net, grown):
    tolerance = 1e-9 if claim.exact else ROUNDED_TOLERANCE
    return compare(net, grown, modes=claim.modes).worst.relative <= tolerance


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("text", TEXTS)
def test_a_pass_applies_and_is_proved_or_says_why_not(name, text):
    net = network(name)
    (applied,) = parse_pipeline(text)
    expected = reason(name, text)
    if expected is not None:
        with pytest.raises(GrowcError) as refused:
            applied(net)
        assert expected in str(refused.value)
        return
    before = net.copy()
    result = applied(net)
    grown = result.graph
    assert net == before
    check_invariants(grown)
    testing.assert_round_trips(grown)
    if result.claim.exact and result.claim.modes:
        proof = Prover()(net, grown, result.claim.modes, search=False)
        assert proof.verdict == "proved", proof.parting
    if result.claim.modes:
        assert numbers_agree(result.claim, net, grown)
    growing = text.partition("{")[0] not in ("fold_batch_norm", "prune_dead")
    assert not growing or grown.parameter_count() > net.parameter_count()


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_widened_is_merged_again(name):
    """Right after widening, the new channels are seen to be equal: in all of these networks."""
    net = network(name)
    (wider,), (merge,) = (
        parse_pipeline("r2wider{variant=concat}"),
        parse_pipeline("merge_duplicates"),
    )
    grown = wider(net).graph
    merged = merge(grown).graph
    assert merged.parameter_count() == net.parameter_count()
    assert Prover()(net, merged, search=False).verdict == "proved"


@pytest.mark.parametrize("name", REFUSED)
def test_passes_one_after_the_other(name):
    net = network(name)
    graph = net
    pipeline = "r2deeper, r2wider, new_heads, r2wider{variant=concat}, new_node, net2wider{at=*}"
    for one in pipeline.split(", "):
        (applied,) = parse_pipeline(one)
        try:
            graph = applied(graph, seed=len(graph)).graph
        except GrowcError:
            continue
        check_invariants(graph)
    assert len(graph) > len(net)
    assert Prover()(net, graph, search=False).verdict == "proved"
    testing.assert_round_trips(graph)


BLOCKS = {
    "vit": ["encoder.y", "encoder.z", "encoder_2.y", "encoder_2.z"],
    "gpt2": ["layer.y", "layer", "layer_2.y", "layer_2"],
    "mobilenet": ["inverted", "inverted_3"],
    "convnext": ["z"],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_residual_blocks_are_found(name):
    """Attention and MLP branches, and scaled ones; no sum with a position embedding."""
    from growc.passes.blocks import residual_blocks

    assert len(residual_blocks(network(name))) == len(BLOCKS[name])


def test_dropout_inside_an_mlp_is_no_obstacle_beside_it():
    net = network("vit")
    for node in list(net):
        if node.op.name == "dropout":
            net.set_op(node.name, type(node.op)(0.5))
    net.settle()
    (concat,), (parallel,) = (
        parse_pipeline(f"r2wider{{variant={v}}}") for v in ("concat", "parallel")
    )
    with pytest.raises(GrowcError, match="draws a different mask for each half"):
        concat(net)
    grown = parallel(net).graph
    assert Prover()(net, grown, search=False).verdict == "proved"
    assert compare(net, grown).agrees


def small(body, shape="2, 5, 5"):
    net = loads(f"net n {{ input x: f32[{shape}]\n{body}\n}}")
    fill(net, 3)
    return net


GROWING = ("r2wider{variant=concat, filters=4}", "net2wider{filters=3}", "new_node{count=2}")

THROUGH = {
    "transposed": "conv_transpose2d(3) as a -> batch_norm -> relu -> conv2d(2) as b",
    "into transposed": "conv2d(3) as a -> relu -> conv_transpose2d(2) as b",
    "between transposed": "conv_transpose2d(3) as a -> relu -> conv_transpose2d(2, groups=1) as b",
    "resize": 'conv2d(3) as a -> relu -> resize([9, 7], mode="linear") -> conv2d(2) as b',
    "mean": "conv2d(3) as a -> relu -> reduce_mean([1, 2]) -> linear(2) as b",
    "mean of one axis": "conv2d(3) as a -> reduce_max([-1], keep=true) -> mish -> conv2d(2) as b",
    "reshape": "conv2d(3) as a -> clip(0, 6) -> reshape([3, 25]) -> transpose([1, 0]) -> linear(2)",
    "flat": "conv2d(3) as a -> selu -> reshape([75]) -> linear(2) as b",
    "flat, open": "conv2d(3) as a -> selu -> reshape([-1]) -> linear(2) as b",
    "gather": "conv2d(3) as a -> gather([0, 2, 2], axis=1) -> tile([1, 1, 2]) -> conv2d(2) as b",
    "expand": "conv2d(3) as a -> global_lp_pool -> expand([3, 4, 4]) -> conv2d(2) as b",
    "pools": 'conv2d(3) as a -> lp_pool2d -> pad(after=[0, 1, 1], mode="edge") -> conv2d(2) as b',
    "functions": "conv2d(3) as a -> exp -> sin -> power(2) -> softplus -> conv2d(2) as b",
    "one slope": "conv2d(3) as a -> prelu -> conv2d(2) as b",
}


@pytest.mark.parametrize("name", THROUGH)
@pytest.mark.parametrize("text", GROWING)
def test_channels_pass(name, text):
    net = small(f"y = x -> {THROUGH[name]}\noutput y")
    (applied,) = parse_pipeline(text.replace("{", "{at=a, "))
    grown = applied(net).graph
    check_invariants(grown)
    exact = applied.claim_at(applied.find(net).single()).exact
    assert not exact or Prover()(net, grown, search=False).verdict == "proved"
    assert compare(net, grown).worst.relative <= (1e-9 if exact else ROUNDED_TOLERANCE)
    back = "prune_dead" if "new_node" in text else "merge_duplicates"
    narrower = parse_pipeline(back)[0](grown)
    assert narrower.graph.parameter_count() == net.parameter_count()
    assert [n.type for n in narrower.graph] == [n.type for n in net]
    assert compare(net, narrower.graph).worst.relative <= ROUNDED_TOLERANCE


def test_channels_pass_numbers_that_are_the_same_for_all():
    net = small(
        "c = constant([1, 5, 5])\ns = constant([1])\n"
        "h = x -> conv2d(3) as a\ny = (h / s * c - s) -> conv2d(2) as b\noutput y"
    )
    for text in GROWING:
        (applied,) = parse_pipeline(text.replace("{", "{at=a, "))
        grown = applied(net).graph
        assert compare(net, grown).worst.relative <= ROUNDED_TOLERANCE
        if applied.claim_at(applied.find(net).single()).exact:
            assert Prover()(net, grown, search=False).verdict == "proved"


@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_norm_becomes_part_of_a_transposed_convolution(groups):
    net = small(
        f"y = x -> conv_transpose2d(4, 3, groups={groups}) as a -> batch_norm as n\noutput y"
    )
    (fold,) = parse_pipeline("fold_batch_norm")
    folded = fold(net).graph
    assert [node.name for node in folded] == ["x", "a"]
    assert compare(net, folded, modes=("eval",)).worst.relative <= ROUNDED_TOLERANCE


def test_a_slope_for_each_channel_gets_new_ones():
    net = small("y = x -> conv2d(3) as a -> prelu(3) as p -> conv2d(2) as b\noutput y")
    net.weights["p.weight"] = np.array([0.1, -0.3, 0.7], np.float32)
    for text in ("r2wider{variant=concat, filters=4}", "net2wider{filters=2}", "new_node"):
        (applied,) = parse_pipeline(text)
        grown = applied(net).graph
        assert len(grown.weights["p.weight"]) > 3
        assert Prover()(net, grown, search=False).verdict == "proved"
        assert compare(net, grown).agrees
        merged = PASSES["merge_duplicates"]() if text != "new_node" else PASSES["prune_dead"]()
        assert len(merged(grown).graph.weights["p.weight"]) == 3


@pytest.mark.parametrize("name", REFUSED)
def test_every_open_place_can_be_taken_alone(name):
    """Also those that are taken only where they are asked for."""
    net = network(name)
    prove = Prover()
    for text in TEXTS:
        (applied,) = parse_pipeline(text)
        found = applied.find(net)
        items = [*found.main, *found.single()]
        for place in dict.fromkeys(item.name for item in items if isinstance(item, Place)):
            result = replace(applied, at=(place,))(net)
            check_invariants(result.graph)
            if result.claim.exact and result.claim.modes:
                proof = prove(net, result.graph, result.claim.modes, search=False)
                assert proof.verdict == "proved", (text, place, proof.parting)
