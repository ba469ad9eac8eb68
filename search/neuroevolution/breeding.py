"""mutate (R2R algorithm 3): the children that fill up a population, and their lineage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backends import graph_of
from ...ir import Graph, GrowcError
from ...train.data.seeding import generator
from ...train.growth_steps import checked
from ...train.processes import Processes
from ...train.schedule import seed_of
from ...train.settings import Settings
from ...train.sharing import sharing_graphs
from .checkpoint import History
from .mutation import Barren, draw
from .population import Population
from .settings import Evolution

MUTATE = 65
"""What random numbers are for, beside the purposes of ``growc.train.data.seeding``."""


def fill(
    population: Population,
    history: History,
    told: Evolution,
    settings: Settings,
    processes: Processes,
) -> list[dict[str, Any]]:
    """Let models picked at random have children, and children of these, until there are M, or none
    of them has a mutation any more; their entries in the lineage.

    What a child is depends on its number and its parents alone. That there are fewer than M is
    noted in the history. Raises :class:`GrowcError` for a pass that does not keep what it claims.
    """
    born: list[dict[str, Any]] = []
    barren: dict[int, Barren] = {}
    taken = population.names()
    while len(population) < told.population:
        number = len(history.lineage)
        random = generator(settings.seed, MUTATE, number)
        parents = [m for m in population.members if m.number not in barren]
        if not parents:
            reason, _ = why_none(list(barren.values()), told)
            history.unfilled.append(
                {"iteration": history.generation, "models": len(population), "reason": reason}
            )
            break
        parent = parents[int(random.integers(len(parents)))]
        (graph,) = sharing_graphs([parent.module])
        drawn = draw(
            graph,
            told.parsed_mutations(),
            told.widths,
            told.tau,
            random,
            seed=seed_of(settings.seed, number),
            verify=settings.verify,
            taken=taken,
        )
        if isinstance(drawn, Barren):
            barren[parent.number] = drawn
            continue
        child = population.bear(
            parent,
            drawn,
            number,
            processes.device,
            scale_lr=told.scale_lr,
            scale_weight_decay=told.scale_weight_decay,
        )
        taken.update(graph_of(child.module).parameters())
        processes.require_same(child.module, f"after the birth of model {number}")
        entry = entry_of(number, drawn.graph) | {
            "parent": parent.number,
            "born": history.generation,
            "pass": str(drawn.applied),
            "seed": seed_of(settings.seed, number),
            "proof": checked(drawn.compiled),
        }
        history.lineage.append(entry)
        born.append(entry)
    return born


def entry_of(number: int, graph: Graph) -> dict[str, Any]:
    """The entry of ``lineage.json`` of a model, as it is without parents."""
    return {
        "model": number,
        "parent": None,
        "born": 0,
        "died": None,
        "pass": None,
        "seed": None,
        "params": graph.parameter_count(),
        "macs": graph.macs(),
        "proof": None,
    }


def require_mutation(start: Graph, settings: Settings, told: Evolution) -> None:
    """Raise :class:`GrowcError` now, rather than after hours, if the first network has none."""
    drawn = draw(
        start,
        told.parsed_mutations(),
        told.widths,
        told.tau,
        generator(settings.seed, MUTATE, 0),
        seed=seed_of(settings.seed, 0),
        verify="none",
    )
    if told.population > 1 and isinstance(drawn, Barren):
        reason, help = why_none([drawn], told)
        raise GrowcError(reason, help=help)


def why_none(barren: Sequence[Barren], told: Evolution) -> tuple[str, str]:
    """Why no model has a mutation that applies and that τ allows, and what to do."""
    ratios = [b.ratio for b in barren if b.ratio is not None]
    if ratios:
        return (
            f"no mutation is left: tau {told.tau:g} forbids all that apply, whose |θ_h| / |θ_m(h)| "
            f"is {max(ratios):.4f} at most",
            "lower --tau, or give --mutations or --widths that add fewer parameters",
        )
    reasons = list(dict.fromkeys(r for b in barren for r in b.reasons))
    r2r = any(m.applied.name in ("r2wider", "r2deeper") for m in told.parsed_mutations())
    return (
        f"no mutation is left that applies to a model: {'; '.join(reasons[:4])}",
        "give --mutations that fit the network"
        + ("; r2wider and r2deeper need residual blocks" if r2r else ""),
    )
