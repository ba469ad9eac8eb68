"""Whole neuroevolutions on the real digits: what they do and write, interruptions, mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import growc
from growc.cli.search_output import TalkingOfEvolution
from growc.ir import files
from growc.proof import compare_runtimes
from growc.report import report
from growc.search.neuroevolution import (
    Evolution,
    breeding,
    ending,
    joint,
    loop,
    mutation,
    neuroevolution,
)
from growc.search.neuroevolution import selection as selecting
from growc.search.neuroevolution.ensemble import ensemble, head_parameters
from growc.search.neuroevolution.head import trained_ensemble
from growc.train import Settings, open_data, pace, prefetching, train
from growc.train.data import Batches, Normalization
from growc.train.data.joint import JointBatches
from growc.train.observers import Observer
from growc.train.processes import joined

SHORT = Settings(batch_size=32, lr=0.003, validation=100)
FEW = Evolution(iterations=2, first_updates=12, updates=10, population=4, keep=2)
UPDATES = 32


def net() -> growc.Graph:
    return growc.load("examples/digits.arch")


def run(
    where: Path, evolution: Evolution = FEW, settings: Settings = SHORT, **more: Any
) -> dict[str, Any]:
    more = {"graph": net()} | more
    return neuroevolution(
        more.pop("graph"), settings, evolution, where, device="cpu", tensorboard=False, **more
    )


def read(where: Path, name: str) -> Any:
    text = (where / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else list(csv.DictReader(text.splitlines()))


def outcome(where: Path) -> dict[str, Any]:
    """What a search gave, bit by bit, but for the seconds."""
    names = [
        *("best.arch", "best.safetensors", "best.onnx", "last.arch", "last.safetensors"),
        *("lineage.json", "scores.csv", "search.toml", "settings.toml"),
        *(str(p.relative_to(where)) for p in sorted((where / "models").iterdir())),
        *(n for n in ("ensemble.safetensors", "ensemble.onnx") if (where / n).exists()),
    ]
    found: dict[str, Any] = {name: (where / name).read_bytes() for name in names}
    for name in ("metrics.csv", "result.json"):
        value = read(where, name)
        for entry in value if isinstance(value, list) else [value]:
            entry.pop("seconds")
        if "ensemble" in value:
            value["ensemble"].pop("seconds")
        found[name] = value
    return found


def accuracy_of(file: Path, where: Path, part: str = "test", validation: int = 100) -> float:
    """A network's accuracy on digits, computed here."""
    data = open_data("digits", validation=validation)
    normalization = Normalization.from_json(read(where, "normalization.json"))
    examples = getattr(data, part)
    every = Batches(examples, normalization, batch_size=len(examples), train=False)
    images, labels = every.batch(0)
    with torch.no_grad():
        right = growc.to_torch(growc.load(file)).eval()(images).argmax(1) == labels
    return float(right.double().mean())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nothing interrupted."""
    where = tmp_path_factory.mktemp("whole")
    run(where)
    return where


# ---- what a search does


def test_it_is_algorithm_1(whole: Path) -> None:
    lineage, scores = read(whole, "lineage.json"), read(whole, "scores.csv")
    assert [entry["model"] for entry in lineage] == list(range(6))
    assert [entry["born"] for entry in lineage] == [0, 1, 1, 1, 2, 2]
    for entry in lineage[1:]:
        assert lineage[entry["parent"]]["born"] <= entry["born"]
        assert entry["proof"] == "proved (eval, train)"
        assert entry["pass"].startswith(("r2wider{at=", "r2deeper{at="))
        assert entry["params"] > lineage[entry["parent"]]["params"]
    by_update: dict[int, list[dict[str, str]]] = {}
    for row in scores:
        by_update.setdefault(int(row["update"]), []).append(row)
    assert sorted(by_update) == [0, 12, 22, 32]
    assert [len(by_update[u]) for u in sorted(by_update)] == [1, 1, 4, 4]
    # Who is kept are the two of the best accuracy.
    at_22 = sorted(by_update[22], key=lambda r: (-float(r["accuracy"]), float(r["loss"])))
    kept = {int(r["model"]) for r in at_22[:2]}
    assert {e["model"] for e in lineage if e["died"] == 2} == set(range(4)) - kept
    assert {int(r["model"]) for r in by_update[32]} == {*kept, 4, 5}
    # Every update is made with one model, from which its later children count on.
    assert [int(r["updates"]) for r in by_update[12]] == [12]
    assert sum(int(r["updates"]) - 12 for r in by_update[22]) == 10
    selected = [entry["model"] for entry in read(whole, "result.json")["selected"]]
    at_32 = sorted(by_update[32], key=lambda r: (-float(r["accuracy"]), float(r["loss"])))
    assert selected == [int(r["model"]) for r in at_32[:2]]


def test_every_model_is_there_and_shares_its_parents_parameters(whole: Path) -> None:
    lineage = read(whole, "lineage.json")
    models = [growc.load(whole / "models" / f"{e['model']:04}.arch") for e in lineage]
    for entry, graph in zip(lineage, models, strict=True):
        assert graph.parameter_count() == entry["params"]
        assert graph.macs() == entry["macs"]
    # Those alive at the end were written together: what they share is the same, bit by bit.
    alive = [m for e, m in zip(lineage, models, strict=True) if e["died"] is None]
    assert len(alive) == 4
    trainable = {n for m in alive for n, s in m.parameters().items() if s.trainable}
    for name in trainable:
        values = [m.weights[name].tobytes() for m in alive if name in m.weights]
        assert len(set(values)) == 1, name
    shared = [n for n in trainable if sum(n in m.weights for m in alive) > 1]
    assert len(shared) >= 16  # at least those of the first network
    distinct = {n: alive_size(alive, n) for n in trainable}
    rows = read(whole, "metrics.csv")
    assert int(rows[-1]["distinct_params"]) == sum(distinct.values())
    # Running statistics are each one's own.
    name = next(n for n in models[0].parameters() if n.endswith("running_mean"))
    assert len({m.weights[name].tobytes() for m in alive}) > 1


def alive_size(alive: list[growc.Graph], name: str) -> int:
    return next(m.weights[name].size for m in alive if name in m.weights)


def test_the_best_model_is_that_of_the_best_row(whole: Path) -> None:
    rows, result = read(whole, "metrics.csv"), read(whole, "result.json")
    best = max(rows, key=lambda r: (float(r["accuracy"]), -float(r["loss"])))
    assert result["best"]["model"] == int(best["model"])
    assert result["best"]["update"] == int(best["update"])
    graph = growc.load(whole / "best.arch")
    assert graph.parameter_count() == int(best["params"])
    for part in ("validation", "test"):
        said = result["best"][f"{part}_accuracy"]
        assert accuracy_of(whole / "best.arch", whole, part) == pytest.approx(said, abs=0.011)


def test_the_onnx_file_is_fused_and_computes_the_same(tmp_path: Path) -> None:
    run(tmp_path, replace(FEW, iterations=1, updates=60, mutations="1: r2wider"))
    graph, exported = growc.load(tmp_path / "best.arch"), growc.from_onnx(tmp_path / "best.onnx")
    assert read(tmp_path, "result.json")["best"]["model"] > 0
    assert len(exported) < len(graph)
    comparison, _ = compare_runtimes(graph, tmp_path / "best.onnx")
    assert comparison.agrees
    assert read(tmp_path, "result.json")["best_onnx"] == "proved (eval, train)"
    assert growc.prove(graph, exported, "eval").verdict == "proved"


def test_a_search_without_mutations_is_the_plain_loop(tmp_path: Path) -> None:
    """A population of one is trained as growc train does it, bit by bit."""
    evolution = replace(FEW, population=1, keep=1)
    run(tmp_path / "one", evolution)
    settings = replace(SHORT, updates=UPDATES, evaluate_every=UPDATES)
    train(net(), settings, tmp_path / "train", device="cpu", tensorboard=False)
    for name in ("last.safetensors", "last.arch"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "train" / name).read_bytes()
    last = [read(tmp_path / w, "metrics.csv")[-1] for w in ("one", "train")]
    assert last[0]["accuracy"] == last[1]["accuracy"]
    assert last[0]["flops"] == last[1]["flops"]


def test_a_child_learns_at_its_own_rate(tmp_path: Path) -> None:
    run(tmp_path, replace(FEW, iterations=1))
    lineage = read(tmp_path, "lineage.json")
    row = read(tmp_path, "metrics.csv")[-1]
    sizes = [entry["params"] for entry in lineage]
    assert float(row["lr"]) == pytest.approx(0.003 * sizes[0] / sizes[int(row["model"])], rel=1e-9)


def test_selection_by_coevolution_and_own_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = []

    def watched(*arguments: Any) -> list[int]:
        ways.append(arguments[3])
        return selecting.select(*arguments)

    monkeypatch.setattr(loop, "select", watched)
    run(tmp_path, replace(FEW, select="coevolution", moments="own", iterations=1))
    assert ways == ["coevolution", "coevolution"]
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert stored["moments"] == "own"


def test_selection_does_not_look_at_the_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other test images: another test accuracy, and nothing else."""
    run(tmp_path / "a")
    data = open_data("digits", validation=100)
    others = replace(data, test=data.test.part(range(50)))
    run(tmp_path / "b", data=others)
    a, b = outcome(tmp_path / "a"), outcome(tmp_path / "b")
    results = a.pop("result.json"), b.pop("result.json")
    assert a == b
    assert results[0]["best"].pop("test_loss") != results[1]["best"].pop("test_loss")


