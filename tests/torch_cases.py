"""Small PyTorch modules around every operator that the reader of PyTorch knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Ids:
    """An input of whole numbers below ``count``."""

    count: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Inside:
    """An input of numbers between 0.1 and 0.9."""

    shape: tuple[int, ...]


Spec = tuple[int, ...] | Ids | Inside


def batch_of(
    specs: tuple[Spec, ...], count: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    found = []
    for spec in specs:
        if isinstance(spec, Ids):
            found.append(torch.randint(0, spec.count, (count, *spec.shape), generator=random))
            continue
        inside = isinstance(spec, Inside)
        shape = (count, *(spec.shape if isinstance(spec, Inside) else spec))
        draw = torch.rand if inside else torch.randn
        x = draw(shape, generator=random, dtype=torch.float64)
        found.append((0.1 + 0.8 * x if inside else x).to(dtype))
    return found


class Of(nn.Module):
    """A function of the inputs, with parts that are its attributes."""

    def __init__(self, function: Callable[..., Any], /, **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.whole = bool(parts)

    def forward(self, *x: Tensor) -> Any:
        return self.function(self, *x) if self.whole else self.function(*x)


class Each(nn.Module):
    """Several functions of the same inputs."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *x: Tensor) -> dict[str, Any]:
        return {name: function(*x) for name, function in self.functions.items()}


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    inputs: tuple[Spec, ...]
    tolerance: float = 1e-12
    """Of the largest number, in float64. What the module computes in float32 while it is read, as
    constants of its own, is worse."""
    train: bool = True
    """Whether training mode computes the same, gradients included."""
    notes: tuple[str, ...] = field(default=())
    """What the notes say, in part."""


CASES: dict[str, Case] = {}


def case(name: str, make: Callable[[], nn.Module], *inputs: Spec, **settings: Any) -> None:
    assert name not in CASES
    CASES[name] = Case(make, inputs, **settings)


def each(name: str, functions: Mapping[str, Callable[..., Any]], *inputs: Spec, **how: Any) -> None:
    case(name, lambda: Each(functions), *inputs, **how)


def of(
    name: str, function: Callable[..., Any], *inputs: Spec, tolerance: float = 1e-12, **parts: Any
) -> None:
    """``parts`` are made anew for each module."""
    made = lambda: Of(function, **{k: v() for k, v in parts.items()})  # noqa: E731
    case(name, made, *inputs, tolerance=tolerance)


P, R = nn.Parameter, torch.randn
TABLE, IMAGE, TOKENS = (4, 6), (4, 9, 7), (5, 8)
SINGLE = 1e-6

# ---- element by element

