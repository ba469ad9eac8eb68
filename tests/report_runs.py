"""Run folders made by hand for tests of reports: real networks, numbers that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import growc
from growc.compiler.artifacts import contents
from growc.ir import Graph
from growc.ir.weights import masked

NET = """net small {
    input image: f32[1, 8, 8]
    x = image -> conv2d(6) as first -> relu -> conv2d(4) as second -> relu -> flatten
    output y = x -> linear(10) as last
}"""
GROW = "at 20: new_node{count=2}, new_layer; at 40: new_connection{count=9}"
SETTINGS = f"""# What this run was told.
data = "digits"
batch_size = 32
updates = 60
evaluate_every = 15
optimizer = "sgd"
lr = 0.001
momentum = 0.9
lr_steps = []
grow = {json.dumps(GROW)}
"""


def masked_by_hand(graph: Graph) -> Graph:
    """With a mask on ``second`` (weights [4, 6, 3, 3], 4 biases) whose shares are known: the first
    output channel has every weight, the second a third of each kernel, the third one weight, the
    fourth none; one bias of four."""
    alpha = np.zeros((4, 6, 3, 3), np.bool_)
    alpha[0] = True
    alpha[1, :, 0] = True
    alpha[2, 5, 1, 1] = True
    bias = np.array([True, False, False, False])
    for key, mask in (("second.weight", alpha), ("second.bias", bias)):
        graph.weights.put(key, masked(graph.weights[key], mask), mask)
    return graph


def small() -> Graph:
    graph = growc.loads(NET)
    growc.initialize(graph)
    return graph


def entry(update: int, pipeline: str, before: int, after: int, **more: Any) -> dict[str, Any]:
    """An entry of growth.json."""
    loss = 2.0 - update / 100
    return {
        "update": update,
        "pipeline": pipeline,
        "at": [["first", "second"], ["relu"]][: pipeline.count(", new") + 1],
        "params": [before, after],
        "macs": [1000, 2000],
        "proof": "proved (eval, train)",
        "loss_before": {"eval": loss, "train": loss + 0.125},
        "loss_after": {"eval": loss, "train": loss + 0.125},
        "lr_factor": 0.5,
        "optimizer": "6 carried, 2 new",
        "seconds": 0.0312,
    } | more


ROWS = (
    "update,seconds,flops,params,loss,accuracy,train_loss,lr",
    "0,0.0,0.0,3000,2.5,0.1,,0.001",
    "15,1.5,1500000000.0,3000,1.5,0.4,1.75,0.001",
    "30,3.0,3000000000.0,3300,0.75,0.8,0.875,0.001",
    "45,4.5,4500000000.0,3360,0.5,0.925,0.5,0.001",
    "60,6.5,6000000000.0,3360,0.625,0.9,0.25,0.001",
)
GROWTHS = (
    entry(20, "new_node{count=2}, new_layer", 3000, 3300),
    entry(40, "new_connection{count=9}", 3300, 3360),
)
RESULT = {
    "updates": 60,
    "params": 3360,
    "flops": 6e9,
    "seconds": 6.5,
    "best": {
        "update": 45,
        "validation_accuracy": 0.925,
        "test_loss": 0.5625,
        "test_accuracy": 0.9125,
    },
    "last": {
        "update": 60,
        "validation_accuracy": 0.9,
        "test_loss": 0.6875,
        "test_accuracy": 0.8875,
    },
}


def write_run(folder: Path, net: Graph | None = None, **files: str | None) -> Path:
    """A finished run in ``folder``. ``metrics_csv="…"`` replaces a file's text, None leaves the
    file out."""
    folder.mkdir(parents=True)
    texts: dict[str, str | None] = {
        "settings_toml": SETTINGS,
        "metrics_csv": "\n".join(ROWS) + "\n",
        "growth_json": json.dumps(GROWTHS),
        "result_json": json.dumps(RESULT),
    } | files
    for name, text in texts.items():
        if text is not None:
            stem, _, suffix = name.rpartition("_")
            (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    models = {"start": small(), "best": net or masked_by_hand(small())}
    for name, graph in models.items():
        for path, content in contents(graph, folder / name).items():
            path.write_bytes(content)
    return folder
