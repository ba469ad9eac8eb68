"""α' = α · |θ₁| / |θ₂| (R2R appendix C.3)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import nn

import growc
from growc import Graph, GrowcError
from growc.testing import masked_networks
from growc.train import trainable_count

NET = """
net small {
    input x: f32[6]
    output y = x -> linear(4) -> relu -> linear(2)
}
"""


def net() -> Graph:
    graph = growc.loads(NET)
    growc.initialize(graph)
    return graph


def grown() -> tuple[nn.Module, nn.Module]:
    graph = net()
    return growc.to_torch(graph), growc.to_torch(growc.compile(graph, "r2wider{variant=concat}"))


def test_the_ratio_of_parameters() -> None:
    model, student = grown()
    assert (trainable_count(model), trainable_count(student)) == (38, 74)
    optimizer = torch.optim.Adam(student.parameters(), 0.1, weight_decay=1e-3)
    assert growc.scale_learning_rate(optimizer, model, student) == 38 / 74
    (group,) = optimizer.param_groups
    assert group["lr"] == pytest.approx(0.1 * 38 / 74)
    assert group["weight_decay"] == 1e-3
    growc.scale_learning_rate(optimizer, model, student, weight_decay=True)
    assert group["lr"] == pytest.approx(0.1 * (38 / 74) ** 2)
    assert group["weight_decay"] == pytest.approx(1e-3 * 38 / 74)


def test_while_carrying() -> None:
    model, student = grown()
    split = list(model.parameters())
    optimizer = torch.optim.SGD(
        [{"params": split[:2], "lr": 1.0}, {"params": split[2:], "lr": 2.0}]
    )
    new = growc.carry_optimizer(optimizer, model, student, scale_lr=True)
    assert [g["lr"] for g in new.param_groups] == [38 / 74, 76 / 74]
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 2.0]
    new = growc.carry_optimizer(optimizer, model, student)
    assert [g["lr"] for g in new.param_groups] == [1.0, 2.0]


def test_rates_that_are_one_tensor() -> None:
    model, student = grown()
    split = list(model.parameters())
    optimizer = torch.optim.Adam(
        [{"params": split[:2]}, {"params": split[2:]}], torch.tensor(0.1), foreach=False
    )
    new = growc.carry_optimizer(optimizer, model, student, scale_lr=True)
    growc.scale_learning_rate(optimizer, model, student)
    for group in (*optimizer.param_groups, *new.param_groups):
        assert float(group["lr"]) == pytest.approx(0.1 * 38 / 74)


def test_a_schedule_goes_on() -> None:
    """A new scheduler on the carried optimizer continues the old one's curve, scaled."""
    model, student = grown()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    old = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 0.5**update)
    for _ in range(3):
        optimizer.step()
        old.step()
    new = growc.carry_optimizer(optimizer, model, student, scale_lr=True)
    after = torch.optim.lr_scheduler.LambdaLR(
        new, lambda update: 0.5**update, last_epoch=old.last_epoch
    )
    for _ in range(2):
        optimizer.step()
        old.step()
        new.step()
        after.step()
        if new.param_groups[0]["lr"] < optimizer.param_groups[0]["lr"]:
            break
    assert after.get_last_lr()[0] == pytest.approx(old.get_last_lr()[0] * 38 / 74 / 2)


def test_tied_and_frozen_parameters() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    assert trainable_count(model) == 9 + 3 + 3
    second.bias.requires_grad_(False)
    assert trainable_count(model) == 9 + 3


@given(masked_networks())
def test_masked_parameters_count_as_the_graph_says(graph: Graph) -> None:
    assert trainable_count(growc.to_torch(graph)) == graph.parameter_count()


def test_nothing_to_train() -> None:
    model, student = grown()
    optimizer = torch.optim.SGD(student.parameters(), 1.0)
    with pytest.raises(GrowcError, match="the old model has no trainable parameters"):
        growc.scale_learning_rate(optimizer, nn.ReLU(), student)
    with pytest.raises(GrowcError, match="the new model has no trainable parameters"):
        growc.scale_learning_rate(optimizer, model, nn.ReLU())
