"""Training networks that grow: data sets, and optimizers carried over a growth step.

Importing this package does not import torch: each name is loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .carrying import Carried, carry, carry_optimizer
    from .data import open_data
    from .growing import Growth, grow, grow_step
    from .learning_rate import scale_learning_rate, trainable_count
    from .observers import Observer
    from .runs import train
    from .settings import Settings

__all__ = [
    "Carried",
    "Growth",
    "Observer",
    "Settings",
    "carry",
    "carry_optimizer",
    "grow",
    "grow_step",
    "open_data",
    "scale_learning_rate",
    "train",
    "trainable_count",
]

_HOME = {
    "Carried": "carrying",
    "Growth": "growing",
    "Observer": "observers",
    "Settings": "settings",
    "carry": "carrying",
    "carry_optimizer": "carrying",
    "grow": "growing",
    "grow_step": "growing",
    "open_data": "data.opening",
    "scale_learning_rate": "learning_rate",
    "train": "runs",
    "trainable_count": "learning_rate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
