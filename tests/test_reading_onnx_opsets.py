"""Every op in every opset in which ONNX changed its meaning, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from growc.backends.reading.onnx_call import HANDLERS

from .onnx_building import Net, read_rightly

torch.set_num_threads(1)

NEWEST = 23
IMAGE = (4, 7, 6)


def versions(op: str, least: int = 7, most: int = NEWEST) -> list[int]:
    """The opsets from 7 on at which the definition of an op changed, and the first that has it."""
    found = set()
    for opset in range(least, most + 1):
        try:
            schema = onnx.defs.get_schema(op, opset, "")
        except onnx.defs.SchemaError:
            continue
        if not schema.deprecated:
            found.add(max(schema.since_version, least))
    return sorted(found)


def each(
    op: str, build: Any, *, shape: Any = IMAGE, least: int = 7, most: int = NEWEST
) -> list[Any]:
    """A case for each of an op's versions."""
    return [
        pytest.param(opset, shape, build, id=f"{op}-{opset}-{i}")
        for i, opset in enumerate(versions(op, least, most))
    ]


def simple(op: str, **attributes: Any) -> list[Any]:
    return each(op, lambda net, x: net.op(op, x, **attributes))


def own(op: str, *, least: int = 7) -> list[Any]:
    """With a stored operand of the channels' shape."""
    return each(op, lambda net, x: net.op(op, x, net.weight("w", 4, 1, 1)), least=least)


def positive(net: Net, x: str) -> Any:
    return net.op("Add", net.op("Abs", x), 0.5)


def small(net: Net, x: str) -> Any:
    return net.op("Mul", net.op("Tanh", x), 0.9)


def clip(low: float | None, high: float | None) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        if net.opset < 11:
            named = {"min": low, "max": high}
            return net.op("Clip", x, **{k: v for k, v in named.items() if v is not None})
        bounds = ["" if v is None else v for v in (low, high)]
        return net.op("Clip", x, *bounds)

    return build


def pad(widths: list[int], mode: str = "constant", value: float = 0.0) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        if net.opset < 11:
            return net.op("Pad", x, pads=widths, mode=mode, value=value)
        return net.op("Pad", x, widths, *([value] if value else []), mode=mode)

    return build


def slices(starts: Any, ends: Any, axes: Any, steps: Any = None) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        if net.opset < 10:
            return net.op("Slice", x, starts=starts, ends=ends, axes=axes)
        return net.op("Slice", x, starts, ends, axes, *([steps] if steps else []))

    return build


def split(sizes: list[int] | None, axis: int, count: int) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        if sizes is None:
            more = {"num_outputs": count} if net.opset >= 18 else {}
            parts = net.op("Split", x, axis=axis, count=count, **more)
        elif net.opset < 13:
            parts = net.op("Split", x, axis=axis, split=sizes, count=count)
        else:
            parts = net.op("Split", x, sizes, axis=axis, count=count)
        return net.op("Concat", *reversed(parts), axis=axis)

    return build


def batch_norm(net: Net, x: str) -> Any:
    stored = [net.weight(n, 4) for n in ("scale", "b", "mean")]
    return net.op("BatchNormalization", x, *stored, net.random.random(4) + 0.5, epsilon=1e-3)


def group_norm(net: Net, x: str) -> Any:
    size = 2 if net.opset < 21 else 4
    return net.op(
        "GroupNormalization", x, net.weight("w", size), net.weight("b", size), num_groups=2
    )


def upsample(mode: str) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        scales = [1.0, 1.0, 2.0, 3.0]
        if net.opset < 9:
            return net.op("Upsample", x, scales=scales, mode=mode)
        return net.op("Upsample", x, scales, mode=mode)

    return build


def resize_scales(*scales: float, **more: Any) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        whole = [1.0, 1.0, *scales]
        if net.opset < 11:
            return net.op("Resize", x, whole, mode=more["mode"])
        roi: Any = "" if net.opset >= 13 else np.zeros(0)
        return net.op("Resize", x, roi, whole, **more)

    return build


