"""How ops that change the resolution of images become PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional as F

from ..ir import ops
from . import sampling
from .torch_modules import Gather, Interpolate
from .torch_site import Site, lowering

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@lowering(ops.Resize)
def resize(op: ops.Resize, at: Site) -> fx.Node:
    sizes = at.shape[1:]
    ratios = sampling.ratios(op, sizes)
    axes = list(zip(range(2, 2 + len(sizes)), sizes, op.size, ratios, strict=True))
    if op.mode == "nearest":
        chosen = {d: sampling.nearest(op, n, m, r) for d, n, m, r in axes}
        if 1 <= len(sizes) <= 3 and all(_torch_finds(chosen[d], n) for d, n, _, _ in axes):
            return at.call(F.interpolate, at.x, op.size)
        moved = {d: chosen[d] for d, n, _, _ in axes if not sampling.keeps(chosen[d], n)}
        return at.module(Gather(moved)) if moved else at.x
    settings = _interpolation(op, sizes)
    if settings is not None:
        return at.call(F.interpolate, at.x, **settings)
    matrices = {d: sampling.matrix(op, n, m, r) for d, n, m, r in axes}
    changed = {d: matrices[d] for d, n, _, _ in axes if not sampling.keeps(matrices[d], n)}
    return at.module(Interpolate(changed, at.dtype)) if changed else at.x


def _torch_finds(chosen: sampling.Indices, n: int) -> bool:
    """Whether PyTorch, which multiplies by a rounded ratio, takes the same neighbours."""
    for precision in (np.float32, np.float64):
        steps = np.arange(len(chosen), dtype=precision)
        places = np.multiply(steps, n / len(chosen), dtype=precision)
        if not np.array_equal(np.minimum(np.floor(places), n - 1), chosen):
            return False
    return True


def _interpolation(op: ops.Resize, sizes: tuple[int, ...]) -> dict[str, Any] | None:
    """Arguments with which F.interpolate computes the same, or None."""
    rank = len(sizes)
    corners = op.coordinates == "align_corners"
    if op.coordinates == "asymmetric" or op.antialias or not 1 <= rank <= 3:
        return None  # PyTorch's antialiasing leaves out what is outside
    if op.coordinates == "pytorch_half_pixel" and 1 in op.size:
        return None  # PyTorch itself has no such exception
    if op.mode == "cubic" and (rank != 2 or op.cubic != -0.75):
        return None
    mode = "bicubic" if op.mode == "cubic" else LINEAR[rank]
    settings: dict[str, Any] = {"size": op.size}
    if op.scale is not None and not corners:
        if any(math.floor(n * r) != m for n, r, m in zip(sizes, op.scale, op.size, strict=True)):
            return None
        settings = {"scale_factor": op.scale, "recompute_scale_factor": False}
    return {**settings, "mode": mode, "align_corners": corners}


@lowering(ops.DepthToSpace)
def depth_to_space(op: ops.DepthToSpace, at: Site) -> fx.Node:
    if op.order == "crd":
        return at.call(F.pixel_shuffle, at.x, op.block)
    channels, height, width = at.shape
    parts = -1, op.block, op.block, channels // op.block**2, height, width
    blocks = at.call(torch.permute, at.call(torch.reshape, at.x, parts), (0, 3, 4, 1, 5, 2))
    return at.call(torch.reshape, blocks, (-1, *at.node.type.shape))


@lowering(ops.SpaceToDepth)
def space_to_depth(op: ops.SpaceToDepth, at: Site) -> fx.Node:
    if op.order == "crd":
        return at.call(F.pixel_unshuffle, at.x, op.block)
    channels, height, width = at.shape
    parts = -1, channels, height // op.block, op.block, width // op.block, op.block
    blocks = at.call(torch.permute, at.call(torch.reshape, at.x, parts), (0, 3, 5, 1, 2, 4))
    return at.call(torch.reshape, blocks, (-1, *at.node.type.shape))
