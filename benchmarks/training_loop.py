"""Updates of ``growc train`` against a plain loop written by hand, and the author's code's figure.

The hand-written side is what a PyTorch user would write without growc: the base network of the
R2R paper as a module (benchmarks/training_step.py), images normalized once and kept as a tensor,
shuffled batches, Adam, cross-entropy. growc's side is its whole update: the batch made of
stored pixels, the rate set, the seed for dropout, the loss looked at. Images are random. Both take
turns, some updates at a time. The author's code took 467 ms for an update of 128 on this kind of
machine (shared/papers/NOTES.md). Target: both ratios ≤ 1.

    python -m benchmarks.training_loop

What ``growc train`` sets in its process (train/machine.py) is on for both sides; the same is
measured without it in a second process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAIN = "GROWC_BENCHMARK_PLAIN"
"""Set in the process that is measured as Python starts it."""
UPDATES, ROUNDS, AUTHOR = 3, 15, 467.0
BATCHES = (32, 128)


def measure() -> None:
    """Print a line for each batch size."""
    if PLAIN not in os.environ:
        from growc.train.machine import settle_in

        settle_in()
    import numpy as np
    import torch

    import growc
    from growc.train import Settings
    from growc.train.checkpoint import Progress, State, on_device, scaler_of
    from growc.train.data import Batches, DataSet, Normalization
    from growc.train.data.examples import Stored
    from growc.train.data.joint import JointBatches
    from growc.train.loop import Loop
    from growc.train.observers import Observer
    from growc.train.optimization import optimizer_of
    from growc.train.prefetching import in_order
    from growc.train.processes import Processes
    from growc.train.run_folder import RunFolder

    from .common import alternate, ratio

    random = np.random.default_rng(0)
    pixels = random.integers(256, size=(5_000, 3, 32, 32), dtype=np.uint8)
    examples = Stored(pixels, random.integers(10, size=len(pixels)))
    normalization = Normalization.of(examples, "channel")
    for batch_size in BATCHES:
        settings = Settings(batch_size=batch_size, updates=10**6, amsgrad=True)
        graph = growc.load(Path(__file__).parents[1] / "examples" / "r2r_base.arch")
        growc.initialize(graph)
        cpu = torch.device("cpu")
        model = on_device(growc.to_torch(graph), cpu)
        optimizer = optimizer_of(settings, [list(model.parameters())])
        batches = JointBatches(Batches(examples, normalization, batch_size=batch_size))
        names = tuple(map(str, range(10)))
        data = DataSet("random", names, (3, 32, 32), examples, examples, examples)
        with tempfile.TemporaryDirectory() as folder:
            loop = Loop(
                State(model, optimizer, scaler_of(settings, cpu), Progress()),
                settings,
                (data,),
                {"train": batches},
                (),
                RunFolder(Path(folder)),
                {},
                Processes(0, 1, cpu),
                Observer(),
                workers=0,
            )
        made = in_order(batches, 0, settings.updates, 0)

        def ours(loop: Loop = loop, made: object = made) -> None:
            for _ in range(UPDATES):
                loop._update(*next(made))  # type: ignore[call-overload]

        theirs = by_hand(torch.from_numpy(normalization.apply(pixels)), examples.labels, batch_size)
        times = alternate(ours, theirs, rounds=ROUNDS)
        low, middle, high = ratio(times)
        medians = [1000 * sorted(side)[ROUNDS // 2] / UPDATES for side in times]
        line = f"{batch_size:>6}{medians[0]:>12.1f}{medians[1]:>12.1f}{middle:>8.3f}"
        line += f"   {low:.3f} to {high:.3f}"
        line += f"{medians[0] / AUTHOR:>14.2f}" if batch_size == 128 else f"{'–':>14}"
        print(line, flush=True)


def by_hand(images: Any, numbers: Any, size: int) -> Callable[[], None]:
    """Some updates of the loop that one writes without growc."""
    import torch
    from torch.nn import functional as F

    from .training_step import Base

    labels = torch.from_numpy(numbers.copy())
    model = Base()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=True)
    order = torch.randperm(len(labels))

    def updates() -> None:
        nonlocal order
        for _ in range(UPDATES):
            if len(order) < size:
                order = torch.randperm(len(labels))
            chosen, order = order[:size], order[size:]
            adam.zero_grad()
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            loss.item()

    return updates


def main() -> None:
    from .common import report

    lines = [
        "An update of the base network (579,386 parameters) on 32x32 images, 2 threads, in ms",
        f"{'batch':>6}{'growc train':>12}{'by hand':>12}{'ratio':>8}   {'quartiles':<14}"
        f"{'ours / author':>14}",
    ]
    for title, more in (
        ("with what `growc train` sets (train/machine.py), on both sides:", {}),
        ("as Python starts a process:", {PLAIN: "1"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", "from benchmarks.training_loop import measure; measure()"],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=True,
        )
        lines += [title, *done.stdout.splitlines()]
    report("training_loop", lines)


if __name__ == "__main__":
    main()
