"""Data sets: digits, the split, and what is no data set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import growc
from growc.train import open_data
from growc.train.data.adapting import adapted
from growc.train.data.examples import Stored
from growc.train.data.opening import (
    _order,
    _usual_validation,
    absolute,
    parse,
    same_but_for_folder,
    separate,
)


def test_digits() -> None:
    data = open_data("digits")
    assert (data.shape, len(data.classes), data.name) == ((1, 8, 8), 10, "digits")
    assert (len(data.train), len(data.validation), len(data.test)) == (1470, 30, 297)
    images = data.train.images(range(1470))
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert data.train.labels.dtype == np.int64
    assert "1,470 training, 30 validation and 297 test images of 1x8x8" in str(data)


def test_digits_trains_and_grows(root: Path) -> None:
    graph = growc.load(root / "examples" / "digits.arch")
    assert growc.compile(graph, "r2wider, r2deeper").parameter_count() > graph.parameter_count()


def test_split_is_drawn_by_the_seed() -> None:
    one, same, other = (open_data("digits", validation=50, seed=s) for s in (1, 1, 2))
    pixels = [d.validation.images(range(50)).tobytes() for d in (one, same, other)]
    assert pixels[0] == pixels[1] != pixels[2]
    assert len(one.train) == 1450
    assert set(one.validation.labels) == set(range(10))
    everything = open_data("digits", validation=0)
    assert len(everything.validation) == 0
    assert everything.validation.images([]).shape == (0, 1, 8, 8)
    assert not everything.train.labels.flags.writeable


def test_every_class_in_both_parts() -> None:
    labels = np.repeat(np.arange(4), [1, 2, 50, 3])
    for seed in range(20):
        order = _order(labels, seed)
        assert sorted(order) == list(range(56))
        assert set(labels[order[:3]]) == {1, 2, 3}
        assert set(labels[order[-4:]]) == {0, 1, 2, 3}
    assert _usual_validation("mnist", labels) == 4
    assert _usual_validation("cifar10", labels) == 52
    assert _usual_validation("cifar10", np.zeros(50_000, np.int64)) == 1000


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "did you mean `digits`"),
        ("cifar:x", "did you mean `cifar10"),
        ("qqq:x", "there are: digits; cifar10:DIR"),
        ("digits:here", "has no folder"),
        ("mnist", "needs the folder"),
        ("folder:?size=9", "needs the folder"),
        ("mnist:.?channels=2", "cannot have `2` channels"),
        ("digits:.?size=9", "has no folder"),
        ("digits?size=9&wide=3", "has no option `wide`"),
        ("folder:.?width=9", "has no option `width`"),
        ("folder:.?size=0", "no size of images"),
        ("folder:.?size=99999999999999999999", "no size of images"),
        ("cifar10:/no/such", "there is no such folder"),
    ],
)
def test_no_data_set(spec: str, message: str) -> None:
    with pytest.raises(growc.GrowcError, match=message):
        open_data(spec)


def test_other_sizes_and_channels() -> None:
    plain, other = open_data("digits"), open_data("digits?size=12&channels=3")
    assert other.shape == (3, 12, 12)
    assert other.train.labels.tolist() == plain.train.labels.tolist()
    image = other.test.images([5])
    assert image.shape == (1, 3, 12, 12)
    assert (image == image[:, :1]).all()
    # Twice the size and back: bilinear interpolation keeps the mean.
    assert abs(image.mean() - plain.test.images([5]).mean()) < 3
    coloured = np.zeros((2, 3, 4, 4), np.uint8)
    coloured[:, 1] = 200
    assert (adapted(coloured, (1, 4, 4)) == round(200 * 0.587)).all()
    chess = np.indices((4, 4)).sum(0)[None, None] % 2 * 254
    # Where images shrink, each pixel is of all that it covers.
    assert set(np.unique(adapted(chess.astype(np.uint8), (1, 2, 2)))) <= set(range(120, 135))
    assert absolute("mnist:here?size=9&channels=3").endswith("/here?size=9&channels=3")
    assert same_but_for_folder("mnist:a?size=9", "mnist:b?size=9")
    assert not same_but_for_folder("mnist:a?size=9", "mnist:a")


def test_texts_of_several_data_sets_and_odd_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert separate("digits + mnist:a + b + folder:c?size=9") == [
        "digits",
        "mnist:a + b",
        "folder:c?size=9",
    ]
    assert separate("digits+digits") == ["digits", "digits"]
    monkeypatch.chdir(tmp_path)
    for name in ("q?y=1", "q?size=1"):
        (tmp_path / name).mkdir()
        text = f"folder:{name}/"
        for _ in range(2):  # what absolute says is the same folder again
            text = absolute(text)
            assert parse(text).folder == tmp_path / name
            assert parse(text).size is None
    assert parse("folder:q?y=1").folder == Path("q?y=1")
    with pytest.raises(growc.GrowcError, match="`size` comes twice"):
        parse("digits?size=8&size=9")


@pytest.mark.parametrize("validation", [-1, 1500])
def test_too_many_for_validation(validation: int) -> None:
    with pytest.raises(growc.GrowcError, match="can't be drawn"):
        open_data("digits", validation=validation)


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_no_seed(seed: int) -> None:
    with pytest.raises(growc.GrowcError, match="is no seed"):
        open_data("digits", seed=seed)


def test_indices_are_whole_numbers() -> None:
    examples = Stored(np.zeros((3, 1, 2, 2), np.uint8), np.zeros(3, np.int64)).part([2, 0])
    assert len(examples) == 2
    with pytest.raises(IndexError):
        examples.images([2])
    for wrong in ([True, False], [0.5]):
        with pytest.raises(TypeError, match="whole numbers"):
            examples.images(wrong)


def test_opening_leaves_torch_alone() -> None:
    code = "import growc.train, sys; growc.train.open_data; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
