"""Table 1 of the R2R paper: neuroevolution against a network of a person.

    python -m experiments.neuroevolution.table1 --data cifar10:cifar-10-batches-bin

- ``base``: the base network of the paper's section 5.2 (579,386 parameters), trained for 10,000
  updates and evaluated on the test images after every 500; the best of these accuracies, which is
  more than a network may know;
- ``best``: neuroevolution from the network of figure 9 with table 2's parameters (N_i = N_j =
  5,000, K = 3, M = 10, 15 iterations), models selected by accuracy; the model of the best
  validation accuracy;
- ``coevolution``: the same, models selected by co-evolution;
- ``ensemble``: the hierarchical ensemble of the models that co-evolution selects at the end, whose
  head is trained for 5,000 updates.

Adam (amsgrad, 3e-3, weight decay 1e-6), batches of 64 with replacement, binary cross-entropy of the
logits against one-hot labels, pixels minus the mean image, 1,000 images for validation, accuracy on
the first 1,000 test images. Learning rate and weight decay of a child are multiplied by |θ₁|/|θ₂|,
and new blocks are as wide as their output, as in the author's code. ``--scale 0.02`` makes all
numbers of updates that part of the paper's.

Writes ``results/neuroevolution_table1_DATA.csv``, a row for each network, and a table beside it.
What is in the file is not run again, and a run that was cut off goes on where it was.
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

import growc
from benchmarks.common import circumstances
from growc.search.neuroevolution import Evolution, neuroevolution
from growc.train import Settings, open_data, train
from growc.train.data import DataSet

HERE = Path(__file__).resolve().parent.parent
RESULTS, UNFINISHED = HERE / "results", HERE / "unfinished"
EXAMPLES = HERE.parent / "examples"
PAPER = {"base": 0.70, "best": 0.74, "coevolution": 0.72, "ensemble": 0.75}
TOLD = {
    "base": "base network (sampled test set)",
    "best": "NE (best model)",
    "coevolution": "NE (co-evolution, best model)",
    "ensemble": "NE (co-evolution, ensemble)",
}
RUNS = ("base", "accuracy", "coevolution")
COLUMNS = ("seed", "network", "test", "validation", "parameters", "models", "tflop", "seconds")
TEST_IMAGES, BASE_UPDATES, BASE_EVERY = 1_000, 10_000, 500


def recipe(spec: str, seed: int) -> Settings:
    return Settings(
        data=spec,
        seed=seed,
        batch_size=64,
        replacement=True,
        normalize="mean_image",
        loss="binary_cross_entropy",
        amsgrad=True,
        lr=3e-3,
        weight_decay=1e-6,
    )


def scaled(updates: int, scale: float) -> int:
    return max(1, round(updates * scale))


def run_base(data: DataSet, settings: Settings, scale: float, folder: Path) -> list[dict[str, Any]]:
    """Train the base network, asking the test images as the paper does."""
    queried = replace(data, validation=data.test)
    settings = replace(
        settings,
        updates=scaled(BASE_UPDATES, scale),
        evaluate_every=scaled(BASE_EVERY, scale),
    )
    begun = (folder / "settings.toml").exists()
    graph = None if begun else network("r2r_base", data)
    result = train(graph, settings, folder, resume=begun, tensorboard=False, data=queried)
    return [
        {
            "network": "base",
            "test": result["best"]["validation_accuracy"],
            "validation": "",
            "parameters": result["params"],
            "models": 1,
            "tflop": round(result["flops"] / 1e12, 2),
            "seconds": round(result["seconds"]),
        }
    ]


def run_search(
    data: DataSet, settings: Settings, scale: float, folder: Path, select: str
) -> list[dict[str, Any]]:
    """A neuroevolution; a row for its best model, and with co-evolution one for the ensemble."""
    updates, coevolution = scaled(5_000, scale), select == "coevolution"
    evolution = Evolution(
        iterations=15,
        first_updates=updates,
        updates=updates,
        population=10,
        keep=3,
        select=select,
        widths=(1.0,),
        scale_weight_decay=True,
        ensemble=coevolution,
    )
    begun = (folder / "settings.toml").exists()
    graph = None if begun else network("r2r_figure9", data)
    result = neuroevolution(
        graph, settings, evolution, folder, resume=begun, tensorboard=False, data=data
    )
    spent = {
        "models": result["models"],
        "tflop": round(result["flops"] / 1e12, 2),
        "seconds": round(result["seconds"]),
    }
    rows = [
        {
            "network": "coevolution" if coevolution else "best",
            "test": result["best"]["test_accuracy"],
            "validation": result["best"]["validation_accuracy"],
            "parameters": result["best"]["params"],
        }
        | spent
    ]
    if coevolution:
        found = result["ensemble"]
        rows.append(
            {
                "network": "ensemble",
                "test": found["test_accuracy"],
                "validation": found["validation_accuracy"],
                "parameters": found["params"],
                "models": len(found["models"]),
                "tflop": round((result["flops"] + found["flops"]) / 1e12, 2),
                "seconds": round(result["seconds"] + found["seconds"]),
            }
        )
    return rows


def network(name: str, data: DataSet) -> growc.Graph:
    """An example network; they are for images of CIFAR-10's shape, with 10 classes."""
    if data.shape != (3, 32, 32):
        raise SystemExit(f"{data.name} has images of {data.shape}; the networks take 3x32x32")
    return growc.load(EXAMPLES / f"{name}.arch", {"classes": len(data.classes)})


