"""Another optimizer of the same class and settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..ir import GrowcError

Named = tuple[str, nn.Parameter]


def rebuilt(
    optimizer: Optimizer, groups: Sequence[tuple[Mapping[str, Any], Sequence[Named]]]
) -> Optimizer:
    """An optimizer of the same class with these groups: (the settings of an old one, parameters).

    The class is called as a person would call it, since it may set up more than its base does;
    copying attributes instead would also copy what a scheduler has wrapped around ``step``.

    Raises :class:`GrowcError` if the class does not take that.
    """
    given = []
    for old, members in groups:
        named = "param_names" in old
        group = {k: deepcopy(v) for k, v in old.items() if k not in ("params", "param_names")}
        group["params"] = list(members) if named else [parameter for _, parameter in members]
        if named:
            group["param_names"] = [name for name, _ in members]
        given.append(group)
    cls = type(optimizer)
    # AdamW keeps a default that it does not take: it says what it sets in Adam.
    takes = inspect.signature(cls).parameters
    defaults = {k: deepcopy(v) for k, v in optimizer.defaults.items() if k in takes}
    try:
        result = cls(given, **defaults)
    except Exception as error:  # what a class that takes something else does is its own affair
        raise GrowcError(
            f"no other {cls.__name__} can be made like the optimizer: {error}",
            help="growc calls the class with the groups and `optimizer.defaults`",
        ) from error
    result.defaults = deepcopy(optimizer.defaults)
    return result


def fresh_numbers(
    optimizer: Optimizer, group: Mapping[str, Any], parameter: Tensor
) -> dict[str, float]:
    """By key of the state: what it is for an element that has had no gradient so far.

    Found by a step of the optimizer on a zero with a zero gradient. It is zero for all moments, but
    not for Rprop's step sizes, and for Adagrad's sums if so asked.
    """
    # Of the same rank and device, as some optimizers ask for these.
    zero = nn.Parameter(torch.zeros_like(parameter.detach()[(slice(1),) * parameter.ndim]))
    zero.grad = torch.zeros_like(zero)
    probe = rebuilt(optimizer, [({**group, "differentiable": False}, [("zero", zero)])])
    probe.step()
    return {
        key: float(value)
        for key, value in probe.state[zero].items()
        if isinstance(value, Tensor) and value.shape == zero.shape
    }
