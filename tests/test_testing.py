"""growc.testing itself: what its strategies make, and that its assertions can fail."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from growc import (
    OPS,
    PASSES,
    GrowcError,
    check_invariants,
    loads,
    parse_pipeline,
    testing,
    to_torch,
)
from growc.passes import Place
from growc.passes.r2wider import R2Wider
from growc.testing_networks import fill

torch.set_num_threads(1)

QUICK = settings(deadline=None)
SLOW = settings(deadline=None, max_examples=max(10, settings.default.max_examples // 4))
SEARCH = settings(
    max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
NO_SHRINK = settings(SEARCH, phases=[Phase.generate])


@QUICK
@given(net=testing.networks())
def test_networks_are_well_formed(net):
    check_invariants(net)
    testing.assert_round_trips(net)
    assert set(net.weights) == set(net.parameters())
    assert all(np.isfinite(v).all() for v in net.weights.values())
    assert max(node.type.size for node in net) < 10_000


@SLOW
@given(net=testing.networks())
def test_backends_agree_on_random_networks(net):
    testing.assert_backends_agree(net)


@QUICK
@given(
    net=testing.networks(
        kinds=["vector", "tokens"],
        residual=False,
        dropout=False,
        several_inputs=False,
        several_outputs=False,
        tied=False,
        odd_names=False,
        foreign=False,
    )
)
def test_options_leave_things_out(net):
    names = {node.op.name for node in net}
    assert not {"dropout", "conv1d", "conv2d"} & names
    assert len(net.inputs) == len(net.outputs) == 1
    assert net.node("x").type.rank <= 2
    assert not any(node.shared for node in net)
    assert all(node.name.replace(".", "_").isidentifier() for node in net)


@QUICK
@given(net=testing.residual_networks(kinds=["image2d"], steps=1))
def test_residual_networks_have_a_sum(net):
    assert net.node(net.inputs[0]).type.rank == 3
    assert any(node.op.name == "add" for node in net)


@pytest.mark.parametrize("name", OPS)
def test_every_op_is_drawn_with_operands_that_it_takes(name):
    @settings(deadline=None, max_examples=20)
    @given(testing.ops([name]))
    def holds(case):
        assert case.op.name == name
        assert case.op.accepts(len(case.operands))
        assert case.result.size >= 1

    holds()


LEFT_OUT = set(
    # not defined everywhere, or without bounds, or without a derivative
    "log sqrt reciprocal tan asin acos acosh atanh sinh cosh power pow mod sign floor ceil round "
    "greater greater_equal equal where thresholded_relu reduce_prod reduce_log_sum_exp "
    # of whole numbers, which networks from `networks` do not take
    "embedding to_float "
    # like others that are there
    "cos atan asinh erf shrink log_softmax reduce_l1 reduce_l2 local_response_norm "
    "lp_pool1d lp_pool2d lp_pool3d global_lp_pool depth_to_space space_to_depth constant".split()
)


def test_networks_contain_nearly_every_op():
    seen = set()

    @settings(SEARCH, max_examples=1000, phases=[Phase.generate], derandomize=True)
    @given(testing.networks())
    def draw(net):
        seen.update(node.op.name for node in net)

    draw()
    assert not LEFT_OUT & seen
    assert len(set(OPS) - LEFT_OUT - seen) <= 5


@pytest.mark.parametrize("text", ["r2wider", "r2wider{variant=concat}", "r2deeper"])
def test_most_networks_have_something_to_grow(text):
    (applied,) = parse_pipeline(text)
    drawn = []

    @settings(SEARCH, max_examples=100, phases=[Phase.generate], derandomize=True)
    @given(testing.residual_networks())
    def draw(net):
        drawn.append(any(isinstance(p, Place) for p in applied.find(net).main))

    draw()
    assert sum(drawn) > len(drawn) / 2


def test_networks_shrink():
    smallest = find(
        testing.networks(foreign=False),
        lambda n: any(x.op.name == "batch_norm" for x in n),
        settings=SEARCH,
    )
    assert len(smallest) <= 8


@QUICK
@given(pipeline=testing.pipelines(["r2deeper"], least=2, most=3))
def test_pipelines_are_as_asked_for(pipeline):
    assert 2 <= len(pipeline) <= 3
    assert {type(p) for p in pipeline} == {PASSES["r2deeper"]}


# ---- assertions fail where they should


def small():
    net = loads("net n { input x: f32[3]\n output y = x + linear(x, 3) }")
    fill(net, 0)
    return net


def test_assert_preserves():
    net, other = small(), small()
    testing.assert_preserves(net, other)
    other.weights["y.linear.bias"] = other.weights["y.linear.bias"] + np.float32(1e-6)
    with pytest.raises(AssertionError, match="the function changed: in eval mode an output moved"):
        testing.assert_preserves(net, other)
    wider = loads("net n { input x: f32[3]\n output y = linear(x, 4) }")
    fill(wider, 0)
    with pytest.raises(AssertionError, match="the networks differ in the output `y`"):
        testing.assert_preserves(net, wider)


def test_assert_round_trips(monkeypatch):
    net = small()
    testing.assert_round_trips(net)
    monkeypatch.setattr(testing, "dumps", lambda g: "net n { input x: f32[3]\n output y = x }")
    with pytest.raises(AssertionError, match="the text is read as another network"):
        testing.assert_round_trips(net)
    monkeypatch.setattr(testing, "dumps", lambda g: "net n {")
    with pytest.raises(AssertionError, match="the text cannot be read back"):
        testing.assert_round_trips(net)


def test_assert_backends_agree(monkeypatch):
    from growc import backends

    net, other = small(), small()
    testing.assert_backends_agree(net)
    other.weights["y.linear.bias"] = other.weights["y.linear.bias"] + np.float32(0.1)
    model = backends.to_onnx(other)
    monkeypatch.setattr(backends, "to_onnx", lambda graph: model)
    with pytest.raises(AssertionError, match="PyTorch and onnxruntime differ by"):
        testing.assert_backends_agree(net)


@dataclass(frozen=True)
class BrokenWider(R2Wider):
    """R2Wider with one mistake; the choice of ``mistake`` is no option of the pass."""

    name: ClassVar[str] = "r2wider"
    mistake: ClassVar[str] = ""

    def rewrite(self, graph, places, seed):
        before = set(graph.parameters())
        super().rewrite(graph, places, seed)
        for key in graph.parameters():
            if key not in before:
                graph.weights[key] = self.spoil(key, graph.weights[key].copy())

    def spoil(self, key, value):
        half = len(value) // 2
        match self.mistake:
            case "halves differ" if "conv2d.weight" in key:
                value[half:] *= np.float32(1.01)
            case "same sign" if "conv2d_2.weight" in key:
                value[:, value.shape[1] // 2 :] *= -1
            case "statistics differ" if key.endswith("running_var"):
                value[0] += 0.1
            case "scales differ" if "norm.weight" in key:
                value[0] += 0.1
            case "bias" if key.endswith("conv2d_2.bias"):
                value[0] = 0.01
        return value


MISTAKES = ["halves differ", "same sign", "statistics differ", "scales differ", "bias"]


@pytest.mark.parametrize("mistake", ["", *MISTAKES])
def test_the_property_check_catches_a_broken_pass(mistake):
    """Each mistake is found within 60 random networks; without one, nothing is."""
    cls = type("It", (BrokenWider,), {"mistake": mistake})

    def fails(net):
        try:
            student = cls(norm="batch")(net).graph
        except GrowcError:
            return False
        try:
            testing.assert_preserves(net, student)
        except AssertionError:
            return True
        return False

    nets = testing.residual_networks(kinds=["image2d"], steps=2)
    search = settings(NO_SHRINK, max_examples=60, derandomize=True)
    if mistake:
        assert find(nets, fails, settings=search) is not None
    else:
        with pytest.raises(NoSuchExample):
            find(nets, fails, settings=search)


# ---- new parameters learn


LEARNERS = {
    "image": "x: f32[3, 5, 5]\n y = x + (x -> conv2d(4) -> batch_norm -> tanh -> conv2d(3))\n"
    " output y -> flatten -> linear(2)",
    "vector": "x: f32[4]\n y = x + (x -> linear(6) -> silu -> linear(4))\n output y -> linear(2)",
    "tokens": "x: f32[3, 4]\n y = x + (x -> layer_norm -> linear(6) -> gelu -> linear(4))\n"
    " output y -> linear(2)",
}


@pytest.mark.parametrize("net", LEARNERS)
@pytest.mark.parametrize("norm", ["auto", "batch", "layer", "group", "none"])
@pytest.mark.parametrize("text", ["r2wider", "r2wider{variant=concat}", "r2deeper"])
@pytest.mark.parametrize("init", ["he", "match", "torch"])
def test_new_weights_have_gradients_and_the_halves_part(net, norm, text, init):
    """∂L/∂W = ±β·… and ∂L/∂β = ±σ(Wx) are not zero although z is, and one step makes z ≠ 0."""
    head, _, tail = LEARNERS[net].rpartition("output ")
    teacher = loads(f"net n {{ input {head}output out = {tail} }}")
    fill(teacher, 1)
    (applied,) = parse_pipeline(text)
    student = replace(applied, norm=norm, init=init)(teacher).graph
    module = to_torch(student, dtype=torch.float64)
    torch.manual_seed(0)
    x = torch.randn(8, *student.node("x").type.shape, dtype=torch.float64)
    before = module(x)
    (before**2).sum().backward()
    named = dict(module.named_parameters())
    grown = [k for k in named if student.weights[k] is not teacher.weights.get(k)]
    assert any(k.endswith("weight") for k in grown)
    for key in grown:
        if not key.endswith("weight"):
            continue
        gradient = named[key].grad
        assert gradient is not None
        old = teacher.weights.get(key)
        new_part = gradient if old is None else gradient.clone()
        if old is not None:
            new_part[tuple(map(slice, old.shape))] = 0
        assert new_part.abs().max() > 0, key
    torch.optim.SGD(named.values(), lr=0.1).step()
    testing_weights = {k: v.detach().numpy() for k, v in named.items()}
    assert all(np.isfinite(v).all() for v in testing_weights.values())
    expands = [k for k in grown if k.endswith(("conv2d.weight", "linear.weight")) and "r2r" in k]
    for key in expands:
        first, second = np.split(testing_weights[key], 2)
        assert not np.allclose(first, second, rtol=0, atol=1e-12)


def test_without_hypothesis_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try:\n    import growc.testing\n"
        "except ImportError as e:\n    print(e)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == (
        "growc.testing needs hypothesis: install it with `pip install growc[test]`"
    )


def test_the_docstring_works(monkeypatch):
    """The five lines at the top of growc.testing, as they stand."""
    lines = [line[8:] for line in testing.__doc__.splitlines() if line[4:7] in (">>>", "...")]
    namespace = {"MyPass": lambda: lambda net: type("Result", (), {"graph": net})}
    exec("\n".join(lines), namespace)
    test = settings(max_examples=3, deadline=None, database=None)(namespace["test_my_pass"])
    test()


@QUICK
@given(data=st.data())
def test_passes_are_made_of_legal_options(data):
    cls = PASSES[data.draw(st.sampled_from(sorted(PASSES)))]
    applied = data.draw(testing.passes(cls))
    assert parse_pipeline(str(applied)) == [applied]