def resize_sizes(*sizes: int, **more: Any) -> Callable[[Net, str], Any]:
    """The sizes after those of batch and channels, which are read from the tensor."""

    def build(net: Net, x: str) -> Any:
        outer = net.op("Slice", net.op("Shape", x), [0], [2], [0])
        whole = net.op("Concat", outer, list(sizes), axis=0)
        empty: Any = ("", "") if net.opset >= 13 else (np.zeros(0), np.zeros(0))
        return net.op("Resize", x, *empty, whole, **more)

    return build


def dropout(net: Net, x: str) -> Any:
    if net.opset < 12:
        return net.op("Dropout", x, ratio=0.3)
    return net.op("Dropout", x, 0.3)


def conv(shape: Any = (6, 4, 3, 3), **more: Any) -> Callable[[Net, str], Any]:
    return lambda net, x: net.op(
        "Conv", x, net.weight("c.weight", *shape), net.weight("c.bias", shape[0]), **more
    )


def transposed(
    shape: Any = (4, 3, 3, 3), groups: int = 1, **more: Any
) -> Callable[[Net, str], Any]:
    return lambda net, x: net.op(
        "ConvTranspose",
        x,
        net.weight("c.weight", *shape),
        net.weight("c.bias", shape[1] * groups),
        group=groups,
        **more,
    )


def gemm(**more: Any) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        flat = net.op("Flatten", x)
        size = int(np.prod(IMAGE))
        shape = (5, size) if more.get("transB") else (size, 5)
        operands = [net.weight("m", *shape)]
        if net.opset < 11 or more.get("beta", 1.0) != 0.0:
            operands.append(net.weight("b", 5))
        return net.op("Gemm", flat, *operands, **more)

    return build


def reduction(op: str, axes: list[int], since: int, **more: Any) -> Callable[[Net, str], Any]:
    def build(net: Net, x: str) -> Any:
        x = positive(net, x) if "Log" in op else x
        return net.axes(op, x, *axes, since=since, **more)

    return build


def reductions() -> list[Any]:
    found = []
    for op in HANDLERS:
        if op.startswith("Reduce"):
            since = 13 if op == "ReduceSum" else 18
            found += each(op, reduction(op, [2, -1], since))
            found += each(op, reduction(op, [1], since, keepdims=0))
    return found


