"""Gradients of candidates: ∂L/∂(α_i W_i) at zero, and in the hyperarchitecture (section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...backends import to_torch
from ...train.data.joint import Joint
from ...train.optimization import Loss, logits_of, total_loss
from .choosing import Gradients
from .space import Scaffold


class Hypernet:
    """A scaffold in PyTorch, without masks: what is missing has a gradient, and is zero.

    Its training state (running statistics) is its own, and forgotten with it.
    """

    def __init__(self, scaffold: Scaffold, device: torch.device) -> None:
        dense = scaffold.graph.copy()
        dense.weights.masks.clear()
        self.scaffold = scaffold
        self.model: nn.Module = to_torch(dense).to(device).train()
        self._parameters = dict(self.model.named_parameters())

    def gradients(
        self,
        batches: Sequence[Joint],
        loss_of: Loss,
        total: Callable[[Tensor], Tensor] = lambda numbers: numbers,
        count: int = 1,
    ) -> Gradients:
        """∂L/∂W of every parameter with candidates, the mean over ``batches`` of the images and
        labels of each task. L is the sum of the tasks' losses.

        ``total`` sums a tensor over ``count`` processes.
        """
        self.model.zero_grad()
        for images, labels in batches:
            loss = total_loss(loss_of, logits_of(self.model, images), labels)
            loss = loss / (len(batches) * count)
            loss.backward()  # type: ignore[no-untyped-call]
        for parameter in self._parameters.values():
            if parameter.grad is None:  # nothing depends on it
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = total(parameter.grad)
        return {
            field.key: self._grad(field.key).numpy(force=True).astype(np.float64)
            for field in self.scaffold.fields
        }

    def _grad(self, key: str) -> Tensor:
        grad = self._parameters[key].grad
        assert grad is not None
        return grad

    @torch.no_grad()
    def step(self, rate: float, chosen: Mapping[str, NDArray[np.bool_]]) -> None:
        """One step of gradient descent on the weights of the hyperarchitecture α*: those that are
        there, and the ``chosen`` candidates. The others stay zero."""
        for name, parameter in self._parameters.items():
            grad = self._grad(name)
            mask = self.scaffold.graph.weights.masks.get(name)
            if mask is not None:
                there = mask | chosen[name] if name in chosen else mask
                grad = grad * torch.from_numpy(there).to(grad.device)
            parameter.sub_(rate * grad)
