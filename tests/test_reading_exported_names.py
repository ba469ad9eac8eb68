"""What torch.onnx.export writes has the names of the module that it came from, and its blocks."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

import growc
from growc.proof import compare_runtimes

from .foreign_modules import made


def lively(model: nn.Module) -> nn.Module:
    """With numbers of their own in all norms: exporters share equal tensors and drop zeros."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def export(model: nn.Module, example: torch.Tensor, path: Path, exporter: str) -> None:
    logging.disable(logging.WARNING)  # of torchvision, which is not there
    try:
        if exporter == "dynamo":
            torch.onnx.export(
                model,
                (example,),
                path,
                dynamo=True,
                opset_version=18,
                verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        else:
            torch.onnx.export(
                model,
                (example,),
                path,
                dynamo=False,
                opset_version=14,
                input_names=["x"],
                dynamic_axes={"x": {0: "batch"}},
            )
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore")  # the exporters warn of themselves and of each other
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("name", ["vit", "gpt2", "encoder", "resnet18", "mobilenet_v2"])
def test_exported_module(name: str, exporter: str, tmp_path: Path) -> None:
    model, example = made(name)
    path = tmp_path / f"{name}.onnx"
    export(lively(model), example, path, exporter)
    graph = growc.from_onnx(path)
    assert growc.loads(growc.dumps(graph)) == graph
    comparison, _ = compare_runtimes(graph, path)
    assert comparison.worst.relative <= 1e-5  # float32, some twenty layers deep

    # The same layers as of the module itself: no function is left in parts. Batch norms have been
    # folded, dropouts left out, and constants worked out.
    module = growc.from_torch(model, example)
    left_out = {"batch_norm", "dropout"}
    assert kinds(graph) <= kinds(module) - left_out | {"reshape", "flatten", "global_avg_pool"}
    layers = [n.name for n in module if n.op.name in ("linear", "attention", "layer_norm")]
    if name in ("vit", "gpt2"):
        assert set(layers) <= {node.name for node in graph}
        assert growc.dumps(graph).count("block ") == 1


def kinds(graph: growc.Graph) -> set[str]:
    return {node.op.name for node in graph}
