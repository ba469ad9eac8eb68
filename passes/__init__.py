"""Rewrites of the graph. ``PASSES`` has them all, by name."""

from . import r2deeper, r2wider
from .base import PASSES, Claim, Found, Pass, Place, Refusal, Result, register
from .pipeline import parse_pipeline

__all__ = [
    "PASSES",
    "Claim",
    "Found",
    "Pass",
    "Place",
    "Refusal",
    "Result",
    "parse_pipeline",
    "r2deeper",
    "r2wider",
    "register",
]