def test_the_ensemble(tmp_path: Path) -> None:
    """Files and result agree, and the head has learned something."""
    told = replace(FEW, iterations=1, updates=80, keep=3, ensemble=True, head_updates=150)
    result = run(tmp_path, told)["ensemble"]
    graph = growc.load(tmp_path / "ensemble.arch")
    assert result["params"] == graph.parameter_count()
    numbers = [entry["model"] for entry in read(tmp_path, "result.json")["selected"]]
    assert result["models"] == numbers
    comparison, _ = compare_runtimes(graph, tmp_path / "ensemble.onnx")
    assert comparison.agrees
    found = accuracy_of(tmp_path / "ensemble.arch", tmp_path)
    assert found == pytest.approx(result["test_accuracy"], abs=0.004)
    # A head that learned nothing would be right about one in ten.
    assert result["test_accuracy"] > read(tmp_path, "result.json")["best"]["test_accuracy"] - 0.1


def test_only_the_head_is_trained() -> None:
    data = open_data("digits", validation=100)
    batches = Batches(data.train, Normalization.of(data.train, "channel"), batch_size=32)
    first = net()
    growc.initialize(first)
    models = [first, growc.compile(first, "r2wider"), growc.compile(first, "r2deeper")]
    batch = (JointBatches(batches).batch(k) for k in range(4))
    with joined("cpu") as processes:
        module = trained_ensemble(models, 10, SHORT, batch, processes)
    fresh = ensemble(models, 10, seed=SHORT.seed)
    before = dict(growc.to_torch(fresh).named_parameters())
    moved = {n for n, p in module.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(head_parameters(fresh))
    buffers = dict(growc.to_torch(fresh).named_buffers())
    assert all(torch.equal(b, buffers[n]) for n, b in module.named_buffers())


def test_no_gradient_stays_after_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a whole population would be as large as its parameters."""
    step, left = joint.JointTraining.step, []

    def watched(self: joint.JointTraining, update: int, batch: Any) -> Any:
        done = step(self, update, batch)
        left.extend(p.grad for m in self.population.members for p in m.module.parameters())
        return done

    monkeypatch.setattr(joint.JointTraining, "step", watched)
    run(tmp_path, replace(FEW, iterations=1))
    assert len(left) > 100
    assert all(gradient is None for gradient in left)


def test_the_head_is_trained_as_long_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        ending, "in_order", lambda *given: asked.append(given[1:3]) or prefetching.in_order(*given)
    )
    told = replace(FEW, iterations=1, ensemble=True)
    run(tmp_path / "a", replace(told, head_updates=3))
    run(tmp_path / "b", told)
    assert asked == [(22, 25), (22, 32)]  # 0: as many as in an iteration


def test_the_best_and_the_last_model_are_tested(tmp_path: Path) -> None:
    """They are two models, each with its own accuracy on the test images."""
    told = replace(FEW, iterations=1, first_updates=60, updates=20)
    run(tmp_path, told, replace(SHORT, lr=0.05, optimizer="sgd", momentum=0.95, evaluate_every=3))
    result = read(tmp_path, "result.json")
    assert result["best"]["update"] < result["last"]["update"]
    assert result["best"]["test_accuracy"] != result["last"]["test_accuracy"]
    for name in ("best", "last"):
        said = result[name]["test_accuracy"]
        assert accuracy_of(tmp_path / f"{name}.arch", tmp_path) == pytest.approx(said, abs=0.004)


def test_among_equally_accurate_models_the_loss_decides(tmp_path: Path) -> None:
    run(tmp_path, replace(FEW, population=6), replace(SHORT, validation=5))
    last = [r for r in read(tmp_path, "scores.csv") if r["update"] == str(UPDATES)]
    accuracies = [float(r["accuracy"]) for r in last]
    ranked = sorted(last, key=lambda r: (-float(r["accuracy"]), float(r["loss"])))
    assert accuracies.count(max(accuracies)) > 1
    assert [r["model"] for r in ranked[:2]] != [r["model"] for r in last[:2]]
    selected = [entry["model"] for entry in read(tmp_path, "result.json")["selected"]]
    assert selected == [int(r["model"]) for r in ranked[:2]]


def test_the_options_of_a_search_reach_its_mutations(tmp_path: Path) -> None:
    told = replace(FEW, tau=0.8, widths=(0.5,), scale_lr=False, scale_weight_decay=True)
    run(tmp_path, told, replace(SHORT, weight_decay=0.01, verify="none"))
    lineage = read(tmp_path, "lineage.json")
    for entry in lineage[1:]:
        assert lineage[entry["parent"]]["params"] > 0.8 * entry["params"]
        assert entry["proof"] == "not checked (claims eval, train)"
        assert "filters=4" in entry["pass"] or "filters=8" in entry["pass"]
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for member in stored["members"]:
        (group,) = member["optimizer"]["param_groups"]
        size = lineage[member["number"]]["params"]
        assert group["weight_decay"] == pytest.approx(0.01 * lineage[0]["params"] / size)
        assert group["lr"] == 0.003


def test_weights_that_are_no_numbers_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update of a finite loss can break the weights; no evaluation comes between."""
    step = joint.JointTraining.step

    def breaking(self: joint.JointTraining, update: int, batch: Any) -> Any:
        done = step(self, update, batch)
        if update == 15:
            with torch.no_grad():
                next(self.population.members[0].module.parameters()).fill_(float("nan"))
        return done

    monkeypatch.setattr(joint.JointTraining, "step", breaking)
    monkeypatch.setattr(pace, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(growc.GrowcError, match="after 16 updates, weights are not numbers"):
        run(tmp_path)
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert stored["progress"]["update"] == 15
    assert all(bool(torch.isfinite(tensor).all()) for tensor in stored["tensors"])


def test_evaluations_within_an_iteration(tmp_path: Path) -> None:
    run(tmp_path, replace(FEW, iterations=1), replace(SHORT, evaluate_every=4))
    assert [int(r["update"]) for r in read(tmp_path, "metrics.csv")] == [0, 4, 8, 12, 16, 20, 22]


# ---- interruptions


class Interrupted(Exception):
    pass


class Interrupting(Observer):
    """Stops a search after so many updates, or when it evolves, as if it were killed."""

    def __init__(self, at: int, evolving: int = -1) -> None:
        self.at, self.evolving = at, evolving

    def updated(self, update: int, loss: float) -> None:
        if update == self.at:
            raise Interrupted

    def evolved(self, event: dict[str, Any]) -> None:
        if event["iteration"] == self.evolving:
            raise Interrupted


@pytest.mark.parametrize(
    ("at", "evolving"), [(5, -1), (12, -1), (17, -1), (31, -1), (-1, 1), (-1, 2)]
)
def test_a_search_goes_on_to_the_same_result(
    tmp_path: Path, whole: Path, at: int, evolving: int
) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, observer=Interrupting(at, evolving))
    run(tmp_path, graph=None, resume=True)
    assert outcome(tmp_path) == outcome(whole)


@pytest.mark.parametrize(("moments", "statistics"), [("shared", "tied"), ("own", "own")])
def test_it_goes_on_from_checkpoints_between_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: str, statistics: str
) -> None:
    evolution = replace(FEW, moments=moments, statistics=statistics, iterations=1)
    run(tmp_path / "whole", evolution)
    monkeypatch.setattr(pace, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(tmp_path / "part", evolution, observer=Interrupting(18))
    stored = torch.load(tmp_path / "part" / "checkpoint.pt", weights_only=True)
    assert stored["progress"]["update"] == 17
    monkeypatch.undo()
    run(tmp_path / "part", evolution, graph=None, resume=True)
    assert outcome(tmp_path / "part") == outcome(tmp_path / "whole")


def test_dropout_goes_on_to_the_same_result(tmp_path: Path) -> None:
    """What an update leaves out depends on its number, not on what came before it."""
    text = Path("examples/digits.arch").read_text(encoding="utf-8")
    file = tmp_path / "net.arch"
    file.write_text(
        text.replace("relu -> linear(classes)", "relu -> dropout(0.5) -> linear(classes)").replace(
            'use "', f'use "{Path("examples").resolve()}/'
        )
    )
    run(tmp_path / "whole", graph=growc.load(file))
    with pytest.raises(Interrupted):
        run(tmp_path / "part", graph=growc.load(file), observer=Interrupting(17))
    run(tmp_path / "part", graph=None, resume=True)
    assert outcome(tmp_path / "part") == outcome(tmp_path / "whole")


ARGUMENTS = ["examples/digits.arch", "--iterations", "2", "--updates", "10"]
ARGUMENTS += ["--first-updates", "12", "--population", "4", "--keep", "2", "--batch-size", "32"]
ARGUMENTS += ["--lr", "0.003", "--validation", "100", "--device", "cpu", "--no-tensorboard"]


def command(*arguments: str | Path, torchrun: int = 0) -> list[str]:
    start = [sys.executable, "-m", "growc"]
    if torchrun:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        start += ["--nproc-per-node", str(torchrun), "-m", "growc"]
    return [*start, "search", "neuroevolution", *map(str, arguments)]


def ended(*arguments: str | Path, torchrun: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.run(
        command(*arguments, torchrun=torchrun),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_killed_at_any_moment_it_goes_on_to_the_same_result(tmp_path: Path, whole: Path) -> None:
    where = tmp_path / "killed"
    arguments: list[str | Path] = [*ARGUMENTS, "-o", where]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    for file in ("settings.toml", "models/0002.arch", "models/0005.arch"):
        process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, env=environment)
        while not (where / file).exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        arguments = ["-o", where, "--resume"]
    done = ended(*arguments)
    assert done.returncode == 0, done.stderr
    assert outcome(where) == outcome(whole)


def test_two_processes(tmp_path: Path, whole: Path) -> None:
    """One population, alike in both: the loop itself compares them, bit by bit."""
    done = ended(*ARGUMENTS, "-o", tmp_path / "two", torchrun=2)
    assert done.returncode == 0, done.stderr
    with_one = read(whole, "result.json")
    two = read(tmp_path / "two", "result.json")
    # A batch norm of half a batch is another function, so it is only near.
    assert two["last"]["test_loss"] == pytest.approx(with_one["last"]["test_loss"], rel=0.3)
    first = [read(w, "lineage.json")[1:4] for w in (whole, tmp_path / "two")]
    assert first[0] == [e | {"died": a["died"]} for a, e in zip(*first, strict=True)]


def test_gradients_are_averaged_over_processes(tmp_path: Path) -> None:
    """Without batch norms, two processes give what one does, within rounding."""
    text = (
        "net n { input x: f32[1, 8, 8]  a = x -> conv2d(4) -> relu"
        "  b = a -> conv2d(4) -> relu -> conv2d(4)  output y = relu(a + b) -> flatten -> linear(10)"
        " }"
    )
    file = tmp_path / "net.arch"
    file.write_text(text)
    arguments = [str(file), *ARGUMENTS[1:], "--ensemble", "--head-updates", "10"]
    arguments += ["--validation", "600"]  # three batches to judge by
    for name, processes in (("one", 0), ("two", 2)):
        done = ended(*arguments, "-o", tmp_path / name, torchrun=processes)
        assert done.returncode == 0, done.stderr
    for model in ("models/0000", "ensemble"):
        a, b = (growc.load(tmp_path / name / f"{model}.arch") for name in ("one", "two"))
        for name, value in a.weights.items():
            np.testing.assert_allclose(value, b.weights[name], rtol=1e-2, atol=1e-4)
    # Each process judges by some of the batches: together, by all.
    last = [r for r in read(tmp_path / "two", "scores.csv") if r["update"] == str(UPDATES)]
    assert len(last) == 4
    for row in last:
        file = tmp_path / "two" / "models" / f"{int(row['model']):04}.arch"
        found = accuracy_of(file, tmp_path / "two", "validation", 600)
        assert found == pytest.approx(float(row["accuracy"]), abs=0.002)


# ---- mistakes


def test_no_validation_images(tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="no validation images here to select models by"):
        run(tmp_path / "r", settings=replace(SHORT, validation=0))
    assert not (tmp_path / "r").exists()


def test_no_mutation_from_the_beginning(tmp_path: Path) -> None:
    plain = growc.loads("net n { input x: f32[1, 8, 8]  output y = x -> flatten -> linear(10) }")
    with pytest.raises(growc.GrowcError, match="no mutation is left that applies to a model"):
        run(tmp_path / "r", graph=plain)
    with pytest.raises(growc.GrowcError, match=r"tau 0\.99 forbids all that apply.*0\.98\d\d at"):
        run(tmp_path / "r", replace(FEW, tau=0.99))
    assert not (tmp_path / "r").exists()


def test_no_mutation_is_left_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The search goes on with the models that there are, also resumed, and says so."""

    def barren_later(graph: growc.Graph, *arguments: Any, **more: Any) -> Any:
        if len(graph.parameters()) > len(net().parameters()):
            return mutation.Barren((), 0.9)
        if set(more.get("taken", ())) > set(net().parameters()):
            return mutation.Barren(("r2wider: no place",), None)
        return mutation.draw(graph, *arguments, **more)

    monkeypatch.setattr(breeding, "draw", barren_later)
    ensembled = replace(FEW, keep=3, ensemble=True, head_updates=2)
    run(tmp_path / "whole", ensembled, observer=TalkingOfEvolution(tmp_path / "whole"))
    assert "2 models go on: no mutation is left: tau 0 forbids" in capsys.readouterr().out
    with pytest.raises(Interrupted):
        run(tmp_path / "part", ensembled, observer=Interrupting(25))
    result = run(tmp_path / "part", graph=None, evolution=ensembled, resume=True)
    assert outcome(tmp_path / "part") == outcome(tmp_path / "whole")
    assert [e["model"] for e in read(tmp_path / "part", "lineage.json")] == [0, 1]
    assert [(u["iteration"], u["models"]) for u in result["unfilled"]] == [(1, 2), (2, 2)]
    assert "tau 0 forbids all that apply" in result["unfilled"][0]["reason"]
    assert result["updates"] == UPDATES
    assert len(result["ensemble"]["models"]) == 2  # of three that were to be kept
    assert "Iterations had fewer models than wanted: no mutation is left" in report(
        tmp_path / "part"
    )


def test_a_network_that_does_not_fit_the_data(tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="images of digits are 1x8x8"):
        run(tmp_path, graph=growc.load("examples/r2r_figure9.arch"))


def test_a_growth_schedule(tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="its mutations grow the networks"):
        run(tmp_path, settings=replace(SHORT, grow="at 5: r2wider"))


def test_training_that_diverges(tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="training has diverged, and stopped"):
        run(tmp_path, settings=replace(SHORT, lr=1e30))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    with pytest.raises(Interrupted):
        run(tmp_path, observer=Interrupting(14))
    return tmp_path


def test_more_iterations(tmp_path: Path, whole: Path) -> None:
    """A search that has ended goes on, to what a longer one would have given."""
    run(tmp_path, replace(FEW, iterations=1))
    run(tmp_path, graph=None, resume=True)
    assert outcome(tmp_path) == outcome(whole)
    with pytest.raises(growc.GrowcError, match="--iterations was 2, not 1"):
        run(tmp_path, replace(FEW, iterations=1), graph=None, resume=True)
    more = replace(FEW, iterations=3)
    with pytest.raises(growc.GrowcError, match="--lr was"):
        run(tmp_path, more, replace(SHORT, lr=0.1), graph=None, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def test_more_iterations_that_were_killed(tmp_path: Path) -> None:
    """What was said of the end is of other models than there are now."""
    told = replace(FEW, ensemble=True, head_updates=1)
    run(tmp_path, replace(told, iterations=1))
    assert "has not finished" not in report(tmp_path)
    with pytest.raises(Interrupted):
        run(tmp_path, told, graph=None, resume=True, observer=Interrupting(25))
    assert not (tmp_path / "result.json").exists()
    assert not list(tmp_path.glob("ensemble.*"))
    assert "has not finished" in report(tmp_path)
    run(tmp_path, told, graph=None, resume=True)
    assert "has not finished" not in report(tmp_path)


def test_more_iterations_where_rates_depend_on_them(tmp_path: Path) -> None:
    settings = replace(SHORT, lr_schedule="cosine")
    run(tmp_path, replace(FEW, iterations=1), settings)
    with pytest.raises(growc.GrowcError, match="--iterations cannot become 2 after 1: with --lr-s"):
        run(tmp_path, FEW, settings, graph=None, resume=True)


def test_an_edited_search(begun: Path) -> None:
    """search.toml is not where a search that was begun gets other options."""
    file = begun / "search.toml"
    text = file.read_text()
    for old, new, said in (
        ("iterations = 2", "iterations = 1", "--iterations was 2, not 1"),
        ("keep = 2", "keep = 3", "--keep was 2, not 3"),
    ):
        file.write_text(text.replace(old, new))
        with pytest.raises(growc.GrowcError, match=said) as caught:
            run(begun, Evolution.stored(file), graph=None, resume=True)
        assert "undo the change in search.toml" in str(caught.value)


def test_resumed_with_other_options(begun: Path) -> None:
    with pytest.raises(growc.GrowcError, match=r"--keep was 2, not 1; --tau was 0\.0, not 0\.5"):
        run(begun, replace(FEW, keep=1, tau=0.5), graph=None, resume=True)
    with pytest.raises(growc.GrowcError, match="--lr was"):
        run(begun, settings=replace(SHORT, lr=0.1), graph=None, resume=True)


DAMAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "strange": lambda stored: stored["members"][0].update(tensors={"nobody": 0}),
    "of growc train": lambda stored: stored.pop("members"),
    "no members": lambda stored: stored["members"].clear(),
    "a member too few": lambda stored: stored["members"].pop(),
    "no lineage": lambda stored: stored["history"]["lineage"].clear(),
    "a wrong lineage": lambda stored: stored["history"].update(lineage=["x"]),
    "no number": lambda stored: stored["history"].update(generation="1"),
    "no progress": lambda stored: stored["progress"].update(update=None),
    "no rows": lambda stored: stored["progress"].update(rows=["x"]),
    "no loss": lambda stored: stored["progress"].update(losses=["x"]),
}


@pytest.mark.parametrize("damage", ["cut", "empty", *DAMAGES])
def test_a_damaged_checkpoint(begun: Path, damage: str) -> None:
    """That is said before anything is written, also of a search that is to go on for longer."""
    file = begun / "checkpoint.pt"
    content = file.read_bytes()
    if damage in DAMAGES:
        stored = torch.load(file, weights_only=True)
        DAMAGES[damage](stored)
        torch.save(stored, file)
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    told = (begun / "search.toml").read_bytes()
    with pytest.raises(growc.GrowcError, match="no checkpoint of growc, or it is damaged"):
        run(begun, replace(FEW, iterations=3), graph=None, resume=True)
    assert (begun / "search.toml").read_bytes() == told
    file.write_bytes(content)
    if damage == "cut":
        run(begun, graph=None, resume=True)  # nothing else was touched


def test_a_damaged_folder(begun: Path) -> None:
    (begun / "start.safetensors").unlink()
    with pytest.raises(growc.GrowcError, match="no such weights file"):
        run(begun, graph=None, resume=True)


def test_a_full_disk_loses_nothing(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(growc.GrowcError, match="go on with --resume"):
        run(begun, graph=None, resume=True)
    monkeypatch.undo()
    run(begun, graph=None, resume=True)


def test_kinds_of_runs_are_kept_apart(begun: Path, tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="is a neuroevolution"):
        train(None, SHORT, begun, resume=True, device="cpu")
    with pytest.raises(growc.GrowcError, match="there is a run already"):
        run(begun)
    short = replace(SHORT, updates=2)
    train(net(), short, begun, overwrite=True, device="cpu", tensorboard=False)
    assert not (begun / "search.toml").exists()
    assert not list((begun / "models").iterdir())
    with pytest.raises(growc.GrowcError, match="is no neuroevolution"):
        run(begun, graph=None, resume=True)
    run(begun, overwrite=True)
    assert (begun / "search.toml").exists()
    (begun / "search.toml").unlink()
    for resume in (
        lambda: run(begun, graph=None, resume=True),
        lambda: train(None, short, begun, resume=True, device="cpu"),
    ):
        with pytest.raises(growc.GrowcError, match=r"search\.toml: is missing"):
            resume()


# ---- the command


def test_the_command(tmp_path: Path, growc: Any) -> None:
    done = growc("search", "neuroevolution", *ARGUMENTS, "-o", tmp_path / "r")
    assert done.status == 0, done.err
    assert "iteration 1: kept 0" in done.out
    assert "warning" not in done.err
    assert "proved (eval, train)" in done.out
    assert "selected models/" in done.out
    told = (tmp_path / "r" / "search.toml").read_text()
    assert "population = 4" in told
    # Its files tell another run the same.
    files = [
        "--config",
        tmp_path / "r/settings.toml",
        "--search-config",
        tmp_path / "r/search.toml",
    ]
    files += ["--no-tensorboard", "--device", "cpu", "-o", tmp_path / "s"]
    done = growc("search", "neuroevolution", ARGUMENTS[0], *files, "--json")
    assert done.status == 0, done.err
    assert outcome(tmp_path / "s") == outcome(tmp_path / "r")
    again = growc("search", "neuroevolution", "-o", tmp_path / "r", "--resume", "--json")
    assert again.status == 0, again.err
    assert again.json["selected"] == read(tmp_path / "r", "result.json")["selected"]


# ---- the report


def test_the_report(tmp_path: Path) -> None:
    run(tmp_path, replace(FEW, iterations=1, ensemble=True, head_updates=2))
    page = report(tmp_path)
    lineage = read(tmp_path, "lineage.json")
    assert page.count('class="branch') == len(lineage) == 4
    assert page.count('class="leaf') == len(read(tmp_path, "scores.csv")) == 6
    for entry in lineage[1:]:
        assert f"<code>{entry['pass']}</code>" in page
        assert f'<td class="number">{entry["params"]:,}</td>' in page
    assert "Each of the 3 mutations is proved to keep the function: a child begins" in page
    found = read(tmp_path, "result.json")["ensemble"]
    assert f"with {found['params']:,} parameters" in page
    assert "<td>population</td><td>4</td>" in page


def test_the_report_says_what_is_not_proved(tmp_path: Path) -> None:
    run(tmp_path, replace(FEW, iterations=1, mutations="1: r2wider; 1: random_pad"))
    proofs = [entry["proof"] for entry in read(tmp_path, "lineage.json")[1:]]
    assert sorted(proofs) == ["not claimed", "not claimed", "proved (eval, train)"]
    page = report(tmp_path)
    assert "Of 3 mutations 1 are proved to keep the function (not claimed: 2)." in page
    assert "as good as its parent" not in page


def test_the_report_of_a_search_that_has_not_finished(begun: Path) -> None:
    page = report(begun)
    assert "has not finished" in page
    assert page.count('class="branch') == 1  # the others have not been evaluated yet


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("lineage.json", '"parent": 0', '"parent": 7', "is older than its parent"),
        ("lineage.json", '"model": 1', '"model": 5', "model 5 is out of order"),
        ("lineage.json", '"params"', '"parms"', "has no `params`"),
        ("scores.csv", "accuracy", "acuracy", "has no `accuracy`"),
        ("search.toml", "keep = 2", "keep 2", "Expected '='"),
    ],
)
def test_the_report_of_damaged_files(begun: Path, file: str, old: str, new: str, said: str) -> None:
    text = (begun / file).read_text()
    (begun / file).write_text(text.replace(old, new, 1))
    with pytest.raises(growc.GrowcError) as caught:
        report(begun)
    assert said in str(caught.value)
    assert file in str(caught.value)


def test_a_mutation_without_a_place(tmp_path: Path, growc: Any) -> None:
    """It may get one; but it may also be a mistake in a name."""
    mutations = "1: r2wider{at=block1}; 1: r2deeper{at=nowhere}"
    short = ["--iterations", "1", "--updates", "2", "--population", "2", "--keep", "1"]
    given = ["examples/digits.arch", *short, "--mutations", mutations, "-o", tmp_path / "r"]
    done = growc("search", "neuroevolution", *given)
    assert done.status == 0, done.err
    assert (
        "warning: `r2deeper{at=nowhere}` has no place in the first network: r2deeper: no place"
        in (done.err)
    )


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (
            ["--mutations", "1: r2wider{at=nowhere}"],
            1,
            "no place of the network is called `nowhere`",
        ),
        (["--keep", "9", "--population", "4"], 2, "--keep cannot be 9: a population of 4"),
        (["--tau", "1.5"], 2, "--tau cannot be 1.5"),
        (["--widths", "a"], 2, "give numbers with commas between them"),
        (["--widths", "1,1e9"], 2, "--widths must be numbers above 0, of at most 1000"),
        (["--widths", "nan"], 2, "--widths must be numbers above 0"),
        (["--mutations", "1: r2widr"], 1, "did you mean `r2wider`?"),
        (["--validation", "0"], 1, "give --validation N"),
        (["--epochs", "3"], 2, "No such option"),
        (["--config", "search.toml"], 2, "give search.toml to --search-config"),
        (["--search-config", "none.toml"], 1, "none.toml: cannot be read"),
    ],
)
def test_mistakes_of_the_command(
    tmp_path: Path, growc: Any, options: list[str], status: int, said: str
) -> None:
    done = growc("search", "neuroevolution", "examples/digits.arch", *options, "-o", tmp_path / "r")
    assert done.status == status
    assert said in done.err
    assert not (tmp_path / "r").exists()
