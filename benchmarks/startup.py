"""How long the fast commands take, against starting Python and against importing torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .common import alternate, report

EXAMPLE = Path(__file__).parents[1] / "examples" / "r2r_figure9.arch"


def main() -> None:
    commands = {
        "python -c pass": ["-c", "pass"],
        "growc --help": ["-m", "growc", "--help"],
        "growc check": ["-m", "growc", "check", str(EXAMPLE)],
        "python -c 'import torch'": ["-c", "import torch"],
    }

    def runner(arguments: list[str]) -> object:
        return lambda: subprocess.run(
            [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL
        )

    times = alternate(*map(runner, commands.values()), rounds=9)  # type: ignore[arg-type]
    medians = [sorted(t)[len(t) // 2] for t in times]
    report(
        "startup",
        ["whole processes, 9 rounds, medians, and as multiples of importing torch"]
        + [
            f"{name:<26} {seconds:6.3f} s   {seconds / medians[-1]:5.2f}"
            for name, seconds in zip(commands, medians, strict=True)
        ],
    )


if __name__ == "__main__":
    main()