each(
    "activations",
    {
        "relu": F.relu,
        "relu6": F.relu6,
        "elu": partial(F.elu, alpha=0.7),
        "selu": F.selu,
        "celu": partial(F.celu, alpha=1.3),
        "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
        "gelu": F.gelu,
        "gelu_tanh": partial(F.gelu, approximate="tanh"),
        "gelu_by_hand": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "silu": F.silu,
        "mish": F.mish,
        "hardswish": F.hardswish,
        "hardsigmoid": F.hardsigmoid,
        "hardtanh": partial(F.hardtanh, min_val=-0.5, max_val=0.7),
        "softplus": F.softplus,
        "softplus_steep": partial(F.softplus, beta=2.0),
        "softplus_cut": partial(F.softplus, beta=2.0, threshold=0.5),
        "softsign": F.softsign,
        "tanhshrink": F.tanhshrink,
        "softshrink": partial(F.softshrink, lambd=0.3),
        "hardshrink": partial(F.hardshrink, lambd=0.3),
        "logsigmoid": F.logsigmoid,
        "threshold": lambda x: F.threshold(x, 0.1, 0.0),
        "threshold_to": lambda x: F.threshold(x, 0.1, 20.0),
        "glu": partial(F.glu, dim=-1),
        "glu_channels": partial(F.glu, dim=1),
        "softmax": partial(F.softmax, dim=1),
        "softmin": partial(F.softmin, dim=-1),
        "log_softmax": partial(F.log_softmax, dim=-1),
        "rrelu": lambda x: F.rrelu(x, 0.1, 0.3, training=False),
        "normalize": partial(F.normalize, dim=-1),
        "normalize_1": partial(F.normalize, p=1.0, dim=1),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    },
    TABLE,
)
each(
    "functions",
    {
        **{
            name: getattr(torch, name)
            for name in (
                "abs sign exp exp2 expm1 erf erfc sin cos tan atan sinh cosh asinh round floor "
                "ceil trunc frac neg square reciprocal positive"
            ).split()
        },
        "decimals": partial(torch.round, decimals=1),
        "power": lambda x: x**3 + (x.abs() + 1) ** -1.5 + (x * x) ** 1,
        "root": lambda x: (x.abs() + 0.5) ** 0.5,
        "exponent": lambda x: 2.0**x,
        "both": lambda x: (x.abs() + 0.1) ** x,
        "less": lambda x: 1 - x,
        "over": lambda x: 2 / x - 1,
        "whole": lambda x: (3 * x - 2) * 2 / 3,
        "clamp": lambda x: x.clamp(-0.1, 0.4) + x.clamp(max=0.2) + torch.clip(x, min=0.1),
        "clamp_by_tensors": lambda x: torch.clamp(x, min=-x * 0.5, max=torch.full((6,), 0.25)),
        "extremes": lambda x: (
            torch.maximum(x, -x)
            + torch.fmin(x, x * 2)
            + torch.max(x, x * x)
            + torch.minimum(x, x * 2)
            + torch.fmax(x, -x)
            + torch.min(x, x * x)
        ),
        "other_names": lambda x: (
            torch.multiply(x, x),
            torch.divide(x, 2),
            torch.subtract(x, x * 2),
            torch.fix(x),
            torch.special.expm1(x),
            torch.special.erfc(x),
            torch.true_divide(x, 3),
        ),
        "alpha": lambda x: torch.add(x, x * x, alpha=2) + torch.sub(x, x.exp(), alpha=3),
        "rsub": lambda x: torch.rsub(x, 1.0, alpha=2.0),
        "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
        "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.5),
        "lerp": lambda x: torch.lerp(x, x * x, 0.25) + torch.lerp(x, x * x, x),
        "fmod": lambda x: torch.fmod(x, 0.75) + torch.fmod(x, x.abs() + 0.5),
        "remainder": lambda x: torch.remainder(x, 0.75) + x % 1.5 + torch.remainder(x, -0.5),
        "quotients": lambda x: x // 0.25 + torch.div(x, 0.25, rounding_mode="trunc"),
        "floored": lambda x: torch.div(x, 0.25, rounding_mode="floor"),
        "scalar": lambda x: x * torch.tensor(2.5) + torch.tensor(0.5),
        "vectors": lambda x: x * torch.arange(6) + torch.linspace(0, 1, 5)[1] - torch.zeros(6),
        "new": lambda x: (
            x
            + x.new_zeros(6)
            + x.new_ones(4, 1)
            + torch.empty_like(x).fill_(2)
            + torch.zeros_like(x)
        ),
        "like": lambda x: x + torch.ones_like(x) + torch.full_like(x, 3.0) * x.new_full((6,), 2.0),
    },
    TABLE,
)
each(
    "functions inside of 0 to 1",
    {
        name: getattr(torch, name)
        for name in "acos asin atanh log log1p log2 log10 sqrt rsqrt logit".split()
    }
    | {"acosh": lambda x: torch.acosh(x + 1), "logit_cut": lambda x: torch.logit(x, eps=0.3)},
    Inside((4, 6)),
)
each(
    "comparisons",
    {
        "where": lambda x: torch.where(x > 0.25, x, -0.5 * x),
        "both": lambda x: torch.where((x > -0.5) & (x < 0.5), x, torch.zeros_like(x)),
        "either": lambda x: torch.where(~(x > 0) | (x >= 1), x, 0.0),
        "one": lambda x: ((x > 0) ^ (x > 1)).float() + torch.logical_xor(x > 0, x > 1).float(),
        "not": lambda x: torch.logical_not(x > 0).to(x.dtype) + torch.logical_or(x > 1, x < 0) * x,
        "masked": lambda x: x.masked_fill(x > 0, 1.5) + x.masked_fill(x <= 0, 0),
        "equal": lambda x: (x.round() == 0).to(x.dtype) + (x.round() != 1).type_as(x),
        "step": lambda x: (x > 0).float() * x,
        "truth": lambda x: x.round().bool().to(x.dtype),
        "count": lambda x: (x > 0).sum(-1).to(x.dtype) + torch.count_nonzero(x > 0, dim=-1),
        "several": lambda x: (x > 0).any((1, 2)).to(x.dtype) + (x > -3).all((1, 2)) * 1.0,
        "any": lambda x: (x > 0).any(-1).to(x.dtype) + (x > -1).all(-1).to(x.dtype),
        "plain": lambda x: x > 0,
        "triangle": lambda x: x.tril() + torch.triu(x, 1),
    },
    TABLE,
)
each(
    "reductions",
    {
        "mean": lambda x: x.mean(1) + x.mean(-2),
        "keep": lambda x: x.mean(-1, keepdim=True) + x.amin((1, 2), keepdim=True),
        "sum": lambda x: x.sum((1, 2)),
        "prod": lambda x: x.prod(2),
        "amax": lambda x: x.amax(1),
        "logsumexp": lambda x: x.logsumexp(-1),
        "var": lambda x: x.var(-1) + x.var(-1, unbiased=False),
        "var_corrected": lambda x: x.var((1, 2), correction=2, keepdim=True),
        "std": lambda x: x.std(1),
        "std_corrected": lambda x: torch.std(x, dim=-1, correction=0),
        "var_mean": lambda x: torch.var_mean(x, dim=-1),
        "std_mean": lambda x: torch.std_mean(x, dim=-1),
        "norm": lambda x: x.norm(dim=-1) + x.norm(p=1, dim=-1) + x.norm(p=3, dim=-1),
        "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=(1, 2)),
        "max_norm": lambda x: torch.linalg.vector_norm(x, math.inf, dim=-1),
        "min_norm": lambda x: torch.linalg.vector_norm(x, -math.inf, dim=-1),
        "max": lambda x: x.max(1)[0] + x.min(dim=1).values,
        "max_keep": lambda x: x.max(dim=-1, keepdim=True).values,
        "similarity": lambda x: F.cosine_similarity(x, x.flip(-1), dim=-1),
    },
    TABLE,
)

