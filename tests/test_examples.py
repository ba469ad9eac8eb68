"""What the comments in examples/ say is true."""

from __future__ import annotations

from pathlib import Path

import pytest

import growc

COUNTS = {
    "r2r_figure9": 147_194,
    "r2r_base": 579_386,
    "r2r_wide_teacher": 259_226,
    "r2r_deep_teacher": 238_202,
    "resnet18": 11_689_512,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(root: Path, name: str) -> None:
    file = root / "examples" / f"{name}.arch"
    assert growc.load(file).parameter_count() == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in file.read_text(encoding="utf-8")


def test_every_example_has_a_comment_and_loads_without_warnings(root: Path) -> None:
    from growc.grammar import load_file

    for file in sorted((root / "examples").rglob("*.arch")):
        assert file.read_text(encoding="utf-8").startswith("# "), file
        assert load_file(file).warnings == [], file


def test_resnet18_has_the_names_of_torchvision(root: Path) -> None:
    graph = growc.load(root / "examples" / "resnet18.arch")
    norm = ("weight", "bias", "running_mean", "running_var")
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{r}" for r in norm)}
    for stage in range(1, 5):
        for block in range(2):
            here = f"layer{stage}.{block}"
            for i in (1, 2):
                expected |= {f"{here}.conv{i}.weight", *(f"{here}.bn{i}.{r}" for r in norm)}
            if stage > 1 and block == 0:
                expected |= {f"{here}.downsample.0.weight"}
                expected |= {f"{here}.downsample.1.{r}" for r in norm}
    assert set(graph.parameters()) == expected
    assert growc.load(root / "examples" / "resnet18.arch", blocks=[3, 4, 6, 3], classes=10)


def test_a_pooling_window_must_read_something() -> None:
    """Dilated taps may all fall into the padding, whose value is minus infinity."""
    net = "net n {{ input x: f32[1, {0}, {0}] output y = x -> max_pool2d({1}) }}"
    with pytest.raises(growc.GrowcError, match="all its taps in the padding"):
        growc.loads(net.format(2, '2, stride=2, padding="same", dilation=3'))
    growc.loads(net.format(8, "3, stride=2, padding=1, dilation=2"))
