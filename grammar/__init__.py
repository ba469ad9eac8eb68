"""The ``.arch`` language: text → syntax tree → graph, and graph → canonical text."""

from .loading import Loaded, decode, load, load_file, load_source, loads, read_source
from .printer import dumps

__all__ = [
    "Loaded",
    "decode",
    "dumps",
    "load",
    "load_file",
    "load_source",
    "loads",
    "read_source",
]
