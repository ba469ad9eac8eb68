"""A population merged into one graph: the same predictions, and what is common is there once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import growc
from growc import GrowcError, check_invariants, loads, testing
from growc.ir import Graph, TensorType
from growc.ir.ops import Add, BatchNorm, Constant, Conv2d, Linear, Parameter, Relu
from growc.passes import NothingToDo
from growc.proof.numeric import FLOAT64_TOLERANCE, random_inputs
from growc.search.neuroevolution.merging import merge, share_statistics

torch.set_num_threads(1)

SLOW = settings(deadline=None, max_examples=max(15, settings.default.max_examples // 2))

ONE = {"several_inputs": False, "several_outputs": False}
ONES = testing.networks(**ONE) | testing.residual_networks(**ONE) | testing.masked_networks(**ONE)

BLOCKS = """net n {
    input x: f32[3, 8, 8]
    a = x + (x -> conv2d(4, 3) -> batch_norm -> relu -> conv2d(3, 1)) -> max_pool2d(2)
    b = a + (a -> conv2d(4, 3) -> batch_norm -> relu -> conv2d(3, 1))
    output y = b -> flatten -> linear(4) as linear
}"""


def network(text=BLOCKS, seed=0):
    graph = loads(text)
    growc.initialize(graph)
    rng = np.random.default_rng(seed)
    for key, spec in graph.parameters().items():
        if not spec.trainable:
            graph.weights[key] = rng.uniform(0.5, 1.5, spec.shape).astype(np.float32)
    return graph


def grown(graph, text, seed=0):
    return growc.compile(graph, text, seed=seed, verify="none")


def apart(graph, rng, share=0.5, only=None):
    """The network with new values for some of its parameters."""
    twin = graph.copy()
    for key in graph.parameters():
        if (only is None or key.rpartition(".")[2] in only) and rng.random() < share:
            value = graph.weights[key] * rng.uniform(0.8, 1.25, graph.weights[key].shape)
            twin.weights[key] = value.astype(np.float32)
    return twin


def operations(graph):
    return sum(n.type.size + n.op.macs(graph.operand_types(n), n.type) for n in graph)


def renamed(graph, prefix="other."):
    """The same network with the same arrays, but other names of nodes and parameters."""
    twin, new = Graph("renamed"), {}
    for node in graph:
        name = prefix + node.name
        new[node.name] = name
        if node.name in graph.inputs:
            twin.add_input(name, node.type)
            continue
        keys = {spec.role: key for key, spec in graph.params_of(node.name)}
        shared = {role: prefix + key for role, key in keys.items() if role in node.shared}
        twin.add(node.op, (new[o] for o in node.operands), name, shared)
    for key in graph.parameters():
        twin.weights.put(prefix + key, graph.weights[key], graph.weights.masks.get(key))
    for output, node in graph.outputs.items():
        twin.set_output(output, new[node])
    return twin


def outputs(graph, dtype=torch.float64):
    """[batch, …] of every output in evaluation mode."""
    (x,) = (torch.from_numpy(v) for v in list(random_inputs(graph, 0, 3).values()))
    x = x.to(dtype) if x.is_floating_point() else x
    with torch.no_grad():
        found = growc.to_torch(graph, dtype=dtype).eval()(x)
    return list(found.values()) if isinstance(found, dict) else [found]


def assert_same_predictions(models, merged):
    """Each model's output is one of the merged graph's, up to the rounding of float64: tensors of
    one function are computed in one way, and sums in another order."""
    check_invariants(merged)
    assert len(merged.outputs) == len(models)
    (given,) = (merged.node(n) for n in merged.inputs)
    together = outputs(merged) * (len(models) if len(models) == 1 else 1)
    for model, found in zip(models, together, strict=True):
        twin = renamed(model, "")
        if model.inputs != merged.inputs:  # whose name the random numbers depend on
            twin = with_input(model, given.name)
        (wanted,) = outputs(twin)
        scale = float(wanted.abs().max())
        assert wanted.shape == found.shape
        assert float((wanted - found).abs().max()) <= FLOAT64_TOLERANCE * max(scale, 1e-30)


def with_input(graph, name):
    twin, old = Graph("n", graph.weights.copy()), graph.inputs[0]
    for node in graph:
        if node.name == old:
            twin.add_input(name, node.type)
        else:
            operands = (name if o == old else o for o in node.operands)
            twin.add(node.op, operands, node.name, node.shared)
    for output, node in graph.outputs.items():
        twin.set_output(output, name if node == old else node)
    return twin


@st.composite
def populations(draw):
    """Networks that come from one: grown, trained apart, renamed, in any order."""
    models = [draw(ONES)]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    for _ in range(draw(st.integers(0, 4))):
        parent = draw(st.sampled_from(models))
        way = draw(st.sampled_from(["same", "apart", "statistics", "renamed", "grown", "grown"]))
        if way == "apart":
            parent = apart(parent, rng, draw(st.sampled_from([0.2, 0.7])))
        elif way == "statistics":
            parent = apart(parent, rng, 1.0, ("running_mean", "running_var"))
        elif way == "renamed":
            parent = renamed(parent, draw(st.sampled_from(["other.", "model", "z."])))
        elif way == "grown":
            (applied,) = draw(testing.pipelines(["r2wider", "r2deeper", "net2wider"], most=1))
            try:
                parent = applied(parent).graph
            except (NothingToDo, GrowcError):
                parent = parent.copy()
        models.append(parent)
    return draw(st.permutations(models))


# ---- any population


@SLOW
@given(models=populations(), functions=st.booleans())
def test_predictions_are_the_same(models, functions):
    before = [(list(m), dict(m.weights)) for m in models]
    merged = merge(models, functions=functions)
    assert_same_predictions(models, merged)
    for model, (nodes, arrays) in zip(models, before, strict=True):
        assert list(model) == nodes
        assert model.weights.keys() == arrays.keys()
        assert all(model.weights[k] is a for k, a in arrays.items())
    theirs = {id(a) for m in models for a in m.weights.values()}
    assert all(id(merged.weights[k]) in theirs for k in merged.parameters())
    assert merged.macs() <= sum(m.macs() for m in models)


@SLOW
@given(net=ONES, seed=st.integers(0, 99))
def test_what_is_the_same_is_there_once(net, seed):
    """Copies and renamed copies add nothing, nor do children that were not trained."""
    once = merge([net])
    assert list(merge([net, renamed(net), net.copy(), renamed(net, "z.")])) == list(once)
    try:
        child = grown(net, "r2wider" if seed % 2 else "r2deeper", seed)
    except GrowcError:
        return
    for models in ([net, child], [child, net]):
        merged = merge(models)
        assert len(set(merged.outputs.values())) == 1
        assert operations(merged) <= operations(merge(models, functions=False))


@SLOW
@given(models=populations())
def test_shared_statistics_are_those_of_the_same_thing(models):
    """What is shared normalizes the same numbers in training mode."""
    shared = share_statistics(models)
    for model, twin in zip(models, shared, strict=True):
        assert list(model) == list(twin)
        changed = {k for k in model.parameters() if model.weights[k] is not twin.weights[k]}
        trained = {k for k, spec in model.parameters().items() if spec.trainable}
        assert not changed & trained
    batches = [norm_inputs(twin) for twin in shared]
    seen = {}
    for twin, numbers in zip(shared, batches, strict=True):
        for name, x in numbers.items():
            key = id(twin.weights[twin.node(name).parameter("running_mean")])
            assert float((seen.setdefault(key, x) - x).abs().max()) < 1e-9


def norm_inputs(graph):
    """What each batch norm is given in training mode, without dropout."""
    module = growc.to_torch(graph, dtype=torch.float64)
    found = {}
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Dropout):
            part.eval()
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.register_forward_pre_hook(lambda _, x, name=name: found.__setitem__(name, x[0]))
    x = next(iter(random_inputs(with_input(graph, "x"), 0, 4).values()))
    x = torch.from_numpy(x)
    with torch.no_grad():
        module(x.double() if x.is_floating_point() else x)
    return {
        n: x for n, x in found.items() if n in graph and isinstance(graph.node(n).op, BatchNorm)
    }


# ---- what is shared


def test_a_fresh_population_costs_what_its_parent_does():
    net = network()
    children = [grown(net, f"r2deeper{{at={at}}}", i) for i, at in enumerate(("a", "b"))]
    children += [grown(children[0], "r2wider", 5), grown(net, "net2wider{filters=3}", 6)]
    for models in ([net, *children], [*reversed(children), net]):
        merged = merge(models)
        assert merged.macs() == net.macs()
        assert len(set(merged.outputs.values())) == 1
        assert {id(merged.weights[k]) for k in merged.parameters()} <= set(
            map(id, net.weights.values())
        )
        assert_same_predictions(models, merged)
    by_structure = merge(children, functions=False)
    assert by_structure.macs() > net.macs()


def test_a_common_prefix_is_computed_once():
    """Children that were trained apart behind the first block share that block."""
    net = network()
    rng = np.random.default_rng(1)
    models = [net]
    for seed in range(3):
        child = grown(net, "r2deeper{at=b}", seed)
        for key, spec in child.parameters().items():
            if spec.trainable and key not in net.weights:
                values = rng.standard_normal(spec.shape) * 0.3
                child.weights[key] = values.astype(np.float32)
        models.append(child)
    merged = merge(models)
    assert_same_predictions(models, merged)
    assert len(set(merged.outputs.values())) == 4
    macs = {node.name: node.op.macs(net.operand_types(node), node.type) for node in net}
    first = sum(n for name, n in macs.items() if "linear" not in name)
    own = sum(n for name, n in macs.items() if "linear" in name)
    new = sum(m.macs() - net.macs() for m in models)
    assert merged.macs() == first + 4 * own + new


def test_a_zero_term_costs_nothing():
    """Not even where another zero is what the cheapest way to it seems to be."""
    net = network("""net n {
        input x: f32[3]
        a = x + (x -> linear(3, bias=false) as zero) + (x -> linear(3))
        output y = a + (a -> linear(3) -> relu) + (a -> linear(3, bias=false) as other)
    }""")
    for name in ("zero", "other"):
        net.weights[f"{name}.weight"] = np.zeros((3, 3), np.float32)
    merged = merge([net])
    assert_same_predictions([net], merged)
    assert merged.macs() == net.macs() - 2 * 9
    # One that gives the sum its shape stays.
    net = network("""net n {
        input x: f32[4, 3]
        s = x -> reduce_mean(axes=[0], keep=true)
        output y = s + (s -> relu) + (x -> scale(0))
    }""")
    assert_same_predictions([net], merge([net]))


def test_own_statistics_end_what_is_shared():
    net = network()
    rng = np.random.default_rng(3)
    models = [net, apart(net, rng, 1.0, ("running_mean", "running_var"))]
    merged = merge(models)
    assert_same_predictions(models, merged)
    shared = merge(share_statistics(models))
    first = next(n for n in merged if isinstance(n.op, Conv2d))
    first_macs = first.op.macs(merged.operand_types(first), first.type)
    assert merged.macs() == 2 * net.macs() - first_macs
    assert shared.macs() == net.macs()
    assert len([n for n, _ in merged.consumers(first.name)]) == 2


def test_arrays_count_rather_than_names():
    net = network()
    other = net.copy()
    other.weights["linear.bias"] = net.weights["linear.bias"].copy()
    assert len(merge([net, net.copy()], functions=False)) == len(net)
    # Equal numbers that may be trained apart are one function, and not one parameter.
    assert len(merge([net, other], functions=False)) == len(net) + 1
    assert len(merge([net, other])) == len(net)
    other.weights["linear.bias"] = np.nextafter(net.weights["linear.bias"], np.float32(9))
    merged = merge([net, other])
    assert len(merged) == len(net) + 1
    assert len(merged.parameters()) == len(net.parameters()) + 1
    assert_same_predictions([net, other], merged)


def test_operands_count_in_order():
    texts = [
        "net n { input x: f32[3] a = x -> relu output y = a - x }",
        "net n { input x: f32[3] a = x -> relu output y = x - a }",
    ]
    models = [network(text) for text in texts]
    for functions in (False, True):
        merged = merge(models, functions=functions)
        assert len(set(merged.outputs.values())) == 2
        assert_same_predictions(models, merged)


def test_shapes_tell_tensors_apart():
    """A repeated channel has the fingerprint of the channel."""
    texts = [
        "net n { input x: f32[3, 4, 4] output y = x -> global_avg_pool }",
        "net n { input x: f32[3, 4, 4] output y = x -> global_avg_pool -> expand([3, 4, 4]) }",
    ]
    models = [network(text) for text in texts]
    assert_same_predictions(models, merge(models))


def test_statistics_behind_the_parting_are_each_models_own():
    """Also where a child that was just made still holds its parent's arrays."""
    net = network()
    child = grown(net, "r2deeper{at=a}")
    assert all(child.weights[k] is net.weights[k] for k in net.parameters())
    before, after = share_statistics([net, child])
    norms = [n.name for n in net if isinstance(n.op, BatchNorm)]
    assert len(norms) == 2
    for name, common in zip(norms, (True, False), strict=True):
        for role in ("running_mean", "running_var"):
            key = f"{name}.{role}"
            assert (before.weights[key] is after.weights[key]) == common
            assert np.array_equal(before.weights[key], after.weights[key])
    # A norm of another tensor with the same parameters is another one.
    norm = "net n {{ input x: f32[3] output y = {} -> batch_norm as n }}"
    models = [network(norm.format(x), seed=i) for i, x in enumerate(("x", "relu(x)", "relu(x)"))]
    for model in models:
        model.weights["n.weight"] = models[0].weights["n.weight"]
        model.weights["n.bias"] = models[0].weights["n.bias"]
    means = [m.weights["n.running_mean"] for m in share_statistics(models)]
    assert means[0] is not means[1]
    assert means[1] is means[2] is models[1].weights["n.running_mean"]