def read(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []


def append(file: Path, rows: list[dict[str, Any]]) -> None:
    new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def table(file: Path, spec: str, scale: float, ran_at: str | None) -> None:
    """The table beside the CSV."""
    rows = read(file)
    lines = [
        f"R2R table 1 on {spec.partition(':')[0]}, {scale:g} of the paper's updates:",
        f"accuracy on the first {TEST_IMAGES:,} test images",
        "",
        f"{'':<33}{'paper':>6}{'ours':>7}{'each':>23}{'validation':>12}{'parameters':>12}"
        f"{'TFLOP':>9}{'seconds':>9}",
    ]
    for name, paper in PAPER.items():
        mine = [r for r in rows if r["network"] == name]
        if not mine:
            continue

        def mean(column: str, of: list[dict[str, str]] = mine) -> float:
            return statistics.fmean(float(r[column]) for r in of)

        each = ", ".join(f"{float(r['test']):.3f}" for r in mine)
        validation = f"{mean('validation'):.3f}" if mine[0]["validation"] else "–"
        lines.append(
            f"{TOLD[name]:<33}{paper:>6.2f}{mean('test'):>7.3f}{each:>23}{validation:>12}"
            f"{mean('parameters'):>12,.0f}{mean('tflop'):>9.1f}{mean('seconds'):>9,.0f}"
        )
    lines += [
        "",
        f"An accuracy of 0.7 on {TEST_IMAGES:,} images has a standard error of 0.014.",
        "TFLOP and seconds: of the whole search, the ensemble's head included; runs shared the",
        "machine.",
        "",
        *circumstances(ran_at),
        f"threads: {torch.get_num_threads()}",
        "",
    ]
    file.with_suffix(".txt").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="as growc train takes it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the paper's updates")
    parser.add_argument("--threads", type=int, help="PyTorch's threads")
    parser.add_argument("--draw", action="store_true", help="only the table, from the CSV")
    parser.add_argument("--ran-at", metavar="COMMIT", help="of results that were made elsewhere")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    name = f"neuroevolution_table1_{given.data.partition(':')[0]}"
    if given.scale != 1:
        name += f"_scale{given.scale:g}"
    file = RESULTS / f"{name}.csv"
    RESULTS.mkdir(exist_ok=True)
    rows_of = {"base": "base", "accuracy": "best", "coevolution": "coevolution"}
    for seed in [] if given.draw else given.seeds:
        settings = recipe(given.data, seed)
        data = open_data(given.data, seed=seed)
        data = replace(data, test=data.test.part(range(min(TEST_IMAGES, len(data.test)))))
        for kind in given.runs:
            done = [(r["seed"], r["network"]) for r in read(file)]
            if (str(seed), rows_of[kind]) in done:
                continue
            folder = UNFINISHED / f"{name}_seed{seed}_{kind}"
            if kind == "base":
                rows = run_base(data, settings, given.scale, folder)
            else:
                rows = run_search(data, settings, given.scale, folder, kind)
            append(file, [{"seed": seed, **row} for row in rows])
            models = json.dumps([(r["network"], r["test"]) for r in rows])
            print(f"seed {seed}, {kind}: {models}", flush=True)
            shutil.rmtree(folder)
        table(file, given.data, given.scale, given.ran_at)
    table(file, given.data, given.scale, given.ran_at)
    print(file.with_suffix(".txt").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
