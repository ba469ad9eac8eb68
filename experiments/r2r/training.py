"""Training as in the R2R paper, and runs that can be cut off.

Adam (amsgrad, 3e-3, weight decay 1e-6), batches of 32 with replacement, binary cross-entropy of
the logits against one-hot labels, pixels minus the mean image, 49,000 training images, accuracy on
the first 1,000 test images and on 1,000 of the training images.

A run is kept in ``experiments/unfinished`` after every evaluation, and goes on from there.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

import growc
from growc.backends.module_weights import remember
from growc.train.data import Batches, Normalization, open_data

HERE = Path(__file__).resolve().parent.parent
EXAMPLES = HERE.parent / "examples"
RESULTS = HERE / "results"
UNFINISHED = HERE / "unfinished"
RATE, WEIGHT_DECAY = 3e-3, 1e-6


class Data:
    """CIFAR-10: batches to train on, and the images that accuracy is measured on."""

    def __init__(self, folder: str) -> None:
        self.set = open_data(f"cifar10:{folder}")
        self.normalization = Normalization.of(self.set.train, "mean_image")
        self.test = self._in_order(self.set.test)
        self.training_images = self._in_order(self.set.train.part(range(1000)))

    def _in_order(self, examples: Any) -> Batches:
        return Batches(examples, self.normalization, batch_size=250, train=False)

    def batches(self, seed: int) -> Batches:
        return Batches(
            self.set.train, self.normalization, batch_size=32, seed=seed, replacement=True
        )


@dataclass
class Run:
    """One training run: a model with its optimizer, how far it is, and what was measured."""

    seed: int
    arm: str
    model: nn.Module
    optimizer: Optimizer
    update: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    flops: float = 0.0
    losses: list[float] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    macs: int = 0
    parameters: int = 0

    def __post_init__(self) -> None:
        self._measure()

    def _measure(self) -> None:
        graph = growc.graph_of(self.model)
        self.macs, self.parameters = graph.macs(), graph.parameter_count()

    @staticmethod
    def fresh(net: str, seed: int, arm: str) -> Run:
        """A network of the examples with random values (PyTorch's defaults), at the full rate."""
        graph = growc.load(EXAMPLES / f"{net}.arch")
        growc.initialize(graph, seed)
        model = growc.to_torch(graph)
        return Run(seed, arm, model, adam(model, RATE, WEIGHT_DECAY))

    def grow(self, pipeline: str) -> None:
        """A growth step; rate and weight decay are multiplied by |θ₁|/|θ₂|."""
        start, start_cpu = time.perf_counter(), time.process_time()
        self.model, self.optimizer = growc.grow(
            self.model, self.optimizer, pipeline, seed=self.seed, scale_weight_decay=True
        )
        self._measure()
        self._spent(start, start_cpu)

    def step(self, batches: Batches, k: int) -> None:
        """An update on batch ``k``."""
        start, start_cpu = time.perf_counter(), time.process_time()
        x, y = batches.batch(k)
        loss = F.binary_cross_entropy_with_logits(self.model(x), F.one_hot(y, 10).float())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._spent(start, start_cpu)
        self.flops += 3 * 2 * self.macs * len(x)  # forward, and about twice that backward
        self.losses.append(float(loss.detach()))
        self.update += 1

    def _spent(self, start: float, start_cpu: float) -> None:
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - start_cpu

    def evaluate(self, data: Data, on_training_images: bool) -> None:
        """Add a row. Its seconds are those of growth and training alone."""
        row = {
            "seed": self.seed,
            "arm": self.arm,
            "update": self.update,
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "flops": self.flops,
            "parameters": self.parameters,
            "loss": round(statistics.fmean(self.losses[-100:]), 5) if self.losses else float("nan"),
        }
        if on_training_images:
            row["train_accuracy"] = accuracy(self.model, data.training_images)
        row["accuracy"] = accuracy(self.model, data.test)
        self.rows.append(row)


def adam(model: nn.Module, rate: float, weight_decay: float) -> Optimizer:
    return Adam(model.parameters(), lr=rate, weight_decay=weight_decay, amsgrad=True)


def accuracy(model: nn.Module, batches: Batches) -> float:
    model.eval()
    right = total = 0
    with torch.no_grad():
        for k in range(len(batches)):
            x, y = batches.batch(k)
            right += int((model(x).argmax(1) == y).sum())
            total += len(y)
    model.train()
    return right / total


def train(
    start: Callable[[], Run],
    data: Data,
    *,
    keep_as: str,
    updates: int,
    every: int,
    first_batch: int = 0,
    growth: tuple[int, str] | None = None,
    on_training_images: bool = False,
) -> Run:
    """Train what ``start`` gives, or go on with what is left of such a run.

    It is evaluated and kept as ``keep_as`` every ``every`` updates, and grown before the update
    that ``growth`` names.
    """
    kept = UNFINISHED / f"{keep_as}.pt"
    run: Run = load(kept) if kept.exists() else start()
    batches = data.batches(run.seed)
    while True:
        if run.update % every == 0 or run.update == updates:
            if not run.rows or run.rows[-1]["update"] != run.update:
                run.evaluate(data, on_training_images)
                save(run, kept)
            if run.update == updates:
                return run
        if growth is not None and run.update == growth[0]:
            run.grow(growth[1])
        run.step(batches, first_batch + run.update)


def save(run: Run, file: Path) -> None:
    """Whole or not at all: a run that is cut off here leaves the file of before."""
    file.parent.mkdir(exist_ok=True)
    # A module that is pickled forgets its graph, so that goes along as text.
    net = growc.dumps(growc.graph_of(run.model))
    torch.save((run, net), file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


def load(file: Path) -> Run:
    run, net = torch.load(file, weights_only=False)  # a file of our own
    assert isinstance(run, Run)
    assert isinstance(run.model, fx.GraphModule)
    remember(run.model, growc.loads(net))
    return run


def read(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def append(file: Path, rows: list[dict[str, Any]]) -> None:
    """Add the rows of an arm that is complete."""
    new = not file.exists()
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