# ---- what moves numbers

each(
    "shapes",
    {
        "view": lambda x: x.view(x.shape[0], -1),
        "hole": lambda x: x.view(-1, 4 * 9 * 7),
        "reshape": lambda x: (
            x.reshape(-1, 2, 2, 63).relu().reshape(x.shape[0] * 4, 9, 7).view_as(x)
        ),
        "flatten": lambda x: x.flatten(1).exp() + x.flatten(2).flatten(1),
        "merged": lambda x: torch.flatten(x, 0, 1).sigmoid().view(-1, 4, 9, 7),
        "rows": lambda x: x.reshape(-1, 7).softmax(-1).reshape(-1, 4, 9, 7),
        "permute": lambda x: x.permute(0, 2, 3, 1).contiguous().view(x.size(0), 9, -1),
        "other_names": lambda x: (
            x.swapdims(1, 2),
            x.adjoint(),
            torch.concat([x, x], 1),
            torch.concatenate([x, x], -1),
            torch.broadcast_tensors(x[:, :1], x)[0],
        ),
        "transpose": lambda x: (x.transpose(1, 3), x.mT, x.swapaxes(1, 2), x.movedim(1, -1)),
        "moved_batch": lambda x: x.transpose(0, 1).relu().transpose(0, 1),
        "moveaxis": lambda x: torch.moveaxis(x, (1, 2), (3, 1)),
        "squeeze": lambda x: x[:, :1].squeeze(1) + x.unsqueeze(1).squeeze((1,))[:, 0],
        "batch_of_one": lambda x: x.unsqueeze(0).exp().squeeze(0),
        "unflatten": lambda x: x.unflatten(1, (2, 2)).sum(2),
        "expand": lambda x: x[:, :1].expand(-1, 5, -1, -1) + x[:, 1:2],
        "expand_as": lambda x: x[:, :1].expand_as(x) + torch.broadcast_to(x[:, 1:2], x.shape),
        "repeat": lambda x: x.repeat(1, 2, 1, 1) + x.tile(2, 1, 1),
        "interleave": lambda x: x.repeat_interleave(2, 1),
        "size": lambda x: x / x.size(1) * x.numel() / x.shape[0],
    },
    IMAGE,
)
each(
    "parts",
    {
        "split": lambda x: torch.cat(x.split(2, 1)[::-1], 1),
        "split_sizes": lambda x: x.split([1, 3], 1),
        "chunk": lambda x: sum(x.chunk(2, 1)),
        "uneven_chunks": lambda x: [t.mean(1) for t in x.chunk(3, 1)],
        "tensor_split": lambda x: torch.tensor_split(x, 3, 2),
        "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
        "stack": lambda x: torch.stack([x, x * 2], -1) + torch.stack([x, x * 2], -1),
        "hstack": lambda x: torch.hstack([x, x]),
        "roll": lambda x: x.roll((1, -2), (2, 3)) + torch.roll(x, 3, -1),
        "flip": lambda x: x.flip(-1, 1),
        "list": lambda x: x[:, [0, 2, 1]],
        "select": lambda x: x[:, 0] + x[:, -1] + x.select(1, 2) + x.narrow(1, 1, 1)[:, 0],
        "slices": lambda x: (x[..., 1:-1], x[:, ::2, 1::3], x[:, :, -3:], x[:, :100]),
        "two_lists": lambda x: x[:, :, [0, 1], [2, -3]],
        "grid": lambda x: x[:, :, torch.arange(3)[:, None], torch.arange(2)],
        "index_select": lambda x: x.index_select(2, torch.tensor([1, 4])),
        "mask": lambda x: x[:, torch.tensor([True, False, True, False])],
        "diagonal": lambda x: torch.diagonal(x[..., :7, :], dim1=2, dim2=3),
        "unfold": lambda x: x.unfold(2, 3, 2),
        "im2col": lambda x: F.unfold(x, (3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1)),
        "shuffle": lambda x: F.channel_shuffle(x, 2),
        "pixels": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2),
        "rotate": lambda x: torch.rot90(x, 1, (2, 3)),
    },
    IMAGE,
)


