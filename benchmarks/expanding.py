"""What an expansion of ILNAS costs in training steps, and a masked step beside a dense one.

    python -m benchmarks.expanding

Networks of the template on 3×32×32 images, batch 128. An expansion is all of it: the scaffold and
its lowering, both gradients on one batch, the choice, the passes with their proof, the model and
its optimizer rebuilt. The masked step is of a network with two in five kernels missing, the dense
one of the same network without masks. Sides take turns, see benchmarks/common.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

from growc.train.machine import settle_in

settle_in()

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import growc  # noqa: E402
from benchmarks.common import alternate, ratio, report  # noqa: E402
from growc.search.ilnas import Ilnas, baseline  # noqa: E402
from growc.train.growing import grow_step  # noqa: E402
from growc.train.searching import Look  # noqa: E402

BATCH = 128
SIZES = (50_000, 200_000, 800_000)
ROUNDS = 15


def stepping(graph: growc.Graph, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], None]:
    """A training step of a network."""
    model = growc.to_torch(graph)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    images, labels = batch

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def expanding(
    graph: growc.Graph, batch: tuple[torch.Tensor, torch.Tensor], granularity: str
) -> Callable[[], None]:
    """An expansion by a twentieth of the network."""
    model = growc.to_torch(graph)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    search = Ilnas(max_params=2 * graph.parameter_count(), arch_lr=0.05, granularity=granularity)
    look = Look(
        graph=growc.graph_of(model),
        index=0,
        left=1,
        seed=0,
        rate=0.01,
        batches=lambda n: [((batch[0],), (batch[1],))] * n,
        loss_of=F.cross_entropy,
        total=lambda numbers: numbers,
        processes=1,
        device=torch.device("cpu"),
    )

    def expand() -> None:
        choice = search.choose(replace(look, graph=growc.graph_of(model)))
        growth = grow_step(model, optimizer, choice.passes, scale_lr=False, together=True)
        assert growth.compiled.whole is not None

    return expand


def main() -> None:
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)  # as in a run
    batch = images, torch.randint(0, 10, (BATCH,))
    lines = [
        f"an expansion by 5 % in training steps, batch {BATCH}, medians of {ROUNDS} (quartiles)",
        f"{'parameters':>12}{'by':>9}{'expansion':>12}{'step':>9}   ratio",
    ]
    for size in SIZES:
        graph = baseline((3, 32, 32), 10, size, 1)
        for granularity in ("kernel", "weight"):
            sides = expanding(graph, batch, granularity), stepping(graph, batch)
            times = alternate(*sides, rounds=ROUNDS)
            low, middle, high = ratio(times)
            grow, step = (1e3 * statistics.median(t) for t in times)
            lines.append(
                f"{graph.parameter_count():>12,}{granularity:>9}{grow:>9.0f} ms{step:>6.0f} ms"
                f"   {middle:.2f} ({low:.2f} to {high:.2f})"
            )
    lines += ["", "a masked training step, divided by a dense one of the same shapes"]
    for size in SIZES:
        masked = baseline((3, 32, 32), 10, size, 1)
        dense = masked.copy()
        dense.weights.masks.clear()
        low, middle, high = ratio(
            alternate(stepping(masked, batch), stepping(dense, batch), rounds=2 * ROUNDS)
        )
        lines.append(
            f"{masked.parameter_count():>12,}{'':>30}   {middle:.3f} ({low:.3f} to {high:.3f})"
        )
    report("expanding", lines)


if __name__ == "__main__":
    main()
