"""Optimizers carried over a growth step: old parameters go on as if nothing had grown."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer

import growc
from growc import Graph, GrowcError
from growc.testing import masked_networks, networks, residual_networks
from growc.train import carry
from growc.train.parameters import masks_of

Make = Callable[[Any], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.003, amsgrad=True, weight_decay=1e-6),
    "adamw": lambda p: torch.optim.AdamW(p, 0.002, betas=(0.8, 0.99), weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.001, momentum=0.5, centered=True),
}
MORE: dict[str, Make] = {
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01, initial_accumulator_value=0.25),
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rprop": lambda p: torch.optim.Rprop(p, 0.02),
    "plain sgd": lambda p: torch.optim.SGD(p, 0.01),
}

WITH_DECAY = ("sgd", "adam", "adamw", "asgd")

# Smooth: in rounding, an R2R block yields some 1e-17, and where a ReLU's operand is exactly zero
# that decides whether it lets a gradient through. No biases before batch norms: their gradients are
# rounding alone, which Adam makes updates of.
NET = """
net smooth {
    input image: f32[2, 6, 6]
    stem = image -> conv2d(4, bias=false) -> batch_norm -> silu
    inner = stem -> conv2d(6, bias=false) -> batch_norm -> silu
           -> conv2d(4, kernel=1)
    block = stem + inner
    pooled = max_pool2d(block)
    hidden = pooled -> flatten -> linear(8) -> tanh
    output logits = hidden -> linear(3)
}
"""


def net() -> Graph:
    graph = growc.loads(NET)
    growc.initialize(graph, seed=3)
    return graph


def images(batch: int = 8) -> Tensor:
    return torch.randn(batch, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def step(model: Any, optimizer: Optimizer) -> None:
    optimizer.zero_grad()
    model(images()).square().sum().backward()
    optimizer.step()


def round_to_float32(model: nn.Module) -> None:
    """Graphs hold float32: without this, growing would round the parameters a little."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.float())


def trained(graph: Graph, make: Make, steps: int = 3) -> tuple[nn.Module, Optimizer]:
    model = growc.to_torch(graph, dtype=torch.float64)
    optimizer = make(model.parameters())
    for _ in range(steps):
        step(model, optimizer)
    round_to_float32(model)
    return model, optimizer


def grown(graph: Graph, model: nn.Module, pipeline: str) -> nn.Module:
    student = growc.compile(growc.with_weights_of(graph, model), pipeline, verify="none")
    return growc.to_torch(student, dtype=torch.float64)


def corner(new: Tensor, old: Tensor) -> Tensor:
    return new.detach()[tuple(slice(size) for size in old.shape)]


