"""Exact arithmetic in several prime fields at once.

Floating-point numbers are dyadic rationals m·2^e, so every finite one has an exact image in the
field of integers modulo an odd prime p: m·2^e mod p. Sums, differences and products of weights
are then exact: there is no rounding, and β - β is zero. The fields ("lanes") are independent: two
different polynomials of degree d agree at a random point of all of them with a probability of
at most (d/p)^lanes (Schwartz and Zippel).

Residues are int64 arrays whose last axis is the lane.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Residues = NDArray[np.int64]

LANES = 5
_HALF = 16
_CHUNK = 1 << 16
"""Numbers of a matrix handled at a time: a chunk and its limbs stay in the processor's cache."""


class Field:
    """``LANES`` random primes between 2^30 and 2^31, and random functions into their fields.

    Everything random depends on ``seed`` alone. The primes are random, rather than of a special
    form such as 2^31 - 1, in which powers of two have a small order and would often coincide.
    """

    def __init__(self, seed: int = 0, lanes: int = LANES) -> None:
        self.seed = seed
        rng = np.random.default_rng([0x67726F77, seed])
        primes: list[int] = []
        while len(primes) < lanes:
            candidate = int(rng.integers(2**30, 2**31)) | 1
            if candidate not in primes and is_prime(candidate):
                primes.append(candidate)
        self.primes = np.array(primes, np.int64)
        self._powers: dict[tuple[int, int], Residues] = {}
        self.settled: dict[object, set[bytes]] = {}
        """Fingerprints of results of ReLU and the like, which a second one leaves as they are."""

    @property
    def lanes(self) -> int:
        return len(self.primes)

    # ---- numbers

    def power_of_two(self, exponent: int, times: int = 1) -> Residues:
        """2^exponent in every lane, ``times`` side by side; the exponent may be negative."""
        key = exponent, times
        if key not in self._powers:
            powers = [pow(2, exponent % (int(p) - 1), int(p)) for p in self.primes]
            self._powers[key] = np.array(powers * times, np.int64)
        return self._powers[key]

    def embed(self, numbers: NDArray[np.floating] | Sequence[float]) -> Residues:
        """The exact images of finite floats, any shape; adds the lane axis."""
        values = np.asarray(numbers, np.float64)
        fraction, exponent = np.frexp(values)
        mantissa = np.ldexp(fraction, 53).astype(np.int64)
        residues = mantissa[..., None] % self.primes
        powers = np.zeros_like(residues)
        for e in np.unique(exponent):
            powers[exponent == e] = self.power_of_two(int(e) - 53)
        result: Residues = residues * powers % self.primes
        return result

    def matmul(self, weights: NDArray[np.floating], x: Residues) -> Residues:
        """Exact products of float matrices with residues: [G, O, I] and [G, I, k·lanes] →
        [G, O, k·lanes], for k vectors side by side.

        Residues are cut into halves of 16 bits, and weights into limbs of as many bits as leave
        room for the sum: all products and sums then fit into float64's 53 bits exactly, and BLAS
        can do the work.
        """
        groups, rows, columns = weights.shape
        primes = np.tile(self.primes, x.shape[-1] // self.lanes)
        if columns > 1 << 16:
            middle = columns // 2
            left = self.matmul(weights[..., :middle], x[:, :middle])
            right = self.matmul(weights[..., middle:], x[:, middle:])
            both: Residues = (left + right) % primes
            return both
        result = np.zeros((groups, rows, len(primes)), np.int64)
        top = float(max(weights.max(initial=0.0), -weights.min(initial=0.0)))
        if top == 0.0:
            return result
        halves = np.concatenate([x & ((1 << _HALF) - 1), x >> _HALF], axis=2).astype(np.float64)
        exponent = math.frexp(top)[1]
        limb_bits = 53 - _HALF - columns.bit_length()
        group_step = max(1, _CHUNK // max(1, rows * columns))
        row_step = max(1, _CHUNK // max(1, columns))
        for g in range(0, groups, group_step):
            for o in range(0, rows, row_step):
                part = weights[g : g + group_step, o : o + row_step]
                result[g : g + group_step, o : o + row_step] = self._product(
                    part, halves[g : g + group_step], exponent, limb_bits, primes
                )
        return result

    def _product(
        self,
        weights: NDArray[np.floating],
        halves: NDArray[np.float64],
        exponent: int,
        limb_bits: int,
        primes: Residues,
    ) -> Residues:
        # Scaling by powers of two and cutting off the integer part are exact in float64.
        rest = np.ldexp(weights.astype(np.float64), limb_bits - exponent)
        limb = np.empty_like(rest)
        twice = np.concatenate([primes, primes])
        sets = len(primes) // self.lanes
        total: Residues = np.zeros((*weights.shape[:2], len(primes)), np.int64)
        shift = exponent - limb_bits
        while True:
            np.trunc(rest, out=limb)
            sums = (limb @ halves).astype(np.int64) % twice
            low, high = sums[..., : len(primes)], sums[..., len(primes) :]
            value = (low + (high << _HALF)) % primes
            total = (total + value * self.power_of_two(shift, sets)) % primes
            rest -= limb
            if not rest.any():
                return total
            rest *= float(1 << limb_bits)
            shift -= limb_bits

    def numbers(self, count: int) -> Residues:
        """0, 1, … in every lane: [count, lanes], to tell channels apart by their place."""
        return np.arange(count, dtype=np.int64)[:, None].repeat(self.lanes, axis=1)

    # ---- random functions

    def key(self, *words: object) -> NDArray[np.uint64]:
        """One 64-bit key a lane, from anything with an exact ``repr``."""
        text = repr((self.seed, *words)).encode()
        digest = hashlib.blake2b(text, digest_size=8 * self.lanes).digest()
        return np.frombuffer(digest, np.uint64)

    def scramble(self, residues: Residues, *words: object, zero: bool = False) -> Residues:
        """An opaque function, named by ``words``, of each row [..., k, lanes] → [..., lanes].

        A row is k residues in all lanes. Equal rows have equal images; images of different rows
        are like independent random numbers. With ``zero`` the image of all zeros is zero.
        """
        return self._scrambled(residues, self.key(*words), zero)

    def _scrambled(self, residues: Residues, keys: NDArray[np.uint64], zero: bool) -> Residues:
        rows = residues.reshape(*residues.shape[:-2], -1).astype(np.uint64)
        shape = np.broadcast_shapes(keys.shape, (*rows.shape[:-1], self.lanes))
        state = np.broadcast_to(keys, shape).copy()
        for i in range(rows.shape[-1]):
            offset = np.uint64((i + 1) * _GOLDEN % 2**64)
            state = _mix(state ^ _mix(rows[..., i : i + 1] + offset))
        image = (_mix(state) % self.primes.astype(np.uint64)).astype(np.int64)
        if zero:
            image[..., ~rows.any(axis=-1), :] = 0
        return image

    def each(self, residues: Residues, *words: object, zero: bool = False) -> Residues:
        """The opaque function applied to every residue of its own: [..., lanes] → the same."""
        return self.scramble(residues[..., None, :], *words, zero=zero)

    def each_by_all(
        self, residues: Residues, names: Sequence[tuple[object, ...]], *, zero: bool = False
    ) -> Residues:
        """Several such functions, each named by its words: [functions, ..., lanes]. What does not
        depend on the function is computed once."""
        keys = np.stack([self.key(*words) for words in names])
        apart = keys.reshape(len(names), *(1,) * (residues.ndim - 1), self.lanes)
        return self._scrambled(residues[..., None, :], apart, zero)


_GOLDEN = 0x9E3779B97F4A7C15


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014): every bit depends on every other."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def is_prime(number: int) -> bool:
    """Whether a number below 3.4·10^14 is prime (Miller and Rabin; Jaeschke 1993)."""
    small = (2, 3, 5, 7, 11, 13, 17)
    if number < 2 or any(number % p == 0 for p in small):
        return number in small
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in small:
        x = pow(base, odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % number
            if x == number - 1:
                break
        else:
            return False
    return True
