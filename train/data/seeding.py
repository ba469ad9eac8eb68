"""Random numbers that depend on a seed, a purpose and a number, and on nothing before."""

from __future__ import annotations

import numpy as np

from ...ir import GrowcError

SPLIT, EPOCH, DRAW, AUGMENT = range(4)


def generator(seed: int, purpose: int, number: int = 0) -> np.random.Generator:
    """Philox (Salmon et al., 2011) turns a key and a counter into random bits.

    Seed and purpose are the key and ``number`` the counter's highest word, so no two of these
    ever share a stream.
    """
    if not 0 <= seed < 1 << 64:
        raise GrowcError(f"{seed} is no seed", help="give a whole number from 0 to 2**64 - 1")
    key = np.array([seed, purpose], np.uint64)
    return np.random.Generator(
        np.random.Philox(key=key, counter=np.array([0, 0, 0, number], np.uint64))
    )