def pairs(old: nn.Module, new: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
    found = dict(new.named_parameters())
    for name, parameter in old.named_parameters():
        if name in found:
            yield name, parameter, found[name]


# ---- the next update


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    "pipeline",
    ["r2wider", "r2deeper", "r2wider{variant=concat}", "r2wider, r2wider{variant=concat}"],
)
def test_the_next_updates_are_those_without_growth(make: Make, pipeline: str) -> None:
    graph = net()
    model, optimizer = trained(graph, make)
    student = grown(graph, model, pipeline)
    new = growc.carry_optimizer(optimizer, model, student)
    assert type(new) is type(optimizer)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(model, optimizer)
    step(student, new)
    for name, old, now in pairs(model, student):
        assert (old != before[name]).any(), name
        # Updates are about 1e-3. Gradients differ by the rounding of what cancels, some 1e-16.
        torch.testing.assert_close(corner(now, old), old.detach(), rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_without_carrying_they_are_not(make: Make) -> None:
    """The test above can fail."""
    graph = net()
    model, optimizer = trained(graph, make)
    student = grown(graph, model, "r2wider")
    step(model, optimizer)
    step(student, make(student.parameters()))
    away = [(corner(now, old) - old).abs().max() for _, old, now in pairs(model, student)]
    assert max(away) > 1e-5


def random_gradients(
    model: nn.Module, optimizer: Optimizer, student: nn.Module, carried: Optimizer
) -> None:
    """A step of both, with the same random gradients for what is old."""
    rng = torch.Generator().manual_seed(5)
    olds = dict(model.named_parameters())
    for parameter in olds.values():
        parameter.grad = torch.randn(parameter.shape, generator=rng).to(parameter)
    for parameter, mask in masks_of(model).items():
        assert parameter.grad is not None
        parameter.grad *= mask
    for name, parameter in student.named_parameters():
        parameter.grad = torch.randn(parameter.shape, generator=rng).to(parameter)
        if name in olds and parameter.ndim == olds[name].ndim:
            gradient = olds[name].grad
            assert gradient is not None
            corner(parameter.grad, gradient).copy_(gradient)
    optimizer.step()
    carried.step()


@given(
    st.one_of(networks(dropout=False), residual_networks(dropout=False), masked_networks()),
    st.sampled_from(
        ["r2wider", "r2deeper", "r2wider{variant=concat}", "net2wider", "net2deeper", "new_node"]
    ),
    st.sampled_from([*OPTIMIZERS, *MORE]),
)
def test_old_numbers_go_on_as_before(graph: Graph, pipeline: str, which: str) -> None:
    """Any network, any optimizer: the same gradients make the same updates."""
    model = growc.to_torch(graph, dtype=torch.float64)
    if not list(model.parameters()):
        return
    try:
        student = grown(graph, model, pipeline)
    except GrowcError:
        return  # no place for this pass
    optimizer = {**OPTIMIZERS, **MORE}[which](model.parameters())
    for _ in range(2):
        random_gradients(model, optimizer, model, optimizer)
    round_to_float32(model)
    student = grown(graph, model, pipeline)
    result = carry(optimizer, model, student)
    assert not result.fresh
    assert not result.dropped
    assert not result.left_out
    names = [name for name, _ in student.named_parameters()]
    assert sorted([*result.carried, *result.widened, *result.new]) == sorted(names)
    held = {p for group in result.optimizer.param_groups for p in group["params"]}
    assert held == set(student.parameters())
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    olds = {name: p.detach().clone() for name, p in model.named_parameters()}
    random_gradients(model, optimizer, student, result.optimizer)
    for name, old, now in pairs(model, student):
        if torch.equal(corner(before[name], old), olds[name]):
            # Vectors of several numbers are computed with other instructions than single ones.
            torch.testing.assert_close(corner(now, old), old.detach(), rtol=1e-14, atol=1e-15)
        elif which not in WITH_DECAY:  # net2wider divides weights, but not what is added to them
            moved = corner(now, old) - corner(before[name], old)
            torch.testing.assert_close(moved, old.detach() - olds[name], rtol=1e-9, atol=1e-12)


# ---- what becomes of the state


def test_state_of_wider_parameters() -> None:
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adam"])
    student = grown(graph, model, "r2wider{variant=concat}")
    result = carry(optimizer, model, student)
    assert "inner.conv2d.weight" in result.widened
    assert str(result) == f"{len(result.carried)} carried, {len(result.widened)} widened"
    for name, old, now in pairs(model, student):
        before, after = optimizer.state[old], result.optimizer.state[now]
        assert after["step"] == before["step"] == 3
        for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
            assert after[key].shape == now.shape
            assert after[key].stride() == now.stride()
            assert torch.equal(corner(after[key], old), before[key])
            added = torch.ones_like(after[key], dtype=torch.bool)
            corner(added, old).fill_(False)
            start = 0.0 if key == "exp_avg" else float(before[key].mean())
            assert (after[key][added] == start).all(), name


def test_new_elements_move_no_faster_than_others() -> None:
    """Though they have had no gradient so far; from zero they would move 3 times as far."""
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adam"])
    for _ in range(300):  # until the bias correction of the old elements is small
        random_gradients(model, optimizer, model, optimizer)
    student: Any = grown(graph, model, "r2wider{variant=concat}")
    new = growc.carry_optimizer(optimizer, model, student)
    before = student.inner.conv2d.weight.detach().clone()
    for _ in range(3):
        random_gradients(student, new, student, new)
    moved = (student.inner.conv2d.weight.detach() - before).abs()
    assert float(moved[6:].mean()) < 1.5 * float(moved[:6].mean())


def test_new_parameters_start_anew() -> None:
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adam"])
    student = grown(graph, model, "r2wider, r2deeper")
    result = carry(optimizer, model, student)
    parameters = dict(student.named_parameters())
    assert result.new
    assert not any(result.optimizer.state.get(parameters[name]) for name in result.new)
    step(student, result.optimizer)
    assert {int(result.optimizer.state[parameters[n]]["step"]) for n in result.new} == {1}
    assert {int(result.optimizer.state[parameters[n]]["step"]) for n in result.carried} == {4}


@pytest.mark.parametrize(
    ("which", "key", "value"), [("adagrad", "sum", 0.25), ("rprop", "step_size", 0.02)]
)
def test_fresh_is_not_always_zero(which: str, key: str, value: float) -> None:
    graph = net()
    model, optimizer = trained(graph, MORE[which])
    student: Any = grown(graph, model, "r2wider{variant=concat}")
    new = growc.carry_optimizer(optimizer, model, student)
    weight = student.inner.conv2d.weight
    assert (new.state[weight][key][6:] == value).all()
    assert not (new.state[weight][key][:6] == value).all()


def test_copies_made_by_net2wider_part() -> None:
    """Equal weights with equal gradients: only their moments can tell them apart."""
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adam"])
    student: Any = grown(graph, model, "net2wider{choose=order, at=inner.conv2d}")
    weight = student.inner.conv2d.weight
    assert torch.equal(weight[:6], weight[6:])
    new = growc.carry_optimizer(optimizer, model, student)
    assert "inner.conv2d_2.weight" in dict(student.named_parameters())
    step(student, new)
    assert (weight[:6] != weight[6:]).any()


def test_the_old_optimizer_is_left_alone() -> None:
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adam"])
    packed = copy.deepcopy(optimizer.state_dict())
    student = grown(graph, model, "r2wider")
    new = growc.carry_optimizer(optimizer, model, student, scale_lr=True)
    step(student, new)
    torch.testing.assert_close(optimizer.state_dict(), packed, rtol=0, atol=0)


def test_an_optimizer_that_made_no_step() -> None:
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adam"], steps=0)
    student = grown(graph, model, "r2wider")
    result = carry(optimizer, model, student)
    assert len(result.carried) == len(list(model.parameters()))
    assert not result.optimizer.state
    step(student, result.optimizer)


def test_without_growth_state_dicts_are_the_same() -> None:
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adamw"])
    twin = growc.to_torch(growc.with_weights_of(graph, model), dtype=torch.float64)
    new = growc.carry_optimizer(optimizer, model, twin)
    torch.testing.assert_close(new.state_dict(), optimizer.state_dict(), rtol=0, atol=0)
    assert new.defaults == optimizer.defaults


def test_other_types() -> None:
    """Growing in float32 what was trained in bfloat16, and back."""
    graph = net()
    for old, new in [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)]:
        model = growc.to_torch(graph, dtype=old)
        optimizer = torch.optim.Adam(model.parameters())
        model(images().to(old)).sum().backward()
        optimizer.step()
        student = growc.compile(growc.with_weights_of(graph, model), "r2wider{variant=concat}")
        module = growc.to_torch(student, dtype=new)
        result = carry(optimizer, model, module)
        assert result.widened
        assert not result.fresh
        for parameter in module.parameters():
            state = result.optimizer.state[parameter]
            assert state["exp_avg"].dtype == new
            assert state["step"].dtype == torch.float32


