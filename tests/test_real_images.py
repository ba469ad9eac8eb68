"""The main road on real images: teacher and student in onnxruntime on CIFAR-10's test images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import growc as package


def images_of(file: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The binary format: a label byte and 3072 pixel bytes a record. Scaled to [-1, 1]."""
    records = np.frombuffer(file.read_bytes(), np.uint8).reshape(-1, 3073)
    return (records[:, 1:].reshape(-1, 3, 32, 32) / np.float32(127.5) - 1).astype(np.float32)


@pytest.mark.parametrize(
    ("example", "pipeline"),
    [
        ("r2r_figure9", "r2wider"),
        ("r2r_figure9", "r2deeper{blocks=2}, r2wider{kernel=5, init=match}"),
        ("r2r_wide_teacher", "r2wider{variant=concat}"),
        ("vgg", "r2wider{variant=concat}, r2deeper"),
    ],
)
def test_teacher_and_student_agree_on_cifar10(
    example: str,
    pipeline: str,
    cifar10_test: Path,
    growc: Callable[..., Any],
    root: Path,
    tmp_path: Path,
) -> None:
    images = images_of(cifar10_test)
    assert images.shape == (1000, 3, 32, 32)
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    assert growc("compile", root / "examples" / f"{example}.arch", "-o", teacher).status == 0
    done = growc("compile", f"{teacher}.arch", "--pass", pipeline, "-o", student)
    assert done.status == 0, done.err
    before = package.run_onnx(f"{teacher}.onnx", {"image": images})["logits"]
    after = package.run_onnx(f"{student}.onnx", {"image": images})["logits"]
    assert before.shape == (1000, 10)
    # Real arithmetic gives equality. float32 rounds by 6e-8 in each of some 20 layers, and the
    # two halves of a new layer, which cancel, are as large as the layer's own numbers.
    scale = np.abs(before).max()
    assert np.abs(before - after).max() <= 2e-6 * max(scale, 1)
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
