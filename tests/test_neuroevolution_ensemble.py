"""Hierarchical ensembles: members as in evaluation mode, a head that alone is trained, one file."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import growc
from growc import GrowcError, check_invariants, loads, testing
from growc.ir.ops import BatchNorm, Dropout, Flatten
from growc.proof.numeric import ROUNDED_TOLERANCE, random_inputs
from growc.search.neuroevolution.ensemble import ensemble, head_parameters
from growc.search.neuroevolution.merging import share_statistics

torch.set_num_threads(1)

SLOW = settings(deadline=None, max_examples=max(15, settings.default.max_examples // 2))

ONE = {"several_inputs": False, "several_outputs": False}

NET = """net n {
    input x: f32[2, 6, 6]
    a = x -> conv2d(3) as first -> batch_norm(eps=0.1) -> relu
    b = a + (a -> batch_norm(eps=0.1) -> relu -> dropout(0.5) -> conv2d(3))
    output y = b -> max_pool2d(2) -> flatten -> linear(4)
}"""


def network(seed=0, text=NET):
    graph = loads(text)
    growc.initialize(graph, seed)
    return with_statistics(graph, seed)


def with_statistics(graph, seed):
    twin, rng = graph.copy(), np.random.default_rng(seed)
    for key, spec in graph.parameters().items():
        if not spec.trainable and isinstance(graph.node(key.rpartition(".")[0]).op, BatchNorm):
            twin.weights[key] = rng.uniform(0.5, 1.5, spec.shape).astype(np.float32)
    return twin


def flat(graph):
    """The network with one row of numbers for an example."""
    ((output, end),) = graph.outputs.items()
    twin = graph.copy()
    twin.set_output(output, twin.add(Flatten(), (end,), twin.fresh("flat")))
    return twin


def evaluated(graph, x, mode="eval"):
    with torch.no_grad():
        return growc.to_torch(graph, dtype=torch.float64).train(mode == "train")(x)


def assert_reads_its_members(graph, members):
    """The output is the head's of the members' logits in evaluation mode, whatever the mode; up to
    the rounding of folded weights to float32."""
    check_invariants(graph)
    (x,) = (torch.from_numpy(v) for v in random_inputs(graph, 0, 4).values())
    x = x.double() if x.is_floating_point() else x
    logits = torch.cat([evaluated(member, x) for member in members], 1)
    w1, b1, w2, b2 = (torch.from_numpy(graph.weights[k]).double() for k in head_parameters(graph))
    wanted = F.linear(F.relu(F.linear(logits, w1, b1)), w2, b2)
    for mode in ("eval", "train"):
        found = evaluated(graph, x, mode)
        # The head adds up logits, whose scale the rounding is relative to.
        scale = float(logits.abs().max() + wanted.abs().max())
        assert float((found - wanted).abs().max()) <= ROUNDED_TOLERANCE * scale


@SLOW
@given(
    nets=st.lists(
        testing.networks(**ONE, kinds=["image2d"]) | testing.residual_networks(**ONE),
        min_size=1,
        max_size=1,
    ),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    shared=st.booleans(),
)
def test_it_reads_its_members(nets, seeds, shared):
    members = [with_statistics(flat(nets[0]), seed) for seed in seeds]
    members = share_statistics(members) if shared else members
    graph = ensemble(members, classes=3, hidden=5, seed=1)
    assert not any(isinstance(node.op, (BatchNorm, Dropout)) for node in graph)
    assert_reads_its_members(graph, members)


def test_grown_members_in_one_file(tmp_path):
    net = network()
    members = [
        net,
        with_statistics(growc.compile(net, "r2deeper", verify="none"), 1),
        with_statistics(growc.compile(net, "r2wider", verify="none"), 2),
        network(seed=3),
    ]
    graph = ensemble(members, classes=4)
    assert_reads_its_members(graph, members)
    testing.assert_backends_agree(graph)
    growc.to_onnx(graph, tmp_path / "ensemble.onnx")
    x = np.random.default_rng(0).standard_normal((5, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        wanted = growc.to_torch(graph)(torch.from_numpy(x)).numpy()
    found = growc.run_onnx(tmp_path / "ensemble.onnx", {"x": x})
    found = next(iter(found.values())) if isinstance(found, dict) else found
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    testing.assert_round_trips(graph)


def test_only_the_head_is_trained_and_learns_who_is_right():
    """Each member knows two of four classes. The head finds out."""
    text = "net n { input x: f32[4] output y = x -> batch_norm -> linear(4) }"
    members = []
    for known in ([0, 1], [2, 3]):
        member = network(len(members), text)
        weight = np.zeros((4, 4), np.float32)
        weight[known, known] = 3
        member.weights["y.weight"] = weight
        members.append(member)
    graph = ensemble(members, classes=4, hidden=16)
    before = {k: v.copy() for k, v in graph.weights.items()}
    module = growc.to_torch(graph).train()
    names = head_parameters(graph)
    parameters = dict(module.named_parameters())
    assert set(names) < set(parameters)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in names)
    optimizer = torch.optim.Adam([parameters[n] for n in names], 0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        labels = torch.randint(4, (64,), generator=generator)
        x = F.one_hot(labels, 4) + 0.1 * torch.randn(64, 4, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(module(x), labels).backward()
        optimizer.step()
    labels = torch.arange(4)
    x = F.one_hot(labels, 4).float()
    assert torch.equal(module.eval()(x).argmax(1), labels)
    alone = [growc.to_torch(m).eval()(x).argmax(1) for m in members]
    assert not any(torch.equal(found, labels) for found in alone)
    trained = growc.weights_of(graph, module)
    changed = {k for k, v in trained.items() if not np.array_equal(v, before[k])}
    assert changed == set(names)


def test_norms_that_cannot_be_folded_become_constants():
    net = network()
    graph = ensemble([net], classes=4)
    assert [n.name for n in graph if n.op.name == "constant"] == [
        "b.batch_norm.scale",
        "b.batch_norm.shift",
    ]
    twin = with_statistics(net, 7)
    graph = ensemble([net, twin], classes=4)
    # The first convolution is both members', and stays one: its norms cannot become part of it.
    same = [k for k in graph.parameters() if graph.weights[k] is net.weights["first.weight"]]
    assert len(same) == 1
    constants = [node for node in graph if node.op.name == "constant"]
    assert len(constants) == 8
    assert_reads_its_members(graph, [net, twin])


def test_members_that_are_one_function_are_there_once():
    net = network()
    child = growc.compile(net, "r2wider", verify="none")
    assert len(ensemble([net, child, net.copy()], 4)) == len(ensemble([net], 4))
    assert_reads_its_members(ensemble([net, child], 4), [net, child])


def test_the_head():
    net = network()
    graph = ensemble([net, network(1)], classes=7, hidden=9, seed=3)
    names = head_parameters(graph)
    assert [graph.weights[k].shape for k in names] == [(9, 8), (9,), (7, 9), (7,)]
    assert list(graph.outputs) == ["logits"]
    assert graph.node(graph.outputs["logits"]).type.shape == (7,)
    again, other = ensemble([net, network(1)], 7, 9, 3), ensemble([net, network(1)], 7, 9, 4)
    assert growc.same_weights(graph, again)
    assert not any(np.array_equal(graph.weights[k], other.weights[k]) for k in names)
    assert head_parameters(ensemble([net], 10))[0] == "head.hidden.weight"


def test_an_ensemble_of_ensembles():
    inner = [ensemble([network(i), network(i + 1)], classes=4) for i in (0, 2)]
    graph = ensemble(inner, classes=4, seed=5)
    assert_reads_its_members(graph, inner)
    assert len(head_parameters(graph)) == 4
    assert not {id(graph.weights[k]) for k in head_parameters(graph)} & {
        id(a) for m in inner for a in m.weights.values()
    }


def test_the_members_stay_as_they_were():
    net = network()
    nodes, arrays = list(net), dict(net.weights)
    ensemble([net, net.copy()], classes=4)
    assert list(net) == nodes
    assert all(net.weights[k] is a for k, a in arrays.items())


def test_refusals():
    rows = network(text="net n { input x: f32[2, 6] output y = x -> linear(4) }")
    with pytest.raises(GrowcError, match=r"model 0 yields f32\[2, 4\]; an ensemble reads logits"):
        ensemble([rows], classes=4)
    with pytest.raises(GrowcError, match="there are no models"):
        ensemble([], classes=4)
    with pytest.raises(GrowcError, match="`n` is not an ensemble"):
        head_parameters(network())