def test_masks_tell_parameters_apart():
    net = network()
    other = net.copy()
    mask = np.ones_like(net.weights["linear.weight"], bool)
    mask[0, 0] = False
    other.weights.masks["linear.weight"] = mask
    merged = merge([net, other])
    assert len(set(merged.outputs.values())) == 2
    same = merge([other, other.copy()])
    assert same.weights.masks["linear.weight"] is mask
    assert len(set(same.outputs.values())) == 1


def test_train_mode_is_left_behind():
    """Dropout is not there; an attention has none."""
    net = network("""net n {
        input x: f32[4, 6]
        y = attention(x, x, x, heads=2, dropout=0.5) -> linear(6) -> dropout(0.5)
        output z = y -> identity
    }""")
    for functions in (False, True):
        merged = merge([net], functions=functions)
        module, x = growc.to_torch(merged), torch.randn(2, 4, 6)
        assert torch.equal(module.train()(x), module.eval()(x))
        assert_same_predictions([net], merged)


def test_a_model_that_diverged_does_not_stop_the_others():
    net = network()
    lost = net.copy()
    lost.weights["linear.weight"] = np.full_like(net.weights["linear.weight"], np.nan)
    child = grown(net, "r2wider")
    merged = merge([lost, net, child])
    check_invariants(merged)
    found = outputs(merged)
    assert torch.isnan(found[0]).all()
    (wanted,) = outputs(net)
    assert all(torch.allclose(y, wanted, rtol=1e-9) for y in found[1:])
    outs = list(merged.outputs.values())
    assert outs[1] == outs[2] != outs[0]
    assert merged.macs() == net.macs() + 48 * 4  # its own last layer


