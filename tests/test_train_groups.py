"""The parameter group that a new parameter joins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import growc
from growc import Graph, GrowcError
from growc.train import carry
from growc.train.parameters import Place, nearest_group

NET = """
block residual(x, channels: int) {
    y = x -> conv2d(channels) -> batch_norm -> relu -> conv2d(channels)
    return relu(x + y)
}

net two_stages {
    input image: f32[4, 8, 8]
    early = residual(image, 4)
    pooled = max_pool2d(early)
    late = residual(pooled, 4)
    features = max_pool2d(late)
    output logits = features -> flatten -> linear(6) -> relu -> linear(3)
}
"""


def net() -> Graph:
    graph = growc.loads(NET)
    growc.initialize(graph)
    return graph


def grown(graph: Graph, pipeline: str) -> nn.Module:
    return growc.to_torch(growc.compile(graph, pipeline, verify="none"))


def rates(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, float]:
    """The learning rate of every parameter, by name."""
    found = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: found[p] for name, p in model.named_parameters() if p in found}


def by_stage(model: nn.Module) -> torch.optim.Optimizer:
    """Another rate for each stage, the last first, so that the first group is not the right one."""
    stages: dict[str, list[nn.Parameter]] = {"logits": [], "late": [], "early": []}
    for name, parameter in model.named_parameters():
        stages.get(name.split(".")[0], stages["logits"]).append(parameter)
    lrs = {"logits": 0.1, "late": 0.2, "early": 0.3}
    return torch.optim.SGD([{"params": p, "lr": lrs[s]} for s, p in stages.items()], momentum=0.9)


def test_groups_by_scope() -> None:
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider")
    result = carry(by_stage(model), model, student)
    assert len(result.new) > 8
    found = rates(result.optimizer, student)
    for name in result.new:
        assert found[name] == {"late": 0.2, "early": 0.3}[name.split(".")[0]]


def test_a_block_in_a_scope_of_its_own_joins_what_comes_before_it() -> None:
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2deeper{at=pooled}")
    result = carry(by_stage(model), model, student)
    assert result.new
    assert not any(name.startswith(("early", "late")) for name in result.new)
    found = rates(result.optimizer, student)
    assert {found[name] for name in result.new} == {0.3}


def test_groups_by_kind() -> None:
    """The usual split: no weight decay for biases and norms."""
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider, r2deeper")
    split: list[list[nn.Parameter]] = [[], []]
    for parameter in model.parameters():
        split[parameter.ndim > 1].append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": split[0], "weight_decay": 0.0}, {"params": split[1], "weight_decay": 0.1}]
    )
    result = carry(optimizer, model, student)
    decays = {p: g["weight_decay"] for g in result.optimizer.param_groups for p in g["params"]}
    assert len(decays) == len(list(student.parameters()))
    for parameter in student.parameters():
        assert decays[parameter] == (0.1 if parameter.ndim > 1 else 0.0)


def test_groups_by_scope_and_kind() -> None:
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider")

    def key(name: str, parameter: nn.Parameter) -> tuple[str, bool]:
        return name.split(".")[0], parameter.ndim > 1

    groups: dict[Any, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(key(name, parameter), []).append(parameter)
    optimizer = torch.optim.SGD(
        [{"params": p, "lr": 0.1 + i} for i, p in enumerate(groups.values())]
    )
    wanted = {k: 0.1 + i for i, k in enumerate(groups)}
    found = rates(growc.carry_optimizer(optimizer, model, student), student)
    for name, parameter in student.named_parameters():
        assert found[name] == wanted[key(name, parameter)]


def test_hyperparameters_and_order_are_kept() -> None:
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider, r2deeper")
    optimizer = by_stage(model)
    optimizer.add_param_group({"params": [], "lr": 7.0, "note": "mine"})
    optimizer.param_groups[1]["momentum"] = 0.5
    new = growc.carry_optimizer(optimizer, model, student)
    for before, after in zip(optimizer.param_groups, new.param_groups, strict=True):
        assert {**before, "params": 0} == {**after, "params": 0}
    position = {p: i for i, p in enumerate(student.parameters())}
    for group in new.param_groups:
        places = [position[p] for p in group["params"]]
        assert places == sorted(places)


def test_two_optimizers_share_what_is_new() -> None:
    """Each gets the new parameters beside its own, and none gets those of the other."""
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider")
    early = [p for name, p in model.named_parameters() if name.startswith("early")]
    others = [p for name, p in model.named_parameters() if not name.startswith("early")]
    one = carry(torch.optim.Adam(early), model, student)
    two = carry(torch.optim.SGD(others), model, student)
    assert one.new
    assert all(name.startswith("early") for name in one.new)
    assert set(one.left_out) == set(two.new)
    assert set(two.left_out) == set(one.new)
    held = [p for o in (one, two) for g in o.optimizer.param_groups for p in g["params"]]
    assert len(held) == len(set(held)) == len(list(student.parameters()))


def test_blocks_beside_frozen_layers_are_trained() -> None:
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("early"))
    optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    result = carry(optimizer, model, student)
    assert any(name.startswith("early") for name in result.new)
    assert not result.left_out
    found = rates(result.optimizer, student)
    old = {name for name, _ in model.named_parameters()}
    assert not any(name.startswith("early") and name in old for name in found)


def test_new_parameters_that_are_frozen_stay_out() -> None:
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider")
    old = {name for name, _ in model.named_parameters()}
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name in old)
    result = carry(torch.optim.Adam(model.parameters()), model, student)
    assert not result.new
    assert not result.left_out


def test_group_of_decides_otherwise() -> None:
    graph = net()
    model, student = growc.to_torch(graph), grown(graph, "r2wider")
    optimizer = by_stage(model)
    result = carry(
        optimizer, model, student, group_of=lambda name: None if name.endswith("bias") else 0
    )
    assert result.left_out
    assert all(name.endswith("bias") for name in result.left_out)
    found = rates(result.optimizer, student)
    assert {found[name] for name in result.new} == {0.1}
    with pytest.raises(GrowcError, match=r"group_of puts `.*` into group 3, .* has 3"):
        carry(optimizer, model, student, group_of=lambda name: 3)


def test_a_shared_scope_counts_more_than_what_comes_before() -> None:
    known = [
        (Place(("first", "conv"), "matrix", 0), 0),
        (Place(("second",), "matrix", 5), 1),
        (Place(("first", "r2r", "conv"), "matrix", 9), 2),
    ]
    assert nearest_group(Place(("first", "linear"), "matrix", 6), known) == 0
    assert nearest_group(Place(("first", "r2r", "linear"), "matrix", 6), known) == 2
    assert nearest_group(Place(("third",), "matrix", 6), known) == 1
