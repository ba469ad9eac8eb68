"""Whole training runs on the real digits: growth on the way, interruptions, and bad ends."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import growc
from growc.ir import files
from growc.train import Settings, growth_steps, loop, pace, train
from growc.train.data import Batches, Normalization, open_data
from growc.train.observers import Observer

GROW = "at 6: r2wider{variant=concat}; at 10: r2deeper{at=block1}"
SHORT = Settings(updates=14, evaluate_every=4, batch_size=32, grow=GROW, amsgrad=True)
FILES = ("best.arch", "best.safetensors", "best.onnx", "last.arch", "last.safetensors")


def net(text: str | None = None) -> growc.Graph:
    return growc.loads(text) if text else growc.load("examples/digits.arch")


# A dropout draws from torch's generator, which resuming must put back; a batch norm has statistics.
NOISY = """
net noisy {
    input image: f32[1, 8, 8]
    x = image -> conv2d(4) -> batch_norm -> relu -> flatten -> linear(16) -> relu
    y = x -> linear(16) -> relu -> dropout(0.3) -> linear(16)
    output z = relu(x + y) -> linear(10)
}
"""


def run(where: Path, settings: Settings = SHORT, text: str | None = None, **more: Any) -> Any:
    return train(net(text), settings, where, device="cpu", tensorboard=False, **more)


def outcome(where: Path) -> dict[str, Any]:
    """What a run gave, bit by bit, but for the seconds."""
    found: dict[str, Any] = {name: (where / name).read_bytes() for name in FILES}
    for name in ("growth.json", "result.json"):
        if (where / name).exists():
            value = json.loads((where / name).read_text())
            for entry in value if isinstance(value, list) else [value]:
                entry.pop("seconds")
            found[name] = value
    found["rows"] = rows(where)
    for row in found["rows"]:
        row.pop("seconds")
    return found


def rows(where: Path) -> list[dict[str, str]]:
    with (where / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- what a run does


def test_it_is_the_plain_loop(tmp_path: Path) -> None:
    """Within float32's rounding, what a loop by hand gives."""
    run(tmp_path, replace(SHORT, grow=""))
    graph = net()
    growc.initialize(graph, 0)
    model = growc.to_torch(graph)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=True)
    data = open_data("digits")
    normalization = Normalization.of(data.train, "channel")
    batches = Batches(data.train, normalization, batch_size=32)
    for k in range(14):
        images, labels = batches.batch(k)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    by_hand = growc.weights_of(graph, model)
    trained = growc.load(tmp_path / "last.arch").weights
    for name, value in by_hand.items():
        torch.testing.assert_close(trained[name], value, rtol=1e-5, atol=1e-7)


def test_growth_is_logged_and_does_not_move_the_loss(tmp_path: Path) -> None:
    result = run(tmp_path)
    first, second = json.loads((tmp_path / "growth.json").read_text())
    assert (first["update"], second["update"]) == (6, 10)
    for growth in (first, second):
        assert growth["proof"] == "proved (eval, train)"
        for mode in ("eval", "train"):
            before, after = growth["loss_before"][mode], growth["loss_after"][mode]
            # Sums of some hundred float32 products in another order.
            assert after == pytest.approx(before, rel=1e-5)
        assert growth["lr_factor"] == growth["params"][0] / growth["params"][1]
    assert first["params"][1] == second["params"][0]
    found = rows(tmp_path)
    assert [int(r["update"]) for r in found] == [0, 4, 8, 12, 14]
    sizes = [first["params"][0], first["params"][1], second["params"][1]]
    assert [int(r["params"]) for r in found] == [sizes[0], sizes[0], sizes[1], sizes[2], sizes[2]]
    rates = [float(r["lr"]) for r in found]
    assert rates[2] == pytest.approx(1e-3 * sizes[0] / sizes[1], rel=1e-12)
    assert rates[4] == pytest.approx(1e-3 * sizes[0] / sizes[2], rel=1e-12)
    assert result["params"] == sizes[2]


