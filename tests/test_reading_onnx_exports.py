"""Modules that torch.onnx exports: a CNN, BERT, GPT-2 and a vision transformer in small."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from growc.backends import from_onnx
from growc.ir import Graph
from growc.proof import compare_runtimes

from .onnx_building import kinds

torch.set_num_threads(1)

TOKENS, FEATURES, HEADS = 5, 8, 2


class Attention(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(FEATURES, 3 * FEATURES)
        self.proj = nn.Linear(FEATURES, FEATURES)
        self.causal = causal
        seen = torch.ones(9, 9, dtype=torch.bool).tril()
        self.register_buffer("seen", seen.view(1, 1, 9, 9))

    def forward(self, x: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        batch, tokens, features = x.shape
        q, k, v = (
            part.view(batch, tokens, HEADS, features // HEADS).transpose(1, 2)
            for part in self.qkv(x).split(features, dim=2)
        )
        scores = (q @ k.transpose(-2, -1)) * (features // HEADS) ** -0.5
        if self.causal:
            seen = self.seen[:, :, :tokens, :tokens]  # type: ignore[index]
            scores = scores.masked_fill(~seen, float("-inf"))
        if added is not None:
            scores = scores + added
        y = scores.softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, features))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, causal: bool = False, approximate: str = "none") -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES)
        self.attn = Attention(causal)
        self.fc, self.out = nn.Linear(FEATURES, 16), nn.Linear(16, FEATURES)
        self.approximate = approximate

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        x = x + self.attn(self.ln1(x), added)
        hidden = F.gelu(self.fc(self.ln2(x)), approximate=self.approximate)
        return x + self.out(hidden)  # type: ignore[no-any-return]


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, FEATURES), nn.Embedding(9, FEATURES)
        self.blocks = nn.ModuleList(Block(True, "tanh") for _ in range(2))
        self.ln_f = nn.LayerNorm(FEATURES)
        self.head = nn.Linear(FEATURES, 11, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))  # type: ignore[no-any-return]


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word, self.position = nn.Embedding(11, FEATURES), nn.Embedding(9, FEATURES)
        self.norm = nn.LayerNorm(FEATURES)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.pooler = nn.Linear(FEATURES, FEATURES)
        self.register_buffer("ids", torch.arange(9).unsqueeze(0))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        added = (1.0 - mask[:, None, None, :].float()) * -30.0
        x = self.norm(self.word(ids) + self.position(self.ids[:, : ids.shape[1]]))  # type: ignore[index]
        for block in self.blocks:
            x = block(x, added)
        return torch.tanh(self.pooler(x[:, 0]))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, FEATURES, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, FEATURES))
        self.position = nn.Parameter(torch.randn(1, 5, FEATURES))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(FEATURES), nn.Linear(FEATURES, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(image.shape[0], -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])  # type: ignore[no-any-return]


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.depthwise, self.bn = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(8, 4, 1),
            nn.Hardswish(),
            nn.Conv2d(4, 8, 1),
            nn.Hardsigmoid(),
        )
        self.group, self.fc = nn.GroupNorm(2, 8), nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        y = F.relu6(self.bn(self.depthwise(x)))
        x = self.group(x + y * self.gate(y))
        x = F.max_pool2d(F.interpolate(x, scale_factor=2.0, mode="bilinear"), 3, 2, 1)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]


IDS = torch.arange(2 * TOKENS).view(2, TOKENS)

MODULES: dict[str, tuple[type[nn.Module], tuple[torch.Tensor, ...]]] = {
    "gpt": (GPT, (IDS,)),
    "bert": (Bert, (IDS, torch.ones_like(IDS))),
    "vit": (ViT, (torch.zeros(2, 3, 8, 8),)),
    "cnn": (Cnn, (torch.zeros(2, 3, 16, 16),)),
}


def made(name: str, trained: bool) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """A module; ``trained``: no tensor of it is ones or zeros any more."""
    cls, example = MODULES[name]
    torch.manual_seed(0)
    module = cls().eval()
    if trained:
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1 if tensor.ndim == 1 else tensor)
    return module, example


def exported(
    name: str, opset: int, *, dynamo: bool, open_batch: bool, trained: bool
) -> onnx.ModelProto:
    module, example = made(name, trained)
    names = [f"in{i}" for i in range(len(example))]
    options: dict[str, Any] = {
        "input_names": names,
        "output_names": ["out"],
        "opset_version": opset,
    }
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            if dynamo:
                dim = torch.export.Dim("batch")
                shapes = tuple({0: dim} for _ in example) if open_batch else None
                program = torch.onnx.export(
                    module, example, dynamo=True, dynamic_shapes=shapes, verbose=False, **options
                )
                assert program is not None
                return program.model_proto
            axes = {n: {0: "batch"} for n in [*names, "out"]} if open_batch else None
            buffer = io.BytesIO()
            torch.onnx.export(module, example, buffer, dynamo=False, dynamic_axes=axes, **options)
            return onnx.load_from_string(buffer.getvalue())
    finally:
        logging.disable(logging.NOTSET)


COMMON = {"layer_norm": 5, "attention": 2, "gelu": 2, "linear": 9, "add": 5}
EXPECTED = {
    "gpt": COMMON | {"embedding": 1, "slice": 6},
    "bert": COMMON
    | {
        "embedding": 1,
        "slice": 7,
        "reshape": 1,
        "to_float": 1,
        "scale": 1,
        "flatten": 1,
        "tanh": 1,
    },
    "vit": COMMON | {"conv2d": 1, "slice": 7, "flatten": 2, "transpose": 1, "concat": 1},
}


FORMS = [
    *((opset, False, True) for opset in (11, 14, 17, 20)),
    (14, False, False),
    (18, True, True),
    (20, True, False),
]


@pytest.mark.parametrize(("opset", "dynamo", "open_batch"), FORMS)
@pytest.mark.parametrize("name", EXPECTED)
def test_transformer(name: str, opset: int, dynamo: bool, open_batch: bool) -> None:
    model = exported(name, opset, dynamo=dynamo, open_batch=open_batch, trained=opset != 17)
    graph = from_onnx(model)
    assert kinds(graph) == EXPECTED[name]
    comparison, _ = compare_runtimes(graph, model)
    assert comparison.agrees
    assert_named(graph)


def assert_named(graph: Graph) -> None:
    """Layers have their modules' names."""
    names = {node.name for node in graph}
    blocks = {
        f"blocks.{i}.{part}" for i in (0, 1) for part in ("attn.qkv", "attn.proj", "fc", "out")
    }
    assert blocks <= names


