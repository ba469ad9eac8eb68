"""Is it worth carrying the optimizer over a growth step, instead of making a new one?

    python -m experiments.carry_over --data cifar-10-batches-bin

The R2R wide teacher is trained for 1,500 updates (r2r/training.py has the recipe) and widened, by
concatenated filters or by R2R blocks in parallel. Then 200 updates on the same batches: with the
optimizer carried over, with a new Adam at the same rate and weight decay, both multiplied by
|θ₁|/|θ₂|; and of the teacher itself, not grown. Writes the loss, in means of ten updates, to
``results/carry_over.csv``, with a table and a picture. What is there already is not run again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from matplotlib import pyplot as plt

from benchmarks.common import circumstances
from experiments.r2r import drawing
from experiments.r2r.figures import scaled
from experiments.r2r.tables import Point, Rows, kept_circumstances
from experiments.r2r.training import (
    RESULTS,
    UNFINISHED,
    Data,
    Run,
    adam,
    append,
    load,
    read,
    train,
)

BEFORE, AFTER, WINDOW = 1500, 200, 10
GROWTHS = ("r2wider{variant=concat}", "r2wider")
ARMS = [("none", "not grown"), *((g, a) for g in GROWTHS for a in ("carried", "recreated"))]


def run_arm(data: Data, seed: int, growth: str, arm: str, before: int, name: str) -> Rows:
    """The loss after growth: a row for every ten updates."""
    teacher = UNFINISHED / f"{name}_seed{seed}.pt"
    train(
        lambda: Run.fresh("r2r_wide_teacher", seed, "teacher"),
        data,
        keep_as=teacher.stem,
        updates=before,
        every=max(1, before // 3),
    )
    run = load(teacher)
    if growth != "none":
        run.grow(growth)
    if arm == "recreated":
        (group,) = run.optimizer.param_groups
        run.optimizer = adam(run.model, group["lr"], group["weight_decay"])
    batches = data.batches(seed)
    for update in range(AFTER):
        run.step(batches, before + update)
    losses = run.losses[before:]
    return [
        {
            "seed": str(seed),
            "growth": growth,
            "arm": arm,
            "update": str(end),
            "loss": f"{statistics.fmean(losses[end - WINDOW : end]):.5f}",
        }
        for end in range(WINDOW, AFTER + 1, WINDOW)
    ]


def curve(rows: Rows, growth: str, arm: str) -> list[Point]:
    points = []
    for update in range(WINDOW, AFTER + 1, WINDOW):
        losses = [
            float(r["loss"])
            for r in rows
            if (r["growth"], r["arm"], r["update"]) == (growth, arm, str(update))
        ]
        if losses:
            points.append(Point(update, 0, min(losses), statistics.fmean(losses), max(losses)))
    return points


def write(file: Path, before: int, trained: bool) -> None:
    rows, out = read(file), file.with_suffix(".txt")
    curves = [curve(rows, *arm) for arm in ARMS]
    seeds = len({r["seed"] for r in rows})
    lines = [
        f"R2R wide teacher, {before} updates on CIFAR-10, then grown; the loss of the next {AFTER}",
        f"updates, in means of {WINDOW} and over {seeds} seeds. carried: growc.grow. recreated: a "
        "new Adam.",
        "Both with rate and weight decay multiplied by |θ₁|/|θ₂|, on the same batches.",
        "",
        f"{'':>8}{'':>12}{GROWTHS[0]:>26}{GROWTHS[1]:>26}",
        f"{'updates':>8}{'not grown':>12}" + f"{'carried':>14}{'recreated':>12}" * 2,
    ]
    for points in zip(*curves, strict=False):
        none, *others = (f"{p.mean:.4f}" for p in points)
        lines.append(
            f"{points[0].update:>8}{none:>12}"
            + "".join(f"{x:>{14 - 2 * (i % 2)}}" for i, x in enumerate(others))
        )
    whole = [f"{statistics.fmean(p.mean for p in c):.4f}" if c else "" for c in curves]
    lines += [
        f"{'all':>8}{whole[0]:>12}"
        + "".join(f"{x:>{14 - 2 * (i % 2)}}" for i, x in enumerate(whole[1:]))
    ]
    where = kept_circumstances(out, trained) or circumstances()
    out.write_text("\n".join([*lines, "", *where, ""]), encoding="utf-8")


def draw(file: Path, before: int) -> None:
    rows = read(file)
    picture, both = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    for axes, growth in zip(both, GROWTHS, strict=True):
        for key, arm, colour in (
            ("none", "not grown", drawing.GREY),
            (growth, "recreated", drawing.RED),
            (growth, "carried", drawing.BLUE),
        ):
            points = curve(rows, key, arm)
            drawing.band(axes, [float(p.update) for p in points], points, colour, arm)
        axes.set_title(growth, fontsize=10)
        drawing.tidy(axes, "updates after growth", "training loss" if axes is both[0] else "")
    both[1].legend(loc="upper right", frameon=False)
    seeds = len({r["seed"] for r in rows})
    picture.suptitle(
        f"The optimizer carried over, or a new one, after {before} updates ({seeds} seeds)",
        fontsize=11,
    )
    drawing.save(picture, file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", help="folder of data_batch_1.bin, …")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the 1,500 updates")
    parser.add_argument("--threads", type=int, help="PyTorch's threads")
    parser.add_argument("--draw", action="store_true", help="only table and picture, from the CSV")
    given = parser.parse_args()
    before = scaled(BEFORE, given.scale)
    file = RESULTS / f"carry_over{'' if given.scale == 1 else f'_scale{given.scale:g}'}.csv"
    if given.draw:
        write(file, before, trained=False)
        draw(file, before)
        return
    if given.data is None:
        parser.error("--data is needed to train")
    if given.threads:
        torch.set_num_threads(given.threads)
    data = Data(given.data)
    for seed in range(given.seeds):
        for growth, arm in ARMS:
            done = {(r["seed"], r["growth"], r["arm"]) for r in read(file)}
            if (str(seed), growth, arm) not in done:
                append(file, run_arm(data, seed, growth, arm, before, file.stem))
                write(file, before, trained=True)
                print(f"seed {seed}, {growth}, {arm}", flush=True)
        (UNFINISHED / f"{file.stem}_seed{seed}.pt").unlink(missing_ok=True)
    draw(file, before)


if __name__ == "__main__":
    main()
