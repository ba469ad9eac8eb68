"""The compile driver: passes one after another, each claim checked, the result written to files.

Importing this package imports none of its modules: each name is loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifacts import save
    from .certificates import recheck
    from .driver import VERIFY, Compiled, Pipeline, Step, compile, run
    from .verifying import Verified, only_run, verify

__all__ = [
    "VERIFY",
    "Compiled",
    "Pipeline",
    "Step",
    "Verified",
    "compile",
    "only_run",
    "recheck",
    "run",
    "save",
    "verify",
]

_HOME = {
    "VERIFY": "driver",
    "Compiled": "driver",
    "Pipeline": "driver",
    "Step": "driver",
    "Verified": "verifying",
    "compile": "driver",
    "only_run": "verifying",
    "recheck": "certificates",
    "run": "driver",
    "save": "artifacts",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
