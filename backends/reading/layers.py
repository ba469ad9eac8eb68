"""Layers of foreign models that both readers know: convolutions, normalizations, poolings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...ir import OPS, Op, ops
from ...ir.attributes import Pads
from . import operations as o
from .builder import Builder
from .operations import Tensor, bound
from .values import Bound, Const, Unreadable

Ints = Sequence[int]


def _spatial(b: Builder, x: Tensor, rank: int | None = None) -> Bound:
    source = b.plain(bound(b, x), "operand")
    if rank is not None and source.rank != rank + 2:
        raise Unreadable(f"a window of {rank} axes does not fit {list(source.shape)}")
    return source


def _own(name: str, rank: int) -> type[Op]:
    if not 1 <= rank <= 3:
        raise Unreadable(f"growc has windows of 1 to 3 axes, not {rank}")
    return OPS[f"{name}{rank}d"]


def padding(pads: Pads, kernel: Ints, dilation: Ints) -> str | Pads:
    """The paddings, or ``same`` where they are what that stands for."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    same = tuple((t // 2, t - t // 2) for t in totals)
    return "same" if tuple(pads) == same else tuple(pads)


def auto_pads(
    how: str, sizes: Ints, kernel: Ints, stride: Ints, dilation: Ints
) -> tuple[tuple[int, int], ...]:
    """ONNX's auto_pad in numbers: results of ceil(size / stride), the odd one at the named end."""
    found = []
    for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) if how != "VALID" else 0
        less, more = total // 2, total - total // 2
        found.append((less, more) if how == "SAME_UPPER" else (more, less))
    return tuple(found)


def conv(
    b: Builder,
    x: Tensor,
    weight: Const,
    bias: Const | None,
    *,
    stride: Ints,
    pads: Pads,
    dilation: Ints,
    groups: int,
) -> Bound:
    """A convolution with kernels [channels, inputs/groups, …]."""
    channels, _, *kernel = weight.shape
    source = _spatial(b, x, len(kernel))
    op = b.make(
        _own("conv", len(kernel)),
        channels=channels,
        kernel=kernel,
        stride=tuple(stride),
        padding=padding(pads, kernel, dilation),
        dilation=tuple(dilation),
        groups=groups,
        bias=bias is not None,
    )
    return _layer(b, op, source, weight, bias)


def conv_transpose(
    b: Builder,
    x: Tensor,
    weight: Const,
    bias: Const | None,
    *,
    stride: Ints,
    pads: Pads,
    dilation: Ints,
    groups: int,
    extra: Ints,
) -> Bound:
    """A transposed convolution with kernels [inputs, channels/groups, …]."""
    _, per_group, *kernel = weight.shape
    source = _spatial(b, x, len(kernel))
    op = b.make(
        _own("conv_transpose", len(kernel)),
        channels=per_group * groups,
        kernel=kernel,
        stride=tuple(stride),
        padding=padding(pads, kernel, dilation),
        extra=tuple(extra),
        dilation=tuple(dilation),
        groups=groups,
        bias=bias is not None,
    )
    return _layer(b, op, source, weight, bias)


def _layer(b: Builder, op: Op, source: Bound, weight: Const, bias: Const | None) -> Bound:
    params = {"weight": weight} | ({} if bias is None else {"bias": bias})
    node = b.add(op, (source.node,), _checked(b, op, (source,), params))
    return b.like(source, node)


def _checked(
    b: Builder, op: Op, operands: Sequence[Bound], params: dict[str, Const]
) -> dict[str, Const]:
    """``params``, if their shapes are those that the op needs."""
    types = [b.type_of(x.node) for x in operands]
    b_type = op.result(*types) if op.accepts(len(types)) else None
    for spec in op.params(*types) if b_type is not None else ():
        if spec.role in params and params[spec.role].shape != spec.shape:
            raise Unreadable(
                f"its {spec.role} has shape {list(params[spec.role].shape)}, not {list(spec.shape)}"
            )
    return params


# ---- normalizations


