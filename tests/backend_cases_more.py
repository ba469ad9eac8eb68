"""Settings of ops that models from elsewhere compute with: see ``backend_cases``."""

import itertools
from typing import Any

from .backend_cases import case, tokens

FUNCTIONS = [
    *(
        case(op, (3, 5))
        for op in (
            "exp abs sign floor ceil round erf sin cos tan atan sinh cosh asinh softplus softsign "
            "selu celu mish hard_sigmoid thresholded_relu shrink clip log_softmax prelu"
        ).split()
    ),
    *(case(op, (3, 5), between=(0.1, 4.0)) for op in ("log", "sqrt", "reciprocal")),
    *(case(op, (3, 5), between=(-0.9, 0.9)) for op in ("asin", "acos", "atanh")),
    case("acosh", (3, 5), between=(1.1, 4.0)),
    case("reciprocal", (3, 5), between=(-4.0, -0.1)),
    case("round", (4, 8), step=0.5),
    case("sign", (4, 8), step=1.0),
    case("power", (3, 5), 2.0),
    case("power", (3, 5), 3.0),
    case("power", (3, 5), -2.0, between=(0.5, 2.0)),
    case("power", (3, 5), 0.5, between=(0.0, 2.0)),
    case("power", (3, 5), 0.0),
    case("clip", (3, 5), -0.5),
    case("clip", (3, 5), high=0.5),
    case("clip", (3, 5), -1.0, 0.5),
    case("clip", (3, 5), 1.0, -0.5),
    case("softplus", (3, 5), 3.0, between=(-40.0, 40.0)),
    case("softplus", (3, 5), 0.2),
    case("mish", (3, 5), between=(-50.0, 50.0)),
    case("gelu", (3, 5), between=(-50.0, 50.0)),
    case("selu", (3, 5), 0.7, 1.5),
    case("celu", (3, 5), 0.4),
    case("hard_sigmoid", (3, 5), 0.2),
    case("hard_sigmoid", (3, 5), -0.5, 0.3),
    case("thresholded_relu", (4, 8), 0.5, step=0.5),
    case("thresholded_relu", (3, 5), -0.5),
    case("shrink", (4, 8), 0.5, step=0.5),
    case("shrink", (3, 5), 1.0, 1.0),
    case("shrink", (3, 5), 1.0, 0.25),
    case("shrink", (3, 5), 0.0, -0.25),
    case("shrink", (4, 8), 0.0, 0.5, step=0.5),
    case("prelu", (3, 5), 3),
    case("prelu", (3, 5, 4), 3),
    case("prelu", ()),
    case("log_softmax", (3, 5), 0),
    case("log_softmax", (3, 5, 2), -2, between=(-90.0, 90.0)),
]

TWO = ("sub", "mul", "div", "mod", "minimum", "maximum", "greater", "greater_equal", "equal")

ARITHMETIC = [
    *(case(op, [(3, 5), (3, 5)]) for op in TWO),
    *(case(op, [(3, 5), (3, 5)], step=0.5) for op in TWO if op not in ("div", "mod")),
    *(case(op, [(3, 1), (1, 5)]) for op in TWO),
    *(case(op, [(3, 4, 5), (5,)]) for op in (*TWO, "add")),
    *(case(op, [(), (3, 4, 5)]) for op in (*TWO, "add")),
    *(case(op, [(3, 5), (3, 5), (5,)]) for op in ("add", "minimum", "maximum")),
    case("add", [(4,), (2, 3, 1), (3, 4)]),
    case("add", [(3,), (3, 3)]),  # as long as the batch: never matched with it
    case("pow", [(3, 5), (3, 5)], between=(0.2, 3.0)),
    case("pow", [(3, 5), (5,)], between=(0.2, 3.0)),
    case("pow", [(5,), (2, 3, 1)], between=(0.2, 3.0)),
    case("where", [(3, 5), (3, 5), (3, 5)], step=1.0),
    case("where", [(5,), (3, 1), (2, 3, 5)], step=1.0),
    case("where", [(2, 3, 5), (), (5,)], step=1.0),
]

