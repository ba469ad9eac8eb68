"""joint_train (R2R algorithm 4): one update after the other, each of a model picked at random."""

from __future__ import annotations

import torch
from torch import Tensor

from ...backends import graph_of
from ...train.data.joint import Joint
from ...train.data.seeding import generator
from ...train.growth_steps import drops
from ...train.optimization import autocast, loss_of, set_rate
from ...train.processes import Processes
from ...train.settings import Settings
from ...train.stepping import seed_dropout, to_device, train_step
from .population import Member, Population

PICK = 64
"""What random numbers are for, beside the purposes of ``growc.train.data.seeding``."""


class JointTraining:
    """Trains the members of a population together."""

    def __init__(
        self,
        population: Population,
        scaler: torch.amp.GradScaler,
        settings: Settings,
        processes: Processes,
    ) -> None:
        self.population, self.scaler = population, scaler
        self.settings, self.processes = settings, processes
        self.loss_of = loss_of(settings)
        self.autocast = autocast(settings, processes.device)
        self._costs: dict[int, tuple[float, bool]] = {}

    def picked(self, update: int) -> Member:
        """The member that makes an update: a function of the seed and the update's number."""
        random = generator(self.settings.seed, PICK, update)
        members = self.population.members
        return members[int(random.integers(len(members)))]

    def step(self, update: int, batch: Joint) -> tuple[Tensor, float]:
        """An update. It moves what the member has, and nothing else.

        Returns the loss before it, a scalar, and how many operations it took.
        """
        member, settings = self.picked(update), self.settings
        flops, draws = self._cost(member)
        if draws:
            seed_dropout(settings.seed, update, self.processes.rank)
        set_rate(member.optimizer, settings, update)
        loss = train_step(
            member.module,
            member.optimizer,
            self.scaler,
            to_device(batch, self.processes.device),
            self.loss_of,
            self.autocast,
            clip=settings.clip,
            backward_done=lambda: self.processes.average_gradients(member.module.parameters()),
        )
        # No gradient stays: those of all models together would be as large as the models.
        member.optimizer.zero_grad()
        member.updates += 1
        return loss, flops

    def _cost(self, member: Member) -> tuple[float, bool]:
        """The operations of an update of a member, and whether it has dropout."""
        if member.number not in self._costs:
            graph = graph_of(member.module)
            flops = 3.0 * 2 * graph.macs() * self.settings.batch_size
            self._costs[member.number] = flops, drops(graph)
        return self._costs[member.number]
