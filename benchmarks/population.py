"""What a population costs: memory, evaluation as one graph, joint training, the fused winner.

    python -m benchmarks.population

Ten networks, mutated as in neuroevolution from the net of the R2R paper's Figure 9: R2WiderR or
R2DeeperR with a random window at a random block, as far as τ = 0.9 allows, of a random one of those
that are there. The sides take turns, see benchmarks/common.py. That they are trained is made up:
what models share moves together, all of it at random, and running statistics are random.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

from growc.train.machine import settle_in

settle_in()

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
import torch  # noqa: E402

import growc  # noqa: E402
from benchmarks.common import alternate, ratio, report  # noqa: E402
from growc import Graph, GrowcError  # noqa: E402
from growc.backends.runtime import CPU  # noqa: E402
from growc.search.neuroevolution.merging import merge, share_statistics  # noqa: E402
from growc.search.neuroevolution.mutation import Mutated, draw, parse_mutations  # noqa: E402
from growc.search.neuroevolution.population import Member, Population  # noqa: E402
from growc.search.neuroevolution.settings import R2R_MUTATIONS  # noqa: E402
from growc.train.checkpoint import scaler_of  # noqa: E402
from growc.train.optimization import autocast, loss_of, optimizer_of, set_rate  # noqa: E402
from growc.train.settings import Settings  # noqa: E402
from growc.train.sharing import sharing_modules  # noqa: E402
from growc.train.stepping import to_device, train_step  # noqa: E402

FIGURE_9 = Path(__file__).resolve().parents[1] / "examples" / "r2r_figure9.arch"
MODELS = 10
TAU = 0.9
BATCH = 250
"""That of the search, when it evaluates."""
TRAINING_BATCH = 64
ROUNDS = 15
POPULATIONS = 20
BRANCHES = 4
"""R2R blocks beside the first one in every block of the winner."""


def population(rng: np.random.Generator) -> list[Graph]:
    """The first net and its descendants (R2R algorithm 3), by the search's own mutations; new
    blocks are as wide as what they are added to, as in the code of the R2R paper."""
    models = [growc.load(FIGURE_9)]
    growc.initialize(models[0])
    mutations = parse_mutations(R2R_MUTATIONS)
    while len(models) < MODELS:
        parent = models[rng.integers(len(models))]
        taken = {key for model in models for key in model.parameters()}
        seed = int(rng.integers(2**31))
        drawn = draw(parent, mutations, (1.0,), TAU, rng, seed=seed, verify="none", taken=taken)
        assert isinstance(drawn, Mutated)
        models.append(drawn.graph)
    return models


def trained(models: Sequence[Graph], rng: np.random.Generator) -> list[Graph]:
    """As after joint training: shared arrays stay shared, new ones are no longer zero together,
    and every model has running statistics of its own."""
    moved: dict[int, np.ndarray] = {}
    twins = []
    for model in models:
        twin = model.copy()
        for key, spec in model.parameters().items():
            old = model.weights[key]
            if not spec.trainable:
                twin.weights[key] = rng.uniform(0.5, 1.5, spec.shape).astype(np.float32)
            elif id(old) in moved:
                twin.weights[key] = moved[id(old)]
            else:
                noise = rng.standard_normal(spec.shape) * (0.1 * old.std() + 1e-3)
                moved[id(old)] = twin.weights[key] = (old + noise).astype(np.float32)
        twins.append(twin)
    return twins


def images(count: int) -> torch.Tensor:
    """Random ones, which lie in memory as the batches of a run do."""
    return torch.randn(count, 3, 32, 32).to(memory_format=torch.channels_last)


def memory(models: Sequence[Graph]) -> tuple[int, int]:
    """Bytes of the distinct arrays, running statistics included, and of all as separate nets."""
    arrays = [m.weights[key] for m in models for key in m.parameters()]
    distinct = {id(a): a.nbytes for a in arrays}
    return sum(distinct.values()), sum(a.nbytes for a in arrays)


def evaluating(graphs: Sequence[Graph], x: torch.Tensor) -> Callable[[], list[torch.Tensor]]:
    modules = [growc.to_torch(graph).eval() for graph in graphs]

    def evaluate() -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        with torch.inference_mode():
            for module in modules:
                result = module(x)
                found += result.values() if isinstance(result, dict) else [result]
        return found

    return evaluate


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compared(name: str, models: Sequence[Graph], x: torch.Tensor, **options: bool) -> list[str]:
    """A line about a population merged and one by one, and one about how they differ."""
    merged = merge(models, **options)
    making = seconds(lambda: growc.to_torch(merge(models, **options)))
    sides = evaluating([merged], x), evaluating(models, x)
    pairs = list(zip(*(side() for side in sides), strict=True))
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
    if apart > 1e-4:
        raise GrowcError(f"{name}: the predictions differ by {apart:.1e}")
    times = alternate(*sides, rounds=ROUNDS)
    low, middle, high = ratio(times)
    one, all_ = (1e3 * statistics.median(t) for t in times)
    macs = merged.macs() / sum(m.macs() for m in models)
    return [
        f"{name:<34}{one:>8.0f} ms{all_:>8.0f} ms   {middle:.2f} ({low:.2f} to {high:.2f})"
        f"   {macs:.2f}   {apart:.0e}   {1e3 * making:.0f} ms"
    ]


def over_populations() -> list[str]:
    """How much the populations of other seeds have in common: the place of one early mutation
    decides for many models."""
    found: dict[str, list[float]] = {"each its own": [], "common ones shared": []}
    for seed in range(POPULATIONS):
        rng = np.random.default_rng(seed)
        own = trained(population(rng), rng)
        total = sum(model.macs() for model in own)
        for ratios, models in zip(found.values(), (own, share_statistics(own)), strict=True):
            ratios.append(merge(models, functions=False).macs() / total)
    return [
        f"  statistics {name:<20}{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})"
        for name, r in found.items()
    ]


def joint_steps(models: Sequence[Graph]) -> list[list[float]]:
    """Seconds of updates in joint training, and of a hand-written loop on separate networks.

    Both take one model after the other, so that they make the same steps. The search's update also
    sets the learning rate, and clears the gradients after the step.
    """
    settings = Settings(batch_size=TRAINING_BATCH)
    loss, cpu = loss_of(settings), torch.device("cpu")
    x = images(TRAINING_BATCH)
    labels = torch.randint(0, 10, (TRAINING_BATCH,))
    joint = Population("shared")
    for number, module in enumerate(sharing_modules(models)):
        joint.members.append(
            Member(number, module, optimizer_of(settings, [list(module.parameters())]))
        )
    joint.link()
    members = cycle(joint.members)

    def together() -> None:
        member = next(members)
        set_rate(member.optimizer, settings, 0)
        batch = to_device(((x,), (labels,)), cpu)
        parts = scaler_of(settings, cpu), batch, loss, autocast(settings, cpu)
        train_step(member.module, member.optimizer, *parts)
        member.optimizer.zero_grad()

    separate = []
    for model in models:
        module = growc.to_torch(model)
        separate.append((module, optimizer_of(settings, [list(module.parameters())])))
    nets = cycle(separate)

    def alone() -> None:
        module, optimizer = next(nets)
        optimizer.zero_grad()
        loss(module(x), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return alternate(together, alone, rounds=3 * MODELS, warm_up=MODELS)


def fused(x: torch.Tensor) -> tuple[float, float, float, list[float]]:
    """onnxruntime's time of the fused net divided by that of the net as it was grown."""
    net = growc.load(FIGURE_9)
    growc.initialize(net)
    for seed in range(BRANCHES):
        net = growc.compile(net, "r2wider{kernel=3}", seed=seed, verify="none")
    (net,) = trained([net], np.random.default_rng(1))
    one = growc.compile(net, "fuse_branches", verify="none")
    options = ort.SessionOptions()
    # Threads that wait for more work take the processor from the other side's session.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = [
        ort.InferenceSession(growc.to_onnx(graph).SerializeToString(), options, providers=list(CPU))
        for graph in (one, net)
    ]
    feed = {"image": x.numpy()}
    times = alternate(*(lambda s=s: s.run(None, feed) for s in sessions), rounds=4 * ROUNDS)
    return (*ratio(times), [1e3 * statistics.median(t) for t in times])


