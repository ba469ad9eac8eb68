"""Neuroevolution with shared parameters (R2R section 4): topologies evolve while they are trained.

Importing this package does not import torch: each name is loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runs import neuroevolution
    from .settings import Evolution

__all__ = ["Evolution", "neuroevolution"]

_HOME = {"Evolution": "settings", "neuroevolution": "runs"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
