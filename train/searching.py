"""Growth that is chosen while training, every so many updates, by what is seen then."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..ir import Graph
from ..passes import Pass
from ..passes.base import Configured

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .data.joint import Joint
    from .optimization import Loss


@dataclass(frozen=True, slots=True)
class Look:
    """What a search sees when it is asked to grow a network in training."""

    graph: Graph
    """The network, with its weights of now."""
    index: int
    """How many times it was asked before, and (``left``) how often it still will be, now included.
    """
    left: int
    seed: int
    """Another one each time."""
    rate: float
    """The learning rate of now."""
    batches: Callable[[int], Sequence[Joint]]
    """So many of the next training batches, of each task the images and labels, on the device; each
    process has its part of them."""
    loss_of: Loss
    total: Callable[[Tensor], Tensor]
    """The sum of a tensor over all processes."""
    processes: int
    device: torch.device


@dataclass(frozen=True, slots=True)
class Choice:
    """What a search has chosen."""

    passes: tuple[Pass, ...]
    """None where nothing is worth adding; they are proved together, from end to end."""
    notes: dict[str, Any]
    """What ``growth.json`` says of it, as plain values."""


@dataclass(frozen=True)
class Search(Configured):
    """Chooses passes. Its fields are its options, as a pass's are."""

    @abstractmethod
    def choose(self, look: Look) -> Choice:
        """What to grow now. The same in every process: it depends on the look alone."""

    def check(self, graph: Graph) -> str | None:
        """Why the search makes no sense for a network, before training starts."""
        return None


SEARCHES: dict[str, type[Search]] = {}
"""Every search by name."""

SearchClass = TypeVar("SearchClass", bound=type[Search])


def register_search(cls: SearchClass) -> SearchClass:
    """Make a search known to growth schedules."""
    cls.collect_attributes()
    SEARCHES[cls.name] = cls
    return cls
