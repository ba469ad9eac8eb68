"""A run folder as one HTML page that needs nothing else: no network, fonts, scripts or other files.

A page is a list of sections (``page.py``); each kind of run has a module that makes them from the
run's files, as ``training.py`` does. Reading and drawing need neither torch nor onnx.
"""

from __future__ import annotations

from pathlib import Path

from .page import document
from .reading import Run, read_run
from .training import page_of

__all__ = ["Run", "as_html", "read_run", "report"]


def report(folder: str | Path) -> str:
    """The page about the run in ``folder``, as HTML.

    Raises :class:`GrowcError` if there is no run, or if one of its files is missing or damaged.
    """
    return as_html(read_run(folder))


def as_html(run: Run) -> str:
    """The page about a run that was read."""
    return document(page_of(run))
