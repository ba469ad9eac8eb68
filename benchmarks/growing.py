"""What a growth step costs, in training steps of the grown network.

    python -m benchmarks.growing

The wide teacher of the R2R paper (259,226 parameters) with Adam (amsgrad), in the middle of its
training: ``growc.grow`` with its proof in both modes, the grown module, and the optimizer carried
over, against one training step of what comes out, turn by turn.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import growc

from .common import report

TEACHER = Path(__file__).resolve().parents[1] / "examples" / "r2r_wide_teacher.arch"
PIPELINES = ("r2wider{variant=concat}", "r2wider", "r2deeper")
ROUNDS = 9


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> float:
    """Seconds of one training step."""
    start = time.perf_counter()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return time.perf_counter() - start


def measured(pipeline: str, batch: int) -> str:
    """One line: milliseconds of a growth step and of a training step, and their ratio."""
    graph = growc.load(TEACHER)
    growc.initialize(graph)
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    grows, steps = [], []
    for _ in range(ROUNDS + 1):
        model: nn.Module = growc.to_torch(graph)
        optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
        step(model, optimizer, x, y)  # so that there are moments to carry
        start = time.perf_counter()
        model, optimizer = growc.grow(model, optimizer, pipeline)
        grows.append(time.perf_counter() - start)
        step(model, optimizer, x, y)
        steps.append(statistics.median(step(model, optimizer, x, y) for _ in range(3)))
    ratios = [a / b for a, b in zip(grows[1:], steps[1:], strict=True)]  # the first warms up
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"{pipeline:<26}{batch:>5}{1000 * statistics.median(grows[1:]):>10.0f} ms"
        f"{1000 * statistics.median(steps[1:]):>10.0f} ms{middle:>9.2f} ({low:.2f} to {high:.2f})"
    )


def main() -> None:
    lines = [
        f"growc.grow in training steps of the grown network, medians of {ROUNDS} (quartiles)",
        f"{'pipeline':<26}{'batch':>5}{'grow':>13}{'step':>13}{'ratio':>9}",
        *(measured(pipeline, batch) for batch in (128, 32) for pipeline in PIPELINES),
    ]
    report("growing", lines)


if __name__ == "__main__":
    main()
