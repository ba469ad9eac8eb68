"""The command line. One file a command; what they do is done elsewhere."""

from .app import main

__all__ = ["main"]