def test_flops_are_counted_by_the_network_of_the_moment(tmp_path: Path) -> None:
    run(tmp_path)
    first, second = json.loads((tmp_path / "growth.json").read_text())
    macs = [*([first["macs"][0]] * 6), *([first["macs"][1]] * 4), *([second["macs"][1]] * 4)]
    assert [float(r["flops"]) for r in rows(tmp_path)] == [
        sum(6.0 * 32 * m for m in macs[:k]) for k in (0, 4, 8, 12, 14)
    ]


def test_the_proof_of_a_growth_step_can_be_checked_again(tmp_path: Path) -> None:
    from growc.compiler import recheck

    run(tmp_path)
    where = tmp_path / "growth" / "10"
    before, after = growc.load(where / "before.arch"), growc.load(where / "after.arch")
    assert recheck(where / "proof.json", before, after).verdict == "proved"


def test_the_best_model_is_that_of_the_best_row(tmp_path: Path) -> None:
    result = run(tmp_path, replace(SHORT, lr=0.05, updates=20, grow=""))
    best = max(rows(tmp_path), key=lambda r: (float(r["accuracy"]), -float(r["loss"])))
    assert result["best"]["update"] == int(best["update"])
    data = open_data("digits")
    normalization = Normalization.from_json(
        json.loads((tmp_path / "normalization.json").read_text())
    )
    batches = Batches(data.test, normalization, batch_size=len(data.test), train=False)
    images, labels = batches.batch(0)
    (logits,) = growc.run_onnx(tmp_path / "best.onnx", {"image": images.numpy()}).values()
    right = float((torch.from_numpy(logits).argmax(1) == labels).double().mean())
    assert right == pytest.approx(result["best"]["test_accuracy"], abs=1e-9)


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "lr": 0.05, "amsgrad": False},
        {"optimizer": "adamw", "weight_decay": 0.1, "scale_weight_decay": True},
        {"loss": "binary_cross_entropy", "normalize": "mean_image", "replacement": True},
        {"precision": "bfloat16", "lr_schedule": "cosine", "warmup": 3, "crop": "resized"},
        {"clip": 0.1, "crop": "pad", "flip": True, "label_smoothing": 0.1, "validation": 0},
    ],
    ids=["sgd", "adamw", "bce", "bfloat16", "clip"],
)
def test_it_learns_in_every_way(tmp_path: Path, more: dict[str, Any]) -> None:
    settings = replace(SHORT, updates=40, lr=3e-3, evaluate_every=20)
    run(tmp_path, replace(settings, **more))
    found = rows(tmp_path)
    assert float(found[-1]["loss"]) < float(found[0]["loss"])


def test_what_an_observer_is_told_and_when(tmp_path: Path) -> None:
    """The data at once; an evaluation before it is in the checkpoint: after a kill in between, it
    is made and told again, so that no curve lacks it."""
    told: list[Any] = []

    class Told(Observer):
        def opened(self, data: Any) -> None:
            told.append((data.name, (tmp_path / "settings.toml").exists()))

        def evaluated(self, row: dict[str, Any], best: bool) -> None:
            told.append((row["update"], (tmp_path / "checkpoint.pt").exists()))
            if row["update"] == 4:
                raise Killed

    with pytest.raises(Killed):
        run(tmp_path, observer=Told())
    assert told == [("digits", False), (0, False), (4, True)]
    with pytest.raises(Killed):
        train(None, SHORT, tmp_path, resume=True, device="cpu", observer=Told())
    assert told[-1] == (4, True)


def test_threads_that_prepare_batches_change_nothing(tmp_path: Path) -> None:
    run(tmp_path / "a", workers=0)
    run(tmp_path / "b", workers=3)
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    run(tmp_path, replace(SHORT, updates=2, grow=""))
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_passes_that_find_nothing_in_the_weights_of_the_moment(tmp_path: Path) -> None:
    """Copies of channels are equal in the rehearsal, and no longer after some updates."""
    grow = "at 3: net2wider; at 6: merge_duplicates, prune_dead; at 9: prune_dead, r2deeper"
    run(tmp_path / "a", replace(SHORT, grow=grow))
    _, idle, both = json.loads((tmp_path / "a" / "growth.json").read_text())
    assert idle["params"][0] == idle["params"][1]
    assert (idle["at"], idle["lr_factor"], idle["proof"]) == ([], 1.0, "nothing changed")
    assert [why.split(":")[0] for why in idle["nothing"]] == ["merge_duplicates", "prune_dead"]
    assert both["params"][0] < both["params"][1]
    assert len(both["nothing"]) == len(both["at"]) == 1
    # A step that finds nothing leaves model, optimizer and rate alone.
    run(
        tmp_path / "b",
        replace(SHORT, grow=grow.replace(" at 6: merge_duplicates, prune_dead;", "")),
    )
    assert rows(tmp_path / "a")[3]["lr"] == rows(tmp_path / "b")[3]["lr"]


