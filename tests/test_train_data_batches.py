"""Normalization, and batches that are functions of a seed and a number."""

from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import growc
from growc.train.data import Batches, Normalization
from growc.train.data.augmentation import PAD, boxes, crop, flip, resized
from growc.train.data.examples import Stored

RANDOM = np.random.default_rng(0)


def examples(count: int, *shape: int) -> Stored:
    pixels = RANDOM.integers(0, 256, (count, *shape)).astype(np.uint8)
    return Stored(pixels, np.arange(count) % 10)


def batches(of: Stored, **settings: Any) -> Batches:
    return Batches(of, Normalization.of(of, "none"), **settings)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.data())
def test_crop_and_flip_against_loops(n: int, c: int, h: int, w: int, data: st.DataObject) -> None:
    images = RANDOM.integers(1, 256, (n, c, h, w)).astype(np.uint8)
    down, right = (
        np.array(data.draw(st.lists(st.integers(0, 2 * PAD), min_size=n, max_size=n)))
        for _ in range(2)
    )
    which = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    cropped, flipped = np.zeros_like(images), np.zeros_like(images)
    for i, k, y, x in np.ndindex(images.shape):
        row, column = y + down[i] - PAD, x + right[i] - PAD
        if 0 <= row < h and 0 <= column < w:
            cropped[i, k, y, x] = images[i, k, row, column]
        flipped[i, k, y, x] = images[i, k, y, w - 1 - x if which[i] else x]
    np.testing.assert_array_equal(crop(images, down, right), cropped)
    np.testing.assert_array_equal(flip(images, which), flipped)


@given(
    st.integers(1, 20),
    st.integers(1, 8),
    st.sampled_from([1, 2, 3]),
    st.booleans(),
    st.integers(0, 2**64 - 1),
    st.sampled_from(["pad", "resized"]),
)
def test_sampler_and_ranks(
    n: int, share: int, ranks: int, replacement: bool, seed: int, crop: str
) -> None:
    of = examples(n, 1, 3, 2)
    settings: dict[str, Any] = {
        "batch_size": share * ranks,
        "seed": seed,
        "replacement": replacement,
        "crop": crop,
        "flip": True,
    }
    whole, again = batches(of, **settings), batches(of, **settings)
    drawn = [whole.indices(k) for k in range(6)]
    if not replacement:
        stream = np.concatenate(drawn)
        for start in range(0, len(stream) - n + 1, n):
            assert sorted(stream[start : start + n]) == list(range(n))
    for k in (5, 0, 2):  # in any order
        np.testing.assert_array_equal(again.indices(k), drawn[k])
        pixels, labels = whole.batch(k)
        assert pixels.shape == (share * ranks, 1, 3, 2)
        np.testing.assert_array_equal(labels, of.labels[drawn[k]])
        parts = [batches(of, **settings, rank=r, ranks=ranks).batch(k) for r in range(ranks)]
        np.testing.assert_array_equal(np.concatenate([p for p, _ in parts]), pixels)
        np.testing.assert_array_equal(np.concatenate([p for _, p in parts]), labels)
        assert all(len(p) == share for p, _ in parts)


@given(st.integers(0, 20), st.integers(1, 8), st.integers(1, 4))
def test_evaluation_sees_each_once_and_in_order(n: int, size: int, ranks: int) -> None:
    of = examples(n, 1, 2, 2)
    normal = Normalization("none", (1, 2, 2), (0.0,), (1.0,))
    parts = [
        Batches(
            of, normal, batch_size=size, crop="pad", flip=True, train=False, rank=r, ranks=ranks
        )
        for r in range(ranks)
    ]
    seen = [p.batch(k) for k in range(len(parts[0])) for p in parts]
    pixels = np.concatenate([np.zeros((0, 1, 2, 2), np.float32), *(p for p, _ in seen)])
    np.testing.assert_array_equal(pixels, normal.apply(of.images(range(n))))
    with pytest.raises(IndexError):
        parts[0].batch(len(parts[0]))


