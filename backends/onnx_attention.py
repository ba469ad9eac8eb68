"""How products of two tensors are written in ONNX: matrix product and attention."""

from __future__ import annotations

import numpy as np

from ..ir import ops
from .onnx_site import Site, lowering


@lowering(ops.MatMul)
def matmul(op: ops.MatMul, at: Site) -> str:
    return at.emit("MatMul", *at.aligned())


@lowering(ops.Attention)
def attention(op: ops.Attention, at: Site) -> str:
    # Not the op that ONNX has from opset 23 on: few runtimes know it, and all know these.
    (queries, features), (tokens, _), (_, values) = (t.shape for t in at.types[:3])
    scale = (features // op.heads) ** -0.5 if op.scale is None else op.scale
    q = heads(at, at.operands[0], op.heads, (queries, features), [0, 2, 1, 3])
    k = heads(at, at.operands[1], op.heads, (tokens, features), [0, 2, 3, 1])
    v = heads(at, at.operands[2], op.heads, (tokens, values), [0, 2, 1, 3])
    scores = at.emit("MatMul", at.emit("Mul", q, at.number(scale)), k)
    for mask, type in zip(at.operands[3:], at.types[3:], strict=True):
        scores = at.emit("Add", scores, at.lifted(mask, type.rank, 3))
    if op.causal:
        hidden = np.triu(np.full((queries, tokens), -np.inf, np.float32), 1)
        scores = at.emit("Add", scores, at.body.constant(hidden))
    result = at.emit("MatMul", at.emit("Softmax", scores, axis=-1), v)
    tokens_first = at.emit("Transpose", result, perm=[0, 2, 1, 3])
    return at.reshape(tokens_first, (queries, values))


def heads(at: Site, x: str, count: int, shape: tuple[int, int], order: list[int]) -> str:
    """[batch, tokens, features] → [batch, tokens, heads, features / heads], in another order."""
    tokens, features = shape
    split = at.reshape(x, (tokens, count, features // count))
    return at.emit("Transpose", split, perm=order)
