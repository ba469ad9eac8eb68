"""What processes that train one model ask about it."""

from __future__ import annotations

import torch

import growc
from growc.train.processes import _sum_of_bits, unused_parameters


def test_parameters_that_no_output_needs() -> None:
    graph = growc.loads(
        "net n { input x: f32[4]  a = x -> linear(4)  b = a -> batch_norm"
        "  output y = a -> relu -> linear(2) }"
    )
    assert unused_parameters(graph) == {"b.weight", "b.bias"}
    assert unused_parameters(growc.load("examples/digits.arch")) == set()


def test_any_bit_and_any_order_changes_the_sum() -> None:
    for tensor in (
        torch.arange(1.0, 6.0),
        torch.arange(1, 6),
        torch.arange(1.0, 6.0, dtype=torch.bfloat16),
        torch.tensor(3),
    ):
        whole = int(_sum_of_bits(tensor))
        if tensor.ndim:
            assert int(_sum_of_bits(tensor.flip(0))) != whole
        bits = tensor.flatten().view(torch.uint8)
        for byte in range(len(bits)):
            for bit in range(8):
                changed = bits.clone()
                changed[byte] ^= 1 << bit
                assert int(_sum_of_bits(changed.view(tensor.dtype))) != whole