@pytest.mark.parametrize(("opset", "dynamo", "open_batch"), FORMS)
def test_cnn(opset: int, dynamo: bool, open_batch: bool) -> None:
    model = exported("cnn", opset, dynamo=dynamo, open_batch=open_batch, trained=True)
    graph = from_onnx(model)
    found = kinds(graph)
    wanted = {
        "conv2d": 4, "silu": 1, "clip": 1, "global_avg_pool": 2, "hardswish": 1, "hard_sigmoid": 1,
        "mul": 1, "add": 1, "group_norm": 1, "resize": 1, "max_pool2d": 1, "flatten": 1,
        "linear": 1,
    }  # fmt: skip
    # torch.onnx folds batch norms into convolutions.
    assert {k: n for k, n in found.items() if k != "batch_norm"} == wanted
    assert compare_runtimes(graph, model)[0].agrees
    assert {"depthwise", "fc", "group"} <= {n.name for n in graph} | {
        n.name.rpartition(".")[0] for n in graph
    }


def test_class_tokens_stay_learned() -> None:
    model = exported("vit", 17, dynamo=False, open_batch=True, trained=True)
    graph = from_onnx(model)
    assert graph.node("token").op.name == "parameter"
    assert graph.weights["token"].shape == (1, 1, FEATURES)
    np.testing.assert_array_equal(graph.weights["token"], made("vit", True)[0].token.detach())  # type: ignore[union-attr,operator]