def test_augmentation_differs_by_batch_and_seed() -> None:
    of = examples(64, 3, 32, 32)
    seen = {
        batches(of, batch_size=64, seed=s, crop="pad", flip=True).batch(k)[0].numpy().tobytes()
        for s in range(2)
        for k in range(3)
    }
    assert len(seen) == 6


def parts(seed: int, count: int, height: int, width: int) -> list[tuple[int, ...]]:
    drawn = boxes(np.random.default_rng(seed), count, height, width)
    return list(zip(*(b.tolist() for b in drawn), strict=True))


@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))
def test_resized_against_loops(seed: int, c: int, h: int, w: int) -> None:
    """Each new pixel by torchvision's definition, with exact fractions."""
    images = RANDOM.integers(0, 256, (2, c, h, w)).astype(np.uint8)
    chosen = parts(seed, 2, h, w)
    found = resized(images, *np.array(chosen).T)
    for i, k, y, x in np.ndindex(images.shape):
        top, left, high, wide = chosen[i]
        part = images[i, k, top : top + high, left : left + wide]
        row, column = (
            min(
                max((Fraction(2 * at + 1, 2) * size / whole) - Fraction(1, 2), Fraction()), size - 1
            )
            for at, size, whole in ((y, high, h), (x, wide, w))
        )
        value = sum(
            max(1 - abs(row - r), 0) * max(1 - abs(column - s), 0) * int(part[r, s])
            for r, s in np.ndindex(part.shape)
        )
        # Rounded: to the nearest, but for float32's errors.
        assert abs(int(found[i, k, y, x]) - value) <= Fraction(1, 2) + Fraction(1, 1000)


def test_resized_is_what_torch_gives() -> None:
    images = RANDOM.integers(0, 256, (40, 3, 20, 30)).astype(np.uint8)
    chosen = parts(3, 40, 20, 30)
    found = resized(images, *np.array(chosen).T)
    for image, mine, (top, left, high, wide) in zip(images, found, chosen, strict=True):
        part = torch.from_numpy(image[:, top : top + high, left : left + wide])[None].float()
        wanted = F.interpolate(part, (20, 30), mode="bilinear", antialias=True)[0]
        np.testing.assert_allclose(mine, wanted.numpy(), rtol=0, atol=0.501)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 20), (100, 10), (10, 100), (1, 1)])
def test_boxes_are_torchvisions(height: int, width: int) -> None:
    """Where a box of the right area and ratio fits, the first of ten; else the middle."""
    drawn = np.array(parts(0, 4000, height, width))
    tops, lefts, high, wide = drawn.T
    assert (tops >= 0).all()
    assert (lefts >= 0).all()
    assert (tops + high <= height).all()
    assert (lefts + wide <= width).all()
    if height == width == 32:
        area = high * wide / 1024
        # Sides are rounded to whole pixels, of 8 at least.
        assert (area.min(), area.max()) == (
            pytest.approx(0.08, abs=0.01),
            pytest.approx(1, abs=0.1),
        )
        ratios = wide / high
        assert (ratios.min(), ratios.max()) == (
            pytest.approx(0.75, abs=0.06),
            pytest.approx(4 / 3, abs=0.1),
        )
        mine = area.mean(), ratios.mean(), tops.mean(), lefts.mean()
        wanted = by_hand(32, 4000)
        assert mine == pytest.approx(wanted, rel=0.04)
        # A ratio that is uniform itself, and not its logarithm, has a mean 3% larger.
        assert mine[1] == pytest.approx(wanted[1], rel=0.01)
    if max(height, width) == 100:
        # Two of three times none fits.
        middle = (0, 43, 10, 13) if width == 100 else (43, 0, 13, 10)
        assert Counter(map(tuple, drawn.tolist())).most_common(1)[0][0] == middle


def by_hand(size: int, count: int) -> tuple[float, ...]:
    """Means over torchvision's own loop, of area, ratio, top and left."""
    random = np.random.default_rng(1)
    found = []
    while len(found) < count:
        area = size * size * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= size and h <= size:  # ten tries hardly ever fail with these
            i, j = random.integers(size - h + 1), random.integers(size - w + 1)
            found.append((h * w / size**2, w / h, i, j))
    return tuple(np.mean(found, axis=0).tolist())


