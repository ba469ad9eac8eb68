"""Intra-layer neural architecture search (ILNAS)."""

from .algorithm import Ilnas
from .template import baseline

__all__ = ["Ilnas", "baseline"]
