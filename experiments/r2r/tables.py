"""Results as text, with the paper's numbers beside ours."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.common import circumstances

from .figures import Figure
from .training import read

Rows = list[dict[str, str]]


class Point(NamedTuple):
    """One evaluation, over the seeds."""

    update: int
    tera: float
    """10¹² floating point operations so far."""
    low: float
    mean: float
    high: float


def curve(rows: Rows, arm: str, column: str = "accuracy") -> list[Point]:
    """The arm's evaluations that all its seeds have."""
    mine = [r for r in rows if r["arm"] == arm and r[column]]
    seeds = {r["seed"] for r in mine}
    points = []
    for update in sorted({int(r["update"]) for r in mine}):
        here = [r for r in mine if int(r["update"]) == update]
        if {r["seed"] for r in here} == seeds:
            values = [float(r[column]) for r in here]
            tera = statistics.fmean(float(r["flops"]) for r in here) / 1e12
            points.append(Point(update, tera, min(values), statistics.fmean(values), max(values)))
    return points


def kept_circumstances(out: Path, trained: bool) -> list[str]:
    """Those that a table was written with, unless it is trained anew."""
    old = out.read_text(encoding="utf-8") if out.exists() and not trained else ""
    start = old.find("machine: ")
    return old[start:].splitlines() if start >= 0 else []


def write(figure: Figure, file: Path, growth: str, ran_at: str | None, trained: bool) -> None:
    """The table beside a CSV. Where nothing was trained now, the old one's circumstances stay."""
    rows, out = read(file), file.with_suffix(".txt")
    table = _students if figure.teacher_updates else _during
    lines = table(figure, rows, growth)
    where = kept_circumstances(out, trained)
    if not where:
        where = [*circumstances(), f"threads: {torch.get_num_threads()}"]
    if ran_at:
        where = [f"commit:  {ran_at}" if x.startswith("commit:") else x for x in where]
    out.write_text("\n".join([*lines, "", *where, ""]), encoding="utf-8")


TIME = (
    "cpu s: processor time of growth and training; as runs shared the machine, one thread each, it",
    "is the fair one. 1,000 images: an accuracy of 0.8 has a standard error of 0.013.",
)


def _during(figure: Figure, rows: Rows, growth: str) -> list[str]:
    """Figures 5 and 7."""
    end = max(int(r["update"]) for r in rows)
    last = end - end // 6
    lines = [
        f"R2R figure {figure.number}: `{growth}` on {figure.teacher}, {end} updates of 32,",
        "CIFAR-10, accuracy on the first 1,000 test images",
        "",
        f"{'growth at':>10}{'seeds':>7}{'accuracy':>10}{'each':>24}{'last sixth':>12}"
        f"{'cpu s':>7}{'seconds':>9}{'TFLOP':>7}{'parameters':>12}",
    ]
    means, lasts, spans, cpu = [], [], [], {}
    for arm in figure.arms:
        ends = [r for r in rows if r["arm"] == arm and int(r["update"]) == end]
        if not ends:
            continue
        scores = [float(r["accuracy"]) for r in ends]
        means.append(statistics.fmean(scores))
        lasts.append(statistics.fmean(p.mean for p in curve(rows, arm) if p.update > last))
        spans.append(max(scores) - min(scores))
        cpu[arm] = statistics.fmean(float(r["cpu_seconds"]) for r in ends)
        each = ", ".join(f"{s:.3f}" for s in scores)
        lines.append(
            f"{int(arm) * end // figure.updates:>10}{len(ends):>7}{means[-1]:>10.3f}{each:>24}"
            f"{lasts[-1]:>12.3f}{cpu[arm]:>7.0f}{_mean(ends, 'seconds'):>9.0f}"
            f"{_mean(ends, 'flops') / 1e12:>7.1f}{int(ends[0]['parameters']):>12,}"
        )
    fastest, slowest = figure.arms[-1], figure.arms[0]
    span = f"{min(means):.2f} to {max(means):.2f}"
    paper = {5: (136, 180), 7: (142, 180)}[figure.number]
    lines += [
        "",
        f"{'':44}{'ours':>12}{'the paper':>16}",
        f"{'accuracy at the end':44}{span:>12}{'about 0.70':>16}",
        f"{'most that two arms are apart at the end':44}{max(means) - min(means):>12.3f}"
        f"{'(aim: 0.02)':>16}",
        f"{'  in the mean of the last sixth':44}{max(lasts) - min(lasts):>12.3f}",
        f"{'most that two seeds of an arm are apart':44}{max(spans):>12.3f}",
    ]
    if fastest in cpu and slowest in cpu:
        ours = cpu[fastest] / cpu[slowest]
        seconds = f"{paper[0]} / {paper[1]} s"
        lines += [
            f"{f'time, growth at {fastest} / at 0 (cpu s)':44}{ours:>12.2f}"
            f"{paper[0] / paper[1]:>16.2f}  ({seconds})"
        ]
    lines += ["", *TIME]
    if growth == "r2deeper":
        lines += [
            "`r2deeper` as it comes adds an R2R block after each of the two residual blocks; the",
            "paper's step adds the base network's third block, as r2r_figure7.txt has it.",
        ]
    return lines


