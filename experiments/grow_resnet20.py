"""A trained ResNet-20 that growc did not build, grown on every block and trained on.

    python -m experiments.grow_resnet20 --model resnet20.onnx --data cifar-10-batches-bin

reads the model, trains it for some steps with SGD, widens every residual block and deepens it
(both proved), carries the optimizer over with the learning rate scaled by |θ₁|/|θ₂| (R2R appendix
C.3), and trains on. The accuracy is that on the 1,000 test
images; training images are cropped and flipped. Nothing is chosen by looking at test images.
Writes ``results/grow_resnet20.txt`` beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

import growc
from benchmarks.common import circumstances
from growc.compiler import run

PIPELINE = "r2wider{init=match}, r2deeper{init=match}"
"""New weights as large as those beside them. With He's, which are larger than those of a net that
was trained with weight decay, the training loss rises at this rate, from 0.08 to above 0.3."""
MEAN = np.array((0.4914, 0.4822, 0.4465), np.float32).reshape(3, 1, 1)
STD = np.array((0.2023, 0.1994, 0.2010), np.float32).reshape(3, 1, 1)


def images(file: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """CIFAR-10's binary format: images normalized as the model wants them, and labels."""
    records = np.frombuffer(file.read_bytes(), np.uint8).reshape(-1, 3073)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32) / np.float32(255)
    return torch.from_numpy((pixels - MEAN) / STD), torch.from_numpy(records[:, 0].astype(np.int64))


def accuracy(
    model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """Share of images classified rightly in eval mode, and the classes."""
    model.eval()
    with torch.no_grad():
        classes = torch.cat([model(part).argmax(1) for part in x.split(250)])  # type: ignore[no-untyped-call]
    return float((classes == y).float().mean()), classes


def augmented(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Each image flipped or not, and cropped after padding with 4 zeros, at random."""
    n = len(x)
    flip = torch.rand(n, generator=rng) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    padded = F.pad(x, (4, 4, 4, 4))
    dy, dx = torch.randint(0, 9, (2, n), generator=rng)
    rows = dy[:, None] + torch.arange(32)
    columns = dx[:, None] + torch.arange(32)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    data: tuple[torch.Tensor, torch.Tensor],
    steps: int,
    batch: int,
    rng: torch.Generator,
) -> float:
    """Train for some steps; the mean loss of the last ten."""
    x, y = data
    losses = []
    model.train()
    for _ in range(steps):
        index = torch.randint(0, len(x), (batch,), generator=rng)
        loss = F.cross_entropy(model(augmented(x[index], rng)), y[index])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-10:]))


def one(
    model_file: Path, folder: Path, seed: int, before: int, after: int, batch: int, lr: float
) -> list[str]:
    """The lines of one seed."""
    train_set = [images(folder / f"data_batch_{i}.bin") for i in range(1, 6)]
    data = torch.cat([x for x, _ in train_set]), torch.cat([y for _, y in train_set])
    x, y = images(folder / "test_batch.bin")
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    graph = growc.from_onnx(model_file)
    teacher = growc.to_torch(graph)
    read, _ = accuracy(teacher, x, y)
    optimizer: torch.optim.Optimizer = torch.optim.SGD(
        teacher.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4
    )
    loss_before = train(teacher, optimizer, data, before, batch, rng)
    trained, classes = accuracy(teacher, x, y)

    graph = growc.with_weights_of(graph, teacher)
    grown = run(graph, PIPELINE, seed=seed)
    student = growc.to_torch(grown.graph)
    proofs = ", ".join(f"{s.applied.name} {s.proof.verdict}" for s in grown.steps if s.proof)
    modes = "/".join(grown.whole.proved_modes) if grown.whole else "none"
    right_after, same = accuracy(student, x, y)
    optimizer = growc.carry_optimizer(optimizer, teacher, student, scale_lr=True)
    loss_after = train(student, optimizer, data, after, batch, rng)
    end, _ = accuracy(student, x, y)
    changed = int((classes != same).sum())
    return [
        f"seed {seed}: as read {read:.1%}; after {before} steps {trained:.1%} (loss "
        f"{loss_before:.3f}); grown {graph.parameter_count():,} → "
        f"{grown.graph.parameter_count():,} parameters ({proofs}; end to end in {modes})",
        f"        right after growing {right_after:.1%}, {changed} of {len(y)} images classified "
        f"otherwise; after {after} more steps {end:.1%} (loss {loss_after:.3f})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of data_batch_1.bin, …")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--before", type=int, default=100, help="steps before growing")
    parser.add_argument("--after", type=int, default=300, help="steps after growing")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()
    lines = [
        f"resnet20 read from ONNX, `{PIPELINE}` on every residual block,",
        f"SGD (lr {given.lr:g}, times |θ₁|/|θ₂| after growing, momentum 0.9, carried over,",
        f"weight decay 1e-4, batch {given.batch}, crops and flips); accuracy on the 1,000 test "
        "images",
        "",
    ]
    for seed in range(given.seeds):
        lines += one(
            given.model, given.data, seed, given.before, given.after, given.batch, given.lr
        )
        print("\n".join(lines[-2:]), flush=True)
    text = "\n".join([*lines, "", *circumstances(), ""])
    results = Path(__file__).resolve().parent / "results"
    results.mkdir(exist_ok=True)
    (results / "grow_resnet20.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