PRODUCTS = [
    case("matmul", [(4, 3), (3, 5)]),
    case("matmul", [(2, 4, 3), (2, 3, 5)]),
    case("matmul", [(2, 4, 3), (3, 5)]),
    case("matmul", [(4, 3), (2, 3, 5)]),
    case("matmul", [(2, 1, 4, 3), (6, 3, 5)]),
    *(
        case("attention", [(5, 12), (m, 12), (m, e)], heads, **settings)
        for m, e, heads in ((5, 12, 1), (5, 12, 3), (4, 6, 2), (7, 6, 2))
        for settings in ({}, {"causal": True}, {"scale": 0.7}, {"dropout": 0.2})
    ),
    case("attention", [(1, 4), (2, 4), (2, 4)], 2, causal=True, scale=-0.5),
    case("attention", [(3, 4), (2, 4), (2, 4)], causal=True, scale=0.0),
    *(
        case("attention", [(5, 12), (6, 12), (6, 4), mask], 2, **settings)
        for mask in ((5, 6), (2, 5, 6), (1, 5, 6), (5, 1), (6,), ())
        for settings in ({}, {"causal": True}, {"scale": 0.7, "dropout": 0.2, "causal": True})
    ),
]

REDUCTIONS = [
    case(f"reduce_{kind}", shape, axes, keep=keep)
    for kind in "mean sum prod max min l1 l2 log_sum_exp".split()
    for shape, axes in (((3, 4, 5), [1]), ((3, 4, 5), [-1, 0]), ((3, 4), [0, 1]), ((3,), [0]))
    for keep in (False, True)
]

TRANSPOSED = [
    case(f"conv_transpose{rank}d", (4, *(5, 4, 3)[:rank]), 6, **settings)
    for rank in (1, 2, 3)
    for settings in (
        {},
        {"kernel": 3, "stride": 2, "padding": "same"},
        {"kernel": 3, "stride": 2, "padding": 1, "extra": 1},
        {"kernel": 4, "stride": 2, "padding": "same"},
        {"kernel": 3, "stride": 3, "padding": [0, 1, 2][:rank] + [2, 0, 1][:rank]},
        {"kernel": 3, "stride": 2, "padding": [2, 0, 1][:rank] + [0, 2, 1][:rank], "extra": 1},
        {"kernel": 2, "stride": 1, "padding": [0] * rank + [1] * rank},
        {"kernel": 3, "stride": 1, "padding": [2] * rank + [0] * rank, "groups": 2},
        {"kernel": 2, "stride": 2, "dilation": 3, "extra": 2, "groups": 2, "bias": False},
        {"kernel": 2, "stride": 1, "dilation": 3, "extra": 2, "padding": [1] * 2 * rank},
        {"kernel": 1, "stride": 1, "dilation": 7, "extra": 6, "padding": [5] * rank + [0] * rank},
        {"kernel": 1, "stride": 2, "padding": [0] * rank + [1] * rank},
        {"kernel": [2, 3, 1][:rank], "stride": [3, 1, 2][:rank], "extra": [2, 0, 1][:rank]},
    )
]

POOLS = [
    *(
        case(f"lp_pool{rank}d", (3, *(9, 8, 5)[:rank]), p=p, **settings)
        for rank in (1, 2, 3)
        for p in (1, 2, 3)
        for settings in (
            {},
            {"kernel": 3, "stride": 1, "padding": "same"},
            {"kernel": 2, "stride": 1, "padding": "same"},
            {"kernel": 3, "stride": 2, "padding": [0, 1, 2][:rank] + [2, 0, 1][:rank]},
        )
    ),
    *(
        case("global_lp_pool", (3, *(9, 8, 5)[:rank]), p=p)
        for rank, p in itertools.product((1, 2, 3), (1, 2, 3))
    ),
]

NORMS = [
    *(
        case("rms_norm", shape, dims, affine=affine)
        for shape in ((6,), (6, 5), (6, 5, 4))
        for dims in range(1, len(shape) + 1)
        for affine in (True, False)
    ),
    case("rms_norm", (3, 4), 1, 0.5),
    *(
        case("local_response_norm", shape, size, alpha=0.5, beta=0.7, bias=1.5)
        for shape in ((7, 5), (7, 4, 3), (7, 2, 3, 4))
        for size in (1, 2, 3, 4, 5, 9)
    ),
    case("local_response_norm", (3, 4, 2), 3, -0.1, -0.5, 2.0),
]