def batch_norm(
    b: Builder,
    x: Tensor,
    weight: Const | None,
    bias: Const | None,
    mean: Const,
    variance: Const,
    eps: float,
    momentum: float,
) -> Bound:
    """Over the batch and all axes but the second of the foreign tensor."""
    source = bound(b, x)
    if source.rank < 2 or source.batch == 1:
        raise Unreadable("its operand has no channels as second axis")
    channels = source.real(b.batch)[1]
    affine = weight is not None or bias is not None
    params = {"running_mean": mean, "running_var": variance}
    if affine:
        params["weight"] = weight or Const(np.ones(channels, np.float32))
        params["bias"] = bias or Const(np.zeros(channels, np.float32))
    op = b.make(ops.BatchNorm, float(eps), float(momentum), affine)
    axis = source.axis(1)
    perm = [axis, *(i for i in range(len(source.shape)) if i != axis)]
    node = source.node
    if axis:  # tokens: statistics over the batch and the tokens
        node = b.add(b.make(ops.Transpose, perm), (node,), main=False)
    there = Bound(node, b.type_of(node).shape)
    node = b.add(op, (node,), _checked(b, op, (there,), params))
    if axis:
        back = [perm.index(i) for i in range(len(perm))]
        node = b.add(b.make(ops.Transpose, back), (node,), main=False)
    return replace(source, node=node)


def layer_norm(
    b: Builder, x: Tensor, dims: int, weight: Const | None, bias: Const | None, eps: float
) -> Bound:
    """Over the last ``dims`` axes."""
    source = bound(b, x)
    if source.batch is not None and source.behind < dims:
        raise Unreadable("it normalizes over the batch")
    params = {}
    shape = source.shape[len(source.shape) - dims :]
    if weight is not None or bias is not None:
        params["weight"] = _of_shape(weight, shape, 1.0)
    if bias is not None:
        params["bias"] = _of_shape(bias, shape, 0.0)
    op = b.make(ops.LayerNorm, dims, float(eps), bool(params), bias is not None or not params)
    return b.like(source, b.add(op, (source.node,), _checked(b, op, (source,), params)))


def rms_norm(b: Builder, x: Tensor, dims: int, weight: Const | None, eps: float) -> Bound:
    """x / sqrt(mean(x²) + eps) · weight over the last ``dims`` axes."""
    source = bound(b, x)
    if source.batch is not None and source.behind < dims:
        raise Unreadable("it normalizes over the batch")
    shape = source.shape[len(source.shape) - dims :]
    params = {} if weight is None else {"weight": _of_shape(weight, shape, 1.0)}
    op = b.make(ops.RmsNorm, dims, float(eps), bool(params))
    return b.like(source, b.add(op, (source.node,), params))


def _of_shape(value: Const | None, shape: tuple[int, ...], default: float) -> Const:
    if value is None:
        return Const(np.full(shape, default, np.float32))
    if value.shape == shape:
        return value
    try:
        return value.with_array(np.broadcast_to(value.array, shape))
    except ValueError:
        raise Unreadable(
            f"a stored tensor of shape {list(value.shape)} does not fit {list(shape)}"
        ) from None


def group_norm(
    b: Builder, x: Tensor, groups: int, weight: Const | None, bias: Const | None, eps: float
) -> Bound:
    source = b.plain(bound(b, x), "operand")
    params = {}
    if weight is not None or bias is not None:
        channels = source.shape[:1]
        params["weight"] = _of_shape(weight, channels, 1.0)
        params["bias"] = _of_shape(bias, channels, 0.0)
    op = b.make(ops.GroupNorm, groups, float(eps), bool(params))
    return b.like(source, b.add(op, (source.node,), params))


def instance_norm(
    b: Builder, x: Tensor, weight: Const | None, bias: Const | None, eps: float
) -> Bound:
    source = b.plain(bound(b, x), "operand")
    params = {}
    if weight is not None or bias is not None:
        channels = source.shape[:1]
        params["weight"] = _of_shape(weight, channels, 1.0)
        params["bias"] = _of_shape(bias, channels, 0.0)
    op = b.make(ops.InstanceNorm, float(eps), bool(params))
    return b.like(source, b.add(op, (source.node,), _checked(b, op, (source,), params)))


# ---- poolings


