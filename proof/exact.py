"""The exact proof that two networks compute the same function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..fingerprints import Field, Fingerprinter, Print, prefers_last
from ..ir import Graph
from .numeric import BOTH, Comparison, Modes, compare, require_same_interface

Verdict = Literal["proved", "refuted", "unproved"]


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two networks part: the first node that both have and whose channels differ."""

    mode: str
    node: str
    channel: int
    reason: str

    def __str__(self) -> str:
        return (
            f"in {self.mode} mode they part at `{self.node}`, channel {self.channel}: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found out about two networks.

    ``proved``: the same function in every mode asked for, in real arithmetic, with an error
    probability below 2^-100. ``refuted``: ``counterexample`` holds inputs' seed and the
    difference. ``unproved``: neither, and ``parting`` says where the proof stops.
    """

    verdict: Verdict
    modes: Modes
    seed: int
    primes: tuple[int, ...]
    channels: int
    """Output channels compared, over all modes."""
    parting: Parting | None = None
    counterexample: Comparison | None = None
    proved_modes: Modes = field(default=())


class Prover:
    """Proves equalities over one field; what several networks share is computed once."""

    def __init__(self, seed: int = 0) -> None:
        self.field = Field(seed)
        self._fingerprinter = Fingerprinter(self.field)

    def __call__(
        self, before: Graph, after: Graph, modes: Modes = BOTH, *, search: bool = True
    ) -> Proof:
        """Decide whether two networks are the same function in each of ``modes``.

        Where fingerprints differ, ``search`` looks for a numeric counterexample (which needs
        torch). Raises :class:`GrowcError` if the networks' inputs or outputs differ.
        """
        require_same_interface(before, after)
        problem = _not_finite(before) or _not_finite(after)
        channels, parting = 0, None
        proved: list[str] = []
        if problem is not None:
            parting = Parting(modes[0], problem, 0, "a parameter is not finite")
        else:
            # Both follow the same axis at a node of the same name, whoever asks for it.
            last = prefers_last(before) | prefers_last(after)
            prints = [self._fingerprinter.in_modes(g, modes, last) for g in (before, after)]
            for mode in modes:
                a, b = (found[mode] for found in prints)
                channels += sum(len(a[node].values) for node in before.outputs.values())
                if all(
                    _same(a[node], b[after.outputs[name]]) for name, node in before.outputs.items()
                ):
                    proved.append(mode)
                elif parting is None:
                    parting = _parting(before, after, a, b, mode)
        primes = tuple(map(int, self.field.primes))
        common = (modes, self.field.seed, primes, channels)
        if parting is None:
            return Proof("proved", *common, proved_modes=tuple(proved))
        found = _counterexample(before, after, modes) if search else None
        verdict: Verdict = "refuted" if found is not None else "unproved"
        return Proof(verdict, *common, parting, found, tuple(proved))


def prove(before: Graph, after: Graph, mode: str = "both", *, seed: int = 0) -> Proof:
    """Decide whether two networks compute the same function (design, section 6).

    ``mode`` is ``"eval"``, ``"train"`` or ``"both"``. Raises :class:`GrowcError` if their inputs or
    outputs differ, or a parameter has no value.
    """
    return Prover(seed)(before, after, BOTH if mode == "both" else (mode,))


def _same(a: Print, b: Print) -> bool:
    return a.axis == b.axis and np.array_equal(a.values, b.values)


def _not_finite(graph: Graph) -> str | None:
    return next((n for n in graph.parameters() if not np.isfinite(graph.weights[n]).all()), None)


def _parting(
    before: Graph, after: Graph, a: dict[str, Print], b: dict[str, Print], mode: str
) -> Parting:
    for node in before:
        if node.name not in after or _same(a[node.name], b[node.name]):
            continue
        x, y = a[node.name], b[node.name]
        if x.axis != y.axis or x.values.shape != y.values.shape:
            return Parting(mode, node.name, 0, "it has another shape")
        channel = int(np.flatnonzero((x.values != y.values).any(axis=1))[0])
        return Parting(mode, node.name, channel, _reason(before, after, node.name))
    output = next(n for n in before.outputs if not _same(a[before.outputs[n]], b[after.outputs[n]]))
    return Parting(mode, after.outputs[output], 0, f"the output `{output}` is made differently")


def _reason(before: Graph, after: Graph, name: str) -> str:
    old, new = before.node(name), after.node(name)
    if old.op != new.op:
        return (
            f"the op is {new.op.name} with other arguments"
            if old.op.name == new.op.name
            else (f"the op is {new.op.name}, not {old.op.name}")
        )
    for key, _ in before.params_of(name):
        a, b = before.weights[key], after.weights.get(key)
        if b is None or a.shape != b.shape or not np.array_equal(a, b):
            return f"its parameter `{key}` has other values"
    if old.operands != new.operands:
        return "it is fed by other nodes"
    return "its operands differ"


TRIALS: Sequence[tuple[int, int]] = ((0, 4), (1, 4), (2, 16))
"""(seed, batch) of the inputs tried for a counterexample."""


def _counterexample(before: Graph, after: Graph, modes: Modes) -> Comparison | None:
    for seed, batch in TRIALS:
        found = compare(before, after, modes=modes, seed=seed, batch=batch)
        if not found.agrees:
            return found
    return None
