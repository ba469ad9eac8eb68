"""The numeric check: run both networks on random inputs and compare.

It samples; it does not prove. It reports the largest absolute difference of any output number
(never a mean of signed differences, in which errors cancel), in evaluation and in training mode,
in float64 and in float32.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph, GrowcError, TensorType
from ..ir.ops import Embedding

if TYPE_CHECKING:
    import torch

BATCH = 4
"""Examples in the random batch: batch norms in training mode need several."""

FLOAT64_TOLERANCE = 1e-9
"""Largest difference, relative to the output's scale, that rounding may explain in float64.

One operation rounds by 1e-16. Deep sums and batch norms of channels that hardly vary (division by
the square root of eps=1e-5) enlarge that by some 1e4; three more digits are left for deep nets."""

ROUNDED_TOLERANCE = 1e-4
"""The same where a pass rounds weights to float32: 6e-8 each, enlarged as above."""

FLOAT32_TOLERANCE = 1e-3
"""The same for one network in two runtimes, which only share float32: 1e-7 enlarged by 1e4."""

NOISE_FACTOR = 10.0
"""Two runtimes round in different places: by this much more than one of them against float64."""

Modes = tuple[str, ...]
BOTH: Modes = ("eval", "train")


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two networks' outputs are apart in one mode and precision."""

    mode: str
    dtype: str
    max_abs: float
    """max |a - b| over all examples and numbers of one output, the one with the largest relative
    difference; inf where a number of any output is not finite."""
    scale: float
    """max |a| in that output: what ``max_abs`` is small or large against."""

    @property
    def relative(self) -> float:
        """``max_abs`` divided by ``scale``."""
        return _ratio(self.max_abs, self.scale)

    def as_json(self) -> dict[str, object]:
        return {
            "mode": self.mode,
            "dtype": self.dtype,
            "max_abs_diff": self.max_abs,
            "scale": self.scale,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences between two networks, and whether rounding explains them."""

    differences: tuple[Difference, ...]
    seed: int
    judged: str = "float64"
    """The precision that decides; others are reported."""
    noise: float = 0.0
    """How far float32 moves the outputs of one of the networks by itself, relative to their scale:
    deep ones enlarge rounding by far more than others."""

    @property
    def worst(self) -> Difference:
        """The largest relative difference in the precision that decides."""
        return max((d for d in self.differences if d.dtype == self.judged), key=_badness)

    @property
    def agrees(self) -> bool:
        tolerance = FLOAT64_TOLERANCE if self.judged == "float64" else FLOAT32_TOLERANCE
        return self.worst.relative <= max(tolerance, NOISE_FACTOR * self.noise)

    @property
    def modes(self) -> str:
        return ", ".join(dict.fromkeys(d.mode for d in self.differences))


def _badness(difference: Difference) -> float:
    return math.inf if math.isnan(difference.relative) else difference.relative


Outputs = dict[tuple[str, str], dict[str, NDArray[Any]]]
"""(mode, dtype) → output name → array [batch, …]."""


def compare(
    before: Graph, after: Graph, *, modes: Modes = BOTH, seed: int = 0, batch: int = BATCH
) -> Comparison:
    """Run both networks in torch on the same ``batch`` random examples: N(0, 1), or valid whole
    numbers.

    Raises :class:`GrowcError` if their inputs or outputs differ, or a parameter has no value.
    """
    require_same_interface(before, after)
    probe = Probe(modes, seed, batch)
    return probe.compare(probe(before), probe(after))


@dataclass(frozen=True, slots=True)
class Probe:
    """Runs networks on one random batch, so that several can be compared at the cost of one run
    each."""

    modes: Modes = BOTH
    seed: int = 0
    batch: int = BATCH

    def __call__(self, graph: Graph, step: Callable[[str], None] | None = None) -> Outputs:
        """Outputs in every mode, in float64 and float32. ``step`` is told what is being run."""
        import torch

        from ..backends import to_torch

        inputs = random_inputs(graph, self.seed, self.batch)
        found: Outputs = {}
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            module = to_torch(graph, dtype=dtype)
            _fix_dropout(module, self.seed)
            tensors = [_tensor(inputs[n], dtype) for n in graph.inputs]
            for mode in self.modes:
                if step is not None:
                    step(f"{mode} mode, {name}")
                module.train(mode == "train")
                with torch.no_grad():
                    result = module(*tensors)
                found[mode, name] = _by_name(graph, result)
        return found

    def compare(self, before: Outputs, after: Outputs) -> Comparison:
        return Comparison(
            tuple(difference_of(*key, before[key], after[key]) for key in before), self.seed
        )


def _tensor(x: NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
    """As a tensor: whole numbers stay, others get a precision."""
    import torch

    tensor = torch.from_numpy(x)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _by_name(graph: Graph, result: Any) -> dict[str, NDArray[Any]]:
    named = result if isinstance(result, dict) else dict.fromkeys(graph.outputs, result)
    return {name: tensor.numpy(force=True) for name, tensor in named.items()}


def difference_of(
    mode: str, dtype: str, a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]
) -> Difference:
    found = []
    for name in a:
        x, y = a[name].astype(np.float64), b[name].astype(np.float64)
        scale = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return Difference(mode, dtype, math.inf, scale)
        found.append((float(np.abs(x - y).max(initial=0.0)), scale))
    # Each output against its own scale: a large one must not hide what happens to a small one.
    worst, scale = max(found, key=lambda pair: (_ratio(*pair), pair[1]))
    return Difference(mode, dtype, worst, scale)


def _ratio(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else math.inf


def random_inputs(graph: Graph, seed: int, batch: int) -> dict[str, NDArray[Any]]:
    """N(0, 1) numbers for every input, whole ones that are valid for an i64 input: the same for
    two networks whose inputs have the same names."""
    found: dict[str, NDArray[Any]] = {}
    for name in graph.inputs:
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        type = graph.node(name).type
        shape = (batch, *type.shape)
        if type.dtype == "i64":
            found[name] = rng.integers(0, _token_count(graph, name), shape)
        else:
            found[name] = rng.standard_normal(shape)
    return found


def _token_count(graph: Graph, name: str) -> int:
    """How many whole numbers are valid for an input: as many as the smallest embedding has rows
    that its numbers reach, moved as they may be; without one, 2."""
    counts: list[int] = []
    seen, stack = {name}, [name]
    while stack:
        for user, _ in graph.consumers(stack.pop()):
            node = graph.node(user)
            if isinstance(node.op, Embedding):
                counts.append(node.op.count)
            elif node.type.dtype == "i64" and user not in seen:
                seen.add(user)
                stack.append(user)
    return min(counts, default=2)


def _fix_dropout(module: torch.nn.Module, seed: int) -> None:
    """Make each dropout draw a mask that depends on its name and on each number's indices alone.

    Two networks then drop the same numbers wherever they have the same dropout, so that what is
    compared is the function, for every value of the masks.
    """
    import torch

    from ..backends.torch_attention import Attention

    for part in module.modules():
        if isinstance(part, Attention):
            part.explicit = True  # so that it leaves the mask to its nn.Dropout

    for name, part in _dropouts(module):

        def forward(
            x: torch.Tensor, part: torch.nn.Dropout = part, name: str = name
        ) -> torch.Tensor:
            if not part.training:
                return x
            key = zlib.crc32(f"{seed} {name}".encode())
            kept = torch.from_numpy(_uniform(key, tuple(x.shape)) >= part.p)
            return x * kept / (1 - part.p)

        part.forward = forward  # type: ignore[method-assign, assignment]


def _uniform(key: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Random numbers in [0, 1), each given by its own indices whatever the shape, so that a layer
    with more channels, on whichever axis, drops the same in the old ones. Mixed as in splitmix64.
    """
    state = np.full((), key, np.uint64)
    for size in shape:
        state = state[..., None] + np.arange(1, size + 1, dtype=np.uint64) * _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return np.asarray(state >> np.uint64(11), np.float64) * 2.0**-53


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _dropouts(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Dropout]]:
    import torch

    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Dropout):
            yield name, part


# ---- interfaces


def interface_of(graph: Graph) -> tuple[dict[str, TensorType], dict[str, TensorType]]:
    """Inputs and outputs by name."""
    inputs = {name: graph.node(name).type for name in graph.inputs}
    return inputs, {name: graph.node(node).type for name, node in graph.outputs.items()}


def require_same_interface(before: Graph, after: Graph) -> None:
    """Raise :class:`GrowcError` unless both networks have the same inputs and outputs."""
    for what, a, b in zip(
        ("input", "output"), interface_of(before), interface_of(after), strict=True
    ):
        for name in dict.fromkeys([*a, *b]):
            if a.get(name) != b.get(name):
                raise GrowcError(
                    f"the networks differ in the {what} `{name}`: "
                    f"{a.get(name, 'missing')} in one, {b.get(name, 'missing')} in the other",
                    help="only networks with the same inputs and outputs can be compared",
                )