# ---- names


def test_names_do_not_collide():
    net = network("net n { input model0: f32[2, 4, 4] output y = model0 -> conv2d(2) -> relu }")
    merged = merge([net, renamed(net, "model")])
    assert tuple(merged.outputs) == ("model_0", "model_1")
    testing.assert_backends_agree(merged)
    assert tuple(merge([network(), network(seed=1)]).outputs) == ("model0", "model1")


def test_parameters_do_not_collide_with_nodes():
    """A learned tensor is called like its node: `conv.weight` may be one here and there another."""
    first = network("net n { input x: f32[2, 4, 4] output y = x -> conv2d(2) as conv }")
    second = Graph("n")
    x = second.add_input("x", TensorType((2, 4, 4)))
    names = [second.add(Parameter((2, 4, 4)), (), "conv.weight")]
    names += [second.add(Constant((2, 4, 4)), (), "conv.bias")]
    names += [second.add(Constant((2, 4, 4)), (), "conv_2")]
    second.set_output("y", second.add(Add(), (x, *names), "sum"))
    growc.initialize(second, seed=4)
    third = first.copy()
    third.weights["conv.weight"] = first.weights["conv.weight"] * 2
    for models in ([first, second, third], [third, second, first], [second, first, third]):
        assert_same_predictions(models, merge(models))


