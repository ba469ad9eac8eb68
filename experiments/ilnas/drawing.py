"""The curves of figure 5 as a picture."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from ..r2r.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, save, tidy

COLOURS = {"ilnas": BLUE, "random": ORANGE, "fixed": GREY, "few": PURPLE, "many": GREEN}
TOLD = {
    "ilnas": "ILNAS, an expansion an epoch",
    "random": "random additions",
    "fixed": "fixed network",
    "few": "few large expansions",
    "many": "many small expansions",
}


def draw(rows: list[dict[str, str]], file: Path) -> None:
    """Held-out accuracy and |α| against updates: the mean of the seeds, and from the smallest to
    the largest."""
    picture, both = plt.subplots(2, 1, figsize=(7, 7), layout="constrained")
    for column, axes, what in zip(
        ("held_out", "parameters"), both, ("held-out accuracy", "|α|, parameters"), strict=True
    ):
        for arm, colour in COLOURS.items():
            points = defaultdict(list)
            for row in rows:
                if row["arm"] == arm:
                    points[int(row["update"])].append(float(row[column]))
            if not points:
                continue
            xs = sorted(points)
            low, high = ([f(points[x]) for x in xs] for f in (min, max))
            axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
            means = [statistics.fmean(points[x]) for x in xs]
            axes.plot(xs, means, color=colour, linewidth=1.5, label=TOLD[arm])
        tidy(axes, "updates", what)
    both[1].set_ylim(bottom=0)
    both[0].legend(loc="lower right", frameon=False)
    seeds = len({row["seed"] for row in rows})
    both[0].set_title(
        f"{file.stem.removeprefix('ilnas_figure5_')}: {seeds} seed{'s' * (seeds > 1)}, mean, "
        "smallest to largest",
        fontsize=11,
    )
    save(picture, file)
