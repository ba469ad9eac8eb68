"""The graph IR: types, ops, graph, weights, shape inference, invariants and diagnostics."""

from .diagnostics import Diagnostic, GrowcError, Source, Span
from .graph import Graph, Input, Node, same_weights
from .invariants import InvariantError, check_invariants
from .ops import OPS, Op, ParamSpec, ShapeError
from .types import TensorType
from .weights import Weights, initialize

__all__ = [
    "OPS",
    "Diagnostic",
    "Graph",
    "GrowcError",
    "Input",
    "InvariantError",
    "Node",
    "Op",
    "ParamSpec",
    "ShapeError",
    "Source",
    "Span",
    "TensorType",
    "Weights",
    "check_invariants",
    "initialize",
    "same_weights",
]
