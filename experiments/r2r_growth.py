"""Figures 5 and 7 of the R2R paper: growing at 0, 1500, 3000 or 4500 of 6,000 updates.

    python -m experiments.r2r_growth --figure 5 --data cifar-10-batches-bin

Figure 5 widens the wide teacher (259,226 parameters) into the base network (579,386), figure 7
deepens the deep teacher (238,202). Adam (amsgrad, 3e-3, weight decay 1e-6), batches of 32 with
replacement, binary cross-entropy of the logits against one-hot labels, pixels minus the mean image,
49,000 training images, accuracy on the first 1,000 test images; at a growth step learning rate and
weight decay are multiplied by |θ₁|/|θ₂|, and the optimizer is carried over. The paper ends at about
0.70 in all arms. Writes ``results/r2r_figure5.csv``, a row for each evaluation, and a table beside.

What is in the file already is not run again, so a run that was cut off goes on with the next arm.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import growc
from benchmarks.common import circumstances
from growc.train.data import Batches, Normalization, open_data

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
FIGURES = {5: ("r2r_wide_teacher", "r2wider{variant=concat}"), 7: ("r2r_deep_teacher", "r2deeper")}
ARMS = (0, 1500, 3000, 4500)
UPDATES = 6000
FIELDS = ("seed", "arm", "update", "seconds", "flops", "parameters", "loss", "accuracy")


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


def run_arm(
    figure: int, data: Any, seed: int, arm: int, updates: int, every: int, pipeline: str
) -> list[dict[str, Any]]:
    """One training run; a row for every evaluation. ``seconds`` are those of training alone."""
    normalization = Normalization.of(data.train, "mean_image")
    train = Batches(data.train, normalization, batch_size=32, seed=seed, replacement=True)
    test = Batches(data.test, normalization, batch_size=250, train=False)
    graph = growc.load(EXAMPLES / f"{FIGURES[figure][0]}.arch")
    growc.initialize(graph, seed)
    model: nn.Module = growc.to_torch(graph)
    optimizer: torch.optim.Optimizer = torch.optim.Adam(
        model.parameters(), lr=3e-3, weight_decay=1e-6, amsgrad=True
    )
    rows: list[dict[str, Any]] = []
    losses: list[float] = []
    seconds = flops = 0.0
    macs, parameters = graph.macs(), graph.parameter_count()
    for update in range(updates + 1):
        if update % every == 0 or update == updates:
            loss = statistics.fmean(losses[-100:]) if losses else float("nan")
            found = (seed, arm, update, round(seconds, 2), flops, parameters, round(loss, 5))
            rows.append(dict(zip(FIELDS, (*found, accuracy(model, test)), strict=True)))
        if update == updates:
            break
        start = time.perf_counter()
        if update == arm * updates // UPDATES:
            model, optimizer = growc.grow(
                model, optimizer, pipeline, seed=seed, scale_weight_decay=True
            )
            grown = growc.graph_of(model)
            macs, parameters = grown.macs(), grown.parameter_count()
        x, y = train.batch(update)
        loss_now = F.binary_cross_entropy_with_logits(model(x), F.one_hot(y, 10).float())
        optimizer.zero_grad()
        loss_now.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds += time.perf_counter() - start
        flops += 3 * 2 * macs * len(x)  # forward, and about twice that backward
        losses.append(float(loss_now.detach()))
    return rows


def read(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def table(figure: int, rows: list[dict[str, str]], pipeline: str, updates: int) -> list[str]:
    """Accuracy and seconds at the end of each arm, over the seeds that were run."""
    lines = [
        f"R2R figure {figure}: `{pipeline}` on {FIGURES[figure][0]}, {updates} updates of 32, "
        "CIFAR-10, first 1,000 test images",
        f"{'growth at':>10}{'seeds':>7}{'accuracy':>10}{'each':>28}{'seconds':>9}{'TFLOP':>8}",
    ]
    for arm in ARMS:
        ends = [r for r in rows if int(r["arm"]) == arm and int(r["update"]) == updates]
        if ends:
            scores = [float(r["accuracy"]) for r in ends]
            each = ", ".join(f"{s:.3f}" for s in scores)
            spent = statistics.fmean(float(r["seconds"]) for r in ends)
            work = statistics.fmean(float(r["flops"]) for r in ends) / 1e12
            lines.append(
                f"{arm * updates // UPDATES:>10}{len(ends):>7}{statistics.fmean(scores):>10.3f}"
                f"{each:>28}{spent:>9.0f}{work:>8.1f}"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--figure", type=int, choices=sorted(FIGURES), required=True)
    parser.add_argument("--data", required=True, help="folder of data_batch_1.bin, …")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the 6,000 updates")
    parser.add_argument("--pipeline", help="another growth step than the figure's")
    given = parser.parse_args()
    updates = max(len(ARMS), round(UPDATES * given.scale))
    pipeline = given.pipeline or FIGURES[given.figure][1]
    every = max(1, updates // 24)
    data = open_data(f"cifar10:{given.data}")
    scale = "" if given.scale == 1 else f"_scale{given.scale:g}"
    file = HERE / "results" / f"r2r_figure{given.figure}{scale}.csv"
    file.parent.mkdir(exist_ok=True)
    for seed in range(given.seeds):
        for arm in ARMS:
            rows = read(file)
            if any((r["seed"], r["arm"]) == (str(seed), str(arm)) for r in rows):
                continue
            new = run_arm(given.figure, data, seed, arm, updates, every, pipeline)
            with file.open("a", encoding="utf-8", newline="") as out:
                writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
                if not rows:
                    writer.writeheader()
                writer.writerows(new)
            text = [*table(given.figure, read(file), pipeline, updates), "", *circumstances(), ""]
            file.with_suffix(".txt").write_text("\n".join(text), encoding="utf-8")
            print(f"seed {seed}, growth at {arm}: {new[-1]['accuracy']:.3f}", flush=True)


if __name__ == "__main__":
    main()
