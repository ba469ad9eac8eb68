"""The command ``growc import``: PyTorch modules of a package, ONNX files, and every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import growc as package

SOURCE = """
import sys
import warnings

import torch
from torch import nn

print("loading")
warnings.warn("an old warning of the package")


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, width, 3), nn.Linear(width, 2)

    def forward(self, image):
        return self.fc(torch.relu(self.conv(image)).mean((2, 3)))


class Zoo:
    small = Net(2)

    @staticmethod
    def make():
        return Net(6)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, ids, mask):
        return self.fc(self.embed(ids).masked_fill(~mask[..., None], 0.0).sum(1))


def with_example():
    print("making")
    return Net(), torch.randn(2, 3, 8, 8)


def by_name():
    return Words(), {"mask": torch.ones(1, 5).bool(), "ids": torch.zeros(1, 5).long()}


def half():
    return Net().bfloat16(), torch.randn(2, 3, 8, 8).bfloat16()


class Unstable(nn.Module):
    def forward(self, x):
        return x + torch.rand(1).item()


def raising():
    raise OSError("no such checkpoint\\nin the whole world")


def leaving():
    sys.exit("usage: zoo")


def nothing():
    pass


def list_of_two():
    return [Net(), None]


recurrent = nn.LSTM(6, 5, batch_first=True)
number = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "zoopkg").mkdir()
    (folder / "zoopkg" / "__init__.py").write_text("")
    (folder / "zoopkg" / "models.py").write_text(SOURCE)
    (folder / "zoopkg" / "broken.py").write_text("import not_there_at_all\n")
    (folder / "zoopkg" / "wrong.py").write_text("def f(:\n")
    return folder


