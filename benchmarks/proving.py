"""Proving r2wider on every block of a ResNet-50, against running both networks.

Targets: at most 3 s on a 2-core machine and 10 % of the numeric check at 224×224, batch 2; one more
edit at most 0.3 s; memory at most twice the weights; time linear in the parameters.
"""

from __future__ import annotations

import time
import tracemalloc

import growc
from growc.ir import Graph
from growc.proof import Prover, compare

from .common import report

RESNET50 = """
block bottleneck(x, width: int, stride: int = 1) {
    y = x -> conv2d(width, kernel=1, bias=false) -> batch_norm -> relu
    y = y -> conv2d(width, stride=stride, bias=false) -> batch_norm -> relu
    y = y -> conv2d(4 * width, kernel=1, bias=false) -> batch_norm
    if stride != 1 or shape(x)[0] != 4 * width {
        x = x -> conv2d(4 * width, kernel=1, stride=stride, bias=false) -> batch_norm
    }
    return relu(x + y)
}

net resnet50(width: int = 64, blocks: list[int] = [3, 4, 6, 3]) {
    input image: f32[3, 224, 224]
    x = image -> conv2d(width, kernel=7, stride=2, bias=false) -> batch_norm -> relu
    x = x -> max_pool2d(3, stride=2, padding=1)
    repeat stage in 0..len(blocks) {
        repeat i in 0..blocks[stage] {
            stride = 1
            if stage > 0 and i == 0 {
                stride = 2
            }
            x = bottleneck(x, width * 2**stage, stride) as layer[stage + 1][i]
        }
    }
    output logits = x -> global_avg_pool -> flatten -> linear(1000) as fc
}
"""


def pair(width: int, pipeline: str) -> tuple[Graph, Graph]:
    teacher = growc.loads(RESNET50, width=width)
    growc.initialize(teacher)
    return teacher, growc.compile(teacher, pipeline, verify="none")


def seconds(prover: Prover, before: Graph, after: Graph) -> float:
    start = time.perf_counter()
    proof = prover(before, after, search=False)
    taken = time.perf_counter() - start
    assert proof.verdict == "proved", proof
    return taken


def main() -> None:
    lines = []
    teacher, student = pair(64, "r2wider")
    count = student.parameter_count()
    blocks = len([n for n in student if n.name.endswith("r2r.conv2d")])
    lines.append(
        f"ResNet-50 ({teacher.parameter_count():,} parameters), r2wider on {blocks} blocks"
    )
    lines.append(f"→ {count:,} parameters; medians of 5")
    times = sorted(seconds(Prover(), teacher, student) for _ in range(5))
    both = times[2]
    spread = f"({times[0]:.2f} to {times[-1]:.2f})"
    lines.append(f"proof, both modes      {both:6.2f} s {spread}; target ≤ 3 s")

    prover = Prover()
    prover(teacher, student, search=False)
    again = growc.compile(student, "r2deeper{at=layer.3.2}", verify="none")
    edit = seconds(prover, student, again)
    lines.append(f"one more edit          {edit:6.2f} s; target ≤ 0.3 s")

    tracemalloc.start()
    Prover()(teacher, student, search=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lines.append(
        f"memory of a proof      {peak / 2**20:6.0f} MiB, {peak / (4 * count):.2f} of the weights; "
        "target ≤ 2"
    )

    start = time.perf_counter()
    compare(teacher, student, batch=2)
    numeric = time.perf_counter() - start
    lines.append(
        f"numeric check          {numeric:6.2f} s at 224×224, batch 2, both modes and precisions; "
        f"the proof takes {both / numeric:.1%}; target ≤ 10 %"
    )

    lines.append("time against parameters (both modes):")
    for width in (16, 32, 64, 96):
        before, after = pair(width, "r2wider")
        start = time.perf_counter()
        assert Prover()(before, after, search=False).verdict == "proved"
        taken = time.perf_counter() - start
        size = after.parameter_count()
        each = taken / size * 1e9
        lines.append(f"  {size / 1e6:6.1f} M  {taken:6.2f} s  {each:6.1f} ns each")
    report("proving", lines)


if __name__ == "__main__":
    main()
