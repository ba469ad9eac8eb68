"""Figure 5 of the ILNAS paper: against random additions, a fixed network, and over A_lr.

    python -m experiments.ilnas.figure5 --data cifar10:cifar-10-batches-bin

Five arms, all of which end at the |α| of the fixed network of their seed, by the same recipe with
the same batches:

- ``ilnas``: an expansion after each epoch, by gradients;
- ``random``: as often and as much, but what is added is drawn at random;
- ``fixed``: a VGG-like network, all kernels there, of which nothing changes;
- ``few``: an expansion after every fourth epoch, four times as large (a large A_lr);
- ``many``: four expansions an epoch, a quarter as large (a small A_lr).

The others begin at the template's random baseline of a third of the size. The paper: 1.0 million
parameters and 500 epochs, of which the architecture changes in 400. Here up to 50,000 and 10 (8);
``--scale 50 --params 1000000`` is the paper's.

SGD with momentum 0.9, weight decay 5e-4, batches of 128, flips, and crops of images that are not
resized. The rate is 0.05 while the architecture changes, so that what is added late learns like
the rest; it is divided by ten there, and again half-way to the end. Accuracy of the last model on
held-out training images (5,000, which nothing is chosen by) and on the test images.

Writes ``results/ilnas_figure5_DATA.csv``, a row for each run, another with the curves, a table and
a picture beside it.
A run that is in the file is not run again, and one that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import circumstances
from growc.search.ilnas import Ilnas, baseline
from growc.train import Settings, train
from growc.train.data import DataSet, open_data
from growc.train.data.opening import parse

from .drawing import draw

HERE = Path(__file__).resolve().parent.parent
RESULTS, UNFINISHED = HERE / "results", HERE / "unfinished"
ARMS = ("ilnas", "random", "fixed", "few", "many")
EPOCHS, FROZEN, HELD_OUT, BATCH = 10, 0.2, 5_000, 128
EXPANSIONS_AN_EPOCH = {"ilnas": 1.0, "random": 1.0, "few": 0.25, "many": 4.0}
COLUMNS = (
    *("seed", "arm", "held_out", "test", "train_loss"),
    *("parameters", "expansions", "teraflops", "seconds"),
)


def recipe(spec: str, seed: int, arm: str, epochs: float, params: int, data: DataSet) -> Settings:
    """The settings of an arm."""
    epoch = -(-len(data.train) // BATCH)
    updates = round(epoch * epochs)
    until = round(updates * (1 - FROZEN))
    settings = Settings(
        data=spec,
        validation=HELD_OUT,
        crop="none" if parse(spec).size else "pad",
        flip=data.name.startswith("cifar"),
        batch_size=BATCH,
        updates=updates,
        evaluate_every=max(1, min(epoch, updates // 4)),
        optimizer="sgd",
        momentum=0.9,
        weight_decay=5e-4,
        lr=0.05,
        lr_schedule="steps",
        lr_steps=(until, (until + updates) // 2),
        seed=seed,
    )
    if arm == "fixed":
        return settings
    select = "random" if arm == "random" else "gradient"
    search = Ilnas(max_params=params, select=select, batches=4)
    every = max(1, round(epoch * epochs / EPOCHS / EXPANSIONS_AN_EPOCH[arm]))
    return replace(settings, grow=f"every {every} until {until}: {search}", scale_lr=False)


def run_arm(spec: str, seed: int, arm: str, epochs: float, params: int, name: str) -> Any:
    """Train an arm; its row."""
    data = open_data(spec, validation=HELD_OUT, seed=seed)
    graph = baseline(data.shape, len(data.classes), params, seed, dense=True)
    settings = recipe(spec, seed, arm, epochs, graph.parameter_count(), data)
    if arm != "fixed":
        graph = baseline(data.shape, len(data.classes), params // 3, seed)
    folder = UNFINISHED / f"{name}_seed{seed}_{arm}"
    begun = (folder / "settings.toml").exists()
    result = train(
        graph, settings, folder, resume=begun, device="auto", tensorboard=False, data=data
    )
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    growth = folder / "growth.json"
    row = {
        "seed": seed,
        "arm": arm,
        "held_out": result["last"]["validation_accuracy"],
        "test": result["last"]["test_accuracy"],
        "train_loss": round(float(rows[-1]["train_loss"]), 5),
        "parameters": result["params"],
        "expansions": len(json.loads(growth.read_text())) if growth.exists() else 0,
        "teraflops": round(result["flops"] / 1e12, 1),
        "seconds": round(result["seconds"]),
    }
    curve = [(int(r["update"]), float(r["accuracy"]), int(r["params"])) for r in rows]
    shutil.rmtree(folder)
    return row, curve


def read(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open())) if file.exists() else []


def append(file: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    new = not file.exists()
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def table(file: Path, spec: str, epochs: float, params: int, ran_at: str | None) -> None:
    """The table beside the CSV."""
    rows, parsed = read(file), parse(spec)
    lines = [
        f"ILNAS figure 5 on {parsed.name}{parsed.options}: at most {params:,} parameters, "
        f"{epochs:g} epochs of batches of {BATCH}",
        f"accuracy of the last model on {HELD_OUT:,} held-out training images, and on the test "
        "images",
        "",
        f"{'':>8}{'seeds':>6}{'held out':>10}{'each':>25}{'test':>8}{'train loss':>12}"
        f"{'parameters':>12}{'expansions':>12}{'10^12 ops':>11}{'seconds':>9}",
    ]
    means = {}
    for arm in ARMS:
        mine = [r for r in rows if r["arm"] == arm]
        if not mine:
            continue
        scores = [float(r["held_out"]) for r in mine]
        means[arm] = statistics.fmean(scores)
        each = ", ".join(f"{s:.4f}" for s in scores)

        def mean(column: str, of: list[dict[str, str]] = mine) -> float:
            return statistics.fmean(float(r[column]) for r in of)

        lines.append(
            f"{arm:>8}{len(mine):>6}{means[arm]:>10.4f}{each:>25}{mean('test'):>8.4f}"
            f"{mean('train_loss'):>12.4f}{mean('parameters'):>12,.0f}{mean('expansions'):>12.0f}"
            f"{mean('teraflops'):>11.1f}{mean('seconds'):>9.0f}"
        )
    error = (0.25 / HELD_OUT) ** 0.5
    lines += [
        "",
        "The paper (CIFAR-10, 1.0 million parameters, 500 epochs): ILNAS 94.64 %, ahead of random",
        "additions and of the fixed network; many small expansions ahead of few large ones.",
        f"An accuracy on {HELD_OUT:,} images has a standard error of {error:.3f} at most.",
        "10^12 ops: floating point operations of the updates; what a mask leaves out is computed,",
        "too. seconds: of updates and expansions; runs shared the machine.",
        "",
    ]
    old = file.with_suffix(".txt")
    where = [*circumstances(ran_at), f"threads: {torch.get_num_threads()}"]
    old.write_text("\n".join([*lines, *where, ""]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="as growc train takes it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the 10 epochs")
    parser.add_argument("--params", type=int, default=50_000, help="|α| at the end")
    parser.add_argument("--threads", type=int, help="PyTorch's threads")
    parser.add_argument("--draw", action="store_true", help="only the table, from the CSV")
    parser.add_argument("--ran-at", metavar="COMMIT", help="of results that were made elsewhere")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    epochs = EPOCHS * given.scale
    parsed = parse(given.data)
    name = f"ilnas_figure5_{parsed.name}"
    if parsed.size:
        name += f"_{parsed.size}x{parsed.size}"
    if (given.scale, given.params) != (1.0, 50_000):
        name += f"_{given.params}_scale{given.scale:g}"
    file, curves = RESULTS / f"{name}.csv", RESULTS / f"{name}_curves.csv"
    RESULTS.mkdir(exist_ok=True)
    for seed in [] if given.draw else given.seeds:
        for arm in given.arms:
            if any((r["seed"], r["arm"]) == (str(seed), arm) for r in read(file)):
                continue
            row, curve = run_arm(given.data, seed, arm, epochs, given.params, name)
            points = [
                {"seed": seed, "arm": arm, "update": u, "held_out": a, "parameters": p}
                for u, a, p in curve
            ]
            append(curves, ("seed", "arm", "update", "held_out", "parameters"), points)
            append(file, COLUMNS, [row])
            print(f"seed {seed}, {arm}: {row['held_out']:.4f}", flush=True)
    table(file, given.data, epochs, given.params, given.ran_at)
    draw(read(curves), file)
    print(file.with_suffix(".txt").read_text())


if __name__ == "__main__":
    main()
