"""Is a rewrite function-preserving? For now: numerically, on random inputs."""

from .numeric import (
    BOTH,
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    Comparison,
    Difference,
    Probe,
    compare,
    compare_runtimes,
    require_same_interface,
)

__all__ = [
    "BOTH",
    "FLOAT32_TOLERANCE",
    "FLOAT64_TOLERANCE",
    "Comparison",
    "Difference",
    "Probe",
    "compare",
    "compare_runtimes",
    "require_same_interface",
]
