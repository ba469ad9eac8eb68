"""Is a rewrite function-preserving? Proved exactly, or checked on random inputs."""

from .exact import Parting, Proof, Prover, prove
from .numeric import (
    BOTH,
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    ROUNDED_TOLERANCE,
    Comparison,
    Difference,
    Outputs,
    Probe,
    compare,
    compare_runtimes,
    require_same_interface,
)

__all__ = [
    "BOTH",
    "FLOAT32_TOLERANCE",
    "FLOAT64_TOLERANCE",
    "ROUNDED_TOLERANCE",
    "Comparison",
    "Difference",
    "Outputs",
    "Parting",
    "Probe",
    "Proof",
    "Prover",
    "compare",
    "compare_runtimes",
    "prove",
    "require_same_interface",
]
