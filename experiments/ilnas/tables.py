"""Rows of the ILNAS paper's Tables 1, 2 and 3, and of its section 5.2.

    python -m experiments.ilnas.tables cifar10_0.5M --data cifar10:cifar-10-batches-bin
    python -m experiments.ilnas.tables mnist_fashion_20_small --data mnist:A --data fashion_mnist:B

``--data`` names the folders of the data sets that a row needs: CIFAR-10, MNIST, Fashion-MNIST and
STL-10 as their authors publish them, ImageNet as ``folder:DIR`` with train/CLASS and val/CLASS. A
row that goes on with another one's network runs that first. ``--scale`` multiplies the epochs, and
``--size`` the parameters: 1 and 1 are the paper's, for a GPU.

The recipe, where the paper says none: SGD with momentum 0.9, rate 0.1 falling by a cosine after
five per cent of warm-up, weight decay 5e-4, a fiftieth of the training images held out (of CIFAR
1,000); an expansion an epoch, gradients of four batches, no new layers.

Writes ``results/ilnas_tables.csv``, a row for each run, and a table beside it. What was begun goes
on where it was; networks stay in ``unfinished/``.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import circumstances
from growc import Graph, load
from growc.ir.ops import Add
from growc.ir.parts import shared_size
from growc.search.ilnas import Ilnas, start_for
from growc.train import Settings, train
from growc.train.runs import largest, sets_of

from .recipes import RECIPES, Recipe

HERE = Path(__file__).resolve().parent.parent
RESULTS, UNFINISHED = HERE / "results", HERE / "unfinished"
FILE = RESULTS / "ilnas_tables.csv"
FEWEST = 5
"""There are at least so many times between expansions."""
COLUMNS = (
    *("row", "seed", "scale", "size", "epochs", "parameters", "shared"),
    *("before_training", "held_out", "test", "each", "paper", "teraflops", "seconds"),
)


class Runs:
    """Runs rows with the same data, scale and seed."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.where = {name: where for name, _, where in (s.partition(":") for s in given.data)}
        self.scale, self.size, self.seed = given.scale, given.size, given.seed
        self.device = given.device

    def folder(self, name: str) -> Path:
        return UNFINISHED / f"ilnas_{name}_scale{self.scale:g}_size{self.size:g}_seed{self.seed}"

    def run(self, name: str) -> None:
        """Run a row, after those that it needs, and keep its result."""
        recipe, folder = RECIPES[name], self.folder(name)
        if recipe.after is not None:
            self.run(recipe.after)
        known = {"row": name, "seed": self.seed, "scale": self.scale, "size": self.size}
        if any(all(row[k] == str(v) for k, v in known.items()) for row in _rows()):
            return
        sets = sets_of(self._settings(recipe))
        epochs = recipe.epochs * self.scale
        epoch = -(-largest(sets) // recipe.batch)
        updates = max(FEWEST, round(epoch * epochs))
        params = round(recipe.params * self.size)
        every = min(round(epoch * recipe.every), updates // FEWEST)
        until = round(updates * (1 - recipe.frozen))
        search = Ilnas(max_params=params, shared=recipe.shared, batches=4)
        settings = self._settings(
            recipe,
            updates=updates,
            evaluate_every=min(epoch, updates),
            warmup=updates // 20,
            grow=f"every {every} until {until}: {search}",
            scale_lr=False,
        )
        graph = self._start(recipe, sets, params)
        result = train(
            graph,
            settings,
            folder,
            resume=(folder / "settings.toml").exists(),
            device=self.device,
            tensorboard=False,
            data=sets,
        )
        last = result["last"]
        each = [v for k, v in last.items() if k.startswith("test_accuracy_")]
        found = load(folder / "last.arch")
        metrics = list(csv.DictReader((folder / "metrics.csv").open()))
        row = {
            **known,
            "epochs": f"{epochs:g}",
            "parameters": result["params"],
            "shared": round(shared_size(found) / result["params"], 4) if len(sets) > 1 else "",
            "before_training": round(float(metrics[0]["accuracy"]), 4) if recipe.after else "",
            "held_out": round(last["validation_accuracy"], 4),
            "test": round(last["test_accuracy"], 4),
            "each": " ".join(f"{x:.4f}" for x in each),
            "paper": recipe.paper,
            "teraflops": round(result["flops"] / 1e12, 1),
            "seconds": round(result["seconds"]),
        }
        _append(row)
        print(json.dumps(row), flush=True)

    def _settings(self, recipe: Recipe, **more: Any) -> Settings:
        return Settings(
            data=" + ".join(map(self._spec, recipe.data)),
            crop=recipe.crop,
            flip=recipe.flip,
            batch_size=recipe.batch,
            optimizer="sgd",
            momentum=0.9,
            weight_decay=5e-4,
            lr=0.1,
            lr_schedule="cosine",
            seed=self.seed,
            **more,
        )

    def _spec(self, data: str) -> str:
        name, mark, options = data.partition("?")
        if not self.where.get(name):
            raise SystemExit(f"this row needs --data {name}:DIR")
        return f"{name}:{self.where[name]}{mark}{options}"

    def _start(self, recipe: Recipe, sets: Any, params: int) -> Graph:
        if recipe.after is not None:
            graph = load(self.folder(recipe.after) / "last.arch")
            earlier = sets_of(self._settings(RECIPES[recipe.after]))
            return aligned(graph, earlier[0].classes, sets[0].classes)
        return start_for(sets, params // 3, self.seed, recipe.shared or 0.0)


SAME = {"automobile": "car"}
"""What one data set calls otherwise than another."""


def aligned(graph: Graph, before: tuple[str, ...], after: tuple[str, ...]) -> Graph:
    """The network with the outputs of classes that both data sets have in the order of ``after``;
    the other classes take the outputs that are left."""
    old, new = ([SAME.get(name, name) for name in names] for names in (before, after))
    left = [i for i, name in enumerate(old) if name not in new]
    if len(left) == len(old):
        return graph
    order = [old.index(name) if name in old else left.pop(0) for name in new]
    made = graph.copy()
    heads = [*graph.outputs.values()]
    while heads:
        node = graph.node(heads.pop())
        if isinstance(node.op, Add):  # connections from elsewhere are added
            heads += node.operands
        for key, _ in graph.params_of(node.name):
            mask = graph.weights.masks.get(key)
            made.weights.put(key, graph.weights[key][order], None if mask is None else mask[order])
    return made


def _rows() -> list[dict[str, str]]:
    """The runs that there are."""
    return list(csv.DictReader(FILE.read_text().splitlines())) if FILE.exists() else []


def _append(row: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    new = not FILE.exists()
    with FILE.open("a", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def table(ran_at: str | None) -> str:
    """Every run, in the order of the recipes."""
    rows = _rows()
    heading = (
        f"{'row':<24}{'seed':>5}{'epochs':>7}{'parameters':>12}{'shared':>8}{'before':>8}"
        f"{'held out':>10}{'test':>8}  {'each':<16}{'10^12 ops':>10}  paper"
    )
    lines = ["Rows of the ILNAS paper's tables (accuracies of the last model)", "", heading]
    for row in sorted(rows, key=lambda r: (list(RECIPES).index(r["row"]), r["scale"], r["seed"])):
        shared = f"{float(row['shared']):.1%}" if row["shared"] else ""
        lines.append(
            f"{row['row']:<24}{row['seed']:>5}{row['epochs']:>7}{int(row['parameters']):>12,}"
            f"{shared:>8}{row['before_training']:>8}{row['held_out']:>10}{row['test']:>8}  "
            f"{row['each']:<16}{row['teraflops']:>10}  {row['paper']}"
        )
    lines += [
        "",
        "before: held-out accuracy before any training on this data (transfer).",
        "The paper's accuracies are of its sizes and epochs; see experiments/ilnas/recipes.py.",
        "10^12 ops: floating point operations of the updates; what a mask leaves out is computed,",
        "too.",
        "",
    ]
    threads = f"threads: {torch.get_num_threads()}"
    return "\n".join([*lines, *circumstances(ran_at), threads, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="as below")
    parser.add_argument("--data", action="append", default=[], help="NAME:DIR, for each data set")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the epochs")
    parser.add_argument("--size", type=float, default=1.0, help="multiplies the parameters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--ran-at", metavar="COMMIT", help="of results that were made elsewhere")
    parser.epilog = "rows: " + ", ".join(RECIPES)
    given = parser.parse_args()
    for name in given.rows:
        if name not in RECIPES:
            parser.error(f"no row is called {name}")
    runs = Runs(given)
    for name in given.rows:
        runs.run(name)
    if FILE.exists():
        FILE.with_suffix(".txt").write_text(table(given.ran_at), encoding="utf-8")
        print(FILE.with_suffix(".txt").read_text())


if __name__ == "__main__":
    main()
