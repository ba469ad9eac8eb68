"""Passes, then checks: the middle of the road from text to a grown network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from .ir import Graph, GrowcError, InvariantError, check_invariants, initialize
from .passes import Pass, Result, parse_pipeline
from .proof import Comparison, Probe

VERIFY = ("numeric", "none")
"""How claims are checked: by running both networks, or not at all."""

Pipeline = str | Pass | Sequence[Pass]


@dataclass(frozen=True, slots=True)
class Step:
    """One pass of a compile: what it did, and how its claim was checked."""

    applied: Pass
    before: Graph
    result: Result
    check: Comparison | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """The grown network and the steps that led to it."""

    graph: Graph
    steps: tuple[Step, ...]
    initialized: int
    """How many parameters had no value and got a random one."""


def compile(
    graph: Graph, pipeline: Pipeline, *, seed: int = 0, verify: str = "numeric"
) -> Graph:
    """Apply a pipeline of passes to a network, and check that each does what it claims.

    ``pipeline`` is text (``"r2wider{filters=16}, r2deeper"``), a pass, or several. The given
    graph is not changed; the result shares its parameters. Parameters without a value get a
    random one, by ``seed``, which also draws those that passes add. ``verify`` is ``"numeric"``
    (run both networks on random inputs) or ``"none"``.

    Raises :class:`GrowcError` where a pass does not apply, or does not keep what it claims.
    """
    return run(graph, pipeline, seed=seed, verify=verify).graph


def run(
    graph: Graph,
    pipeline: Pipeline,
    *,
    seed: int = 0,
    verify: str = "numeric",
    progress: Callable[[str], None] = lambda text: None,
) -> Compiled:
    """Like :func:`compile`, and tells what happened. ``progress`` is told what comes next."""
    if verify not in VERIFY:
        raise GrowcError(f"verify must be one of {', '.join(VERIFY)}, not {verify!r}")
    graph = graph.copy()
    initialized = initialize(graph, seed)
    outputs = None
    steps = []
    probe = Probe(seed=seed)
    for applied in _passes(pipeline):
        progress(str(applied))
        result = applied(graph, seed=seed)
        _require_invariants(applied, result)
        check = None
        if verify == "numeric":
            if outputs is None:
                outputs = probe(graph, partial(_tell, progress, f"checking {applied.name}: before"))
            told = partial(_tell, progress, f"checking {applied.name}: after")
            grown = probe(result.graph, told)
            check = probe.compare(outputs, grown)
            _require_claim(applied, result, check)
            outputs = grown
        steps.append(Step(applied, graph, result, check))
        graph = result.graph
    return Compiled(graph, tuple(steps), initialized)


def _tell(progress: Callable[[str], None], what: str, mode: str) -> None:
    progress(f"{what}, {mode}")


def _passes(pipeline: Pipeline) -> Sequence[Pass]:
    if isinstance(pipeline, str):
        return parse_pipeline(pipeline, "pipeline")
    return [pipeline] if isinstance(pipeline, Pass) else pipeline


def _require_invariants(applied: Pass, result: Result) -> None:
    try:
        check_invariants(result.graph)
    except InvariantError as error:
        raise GrowcError(
            f"{applied.name} left a broken {error}", help="this is a mistake in the pass itself"
        ) from error


def _require_claim(applied: Pass, result: Result, check: Comparison) -> None:
    for difference in check.differences:
        if difference.dtype != check.judged or not getattr(result.claim, difference.mode):
            continue
        single = Comparison((difference,), check.seed)
        if not single.agrees:
            raise GrowcError(
                f"{applied.name} claims to preserve the function, but does not: in "
                f"{difference.mode} mode an output moved by {difference.max_abs:.3g}, where "
                f"outputs reach {difference.scale:.3g} (seed {check.seed}, {difference.dtype})",
                help="this is a mistake in the pass itself; nothing was written",
            )
