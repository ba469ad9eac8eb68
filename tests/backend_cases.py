"""Settings of ops to try, one ``case`` each, and how a graph is made and run of one."""

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray

from growc.backends import to_torch
from growc.ir import OPS, Graph, TensorType, initialize

Array = NDArray[Any]

TOLERANCE = 1e-5
"""Of the output's largest number (at least 1): some 80 float32 roundings, which is what sums of
a few dozen products in another order may differ by; a wrong border or window differs by 0.01."""


@dataclass(frozen=True)
class Case:
    """One setting of one op, and what its operands hold."""

    op: str
    types: Sequence[TensorType]
    positional: tuple[Any, ...]
    named: dict[str, Any]
    between: tuple[float, float] | None = None
    step: float | None = None

    def graph(self) -> Graph:
        """A graph of this op, with parameters and statistics that all differ from 0 and 1."""
        graph = Graph("one_op")
        for index, type in enumerate(self.types):
            graph.add_input(f"x{index}", type)
        if not self.types:  # a stored tensor: something must say how large the batch is
            graph.add_input("unused", TensorType((2,)))
        operands = graph.inputs if self.types else ()
        graph.add(OPS[self.op].build(self.positional, self.named), operands, "node")
        graph.set_output("y", "node")
        give_values(graph)
        return graph

    def inputs(self, graph: Graph, batch: int) -> dict[str, Array]:
        """N(0, 4) numbers, or evenly spread ones, or multiples of a step; whole numbers below 5."""
        random = np.random.default_rng(2)
        found: dict[str, Array] = {}
        for name in graph.inputs:
            type = graph.node(name).type
            shape = (batch, *type.shape)
            if type.dtype == "i64":
                found[name] = random.integers(0, 5, shape)
                continue
            x = random.standard_normal(shape) * 2
            if self.between:
                x = random.uniform(*self.between, shape)
            if self.step:
                x = np.round(x / self.step) * self.step
            found[name] = x.astype(np.float32)
        return found


def case(
    op: str,
    operands: Any,
    *positional: Any,
    between: tuple[float, float] | None = None,
    step: float | None = None,
    **named: Any,
) -> Any:
    """``operands``: the shape or type of one, or a list of them."""
    listed = operands if isinstance(operands, list) else [operands]
    types = [o if isinstance(o, TensorType) else TensorType(o) for o in listed]
    words = [*map(str, positional), *(f"{k}={v}" for k, v in named.items())]
    drawn = [f"between={between}"] * bool(between) + [f"step={step}"] * bool(step)
    name = f"{op}({', '.join(words)})-{', '.join(map(str, types))}{' '.join(['', *drawn])}"
    return pytest.param(Case(op, types, positional, named, between, step), id=name)


def tokens(*shape: int) -> TensorType:
    return TensorType(shape, "i64")


def give_values(graph: Graph) -> None:
    """Parameters and statistics that all differ from 0 and 1."""
    initialize(graph)
    for name, spec in graph.parameters().items():
        random = np.random.default_rng([1, zlib.crc32(name.encode())])
        if spec.init.kind == "constant":
            graph.weights[name] = random.uniform(0.5, 1.5, spec.shape).astype(np.float32)


def by_torch(graph: Graph, inputs: dict[str, Array], dtype: torch.dtype = torch.float32) -> Any:
    """The output (or outputs) of the graph's module in evaluation mode."""
    module = to_torch(graph, dtype=dtype).eval()
    result = module(*(torch.from_numpy(inputs[name]) for name in graph.inputs))
    if isinstance(result, dict):
        return {name: tensor.detach() for name, tensor in result.items()}
    return result.detach()


def assert_close(actual: ArrayLike, expected: ArrayLike, tolerance: float = TOLERANCE) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(expected).all()
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


SPACE = {1: (11,), 2: (9, 10), 3: (6, 7, 5)}

WINDOWS = [
    case(f"{kind}{rank}d", (4, *SPACE[rank]), *first, **settings)
    for rank in (1, 2, 3)
    for kind, first in (("conv", (6,)), ("max_pool", ()), ("avg_pool", ()))
    for settings in (
        {},
        {"kernel": 3, "stride": 2, "padding": "same"},
        {"kernel": 2, "stride": 1, "padding": "same"},
        {"kernel": 4, "stride": 3, "padding": "same"},
        {"kernel": 3, "stride": 2, "padding": "valid"},
        {"kernel": 3, "stride": 1, "padding": 1},
        {"kernel": 3, "stride": 2, "padding": [0, 1, 2][:rank] + [2, 0, 1][:rank]},
        {"kernel": 3, "stride": 1, "padding": 2},
        {"kernel": [1, 2, 3][:rank], "stride": [3, 2, 1][:rank], "padding": "same"},
    )
]

DILATIONS = [
    case(f"{kind}{rank}d", (4, *SPACE[rank]), *first, kernel=2, dilation=3, padding=padding)
    for rank in (1, 2, 3)
    for kind, first in (("conv", (6,)), ("max_pool", ()))
    for padding in ("same", "valid", 1, 2, [0] * rank + [3] * rank)
]

