"""A population: networks that are trained together, and own parameters together.

θ is one store: a parameter that several networks have is one ``nn.Parameter`` of their modules, so
memory is the sum of the distinct parameters. Running statistics of batch norms are each network's
own; or, if so told, those of batch norms that normalize the very same numbers are tied.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import fx
from torch.optim import Optimizer

from ...backends import graph_of
from ...ir import Graph
from ...train.carrying import carry
from ...train.checkpoint import counters
from ...train.learning_rate import scale_learning_rate, trainable_count
from ...train.sharing import distinct_parameters, sharing_graphs, sharing_modules
from .merging import share_statistics
from .mutation import Mutated


@dataclass(eq=False, slots=True)
class Member:
    """A network that is trained."""

    number: int
    """Which one of all that were ever alive, from 0."""
    module: fx.GraphModule
    optimizer: Optimizer
    """Of all its parameters. With shared moments its state of a parameter is the very dict that
    the other members' optimizers have."""
    updates: int = 0
    """How many updates were made with it, or with its ancestors while it was not born."""


@dataclass(eq=False)
class Population:
    """The networks that are alive, in order of their birth."""

    moments: str
    """``shared`` or ``own``: whether members that share a parameter share what their optimizers
    know of it (its moments, and how many steps it made)."""
    statistics: str = "own"
    """``own`` or ``tied``: whether a child's running statistics are a copy, or the parent's where
    nothing before them differs. Tied ones follow each step of any of the members that have them,
    and with them models have the more in common when they are evaluated."""
    members: list[Member] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.members)

    def graphs(self) -> list[Graph]:
        """The members' networks with their present values; what they share is one array."""
        return sharing_graphs(m.module for m in self.members)

    def parameter_count(self) -> int:
        """How many distinct trainable numbers there are: those that memory is needed for."""
        return sum(p.numel() for p in distinct_parameters(m.module for m in self.members))

    def names(self) -> set[str]:
        """The names of all members' parameters and running statistics."""
        return {name for m in self.members for name in graph_of(m.module).parameters()}

    def bear(
        self,
        parent: Member,
        mutated: Mutated,
        number: int,
        device: torch.device,
        *,
        scale_lr: bool = True,
        scale_weight_decay: bool = False,
    ) -> Member:
        """The child m(h) of a member h joins.

        It shares all that the pass left alone, and begins with the running statistics of h. Its
        optimizer knows what the parent's knows, and has its learning rate times |θ_h| / |θ_m(h)|
        (R2R appendix C.3) with ``scale_lr``, its weight decay too with ``scale_weight_decay``.
        ``mutated.before`` must be of the parent's values now.

        Raises :class:`GrowcError` for an optimizer that cannot be carried over.
        """
        graph, tied = mutated.graph, self.statistics == "tied"
        if tied:
            _, graph = share_statistics([mutated.before, graph])
        made = [(mutated.before, parent.module)]
        (module,) = sharing_modules([graph], made=made, device=device, statistics=tied)
        before = counters(parent.module)
        for name, counter in counters(module).items():
            if name in before:
                counter.copy_(before[name])
        optimizer = carry(parent.optimizer, parent.module, module).optimizer
        if scale_lr:
            scale_learning_rate(optimizer, parent.module, module, weight_decay=scale_weight_decay)
        elif scale_weight_decay:
            ratio = trainable_count(parent.module) / trainable_count(module)
            for group in optimizer.param_groups:
                group["weight_decay"] *= ratio
        child = Member(number, module, optimizer, parent.updates)
        self.members.append(child)
        self.link()
        return child

    def link(self) -> None:
        """With shared moments, let all optimizers have the same state of the same parameter."""
        if self.moments != "shared":
            return
        states: dict[object, object] = {}
        for member in self.members:
            for group in member.optimizer.param_groups:
                for p in group["params"]:
                    # Empty before its first step, but the same dict for all already.
                    member.optimizer.state[p] = states.setdefault(p, member.optimizer.state[p])

    def keep(self, chosen: Sequence[Member]) -> None:
        """Let only the chosen members live on, in their order.

        What only the others had is freed, unless the caller holds one of them. An fx module is part
        of cycles: only the collector takes them apart, and would not for a long time, as they are
        few objects that hold large tensors.
        """
        self.members = list(chosen)
        gc.collect()
