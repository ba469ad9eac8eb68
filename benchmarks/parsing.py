"""Parsing and elaborating 20,000 lines. Target: 3 seconds on a 2-core machine.

Python's own compiler on as many lines of the like gives the measure of the machine.
"""

from __future__ import annotations

import growc

from .common import alternate, ratio, report

LINES = 20_000


def arch_text() -> str:
    """A net of LINES statements, as `growc compile` writes them."""
    body = []
    for i in range(LINES):
        if i % 4 == 3:
            body.append(f"    x{i + 1} = x{i} + x{i - 2}")
        elif i % 4 == 2:
            body.append(f"    x{i + 1} = x{i} -> relu")
        else:
            body.append(f"    x{i + 1} = x{i} -> conv2d(8, kernel=[3, 5], bias=false)")
    lines = ["net long {", "    input x0: f32[8, 8, 8]", *body, f"    output y = x{LINES}", "}"]
    return "\n".join(lines)


def python_text() -> str:
    return "\n".join(f"x{i + 1} = conv2d(x{i}, 8, kernel=[3, 5], bias=False)" for i in range(LINES))


def main() -> None:
    ours, python = arch_text(), python_text()
    times = alternate(
        lambda: growc.loads(ours), lambda: compile(python, "x", "exec"), rounds=7, warm_up=1
    )
    low, middle, high = ratio(times)
    medians = [sorted(t)[len(t) // 2] for t in times]
    report(
        "parsing",
        [
            f"{LINES:,} lines of .arch, parsed and elaborated to a graph, 7 rounds",
            f"growc.loads                  {medians[0]:6.2f} s (median); target ≤ 3 s",
            f"Python's compile(), as long  {medians[1]:6.2f} s (median)",
            f"ratio                        {middle:6.1f} (quartiles {low:.1f} to {high:.1f})",
        ],
    )


if __name__ == "__main__":
    main()
