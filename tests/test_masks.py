"""Masks: the network computes f(x, α ⊙ W), counts |α|, and keeps missing weights at zero."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from safetensors.numpy import load_file, save_file
from torch import nn

import growc
from growc import GrowcError, check_invariants, initialize, loads, same_weights, testing
from growc.ir import InvariantError
from growc.ir.summary import diff, rows
from growc.ir.weights import Weights, masked, to_bytes
from growc.proof.exact import Prover

torch.set_num_threads(1)

TEXT = """net n {
    input x: f32[3, 6, 6]
    y = x -> conv2d(4, padding=[0, 1, 1, 1]) as padded -> batch_norm as norm -> relu
          -> conv2d(4, groups=2) as conv -> reshape([4, 30]) -> conv1d(5, kernel=2) as conv1
          -> reshape([1, 5, 5, 6]) -> conv3d(2) as conv3 -> flatten -> linear(4) as dense -> tanh
    output z = y -> linear(3) as plain
}"""
MASKED = ("padded", "conv", "conv1", "conv3", "dense")


def network(seed=0):
    """Every kind of layer with masks, and one without."""
    graph = loads(TEXT)
    initialize(graph, seed)
    rng = np.random.default_rng(seed)
    for layer in MASKED:
        for role in ("weight", "bias"):
            mask(graph, f"{layer}.{role}", rng.random(graph.weights[f"{layer}.{role}"].shape) > 0.4)
    return graph


def mask(graph, key, alpha):
    graph.weights.put(key, masked(graph.weights[key], alpha), alpha)


def dense(graph):
    """The same numbers, without masks."""
    twin = graph.copy()
    twin.weights.masks.clear()
    return twin


def output(graph, module, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return module(torch.randn(4, *graph.node(graph.inputs[0]).type.shape, generator=rng))


# ---- the IR


@given(net=testing.masked_networks())
def test_only_what_is_there_counts(net):
    check_invariants(net)
    trainable = [key for key, spec in net.parameters().items() if spec.trainable]
    count = sum(int(net.weights.mask(key).sum()) for key in trainable)
    assert net.parameter_count() == count
    assert sum(row.parameters for row in rows(net)) == count
    missing = sum(int((~m).sum()) for m in net.weights.masks.values())
    assert dense(net).parameter_count() == count + missing


def test_masks_are_shared_by_identity_and_belong_to_a_copy():
    net = network()
    twin = net.copy()
    assert twin.weights.masks == net.weights.masks
    assert all(twin.weights.masks[k] is m for k, m in net.weights.masks.items())
    twin.weights.masks.clear()
    assert net.weights.masks
    grown = growc.compile(net, "r2deeper", verify="none")
    assert all(grown.weights.masks[k] is m for k, m in net.weights.masks.items())


def test_put_keeps_no_mask_that_leaves_nothing_out():
    weights = Weights()
    weights.put("w", np.ones(3, np.float32), np.array([True, False, True]))
    assert list(weights.masks) == ["w"]
    weights.put("w", np.ones(3, np.float32), np.ones(3, np.bool_))
    assert not weights.masks
    weights.put("w", np.ones(3, np.float32), np.zeros(3, np.bool_))
    weights.discard("w")
    assert not weights
    assert not weights.masks


def test_effective_is_the_array_itself_unless_it_breaks_the_rule():
    net = network()
    assert all(net.weights.effective(k) is v for k, v in net.weights.items())
    alpha = net.weights.masks["dense.weight"]
    broken = net.weights["dense.weight"] + np.float32(1)
    net.weights["dense.weight"] = broken
    np.testing.assert_array_equal(net.weights.effective("dense.weight"), broken * alpha)
    with pytest.raises(InvariantError, match=r"dense\.weight is not zero everywhere that its mask"):
        check_invariants(net)


@pytest.mark.parametrize(
    ("key", "alpha", "message"),
    [
        ("dense.bias", np.ones(5, np.bool_), r"needs a Boolean mask of \(4,\), not bool of \(5,\)"),
        ("dense.bias", np.ones(4), r"needs a Boolean mask of \(4,\), not float64 of \(4,\)"),
        ("norm.weight", np.ones(4, np.bool_), "norm.weight cannot have a mask"),
        ("norm.running_mean", np.ones(4, np.bool_), "norm.running_mean cannot have a mask"),
    ],
)
def test_invariants_of_masks(key, alpha, message):
    net = network()
    net.weights.masks[key] = alpha
    with pytest.raises(InvariantError, match=message):
        check_invariants(net)


def test_a_mask_of_another_networks_parameter_is_of_no_concern():
    """A store serves many networks."""
    net = network()
    count = net.parameter_count()
    net.weights.masks["elsewhere.weight"] = np.zeros(3, np.bool_)
    check_invariants(net)
    assert net.parameter_count() == count


def test_initialize_leaves_missing_weights_at_zero():
    net = loads(TEXT)
    alpha = np.zeros((4, 300), np.bool_)
    alpha[1, 2:5] = True
    net.weights.masks["dense.weight"] = alpha
    initialize(net)
    np.testing.assert_array_equal(net.weights["dense.weight"] != 0, alpha)
    # What is there is what it would have been without the mask.
    plain = loads(TEXT)
    initialize(plain)
    np.testing.assert_array_equal(
        net.weights["dense.weight"][alpha], plain.weights["dense.weight"][alpha]
    )


def test_removing_a_node_removes_its_masks():
    net = loads("net n { input x: f32[2] y = linear(x, 2) as a output y z = linear(x, 2) as b }")
    initialize(net)
    mask(net, "b.weight", np.eye(2, dtype=np.bool_))
    net.remove("b")
    assert not net.weights.masks


def test_same_weights_sees_masks():
    net = network()
    assert same_weights(net, net.copy())
    assert not same_weights(net, dense(net))
    other = net.copy()
    alpha = net.weights.masks["dense.weight"].copy()
    alpha[tuple(np.argwhere(~alpha)[0])] = True
    other.weights.masks["dense.weight"] = alpha
    assert not same_weights(net, other)
    full = net.copy()
    full.weights.masks["plain.weight"] = np.ones((3, 4), np.bool_)
    assert same_weights(net, full)


def test_diff_sees_masks(tmp_path, growc):
    import growc as package

    net, other = network(), network()
    alpha = net.weights.masks["dense.weight"].copy()
    alpha[:] = True
    there = int(net.weights.masks["dense.weight"].sum())
    other.weights.put("dense.weight", net.weights["dense.weight"], alpha)
    found = diff(net, other)
    assert [c.name for c in found.parameters_changed] == ["dense.weight"]
    assert found.parameters_changed[0].connections == (there, 1200)
    assert not found.is_empty
    package.save(net, tmp_path / "a")
    package.save(other, tmp_path / "b")
    shown = growc("diff", tmp_path / "a.arch", tmp_path / "b.arch").out
    assert f"~ dense.weight  another mask, |α| {there} → 1,200" in shown
    report = growc("diff", tmp_path / "a.arch", tmp_path / "b.arch", "--json").json
    assert report["parameters_changed"]["dense.weight"]["connections"] == [there, 1200]
    assert report["parameters"] == [net.parameter_count(), other.parameter_count()]


# ---- PyTorch


@given(net=testing.masked_networks())
def test_missing_weights_are_zeros(net):
    """To the prover, to torch, and to onnxruntime."""
    assert Prover()(net, dense(net), search=False).verdict == "proved"
    testing.assert_preserves(net, dense(net))


@given(net=testing.masked_networks())
def test_torch_agrees_with_onnxruntime(net):
    testing.assert_backends_agree(net)


def test_the_prover_and_onnx_use_what_is_there_only():
    """Even where an array breaks the rule, as one that is shared with PyTorch may."""
    net, broken = network(), network()
    key = "dense.weight"
    broken.weights[key] = np.where(net.weights.masks[key], net.weights[key], np.float32(7))
    assert Prover()(net, broken, search=False).verdict == "proved"
    testing.assert_backends_agree(broken)
    assert to_bytes(net) == to_bytes(broken)
    torch.testing.assert_close(
        output(net, growc.to_torch(net)), output(net, growc.to_torch(broken, share=True))
    )


def test_only_layers_with_masks_are_other_modules():
    module = growc.to_torch(network())
    assert type(module.plain) is nn.Linear
    assert type(growc.to_torch(dense(network())).conv) is nn.Conv2d
    for name in MASKED:
        layer = getattr(module, name)
        assert layer.weight_mask.dtype == torch.bool
        assert isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))


def test_state_dict_copies_and_pickles():
    net = network()
    module = growc.to_torch(net)
    keys = growc.to_torch(dense(net)).state_dict().keys()
    assert module.state_dict().keys() == keys
    for twin in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        module.double().float(),
    ):
        assert torch.equal(twin.dense.weight_mask, module.dense.weight_mask)
        torch.testing.assert_close(output(net, twin.eval()), output(net, module.eval()))
        assert same_weights(growc.with_weights_of(net, twin), net)
    module.load_state_dict(module.state_dict(), strict=True)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, weight_decay=0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("share", [False, True])
def test_missing_weights_never_move(make, share):
    net = network()
    before = {key: value.copy() for key, value in net.weights.items()}
    module = growc.to_torch(net, share=share)
    optimizer = make(list(module.parameters()))

    def closure():
        optimizer.zero_grad()
        loss = output(net, module, seed=1).square().sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    for key, alpha in net.weights.masks.items():
        after = module.get_parameter(key).detach().numpy()
        assert not after[~alpha].any(), key
        if key != "padded.bias":  # the batch norm after it leaves it no gradient
            assert (after[alpha] != before[key][alpha]).mean() > 0.9, key
        for state in optimizer.state[module.get_parameter(key)].values():
            if isinstance(state, torch.Tensor) and state.shape == alpha.shape:
                assert not state.numpy()[~alpha].any(), key
    check_invariants(growc.with_weights_of(net, module))


def test_an_infinite_gradient_leaves_missing_weights_alone():
    net = network()
    module = growc.to_torch(net)
    (output(net, module).sum() * np.inf).backward()
    alpha = net.weights.masks["dense.weight"]
    assert not torch.isfinite(module.dense.weight.grad).all()
    assert not module.dense.weight.grad.numpy()[~alpha].any()


def test_an_optimizer_that_moves_missing_weights_changes_nothing():
    """One that mixes the numbers of a matrix, say. The module does not compute with them."""
    net = network()
    module = growc.to_torch(net).eval()
    expected = output(net, module)
    with torch.no_grad():
        for key, alpha in net.weights.masks.items():
            module.get_parameter(key)[torch.from_numpy(~alpha)] = torch.nan
    torch.testing.assert_close(output(net, module), expected)
    again = growc.with_weights_of(net, module)
    check_invariants(again)
    assert same_weights(again, net)


def test_gradients_of_missing_weights():
    """∂L/∂(α_i W_i) at α_i = 0: with masks filled with true, or of a network without masks."""
    net = network()
    module = growc.to_torch(net).double().eval()
    gradients = {}
    for name, alpha in module.named_buffers():
        if name.endswith("_mask"):
            alpha.fill_(True)
    output64(net, module).backward()
    other = growc.to_torch(dense(net)).double().eval()
    output64(net, other).backward()
    for key, alpha in net.weights.masks.items():
        gradients[key] = module.get_parameter(key).grad
        torch.testing.assert_close(gradients[key], other.get_parameter(key).grad)
        assert gradients[key][torch.from_numpy(~alpha)].any(), key
    # ... which is what a small weight there does to the loss.
    key = "conv.weight"
    at = tuple(np.argwhere(~net.weights.masks[key])[0])
    losses = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            other.get_parameter(key)[at] = step
        losses.append(output64(net, other).item())
    assert gradients[key][at].item() == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


def output64(net, module):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 6, 6, generator=rng, dtype=torch.float64)
    return module(x).square().sum()


def test_a_module_with_other_masks_does_not_fit():
    net = network()
    module = growc.to_torch(net)
    module.dense.weight_mask[0, 0] ^= True
    with pytest.raises(GrowcError, match=r"`dense.weight` has another mask than in the graph"):
        growc.weights_of(net, module)
    with pytest.raises(GrowcError, match=r"`conv.weight` has another mask than in the graph"):
        growc.weights_of(dense(net), growc.to_torch(net))
    plain = growc.to_torch(dense(net))
    assert same_weights(growc.with_weights_of(net, plain), net)
    with torch.no_grad():
        plain.dense.weight += 1
    message = "`dense.weight` has values where its mask in the graph has no connection"
    with pytest.raises(GrowcError, match=message):
        growc.weights_of(net, plain)


def test_masks_of_other_ops_cannot_be_lowered():
    net = network()
    net.weights.masks["norm.weight"] = np.ones(4, np.bool_)
    with pytest.raises(GrowcError, match="`norm` has a mask, but only convolutions and linear"):
        growc.to_torch(net)


def test_torch_compile_and_bfloat16():
    net = network()
    module = growc.to_torch(net, dtype=torch.bfloat16)
    assert output(net, lambda x: module(x.bfloat16())).dtype == torch.bfloat16
    assert same_weights(
        growc.with_weights_of(net, torch.compile(growc.to_torch(net), backend="eager")), net
    )


# ---- files


@given(net=testing.masked_networks())
def test_files_keep_masks(tmp_path_factory, net):
    prefix = tmp_path_factory.mktemp("net") / "net"
    growc.save(net, prefix)
    again = growc.load(f"{prefix}.arch")
    assert again == net
    assert same_weights(again, net)
    assert again.parameter_count() == net.parameter_count()
    assert to_bytes(again) == to_bytes(net)


def test_a_parameter_called_like_a_mask():
    text = (
        'net n { input x: f32[2] output y = x -> linear(2, weight="w") -> linear(2, weight="w") }'
    )
    del text  # the language has no such name; the IR might
    net = growc.Graph()
    net.add_input("x", growc.TensorType((2,)))
    op = growc.OPS["linear"](2)
    net.add(op, ("x",), "a", {"weight": "w", "bias": "b"})
    net.add(op, ("a",), "c", {"weight": "w#mask", "bias": "d"})
    net.set_output("y", "c")
    initialize(net)
    to_bytes(net)
    mask(net, "w", np.eye(2, dtype=np.bool_))
    with pytest.raises(GrowcError, match="the parameter `w#mask` is called like the mask of `w`"):
        to_bytes(net)


def damaged(change):
    """The message that a file gives after ``change`` of its tensors."""

    def check(tmp_path):
        net = network()
        growc.save(net, tmp_path / "n")
        path = tmp_path / "n.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, tmp_path / "other.safetensors")
        with pytest.raises(GrowcError) as caught:
            growc.load(tmp_path / "n.arch", weights=tmp_path / "other.safetensors")
        return caught.value.diagnostics[0].message.split("network: ")[1]

    return check


def rename(old, new):
    return lambda tensors: tensors.update({new: tensors.pop(old)})


def replaced(key, make):
    return lambda tensors: tensors.update({key: make(tensors[key])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced("dense.weight#mask", lambda m: m.astype(np.float32)),
            "`dense.weight#mask` has element type F32, not BOOL",
        ),
        (
            replaced("dense.weight#mask", lambda m: np.ascontiguousarray(m[:, :-1])),
            "`dense.weight#mask` has shape [4, 299], but its parameter has [4, 300]",
        ),
        (
            replaced("dense.weight#mask", np.zeros_like),
            "`dense.weight` is not zero everywhere that its mask has no connection",
        ),
        (
            replaced("dense.weight#mask", lambda m: np.full(m.shape, 2, np.uint8).view(np.bool_)),
            "`dense.weight#mask` holds bytes that are neither 0 nor 1",
        ),
        (
            rename("dense.weight#mask", "dens.weight#mask"),
            "`dens.weight#mask` belongs to no node of the network",
        ),
        (
            replaced("norm.weight", np.ones_like) and rename("dense.bias#mask", "norm.weight#mask"),
            "`norm.weight#mask` masks a parameter that cannot have a mask",
        ),
        (
            rename("dense.weight", "dense.weight#mask#mask"),
            "`dense.weight` is missing; `dense.weight#mask#mask` belongs to no node of the network",
        ),
    ],
)
def test_damaged_masks_are_told(tmp_path, change, message):
    assert damaged(change)(tmp_path) == message


def test_a_file_without_masks_is_a_network_without_masks(tmp_path):
    net = network()
    growc.save(net, tmp_path / "n")
    tensors = load_file(tmp_path / "n.safetensors")
    save_file({k: v for k, v in tensors.items() if "#" not in k}, tmp_path / "w.safetensors")
    again = growc.load(tmp_path / "n.arch", weights=tmp_path / "w.safetensors")
    assert same_weights(again, dense(net))


def test_check_counts_what_is_there(tmp_path, growc):
    import growc as package

    net = network()
    package.save(net, tmp_path / "n")
    report = growc("check", tmp_path / "n.arch", "--json").json
    assert report["files"][0]["parameters"] == net.parameter_count()