def test_what_a_mask_leaves_out_does_not_matter() -> None:
    """A search opens masks for a step (ILNAS section 3.3): numbers stay behind in the module."""
    graph = growc.compile(net(), "new_node{count=2}")
    model: Any = growc.to_torch(graph, dtype=torch.float64)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    mask = model.inner.conv2d_2.weight_mask
    closed = mask.clone()
    mask.fill_(True)
    step(model, optimizer)
    mask.copy_(closed)
    assert model.inner.conv2d_2.weight[~closed].any()
    result = carry(optimizer, model, grown(graph, model, "new_node"))
    assert "inner.conv2d_2.weight" in result.widened
    assert not result.fresh


# ---- parameters that cannot keep their state


def test_narrower_parameters_start_anew() -> None:
    graph = growc.compile(net(), "r2wider{variant=concat}")
    model, optimizer = trained(graph, OPTIMIZERS["adam"], steps=0)
    step(model, optimizer)
    # As before training: the halves of new channels are equal, and merge again.
    model.load_state_dict(growc.to_torch(graph, dtype=torch.float64).state_dict())
    student: Any = grown(graph, model, "merge_duplicates")
    result = carry(optimizer, model, student)
    assert set(result.fresh) > {"inner.conv2d.weight", "inner.conv2d_2.weight"}
    assert not result.widened
    parameters = dict(student.named_parameters())
    assert not any(result.optimizer.state.get(parameters[name]) for name in result.fresh)
    held = {p for group in result.optimizer.param_groups for p in group["params"]}
    assert held == set(student.parameters())


