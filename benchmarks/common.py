"""What all benchmarks share: alternating timing, and results with machine and commit."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def alternate(*sides: Callable[[], object], rounds: int, warm_up: int = 2) -> list[list[float]]:
    """Seconds of every side in every round. The sides take turns, and the first one changes from
    round to round, so that drift of the machine's speed meets them alike."""
    for _ in range(warm_up):
        for side in sides:
            side()
    times: list[list[float]] = [[] for _ in sides]
    for round_ in range(rounds):
        order = range(len(sides)) if round_ % 2 == 0 else reversed(range(len(sides)))
        for i in order:
            start = time.perf_counter()
            sides[i]()
            times[i].append(time.perf_counter() - start)
    return times


def ratio(times: list[list[float]]) -> tuple[float, float, float]:
    """Quartiles of the first side's time divided by the second's, round by round."""
    ratios = [a / b for a, b in zip(times[0], times[1], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return low, middle, high


def report(name: str, lines: list[str]) -> None:
    """Print the result and write it to ``benchmarks/results/NAME.txt``, with its circumstances."""
    text = "\n".join([*lines, "", *circumstances(), ""])
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.txt").write_text(text, encoding="utf-8")


def circumstances(ran_at: str | None = None) -> list[str]:
    """What a result depends on: machine, commit (``ran_at`` if it was made elsewhere), date."""
    import torch

    return [
        f"machine: {_processor()}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}",
        f"commit:  {ran_at or _commit()}",
        f"date:    {datetime.now(UTC):%Y-%m-%d}",
    ]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = " with uncommitted changes" if git("status", "--porcelain", "--", "..") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