def test_long_names_can_be_numbered():
    name = "n" * 500
    twins = []
    for seed in range(3):
        twin = Graph("n")
        twin.set_output("y", twin.add(Linear(2), (twin.add_input("x", TensorType((4,))),), name))
        growc.initialize(twin, seed)
        twins.append(twin)
    assert_same_predictions(twins, merge(twins))


def test_an_output_may_be_the_input():
    graph = Graph("n")
    graph.set_output("y", graph.add_input("x", TensorType((3,))))
    other = network("net n { input x: f32[3] output y = x -> identity -> dropout(0.5) }")
    merged = merge([graph, other])
    assert set(merged.outputs.values()) == {"x"}
    assert_same_predictions([graph, other], merged)


# ---- what cannot be merged


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "there are no models to merge"),
        (
            ["net a { input x: f32[3] input z: f32[3] output y = x + z }"],
            "model 0, `a`, has 2 inputs and 1 outputs",
        ),
        (
            [
                "net a { input x: f32[3] output y = x -> relu }",
                "net b { input x: f32[3] output y = x -> relu output z = x }",
            ],
            "model 1, `b`, has 1 inputs and 2 outputs",
        ),
        (
            [
                "net a { input x: f32[3] output y = x -> relu }",
                "net b { input x: f32[4] output y = x -> relu }",
            ],
            "model 1, `b`, takes f32[4], and the models before it f32[3]",
        ),
    ],
)
def test_refusals(texts, message):
    models = [loads(text) for text in texts]
    for function in (merge, share_statistics):
        with pytest.raises(GrowcError) as error:
            function(models)
        assert error.value.diagnostics[0].message == message


def test_parameters_without_values_are_refused():
    with pytest.raises(GrowcError, match=r"parameters without a value, such as `y\.weight`"):
        merge([loads("net a { input x: f32[3] output y = x -> linear(2) }")])


def test_deep_networks_do_not_recurse():
    """And the cost of a chain of sums, each of which uses the one before twice, is a number."""
    graph = Graph("deep")
    at = graph.add_input("x", TensorType((2,)))
    for i in range(3000):
        at = graph.add(Add(), (at, graph.add(Relu(), (at,), f"r{i}")), f"a{i}")
    graph.set_output("y", at)
    merged = merge([graph, graph.copy()])
    assert len(merged) == len(graph)