def test_dropped_parameters() -> None:
    graph = net()
    student = growc.compile(graph, "r2wider")
    model, optimizer = trained(student, OPTIMIZERS["adam"])
    result = carry(optimizer, model, growc.to_torch(graph, dtype=torch.float64))
    assert result.dropped
    assert all(".r2r." in name for name in result.dropped)


BRANCHES = """
net branches {
    input x: f32[8, 5, 5]
    a = x -> conv2d(8, %s) -> relu -> conv2d(8, kernel=1)
    b = x -> conv2d(8, %s) -> relu -> conv2d(8, kernel=1)
    output y = a + b
}
"""


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("kernel=3", "kernel=3", "widened"),  # [W₁; W₂]
        ("kernel=1", "kernel=3", "fresh"),  # W₁ in the middle of the window
        ("groups=2", "groups=2", "fresh"),  # a group's filters of both blocks side by side
    ],
)
def test_larger_is_not_always_wider(first: str, second: str, kind: str) -> None:
    graph = growc.loads(BRANCHES % (first, second))
    growc.initialize(graph)
    model: Any = growc.to_torch(graph)
    optimizer = torch.optim.Adam(model.parameters())
    student = growc.to_torch(growc.compile(graph, "fuse_branches"))
    result = carry(optimizer, model, student)
    assert "a.conv2d.weight" in getattr(result, kind)
    assert "b.conv2d.weight" in result.dropped


# ---- names


def tied_model() -> tuple[nn.Module, nn.Module]:
    """The same two tied layers, in either order of the modules."""

    def model(order: tuple[str, str]) -> nn.Module:
        layers = {name: nn.Linear(3, 3, bias=False) for name in order}
        layers["b"].weight = layers["a"].weight
        return nn.ModuleDict(layers)

    return model(("a", "b")), model(("b", "a"))


def test_tied_parameters_have_all_their_names() -> None:
    model, other = tied_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    (weight,) = model.parameters()
    weight.grad = torch.ones(3, 3)
    optimizer.step()
    result = carry(optimizer, model, other)
    assert result.carried == ("b.weight",)
    (now,) = other.parameters()
    assert torch.equal(result.optimizer.state[now]["momentum_buffer"], torch.ones(3, 3))


