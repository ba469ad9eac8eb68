"""Searches as runs: growth, budget, masks, interruptions, transfer; and the command."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import growc
from growc.search.ilnas import Ilnas, Task, baseline, joint_baseline
from growc.train import Settings, open_data, train
from growc.train.data import Batches, Normalization
from growc.train.observers import Observer
from growc.train.schedule import Repeated, parse_schedule

START = 1_500
SHORT = Settings(
    updates=24,
    evaluate_every=6,
    batch_size=16,
    lr=0.01,
    scale_lr=False,
    grow="every 5 until 20: ilnas{max_params=2600, nodes=3}",
)


def net(seed: int = 0) -> growc.Graph:
    return baseline((1, 8, 8), 10, START, seed)


def run(where: Path, settings: Settings = SHORT, **more: Any) -> Any:
    graph = more.pop("graph", net())
    return train(graph, settings, where, device="cpu", tensorboard=False, **more)


def growths(where: Path) -> list[dict[str, Any]]:
    return list(json.loads((where / "growth.json").read_text()))


OPTIMIZERS = (
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"optimizer": "adam", "weight_decay": 0.01, "amsgrad": True},
    {"optimizer": "adamw", "weight_decay": 0.1},
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o["optimizer"])
@pytest.mark.parametrize("granularity", ["kernel", "weight", "layer"])
def test_a_search_reaches_its_size_and_masked_weights_stay_zero(
    tmp_path: Path, optimizer: dict[str, Any], granularity: str
) -> None:
    grow = f"every 5 until 20: ilnas{{max_params=2600, nodes=3, granularity={granularity}}}"
    result = run(tmp_path, replace(SHORT, **optimizer, grow=grow))
    steps = growths(tmp_path)
    assert [s["update"] for s in steps] == [5, 10, 15, 20]
    for step in steps:
        assert step["params"][1] - step["params"][0] == step["search"]["added"]
        assert step["search"]["added"] <= step["search"]["wanted"]
        assert step["proof"] in ("proved (eval, train)", "nothing changed")
        for mode in ("eval", "train"):
            assert step["loss_after"][mode] == pytest.approx(step["loss_before"][mode], abs=1e-4)
    sizes = [
        int(r["params"])
        for r in csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1] == result["params"] <= 2600
    if granularity != "layer":  # whole layers rarely fit exactly
        assert result["params"] > 2560
    last = growc.load(tmp_path / "last.arch")
    assert last.weights.masks
    for key, mask in last.weights.masks.items():
        assert not last.weights[key][~mask].any()
        assert last.weights[key][mask].any()


def test_each_expansion_can_be_replayed_and_its_proof_checked(tmp_path: Path) -> None:
    run(tmp_path)
    for step in growths(tmp_path):
        where = tmp_path / "growth" / str(step["update"])
        before, after = growc.load(where / "before.arch"), growc.load(where / "after.arch")
        again = growc.compile(before, step["pipeline"])
        assert growc.same_weights(again, after)
        assert again.order() == after.order()


class Interrupted(Exception):
    pass


class Interrupting(Observer):
    """Stops a run after so many updates, as if it were killed."""

    def __init__(self, at: int) -> None:
        self.at = at

    def updated(self, update: int, loss: float) -> None:
        if update == self.at:
            raise Interrupted


@pytest.mark.parametrize("at", [3, 7, 11, 16, 22])
def test_a_search_goes_on_to_the_same_result(tmp_path: Path, at: int) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    run(whole)
    with pytest.raises(Interrupted):
        run(part, observer=Interrupting(at))
    train(None, SHORT, part, resume=True, device="cpu", tensorboard=False)
    for name in ("last.arch", "last.safetensors", "best.safetensors", "best.onnx"):
        assert (whole / name).read_bytes() == (part / name).read_bytes()
    said = [[s["pipeline"] for s in growths(w)] for w in (whole, part)]
    assert said[0] == said[1]


def test_random_additions_are_as_many_and_others(tmp_path: Path) -> None:
    run(tmp_path / "gradient")
    settings = replace(SHORT, grow=SHORT.grow.replace("nodes=3", "nodes=3, select=random"))
    run(tmp_path / "random", settings)
    by_gradient, at_random = growths(tmp_path / "gradient"), growths(tmp_path / "random")
    assert by_gradient[0]["search"]["wanted"] == at_random[0]["search"]["wanted"]
    assert by_gradient[0]["pipeline"] != at_random[0]["pipeline"]
    assert at_random[0]["search"]["hyperarchitecture"] == 0


def test_a_found_network_goes_on_growing_elsewhere(tmp_path: Path) -> None:
    run(tmp_path / "first")
    found = growc.load(tmp_path / "first" / "best.arch")
    grow = "every 5 until 20: ilnas{max_params=4000}"
    result = run(tmp_path / "second", replace(SHORT, grow=grow, seed=5), graph=found)
    assert result["params"] > found.parameter_count()
    first = growths(tmp_path / "second")[0]
    assert first["params"][0] == found.parameter_count()


def test_dead_channels_can_be_pruned_for_export(tmp_path: Path) -> None:
    run(tmp_path)
    found = growc.load(tmp_path / "best.arch")
    # A channel whose connections onwards are all missing does not matter.
    key = found.node("head").parameter("weight")
    mask = found.weights.mask(key).copy()
    mask[:, 0] = False
    found.weights.put(key, np.where(mask, found.weights[key], np.float32(0)), mask)
    smaller = growc.compile(found, "prune_dead")
    assert smaller.parameter_count() < found.parameter_count()
    assert growc.prove(found, smaller).verdict == "proved"


# ---- schedules


def test_a_search_in_a_schedule_is_read_and_written() -> None:
    text = "every 500 until 4000: ilnas{max_params=50000, granularity=kernel, sources=0}"
    (step,) = parse_schedule(text)
    assert isinstance(step, Repeated)
    assert step.search == Ilnas(max_params=50000, granularity="kernel", sources=0)
    assert str(step) == text
    assert list(step.times(5000)) == list(range(500, 4001, 500))
    assert list(step.times(1700)) == [500, 1000, 1500]
    text = text.replace("500 until", "500 or flat 0.01 until")
    (flat,) = parse_schedule(text)
    assert isinstance(flat, Repeated)
    assert (str(flat), flat.flat, flat.window) == (text, 0.01, 125)
    falling = [2.0 - i / 250 for i in range(250)]
    assert not flat.is_flat(falling, 300)
    assert flat.is_flat([2.0] * 250, 300)
    assert not flat.is_flat([2.0] * 249, 300)  # too soon after the last expansion
    assert not flat.is_flat([2.0] * 250, 4001)  # fixed by then


def test_an_expansion_comes_early_where_the_loss_no_longer_falls(tmp_path: Path) -> None:
    """Algorithm 1, line 4: the gradient is near zero, or so many updates are over."""
    grow = "every 80 or flat 0.02 until 160: ilnas{max_params=2600, nodes=3}"
    # So small a rate that nothing is learned: after two windows of 20 updates it is asked.
    still = replace(SHORT, updates=170, evaluate_every=50, lr=1e-7, grow=grow)
    run(tmp_path / "still", still)
    assert [g["update"] for g in growths(tmp_path / "still")][:3] == [40, 80, 120]
    learning = replace(still, lr=0.01)
    whole = run(tmp_path / "whole", learning)
    asked = [g["update"] for g in growths(tmp_path / "whole")]
    assert 80 in asked
    assert 40 not in asked
    # Interrupted at any place, it is asked at the same times.
    for stop in (45, 130):
        where = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            run(where, learning, observer=_Stop(stop))
        again = run(where, learning, resume=True)
        assert [g["update"] for g in growths(where)] == asked
        assert again["last"] == whole["last"]


class _Stop(Observer):
    """Interrupts a run after so many updates."""

    def __init__(self, at: int) -> None:
        self.at = at

    def updated(self, update: int, loss: float) -> None:
        if update == self.at:
            raise KeyboardInterrupt


def test_one_network_learns_two_tasks_and_exports_as_one_file(tmp_path: Path) -> None:
    data = "digits + digits?size=12"
    tasks = [Task("digits_1", (1, 8, 8), 10), Task("digits_2", (1, 12, 12), 10)]
    grow = "every 10 until 60: ilnas{max_params=4200, shared=0.3}"
    settings = replace(SHORT, data=data, updates=90, evaluate_every=30, batch_size=32, grow=grow)
    whole = run(tmp_path / "whole", settings, graph=joint_baseline(tasks, 2400, 0, 0.3))
    assert whole["shared_params"] / whole["params"] == pytest.approx(0.3, abs=0.05)
    assert 4000 < whole["params"] <= 4200
    for name in ("digits_1", "digits_2"):
        assert whole["last"][f"test_accuracy_{name}"] > 0.3  # chance: 0.1
    rows = list(csv.DictReader((tmp_path / "whole" / "metrics.csv").read_text().splitlines()))
    for row in rows:
        each = [float(row[f"accuracy_digits_{i}"]) for i in (1, 2)]
        assert float(row["accuracy"]) == pytest.approx(sum(each) / 2)
    assert {g["proof"] for g in growths(tmp_path / "whole")} == {"proved (eval, train)"}
    start = joint_baseline(tasks, 2400, 0, 0.3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", settings, graph=start, observer=_Stop(50))
    again = run(tmp_path / "cut", settings, resume=True, graph=start)
    assert again["last"] == whole["last"]
    best = tmp_path / "whole" / "best"
    verified = growc_("verify", f"{best}.arch", f"{best}.onnx", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout
    shown = growc_("show", f"{best}.arch", cwd=tmp_path)
    assert "several outputs depend on" in shown.stdout


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_is_shared_ends_at_the_wanted_share(tmp_path: Path, share: float) -> None:
    tasks = [Task(f"digits_{i}", (1, 8, 8), 10) for i in (1, 2)]
    grow = f"every 5 until 25: ilnas{{max_params=6000, shared={share}}}"
    settings = replace(SHORT, data="digits + digits", updates=30, batch_size=32, grow=grow)
    # Begun with another share.
    result = run(tmp_path, settings, graph=joint_baseline(tasks, 2400, 0, 0.2))
    if share:
        assert result["shared_params"] / result["params"] == pytest.approx(share, abs=0.01)
    else:
        assert result["shared_params"] == growths(tmp_path)[0]["search"]["shared_before"]
    assert result["params"] > 5_900


CROSSED = """net crossed {
    input x: f32[1, 8, 8]
    input y: f32[1, 8, 8]
    a = x -> flatten -> linear(10)
    b = y -> flatten -> linear(10)
    output o = OUT
    output p = b
}
"""


@pytest.mark.parametrize(("output", "said"), [("a + b", "depends on the input `y`"), ("b", "`y`")])
def test_each_output_is_for_its_own_images(tmp_path: Path, output: str, said: str) -> None:
    graph = growc.loads(CROSSED.replace("OUT", output))
    with pytest.raises(growc.GrowcError, match="the output `o` is for the images of `x`") as caught:
        run(tmp_path, replace(SHORT, data="digits + digits", grow="", scale_lr=True), graph=graph)
    assert said in str(caught.value)


def test_another_search_after_an_early_expansion_is_no_resumed_run(tmp_path: Path) -> None:
    grow = "every 120 or flat 0.5 until 160: ilnas{max_params=2600}"
    settings = replace(SHORT, updates=170, evaluate_every=50, lr=1e-7, grow=grow)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings, observer=_Stop(105))
    assert [g["update"] for g in growths(tmp_path)][:1] == [60]
    for other in (grow.replace(" or flat 0.5", ""), grow.replace("2600", "2700")):
        with pytest.raises(growc.GrowcError, match="would now be others"):
            run(tmp_path, replace(settings, grow=other), resume=True)
    # An early expansion that did not come could have come in the other run.
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "plain", replace(settings, grow=grow.replace(" or flat 0.5", "")),
            observer=_Stop(105))  # fmt: skip
    with pytest.raises(growc.GrowcError, match="would now be others"):
        run(tmp_path / "plain", settings, resume=True)


@pytest.mark.parametrize("flat", [0.0, 1e-05, 0.123456789, 0.5])
def test_schedules_with_flat_are_read_back(flat: float) -> None:
    (step,) = parse_schedule("every 9 until 20: ilnas{max_params=5}")
    assert isinstance(step, Repeated)
    other = replace(step, flat=flat)
    assert parse_schedule(str(other)) == (other,)


def test_a_task_that_had_its_last_images_waits_for_the_others(tmp_path: Path) -> None:
    """Instance norms take no empty batches, so it looks at a black image meanwhile."""
    graph = growc.loads(
        "net n {\n    input x: f32[1, 8, 8]\n    input y: f32[1, 8, 8]\n"
        "    output o = x -> conv2d(4) -> instance_norm -> relu -> flatten -> linear(10)\n"
        "    output p = y -> conv2d(4) -> instance_norm -> relu -> flatten -> linear(10)\n}\n"
    )
    growc.initialize(graph)
    few = open_data("digits", validation=30)
    many = open_data("digits", validation=400)
    settings = replace(SHORT, data="digits + digits", updates=4, grow="", scale_lr=True)
    both = train(graph, settings, tmp_path, device="cpu", tensorboard=False, data=(few, many))
    model = growc.to_torch(growc.load(tmp_path / "last.arch")).eval()
    batches = Batches(few.test, Normalization.of(few.train, "channel"), batch_size=999, train=False)
    images, labels = batches.batch(0)
    right = (model(images, images)["o"].argmax(1) == labels).double().mean()
    assert both["last"]["test_accuracy_digits_1"] == pytest.approx(float(right))


def test_networks_and_data_sets_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="has 1 input and 1 output") as caught:
        run(tmp_path, replace(SHORT, data="digits + digits"))
    assert "2 of each for 2 data sets" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("every 0: ilnas{max_params=5}", "a search is asked every 1 update at least"),
        ("every 9 until 5: ilnas{max_params=5}", "the search is first asked at 9, after 5"),
        ("every 9 or flat 1: ilnas{max_params=5}", "a share of itself, of less than 1"),
        ("every 9 or flat .1.: ilnas{max_params=5}", "a share of itself, of less than 1"),
        ("every 5: ilnsa{max_params=5}", "no search is called `ilnsa`"),
        ("every 5: ilnas", "`ilnas` needs the argument `max_params`"),
        ("every 5: ilnas{max_params=5, node=3}", "`ilnas` has no option `node`"),
        ("every 5: ilnas{max_params=5}; at 9: r2wider", "a search stands alone"),
    ],
)
def test_mistakes_in_a_search(text: str, said: str) -> None:
    with pytest.raises(growc.GrowcError) as caught:
        parse_schedule(text)
    assert said in str(caught.value)


def test_a_network_beyond_the_size_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(growc.GrowcError, match="max_params is 100"):
        run(tmp_path, replace(SHORT, grow="every 5: ilnas{max_params=100}"))
    assert not (tmp_path / "settings.toml").exists()


# ---- the command


def growc_(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "growc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_the_command_from_a_baseline_to_a_page(tmp_path: Path) -> None:
    options = ["--max-params", "2600", "--epochs", "1", "--batch-size", "64", "--nodes", "2"]
    options += ["--expand-every", "6", "--device", "cpu", "-o", "found"]
    done = growc_("search", "ilnas", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "every 6 until 18: ilnas{max_params=2600, nodes=2}" in done.stdout
    assert "proved (eval, train)" in done.stdout
    again = growc_("search", "ilnas", "-o", "found", "--resume", cwd=tmp_path)
    config = ["--config", "found/settings.toml", "--sources", "1", "-o", "other"]
    other = growc_("search", "ilnas", *config, cwd=tmp_path)
    assert "every 6 until 18: ilnas{max_params=2600, nodes=2, sources=1}" in other.stdout
    assert again.returncode == 0, again.stderr
    shown = growc_("show", "found/best.arch", cwd=tmp_path)
    assert " full " in shown.stdout
    assert growc_("report", "found", "-o", "found.html", cwd=tmp_path).returncode == 0
    assert growc_("verify", "found/best.arch", "found/best.onnx", cwd=tmp_path).returncode == 0


def test_growth_steps_of_a_configuration_are_not_dropped(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('updates = 50\ngrow = "at 20: r2deeper"\n')
    options = ["--max-params", "9000", "--config", "run.toml", "-o", "run"]
    done = growc_("search", "ilnas", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert "the configuration has growth steps" in done.stderr


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ([], 2, "give --max-params"),
        (["--max-params", "100"], 1, "the template's smallest network has"),
        (
            ["--max-params", "9000", "--granularity", "kernels"],
            2,
            "--granularity: `granularity` of",
        ),
        (["--max-params", "9000", "--updates", "5", "--expand-every", "9"], 2, "the first expansi"),
        (["--max-params", "9000", "--resume", "--start-params", "5"], 2, "--start-params is for"),
        (["--max-params", "9000", "--data", "nothing"], 1, "no data set `nothing`"),
    ],
)
def test_mistakes_of_the_command(
    tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    done = growc_("search", "ilnas", *options, "-o", "run", cwd=tmp_path)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