def written(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    y[:, 0] = 2
    return y


def aliased(x: Tensor) -> Tensor:
    y = x * 1
    z = y[:, :2]
    z += 1
    y.view(y.shape[0], -1).relu_()
    turned = y.transpose(1, 2)
    y.add_(1)
    return turned


def in_place(x: Tensor) -> Tensor:
    y = x * 1
    y += 1
    y *= x
    y.relu_().clamp_(max=2).add_(x, alpha=2).sub_(1).div_(3)
    return y


each("in place", {"plain": in_place, "aliased": aliased, "written": written}, TABLE)

for mode in ("constant", "reflect", "replicate", "circular"):
    each(
        f"pad {mode}",
        {
            "one": lambda x, m=mode: F.pad(x.flatten(2), (1, 2), mode=m),
            "two": lambda x, m=mode: F.pad(x, (1, 2, 3, 0), mode=m),
            "cut": lambda x, m=mode: F.pad(x, (-1, -2, 0, 1), mode=m),
            "three": lambda x, m=mode: F.pad(x[:, None], (1, 1, 2, 0, 0, 1), mode=m),
        },
        IMAGE,
    )
each(
    "pad more",
    {
        "value": partial(F.pad, pad=(1, 2), value=1.5),
        "channels": partial(F.pad, pad=(0, 0, 0, 0, 1, 1)),
        "zero": nn.ZeroPad2d((0, 1, 0, 1)),
        "reflection": nn.ReflectionPad2d(2),
    },
    IMAGE,
)

# ---- windows

WINDOWS: tuple[dict[str, Any], ...] = (
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    {"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True},
)
for rank, shape in ((1, (3, 11)), (2, (3, 9, 7)), (3, (2, 6, 7, 5))):
    largest, mean = (getattr(F, f"{kind}_pool{rank}d") for kind in ("max", "avg"))
    functions = {}
    for i, window in enumerate(WINDOWS):
        functions[f"max_{i}"] = partial(largest, **window)
        functions[f"avg_{i}"] = partial(mean, **window)
        functions[f"avg_inside_{i}"] = partial(mean, count_include_pad=False, **window)
    functions["dilated"] = partial(largest, kernel_size=3, padding=1, dilation=2, ceil_mode=True)
    functions["indices"] = lambda x, f=largest: f(x, 2, return_indices=True)[0]
    functions["lp"] = partial(getattr(F, f"lp_pool{rank}d"), norm_type=2.0, kernel_size=2)
    for output in (1, 2, 3, (4,) if rank == 1 else (None, 3, 2)[:rank]):
        for kind in ("max", "avg"):
            adaptive = getattr(F, f"adaptive_{kind}_pool{rank}d")
            functions[f"adaptive_{kind}_{output}"] = partial(adaptive, output_size=output)
    each(f"pools {rank}", functions, shape)
each(
    "pools more",
    {
        "rectangle": lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0)),
        "rectangle_avg": lambda x: F.avg_pool2d(x, (3, 2), (2, 1), (1, 0), count_include_pad=False),
        "divisor": lambda x: F.avg_pool2d(x, 2, padding=1, divisor_override=3),
        "mean": lambda x: x.mean((-2, -1)),
        "mean_keep": lambda x: x.mean((-2, -1), keepdim=True),
        "amax": lambda x: x.amax((2, 3)),
    },
    IMAGE,
)

CONVOLUTIONS: dict[int, tuple[dict[str, Any], ...]] = {
    2: (
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 4, "padding": "same", "dilation": 3},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 1), "padding": (2, 0), "dilation": 2},
        {"kernel_size": 3, "groups": 2, "padding": 1},
        {"kernel_size": 3, "groups": 4, "padding": 1, "bias": False},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
        {"kernel_size": 2, "padding": "same", "padding_mode": "replicate"},
    ),
    1: ({"kernel_size": 3, "stride": 2, "padding": "valid"}, {"kernel_size": 2, "padding": "same"}),
    3: ({"kernel_size": 2, "padding": 1, "padding_mode": "circular", "groups": 2},),
}
for rank, settings in CONVOLUTIONS.items():
    for i, setting in enumerate(settings):
        case(
            f"conv{rank}d {i}",
            partial(getattr(nn, f"Conv{rank}d"), 4, 8, **setting),
            (4, 9, 8, 5)[: rank + 1],
        )