def test_untied_parameters_do_not_share_their_state() -> None:
    model, _ = tied_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    (weight,) = model.parameters()
    weight.grad = torch.ones(3, 3)
    optimizer.step()
    apart = nn.ModuleDict({name: nn.Linear(3, 3, bias=False) for name in "ab"})
    new = growc.carry_optimizer(optimizer, model, apart)
    buffers = [new.state[p]["momentum_buffer"] for p in apart.parameters()]
    assert torch.equal(*buffers)
    assert buffers[0].data_ptr() != buffers[1].data_ptr()


def test_wrapped_models(tmp_path: Path) -> None:
    graph = net()
    model, optimizer = trained(graph, OPTIMIZERS["adam"])
    student = grown(graph, model, "r2wider")
    compiled = torch.compile(model, backend="eager")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        parallel = nn.parallel.DistributedDataParallel(student)
        result = carry(optimizer, compiled, parallel)  # type: ignore[arg-type]
        assert str(result) == str(carry(optimizer, model, student))
        ratio = growc.scale_learning_rate(result.optimizer, compiled, parallel)  # type: ignore[arg-type]
        assert 0 < ratio < 1
    finally:
        torch.distributed.destroy_process_group()


def test_named_parameters_stay_named() -> None:
    """Also in a group that lost all of its parameters."""
    graph = net()
    wide = growc.to_torch(growc.compile(graph, "r2wider"))
    split: list[list[tuple[str, nn.Parameter]]] = [[], []]
    for name, parameter in wide.named_parameters():
        split[".r2r." in name].append((name, parameter))
    optimizer = torch.optim.Adam([{"params": members} for members in split])
    for student in (growc.compile(graph, "r2wider, r2deeper"), graph):
        model = growc.to_torch(student)
        new = growc.carry_optimizer(optimizer, wide, model)
        found = dict(model.named_parameters())
        for group in new.param_groups:
            assert [found[name] for name in group["param_names"]] == group["params"]
    assert not new.param_groups[1]["params"]


# ---- mistakes


def test_an_optimizer_of_another_model() -> None:
    model, other = growc.to_torch(net()), growc.to_torch(net())
    optimizer = torch.optim.Adam(other.parameters())
    with pytest.raises(
        GrowcError, match=r"Adam optimizer does not belong to the old model: 12 of its 12"
    ):
        growc.carry_optimizer(optimizer, model, other)
    with pytest.raises(GrowcError, match="no parameter of the optimizer is in the new model"):
        growc.carry_optimizer(optimizer, other, nn.Linear(2, 2))


def test_lbfgs() -> None:
    model = growc.to_torch(net())
    with pytest.raises(GrowcError, match="LBFGS cannot be carried over"):
        growc.carry_optimizer(torch.optim.LBFGS(model.parameters()), model, model)


def test_state_that_is_not_understood() -> None:
    graph = net()
    model, optimizer = trained(graph, torch.optim.Adafactor)
    growc.carry_optimizer(optimizer, model, grown(graph, model, "r2wider"))  # nothing got wider
    with pytest.raises(
        GrowcError, match=r"Adafactor .* state `row_var` of `inner\.conv2d\.weight`"
    ):
        growc.carry_optimizer(optimizer, model, grown(graph, model, "r2wider{variant=concat}"))
    model, optimizer = trained(graph, torch.optim.Adam)
    optimizer.state["history"] = [1]  # type: ignore[index]
    with pytest.raises(GrowcError, match="state that belongs to no parameter, `history`"):
        growc.carry_optimizer(optimizer, model, model)
    del optimizer.state["history"]  # type: ignore[arg-type]
    optimizer.state[next(model.parameters())]["history"] = [1]
    with pytest.raises(GrowcError, match=r"state `history` of `.*` is a list"):
        growc.carry_optimizer(optimizer, model, model)


def test_a_class_that_cannot_be_called_again() -> None:
    class Odd(torch.optim.SGD):
        def __init__(self, model: nn.Module) -> None:
            super().__init__(model.parameters(), 0.1)

    model = growc.to_torch(net())
    with pytest.raises(GrowcError, match="no other Odd can be made like the optimizer"):
        growc.carry_optimizer(Odd(model), model, model)
