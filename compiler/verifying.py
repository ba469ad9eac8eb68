"""Are two networks the same? What can be proved, and what running them shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..ir import Graph, GrowcError
from ..proof import (
    Comparison,
    Proof,
    Prover,
    compare,
    compare_models,
    compare_runtimes,
)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found out about two networks."""

    comparison: Comparison
    proof: Proof | None = None
    """None where a model could only be run."""
    runtimes: Mapping[str, Comparison] = field(default_factory=dict)
    """ONNX file → what was read of it, against the file in onnxruntime."""

    @property
    def verdict(self) -> str:
        """``proved``, ``refuted`` or ``unproved``."""
        if self.proof is not None and self.proof.verdict == "proved":
            return "proved"
        return "unproved" if self.comparison.agrees else "refuted"


def verify(
    before: Graph,
    after: Graph,
    modes: tuple[str, ...],
    *,
    models: Mapping[str, Graph] | None = None,
    proof: Proof | None = None,
    seed: int = 0,
) -> Verified:
    """Prove two networks equal if that can be done, and run both.

    ``models`` are ONNX files with what was read of them: a proof is about that, so each is run in
    onnxruntime beside it. Raises :class:`GrowcError` if one of them computes something else.
    """
    if proof is None:
        proof = Prover(seed)(before, after, modes, search=False)
    comparison = compare(before, after, modes=proof.modes, seed=seed)
    runtimes = {}
    for file, graph in (models or {}).items():
        runtimes[file], _ = compare_runtimes(graph, file, seed=seed)
        if not runtimes[file].agrees:
            worst = runtimes[file].worst
            raise GrowcError(
                f"{file}: what growc read computes something else than onnxruntime: max |Δ| "
                f"{worst.max_abs:.3g}, where outputs reach {worst.scale:.3g} (seed {seed})",
                help="this is a bug in growc or in onnxruntime",
            )
    return Verified(comparison, proof, runtimes)


def only_run(before: Graph | str, after: Graph | str, *, seed: int = 0) -> Verified:
    """Compare on random inputs alone: at least one is the path of an ONNX file that growc cannot
    read."""
    if isinstance(before, str) and isinstance(after, str):
        return Verified(compare_models(before, after, seed=seed))
    if isinstance(before, str):
        before, after = after, before
    assert isinstance(before, Graph)
    return Verified(compare_runtimes(before, after, seed=seed)[0])