TRANSPOSED: tuple[dict[str, Any], ...] = (
    {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    {"kernel_size": 3, "groups": 2, "stride": 2, "dilation": 2, "output_padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 1), "bias": False},
)
for i, setting in enumerate(TRANSPOSED):
    case(f"conv_transpose2d {i}", partial(nn.ConvTranspose2d, 4, 6, **setting), (4, 5, 6))
case("conv_transpose1d", lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1), (4, 5))
case("conv_transpose3d", lambda: nn.ConvTranspose3d(2, 4, 2, 2), (2, 3, 4, 3))
of(
    "conv of a parameter",
    lambda m, x: F.conv2d(F.conv2d(x, m.w, padding=1), m.blur, padding=1, groups=5),
    (4, 6, 6),
    w=lambda: P(R(5, 4, 3, 3)),
    blur=lambda: torch.ones(5, 1, 3, 3) / 9,
)

SIZES: tuple[dict[str, Any], ...] = (
    {"size": (13, 4)},
    {"scale_factor": 2},
    {"scale_factor": 1.7},
    {"scale_factor": (0.6, 1.3)},
    {"scale_factor": 1.7, "recompute_scale_factor": True},
    {"size": (1, 1)},
)
for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
    smooth = mode.startswith("bi")
    functions = {}
    for i, size in enumerate(SIZES):
        for corners in (False, True) if smooth else (None,):
            for filtered in (False, True) if smooth else (False,):
                functions[f"{i}_{corners}_{filtered}"] = partial(
                    F.interpolate, mode=mode, align_corners=corners, antialias=filtered, **size
                )
    each(f"interpolate {mode}", functions, (3, 9, 7), tolerance=SINGLE)
for mode, shape in (
    ("linear", (3, 9)),
    ("nearest", (3, 9)),
    ("nearest-exact", (3, 9)),
    ("trilinear", (2, 5, 4, 3)),
    ("nearest", (2, 5, 4, 3)),
    ("nearest-exact", (2, 5, 4, 3)),
):
    each(
        f"interpolate {mode} {len(shape) - 1}",
        {
            f"by_{i}": partial(F.interpolate, mode=mode, scale_factor=s)
            for i, s in enumerate((2, 1.7, 0.5))
        },
        shape,
        tolerance=SINGLE,
    )

# ---- products

case("linear", lambda: nn.Linear(6, 5), (3, 4, 6))
of("matmul by a matrix", lambda m, x: x @ m.w, TABLE, w=lambda: P(R(6, 5)))
of("matmul by a vector", lambda m, x: x @ m.w, TABLE, w=lambda: P(R(6)))
of("matmul from the left", lambda m, x: m.w @ x, TABLE, w=lambda: P(R(5, 4)))
of("matmul by a transposed one", lambda m, x: x @ m.w.T + x @ m.w.t(), TABLE, w=lambda: P(R(5, 6)))
of("batches of matrices", lambda m, x: x @ m.w, (3, 4, 6), w=lambda: P(R(3, 6, 5)))
of(
    "linear by a product",
    lambda m, x: F.linear(x, m.b @ m.a),
    TABLE,
    a=lambda: P(R(2, 6)),
    b=lambda: P(R(5, 2)),
)
of(
    "linear by directions",
    lambda m, x: F.linear(F.normalize(x), F.normalize(m.w)),
    (6,),
    w=lambda: P(R(4, 6)),
)
of(
    "addmm",
    lambda m, x: torch.addmm(m.b, x, m.w) + torch.addmm(m.b, x, m.w, alpha=0.5, beta=2.0),
    (6,),
    w=lambda: P(R(6, 5)),
    b=lambda: P(R(5)),
)
each(
    "products",
    {
        "self": lambda x, y: x @ x.transpose(1, 2),
        "bmm": lambda x, y: torch.bmm(x, y),
        "baddbmm": lambda x, y: torch.baddbmm(x @ y, x, y, alpha=0.5),
        "ij,jk": lambda x, y: torch.einsum("bij,bjk->bik", x, y),
        "ij->i": lambda x, y: torch.einsum("bij->bi", x),
        "ij,ij": lambda x, y: torch.einsum("bij,bij->b", x, x),
        "outer": lambda x, y: torch.einsum("bi,bj->bij", x[:, 0], y[:, :, 0]),
        "gram": lambda x, y: torch.einsum("bij,bkj->bik", x, x) / x.shape[1],
    },
    (4, 6),
    (6, 3),
)
of(
    "einsum by a matrix",
    lambda m, x: torch.einsum("bij,jk->bik", x, m.w),
    TABLE,
    w=lambda: P(R(6, 5)),
)
of(
    "einsum into heads",
    lambda m, x: torch.einsum("bnd,dhk->bhnk", x, m.w),
    TABLE,
    w=lambda: P(R(6, 2, 3)),
)
of(
    "einsum from heads",
    lambda m, x: torch.einsum("bhnk,hkd->bnd", x, m.w),
    (2, 4, 3),
    w=lambda: P(R(2, 3, 6)),
)
of(
    "einsum, weight first",
    lambda m, x: torch.einsum("oi,bi->bo", m.w, x),
    (6,),
    w=lambda: P(R(5, 6)),
)
of("tensordot", lambda m, x: torch.tensordot(x, m.w, dims=1), TABLE, w=lambda: P(R(6, 5)))

# ---- tokens

case("embedding", lambda: nn.Embedding(11, 6), Ids(11, (5,)))
of(
    "embedding of a parameter",
    lambda m, i: F.embedding(i, m.w),
    Ids(11, (5,)),
    w=lambda: P(R(11, 6)),
)
of("rows of a parameter", lambda m, i: m.w[i], Ids(11, (5,)), w=lambda: P(R(11, 6)))
of(
    "embedding without padding",
    lambda m, i: m.e(i) * (i != 0).unsqueeze(-1).float() + (i > 3).float().mean(-1)[:, None, None],
    Ids(11, (5,)),
    tolerance=SINGLE,
    e=lambda: nn.Embedding(11, 6),
)
each("one hot", {"one_hot": lambda i: F.one_hot(i, 11).float()}, Ids(11, (5,)))
of(
    "positions",
    lambda m, x: (
        x
        + m.learned(torch.arange(x.size(1), device=x.device).unsqueeze(0).expand(x.size(0), -1))
        + m.some(torch.arange(x.size(1)))[None]
        + m.part[:, : x.size(1)]
    ),
    TOKENS,
    learned=lambda: nn.Embedding(5, 8),
    some=lambda: nn.Embedding(10, 8),
    part=lambda: P(R(1, 10, 8)),
)
of(
    "class tokens",
    lambda m, x: torch.cat([m.a.expand(len(x), -1, -1), x, m.b.repeat(x.shape[0], 1, 1)], 1),
    TOKENS,
    a=lambda: P(R(1, 1, 8)),
    b=lambda: P(R(2, 8)),
)

# ---- normalizations

case("layer_norm", lambda: nn.LayerNorm((4, 6)), TABLE)
case("layer_norm without shift", lambda: nn.LayerNorm(6, bias=False), TABLE)
case("layer_norm without affine", lambda: nn.LayerNorm(6, elementwise_affine=False), TABLE)
case("rms_norm", lambda: nn.RMSNorm(6, eps=1e-6), TABLE)
case("rms_norm without scale", lambda: nn.RMSNorm(6, eps=1e-6, elementwise_affine=False), TABLE)
case("batch_norm of features", lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), (6,))
case("batch_norm 1", lambda: nn.BatchNorm1d(4, eps=1e-3, momentum=0.3), TABLE)
case("batch_norm 2", lambda: nn.BatchNorm2d(4, affine=False), IMAGE)
case("batch_norm 3", lambda: nn.BatchNorm3d(2), (2, 3, 4, 3))
of(
    "batch_norm of tokens",
    lambda m, x: m.a(x.transpose(1, 2)).transpose(1, 2) + m.b(x.reshape(-1, 6)).reshape(x.shape),
    TABLE,
    a=lambda: nn.BatchNorm1d(6),
    b=lambda: nn.BatchNorm1d(6),
)
case(
    "group_norm", lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.GroupNorm(1, 4, affine=False)), IMAGE
)
case("instance_norm 1", lambda: nn.InstanceNorm1d(4), TABLE)
case("instance_norm 2", lambda: nn.InstanceNorm2d(4, affine=True), IMAGE)
case("instance_norm 3", lambda: nn.InstanceNorm3d(2, affine=True), (2, 3, 4, 3))
case("local_response_norm", lambda: nn.LocalResponseNorm(2, alpha=0.01, k=2.0), IMAGE)
of(
    "layer_norm by hand",
    lambda m, x: (
        m.w
        * (x - x.mean(-1, keepdim=True))
        / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        + m.b
    ),
    TOKENS,
    w=lambda: P(R(8)),
    b=lambda: P(R(8)),
)
of(
    "rms_norm by hand",
    lambda m, x: m.w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
    TOKENS,
    w=lambda: P(R(8)),
)
case("prelu", lambda: nn.Sequential(nn.PReLU(), nn.Conv2d(4, 6, 1), nn.PReLU(6)), IMAGE)
case(
    "in place modules",
    lambda: nn.Sequential(
        nn.Linear(6, 6),
        nn.ReLU(True),
        nn.Linear(6, 6),
        nn.LeakyReLU(0.1, True),
        nn.Dropout(0.0, True),
    ),
    (6,),
)