NAMES = {
    "teacher": "teacher",
    "r2r": "student by R2R",
    "random": "random padding",
    "scratch": "from scratch",
}
CLOSE = 0.01


def _students(figure: Figure, rows: Rows, growth: str) -> list[str]:
    """Figures 6 and 8."""
    teacher = curve(rows, "teacher")
    if not teacher:
        return [f"R2R figure {figure.number}: no teacher yet"]
    aim = teacher[-1].mean
    end = max((int(r["update"]) for r in rows if r["arm"] != "teacher"), default=0)
    marks = [end * k // 7 for k in (0, 1, 3, 5, 7)]
    lines = [
        f"R2R figure {figure.number}: {figure.teacher} trained for {teacher[-1].update} updates of "
        "32, CIFAR-10; then",
        f"`{growth}`, `{figure.random}`, and the base network from scratch, {end} updates each;",
        "accuracy on the first 1,000 test images (test), on 1,000 of the training images (train)",
        "",
        f"{'':>16}{'seeds':>6}{'train':>8}{'test':>7}  test after"
        + "".join(f"{m:>7}" for m in marks)
        + f"{'teacher at':>12}{'converged':>11}{'cpu s':>7}",
    ]
    for arm in figure.arms:
        points, training = curve(rows, arm), curve(rows, arm, "train_accuracy")
        if not points:
            continue
        ends = [r for r in rows if r["arm"] == arm and int(r["update"]) == points[-1].update]
        line = f"{NAMES[arm]:>16}{len(ends):>6}{training[-1].mean:>8.3f}{points[-1].mean:>7.3f}"
        if arm != "teacher":
            at = {p.update: p.mean for p in points}
            line += " " * 12 + "".join(f"{at[m]:>7.3f}" if m in at else f"{'':7}" for m in marks)
            reached = next((p.update for p in points if p.update and p.mean >= aim), None)
            line += f"{'never' if reached is None else reached:>12}{_converged(points):>11}"
        else:
            line += " " * (12 + 7 * len(marks) + 12 + 11)
        lines.append(f"{line}{_mean(ends, 'cpu_seconds'):>7.0f}")
    says = {
        6: (
            "The paper: R2WiderR converges at about 3,000 updates; from scratch has only just",
            "reached the teacher's accuracy at 7,000.",
        ),
        8: (
            "The paper: similar to figure 6; little difference between two and three layers, so",
            "students keep a constant accuracy.",
        ),
    }
    lines += [
        "",
        "teacher at: the first evaluation after update 0 that is no worse than the teacher's end.",
        f"converged: the first no more than {CLOSE} below the mean of the last seventh.",
        *says[figure.number],
        "Students have the teacher's optimizer, rate and weight decay multiplied by |θ₁|/|θ₂|;",
        "from scratch has the full rate, 3e-3. After 0 updates: right after growth.",
        *TIME,
    ]
    if figure.number == 8:
        lines += [
            "The step adds the base network's third block (r2r/third_block.py), so that all three",
            "have its layers; with random padding, the block's weights are all drawn by He's rule.",
        ]
    return lines


def _converged(points: list[Point]) -> int:
    end = points[-1].update
    final = statistics.fmean(p.mean for p in points if p.update > end - end // 7)
    return next(p.update for p in points if p.mean >= final - CLOSE)


def _mean(rows: Rows, column: str) -> float:
    return statistics.fmean(float(r[column]) for r in rows)
