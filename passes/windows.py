"""Convolution windows of several sizes inside one that spans them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..ir.ops import Conv
from ..ir.weights import Array


def _reach(op: Conv) -> list[tuple[int, int]]:
    """For every axis, how far the first and the last tap lie from the place of the result."""
    return [
        (-begin, (k - 1) * d - begin)
        for k, d, (begin, _) in zip(op.kernel, op.dilation, op.pads, strict=True)
    ]


def phase(op: Conv) -> tuple[int, ...]:
    """Windows of one stride and dilation fit into a common one if this is the same."""
    return tuple(begin % d for d, (begin, _) in zip(op.dilation, op.pads, strict=True))


def spanning(ops: Sequence[Conv]) -> Conv:
    """The first convolution, with the smallest window that has the taps of all of them.

    They have one stride, dilation and phase, and yield tensors of one size from the same tensor.
    """
    first = ops[0]
    kernel, pads = [], []
    for axis, dilation in enumerate(first.dilation):
        reach = [_reach(op)[axis] for op in ops]
        low, high = min(r[0] for r in reach), max(r[1] for r in reach)
        kernel.append((high - low) // dilation + 1)
        # With this end, each of them would see as many windows as it does alone.
        ends = [op.pads[axis][1] + high - r[1] for op, r in zip(ops, reach, strict=True)]
        pads.append((-low, max(ends)))
    wider = replace(first, kernel=tuple(kernel), padding="same")
    same = all(op.padding == "same" for op in ops) and wider.pads == tuple(pads)
    return wider if same else replace(wider, padding=tuple(pads))


def embed(weight: Array, op: Conv, wider: Conv) -> Array:
    """The weights of ``op`` as those of the wider window, zero at its other taps."""
    if op.kernel == wider.kernel:
        return weight
    new = np.zeros((*weight.shape[:2], *wider.kernel), np.float32)
    starts = [
        (low - wide) // d
        for (low, _), (wide, _), d in zip(_reach(op), _reach(wider), op.dilation, strict=True)
    ]
    taps = tuple(slice(s, s + k) for s, k in zip(starts, op.kernel, strict=True))
    new[(slice(None), slice(None), *taps)] = weight
    return new
