"""How products of two tensors become PyTorch: matrix product and attention."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..ir import ops
from .torch_site import Site, lowering


@lowering(ops.MatMul)
def matmul(op: ops.MatMul, at: Site) -> fx.Node:
    return at.call(torch.matmul, *at.aligned())


@lowering(ops.Attention)
def attention(op: ops.Attention, at: Site) -> fx.Node:
    operands, types = at.with_batch(), at.types
    # Of self-attention, each tensor is split into heads once.
    split = {
        x: _heads(at, x, op.heads, t.shape[1]) for x, t in zip(operands[:3], types[:3], strict=True)
    }
    heads = [split[x] for x in operands[:3]]
    masks = [at.lifted(x, t.rank, 3) for x, t in zip(operands[3:], types[3:], strict=True)]
    scale = op.scale
    if scale is not None and scale <= 0:
        # PyTorch may scale what causality has set to minus infinity.
        heads[0], scale = at.call(torch.mul, heads[0], scale), 1.0
    if op.dropout > 0 or (masks and op.causal):
        sizes = (types[0].shape[0], types[1].shape[0]) if op.causal else None
        result = at.module(Attention(scale, op.dropout, sizes), *heads, *masks)
    else:
        result = at.call(
            F.scaled_dot_product_attention,
            *heads,
            **({"attn_mask": masks[0]} if masks else {}),
            **({"is_causal": True} if op.causal else {}),
            **({"scale": scale} if scale is not None else {}),
        )
    if op.heads == 1:
        return at.call(torch.squeeze, result, 1)
    return at.call(torch.flatten, at.call(torch.transpose, result, 1, 2), 2)


def _heads(at: Site, x: fx.Node, heads: int, features: int) -> fx.Node:
    """[batch, tokens, features] → [batch, heads, tokens, features / heads]"""
    if heads == 1:
        return at.call(torch.unsqueeze, x, 1)
    return at.call(
        torch.transpose, at.call(torch.unflatten, x, 2, (heads, features // heads)), 1, 2
    )


class Attention(nn.Module):
    """Scaled dot-product attention of [batch, heads, tokens, features] with dropout, or with a
    mask beside the causal one, which PyTorch's function does not combine.

    ``explicit`` computes the weights and hands them to ``dropout``, which then can be replaced.
    """

    hidden: Tensor | None

    def __init__(self, scale: float | None, dropout: float, causal: tuple[int, int] | None) -> None:
        super().__init__()
        self.scale, self.causal = scale, causal is not None
        self.dropout = nn.Dropout(dropout)
        self.explicit = False
        hidden = None if causal is None else torch.ones(causal, dtype=torch.bool).triu(1)
        self.register_buffer("hidden", hidden, persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.training and self.explicit:
            return self._explicitly(q, k, v, mask)
        causal = self.hidden is not None and mask is None
        if self.hidden is not None and mask is not None:
            mask = mask.masked_fill(self.hidden, float("-inf"))
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            mask,
            dropout_p=self.dropout.p if self.training else 0.0,
            is_causal=causal,
            scale=self.scale,
        )

    def _explicitly(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = q @ k.transpose(-2, -1) * scale
        if mask is not None:
            scores = scores + mask
        if self.hidden is not None:
            scores = scores.masked_fill(self.hidden, float("-inf"))
        weights: Tensor = self.dropout(scores.softmax(-1))
        return weights @ v

    def extra_repr(self) -> str:
        return f"scale={self.scale}, causal={self.causal}"