def test_crops_leave_flips_as_they_are() -> None:
    of = examples(8, 1, 4, 4)
    settings: dict[str, Any] = {"batch_size": 8, "flip": True}
    plain = batches(of, **settings).batch(2)[0]
    whole = np.array([[0, 0, 4, 4]] * 8).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("growc.train.data.batches.boxes", lambda *_: tuple(whole))
        same = batches(of, **settings, crop="resized").batch(2)[0]
    torch.testing.assert_close(plain, same, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "no batches of 0"),
        ({"batch_size": 3, "ranks": 2}, "can't be shared equally"),
        ({"batch_size": 2, "ranks": 2, "rank": 2}, "no process 2 of 2"),
        ({"batch_size": 2, "seed": -1}, "is no seed"),
        ({"batch_size": 2, "crop": "padded"}, "no crop `padded`"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(growc.GrowcError, match=message):
        batches(examples(4, 1, 2, 2), **settings)


def test_nothing_to_train_on() -> None:
    normal = Normalization("none", (1, 2, 2), (0.0,), (1.0,))
    with pytest.raises(growc.GrowcError, match="no examples to train on"):
        Batches(examples(0, 1, 2, 2), normal, batch_size=1)
    with pytest.raises(growc.GrowcError, match="no images to normalize by"):
        Normalization.of(examples(0, 1, 2, 2), "channel")


@pytest.mark.parametrize("kind", ["channel", "mean_image", "none"])
def test_normalization_is_exact(kind: str) -> None:
    of = examples(1030, 2, 3, 2)
    pixels = of.images(range(1030))
    normal = Normalization.of(of, kind)
    backwards = of.part(np.arange(1030)[::-1])
    assert normal == Normalization.of(backwards, kind)
    assert normal == Normalization.from_json(json.loads(json.dumps(normal.as_json())))
    assert "\n" not in str(normal)
    values = pixels.astype(np.int64)
    if kind == "channel":
        for c in range(2):
            v = values[:, c].ravel().tolist()
            mean = Fraction(sum(v), 255 * len(v))
            variance = Fraction(sum(x * x for x in v), 255**2 * len(v)) - mean**2
            assert normal.mean[c] == float(mean)
            assert math.isclose(normal.std[c], math.sqrt(variance), rel_tol=1e-15)
        result = normal.apply(pixels)
        # float32 has 24 bits: a mean of 6,180 numbers of about 1 is off by less than this.
        np.testing.assert_allclose(result.mean((0, 2, 3), dtype=float), 0, atol=1e-6)
        np.testing.assert_allclose(result.std((0, 2, 3), dtype=float), 1, atol=1e-6)
    elif kind == "mean_image":
        expected = [float(Fraction(int(s), 255 * 1030)) for s in values.sum(0).ravel()]
        assert list(normal.mean) == expected
    else:
        np.testing.assert_allclose(normal.apply(pixels), values / 255, rtol=1e-6)
    with pytest.raises(growc.GrowcError, match="images of 2x3x2"):
        normal.apply(np.zeros((1, 1, 3, 2), np.uint8))


def test_a_constant_channel_is_divided_by_one() -> None:
    same = Stored(np.full((3, 1, 2, 2), 51, np.uint8), np.zeros(3, np.int64))
    normal = Normalization.of(same, "channel")
    assert (normal.mean, normal.std) == ((0.2,), (1.0,))


@pytest.mark.parametrize(
    "change",
    [{"mean": [0.0, 1.0]}, {"std": [0.0]}, {"std": [math.nan]}, {"shape": [1, 2]}, {"mean": None}],
)
def test_values_that_are_no_normalization(change: dict[str, Any]) -> None:
    values = Normalization("channel", (1, 2, 2), (0.5,), (1.0,)).as_json()
    assert Normalization.from_json(values).mean == (0.5,)
    with pytest.raises(growc.GrowcError, match="no normalization"):
        Normalization.from_json(values | change)
    with pytest.raises(growc.GrowcError, match="did you mean `channel`"):
        Normalization.from_json(values | {"kind": "chanel"})
