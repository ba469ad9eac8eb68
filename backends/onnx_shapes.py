"""How ops that move numbers, and reductions, are written in ONNX."""

from __future__ import annotations

from ..ir import ops
from . import sampling
from .onnx_site import Site, bordered, cut, dim, flat, lowering


@lowering(ops.Concat)
def concat(op: ops.Concat, at: Site) -> str:
    return at.emit("Concat", *at.with_batch(), axis=dim(op.axis, len(at.shape)))


@lowering(ops.Slice)
def slice_(op: ops.Slice, at: Site) -> str:
    axis, start, stop, step = op.bounds(at.types[0])
    return cut(at, at.x, axis + 1, start, stop, step)


@lowering(ops.Pad)
def pad(op: ops.Pad, at: Site) -> str:
    widths = op.widths(at.types[0])
    if op.mode == "constant":
        return bordered(at, at.x, widths, op.value)
    if op.mode == "wrap" and at.opset < 19:
        value = at.x
        for axis, (n, pair) in enumerate(zip(at.shape, widths, strict=True)):
            if any(pair):
                chosen = sampling.padded(op.mode, n, *pair)
                value = at.emit("Gather", value, at.ints(*chosen.tolist()), axis=axis + 1)
        return value
    return at.emit("Pad", at.x, at.ints(*flat(((0, 0), *widths))), mode=op.mode)


@lowering(ops.Gather)
def gather(op: ops.Gather, at: Site) -> str:
    return at.emit("Gather", at.x, at.ints(*op.indices), axis=dim(op.axis, len(at.shape)))


@lowering(ops.Expand)
def expand(op: ops.Expand, at: Site) -> str:
    # 1 for the batch: Expand matches shapes both ways.
    return at.emit("Expand", *at.aligned(len(op.shape)), at.ints(1, *op.shape))


@lowering(ops.Tile)
def tile(op: ops.Tile, at: Site) -> str:
    return at.emit("Tile", at.x, at.ints(1, *op.repeats))


@lowering(ops.Flatten)
def flatten(op: ops.Flatten, at: Site) -> str:
    if len(at.node.type.shape) == 1:
        return at.emit("Flatten", at.x, axis=1)
    return at.reshape(at.x, at.node.type.shape)


@lowering(ops.Reshape)
def reshape(op: ops.Reshape, at: Site) -> str:
    return at.reshape(at.x, at.node.type.shape)


@lowering(ops.Transpose)
def transpose(op: ops.Transpose, at: Site) -> str:
    return at.emit("Transpose", at.x, perm=[0, *(axis + 1 for axis in op.order)])


# ---- reductions

REDUCTIONS: dict[type[ops.Reduction], str] = {
    ops.ReduceMean: "ReduceMean",
    ops.ReduceSum: "ReduceSum",
    ops.ReduceProd: "ReduceProd",
    ops.ReduceMax: "ReduceMax",
    ops.ReduceMin: "ReduceMin",
    ops.ReduceL1: "ReduceL1",
    ops.ReduceL2: "ReduceL2",
    ops.ReduceLogSumExp: "ReduceLogSumExp",
}


@lowering(*REDUCTIONS)
def reduce(op: ops.Reduction, at: Site) -> str:
    axes = [axis + 1 for axis in op.reduced(at.types[0])]
    return at.reduce(REDUCTIONS[type(op)], at.x, axes, keep=op.keep)
