"""Each pass on every block of a 10,000-node network, against copying that graph. Target: ≤ 3."""

from __future__ import annotations

import gc
import statistics

import growc
from growc.ir import Graph, TensorType
from growc.ir.ops import Add, BatchNorm, Conv2d, Relu

from .common import alternate, report

NODES = 10_000


def chain_of_blocks() -> Graph:
    """x + BN(conv(relu(BN(conv(x))))), again and again."""
    graph = Graph("long")
    at = graph.add_input("image", TensorType((4, 4, 4)))
    while len(graph) < NODES:
        scope = f"block{len(graph)}"
        x = at
        for i, op in enumerate((Conv2d(4), BatchNorm(), Relu(), Conv2d(4), BatchNorm())):
            x = graph.add(op, (x,), f"{scope}.{op.name}{i}")
        at = graph.add(Add(), (at, x), f"{scope}.add")
    graph.set_output("y", at)
    growc.initialize(graph)
    return graph


def main() -> None:
    graph = chain_of_blocks()
    lines = [f"a network of {len(graph):,} nodes, 9 rounds"]
    for text in ("r2wider", "r2wider{variant=concat}", "r2deeper"):
        (applied,) = growc.parse_pipeline(text)
        blocks = len(applied(graph).places)
        gc.collect()
        times = alternate(lambda p=applied: p(graph), graph.copy, rounds=9)  # type: ignore[misc]
        ratios = [a / b for a, b in zip(*times, strict=True)]
        medians = [statistics.median(t) for t in times]
        lines.append(
            f"{text:<24} on {blocks:,} blocks {medians[0]:6.3f} s, copy {medians[1]:6.3f} s, "
            f"ratio {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    report("widening", lines)


if __name__ == "__main__":
    main()
