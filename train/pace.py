"""What every training loop keeps: its clock, when it last wrote a checkpoint, unseen losses."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ..ir import GrowcError
from .checkpoint import Progress
from .processes import Processes

LOOK_EVERY = 20
"""How many updates a loss may wait on a GPU or be shared among processes before it is looked at:
each look waits for the GPU."""
CHECKPOINT_SECONDS = 300.0
"""A checkpoint is written at each evaluation, and between them after so long."""


class Pace:
    """The pace of a run in one process; its seconds go into ``progress``."""

    def __init__(self, progress: Progress, processes: Processes) -> None:
        self.progress, self.processes = progress, processes
        self._unseen: list[Tensor] = []
        self._since = self._written = time.perf_counter()

    def start(self) -> None:
        """The clock runs from now on."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """The time since the clock started counts."""
        self.progress.seconds += time.perf_counter() - self._since

    def wrote_checkpoint(self) -> None:
        """The checkpoint is of now, and the clock starts."""
        self._since = self._written = time.perf_counter()

    def is_late(self) -> bool:
        """Whether the last checkpoint is long ago, by the first process's clock: all must agree,
        and are asked only now and then."""
        late = time.perf_counter() - self._written > CHECKPOINT_SECONDS
        if self.processes.ranks == 1:
            return late
        if self.progress.update % LOOK_EVERY:
            return False
        said = torch.tensor([late and self.processes.first], device=self.processes.device)
        return bool(self.processes.total(said.to(torch.int64)))

    def updated(self, loss: Tensor, flops: float) -> bool:
        """An update was made, with this loss before it; whether losses are to be looked at."""
        self.progress.update += 1
        self.progress.flops += flops
        self._unseen.append(loss)
        alone_on_cpu = self.processes.device.type == "cpu" and self.processes.ranks == 1
        return alone_on_cpu or len(self._unseen) >= LOOK_EVERY

    def losses(self) -> list[tuple[int, float]]:
        """The losses that were not looked at yet, the mean over the processes, with the numbers of
        their updates from 0."""
        if not self._unseen:
            return []
        losses = torch.stack(self._unseen).double()
        seen = (self.processes.total(losses) / self.processes.ranks).tolist()
        self._unseen = []
        return list(enumerate(seen, self.progress.update - len(seen)))


def overflowed(what: str) -> GrowcError:
    """The mistake of a run that diverges before its first evaluation."""
    return GrowcError(
        f"{what}: the network overflows before any training",
        help="start with smaller weights: another --seed, another init, or --weights",
    )
