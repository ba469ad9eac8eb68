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
    require_same_interface,
)
from .runtimes import compare_models, compare_runtimes, compare_with_module

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
    "compare_models",
    "compare_runtimes",
    "compare_with_module",
    "prove",
    "require_same_interface",
]
