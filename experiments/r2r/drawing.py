"""Results as pictures, laid out as in the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from .figures import Figure
from .tables import NAMES, Point, Rows, curve
from .training import read

# Okabe and Ito's colours, which the colour-blind can tell apart too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
PURPLE = "#CC79A7"


def draw(figure: Figure, file: Path) -> None:
    """The picture beside a CSV."""
    (_students if figure.teacher_updates else _during)(figure, read(file), file)


def save(picture: Any, file: Path) -> None:
    # Without a date or version, so that the same results give the same file.
    picture.savefig(file.with_suffix(".png"), dpi=110, metadata={"Software": None})
    plt.close(picture)


def tidy(axes: Any, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)


def band(axes: Any, xs: list[float], points: list[Point], colour: str, label: str) -> None:
    """The mean as a line, the smallest and the largest value around it."""
    axes.fill_between(
        xs, [p.low for p in points], [p.high for p in points], color=colour, alpha=0.15, linewidth=0
    )
    axes.plot(xs, [p.mean for p in points], color=colour, linewidth=1.5, label=label)


def _seeds(rows: Rows) -> str:
    n = len({r["seed"] for r in rows})
    return "one seed" if n == 1 else f"mean of {n} seeds, smallest to largest"


def _during(figure: Figure, rows: Rows, file: Path) -> None:
    """Figures 5 and 7: accuracy against updates, and against floating point operations."""
    picture, both = plt.subplots(2, 1, figsize=(7, 7.6), layout="constrained")
    end = max(int(r["update"]) for r in rows)
    for arm, colour in zip(figure.arms, (PURPLE, BLUE, GREEN, RED), strict=True):
        at = int(arm) * end // figure.updates
        points = curve(rows, arm)
        for axes, xs in zip(
            both, ([float(p.update) for p in points], [p.tera for p in points]), strict=True
        ):
            band(axes, xs, points, colour, f"growth at {at}" if at else "growth at 0: from scratch")
            here = [(x, p.mean) for x, p in zip(xs, points, strict=True) if p.update == at]
            for x, y in here:
                axes.plot(x, y, "o", color=colour, markersize=7, markeredgecolor="white")
    for axes, what in zip(both, ("updates", "floating point operations, 10¹²"), strict=True):
        axes.axhline(0.7, color=GREY, linestyle="--", linewidth=1, label="the paper's end, ≈ 0.70")
        axes.set_ylim(0.4, 0.85)
        tidy(axes, what, "test accuracy")
    both[0].legend(loc="lower right", frameon=False)
    step = "wider" if figure.number == 5 else "deeper"
    both[0].set_title(
        f"R2R figure {figure.number}: {step} during training (●: growth)\n{_seeds(rows)}",
        fontsize=11,
    )
    save(picture, file)


def _students(figure: Figure, rows: Rows, file: Path) -> None:
    """Figures 6 and 8: on training images and on test images, against the teacher."""
    picture, both = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharey=True)
    for axes, column, what in zip(
        both, ("train_accuracy", "accuracy"), ("training", "test"), strict=True
    ):
        for arm, colour in (("r2r", GREEN), ("random", RED), ("scratch", PURPLE)):
            points = curve(rows, arm, column)
            band(axes, [float(p.update) for p in points], points, colour, NAMES[arm])
        teacher = curve(rows, "teacher", column)
        if teacher:
            axes.axhline(
                teacher[-1].mean, color=BLUE, linestyle="--", linewidth=1.3, label="teacher"
            )
        axes.set_ylim(0.4, 1)
        axes.set_title(f"1,000 {what} images", fontsize=10)
        tidy(axes, "updates", "accuracy" if axes is both[0] else "")
    both[1].legend(loc="upper left", frameon=False, ncols=2)
    step = "wider" if figure.number == 6 else "deeper"
    picture.suptitle(
        f"R2R figure {figure.number}: {step} after training ({_seeds(rows)})", fontsize=11
    )
    save(picture, file)
