"""Hierarchical ensembles (R2R section 4.3): a small network learns which models are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import Graph, GrowcError, initialize
from ...ir.ops import Add, BatchNorm, Concat, Constant, Linear, Mul, Relu
from ...passes import NothingToDo
from ...passes.fold_batch_norm import FoldBatchNorm
from .merging import merge

OUTPUT = "logits"


def ensemble(graphs: Sequence[Graph], classes: int, hidden: int = 64, seed: int = 0) -> Graph:
    """One graph of all the models and a head that reads their logits.

    An example's logits of all models, one after the other, go through linear(``hidden``), a ReLU,
    and linear(``classes``), the output ``logits``. The paper gives no ReLU; without it the two
    layers would be as one. The head's weights are new, drawn with ``seed``. Only they are to be
    trained: see :func:`head_parameters`.

    The models, merged (:func:`.merging.merge`), are as they are in evaluation mode, whatever mode
    a module is in: their dropout is left out, and their batch norms become part of the layer before
    or, where that is read elsewhere too, a product with a constant and a sum with another. So a
    training loop cannot move their statistics by ``module.train()``, and every runtime computes
    the same. Within rounding: folded weights are rounded to float32 once.

    Raises :class:`GrowcError` for models that cannot be merged, or whose output is not one row of
    numbers for an example.
    """
    graph = _frozen(merge(graphs))
    members = list(graph.outputs.values())
    for number, name in enumerate(members):
        kind = graph.node(name).type
        if kind.rank != 1 or kind.dtype != "f32":
            raise GrowcError(f"model {number} yields {kind}; an ensemble reads logits as f32[10]")
    joined = Graph(f"{graph.name}_ensemble", graph.weights)
    for node in graph:
        if node.name in graph.inputs:
            joined.add_input(node.name, node.type)
        else:
            joined.add(node.op, node.operands, node.name, node.shared)
    at = joined.add(Concat(), members, joined.fresh("head.join"))
    at = joined.add(Linear(hidden), (at,), joined.fresh("head.hidden"))
    at = joined.add(Relu(), (at,), joined.fresh("head.relu"))
    at = joined.add(Linear(classes), (at,), joined.fresh("head.logits"))
    joined.set_output(OUTPUT, at)
    initialize(joined, seed)
    return joined


def head_parameters(graph: Graph) -> tuple[str, ...]:
    """Names of the parameters of an ensemble's head, the only ones to train: the weights and biases
    of the two linear layers before its output.

    Raises :class:`GrowcError` for a graph that does not end as those of :func:`ensemble`.
    """
    at, found = graph.outputs.get(OUTPUT), []
    for op in (Linear, Relu, Linear, Concat):
        if at is None or not isinstance(graph.node(at).op, op):
            raise GrowcError(f"`{graph.name}` is not an ensemble")
        found.append(at)
        at = graph.node(at).operands[0]
    return tuple(key for name in reversed(found) for key, _ in graph.params_of(name))


def _frozen(graph: Graph) -> Graph:
    """The graph without batch norms, which computes in any mode what it did in evaluation mode."""
    try:
        graph = FoldBatchNorm()(graph).graph
    except NothingToDo:
        graph = graph.copy()
    for name in [node.name for node in graph if isinstance(node.op, BatchNorm)]:
        _as_constants(graph, name)
    graph.settle()
    return graph


def _as_constants(graph: Graph, name: str) -> None:
    """γ·(x - μ)/√(σ² + ε) + β → s·x + t, with s = γ/√(σ² + ε) and t = β - s·μ"""
    node = graph.node(name)
    assert isinstance(node.op, BatchNorm)
    values = {s.role: graph.weights[k].astype(np.float64) for k, s in graph.params_of(name)}
    with np.errstate(invalid="ignore", over="ignore"):  # as NaN and inf come out of the norm
        scale = values.get("weight", 1.0) / np.sqrt(values["running_var"] + node.op.eps)
        shift = values.get("bias", 0.0) - scale * values["running_mean"]
        numbers = {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
    shape = (len(scale), *(1,) * (node.type.rank - 1))
    at = node.operands[0]
    for op, (word, value) in zip((Mul(), Add()), numbers.items(), strict=True):
        constant = graph.add(Constant(shape), (), graph.fresh(f"{name}.{word}"))
        graph.weights[constant] = value.reshape(shape)
        at = graph.add(op, (at, constant), graph.fresh(f"{name}.{op.name}"))
    graph.redirect(name, at)
    graph.remove(name)
