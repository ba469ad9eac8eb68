"""What each figure of the paper trains: its nets, growth steps and arms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .third_block import RandomThirdBlock, ThirdBlock
from .training import UNFINISHED, Data, Run, append, load, read, train

SCRATCH = "r2r_base"


@dataclass(frozen=True)
class Figure:
    """``growth`` is the growth step; ``random`` the one that draws all new weights at random, in
    figures which train the teacher for ``teacher_updates`` first."""

    number: int
    teacher: str
    growth: str
    random: str = ""
    teacher_updates: int = 0

    @property
    def updates(self) -> int:
        return 7000 if self.teacher_updates else 6000

    @property
    def arms(self) -> tuple[str, ...]:
        if self.teacher_updates:
            return ("teacher", "r2r", "random", "scratch")
        return ("0", "1500", "3000", "4500")


FIGURES = {
    5: Figure(5, "r2r_wide_teacher", "r2wider{variant=concat}"),
    6: Figure(6, "r2r_wide_teacher", "r2wider{variant=concat}", "random_pad", 10_000),
    7: Figure(7, "r2r_deep_teacher", ThirdBlock.name),
    8: Figure(8, "r2r_deep_teacher", ThirdBlock.name, RandomThirdBlock.name, 5000),
}


def scaled(updates: int, scale: float) -> int:
    return max(4, round(updates * scale))


def run_arm(
    figure: Figure, file: Path, data: Data, seed: int, arm: str, scale: float, growth: str
) -> Run:
    """Train one arm. Of figures 6 and 8, the teacher's final state is kept for the others."""
    updates = scaled(figure.updates, scale)
    name = f"{file.stem}_seed{seed}_{arm}"
    if not figure.teacher_updates:
        at = int(arm) * updates // figure.updates
        return train(
            lambda: Run.fresh(figure.teacher, seed, arm),
            data,
            keep_as=name,
            updates=updates,
            every=max(1, updates // 24),
            growth=(at, growth),
        )
    first = scaled(figure.teacher_updates, scale)
    if arm == "teacher":
        return train(
            lambda: Run.fresh(figure.teacher, seed, arm),
            data,
            keep_as=name,
            updates=first,
            every=max(1, first // 20),
            on_training_images=True,
        )

    def start() -> Run:
        if arm == "scratch":
            return Run.fresh(SCRATCH, seed, arm)
        # A teacher that was read back has tensors of its own, which may be trained on.
        run_arm(figure, file, data, seed, "teacher", scale, growth)
        teacher = load(UNFINISHED / f"{file.stem}_seed{seed}_teacher.pt")
        student = Run(seed, arm, teacher.model, teacher.optimizer)
        student.grow(growth if arm == "r2r" else figure.random)
        return student

    # All arms see the same batches, which the teacher has not seen.
    return train(
        start,
        data,
        keep_as=name,
        updates=updates,
        every=max(1, updates // 28),
        first_batch=first,
        on_training_images=True,
    )


def run_seed(figure: Figure, file: Path, data: Data, seed: int, scale: float, growth: str) -> bool:
    """Train all arms of a seed that are not in the file yet; were there any?"""
    trained = False
    for arm in figure.arms:
        if not any((r["seed"], r["arm"]) == (str(seed), arm) for r in read(file)):
            run = run_arm(figure, file, data, seed, arm, scale, growth)
            append(file, run.rows)
            trained = True
            print(f"seed {seed}, {arm}: {run.rows[-1]['accuracy']:.3f}", flush=True)
    for kept in UNFINISHED.glob(f"{file.stem}_seed{seed}_*.pt"):
        kept.unlink()
    return trained