MOVES = [
    case("gather", (6, 5), [4, 0, 0, 3]),
    case("gather", (6, 5, 4), [2], axis=-2),
    case("expand", (3, 1, 5), [3, 4, 5]),
    case("expand", (5,), [2, 3, 5]),
    case("expand", (), [2, 3]),
    case("expand", (3, 1), [4, 3, 2]),
    case("tile", (3, 4), [2, 3]),
    case("tile", (3,), [1]),
    *(
        case("pad", shape, before, after, mode=mode)
        for mode in ("reflect", "edge", "wrap")
        for shape, before, after in (
            ((5,), [2], [4]),
            ((5, 6), [0, 2], [0, 3]),
            ((5, 6), [1, 2], [4, 0]),
            ((5, 6, 4), [0, 2, 1], [0, 1, 3]),
            ((5, 6, 4), [2, 0, 0], None),
            ((3, 4, 3, 5), [0, 2, 0, 1], [0, 1, 2, 3]),
            ((3, 4, 3, 5), [1, 0, 0, 1], [0, 1, 0, 0]),
            ((2, 3, 4, 3, 5), [0, 0, 0, 0, 1], [0, 1, 0, 0, 0]),
            ((2, 3), None, None),
        )
    ),
]

COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
SIZES = [
    ((2, 6), [12]),
    ((2, 6), [10]),
    ((2, 6), [4]),
    ((2, 6), [1]),
    ((2, 1), [3]),
    ((2, 4, 5), [8, 10]),
    ((2, 4, 5), [7, 3]),
    ((2, 4, 5), [1, 5]),
    ((2, 3, 4, 5), [5, 2, 10]),
]

RESIZES: list[Any] = [
    *(
        case("resize", shape, size, "nearest", coordinates, rounding)
        for shape, size in SIZES
        for coordinates in COORDINATES
        for rounding in ROUNDINGS
    ),
    *(
        case("resize", shape, size, mode, coordinates)
        for shape, size in SIZES
        for mode in ("linear", "cubic")
        for coordinates in COORDINATES
    ),
    *(
        case("resize", shape, size, mode, coordinates, antialias=True)
        for shape, size in SIZES
        for mode in ("linear", "cubic")
        for coordinates in ("half_pixel", "align_corners")
    ),
    *(
        case("resize", (2, 7, 5), size, mode, coordinates, scale=scale)
        for size, scale in (([9, 4], [1.3, 0.8]), ([11, 9], [1.6, 1.8]), ([8, 6], [1.3, 1.1]))
        for mode in ("nearest", "linear", "cubic")
        for coordinates in COORDINATES
    ),
    case("resize", (2, 10), [16], scale=[5 / 3]),
    case("resize", (2, 10), [16], scale=[1.6666666269302368]),
    case("resize", (2, 10), [11], scale=[1.1]),
    case("resize", (2, 4, 5), [8, 9], "cubic", "half_pixel", cubic=-0.5),
    case("resize", (2, 4, 5), [4, 5], "linear", "half_pixel"),
    case("resize", (2,), []),
    case("resize", (2, 2, 3, 2, 3), [4, 3, 3, 2]),
    case("resize", (2, 2, 3, 2, 3), [4, 3, 3, 2], "linear", "half_pixel"),
    *(
        case(op, shape, block, order=order)
        for op, shape in (("depth_to_space", (36, 2, 3)), ("space_to_depth", (2, 12, 18)))
        for block in (1, 2, 3)
        for order in ("crd", "dcr")
    ),
]

TOKENS = [
    case("embedding", tokens(4), 7, 3),
    case("embedding", tokens(), 7, 3),
    case("embedding", tokens(2, 3), 5, 4),
    case("to_float", tokens(4)),
    case("to_float", (4,)),
    case("identity", tokens(4)),
    case("concat", [tokens(4), tokens(3)]),
    case("slice", tokens(4), 1, 3),
    case("flatten", tokens(4, 2)),
    case("reshape", tokens(4, 2), [2, 4]),
    case("transpose", tokens(4, 2), [1, 0]),
    case("gather", tokens(4, 2), [1, 0, 1]),
    case("expand", tokens(4, 1), [4, 3]),
    case("tile", tokens(4), [2]),
]

STORED = [
    case(kind, [], shape, batch=batch)
    for kind in ("parameter", "constant")
    for shape in ([3], [2, 3, 4], [])
    for batch in (False, True)
]

MORE = [
    *FUNCTIONS,
    *ARITHMETIC,
    *PRODUCTS,
    *REDUCTIONS,
    *TRANSPOSED,
    *POOLS,
    *NORMS,
    *MOVES,
    *RESIZES,
    *TOKENS,
    *STORED,
]