def _overhang(
    sizes: Ints, kernel: Ints, stride: Ints, pads: Pads, dilation: Ints
) -> tuple[int, ...]:
    """What a pooling that rounds sizes up reads beyond the border at the end of each axis.

    As in PyTorch and ONNX, a last window that would begin beyond tensor and padding is left out.
    """
    more = []
    for n, k, s, (begin, end), d in zip(sizes, kernel, stride, pads, dilation, strict=True):
        room = n + begin + end - d * (k - 1) - 1
        count = -(-room // s) + 1
        if (count - 1) * s >= n + begin:
            count -= 1
        more.append(max(0, (count - 1) * s + d * (k - 1) + 1 - (n + begin + end)))
    return tuple(more)


def pool(
    b: Builder,
    x: Tensor,
    kind: str,
    *,
    kernel: Ints,
    stride: Ints,
    pads: Pads,
    dilation: Ints,
    ceil: bool = False,
    include_pad: bool = True,
    p: int = 2,
) -> Bound:
    """``max_pool``, ``avg_pool`` or ``lp_pool``."""
    source = _spatial(b, x, len(kernel))
    rank = len(kernel)
    cls = _own(kind, rank)
    if kind != "max_pool" and set(dilation) != {1}:
        raise Unreadable("it dilates its window, which growc knows for max pooling only")
    if ceil:
        more = _overhang(source.shape[1:], kernel, stride, pads, dilation)
        if any(more):
            if kind == "avg_pool" and include_pad and any(map(any, pads)):
                # The padding counts, what lies beyond it does not: pad first.
                source = _padded(b, source, pads)
                pads = ((0, 0),) * rank
            include_pad = False
            pads = tuple((a, z + m) for (a, z), m in zip(pads, more, strict=True))
    if not any(map(any, pads)):
        include_pad = True
    named: dict[str, object] = {"kernel": tuple(kernel), "padding": tuple(pads)}
    if tuple(stride) != tuple(kernel):
        named["stride"] = tuple(stride)
    if kind == "max_pool":
        named |= {"dilation": tuple(dilation), "padding": padding(pads, kernel, dilation)}
        if not any(map(any, pads)):
            named["padding"] = "valid"
    elif kind == "avg_pool":
        named["include_pad"] = include_pad
    else:
        named["p"] = p
    return b.like(source, b.add(b.make(cls, **named), (source.node,)))


def _padded(b: Builder, source: Bound, pads: Pads) -> Bound:
    before, after = [0], [0]
    for begin, end in pads:
        before.append(begin)
        after.append(end)
    return b.like(source, b.add(b.make(ops.Pad, before, after), (source.node,), main=False))


def global_pool(b: Builder, x: Tensor, cls: type[Op], reduction: type[Op], **named: int) -> Bound:
    """One number for each channel; other axes stay with size 1."""
    source = b.plain(bound(b, x), "operand")
    if 3 <= source.rank <= 5:
        return b.like(source, b.add(b.make(cls, **named), (source.node,)))
    return o.reduce(b, reduction, source, range(2, source.rank), keep=True)


def adaptive_pool(b: Builder, x: Tensor, kind: str, output: Ints) -> Bound:
    """``adaptive_avg_pool`` or ``adaptive_max_pool``."""
    source = _spatial(b, x, len(output))
    if set(output) == {1}:
        simple = ops.GlobalAvgPool if "avg" in kind else ops.GlobalMaxPool
        return b.like(source, b.add(simple(), (source.node,)))
    cls = _own(kind, len(output))
    return b.like(source, b.add(b.make(cls, tuple(output)), (source.node,)))


# ---- resolution


def resize(
    b: Builder,
    x: Tensor,
    sizes: Ints,
    mode: str,
    coordinates: str,
    rounding: str,
    ratios: Sequence[float] | None = None,
    cubic: float = -0.75,
    antialias: bool = False,
) -> Bound:
    """Resample the axes after the channels to these sizes."""
    source = b.plain(bound(b, x), "operand")
    if source.rank != len(sizes) + 2:
        raise Unreadable("it resizes other axes than those after the channels")
    old = source.shape[1:]
    if tuple(sizes) == old:
        return source
    whole = [m / n for m, n in zip(sizes, old, strict=True)]
    if ratios is not None and all(
        math.isclose(r, w, rel_tol=1e-6) for r, w in zip(ratios, whole, strict=True)
    ):
        ratios = None
    if mode != "nearest":
        rounding = "floor"  # which neighbour only matters to nearest
    named: dict[str, object] = {"mode": mode, "coordinates": coordinates, "rounding": rounding}
    if mode == "cubic" and cubic != -0.75:
        named["cubic"] = cubic
    if antialias and mode != "nearest":
        named["antialias"] = True
    if ratios is not None:
        named["scale"] = tuple(map(float, ratios))
    return b.like(source, b.add(b.make(ops.Resize, tuple(sizes), **named), (source.node,)))