# ---- attention

HEADS = (2, 5, 4)
each(
    "attention of heads",
    {
        "plain": lambda q: F.scaled_dot_product_attention(q, q, q * 2),
        "causal": lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True),
        "scale": lambda q: F.scaled_dot_product_attention(q, q, q, scale=0.3),
        "mask": lambda q: F.scaled_dot_product_attention(
            q, q, q, torch.arange(25.0).view(5, 5) / 9
        ),
        "kept": lambda q: F.scaled_dot_product_attention(q, q, q, torch.ones(5, 5).tril().bool()),
        "cross": lambda q: F.scaled_dot_product_attention(q[:, :, :3], q, q[..., :3]),
        "shared": lambda q: F.scaled_dot_product_attention(
            torch.cat([q, q + 1], 1), q, q * 3, enable_gqa=True, is_causal=True
        ),
        "tokens": lambda q: F.scaled_dot_product_attention(q[:, 0], q[:, 0], q[:, 1]),
        "masked": lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=q @ q.mT),
    },
    HEADS,
    tolerance=SINGLE,
)


class SelfAttention(nn.Module):
    def __init__(self, call: Mapping[str, Any], **settings: Any) -> None:
        super().__init__()
        self.call = call
        self.attention = nn.MultiheadAttention(8, 2, **{"batch_first": True} | settings)

    def forward(self, x: Tensor, *others: Tensor) -> Any:
        k, v = (others[0], others[-1]) if others else (x, x)
        y, weights = self.attention(x, k, v, **self.call)
        return y if weights is None else (y, weights)