def test_a_network_is_left_alone_where_nothing_is_found(tmp_path: Path) -> None:
    run(tmp_path / "a", replace(SHORT, grow="at 6: merge_duplicates"))
    run(tmp_path / "b", replace(SHORT, grow=""))
    a, b = outcome(tmp_path / "a"), outcome(tmp_path / "b")
    assert len(a.pop("growth.json")) == 1
    assert a == b


# ---- interruptions


class Killed(BaseException):
    """Not an Exception, as nothing may catch it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Kill before the ``count``-th time that a file gets its final name."""
    replaced = Path.replace
    left = [count]

    def replace_or_die(self: Path, target: Path) -> Any:
        left[0] -= 1
        if left[0] <= 0:
            raise Killed
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", replace_or_die)


@pytest.mark.parametrize("text", [None, NOISY], ids=["digits", "noisy"])
def test_killed_at_any_file_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    grow = GROW if text is None else "at 6: r2wider; at 10: r2deeper"
    settings = replace(SHORT, grow=grow)
    run(tmp_path / "whole", settings, text)
    wanted = outcome(tmp_path / "whole")
    # Some 50 files get their names in a run; the same ones again after a kill.
    for count in range(2, 60, 5):
        where = tmp_path / str(count)
        with monkeypatch.context() as patch:
            kill_at(patch, count)
            try:
                run(where, settings, text)
            except Killed:
                pass
            else:
                break
        if not (where / "settings.toml").exists():
            continue
        assert not list(where.glob("**/.growc-*")), "temporary files are left"
        train(None, settings, where, resume=True, device="cpu", tensorboard=False)
        assert outcome(where) == wanted, f"killed before file {count}"
    else:
        pytest.fail("a run writes more files than this test kills it at")


def test_killed_between_weights_and_their_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files cannot change at once; a reader is told, and never gets another model."""
    replaced = Path.replace
    seen: list[str] = []

    def replace_or_die(self: Path, target: Path) -> Any:
        seen.append(target.name)
        if seen.count("last.arch") == 2:
            raise Killed
        return replaced(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(Killed):
            run(tmp_path)
    assert seen[-2:] == ["last.safetensors", "last.arch"]
    with pytest.raises(growc.GrowcError, match="the weights are not the ones this network was"):
        growc.load(tmp_path / "last.arch")
    # As far as it was written, the evaluation is in files before the checkpoint has it.
    train(None, SHORT, tmp_path, resume=True, device="cpu", tensorboard=False)
    assert growc.load(tmp_path / "last.arch").weights


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    run(tmp_path / "whole")
    grow_step = growth_steps.grow_step

    def killed(*args: Any, **more: Any) -> Any:
        if when == "after":
            grow_step(*args, **more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(growth_steps, "grow_step", killed)
        with pytest.raises(Killed):
            run(tmp_path / "cut")
    train(None, SHORT, tmp_path / "cut", resume=True, device="cpu", tensorboard=False)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_checkpoints_between_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after each update, also after one with a growth step before it."""
    monkeypatch.setattr(pace, "CHECKPOINT_SECONDS", 0.0)
    require_same_when_killed(tmp_path, SHORT, (3, 8, 11, 14))


class Killing(Observer):
    def __init__(self, at: int) -> None:
        self.at = at

    def updated(self, update: int, loss: float) -> None:
        if update == self.at:
            raise Killed


