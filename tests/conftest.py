"""Settings of the whole test run."""

from __future__ import annotations

import os
from pathlib import Path

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