def main() -> None:
    rng = np.random.default_rng(0)
    models = population(rng)
    x = images(BATCH)
    distinct, separate = memory(models)
    apart = trained(models, rng)
    lines = [
        f"a population of {MODELS}, mutated from {models[0].parameter_count():,} parameters with "
        f"τ = {TAU}: {min(m.parameter_count() for m in models):,} to "
        f"{max(m.parameter_count() for m in models):,}",
        "",
        f"memory of all parameters and statistics: {distinct / 2**20:.2f} MiB shared, "
        f"{separate / 2**20:.2f} MiB separate, ratio {distinct / separate:.3f}; "
        f"trained apart {memory(apart)[0] / separate:.3f}",
        "",
        f"evaluation of a batch of {BATCH}, merged against one by one, {torch.get_num_threads()} "
        f"threads, medians of {ROUNDS} (quartiles)",
        f"{'':<34}{'merged':>11}{'one by one':>11}   ratio                 MACs   differ  merging",
    ]
    lines += compared("freshly mutated", models, x)
    lines += compared("  the same by structure alone", models, x, functions=False)
    lines += compared("trained, statistics each its own", apart, x, functions=False)
    shared = share_statistics(apart)
    lines += compared("trained, common statistics shared", shared, x, functions=False)
    lines += [
        "",
        f"MACs of {POPULATIONS} trained populations, merged against one by one: median (extremes)",
        *over_populations(),
    ]
    steps = joint_steps(models)
    low, middle, high = ratio(steps)
    one, all_ = (1e3 * statistics.median(t) for t in steps)
    lines += [
        "",
        f"a step of joint training, batch {TRAINING_BATCH}, against one of a network of its own",
        f"{one:.0f} ms, {all_:.0f} ms, ratio {middle:.3f} ({low:.3f} to {high:.3f})",
    ]
    low, middle, high, times = fused(x)
    lines += [
        "",
        f"a net with {BRANCHES + 1} parallel R2R blocks in each block, fused against not, in "
        f"onnxruntime, batch {BATCH}",
        f"{times[0]:.1f} ms, {times[1]:.1f} ms, ratio {middle:.2f} ({low:.2f} to {high:.2f})",
        "",
        "MACs: those of the merged graph divided by all models'. Differ: the largest difference of",
        "a prediction, relative to the model's largest. Merging: making the merged graph and its",
        "module. Common statistics: batch norms that see the same have one mean and variance.",
    ]
    report("population", lines)


if __name__ == "__main__":
    main()