@pytest.fixture
def run(
    folder: Path, growc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Runs ``growc import MODEL -o PREFIX`` in the folder of the package."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(model: str, *options: str | Path) -> Any:
        for name in [n for n in sys.modules if n.partition(".")[0] == "zoopkg"]:
            del sys.modules[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's own
            return growc("import", model, "-o", tmp_path / "out", *options)

    return call


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("target", "options", "parameters"),
    [
        ("zoopkg.models:with_example", (), 122),
        ("zoopkg.models:Net", ("--input", "3,8,8"), 122),
        ("zoopkg.models:Zoo.make", ("--input", "f32:3,8,8"), 182),
        ("zoopkg.models:Zoo.small", ("--input", "3,9,9"), 62),
        ("zoopkg.models:with_example", ("--input", "3,5,5"), 122),
        ("zoopkg.models:by_name", (), 46),
        ("zoopkg.models:half", (), 122),
    ],
)
def test_what_is_imported(
    target: str, options: tuple[str, ...], parameters: int, run: Any, tmp_path: Path
) -> None:
    done = run(target, *options)
    assert done.status == 0, done.err
    assert f"{parameters:,} parameters" in done.out
    assert "read rightly" in done.out
    assert "loading" not in done.out
    assert files(tmp_path) == ["out.arch", "out.safetensors"]
    graph = package.load(tmp_path / "out.arch")
    assert graph.parameter_count() == parameters


def test_json(run: Any, tmp_path: Path) -> None:
    done = run("zoopkg.models:with_example", "--json")
    assert done.status == 0
    assert done.json["net"] == "Net"
    assert done.json["inputs"] == {"image": "f32[3, 8, 8]"}
    assert done.json["outputs"] == {"output": "f32[2]"}
    assert done.json["against"] == "PyTorch"
    assert done.json["max_abs_diff"] < 1e-5
    assert done.json["files"] == [str(tmp_path / f"out.{end}") for end in ("arch", "safetensors")]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("zoopkg.modles:Net", (), "there is no module `zoopkg.modles`"),
        ("nowhere_at_all:Net", (), "there is no module `nowhere_at_all`"),
        ("zoopkg.broken:Net", (), "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("zoopkg.wrong:f", (), "importing it failed (SyntaxError: "),
        ("zoopkg.models:Nett", (), "`zoopkg.models` has no `Nett`"),
        ("zoopkg.models:Zoo.mak", (), "did you mean `make`?"),
        ("zoopkg.models:Net.forward.x", (), "`zoopkg.models.Net.forward` has no `x`"),
        ("zoopkg.models", (), "write package.module:factory"),
        (":Net", (), "write package.module:factory"),
        ("zoopkg.models:", (), "write package.module:factory"),
        ("zoopkg.models:raising", (), "it failed (OSError: no such checkpoint)"),
        ("zoopkg.models:leaving", (), "it failed (SystemExit: usage: zoo)"),
        ("zoopkg.models:nothing", (), "it gives nothing, not a PyTorch module"),
        ("zoopkg.models:list_of_two", (), "it gives list, not a PyTorch module"),
        ("zoopkg.models:number", (), "it is of type int, neither a PyTorch module"),
        ("zoopkg.models:Net", (), "say --input 3,224,224"),
        ("zoopkg.models:Net", ("--input", "3,x"), "`3,x` is not the type of an input"),
        ("zoopkg.models:Net", ("--input", "f16:3,8,8"), "is not the type of an input"),
        ("zoopkg.models:Net", ("--input", "0,8,8"), "is not the type of an input"),
        ("zoopkg.models:Net", ("--input", "4,8,8"), "cannot be run on the example (RuntimeError"),
        ("zoopkg.models:Net", ("--input", "3,8,8", "--input", "3"), "cannot be run on the example"),
        ("zoopkg.models:recurrent", ("--input", "4,6"), "growc has no recurrent layers"),
        ("zoopkg.models:Unstable", ("--input", "4"), "`forward`: it draws random numbers"),
    ],
)
def test_mistakes(
    target: str, options: tuple[str, ...], message: str, run: Any, tmp_path: Path
) -> None:
    done = run(target, *options)
    assert (done.status, done.out) == (1, "")
    assert message in done.err
    assert done.err.count("error: ") == 1
    assert "Traceback" not in done.err
    assert files(tmp_path) == []


def test_wrong_usage(run: Any, growc: Any, tmp_path: Path) -> None:
    assert run("zoopkg.models:Net", "--size", "n=3").status == 2
    assert growc("import", "net.onnx", "--input", "3", "-o", tmp_path / "x").status == 2
    assert growc("import", "zoopkg.models:Net").status == 2


def test_files_are_not_overwritten(run: Any, growc: Any, tmp_path: Path) -> None:
    (tmp_path / "out.arch").write_text("mine")
    done = growc("import", "zoopkg.models:with_example", "-o", tmp_path / "out")
    assert done.status == 1
    assert "--force" in done.err
    assert (tmp_path / "out.arch").read_text() == "mine"
    assert run("zoopkg.models:with_example", "--force").status == 0
    assert package.load(tmp_path / "out.arch").parameter_count() == 122


def test_onnx(growc: Callable[..., Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    package.to_onnx(package.from_torch(model, torch.randn(2, 3, 6, 6)), tmp_path / "net.onnx")
    done = growc("import", tmp_path / "net.onnx", "-o", tmp_path / "net", "--json")
    assert done.status == 0, done.err
    assert done.json["against"] == "onnxruntime"
    assert done.json["parameters"] == 112
    again = growc("import", tmp_path / "net.onnx", "-o", tmp_path / "net")
    assert again.status == 1
    assert "--force" in again.err
    missing = growc("import", tmp_path / "other.onnx", "-o", tmp_path / "other")
    assert missing.status == 1
    (tmp_path / "damaged.onnx").write_bytes(b"nonsense")
    damaged = growc("import", tmp_path / "damaged.onnx", "-o", tmp_path / "other")
    assert damaged.status == 1
    assert damaged.err.startswith("error: ")
    assert not list(tmp_path.glob("other*"))


def test_the_real_command_says_nothing_of_torch(folder: Path, tmp_path: Path) -> None:
    """In a process of its own: only what is growc's, and what the package itself prints."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "growc", "import", "zoopkg.models:with_example"),
            *("-o", str(tmp_path / "net")),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "old warning" not in line]
    assert said == ["loading", "making"] or said == ["  warnings.warn(", "loading", "making"], said
    assert done.stdout.startswith("net Net: 5 nodes, 122 parameters")
    assert files(tmp_path) == ["net.arch", "net.safetensors"]