def require_same_when_killed(tmp_path: Path, settings: Settings, updates: tuple[int, ...]) -> None:
    """A run that is killed at one of the updates and resumed gives what it gives uninterrupted."""
    run(tmp_path / "whole", settings)
    for at in updates:
        where = tmp_path / str(at)
        with pytest.raises(Killed):
            run(where, settings, observer=Killing(at))
        train(None, settings, where, resume=True, device="cpu", tensorboard=False)
        assert outcome(where) == outcome(tmp_path / "whole")


def sizes(where: Path) -> list[int]:
    growths = json.loads((where / "growth.json").read_text())
    return [growths[0]["params"][0], *(g["params"][1] for g in growths)]


def test_a_step_that_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of channels stay equal, as the rate is 0 when they come; their moments move on."""
    monkeypatch.setattr(pace, "CHECKPOINT_SECONDS", 0.0)
    grow = "at 6: net2wider; at 10: merge_duplicates"
    still = {"lr_schedule": "steps", "lr_steps": (5,), "lr_decay": 0.0}
    require_same_when_killed(tmp_path, replace(SHORT, grow=grow, **still), (8, 12))
    before, wide, after = sizes(tmp_path / "whole")
    assert before == after < wide


def test_steps_under_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters that are missing are not trained, before and after a resumption."""
    monkeypatch.setattr(pace, "CHECKPOINT_SECONDS", 0.0)
    grow = "at 4: new_node{count=2}; at 8: new_connection{count=3}; at 12: r2deeper{at=block1}"
    require_same_when_killed(tmp_path, replace(SHORT, grow=grow), (6, 10, 13))
    found = sizes(tmp_path / "whole")
    assert found == sorted(found)
    last = growc.load(tmp_path / "whole" / "last.arch").weights
    assert last.masks
    for name, mask in last.masks.items():
        assert not last[name][~mask].any()
        assert last[name][mask].all()


def test_resuming_what_has_ended_changes_nothing(tmp_path: Path) -> None:
    result = run(tmp_path)
    before = outcome(tmp_path)
    again = train(None, SHORT, tmp_path, resume=True, device="cpu", tensorboard=False)
    assert again["best"] == result["best"]
    assert outcome(tmp_path) == before


# ---- bad ends


def message(where: Path, *args: Any, **more: Any) -> str:
    with pytest.raises(growc.GrowcError) as caught:
        train(*args, where, device="cpu", tensorboard=False, **more)
    return str(caught.value)


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SHORT, updates=20)
    real = loop.loss_of
    calls = [0]

    def diverging(settings: Settings) -> Any:
        inner = real(settings)

        def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            calls[0] += logits.requires_grad
            return inner(logits, labels) * (float("inf") if calls[0] == 12 else 1.0)

        return loss

    monkeypatch.setattr(loop, "loss_of", diverging)
    said = message(tmp_path, net(), settings)
    assert "the loss of update 12 is inf, 1 updates after the network grew" in said
    assert "last.arch is the model after 8 updates" in said
    assert [r["update"] for r in rows(tmp_path)] == ["0", "4", "8"]
    kept = growc.load(tmp_path / "last.arch")
    assert all(bool((v == v).all()) for v in kept.weights.values())
    monkeypatch.undo()
    train(None, settings, tmp_path, resume=True, device="cpu", tensorboard=False)


def test_a_network_that_overflows_at_once(tmp_path: Path) -> None:
    graph = net()
    growc.initialize(graph)
    for name, value in list(graph.weights.items()):
        graph.weights.put(name, value * np.float32(1e30))
    said = message(tmp_path, graph, replace(SHORT, grow=""))
    assert "the validation loss after 0 updates is nan: the network overflows before any" in said
    assert "last.arch" not in said


def test_only_dropout_needs_a_seed_for_each_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    settings = replace(SHORT, grow="")
    run(tmp_path / "plain", settings)
    assert not seeds
    run(tmp_path / "noisy", settings, NOISY)
    assert len(set(seeds)) == settings.updates


