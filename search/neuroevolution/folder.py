"""The folder of a neuroevolution: that of a training run, and beside it

search.toml         what the search was told
lineage.json        every model ever alive: who it came from, by which pass, and when it died
models/NUMBER.arch  each of them with its last weights
scores.csv          every evaluation of every model
ensemble.arch       the hierarchical ensemble, with ensemble.onnx, where one was asked for

The rows of metrics.csv are of the best model of an evaluation; they say, too, how many models and
distinct parameters there were. best.onnx has the branches that evolution added fused, where they
can be; in best.arch the sums of their biases are rounded to float32, so that the two are proved to
be the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...compiler import artifacts
from ...ir import Graph
from ...ir.files import write_files
from ...train.data import Normalization
from ...train.run_folder import SEARCH, RunFolder, as_csv
from ...train.settings import Settings
from .settings import Evolution

SCORES = ("update", "iteration", "model", "params", "macs", "updates", "loss", "accuracy")


class SearchFolder(RunFolder):
    """The folder of a neuroevolution."""

    searches = True

    def create_search(
        self,
        graph: Graph,
        settings: Settings,
        evolution: Evolution,
        normalization: Normalization,
        data: dict[str, Any],
        *,
        curves: bool,
    ) -> None:
        """Start a search here; a run that was here is forgotten.

        Raises :class:`GrowcError` if it cannot be written."""
        if self.exists:
            self.forget()
        # Before the settings, which make it a run.
        write_files({self.path / SEARCH: evolution.as_toml().encode()}, overwrite=True)
        self.create(graph, settings, [normalization], data, curves=curves)

    def write_search(self, evolution: Evolution) -> None:
        """That of a search that goes on for longer than it was told."""
        self.write(SEARCH, evolution.as_toml())

    def stored_search(self) -> Evolution:
        """Raises :class:`GrowcError` if it was damaged."""
        return Evolution.stored(self.path / SEARCH)

    def write_best(self, graph: Graph, exported: Graph) -> None:
        """best.arch, and best.onnx of what is exported, which computes the same."""
        self.write_all(
            artifacts.contents(graph, self.path / "best")
            | artifacts.contents(exported, self.path / "best", ("onnx",))
        )

    def write_models(self, graphs: dict[int, Graph]) -> None:
        """Models by number."""
        files: dict[Path, bytes] = {}
        for number, graph in graphs.items():
            files |= artifacts.contents(graph, self.path / "models" / f"{number:04}")
        self.write_all(files)

    def write_lineage(self, lineage: list[dict[str, Any]]) -> None:
        self.write("lineage.json", json.dumps(lineage, indent=2) + "\n")

    def write_scores(self, scores: list[dict[str, Any]]) -> None:
        self.write("scores.csv", as_csv(scores, SCORES))