CONVS = [
    case("conv1d", (4, 11), 6, groups=2),
    case("conv2d", (4, 9, 10), 8, groups=4, bias=False, kernel=[3, 5]),
    case("conv2d", (3, 9, 10), 2, kernel=1, padding=[0, 0, 1, 3]),
    case("conv2d", (3, 4, 4), 2, kernel=2, padding=5),
    case("conv3d", (4, 6, 7, 5), 4, groups=4, stride=2),
    case("linear", (7,), 5),
    case("linear", (7,), 5, bias=False),
    case("linear", (3, 7), 5),
    case("linear", (2, 3, 7), 5, bias=False),
]

EXCLUDED_BORDERS = [
    case(f"avg_pool{rank}d", (4, *SPACE[rank]), include_pad=False, **settings)
    for rank in (1, 2, 3)
    for settings in (
        {"kernel": 3, "stride": 2, "padding": "same"},
        {"kernel": 2, "stride": 1, "padding": "same"},
        {"kernel": 3, "stride": 2, "padding": [0, 1, 2][:rank] + [2, 0, 1][:rank]},
        {"kernel": 3, "stride": 1, "padding": 2},
    )
]

ADAPTIVE = [
    case(f"adaptive_{kind}_pool{rank}d", (3, *SPACE[rank]), output=output)
    for kind, rank in itertools.product(("avg", "max"), (1, 2, 3))
    for output in (1, 2, [4, 5, 3][:rank], [3, 3, 5][:rank], list(SPACE[rank]), [13, 9, 8][:rank])
]

GLOBAL = [
    case(f"global_{kind}_pool", (3, *SPACE[rank])) for kind in ("avg", "max") for rank in (1, 2, 3)
]

RANKS = [(6,), (6, 5), (6, 5, 4), (6, 3, 4, 2)]

NORMS = [
    *(case("batch_norm", s, affine=affine) for s in RANKS for affine in (True, False)),
    case("batch_norm", (3, 4), 1e-2),
    *(case("group_norm", s, 3, affine=affine) for s in RANKS for affine in (True, False)),
    case("group_norm", (6, 5), 6, 1e-2),
    case("group_norm", (6, 5), 1),
    *(case("instance_norm", s, affine=a) for s in RANKS[1:] for a in (True, False)),
    *(case("layer_norm", s, dims=d) for s in RANKS for d in range(1, len(s) + 1)),
    case("layer_norm", (3, 4), 2, 1e-2, affine=False),
]

ELEMENTWISE = [
    *(
        case(op, (3, 5))
        for op in ("relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "hardswish")
    ),
    case("relu", ()),
    case("leaky_relu", (3, 5), -0.3),
    case("elu", (3, 5), 0.3),
    case("gelu", (3, 5), approximate="tanh"),
    case("identity", (3, 5)),
    case("dropout", (3, 5), 0.9),
    case("scale", (3, 5), 2.5),
    case("scale", (3, 5), 1.0, -0.5),
    case("scale", (3, 5), -3.0, 2.0),
    case("scale", (3, 5)),
    case("softmax", (3, 5)),
    case("softmax", (3, 5), 0),
    case("softmax", (3, 5, 2), -2),
]

ARITHMETIC = [
    *(case(op, [(3, 5), (3, 5)]) for op in ("add", "sub", "mul")),
    *(case(op, [(3, 1), (1, 5)]) for op in ("add", "sub", "mul")),
    case("add", [(3, 5), (3, 5), (3, 5), (1, 5)]),
    case("add", [(), ()]),
]

SHAPES = [
    case("concat", [(3, 5)]),
    case("concat", [(3, 5), (2, 5), (1, 5)]),
    case("concat", [(3, 5), (3, 2)], -1),
    case("slice", (6, 5), 1),
    case("slice", (6, 5), 1, 6, step=2),
    case("slice", (6, 5, 4), 0, 3, axis=-2),
    case("pad", (3, 4), [1, 0], [0, 2], 0.5),
    case("pad", (3, 4), after=[2, 1]),
    case("pad", (3, 4)),
    case("flatten", (3, 4, 2)),
    case("flatten", (3, 4, 2), 1),
    case("flatten", (3, 4, 2), -1),
    case("flatten", ()),
    case("reshape", (3, 4), [2, -1, 3]),
    case("reshape", (1,), []),
    case("reshape", (), [1, 1]),
    case("transpose", (3, 4, 2), [2, 0, 1]),
    case("transpose", (3,), [0]),
]

CASES = [
    *WINDOWS,
    *DILATIONS,
    *CONVS,
    *EXCLUDED_BORDERS,
    *ADAPTIVE,
    *GLOBAL,
    *NORMS,
    *ELEMENTWISE,
    *ARITHMETIC,
    *SHAPES,
]