def test_weights_that_are_no_numbers_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update of a finite loss can break the weights; no evaluation comes between."""
    monkeypatch.setattr(pace, "CHECKPOINT_SECONDS", 0.0)

    class Breaking(Observer):
        def updated(self, update: int, loss: float) -> None:
            if update == 3:
                with torch.no_grad():
                    next(model[0].parameters()).fill_(float("nan"))

    adopt = loop.Loop._adopt
    model: list[nn.Module] = []

    def spied(self: loop.Loop, given: nn.Module) -> None:
        model[:] = [given]
        adopt(self, given)

    monkeypatch.setattr(loop.Loop, "_adopt", spied)
    said = message(tmp_path, net(), SHORT, observer=Breaking())
    assert "after 3 updates, weights are not numbers" in said


def test_what_must_be_the_same_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no run to resume" in message(tmp_path, None, SHORT, resume=True)
    run(tmp_path)
    before = outcome(tmp_path)
    assert "there is a run already" in message(tmp_path, net(), SHORT)
    said = message(tmp_path, None, replace(SHORT, lr=0.5, seed=3), resume=True)
    assert "--lr was 0.001, not 0.5; --seed was 0, not 3" in said
    other = growc.compile(net(), "r2deeper", verify="none")
    said = message(tmp_path, other, SHORT, resume=True, name="digits.arch")
    assert "digits.arch: the network changed since the run in" in said
    other = net()
    growc.initialize(other, 7)
    assert "the network's weights changed" in message(tmp_path, other, SHORT, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(growc, "__version__", "9.9")
        said = message(tmp_path, None, SHORT, resume=True)
        assert f"was written by growc {growc.__version__}" not in said
        assert "and this is growc 9.9" in said
    assert outcome(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", "cut"])
def test_damaged_checkpoints(tmp_path: Path, content: bytes | str) -> None:
    run(tmp_path)
    checkpoint = tmp_path / "checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    said = message(tmp_path, None, SHORT, resume=True)
    assert "this is no checkpoint of growc, or it is damaged" in said


@pytest.mark.parametrize("wrong", [{"update": None}, {"rows": ["x"]}, {"losses": ["x"]}])
def test_checkpoints_with_strange_values(tmp_path: Path, wrong: dict[str, Any]) -> None:
    run(tmp_path)
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    stored["progress"].update(wrong)
    torch.save(stored, tmp_path / "checkpoint.pt")
    said = message(tmp_path, None, SHORT, resume=True)
    assert "this is no checkpoint of growc, or it is damaged" in said


def test_a_checkpoint_of_another_run(tmp_path: Path) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b", replace(SHORT, seed=1))
    (tmp_path / "a" / "checkpoint.pt").write_bytes((tmp_path / "b" / "checkpoint.pt").read_bytes())
    assert "is of another run" in message(tmp_path / "a", None, SHORT, resume=True)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")
    fsync = files.os.fsync
    left = [40]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        said = message(tmp_path / "cut", net(), SHORT)
    assert "cannot be written (No space left on device)" in said
    assert "the run is kept as of its last checkpoint" in said
    assert "nothing was changed" not in said
    train(None, SHORT, tmp_path / "cut", resume=True, device="cpu", tensorboard=False)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        (
            "net n { input x: f32[1, 9, 9]  output y = x -> flatten -> linear(10) }",
            {},
            "takes 1x9x9 in its input `x`, and images of digits are 1x8x8",
        ),
        (
            "net n { input x: f32[1, 8, 8]  output y = x -> flatten -> linear(9) }",
            {},
            "gives 9 in its output `y`, and digits has 10 classes",
        ),
        (
            "net n { input x: f32[1, 8, 8]  output y = x -> conv2d(10) }",
            {},
            "gives 10x8x8 in its output `y`",
        ),
        (
            "net n { input x: f32[1, 8, 8]  output y = x -> flatten -> linear(10) -> batch_norm }",
            {"batch_size": 1},
            "`y.batch_norm` sees one number in each channel of an image",
        ),
        (None, {"grow": "at 5: r2wider{at=nothing}"}, "--grow:1:1: error: r2wider: no place"),
        (None, {"precision": "float16"}, "float16 needs a GPU"),
        (None, {"data": "cifar10:nowhere"}, "nowhere: there is no such folder"),
    ],
)
def test_found_before_anything_is_written(
    tmp_path: Path, text: str | None, settings: dict[str, Any], said: str
) -> None:
    where = tmp_path / "run"
    assert said in message(where, net(text), replace(replace(SHORT, grow=""), **settings))
    assert not where.exists()
