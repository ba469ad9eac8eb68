"""Rewrites of the graph. ``PASSES`` has them all, by name."""

from . import (
    cse,
    fold_batch_norm,
    fuse_branches,
    merge_duplicates,
    net2deeper,
    net2wider,
    new_connection,
    new_heads,
    new_layer,
    new_node,
    prune_dead,
    r2deeper,
    r2wider,
    random_pad,
)
from .base import PASSES, Claim, Found, NothingToDo, Pass, Place, Refusal, Result, register
from .pipeline import parse_pipeline

__all__ = [
    "PASSES",
    "Claim",
    "Found",
    "NothingToDo",
    "Pass",
    "Place",
    "Refusal",
    "Result",
    "cse",
    "fold_batch_norm",
    "fuse_branches",
    "merge_duplicates",
    "net2deeper",
    "net2wider",
    "new_connection",
    "new_heads",
    "new_layer",
    "new_node",
    "parse_pipeline",
    "prune_dead",
    "r2deeper",
    "r2wider",
    "random_pad",
    "register",
]
