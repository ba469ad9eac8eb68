"""Passes, then checks: the middle of the road from text to a grown network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..ir import Graph, GrowcError, InvariantError, ShapeError, check_invariants, initialize
from ..passes import Pass, Result, parse_pipeline
from ..proof import (
    BOTH,
    FLOAT64_TOLERANCE,
    ROUNDED_TOLERANCE,
    Comparison,
    Outputs,
    Probe,
    Proof,
    Prover,
    require_same_interface,
)

VERIFY = ("proof", "numeric", "all", "none")
"""How claims are checked: proved exactly (numerically where there is no proof), numerically, both,
or not at all."""

Pipeline = str | Pass | Sequence[str | Pass]


@dataclass(frozen=True, slots=True)
class Step:
    """One pass of a compile: what it did, and how its claim was checked."""

    applied: Pass
    before: Graph
    result: Result
    proof: Proof | None
    check: Comparison | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """The grown network and the steps that led to it."""

    graph: Graph
    steps: tuple[Step, ...]
    initialized: int
    """How many parameters had no value and got a random one."""
    start: Graph
    """The network before the first pass, with values for all parameters."""
    whole: Proof | None = None
    """The proof from end to end, where every pass claims to preserve the function exactly."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes in which every pass claims to preserve the function."""
        return tuple(m for m in BOTH if all(m in s.result.claim.modes for s in self.steps))


def compile(graph: Graph, pipeline: Pipeline, *, seed: int = 0, verify: str = "proof") -> Graph:
    """Apply a pipeline of passes to a network, and check that each does what it claims.

    ``pipeline`` is text (``"r2wider{filters=16}, r2deeper"``), a pass, or several. The given
    graph is not changed; the result shares its parameters. Parameters without a value get a
    random one, by ``seed``, which also draws those that passes add. ``verify``: ``"proof"`` proves
    every claim exactly, and runs networks on random inputs where there is no proof; ``"numeric"``
    runs them; ``"all"`` does both; ``"none"`` trusts.

    Raises :class:`GrowcError` where a pass does not apply, or does not keep what it claims.
    """
    return run(graph, pipeline, seed=seed, verify=verify).graph


def run(
    graph: Graph,
    pipeline: Pipeline,
    *,
    seed: int = 0,
    verify: str = "proof",
    progress: Callable[[str], None] = lambda text: None,
    together: bool = False,
) -> Compiled:
    """Like :func:`compile`, and tells what happened. ``progress`` is told what comes next.

    With ``together`` the pipeline is proved from end to end only, which for many small passes is
    many times faster; each pass is checked alone where that gives no proof.
    """
    if verify not in VERIFY:
        raise GrowcError(f"verify must be one of {', '.join(VERIFY)}, not {verify!r}")
    start = graph.copy()
    initialized = initialize(start, seed)
    checker = _Checker(verify, seed, progress)
    alone = not (together and verify == "proof")
    steps: list[Step] = []
    at = start
    for applied in _passes(pipeline):
        progress(str(applied))
        result = _applied(applied, at, seed)
        _require_invariants(applied, result)
        proof, check = checker(applied, at, result) if alone else (None, None)
        steps.append(Step(applied, at, result, proof, check))
        at = result.graph
    if alone:
        return Compiled(at, tuple(steps), initialized, start, checker.whole(start, steps))
    for step in steps:
        _same_interface(step.applied, step.before, step.result)
    whole = checker.end_to_end(start, steps)
    if whole is None or whole.verdict != "proved":
        return run(graph, pipeline, seed=seed, verify=verify, progress=progress)
    return Compiled(at, tuple(steps), initialized, start, whole)


