"""growc: a declarative graph-IR compiler for growing neural networks.

    >>> import growc
    >>> teacher = growc.load("net.arch")
    >>> student = growc.compile(teacher, "r2wider{filters=16}, r2deeper")
    >>> model = growc.to_torch(student)          # train it on
    >>> growc.to_onnx(student, "student.onnx")   # or export it

torch and onnx are imported by what needs them, when it is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Every public name and the module it lives in. They are loaded when first asked for, so that
# `import growc` and the fast commands of the command line cost next to nothing.
_HOME = {
    "OPS": "ir",
    "PASSES": "passes",
    "Claim": "passes",
    "Comparison": "proof",
    "Diagnostic": "ir",
    "Difference": "proof",
    "Graph": "ir",
    "GrowcError": "ir",
    "Node": "ir",
    "Op": "ir",
    "Pass": "passes",
    "Proof": "proof",
    "Result": "passes",
    "TensorType": "ir",
    "Weights": "ir",
    "carry_optimizer": "train",
    "check_invariants": "ir",
    "compare": "proof",
    "compile": "compiler",
    "dumps": "grammar",
    "from_onnx": "backends",
    "from_torch": "backends",
    "graph_of": "backends",
    "grow": "train",
    "initialize": "ir",
    "load": "grammar",
    "loads": "grammar",
    "parse_pipeline": "passes",
    "prove": "proof",
    "run_onnx": "backends",
    "same_weights": "ir",
    "save": "compiler",
    "scale_learning_rate": "train",
    "to_onnx": "backends",
    "to_torch": "backends",
    "weights_of": "backends",
    "with_weights_of": "backends",
}

if TYPE_CHECKING:
    from .backends import (
        from_onnx,
        from_torch,
        graph_of,
        run_onnx,
        to_onnx,
        to_torch,
        weights_of,
        with_weights_of,
    )
    from .compiler import compile, save
    from .grammar import dumps, load, loads
    from .ir import (
        OPS,
        Diagnostic,
        Graph,
        GrowcError,
        Node,
        Op,
        TensorType,
        Weights,
        check_invariants,
        initialize,
        same_weights,
    )
    from .passes import PASSES, Claim, Pass, Result, parse_pipeline
    from .proof import Comparison, Difference, Proof, compare, prove
    from .train import carry_optimizer, grow, scale_learning_rate

__all__ = [
    "OPS",
    "PASSES",
    "Claim",
    "Comparison",
    "Diagnostic",
    "Difference",
    "Graph",
    "GrowcError",
    "Node",
    "Op",
    "Pass",
    "Proof",
    "Result",
    "TensorType",
    "Weights",
    "carry_optimizer",
    "check_invariants",
    "compare",
    "compile",
    "dumps",
    "from_onnx",
    "from_torch",
    "graph_of",
    "grow",
    "initialize",
    "load",
    "loads",
    "parse_pipeline",
    "prove",
    "run_onnx",
    "same_weights",
    "save",
    "scale_learning_rate",
    "to_onnx",
    "to_torch",
    "weights_of",
    "with_weights_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'growc' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
