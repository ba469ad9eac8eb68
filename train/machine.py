"""What makes a process train faster on the CPU, to be set before torch is imported."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD`` of glibc's mallopt."""
LARGEST = 2**30


def settle_in() -> None:
    """Keep freed memory, and let idle threads sleep; for a process that does nothing but train.

    Each update frees what it allocates. glibc gives large blocks back to the system, which clears
    them for the next update: a sixth of a training step at batch 128. And the threads of OpenMP
    spin while they wait, which on a machine with other work makes a step many times slower; where
    ``OMP_WAIT_POLICY`` is set, it is left as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(MMAP_THRESHOLD, LARGEST)
            mallopt(TRIM_THRESHOLD, LARGEST)
