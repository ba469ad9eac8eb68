"""Labelled images for training loops: data sets, their normalization, and batches of them.

Everything here is a pure function of files, seeds and batch numbers, so that a run which was
stopped sees the same batches when it goes on. Only :class:`Batches` needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batches import Batches
    from .examples import DataSet, Examples
    from .normalization import Normalization
    from .opening import open_data

__all__ = ["Batches", "DataSet", "Examples", "Normalization", "open_data"]

_HOME = {
    "Batches": "batches",
    "DataSet": "examples",
    "Examples": "examples",
    "Normalization": "normalization",
    "open_data": "opening",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
