"""Lowering to PyTorch, writing ONNX, running ONNX files, and reading models of others.

Importing this package imports neither torch nor onnx: each name is loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .module_weights import graph_of, weights_of, with_weights_of
    from .onnx_writing import onnx_files, onnx_supports, to_onnx
    from .reading.onnx_model import from_onnx
    from .reading.torch_model import from_torch
    from .runtime import Session, run_onnx
    from .torch_lowering import to_torch, torch_supports

__all__ = [
    "Session",
    "from_onnx",
    "from_torch",
    "graph_of",
    "onnx_files",
    "onnx_supports",
    "run_onnx",
    "to_onnx",
    "to_torch",
    "torch_supports",
    "weights_of",
    "with_weights_of",
]

_HOME = {
    "Session": "runtime",
    "from_onnx": "reading.onnx_model",
    "from_torch": "reading.torch_model",
    "graph_of": "module_weights",
    "onnx_files": "onnx_writing",
    "onnx_supports": "onnx_writing",
    "run_onnx": "runtime",
    "to_onnx": "onnx_writing",
    "to_torch": "torch_lowering",
    "torch_supports": "torch_lowering",
    "weights_of": "module_weights",
    "with_weights_of": "module_weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
