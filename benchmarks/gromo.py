"""What a growth step costs, in training steps of the grown network, here and in gromo 0.1.0.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.gromo

(Where other work has the cores too, threads that wait by spinning make every step ten times as
long.) gromo (https://growingnet.github.io/gromo) is a PyTorch library of growing networks. It is no
dependency of growc; without it, this says how to make an environment that has it.

Both grow the same network, gromo's own VGG container: three stages of two 3×3 convolutions with
batch normalization, 16, 32 and 64 wide, on 3×32×32 images, and linear layers of 128 and 10
(205,018 parameters). What grows is the first convolution of a stage, to twice its width: of one
stage, as in gromo's tutorials, or of all three at once. What is timed, from and to a model and an
optimizer that can be trained on:

- growc: ``growc.grow``, with the proof in both modes and the optimizer carried over;
- gromo's tutorial (GrowingContainer tutorial, ``grow``): statistics, ``compute_optimal_updates``,
  a line search over four scales, ``apply_change``, a new optimizer. The tutorial takes statistics
  and losses over the whole training set; here they are of **one** batch, the least there can be;
- the same without the line search;
- gromo without statistics: ``create_layer_extensions``, with zeros for what reads the new channels.
  Like growc's, that step keeps the function; nothing is proved, and the optimizer starts anew.

The two steps that look at data do more than growc's: they choose the new weights by the data.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import growc

from .common import report

BATCH = 128
ROUNDS = 15
WIDTHS = (16, 32, 64)
SCALES = (0.0, 0.1, 0.5, 1.0)  # of the tutorial's line search
STAGES = {"one layer": (1,), "three layers": (0, 1, 2)}
ARCH = """
net vgg(classes: int = 10) {
    input image: f32[3, 32, 32]
    a0 = image -> conv2d(16) -> batch_norm -> relu
    b0 = a0 -> conv2d(16) -> batch_norm -> relu -> max_pool2d
    a1 = b0 -> conv2d(32) -> batch_norm -> relu
    b1 = a1 -> conv2d(32) -> batch_norm -> relu -> max_pool2d
    a2 = b1 -> conv2d(64) -> batch_norm -> relu
    b2 = a2 -> conv2d(64) -> batch_norm -> relu -> max_pool2d
    output logits = b2 -> flatten -> linear(128) -> relu -> linear(classes)
}
"""
MISSING = (
    "gromo is not installed; `python3 -m venv out/gromo`, then `out/gromo/bin/pip install -c "
    "constraints.txt -e . gromo==0.1.0`, make an environment that has it, in which "
    "`OMP_WAIT_POLICY=PASSIVE out/gromo/bin/python -m benchmarks.gromo` measures."
)

Trained = tuple[nn.Module, torch.optim.Optimizer]
Data = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    start: Callable[[], nn.Module]
    grow: Callable[[nn.Module, torch.optim.Optimizer, tuple[int, ...], Data], Trained]


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), amsgrad=True)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, data: Data) -> float:
    """Seconds of one training step."""
    start = time.perf_counter()
    optimizer.zero_grad()
    F.cross_entropy(model(data[0]), data[1]).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return time.perf_counter() - start


# ---- growc


def growc_start() -> nn.Module:
    graph = growc.loads(ARCH)
    growc.initialize(graph)
    return growc.to_torch(graph)


def growc_grow(
    model: nn.Module, optimizer: torch.optim.Optimizer, stages: tuple[int, ...], data: Data
) -> Trained:
    at = ", ".join(f"a{stage}.*" for stage in stages)
    return growc.grow(model, optimizer, f"r2wider{{variant=concat, at=[{at}]}}")


# ---- gromo


def gromo_start() -> nn.Module:
    vgg = import_module("gromo.containers.vgg").VGG
    model: nn.Module = vgg(
        cfg=[part for width in WIDTHS for part in (width, width, "M")],
        target_cfg=[part for width in WIDTHS for part in (2 * width, width, "M")],
        num_classes=10,
        dropout=0.0,
        number_of_fc_layers=2,
        fc_layer_width=128,
        input_spatial_shape=(32, 32),
    )
    return model


def gromo_with_statistics(model: Any, stages: tuple[int, ...], data: Data, search: bool) -> None:
    """As in the tutorial, whose step grows one layer; of several, each is computed by itself from
    the same statistics."""
    x, y = data
    if len(stages) == 1:
        model.set_growing_layers(index=stages[0])
    model.eval()
    model.init_computation()
    model.zero_grad()
    F.cross_entropy(model(x), y, reduction="sum").backward()  # type: ignore[no-untyped-call]
    model.update_computation()
    for index in range(len(stages)):
        # As many channels as are asked for, also those that promise little.
        layer = model._growing_layers[index]
        layer.compute_optimal_updates(
            maximum_added_neurons=layer.in_channels, statistical_threshold=0.0
        )
    model.reset_computation()
    best = 1.0
    if search:
        losses = []
        with torch.no_grad():
            for scale in SCALES:
                model.set_scaling_factor(scale)
                losses.append(F.cross_entropy(model.extended_forward(x), y).item())
        best = SCALES[losses.index(min(losses))]
    model.set_scaling_factor(best)
    for index in range(len(stages)):
        model.currently_updated_layer_index = index
        model.apply_change()


def gromo_tutorial(
    model: nn.Module, optimizer: torch.optim.Optimizer, stages: tuple[int, ...], data: Data
) -> Trained:
    gromo_with_statistics(model, stages, data, search=True)
    return model.train(), adam(model)


def gromo_one_scale(
    model: nn.Module, optimizer: torch.optim.Optimizer, stages: tuple[int, ...], data: Data
) -> Trained:
    gromo_with_statistics(model, stages, data, search=False)
    return model.train(), adam(model)


def gromo_without_statistics(
    model: Any, optimizer: torch.optim.Optimizer, stages: tuple[int, ...], data: Data
) -> Trained:
    model.set_scaling_factor(1.0)
    for stage in stages:
        layer = model._growable_layers[stage]
        width = layer.in_channels
        layer.create_layer_extensions(
            width, output_extension_init="kaiming", input_extension_init="zeros"
        )
        layer.apply_change(extension_size=width)
        layer.delete_update()
    return model.train(), adam(model)


SIDES = (
    Side("growc.grow, proof and optimizer", growc_start, growc_grow),
    Side("gromo's tutorial, one batch", gromo_start, gromo_tutorial),
    Side("  without its line search", gromo_start, gromo_one_scale),
    Side("gromo without statistics", gromo_start, gromo_without_statistics),
)


# ---- measuring


def measured(title: str, stages: tuple[int, ...]) -> list[str]:
    torch.manual_seed(0)
    data = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    grows: list[list[float]] = [[] for _ in SIDES]
    steps: list[list[float]] = [[] for _ in SIDES]
    sizes = set()
    for round_ in range(ROUNDS + 1):
        for i in range(len(SIDES)) if round_ % 2 else reversed(range(len(SIDES))):
            model = SIDES[i].start()
            optimizer = adam(model.train())
            step(model, optimizer, data)  # so that there are moments to carry
            before = parameters(model)
            start = time.perf_counter()
            model, optimizer = SIDES[i].grow(model, optimizer, stages, data)
            grew = time.perf_counter() - start
            sizes.add((before, parameters(model)))
            step(model, optimizer, data)
            if round_:  # the first warms up
                grows[i].append(grew)
                steps[i].append(statistics.median(step(model, optimizer, data) for _ in range(3)))
    ((before, after),) = sizes  # the same network on all sides
    lines = [f"{title}: {before:,} → {after:,} parameters"]
    for side, grow_times, step_times in zip(SIDES, grows, steps, strict=True):
        ratios = [a / b for a, b in zip(grow_times, step_times, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(
            f"  {side.name:<33}{1000 * statistics.median(grow_times):>8.0f} ms"
            f"{1000 * statistics.median(step_times):>8.0f} ms"
            f"{middle:>8.3f} ({low:.3f} to {high:.3f})"
        )
    return lines


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    if find_spec("gromo") is None:
        sys.exit(MISSING)
    # Of a line search that finds that the best scale is 0.
    warnings.filterwarnings("ignore", message=".*extension_scaling is null")
    lines = [
        f"a growth step in training steps of the grown network, batch {BATCH}, "
        f"{torch.get_num_threads()} threads ({os.environ.get('OMP_WAIT_POLICY', 'spinning')})",
        f"medians of {ROUNDS} rounds, in which the sides take turns (quartiles)",
        "",
        f"{'':<35}{'grow':>11}{'step':>11}{'ratio':>8}",
    ]
    for title, stages in STAGES.items():
        lines += measured(title, stages)
    lines += [
        "",
        "The network is gromo 0.1.0's VGG container, the same in growc; what grows is the first of",
        "two convolutions of a stage, to twice its width. gromo's tutorial step: statistics,",
        "optimal updates, a line search over 4 scales, the change, a new optimizer. The tutorial",
        "takes statistics and losses over the whole training set, here they are of one batch, the",
        "least there can be; unlike growc's step it chooses the new weights by the data. Without",
        "statistics gromo's new channels are random and read with zeros, as growc's, unproved.",
        "growc.grow runs on one thread for the most part: on more cores its ratio is larger.",
    ]
    report("gromo", lines)


if __name__ == "__main__":
    main()
