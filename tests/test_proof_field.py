"""Arithmetic in the prime fields, against Python's own exact numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.fingerprints import Field
from growc.fingerprints.field import is_prime

FIELD = Field(seed=1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FLOATS32 = st.floats(allow_nan=False, allow_infinity=False, width=32)


def image(number: float | Fraction, prime: int) -> int:
    """The residue of a dyadic rational, by Python's integers."""
    exact = Fraction(number)
    return exact.numerator * pow(exact.denominator, -1, prime) % prime


@given(st.lists(FLOATS, min_size=1, max_size=5))
def test_embed_is_exact(numbers: list[float]) -> None:
    found = FIELD.embed(numbers)
    for number, residues in zip(numbers, found, strict=True):
        assert residues.tolist() == [image(number, int(p)) for p in FIELD.primes]


@given(
    st.integers(0, 2**31),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 30),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 60),
)
def test_matmul_is_exact(
    seed: int, groups: int, rows: int, columns: int, dtype: type, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    exponents = rng.integers(-spread, spread + 1, (groups, rows, columns))
    weights = np.ldexp(rng.standard_normal((groups, rows, columns)), exponents).astype(dtype)
    weights[rng.random(weights.shape) < 0.2] = 0
    x = rng.integers(0, FIELD.primes, (groups, columns, FIELD.lanes))
    found = FIELD.matmul(weights, x)
    for g in range(groups):
        for o in range(rows):
            for lane, p in enumerate(map(int, FIELD.primes)):
                terms = zip(weights[g, o].tolist(), x[g, :, lane].tolist(), strict=True)
                assert found[g, o, lane] == sum(image(w, p) * v for w, v in terms) % p


@given(st.lists(FLOATS32, min_size=1, max_size=6))
def test_matmul_of_extreme_weights(numbers: list[float]) -> None:
    """From denormals to 3e38 in one row: as many limbs as it takes."""
    x = np.full((1, len(numbers), FIELD.lanes), 12345)
    found = FIELD.matmul(np.array(numbers, np.float32)[None, None], x)[0, 0]
    assert found.tolist() == [
        sum(image(n, int(p)) for n in numbers) * 12345 % int(p) for p in FIELD.primes
    ]


def test_matmul_in_chunks_and_halves() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((1, 3, 70_000), np.float32)
    x = rng.integers(0, FIELD.primes, (1, 70_000, FIELD.lanes))
    whole = FIELD.matmul(weights, x)
    parts = [FIELD.matmul(weights[..., i::7], x[:, i::7]) for i in range(7)]
    assert np.array_equal(whole, sum(parts) % FIELD.primes)


def test_cancellation_is_exact() -> None:
    """β·h - β·h is zero, whatever β; in floating point a sum in another order need not be."""
    beta = np.random.default_rng(0).standard_normal((5, 64), np.float32)
    h = np.random.default_rng(1).integers(0, FIELD.primes, (64, FIELD.lanes))
    both = FIELD.matmul(np.concatenate([beta, -beta], 1)[None], np.concatenate([h, h])[None])
    assert not both.any()


def test_scramble_is_a_function_of_row_and_name() -> None:
    rows = np.random.default_rng(0).integers(0, FIELD.primes, (1000, 2, FIELD.lanes))
    rows[500:] = rows[:500]
    found = FIELD.scramble(rows, "f")
    assert np.array_equal(found[:500], found[500:])
    assert len(np.unique(found, axis=0)) == 500
    assert not (found == FIELD.scramble(rows, "g")).any()
    assert not (found == FIELD.scramble(rows[:, ::-1], "f")).all(axis=1).any()
    assert ((found >= 0) & (found < FIELD.primes)).all()
    zeros = np.zeros((3, 2, FIELD.lanes), np.int64)
    assert FIELD.scramble(zeros, "f").any()
    assert not FIELD.scramble(zeros, "f", zero=True).any()


def test_many_functions_at_once_are_the_functions_one_by_one() -> None:
    values = np.random.default_rng(0).integers(0, FIELD.primes, (7, 3, FIELD.lanes))
    values[2] = 0
    names: list[tuple[object, ...]] = [("f", 1), ("f", 2), ("g", (1, 2))]
    for zero in (False, True):
        found = FIELD.each_by_all(values, names, zero=zero)
        assert np.array_equal(found, [FIELD.each(values, *words, zero=zero) for words in names])


def test_scramble_spreads_evenly() -> None:
    """Images of neighbours look random: each bit is set half of the time."""
    rows = np.arange(20_000)[:, None].repeat(FIELD.lanes, axis=1)
    found = FIELD.each(rows, "f")
    for bit in range(20):
        share = ((found >> bit) & 1).mean(axis=0)
        # six standard deviations of 20,000 fair coins
        assert (abs(share - 0.5) < 6 * 0.5 / 20_000**0.5).all()


@pytest.mark.parametrize("seed", range(5))
def test_primes(seed: int) -> None:
    primes = Field(seed).primes.tolist()
    assert len(set(primes)) == 5
    for p in primes:
        assert 2**30 < p < 2**31
        assert all(p % d for d in range(2, 47_000))
    assert primes == Field(seed).primes.tolist()
    assert primes != Field(seed + 1).primes.tolist()


def test_is_prime() -> None:
    small = [n for n in range(2, 5000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    assert [n for n in range(5000) if is_prime(n)] == small
    # strong pseudoprimes to the bases 2, 3 and 5
    assert not any(is_prime(n) for n in (25_326_001, 161_304_001, 960_946_321))