CAUSAL = nn.Transformer.generate_square_subsequent_mask(5)
case("attention", partial(SelfAttention, {}), TOKENS)
case("attention, lean", partial(SelfAttention, {"need_weights": False}, bias=False), TOKENS)
case("attention, weights of heads", partial(SelfAttention, {"average_attn_weights": False}), TOKENS)
case("attention, masked", partial(SelfAttention, {"attn_mask": CAUSAL < 0}), TOKENS)
case(
    "attention, causal",
    partial(SelfAttention, {"attn_mask": CAUSAL.bool(), "is_causal": True, "need_weights": False}),
    TOKENS,
)
case("attention to others", partial(SelfAttention, {}), TOKENS, (7, 8))
case("attention to other sizes", partial(SelfAttention, {}, kdim=6, vdim=3), TOKENS, (7, 6), (7, 3))
case("attention with a learned key", partial(SelfAttention, {}, add_bias_kv=True), TOKENS)
case("attention with a zero key", partial(SelfAttention, {}, add_zero_attn=True), TOKENS)
of(
    "attention, batch second",
    lambda m, x: m.a(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1),
    TOKENS,
    a=lambda: nn.MultiheadAttention(8, 2),
)
of(
    "attention without padding",
    lambda m, x, p: m.a(x, x, x, key_padding_mask=p.bool())[0],
    TOKENS,
    Ids(1, (5,)),
    a=lambda: nn.MultiheadAttention(8, 2, batch_first=True),
)
of(
    "attention of a query",
    lambda m, x: m.a(m.q.expand(x.shape[0], -1, -1), x, x)[0],
    TOKENS,
    q=lambda: P(R(1, 3, 8)),
    a=lambda: nn.MultiheadAttention(8, 2, batch_first=True),
)
for first in (True, False):
    layer = {"dropout": 0.0, "batch_first": True, "norm_first": first}
    act = "gelu" if first else "relu"
    case(
        f"encoder layer, norm {'first' if first else 'last'}",
        partial(nn.TransformerEncoderLayer, 8, 2, 16, activation=act, **layer),
        TOKENS,
    )
    case(
        f"decoder layer, norm {'first' if first else 'last'}",
        partial(nn.TransformerDecoderLayer, 8, 2, 16, activation=act, **layer),
        TOKENS,
        (7, 8),
    )
case(
    "encoder layer without biases",
    lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, bias=False),
    TOKENS,
)
case("transformer", lambda: nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True), TOKENS, (7, 8))

# ---- blocks of well-known networks

of(
    "squeeze and excite",
    lambda m, x: (
        x
        * torch.sigmoid(m.b(F.relu(m.a(x.mean((2, 3))))))[:, :, None, None]
        * m.g.view(1, -1, 1, 1)
    ),
    (4, 5, 5),
    a=lambda: nn.Linear(4, 2),
    b=lambda: nn.Linear(2, 4),
    g=lambda: P(R(4)),
)


def convnext(m: Any, x: Tensor) -> Tensor:
    y = m.pwconv1(m.norm(m.dwconv(x).permute(0, 2, 3, 1)))
    y = m.gamma * m.pwconv2(m.grn(F.gelu(y)))
    return x + y.permute(0, 3, 1, 2)


def grn(m: Any, x: Tensor) -> Tensor:
    size = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
    return m.g * (x * (size / (size.mean(-1, keepdim=True) + 1e-6))) + m.b + x


of(
    "ConvNeXt",
    convnext,
    (4, 6, 6),
    dwconv=lambda: nn.Conv2d(4, 4, 7, padding=3, groups=4),
    norm=lambda: nn.LayerNorm(4, eps=1e-6),
    pwconv1=lambda: nn.Linear(4, 16),
    grn=lambda: Of(grn, g=P(R(1, 1, 1, 16)), b=P(R(1, 1, 1, 16))),
    pwconv2=lambda: nn.Linear(16, 4),
    gamma=lambda: P(R(4)),
)


def channels_first(m: Any, x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    x = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
    return m.weight[:, None, None] * x + m.bias[:, None, None]


of("LayerNorm2d", channels_first, (4, 6, 6), weight=lambda: P(R(4)), bias=lambda: P(R(4)))
of(
    "normalized images",
    lambda m, x: m.a((x - m.mean[:, None, None]) / m.std.view(1, 3, 1, 1)),
    (3, 4, 4),
    a=lambda: nn.Conv2d(3, 4, 1),
    mean=lambda: torch.rand(3),
    std=lambda: torch.rand(3) + 0.5,
)


def windows(x: Tensor, size: int) -> Tensor:
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size * size, c)


