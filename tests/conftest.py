"""Settings of the whole test run."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Timing says nothing on a busy machine, so no deadlines. `deep` is what `make test-deep` runs.
settings.register_profile(
    "default", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", settings.get_profile("default"), max_examples=600)
settings.load_profile(os.environ.get("GROWC_HYPOTHESIS", "default"))

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("GROWC_SHARED", ROOT.parent / "shared"))
"""Real images and models, which are not part of the project."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def cifar10_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary file of CIFAR-10 test images; skips where the data is not there."""
    script = SHARED / "data" / "unpack.py"
    if not script.exists():
        pytest.skip("the real CIFAR-10 images are not on this machine (see tests/conftest.py)")
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, script, folder, "cifar10"], check=True, capture_output=True)
    return folder / "cifar-10-batches-bin" / "test_batch.bin"


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of real trained ONNX models; skips where they are not there."""
    folder = SHARED / "models"
    if not folder.exists():
        pytest.skip("the real ONNX models are not on this machine (see tests/conftest.py)")
    return folder


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def growc(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """Runs the command line in this process: ``growc("check", "net.arch").status``."""
    from growc.cli import main

    def run(*arguments: str | Path, stdin: bytes = b"") -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return run
