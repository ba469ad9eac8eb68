"""Compares networks that were read from PyTorch with the modules that they were read from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import growc
from growc.backends.reading.torch_checking import aligned
from growc.grammar import dumps, loads
from growc.ir import Graph, check_invariants

from .torch_cases import Spec, batch_of


def leaves(outputs: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]


def lively(model: nn.Module) -> nn.Module:
    """The module with running statistics that differ from new ones."""
    random = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0, generator=random)
        elif name.endswith("running_mean"):
            buffer.normal_(0.0, 0.5, generator=random)
    return model


def state_of(model: nn.Module) -> tuple[Any, ...]:
    """All of a module that reading must leave as it is."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    return (
        {
            name: (id(x), x.requires_grad, x.dtype, x.detach().clone())
            for name, x in tensors.items()
        },
        [(module, module.training, set(vars(module))) for module in model.modules()],
    )


def assert_untouched(before: tuple[Any, ...], model: nn.Module) -> None:
    after = state_of(model)
    assert before[1] == after[1]
    assert before[0].keys() == after[0].keys()
    for name, (*what, value) in before[0].items():
        assert what == list(after[0][name][:3]), name
        assert torch.equal(value, after[0][name][3]), name


def read(model: nn.Module, example: Any, **settings: Any) -> Graph:
    """Read a module; look at the graph's text and at whether the module is untouched."""
    before = state_of(model)
    graph = growc.from_torch(model, example, **settings)
    assert_untouched(before, model)
    check_invariants(graph)
    text = dumps(graph)
    assert loads(text) == graph, text
    return graph


def assert_close(found: Any, expected: Any, tolerance: float, what: object) -> None:
    """Equal to a part of the largest number, for each tensor."""
    ours, theirs = leaves(found), leaves(expected)
    assert len(ours) == len(theirs), what
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        a, b = a.detach().double(), b.detach().double()
        b = aligned(b, a)
        assert a.shape == b.shape, (what, i)
        scale = max(1e-30, float(b.abs().max()))
        difference = float((a - b).abs().max())
        assert difference <= tolerance * scale, (what, i, difference, scale)


def assert_same_function(
    ours: nn.Module, theirs: nn.Module, inputs: Sequence[Tensor], tolerance: float
) -> None:
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        found, expected = ours(*map(torch.clone, inputs)), theirs(*map(torch.clone, inputs))
    if isinstance(found, dict) and isinstance(expected, dict):
        found, expected = list(found.values()), list(expected.values())
    assert_close(found, expected, tolerance, ("evaluation", len(inputs[0])))


def assert_same_training(
    ours: nn.Module, theirs: nn.Module, inputs: Sequence[Tensor], tolerance: float
) -> None:
    """Outputs, gradients and running statistics of one step, in training mode."""
    ours.train()
    theirs.train()
    found, expected = leaves(ours(*inputs)), leaves(theirs(*inputs))
    expected = [aligned(b, a) for a, b in zip(found, expected, strict=True)]
    assert_close(found, expected, tolerance, "training")
    random = torch.Generator().manual_seed(3)
    weights = [torch.randn(x.shape, generator=random, dtype=torch.float64) for x in expected]
    for outputs in (found, expected):
        total = sum((w * x).sum() for w, x in zip(weights, outputs, strict=True))
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
    assert_same_state(ours, theirs, tolerance)


def assert_same_state(ours: nn.Module, theirs: nn.Module, tolerance: float) -> None:
    """Values, by the module's own names; and gradients of what has one, in its layout."""
    mine, there = ours.state_dict(), theirs.state_dict()
    assert mine.keys() <= there.keys()
    for name, value in mine.items():
        if not name.endswith("num_batches_tracked"):
            assert_close(value, there[name], tolerance, name)
    # Gradients go through the same renaming as values.
    gradients = with_gradients(ours).state_dict()
    named = dict(theirs.named_parameters(remove_duplicate=False))
    for name, value in with_gradients(theirs).state_dict().items():
        learned = isinstance(named.get(name), nn.Parameter)
        if name in gradients and learned and not name.endswith("num_batches_tracked"):
            assert_close(gradients[name], value, tolerance, ("gradient", name))


def with_gradients(model: nn.Module) -> nn.Module:
    """A copy that has gradients in the place of parameters, zeros for buffers."""
    twin = copy.deepcopy(model)
    originals = dict(model.named_parameters())
    with torch.no_grad():
        for name, x in twin.named_parameters():
            gradient = originals[name].grad
            x.copy_(torch.zeros_like(x) if gradient is None else gradient)
        for x in twin.buffers():
            x.zero_()
    return twin


def assert_loads_states(graph: Graph, model: nn.Module) -> nn.Module:
    """The module made of a graph takes other numbers from the state dict of what was read."""
    other = copy.deepcopy(model)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for x in other.parameters():
            x.copy_(torch.randn(x.shape, generator=random))
    ours = growc.to_torch(graph)
    ours.load_state_dict(other.state_dict(), strict=True)
    found, expected = ours.state_dict(), other.state_dict()
    assert found.keys() <= expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name].to(value.dtype)), name
    return other


def compare(
    model: nn.Module,
    graph: Graph,
    specs: tuple[Spec, ...],
    tolerance: float,
    *,
    train: bool = True,
    batches: Sequence[int] = (1, 2, 5),
) -> None:
    """Evaluation at several batch sizes, one training step, and state dicts."""
    other = assert_loads_states(graph, model)
    ours, theirs = growc.to_torch(graph, dtype=torch.float64), copy.deepcopy(model).double()
    for count in batches:
        assert_same_function(ours, theirs, batch_of(specs, count, seed=count), tolerance)
    ours.load_state_dict(other.state_dict())
    theirs = other.double()
    assert_same_function(ours, theirs, batch_of(specs, 3), tolerance)
    if train:
        assert_same_training(ours, theirs, batch_of(specs, 5, seed=7), tolerance)
