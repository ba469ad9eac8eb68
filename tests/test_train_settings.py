"""Settings of a run: their file, and which of them make no sense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import growc
from growc.train import Settings
from growc.train.optimization import rate_factor

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        Settings,
        data=texts,
        grow=texts,
        validation=st.none() | st.integers(0, 99),
        lr=st.floats(0, 1e9),
        crop=st.sampled_from(["none", "pad", "resized"]),
        flip=st.booleans(),
        seed=st.integers(0, 1 << 62),
        lr_schedule=st.just("steps"),
        lr_steps=st.sets(st.integers(1, 99), min_size=1).map(sorted).map(tuple),
    )
)
def test_the_file_keeps_everything(tmp_path_factory: Any, settings: Settings) -> None:
    path = tmp_path_factory.mktemp("s") / "settings.toml"
    path.write_bytes(settings.as_toml().encode())
    assert Settings(**Settings.from_toml(path)) == settings


def test_steps_as_tables(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('lr = 1\n[[grow]]\nat = 5\npass = "r2wider"\n[[grow]]\nat = 9\npass = "cse"\n')
    assert Settings.from_toml(path) == {"lr": 1.0, "grow": "at 5: r2wider; at 9: cse"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lrr = 1", "no setting is called `lrr`\nhelp: did you mean `lr`?"),
        ('lr = "1"', '`lr` is a number, not "1"'),
        ("updates = 1.5", "`updates` is a whole number, not 1.5"),
        ("updates = true", "`updates` is a whole number, not true"),
        ("flip = 1", "`flip` is true or false, not 1"),
        ("lr_steps = [1, 2.5]", "`lr_steps` is a list of whole numbers"),
        ("[[grow]]\nat = 1", "does not have just `at` and `pass`"),
        ('[[grow]]\nat = 1.5\npass = "cse"', "`at` of `grow` is a whole number from 0, not 1.5"),
        ('[[grow]]\nat = -1\npass = "cse"', "`at` of `grow` is a whole number from 0, not -1"),
        ("[[grow]]\nat = 1\npass = 2", "`pass` of `grow` is text, not 2"),
        ('[[grow]]\nat = 1\npass = "cse; at 2: cse"', "run.toml: grow:1:4: error: "),
        ('[[grow]]\nat = 1\npass = "r2wder"', "run.toml: grow:1:1: error: no pass is called"),
        ("epochs = 3", "`epochs` is no setting, but counts updates for one data set"),
        ("lr = ", "settings are lines in TOML"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(growc.GrowcError) as caught:
        Settings.from_toml(path)
    assert "run.toml" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "adm"}, "--optimizer cannot be `adm`\nhelp: did you mean `adam`?"),
        ({"crop": "rezised"}, "--crop cannot be `rezised`\nhelp: did you mean `resized`?"),
        ({"lr": float("nan")}, "--lr cannot be nan"),
        ({"lr": -1.0}, "--lr cannot be -1"),
        ({"momentum": 0.9}, "--momentum is for --optimizer sgd"),
        ({"optimizer": "sgd", "nesterov": True}, "--nesterov is for --optimizer sgd with"),
        ({"optimizer": "sgd", "amsgrad": True}, "--amsgrad is for"),
        ({"lr_decay": 0.5}, "--lr-decay is for --lr-schedule steps"),
        ({"lr_schedule": "steps"}, "`steps` needs --lr-steps"),
        ({"lr_schedule": "steps", "lr_steps": (5, 3)}, "--lr-steps must rise"),
        ({"scale_lr": False}, "--no-scale-lr is for --grow"),
        ({"beta1": 1.0}, "--beta1 cannot be 1"),
        ({"validation": -1}, "--validation cannot be -1"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(growc.GrowcError) as caught:
        Settings(**given)
    assert message in str(caught.value)


def test_a_mark_before_the_text(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("lr = 1.0\n", encoding="utf-8-sig")
    assert Settings.from_toml(path) == {"lr": 1.0}


def test_what_would_come_after_the_end() -> None:
    steps = Settings(lr_schedule="steps", lr_steps=(30, 40), batch_size=10)
    assert steps.resolved(100, epochs=4).updates == 40  # the second step may be for a longer run
    with pytest.raises(
        growc.GrowcError, match="--lr-steps comes to nothing: the run ends after 30"
    ):
        steps.resolved(100, epochs=3)
    warmup = Settings(warmup=5)
    assert replace(warmup, updates=6).resolved(100).warmup == 5
    with pytest.raises(
        growc.GrowcError, match="--warmup comes to nothing: the run ends after 5 up"
    ):
        replace(warmup, updates=5).resolved(100)


def test_rates() -> None:
    def rates(**given: Any) -> list[float]:
        settings = Settings(updates=8, **given)
        return [round(rate_factor(settings, update), 4) for update in range(9)]

    assert rates() == [1.0] * 9
    linear = [0.5, 1.0, 1.0, 0.8333, 0.6667, 0.5, 0.3333, 0.1667, 0.0]
    assert rates(lr_schedule="linear", warmup=2) == linear
    cosine = rates(lr_schedule="cosine")
    assert cosine == sorted(cosine, reverse=True)
    assert (cosine[0], cosine[4], cosine[8]) == (1.0, 0.5, 0.0)
    fallen = [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    assert rates(lr_schedule="steps", lr_steps=(3, 6)) == fallen