POOLS = {
    "plain": {},
    "ceil": {"strides": [2, 3], "ceil_mode": 1},
    "ceil, padded": {"strides": [3, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1},
    "same upper": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "same lower": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "valid": {"auto_pad": "VALID"},
    "padded": {"pads": [1, 0, 1, 2]},
}


def pool(op: str, more: dict[str, Any], net: Net, x: str) -> Any:
    return net.op(op, x, kernel_shape=[3, 3], **more)


def pools() -> list[Any]:
    found = []
    for op, least in (("MaxPool", 10), ("AveragePool", 10), ("LpPool", 18)):
        for name, more in POOLS.items():
            counts = ({}, {"count_include_pad": 1}) if op == "AveragePool" else ({},)
            for count in counts:
                # onnxruntime's old kernels know no LP pooling that rounds up.
                start = least if "ceil" in name else 7

                build = partial(pool, op, {**more, **count})
                found += each(op, build, least=start)
    found += each(
        "MaxPool",
        lambda n, x: n.op("MaxPool", x, kernel_shape=[2, 2], dilations=[2, 2]),
        least=10,
    )
    return found


CASES = [
    *(c for op in ("Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor") for c in simple(op)),
    *(c for op in ("Identity", "LeakyRelu", "Neg", "Relu", "Selu", "Sigmoid") for c in simple(op)),
    *(c for op in ("Sign", "Sin", "Softplus", "Softsign", "Tan", "Tanh") for c in simple(op)),
    *(c for op in ("Asinh", "Atan", "Celu", "HardSigmoid", "Round", "Shrink") for c in simple(op)),
    *(c for op in ("Sinh", "Cosh", "ThresholdedRelu", "HardSwish", "Mish") for c in simple(op)),
    *simple("Elu", alpha=0.3),
    *simple("Celu", alpha=0.3),
    *simple("LeakyRelu", alpha=0.2),
    *simple("HardSigmoid", alpha=0.3, beta=0.4),
    *simple("Selu", alpha=1.5, gamma=1.1),
    *simple("Gelu"),
    *simple("Gelu", approximate="tanh"),
    *(
        c
        for op in ("Log", "Sqrt", "Reciprocal")
        for c in each(op, lambda n, x, op=op: n.op(op, positive(n, x)))
    ),
    *(
        c
        for op in ("Acos", "Asin", "Atanh")
        for c in each(op, lambda n, x, op=op: n.op(op, small(n, x)))
    ),
    *each("Acosh", lambda n, x: n.op("Acosh", n.op("Add", positive(n, x), 1.0))),
    *(c for op in ("Add", "Sub", "Mul", "Div", "PRelu") for c in own(op)),
    *(c for op in ("Max", "Min", "Sum", "Mean") for c in own(op, least=8)),
    *(
        c
        for op in ("Max", "Min", "Sum", "Mean")
        for c in each(op, lambda n, x, op=op: n.op(op, x, n.op("Sin", x), n.op("Neg", x)))
    ),
    *each("Pow", lambda n, x: n.op("Pow", positive(n, x), 1.7)),
    *each("Pow", lambda n, x: n.op("Pow", positive(n, x), n.op("Sin", x))),
    *each("Mod", lambda n, x: n.op("Mod", x, 0.7, fmod=1), least=10),
    *each("Clip", clip(-0.5, 0.7)),
    *each("Clip", clip(None, 0.7)),
    *each("Clip", clip(0.0, None)),
    *each("Clip", clip(None, None)),
    *each("Not", lambda n, x: n.op("Cast", n.op("Not", n.op("Greater", x, 0.0)), to=1), least=9),
    *each("Where", lambda n, x: n.op("Where", n.op("Greater", x, 0.0), x, n.op("Exp", x)), least=9),
    *(
        c
        for op in ("Greater", "Less")
        for c in each(op, lambda n, x, op=op: n.op("Cast", n.op(op, x, 0.1), to=1), least=9)
    ),
    *(
        c
        for op in ("GreaterOrEqual", "LessOrEqual")
        for c in each(op, lambda n, x, op=op: n.op("Cast", n.op(op, x, n.op("Sin", x)), to=1))
    ),
    *each("Equal", lambda n, x: n.op("Cast", n.op("Equal", n.op("Floor", x), 0.0), to=1), least=11),
    *each(
        "And",
        lambda n, x: n.op(
            "Cast", n.op("And", n.op("Greater", x, 0.0), n.op("Not", n.op("Less", x, 0.5))), to=1
        ),
        least=9,
    ),
    *each(
        "Or",
        lambda n, x: n.op("Cast", n.op("Or", n.op("Greater", x, 1.0), n.op("Less", x, 0.5)), to=1),
        least=9,
    ),
    *(c for op in ("Softmax", "LogSoftmax") for axis in (1, 2, -1) for c in simple(op, axis=axis)),
    *(c for op in ("Softmax", "LogSoftmax") for c in simple(op)),
    *each("BatchNormalization", batch_norm),
    *each("BatchNormalization", batch_norm, shape=(4,)),
    *each(
        "InstanceNormalization",
        lambda n, x: n.op("InstanceNormalization", x, n.weight("w", 4), n.weight("b", 4)),
    ),
    *each("GroupNormalization", group_norm),
    *(
        c
        for axis in (-1, 1, 2)
        for c in each(
            "LayerNormalization",
            lambda n, x, axis=axis: n.op(
                "LayerNormalization",
                x,
                n.weight("w", *IMAGE[axis - 1 if axis > 0 else axis :]),
                axis=axis,
                epsilon=1e-3,
            ),
        )
    ),
    *each("RMSNormalization", lambda n, x: n.op("RMSNormalization", x, n.weight("w", 6))),
    *(c for size in (1, 3, 5) for c in simple("LRN", size=size, alpha=0.3, beta=0.6, bias=1.5)),
    *(c for p in (1, 2) for axis in (1, -1) for c in simple("LpNormalization", p=p, axis=axis)),
    *each(
        "MeanVarianceNormalization",
        lambda n, x: n.op("MeanVarianceNormalization", x, axes=[1, 2]),
        least=9,
    ),
    *pools(),
    *(c for op in ("GlobalAveragePool", "GlobalMaxPool") for c in simple(op)),
    # onnxruntime lacks the last version.
    *each("GlobalLpPool", lambda n, x: n.op("GlobalLpPool", x, p=3), most=21),
    *each("Conv", conv()),
    *each("Conv", conv((8, 2, 3, 2), group=2, strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2])),
    *each("Conv", conv((4, 1, 3, 3), group=4, auto_pad="SAME_UPPER", strides=[2, 2])),
    *each("Conv", conv((4, 4, 2, 3), auto_pad="SAME_LOWER")),
    *each("ConvTranspose", transposed()),
    *each(
        "ConvTranspose",
        transposed((4, 2, 3, 2), 2, strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 2]),
    ),
    *each("ConvTranspose", transposed(strides=[2, 2], auto_pad="SAME_UPPER")),
    *each("ConvTranspose", transposed(strides=[2, 2], auto_pad="SAME_LOWER")),
    *each("ConvTranspose", transposed(strides=[2, 2], output_shape=[14, 13])),
    *each("ConvTranspose", transposed(dilations=[2, 1], auto_pad="VALID")),
    *each("Gemm", gemm()),
    *each("Gemm", gemm(transB=1, alpha=0.5, beta=2.0)),
    *each("Gemm", gemm(beta=0.0), least=11),
    *each("MatMul", lambda n, x: n.op("MatMul", x, n.weight("m", 6, 3))),
    *each("MatMul", lambda n, x: n.op("MatMul", n.weight("m", 3, 7), x)),
    *each("MatMul", lambda n, x: n.op("MatMul", x, n.op("Transpose", x, perm=[0, 1, 3, 2]))),
    *reductions(),
    *each("Concat", lambda n, x: n.op("Concat", x, n.op("Neg", x), x, axis=2)),
    *(c for s, a in (([1, 3], 1), ([2, 5], -2)) for c in each("Split", split(s, a, 2))),
    *each("Split", split(None, 1, 2)),
    *each("Split", split(None, 2, 3), least=18),
    *each("Slice", slices([1, -3], [3, -1], [1, 3])),
    *each("Slice", slices([0, 1], [2**31 - 1, 2**63 - 1], [0, 2])),
    *each("Slice", slices([0], [99], [3])),
    *each("Slice", slices([-1, 6], [-(2**63), 0], [1, 2], [-1, -2]), least=10),
    *each("Slice", slices([1], [6], [2], [2]), least=10),
    *each("Gather", lambda n, x: n.op("Gather", x, [3, 0, 0, -1], axis=1)),
    *each("Gather", lambda n, x: n.op("Gather", x, 2, axis=2)),
    *each("Gather", lambda n, x: n.op("Gather", x, [[0, 1], [2, -2]], axis=-1)),
    *each("Reshape", lambda n, x: n.op("Reshape", x, [0, 2, -1, 3])),
    *each("Reshape", lambda n, x: n.op("Reshape", x, [-1, 4, 42])),
    *simple("Flatten"),
    *each("Flatten", lambda n, x: n.op("Reshape", n.op("Flatten", x, axis=2), [-1, 4, 42])),
    *each("Flatten", lambda n, x: n.op("Flatten", x, axis=-3), least=11),
    *each("Squeeze", lambda n, x: n.axes("Squeeze", n.axes("Unsqueeze", x, 1, 4), 1)),
    *each("Squeeze", lambda n, x: n.op("Squeeze", n.axes("Unsqueeze", x, 2, 4))),
    *each("Unsqueeze", lambda n, x: n.axes("Unsqueeze", x, -1, 2), least=11),
    *each("Transpose", lambda n, x: n.op("Transpose", x, perm=[0, 3, 1, 2])),
    *each("Pad", pad([0, 1, 2, 0, 0, 0, 1, 3], value=0.5)),
    *each("Pad", pad([0, 0, -1, 1, 0, 0, 2, -2])),
    *(c for m in ("reflect", "edge") for c in each("Pad", pad([0, 0, 2, 1, 0, 0, 1, 3], m))),
    *each("Pad", pad([0, 0, 2, 1, 0, 0, 1, 3], "wrap"), least=19),
    *each("Pad", lambda n, x: n.op("Pad", x, [1, 2, 0, 3], "", [-1, 1]), least=18),
    *(c for m in ("nearest", "linear") for c in each("Upsample", upsample(m))),
    *(
        c
        for m in ("nearest", "linear")
        for c in each("Resize", resize_scales(2.0, 1.5, mode=m), least=10)
    ),
    *each("Resize", resize_scales(0.6, 1.3, mode="nearest", nearest_mode="floor"), least=11),
    *each("Resize", resize_scales(1.7, 2.0, mode="cubic", cubic_coeff_a=-0.5), least=11),
    *(
        c
        for t in ("asymmetric", "pytorch_half_pixel", "align_corners")
        for m in ("nearest", "linear", "cubic")
        for c in each(
            "Resize", resize_sizes(9, 13, mode=m, coordinate_transformation_mode=t), least=11
        )
    ),
    *(
        c
        for r in ("ceil", "round_prefer_ceil")
        for c in each("Resize", resize_sizes(3, 13, mode="nearest", nearest_mode=r), least=11)
    ),
    *(
        c
        for m in ("linear", "cubic")
        for c in each("Resize", resize_sizes(3, 4, mode=m, antialias=1), least=18)
    ),
    *each("DepthToSpace", lambda n, x: n.op("DepthToSpace", x, blocksize=2)),
    *each("DepthToSpace", lambda n, x: n.op("DepthToSpace", x, blocksize=2, mode="CRD"), least=11),
    *each(
        "SpaceToDepth", lambda n, x: n.op("SpaceToDepth", n.op("Concat", x, x, axis=2), blocksize=2)
    ),
    *each("Expand", lambda n, x: n.op("Expand", n.axes("Unsqueeze", x, 1), [1, 3, 1, 7, 6])),
    *each("Tile", lambda n, x: n.op("Tile", x, [1, 2, 1, 3])),
    *each("Cast", lambda n, x: n.op("Cast", n.op("Cast", x, to=11), to=1)),
    *each("CastLike", lambda n, x: n.op("CastLike", x, 1.0)),
    *each("Dropout", dropout),
    *each("Constant", lambda n, x: n.op("Add", x, n.op("Constant", value_float=0.5)), least=12),
    *each(
        "ConstantOfShape",
        lambda n, x: n.op("Add", x, n.op("ConstantOfShape", n.op("Shape", x))),
        least=9,
    ),
    *each("Shape", lambda n, x: n.op("Reshape", n.op("Relu", x), n.op("Shape", x))),
    *each(
        "Size",
        lambda n, x: n.op(
            "Reshape",
            n.op("Flatten", x, axis=0),
            n.op("Concat", n.op("Slice", n.op("Shape", x), [0], [1], [0]), [-1], axis=0),
        ),
        least=10,
    ),
]


@pytest.mark.parametrize(("opset", "shape", "build"), CASES)
def test_op(opset: int, shape: tuple[int, ...], build: Callable[[Net, str], Any]) -> None:
    net = Net(opset)
    read_rightly(net.model(build(net, net.input("x", "N", *shape))), batches=(2, 3))


def test_all_ops_are_there() -> None:
    missing = set(HANDLERS) - {str(c.id).partition("-")[0] for c in CASES}
    assert missing == {"Swish"}  # of opset 24
