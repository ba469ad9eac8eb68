"""How ops that change the resolution of images are written in ONNX."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir import ops
from . import sampling
from .onnx_site import Site, lowering


@lowering(ops.Resize)
def resize(op: ops.Resize, at: Site) -> str:
    sizes = at.shape[1:]
    ratios = sampling.ratios(op, sizes)
    axes = list(zip(range(2, 2 + len(sizes)), sizes, op.size, ratios, strict=True))
    if op.mode == "nearest":
        chosen = {d: sampling.nearest(op, n, m, r) for d, n, m, r in axes}
        kept = [sampling.keeps(chosen[d], n) for d, n, _, _ in axes]
        if all(kept):
            return at.x
        if _has_sizes(op, sizes) and _onnx_finds(op, chosen.values(), sizes):
            return _resize(op, at)
        return _gathered(at, chosen, kept)
    matrices = {d: sampling.matrix(op, n, m, r) for d, n, m, r in axes}
    kept = [sampling.keeps(matrices[d], n) for d, n, _, _ in axes]
    if all(kept):
        return at.x
    if _has_sizes(op, sizes) and _is_known(op, at):
        return _resize(op, at)
    return _multiplied(at, matrices, kept)


def _has_sizes(op: ops.Resize, sizes: tuple[int, ...]) -> bool:
    """Whether ONNX, which takes sizes or ratios and not both, makes the wanted sizes."""
    return op.scale is None or all(
        math.floor(precision(n) * precision(np.float32(ratio))) == m
        for n, m, ratio in zip(sizes, op.size, op.scale, strict=True)
        for precision in (np.float32, np.float64)
    )


def _onnx_finds(op: ops.Resize, chosen: Iterable[sampling.Indices], sizes: tuple[int, ...]) -> bool:
    """Whether a runtime that computes places in float32 takes the same neighbours."""
    given = op.scale or [None] * len(sizes)
    return all(
        np.array_equal(_nearest(op, n, len(indices), ratio), indices)
        for indices, n, ratio in zip(chosen, sizes, given, strict=True)
    )


def _nearest(op: ops.Resize, n: int, m: int, given: float | None) -> sampling.Indices:
    half = np.float32(0.5)
    ratio = np.float32(m) / np.float32(n) if given is None else np.float32(given)
    i = np.arange(m, dtype=np.float32)
    match op.coordinates:
        case "asymmetric":
            places = i / ratio
        case "align_corners":
            places = i * np.float32(n - 1) / np.float32(m - 1) if m > 1 else i
        case "pytorch_half_pixel" if m == 1:
            places = i
        case _:
            places = (i + half) / ratio - half
    rounded: NDArray[np.float32] = {
        "floor": np.floor(places),
        "ceil": np.ceil(places),
        "round_prefer_floor": np.ceil(places - half),
        "round_prefer_ceil": np.floor(places + half),
    }[op.rounding]
    return np.clip(rounded.astype(np.int64), 0, n - 1)


def _is_known(op: ops.Resize, at: Site) -> bool:
    """Whether runtimes interpolate so: onnxruntime does along 1 to 3 axes, by cubics along 2."""
    if op.antialias and at.opset < 18:
        return False
    return len(op.size) == 2 if op.mode == "cubic" else 1 <= len(op.size) <= 3


def _resize(op: ops.Resize, at: Site) -> str:
    settings: dict[str, Any] = {
        "mode": op.mode,
        "coordinate_transformation_mode": op.coordinates,
    }
    if op.mode == "nearest":
        settings["nearest_mode"] = op.rounding
    if op.mode == "cubic":
        settings["cubic_coeff_a"] = op.cubic
    if op.antialias and op.mode != "nearest":
        settings["antialias"] = 1
    if at.opset >= 18:
        settings["axes"] = range(2, 2 + len(op.size))
    if op.scale is not None:
        ratios = op.scale if at.opset >= 18 else (1.0, 1.0, *op.scale)
        scales = at.body.constant(np.array(ratios, np.float32))
        return at.emit("Resize", at.x, "", scales, **settings)
    if at.opset >= 18:
        return at.emit("Resize", at.x, "", "", at.ints(*op.size), **settings)
    shape = at.emit("Concat", at.body.batch(), at.ints(*at.node.type.shape), axis=0)
    return at.emit("Resize", at.x, "", "", shape, **settings)


def _gathered(at: Site, chosen: dict[int, sampling.Indices], kept: list[bool]) -> str:
    value = at.x
    for (dimension, indices), same in zip(chosen.items(), kept, strict=True):
        if not same:
            value = at.emit("Gather", value, at.ints(*indices.tolist()), axis=dimension)
    return value


def _multiplied(at: Site, matrices: dict[int, sampling.Matrix], kept: list[bool]) -> str:
    value = at.x
    letters = string.ascii_lowercase[: len(at.shape) + 1]
    for (dimension, matrix), same in zip(matrices.items(), kept, strict=True):
        if not same:
            old = letters[dimension]
            equation = f"{letters},{old.upper()}{old}->{letters.replace(old, old.upper())}"
            weights = at.body.constant(matrix.astype(np.float32))
            value = at.emit("Einsum", value, weights, equation=equation)
    return value


@lowering(ops.DepthToSpace)
def depth_to_space(op: ops.DepthToSpace, at: Site) -> str:
    return at.emit("DepthToSpace", at.x, blocksize=op.block, mode=op.order.upper())


@lowering(ops.SpaceToDepth)
def space_to_depth(op: ops.SpaceToDepth, at: Site) -> str:
    if op.order == "dcr":
        return at.emit("SpaceToDepth", at.x, blocksize=op.block)
    channels, height, width = at.shape
    parts = channels, height // op.block, op.block, width // op.block, op.block
    blocks = at.emit("Transpose", at.reshape(at.x, parts), perm=[0, 1, 3, 5, 2, 4])
    return at.reshape(blocks, at.node.type.shape)
