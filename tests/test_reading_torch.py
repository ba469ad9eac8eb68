"""Hand-written PyTorch networks: read, compared, grown, proved, trained, exported, saved.

``golden/reading/*.txt`` are their canonical texts; GROWC_UPDATE_GOLDEN=1 writes them anew.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import growc
from growc.grammar import dumps
from growc.grammar.formatter import format_source
from growc.ir import Graph, Source, check_invariants
from growc.passes import parse_pipeline

from .foreign_modules import NAMES, made
from .torch_cases import Ids, Spec
from .torch_reading import (
    assert_close,
    assert_same_function,
    assert_same_training,
    compare,
    leaves,
    read,
)

GOLDEN = Path(__file__).parent / "golden" / "reading"

DROPS = {"mobilenet_v2", "gpt2", "encoder"}
"""Networks with dropout: in training each run is another."""

READ: dict[str, tuple[nn.Module, Tensor, Graph]] = {}


def network(name: str) -> tuple[nn.Module, Tensor, Graph]:
    """A module, an example, and what was read; modules are copied before they are changed."""
    if name not in READ:
        model, example = made(name)
        READ[name] = (model, example, read(model, example))
    return READ[name]


def specs_of(example: Tensor) -> tuple[Spec, ...]:
    shape = tuple(example.shape[1:])
    return (shape,) if example.is_floating_point() else (Ids(50, shape),)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    text = dumps(network(name)[2])
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GROWC_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert text == path.read_text(encoding="utf-8")
    assert format_source(Source("test", text)) == text


@pytest.mark.parametrize("name", NAMES)
def test_equal(name: str) -> None:
    """In evaluation and training, float64; gradients, running statistics and state dicts."""
    model, example, graph = network(name)
    compare(model, graph, specs_of(example), 1e-11, train=name not in DROPS)
    ours, theirs = growc.to_torch(graph), copy.deepcopy(model)
    assert_same_function(ours, theirs, [example], 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict(name: str) -> None:
    model, _, graph = network(name)
    ours = growc.to_torch(graph)
    lost = model.state_dict().keys() - ours.state_dict().keys()
    assert lost == ({"h.0.attn.bias", "h.1.attn.bias"} if name == "gpt2" else set())
    copy.deepcopy(model).load_state_dict(ours.state_dict(), strict=not lost)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in model.parameters())
    assert graph.parameter_count() == sum(p.numel() for p in model.parameters())


def test_tied_weights_stay_one_parameter() -> None:
    _, _, graph = network("gpt2")
    ours = growc.to_torch(graph)
    assert ours.get_parameter("lm_head.weight") is ours.get_parameter("wte.weight")
    assert {"lm_head.weight", "wte.weight"} <= ours.state_dict().keys()


@pytest.mark.parametrize("name", NAMES)
def test_through_onnx(name: str, tmp_path: Path) -> None:
    """Exported, run in onnxruntime, and read back from there."""
    model, example, graph = network(name)
    path = tmp_path / "model.onnx"
    growc.to_onnx(graph, path)
    with torch.no_grad():
        expected = leaves(copy.deepcopy(model).eval()(example))
    feed = {next(iter(graph.inputs)): example.numpy()}
    found = [torch.from_numpy(x) for x in growc.run_onnx(path, feed).values()]
    order = {tuple(x.shape): x for x in found}
    assert_close([order[tuple(x.shape)] for x in expected], expected, 1e-4, name)
    again = growc.from_onnx(path)
    ours, theirs = (growc.to_torch(g, dtype=torch.float64).eval() for g in (again, graph))
    with torch.no_grad():
        x = example.double() if example.is_floating_point() else example
        assert_close(ours(x), theirs(x), 1e-6, name)


@pytest.mark.parametrize("name", NAMES)
def test_saved_with_its_names(name: str, tmp_path: Path) -> None:
    model, _, graph = network(name)
    growc.save(graph, tmp_path / "net")
    again = growc.load(tmp_path / "net.arch")
    assert again == graph
    assert again.weights.foreign == graph.weights.foreign
    module = growc.to_torch(again)
    module.load_state_dict(model.state_dict(), strict=True)
    for key, value in module.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


GROWTH = ("r2wider", "r2wider{variant=concat}", "r2deeper", "net2wider", "net2deeper")


def grown(graph: Graph, text: str) -> Graph | None:
    """The grown network, proved; None where the pass does not apply."""
    (step,) = parse_pipeline(text)
    try:
        result = step(graph)
    except growc.GrowcError:
        return None
    check_invariants(result.graph)
    proof = growc.prove(graph, result.graph)
    claim = result.claim
    assert proof.verdict == "proved", (text, proof.parting)
    assert set(proof.proved_modes) >= {m for m in ("eval", "train") if getattr(claim, m)}
    return result.graph


@pytest.mark.parametrize("name", NAMES)
def test_grown(name: str, tmp_path: Path) -> None:
    model, example, graph = network(name)
    students = {text: grown(graph, text) for text in GROWTH}
    applied = {text: student for text, student in students.items() if student is not None}
    assert len(applied) >= 2, students.keys() - applied.keys()
    for text, student in applied.items():
        ours = growc.to_torch(student, dtype=torch.float64)
        x = example.double() if example.is_floating_point() else example
        teacher = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            found, expected = leaves(ours.eval()(x)), leaves(teacher(x))
        # Narrow float32 weights are split in float32: net2wider rounds.
        assert_close(found, expected, 1e-6 if text == "net2wider" else 1e-11, (name, text))
        if text in ("r2wider", "r2deeper"):  # others widen the tensors themselves
            kept = ours.state_dict()
            for key, value in model.state_dict().items():
                assert key not in kept or torch.equal(kept[key].float(), value.float()), key
        trained(ours.train(), x)
        growc.to_onnx(student, tmp_path / f"{text}.onnx")
        growc.save(student, tmp_path / text)
        assert growc.load(tmp_path / f"{text}.arch") == student


def trained(module: nn.Module, x: Tensor) -> None:
    """One step moves every parameter that has a gradient, and there are some."""
    before = [p.detach().clone() for p in module.parameters()]
    torch.manual_seed(0)
    loss = sum((y * torch.randn(y.shape, dtype=y.dtype)).sum() for y in leaves(module(x)))
    assert isinstance(loss, Tensor)
    loss.backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    moved = [not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2


def test_training_is_the_same_with_dropout_of_nothing() -> None:
    """Networks with dropout train alike where nothing is dropped."""
    for name in sorted(DROPS):
        model, example = made(name)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
        graph = growc.from_torch(model, example)
        ours, theirs = growc.to_torch(graph, dtype=torch.float64), copy.deepcopy(model).double()
        x: Any = example.double() if example.is_floating_point() else example
        assert_same_training(ours, theirs, [x], 1e-11)


def test_dropout_drops() -> None:
    _, example, graph = network("gpt2")
    module = growc.to_torch(graph).train()
    with torch.no_grad():
        assert not np.array_equal(module(example).numpy(), module(example).numpy())
