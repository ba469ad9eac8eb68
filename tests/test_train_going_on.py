"""Runs that go on: what must be as it was, and what may change."""

from __future__ import annotations

import errno
import fcntl
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import growc
from growc.report import report
from growc.train import Settings, train
from growc.train.observers import Observer
from growc.train.run_folder import RunFolder

SHORT = Settings(updates=12, evaluate_every=4, batch_size=32)


def net(text: str | None = None) -> growc.Graph:
    return growc.loads(text) if text else growc.load("examples/digits.arch")


def run(where: Path, settings: Settings, text: str | None = None, **more: Any) -> Any:
    return train(net(text), settings, where, device="cpu", tensorboard=False, **more)


def message(where: Path, graph: growc.Graph | None, settings: Settings, **more: Any) -> str:
    with pytest.raises(growc.GrowcError) as caught:
        train(graph, settings, where, device="cpu", tensorboard=False, **more)
    return str(caught.value)


def digits_in(folder: Path, seed: int = 0, shift: int = 0) -> str:
    """An image folder of 40 small images in two classes."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", 16), ("val", 4)):
        for label in ("a", "b"):
            where = folder / part / label
            where.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 200, (8, 8, 3)).astype(np.uint8) + shift
                Image.fromarray(pixels.astype(np.uint8)).save(where / f"{i}.png")
    return f"folder:{folder}?size=8"


SMALL = """net small {
    input image: f32[3, 8, 8]
    output logits = image -> conv2d(4) -> relu -> flatten -> linear(2)
}"""
FOLDER = Settings(updates=12, batch_size=8, evaluate_every=4, lr=0.01, validation=4)


def test_data_that_changed_is_noticed_and_data_that_moved_is_not(tmp_path: Path) -> None:
    settings = replace(FOLDER, data=digits_in(tmp_path / "data"))
    run(tmp_path / "whole", settings, SMALL)
    run(tmp_path / "part", replace(settings, updates=8), SMALL)
    moved = tmp_path / "elsewhere"
    (tmp_path / "data").rename(moved)
    digits_in(tmp_path / "data", shift=50)
    where = tmp_path / "part"
    said = message(where, None, settings, resume=True)
    assert f"the data changed since the run in {where} was begun: other images and normal" in said
    run(where, replace(settings, data=f"folder:{moved}?size=8"), SMALL, resume=True)
    for name in ("metrics.csv", "last.safetensors", "result.json"):
        mine, other = (tmp_path / w / name for w in ("part", "whole"))
        assert without_seconds(mine) == without_seconds(other)
    assert str(moved) in (where / "settings.toml").read_text()


def test_test_images_that_cannot_be_read_are_found_at_the_start(tmp_path: Path) -> None:
    settings = replace(FOLDER, data=digits_in(tmp_path / "data"))
    images = tmp_path / "data" / "val" / "a"
    for i in range(100, 140):
        (images / f"{i}.png").write_bytes((images / "0.png").read_bytes())
    broken = images / "1.png"  # the second of 48: not one of those that are hashed
    broken.write_bytes(b"no image")
    said = message(tmp_path / "r", net(SMALL), settings)
    assert f"{broken}: not a readable image" in said
    assert not (tmp_path / "r").exists()


def test_a_run_finds_its_data_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits_in(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    run(Path("run"), replace(FOLDER, data="folder:data?size=8", updates=4), SMALL)
    (tmp_path / "else").mkdir()
    monkeypatch.chdir("else")
    stored = RunFolder(tmp_path / "run").stored_settings()
    assert stored.data == f"folder:{tmp_path / 'data'}?size=8"
    run(tmp_path / "run", replace(stored, updates=8), SMALL, resume=True)


def without_seconds(path: Path) -> bytes:
    """A file's content, but for how long things took."""
    if path.suffix == ".csv":
        return b"\n".join(
            b",".join(row.split(b",")[:1] + row.split(b",")[2:])
            for row in path.read_bytes().splitlines()
        )
    if path.suffix == ".json":
        content = {k: v for k, v in json.loads(path.read_bytes()).items() if k != "seconds"}
        return json.dumps(content).encode()
    return path.read_bytes()


def test_a_run_can_be_longer_where_no_rate_depends_on_its_length(tmp_path: Path) -> None:
    settings = SHORT
    run(tmp_path / "whole", settings)
    run(tmp_path / "more", replace(settings, updates=8))
    run(tmp_path / "more", settings, resume=True)
    for name in ("metrics.csv", "last.safetensors"):
        assert without_seconds(tmp_path / "more" / name) == without_seconds(
            tmp_path / "whole" / name
        )
    where = tmp_path / "cosine"
    run(where, replace(settings, updates=8, lr_schedule="cosine"))
    said = message(where, None, replace(settings, lr_schedule="cosine"), resume=True)
    assert "--updates cannot become" in said
    assert "depend on the length of the run" in said
    assert "are made already" in message(
        tmp_path / "more", None, replace(settings, updates=4), resume=True
    )


def test_a_run_that_is_made_longer_has_no_result_until_it_ends(tmp_path: Path) -> None:
    class Stop(Observer):
        def updated(self, update: int, loss: float) -> None:
            if update == 10:
                raise KeyboardInterrupt

    run(tmp_path, replace(SHORT, updates=8))
    assert "has not finished" not in report(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SHORT, resume=True, observer=Stop())
    assert not (tmp_path / "result.json").exists()
    assert "has not finished" in report(tmp_path)
    run(tmp_path, SHORT, resume=True)
    assert (tmp_path / "result.json").exists()


def test_growth_steps_that_were_made_cannot_change(tmp_path: Path) -> None:
    settings = replace(SHORT, grow="at 4: r2wider")
    run(tmp_path, replace(settings, updates=8))
    said = message(tmp_path, None, replace(settings, grow="at 4: r2deeper"), resume=True)
    assert "the growth steps made so far are `at 4: r2wider`, and would now be others" in said
    run(tmp_path, replace(settings, grow="at 4: r2wider; at 10: r2deeper"), resume=True)
    growths = json.loads((tmp_path / "growth.json").read_text())
    assert [g["update"] for g in growths] == [4, 10]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("updates = 12", "updates = 16", "--updates cannot become 16 after 12: with --lr-schedule"),
        ("at 4: r2wider", "at 4: r2deeper", "growth steps made so far are `at 4: r2wider`"),
        ("lr = 0.001", "lr = 0.5", "the run was begun with other settings: --lr was 0.001, not"),
    ],
)
def test_edited_settings_are_compared_with_what_was_trained(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    run(tmp_path, replace(SHORT, grow="at 4: r2wider", lr_schedule="cosine"))
    told = RunFolder(tmp_path).settings
    told.write_text(told.read_text().replace(before, after))
    edited = RunFolder(tmp_path).stored_settings()
    found = message(tmp_path, None, edited, resume=True)
    assert said in found
    assert str(told) in found


def test_two_runs_are_not_in_one_folder_at_a_time(tmp_path: Path) -> None:
    with RunFolder(tmp_path).locked():
        assert f"{tmp_path}: another growc is at work on this run" in message(
            tmp_path, net(), SHORT
        )
    run(tmp_path, replace(SHORT, updates=4))


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    with RunFolder(tmp_path).locked():
        pass
