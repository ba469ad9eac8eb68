"""growc.grow: a model and its optimizer in the middle of training."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import growc
from growc import testing
from growc.train.growing import grow_step

from .foreign_modules import made

CHAIN = "net n { input x: f32[6]  y = x -> linear(8) -> relu -> linear(6)  output z = relu(x + y) }"


def trained(text: str = CHAIN, steps: int = 3, **settings: Any) -> tuple[nn.Module, Any, Any]:
    """A model of a text after some steps of Adam, with its optimizer, and a batch."""
    graph = growc.loads(text)
    growc.initialize(graph)
    model = growc.to_torch(graph, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), **{"lr": 0.01, "amsgrad": True} | settings)
    rng = torch.Generator().manual_seed(0)
    shape = graph.node(graph.inputs[0]).type.shape
    batch = torch.randn(8, *shape, generator=rng, dtype=torch.float64)
    for _ in range(steps):
        step(model, optimizer, batch)
    return model, optimizer, batch


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss = model(batch).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize(
    "pipeline", ["r2wider", "r2deeper", "r2wider{variant=concat}", "r2wider, r2deeper", "net2wider"]
)
def test_training_goes_on(pipeline: str) -> None:
    model, optimizer, batch = trained()
    twin, twins, _ = trained()
    grown, carried = growc.grow(model, optimizer, pipeline, scale_lr=False)
    assert growc.graph_of(grown).parameter_count() > growc.graph_of(twin).parameter_count()
    # Real arithmetic gives equality; float64 rounds by 1e-16 in each of a few layers, and
    # net2wider divides in float32.
    near = 1e-5 if pipeline == "net2wider" else 1e-12
    torch.testing.assert_close(grown(batch), twin(batch), rtol=near, atol=near)
    before, after = step(twin, twins, batch), step(grown, carried, batch)
    assert after == pytest.approx(before, rel=near)


def test_what_is_left_alone_keeps_its_tensors_and_their_next_update() -> None:
    model, optimizer, batch = trained()
    twin, twins, _ = trained()
    old = dict(model.named_parameters())
    grown, carried = growc.grow(model, optimizer, "r2wider", scale_lr=False)
    new = dict(grown.named_parameters())
    assert old.keys() < new.keys()
    assert all(new[name] is parameter for name, parameter in old.items())
    step(twin, twins, batch)
    step(grown, carried, batch)
    for name, parameter in twin.named_parameters():
        # Adam divides by the root of squared gradients, which rounding moves by some 1e-16.
        torch.testing.assert_close(new[name], parameter, rtol=1e-9, atol=1e-12)


def test_rates_are_scaled_by_the_numbers_of_parameters() -> None:
    for lr, decay in ((True, False), (True, True), (False, True), (False, False)):
        model, optimizer, _ = trained(weight_decay=0.5)
        before = sum(p.numel() for p in model.parameters())
        growth = grow_step(model, optimizer, "r2wider", scale_lr=lr, scale_weight_decay=decay)
        assert growth.optimizer is not None
        ratio = before / sum(p.numel() for p in growth.model.parameters())
        (group,) = growth.optimizer.param_groups
        assert group["lr"] == pytest.approx(0.01 * (ratio if lr else 1))
        assert group["weight_decay"] == pytest.approx(0.5 * (ratio if decay else 1))
        assert growth.rate == pytest.approx(ratio if lr else 1)


def test_modes_frozen_parameters_and_counters_stay() -> None:
    text = (
        "net n { input x: f32[3, 6, 6]  a = x -> conv2d(4)  b = a -> batch_norm  c = b -> relu"
        "  d = c -> conv2d(3)  s = x + d  output y = s -> flatten }"
    )
    model, optimizer, _ = trained(text)
    model.b.eval()
    model.a.weight.requires_grad_(False)
    optimizer.param_groups[0]["params"].remove(model.a.weight)
    grown, _ = growc.grow(model, optimizer, "r2wider{variant=concat}")
    assert grown.training
    assert not grown.b.training
    assert not grown.a.weight.requires_grad
    assert grown.d.weight.requires_grad
    assert int(grown.b.num_batches_tracked) == 3
    assert grown.a.weight.dtype == torch.float64


def test_channels_last_stays() -> None:
    graph = growc.loads(
        "net n { input x: f32[4, 6, 6]  y = x -> conv2d(8) -> relu -> conv2d(4)  output z = x + y }"
    )
    growc.initialize(graph)
    model = growc.to_torch(graph).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    grown, _ = growc.grow(model, optimizer, "r2wider{kernel=3}")
    kernels = [p for p in grown.parameters() if p.ndim == 4 and p.shape[-1] == 3]
    assert len(kernels) == 3
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


@pytest.mark.parametrize("name", ["resnet18", "vit", "gpt2"])
def test_a_module_of_ones_own_grows(name: str) -> None:
    module, example = made(name)
    model = growc.to_torch(growc.from_torch(module, example), dtype=torch.float64).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    example = example.double() if example.is_floating_point() else example
    before = model(example)
    grown, optimizer = growc.grow(model, optimizer, "r2wider, r2deeper")
    torch.testing.assert_close(grown(example), before, rtol=1e-9, atol=1e-9)
    F.mse_loss(grown(example), torch.zeros_like(before)).backward()
    optimizer.step()
    # The state dict of the module that was read still fits, but for what is new.
    missing, unexpected = grown.load_state_dict(module.state_dict(), strict=False)
    assert not unexpected
    assert all("r2r" in key or "r2wider" in key or "r2deeper" in key for key in missing)


@given(net=testing.networks(dropout=False), seed=st.integers(0, 5))
def test_any_network_grows_around_its_tensors(net: growc.Graph, seed: int) -> None:
    model = growc.to_torch(net)
    assume(list(model.parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    try:
        growth = grow_step(model, optimizer, "r2deeper", seed=seed, verify="none")
    except growc.GrowcError:
        return  # nothing to deepen
    old, new = dict(model.named_parameters()), dict(growth.model.named_parameters())
    assert all(new[name] is parameter for name, parameter in old.items())
    assert growth.carried is not None
    assert growth.carried.new
    again = growc.graph_of(growth.model)
    assert again == growth.compiled.graph
    assert growc.same_weights(again, growth.compiled.graph)


# ---- what does not work, and what is forgotten


def test_a_failed_step_changes_nothing() -> None:
    model, optimizer, batch = trained()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    with pytest.raises(growc.GrowcError, match="no place of this network is called `nowhere`"):
        growc.grow(model, optimizer, "r2wider{at=nowhere}")
    torch.testing.assert_close((model.state_dict(), optimizer.state_dict()), before, rtol=0, atol=0)
    step(model, optimizer, batch)


def test_a_module_that_is_not_growcs() -> None:
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(growc.GrowcError, match="does not know the network of this Linear") as error:
        growc.grow(model, optimizer, "r2deeper")
    assert "growc.from_torch(module, example)" in str(error.value)


def test_copies_know_their_graph_and_files_do_not() -> None:
    model, _, batch = trained()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(twin.parameters()).zero_()
    graph = growc.graph_of(twin)
    assert graph == growc.graph_of(model)
    assert not growc.same_weights(graph, growc.graph_of(model))
    buffer = io.BytesIO()
    torch.save(twin, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    torch.testing.assert_close(loaded(batch), twin(batch))
    with pytest.raises(growc.GrowcError, match="does not know"):
        growc.graph_of(loaded)