class _Checker:
    """Checks the claims of one compile; what its steps share is computed once."""

    def __init__(self, verify: str, seed: int, progress: Callable[[str], None]) -> None:
        self.verify, self.progress = verify, progress
        self.prover = Prover(seed)
        self.probe = Probe(seed=seed)
        self._outputs: tuple[Graph, Outputs] | None = None

    def __call__(
        self, applied: Pass, before: Graph, result: Result
    ) -> tuple[Proof | None, Comparison | None]:
        """The proof and the comparison that were made. Raises :class:`GrowcError` if a claim
        fails."""
        comparable = _same_interface(applied, before, result)
        if not comparable or self.verify == "none":
            return None, None
        modes = result.claim.modes
        proof = None
        if self.verify in ("proof", "all") and modes and result.claim.exact:
            self.progress(f"proving {applied.name}")
            proof = self.prover(before, result.graph, modes, search=False)
        if self.verify == "proof" and proof is not None and proof.verdict == "proved":
            return proof, None
        check = self._compare(applied, before, result.graph)
        _require_claim(applied, result, check)
        return proof, check

    def _compare(self, applied: Pass, before: Graph, after: Graph) -> Comparison:
        if self._outputs is None or self._outputs[0] is not before:
            told = partial(_tell, self.progress, f"running the network before {applied.name}")
            self._outputs = before, self.probe(before, told)
        told = partial(_tell, self.progress, f"running the network after {applied.name}")
        outputs = self.probe(after, told)
        check = self.probe.compare(self._outputs[1], outputs)
        self._outputs = after, outputs
        return check

    def whole(self, start: Graph, steps: Sequence[Step]) -> Proof | None:
        """A proof from the first network to the last, where each step is proved or disproved."""
        if not steps or any(step.proof is None for step in steps):
            return None
        if len(steps) == 1 and steps[0].before is start:
            return steps[0].proof
        return self.end_to_end(start, steps)

    def end_to_end(self, start: Graph, steps: Sequence[Step]) -> Proof | None:
        """A proof from the first network to the last, in the modes that every pass claims."""
        claims = [step.result.claim for step in steps]
        modes = tuple(m for m in BOTH if all(m in claim.modes for claim in claims))
        if not steps or not modes or not all(claim.exact for claim in claims):
            return None
        return self.prover(start, steps[-1].result.graph, modes, search=False)


def _tell(progress: Callable[[str], None], what: str, mode: str) -> None:
    progress(f"{what}, {mode}")


def _passes(pipeline: Pipeline) -> list[Pass]:
    if isinstance(pipeline, str):
        return parse_pipeline(pipeline, "pipeline")
    if isinstance(pipeline, Pass):
        return [pipeline]
    return [applied for part in pipeline for applied in _passes(part)]


OWN_MISTAKE = "this is a mistake in the pass itself"


def _applied(applied: Pass, graph: Graph, seed: int) -> Result:
    try:
        return applied(graph, seed=seed)
    except ShapeError as error:
        raise GrowcError(
            f"{applied.name} left shapes that do not fit: {error}", help=OWN_MISTAKE
        ) from error


def _require_invariants(applied: Pass, result: Result) -> None:
    try:
        check_invariants(result.graph)
    except InvariantError as error:
        raise GrowcError(f"{applied.name} left a broken {error}", help=OWN_MISTAKE) from error
    missing = [name for name in result.graph.parameters() if name not in result.graph.weights]
    if missing:
        raise GrowcError(
            f"{applied.name} left the parameter `{missing[0]}` without a value", help=OWN_MISTAKE
        )


def _same_interface(applied: Pass, graph: Graph, result: Result) -> bool:
    """Whether inputs and outputs are still the same; a pass that claims anything must keep them."""
    try:
        require_same_interface(graph, result.graph)
    except GrowcError as error:
        if result.claim.eval or result.claim.train:
            raise GrowcError(
                f"{applied.name} claims to preserve the function, but "
                f"{error.diagnostics[0].message}",
                help=OWN_MISTAKE,
            ) from error
        return False
    return True


def _require_claim(applied: Pass, result: Result, check: Comparison) -> None:
    for difference in check.differences:
        if difference.dtype != check.judged or difference.mode not in result.claim.modes:
            continue
        tolerance = FLOAT64_TOLERANCE if result.claim.exact else ROUNDED_TOLERANCE
        if not difference.relative <= tolerance:
            raise GrowcError(
                f"{applied.name} claims to preserve the function, but does not: in "
                f"{difference.mode} mode an output moved by {difference.max_abs:.3g}, where "
                f"outputs reach {difference.scale:.3g} (seed {check.seed}, {difference.dtype})",
                help=f"{OWN_MISTAKE}; nothing was written",
            )
