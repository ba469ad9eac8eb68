"""Real trained ONNX models: read, printed, proved, run, grown, exported again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import growc as package
from growc.ir import check_invariants
from growc.passes import parse_pipeline

MODELS = (
    "resnet20",
    "cifar10_resnet_4b",
    "mnist_conv",
    "yolox_nano",
    "unet_sedgen",
    "ultraface_RFB_320",
    "espcn_subpixel_x3",
)

TOLERANCE = 1e-4
"""Of the output's scale. float32 is half of that from float64 in the deepest of these models,
and a wrong border, order or default is a hundred times further."""


def reference(models: Path, name: str) -> tuple[dict[str, Any], list[Any]]:
    """The stored inputs by name, and onnxruntime's outputs for them."""
    stored = np.load(models / f"{name}.ref.npz")
    inputs = {key.removeprefix("in_"): stored[key] for key in stored if key.startswith("in_")}
    outputs = [stored[f"out_{i}"] for i in range(len(stored) - len(inputs))]
    return inputs, outputs


def outputs_of(module: torch.nn.Module, inputs: list[torch.Tensor]) -> list[Any]:
    with torch.no_grad():
        found = module.eval()(*inputs)
    return [t.numpy() for t in (found.values() if isinstance(found, dict) else [found])]


@pytest.mark.parametrize("name", MODELS)
def test_model_is_read_as_it_is(name: str, models: Path, tmp_path: Path) -> None:
    graph = package.from_onnx(models / f"{name}.onnx")
    check_invariants(graph)
    assert not {node.op.name for node in graph} & {"identity"}

    package.save(graph, tmp_path / name)
    again = package.load(tmp_path / f"{name}.arch")
    assert again == graph
    assert package.same_weights(again, graph)
    assert package.prove(graph, again).verdict == "proved"

    inputs, expected = reference(models, name)
    tensors = [torch.from_numpy(inputs[n]).double() for n in graph.inputs]
    ours = outputs_of(package.to_torch(graph, dtype=torch.float64), tensors)
    package.to_onnx(graph, tmp_path / f"{name}.onnx")
    exported = package.run_onnx(tmp_path / f"{name}.onnx", inputs)
    for found in (ours, list(exported.values())):
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            assert np.abs(a - b).max() <= TOLERANCE * np.abs(b).max()


@pytest.mark.parametrize("name", MODELS)
def test_any_batch(name: str, models: Path) -> None:
    """Models that were exported for one example take several."""
    graph = package.from_onnx(models / f"{name}.onnx")
    module = package.to_torch(graph, dtype=torch.float64)
    inputs, _ = reference(models, name)
    one = torch.from_numpy(next(iter(inputs.values()))).double()
    other = one.flip(-1)
    both = outputs_of(module, [torch.cat([one, other])])
    for i, part in enumerate((one, other)):
        for whole, single in zip(both, outputs_of(module, [part]), strict=True):
            # Batches are computed by other kernels: float64 rounds by 1e-16, some layers deep.
            assert np.abs(whole[i] - single[0]).max() <= 1e-10 * np.abs(single).max()


PIPELINES = ("r2wider", "r2wider{variant=concat}", "r2deeper", "net2wider", "net2deeper")


@pytest.mark.parametrize("name", MODELS)
def test_what_was_read_grows(name: str, models: Path) -> None:
    """Every pass either applies and is proved, or says why not; most apply to every model."""
    graph = package.from_onnx(models / f"{name}.onnx")
    grown = 0
    for text in PIPELINES:
        (applied,) = parse_pipeline(text)
        try:
            result = applied(graph)
        except package.GrowcError:
            continue  # with a reason: tests/test_passes_refusals.py
        grown += 1
        check_invariants(result.graph)
        proof = package.prove(graph, result.graph)
        assert proof.verdict == "proved", (text, proof.parting)
        assert set(graph.weights) <= set(result.graph.weights)
    assert grown >= 3


def test_resnet20_is_grown_on_every_block_and_scores_the_same(
    models: Path, cifar10_test: Path
) -> None:
    graph = package.from_onnx(models / "resnet20.onnx")
    (wider, deeper) = parse_pipeline("r2wider, r2deeper")
    step = wider(graph)
    assert len(step.places) == 9
    last = deeper(step.graph)
    assert len(last.places) == 9
    proof = package.prove(graph, last.graph)
    assert (proof.verdict, proof.proved_modes) == ("proved", ("eval", "train"))

    records = np.frombuffer(cifar10_test.read_bytes(), np.uint8).reshape(-1, 3073)
    mean = np.array([0.4914, 0.4822, 0.4465], np.float32).reshape(3, 1, 1)
    std = np.array([0.2023, 0.1994, 0.2010], np.float32).reshape(3, 1, 1)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32) / np.float32(255)
    images = ((pixels - mean) / std).astype(np.float32)
    theirs = np.concatenate(
        [
            next(iter(package.run_onnx(models / "resnet20.onnx", {"input.1": x[None]}).values()))
            for x in images[:50]
        ]
    )
    teacher, student = (
        package.to_torch(g).eval().to(memory_format=torch.channels_last)
        for g in (graph, last.graph)
    )
    with torch.no_grad():
        before, after = (
            np.concatenate([m(part).numpy() for part in torch.from_numpy(images).split(250)])
            for m in (teacher, student)
        )
    np.testing.assert_array_equal(before[:50].argmax(1), theirs.argmax(1))
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
    assert (before.argmax(1) == records[:, 0]).mean() >= 0.9


def test_every_command_takes_an_onnx_model(
    models: Path, growc: Callable[..., Any], tmp_path: Path
) -> None:
    model = models / "mnist_conv.onnx"
    for command in (("check",), ("show",)):
        done = growc(*command, model)
        assert (done.status, done.err) == (0, "")
        assert "5,994" in done.out
    done = growc("import", model, "-o", tmp_path / "net")
    assert (done.status, done.err) == (0, "")
    assert "5,994 parameters" in done.out
    done = growc("compile", model, "--pass", "r2wider{variant=concat}", "-o", tmp_path / "wider")
    assert done.status == 0, done.err
    assert "preserved: proved (eval, train)" in done.out
    done = growc("verify", model, tmp_path / "wider.onnx")
    assert done.status == 0, done.err
    assert "proved: the same function, in real arithmetic (eval)" in done.out
    done = growc("verify", model, model, "--json")
    assert done.json["verdict"] == "proved"
    done = growc("diff", model, tmp_path / "wider.arch")
    assert done.status in (0, 1)
