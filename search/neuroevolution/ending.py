"""The end of a neuroevolution: what it found is written and tested, and joined to an ensemble."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from ...backends import graph_of, to_torch
from ...grammar import load
from ...train.checkpoint import on_device
from ...train.prefetching import in_order
from ...train.sharing import sharing_graphs
from ...train.stepping import deterministic
from .exporting import fused
from .head import flops_of, trained_ensemble
from .loop import Loop
from .population import Member


def ended(loop: Loop, selected: list[Member]) -> dict[str, Any]:
    """The end of a search: all models are written, those selected and the best one tested."""
    state, folder, processes = loop.state, loop.folder, loop.processes
    progress, best_row = state.progress, state.progress.best
    assert best_row is not None
    for member in loop.members:
        processes.require_same(member.module, "at the end")
    graphs = dict(zip((m.number for m in loop.members), state.population.graphs(), strict=True))
    if processes.first:
        folder.write_models(graphs)
    processes.wait()  # the first process may still be writing the best model
    best_graph = load(folder.path / "best.arch")
    best = on_device(to_torch(best_graph), processes.device)
    last_row = progress.rows[-1]
    last = next(m for m in loop.members if m.number == last_row["model"])
    _, fusing = fused(best_graph, loop.settings.verify)
    result: dict[str, Any] = {
        "updates": progress.update,
        "params": graphs[last.number].parameter_count(),
        "flops": progress.flops,
        "seconds": round(progress.seconds, 3),
        "models": len(state.history.lineage),
        "unfilled": state.history.unfilled,
        "best_onnx": fusing,
    }
    for word, row in (("best", best_row), ("last", last_row)):
        result[word] = {
            "update": row["update"],
            "model": row["model"],
            "params": row["params"],
            "validation_accuracy": row["accuracy"],
        }
    chosen = [m.module for m in selected]
    judged = loop.measure(chosen)
    result["selected"] = [
        {
            "model": m.number,
            "params": graphs[m.number].parameter_count(),
            "validation_accuracy": accuracy,
        }
        for m, accuracy in zip(selected, judged.accuracies, strict=True)
    ]
    if len(loop.data.test):
        tested = loop.measure([best, last.module, *chosen], "test")
        entries = [result["best"], result["last"], *result["selected"]]
        for entry, loss, accuracy in zip(entries, tested.losses, tested.accuracies, strict=True):
            entry |= {"test_loss": loss, "test_accuracy": accuracy}
    if loop.evolution.ensemble:
        result["ensemble"] = _ensemble(loop, selected)
    if processes.first:
        folder.write_result(result)
        loop.observer.ended(result)
    processes.wait()  # none leaves while another still listens to it
    return result


def _ensemble(loop: Loop, selected: list[Member]) -> dict[str, Any]:
    """The hierarchical ensemble of the models selected, in ``ensemble.arch`` and ``.onnx``."""
    told, settings, processes = loop.evolution, loop.settings, loop.processes
    updates = told.head_updates or told.updates
    start = time.perf_counter()
    first = loop.state.progress.update
    train = in_order(loop.train, first, first + updates, loop.workers)
    with deterministic(), closing(train):
        module = trained_ensemble(
            sharing_graphs(m.module for m in selected),
            len(loop.data.classes),
            settings,
            train,
            processes,
        )
    spent = time.perf_counter() - start
    graph = graph_of(module)
    judged = loop.measure([module])
    result = {
        "models": [m.number for m in selected],
        "params": graph.parameter_count(),
        "head_updates": updates,
        "flops": flops_of(graph, updates * settings.batch_size),
        "seconds": round(spent, 3),
        "validation_accuracy": judged.accuracies[0],
    }
    if len(loop.data.test):
        tested = loop.measure([module], "test")
        result |= {"test_loss": tested.losses[0], "test_accuracy": tested.accuracies[0]}
    if processes.first:
        loop.folder.write_model("ensemble", graph, onnx=True)
    return result
