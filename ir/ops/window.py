"""The arithmetic of sliding windows, shared by convolutions and poolings."""

from __future__ import annotations

from ..attributes import Pads
from .base import ShapeError


def resolve_padding(
    padding: str | Pads, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> Pads:
    """Begin and end padding of every axis.

    ``same`` adds dilation·(kernel-1) in all, the smaller half first, whatever the stride and the
    input size. The result then has ceil(size / stride) elements; at stride 1, that is the size.
    For odd kernels it is PyTorch's ``padding=dilation*(kernel//2)``.
    """
    if not isinstance(padding, str):
        return padding
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in totals)


def window_output(
    name: str,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """Spatial shape after sliding the window. Raises :class:`ShapeError` if it does not fit."""
    result = []
    for size, k, s, (begin, end), d in zip(sizes, kernel, stride, pads, dilation, strict=True):
        extent = d * (k - 1) + 1
        if size + begin + end < extent:
            padded = f" ({size + begin + end} with padding)" if begin + end else ""
            raise ShapeError(
                f"the window of `{name}` spans {extent}, more than the tensor's {size}{padded}",
                "the tensor has been pooled or strided too small here; use a smaller kernel, "
                'less pooling before it, or padding="same"',
            )
        result.append((size + begin + end - extent) // s + 1)
    return tuple(result)
