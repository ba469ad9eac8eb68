"""What models of a population should share besides parameters: moments, running statistics.

    python -m experiments.neuroevolution.sharing --data cifar10:cifar-10-batches-bin

Neuroevolution from the network of figure 9 by the recipe of ``table1``, models selected by
accuracy, with each of

- ``default``: moments shared, running statistics each model's own;
- ``own_moments``: moments each model's own, as with one optimizer per model;
- ``tied_statistics``: moments shared, running statistics tied where nothing before them differs.

``--scale`` is the share of the paper's updates: 0.02 unless told otherwise, 100 updates for each of
the 16 times. Seeds begin alike: the same first network, batches and, as long as the same models are
selected, mutations.

Writes ``results/neuroevolution_sharing.csv``, a row for each search, and a table beside it. What is
in the file is not run again, and a search that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
from dataclasses import replace

import torch

from benchmarks.common import circumstances
from growc.search.neuroevolution import Evolution, neuroevolution
from growc.train import open_data

from .table1 import RESULTS, TEST_IMAGES, UNFINISHED, network, read, recipe, scaled

ARMS = {
    "default": {},
    "own_moments": {"moments": "own"},
    "tied_statistics": {"statistics": "tied"},
}
FILE = RESULTS / "neuroevolution_sharing.csv"
COLUMNS = ("scale", "seed", "arm", "validation", "test", "train_loss", "parameters", "seconds")


def run(spec: str, seed: int, arm: str, scale: float) -> dict[str, object]:
    """A search; its row."""
    data = open_data(spec, seed=seed)
    data = replace(data, test=data.test.part(range(min(TEST_IMAGES, len(data.test)))))
    updates = scaled(5_000, scale)
    evolution = Evolution(
        first_updates=updates,
        updates=updates,
        widths=(1.0,),
        scale_weight_decay=True,
        **ARMS[arm],  # type: ignore[arg-type]
    )
    folder = UNFINISHED / f"sharing_scale{scale:g}_seed{seed}_{arm}"
    begun = (folder / "settings.toml").exists()
    graph = None if begun else network("r2r_figure9", data)
    settings = recipe(spec, seed)
    result = neuroevolution(
        graph, settings, evolution, folder, resume=begun, tensorboard=False, data=data
    )
    metrics = read(folder / "metrics.csv")
    shutil.rmtree(folder)
    return {
        "scale": scale,
        "seed": seed,
        "arm": arm,
        "validation": result["best"]["validation_accuracy"],
        "test": result["best"]["test_accuracy"],
        "train_loss": round(float(metrics[-1]["train_loss"]), 5),
        "parameters": result["best"]["params"],
        "seconds": round(result["seconds"]),
    }


def table(ran_at: str | None) -> str:
    """The table of the CSV."""
    rows = read(FILE)
    lines = [
        "What models of a population share besides parameters (CIFAR-10, network of figure 9)",
        "",
        f"{'scale':>6} {'':<16}{'seeds':>6}{'validation':>12}{'each':>24}{'test':>8}"
        f"{'train loss':>12}{'seconds':>9}",
    ]
    for scale in sorted({r["scale"] for r in rows}):
        for arm in ARMS:
            mine = [r for r in rows if (r["scale"], r["arm"]) == (scale, arm)]
            if not mine:
                continue
            mean = {
                name: statistics.fmean(float(r[name]) for r in mine)
                for name in ("validation", "test", "train_loss", "seconds")
            }
            each = ", ".join(f"{float(r['validation']):.3f}" for r in mine)
            lines.append(
                f"{scale:>6} {arm:<16}{len(mine):>6}{mean['validation']:>12.3f}{each:>24}"
                f"{mean['test']:>8.3f}{mean['train_loss']:>12.4f}{mean['seconds']:>9.0f}"
            )
    lines += [
        "",
        "validation, test: accuracy of the best model, on 1,000 images (standard error 0.015).",
        "train loss: the mean since the evaluation before, at the end.",
        "",
        *circumstances(ran_at),
        f"threads: {torch.get_num_threads()}",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="as growc train takes it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--scale", type=float, default=0.02, help="share of the paper's updates")
    parser.add_argument("--draw", action="store_true", help="only the table, from the CSV")
    parser.add_argument("--ran-at", metavar="COMMIT", help="of results that were made elsewhere")
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for seed in [] if given.draw else given.seeds:
        for arm in given.arms:
            wanted = (f"{given.scale}", str(seed), arm)
            if any((r["scale"], r["seed"], r["arm"]) == wanted for r in read(FILE)):
                continue
            row = run(given.data, seed, arm, given.scale)
            new = not FILE.exists()
            with FILE.open("a", newline="", encoding="utf-8") as out:
                writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(row)
            print(f"seed {seed}, {arm}: {row['validation']}", flush=True)
    FILE.with_suffix(".txt").write_text(table(given.ran_at), encoding="utf-8")
    print(FILE.with_suffix(".txt").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