class Swin(nn.Module):
    """A block of shifted windows (Liu et al. 2021), in the manner of the authors."""

    def __init__(self, shift: int, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.shift, self.heads, self.size, self.side = shift, heads, 2, 4
        self.norm1, self.qkv, self.proj = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 3 * dim),
            nn.Linear(dim, dim),
        )
        self.relative_position_bias_table = P(R(9, heads))
        places = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij"))
        steps = places.flatten(1)[:, :, None] - places.flatten(1)[:, None] + 1
        self.register_buffer("relative_position_index", steps[0] * 3 + steps[1])
        if not shift:
            self.mask = None
        else:
            regions = torch.zeros(1, 4, 4, 1)
            regions[:, 3:] += 1
            regions[:, :, 3:] += 2
            parts = windows(regions, 2).squeeze(-1)
            apart = parts[:, None] != parts[:, :, None]
            self.register_buffer("mask", apart.float() * -100.0, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, length, c = x.shape
        y = self.norm1(x).view(b, self.side, self.side, c)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = windows(y, self.size)
        n, t, _ = y.shape
        q, k, v = self.qkv(y).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q * (c // self.heads) ** -0.5 @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        scores = scores + bias.view(t, t, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if self.mask is not None:
            count = self.mask.shape[0]
            scores = scores.view(n // count, count, self.heads, t, t)
            scores = (scores + self.mask[None, :, None]).view(-1, self.heads, t, t)
        y = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))
        y = y.view(b, 2, 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).contiguous().view(b, 4, 4, c)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        return x + y.view(b, length, c)


case("Swin", lambda: Swin(0), (16, 8))
case("Swin, shifted", lambda: Swin(1), (16, 8))


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = P(torch.rand(dim) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(torch.promote_types(x.dtype, torch.float32))
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * y.to(x.dtype)


class Llama(nn.Module):
    """Rotary embeddings, shared keys, RMSNorm and SwiGLU, in the manner of Hugging Face."""

    def __init__(self, how: str, dim: int = 8, heads: int = 4, kv: int = 2) -> None:
        super().__init__()
        self.how, self.heads, self.kv, self.width = how, heads, kv, dim // heads
        self.embed_tokens = nn.Embedding(20, dim)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(dim), RMSNorm(dim)
        self.q_proj, self.o_proj = (nn.Linear(dim, dim, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (nn.Linear(dim, kv * self.width, bias=False) for _ in range(2))
        self.gate_proj, self.up_proj = (nn.Linear(dim, 16, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(16, dim, bias=False)
        rates = 1 / 10000 ** (torch.arange(0, self.width, 2).float() / self.width)
        self.register_buffer("inv_freq", rates, persistent=False)

    def turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return x * cos + torch.cat((-b, a), -1) * sin

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        b, t, d = x.shape
        angles = torch.outer(torch.arange(t, device=ids.device).float(), self.inv_freq.float())
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        y = self.input_layernorm(x)
        q = self.q_proj(y).view(b, t, self.heads, self.width).transpose(1, 2)
        k = self.k_proj(y).view(b, t, self.kv, self.width).transpose(1, 2)
        v = self.v_proj(y).view(b, t, self.kv, self.width).transpose(1, 2)
        q, k = self.turned(q, cos, sin), self.turned(k, cos, sin)
        if self.how == "shared":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            shape = (b, self.kv, self.heads // self.kv, t, self.width)
            k, v = (z[:, :, None].expand(shape).reshape(b, self.heads, t, -1) for z in (k, v))
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.width)
            scores = scores + torch.full((t, t), -math.inf).triu(1)
            y = scores.softmax(-1) @ v
        x = x + self.o_proj(y.transpose(1, 2).reshape(b, t, d))
        y = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


case("Llama", lambda: Llama("by hand"), Ids(20, (6,)), tolerance=SINGLE)
case("Llama, shared keys", lambda: Llama("shared"), Ids(20, (6,)), tolerance=SINGLE)


class Conv1D(nn.Module):
    """Hugging Face's linear layer of GPT-2, whose weight is [inputs, features]."""

    def __init__(self, features: int, inputs: int) -> None:
        super().__init__()
        self.features, self.weight, self.bias = features, P(R(inputs, features)), P(R(features))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return y.view(*x.size()[:-1], self.features)


class GPT2Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj = Conv1D(24, 8), Conv1D(8, 8)
        seen = torch.tril(torch.ones(16, 16, dtype=torch.bool)).view(1, 1, 16, 16)
        self.register_buffer("bias", seen, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (z.view(b, t, 2, 4).permute(0, 2, 1, 3) for z in self.c_attn(x).split(8, 2))
        scores = q @ k.transpose(-1, -2)
        scores = scores / torch.full([], 2.0, dtype=scores.dtype)
        least = torch.full([], torch.finfo(scores.dtype).min, dtype=scores.dtype)
        scores = torch.where(self.bias[:, :, :t, :t], scores, least)
        y = F.softmax(scores, -1).type(v.dtype) @ v
        return self.c_proj(y.permute(0, 2, 1, 3).contiguous().view(b, t, -1))


case("Conv1D", lambda: nn.Sequential(Conv1D(12, 8), nn.GELU(), Conv1D(8, 12)), TOKENS)
case("GPT-2's attention", GPT2Attention, TOKENS)
of(
    "adapter",
    lambda m, x: m.l(x) + x @ m.a @ m.b * 2,
    TOKENS,
    l=lambda: nn.Linear(8, 8),
    a=lambda: P(R(8, 2)),
    b=lambda: P(R(2, 8)),
)
of(
    "two towers",
    lambda m, x, y: m.t.exp() * F.normalize(m.a(x), dim=-1) * F.normalize(m.b(y), dim=-1) + m.u,
    (6,),
    (5,),
    t=lambda: P(torch.tensor(1.3)),
    u=lambda: P(torch.tensor([0.3])),
    a=lambda: nn.Linear(6, 4),
    b=lambda: nn.Linear(5, 4),
)
of(
    "positions of rows and columns",
    lambda m, x: x + (m.rows + m.columns).reshape(30, 4),
    (30, 4),
    rows=lambda: P(R(5, 1, 4)),
    columns=lambda: P(R(1, 6, 4)),
)
