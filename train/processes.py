"""The processes of a run: one, or several that torchrun has started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..backends import graph_of
from ..ir import Graph, GrowcError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train one model together."""

    rank: int
    ranks: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model to call in training, whose gradients are averaged over the processes."""
        if self.ranks == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        # Looked for only where there are some: it takes time in every update.
        unused = bool(unused_parameters(graph_of(model)))
        return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=unused)

    def total(self, numbers: Tensor) -> Tensor:
        """The sum of each number over all processes."""
        if self.ranks > 1:
            distributed.all_reduce(numbers)
        return numbers

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of all gradients, in place; for models that share parameters,
        each of which one DistributedDataParallel would claim for itself."""
        if self.ranks == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.ranks
        parts = torch.split(flat, [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes the first one's running statistics, of its part of each batch."""
        if self.ranks > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def require_same(self, model: nn.Module, when: str) -> None:
        """Raise :class:`GrowcError` in every process if the models are not the same, bit by bit."""
        if self.ranks == 1:
            return
        sums = [_sum_of_bits(t) for t in (*model.parameters(), *model.buffers()) if t.numel()]
        mine = torch.stack(sums).to(self.device)
        theirs = mine.clone()
        distributed.broadcast(theirs, 0)
        different = self.total((mine != theirs).any().to(torch.int64).reshape(1))
        if int(different):
            raise GrowcError(
                f"the processes' models differ {when}",
                help="do all of them run the same versions of growc, torch and numpy?",
            )

    def wait(self) -> None:
        if self.ranks > 1:
            distributed.barrier()


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """A sum of the bits as whole numbers, each weighted by its place: it wraps around, alike
    everywhere."""
    words = torch.int32 if tensor.element_size() % 4 == 0 else torch.uint8
    flat = tensor.detach().flatten().view(words)
    return flat.cumsum(0, dtype=torch.int64).sum()


def unused_parameters(graph: Graph) -> set[str]:
    """The parameters that no output depends on, and that never get a gradient."""
    needed: set[str] = set()
    todo = list(graph.outputs.values())
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo += graph.node(name).operands
    used = {store for name in needed for store, _ in graph.params_of(name)}
    return {name for name, spec in graph.parameters().items() if spec.trainable} - used


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; left again at the end.

    ``device`` is ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``. Raises
    :class:`GrowcError` for a device that is not there.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")) if ranks > 1 else None)
    if ranks == 1:
        yield Processes(0, 1, chosen)
        return
    cuda = chosen.type == "cuda"
    if cuda:
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(rank, ranks, chosen)
    finally:
        distributed.destroy_process_group()


def _device(name: str, local_rank: int | None) -> torch.device:
    there = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if there else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise GrowcError(f"no device `{name}`", help="give auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return torch.device("cpu")
    if not there:
        raise GrowcError(
            "there is no GPU that this PyTorch can use",
            help="use --device cpu, or install PyTorch for your GPU",
        )
    index = device.index if device.index is not None else local_rank or 0
    if index >= torch.cuda.device_count():
        raise GrowcError(
            f"there is no GPU {index}: the machine has {torch.cuda.device_count()}",
            help="start as many processes as there are GPUs",
        )
    return torch.device("cuda", index)
