"""A training step of the lowered base network against the same network written by hand.

The hand-written module is what a PyTorch user would write for the R2R paper's base network
(examples/r2r_base.arch). Both get the same weights, batch and optimizer. Target: ratio ≤ 1.03.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import growc

from .common import alternate, ratio, report

BATCH = 32
ROUNDS = 40


class R2R(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(F.relu(self.norm(self.conv1(x))))
        return y


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.padding = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.r2r = R2R(width, outputs, width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        skip: Tensor = F.pad(x, (0, 0, 0, 0, 0, self.padding))
        added: Tensor = self.r2r(y)
        return skip + added


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block1 = Residual(3, 16, 32)
        self.block2 = Residual(16, 32, 64)
        self.block3 = Residual(32, 64, 128)
        self.fc1 = nn.Linear(1024, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in (self.block1, self.block2, self.block3):
            x = F.max_pool2d(block(x), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        y: Tensor = self.fc2(x)
        return y


def main() -> None:
    torch.manual_seed(0)
    graph = growc.load(Path(__file__).parents[1] / "examples" / "r2r_base.arch")
    growc.initialize(graph)
    lowered = growc.to_torch(graph)
    by_hand = Base()
    ours = list(lowered.parameters())
    theirs = list(by_hand.parameters())
    assert [p.shape for p in ours] == [p.shape for p in theirs], "not the same network"
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            b.copy_(a)
    images = torch.randn(BATCH, 3, 32, 32)
    labels = torch.randint(10, (BATCH,))
    assert torch.equal(lowered.eval()(images), by_hand.eval()(images)), "not the same function"
    lowered.train()
    by_hand.train()

    def trainer(model: nn.Module) -> object:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=True)

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        return step

    times = alternate(trainer(lowered), trainer(by_hand), rounds=ROUNDS, warm_up=5)  # type: ignore[arg-type]
    low, middle, high = ratio(times)
    medians = [sorted(t)[len(t) // 2] * 1000 for t in times]
    report(
        "training_step",
        [
            f"training step, base network (579,386 parameters), batch {BATCH}, {ROUNDS} rounds, "
            f"{torch.get_num_threads()} threads",
            f"lowered by growc   {medians[0]:7.1f} ms (median)",
            f"written by hand    {medians[1]:7.1f} ms (median)",
            f"ratio              {middle:.3f} (quartiles {low:.3f} to {high:.3f}); target ≤ 1.03",
        ],
    )


if __name__ == "__main__":
    main()
