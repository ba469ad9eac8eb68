"""Carrying an optimizer over a growth step: what it knows of old parameters is kept.

θ_s = θ_t ∪ θ_z:  the state of θ_t goes on, that of θ_z is fresh
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from ..ir import GrowcError
from .learning_rate import scale_learning_rate
from .parameters import Group, masks_of, nearest_group, origins, parameters_of, places
from .rebuilding import fresh_numbers, rebuilt

SECOND_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")
"""Running means of squared gradients, of Adam and its kin and of RMSprop, which divide by their
roots. New elements of a widened parameter start with the mean of the old ones: from zero, they
would move by some times the learning rate, as ``step``, which corrects for that at the beginning
of training, is one number for the whole parameter."""
START_ANEW = "make a new optimizer for the new model instead"

GroupOf = Callable[[str], Group]


@dataclass(frozen=True, slots=True)
class Carried:
    """An optimizer carried to a grown model, and what became of the parameters, by name."""

    optimizer: Optimizer
    carried: tuple[str, ...]
    """Of the same shape: all of their state is kept."""
    widened: tuple[str, ...]
    """Larger, with the old numbers in the leading corner: theirs is kept, the rest is fresh."""
    fresh: tuple[str, ...]
    """Of the same name, but smaller or otherwise reshaped: in their old group, without state."""
    new: tuple[str, ...]
    """Not in the old model."""
    dropped: tuple[str, ...]
    """Not in the new model."""
    left_out: tuple[str, ...]
    """New, and not given to this optimizer, like the old parameters that are nearest to them."""

    def __str__(self) -> str:
        words = ("carried", "widened", "fresh", "new", "dropped", "left_out")
        counts = [(len(getattr(self, word)), word.replace("_", " ")) for word in words]
        return ", ".join(f"{count} {word}" for count, word in counts if count)


def carry_optimizer(
    optimizer: Optimizer,
    old_model: nn.Module,
    new_model: nn.Module,
    *,
    scale_lr: bool = False,
    group_of: GroupOf | None = None,
) -> Optimizer:
    """A new optimizer for a grown model that goes on where the old one is.

        >>> graph = growc.compile(growc.with_weights_of(graph, model), "r2wider")
        >>> grown = growc.to_torch(graph)
        >>> optimizer = growc.carry_optimizer(optimizer, model, grown)

    It has the class, the groups and the hyperparameters of the old one. Parameters are matched by
    name; models may be compiled or wrapped for distributed training. Call it when the new model
    has just been made, before either is trained on.

    - A parameter of the same shape keeps its state: moments, momentum, step.
    - One that got wider, with the old numbers in its leading corner (``r2wider{variant=concat}``,
      ``net2wider``, …), keeps their state there, and its step; new elements have the state of
      elements without any gradient so far, which is zero for first moments, but second moments
      (of Adam and its kin, and RMSprop) that are the mean of the old ones.
    - One that got smaller or otherwise changed its shape (``prune_dead``, ``merge_duplicates``,
      ``fuse_branches``) stays in its group, and starts anew.
    - A new one starts anew, in the group of the old parameter nearest to it: in the innermost
      scope that their names share, before the new one in the network rather than after it. Where
      groups tell weights, biases and scales of norms apart, as for weight decay, it is one of its
      kind. What is nearest to a parameter that is trained by *another* optimizer is left to that
      one. ``group_of`` decides otherwise: given the name, it returns the number of the group, or
      None to leave the parameter out.

    Growth preserves the function and the gradients of old parameters, so their next update is the
    one that they would have had without it. ``net2wider`` divides a gradient among copies, so
    the kept moments of what feeds them are too large at first, and forget that at the rate of β.
    The moments of the copies start at zero on purpose: with the originals' they would get the same
    updates for ever, and never part.

    PyTorch has one ``step`` for a whole tensor, so new elements of a widened one get no bias
    correction. With second moments of zero Adam would move them by 3 to 7 times its learning rate,
    and the loss with them (experiments/results/carry_over.txt).

    State is copied: the old optimizer and model can be trained on too. Hooks and learning rate
    schedulers stay with the old one: make new ones. ``scale_lr`` multiplies the learning rates by
    |θ₁|/|θ₂|, see :func:`scale_learning_rate`. :func:`growc.train.carry` does the same, and tells
    what became of each parameter.

    Raises :class:`GrowcError` for an optimizer that does not belong to ``old_model``, models that
    have no parameter in common, LBFGS, an optimizer whose class cannot be called again with its
    defaults, and state of widened parameters that is neither a number nor of their shape.
    """
    return carry(optimizer, old_model, new_model, scale_lr=scale_lr, group_of=group_of).optimizer


def carry(
    optimizer: Optimizer,
    old_model: nn.Module,
    new_model: nn.Module,
    *,
    scale_lr: bool = False,
    group_of: GroupOf | None = None,
) -> Carried:
    """Like :func:`carry_optimizer`, and tells what became of the parameters."""
    old, new = parameters_of(old_model), parameters_of(new_model)
    group_before = _groups_before(optimizer, old)
    origin = origins(old, new)
    chosen = {p: group_before.get(origin[p]) for p in origin}
    if not any(group is not None for group in chosen.values()):
        raise GrowcError(
            "no parameter of the optimizer is in the new model, by name",
            help="growth keeps names: is the new model grown from the old one?",
        )
    added = [p for p in new if p not in origin and p.requires_grad]
    chosen.update(_groups_of_new(optimizer, new_model, new, added, origin, chosen, group_of))

    members: list[list[tuple[str, nn.Parameter]]] = [[] for _ in optimizer.param_groups]
    for parameter, names in new.items():
        group = chosen.get(parameter)
        if group is not None:
            members[group].append((names[0], parameter))
    result = rebuilt(optimizer, list(zip(optimizer.param_groups, members, strict=True)))

    fresh: dict[tuple[object, ...], Mapping[str, float]] = {}

    def fresh_of(group: int, parameter: nn.Parameter) -> Mapping[str, float]:
        """Kept, as it takes a step of another optimizer to find out."""
        key = (group, parameter.ndim, parameter.device, parameter.dtype)
        if key not in fresh:
            fresh[key] = fresh_numbers(optimizer, optimizer.param_groups[group], parameter)
        return fresh[key]

    kinds: dict[str, list[str]] = {"carried": [], "widened": [], "fresh": []}
    masks = masks_of(old_model)
    for name, parameter in (pair for group in members for pair in group):
        if parameter not in origin:
            continue
        before = origin[parameter]
        kind = _kind(before.detach(), parameter.detach(), masks.get(before))
        kinds[kind].append(name)
        state = optimizer.state.get(before)
        if state and kind != "fresh":
            group = group_before[before]
            result.state[parameter] = _state(
                optimizer, group, name, before, parameter, state, partial(fresh_of, group)
            )
    if scale_lr:
        scale_learning_rate(result, old_model, new_model)
    kept = set(origin.values())
    return Carried(
        result,
        **{kind: tuple(names) for kind, names in kinds.items()},
        new=tuple(new[p][0] for p in added if chosen[p] is not None),
        dropped=tuple(old[p][0] for p in group_before if p not in kept),
        left_out=tuple(new[p][0] for p in added if chosen[p] is None),
    )


def _groups_before(
    optimizer: Optimizer, old: Mapping[nn.Parameter, tuple[str, ...]]
) -> dict[nn.Parameter, int]:
    """The group of each old parameter; checks that all are the old model's, and what has state."""
    called = type(optimizer).__name__
    if isinstance(optimizer, LBFGS):
        raise GrowcError(
            "LBFGS cannot be carried over: its state is one for all parameters together",
            help=START_ANEW,
        )
    groups = {p: i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
    strange = sum(p not in old for p in groups)
    if strange:
        raise GrowcError(
            f"the {called} optimizer does not belong to the old model: {strange} of its "
            f"{len(groups)} parameters are not the model's",
            help="give the model that the optimizer was made for, then the grown one; an optimizer "
            "of several modules can be carried with both in an nn.ModuleDict",
        )
    for key in optimizer.state:
        if not isinstance(key, Tensor):
            raise GrowcError(
                f"the {called} optimizer has state that belongs to no parameter, `{key}`",
                help=START_ANEW,
            )
    return groups


def _groups_of_new(
    optimizer: Optimizer,
    model: nn.Module,
    new: Mapping[nn.Parameter, tuple[str, ...]],
    added: list[nn.Parameter],
    origin: Mapping[nn.Parameter, nn.Parameter],
    chosen: Mapping[nn.Parameter, Group],
    group_of: GroupOf | None,
) -> dict[nn.Parameter, Group]:
    if group_of is not None:
        groups = {p: group_of(new[p][0]) for p in added}
        for parameter, group in groups.items():
            if group is not None and group not in range(len(optimizer.param_groups)):
                raise GrowcError(
                    f"group_of puts `{new[parameter][0]}` into group {group}, and the optimizer "
                    f"has {len(optimizer.param_groups)}, counted from 0"
                )
        return groups
    where = places(model, new)
    # Frozen parameters, which no optimizer has, tell nothing of where new ones belong.
    known = [
        (where[p], group)
        for p, group in chosen.items()
        if group is not None or origin[p].requires_grad
    ]
    return {p: nearest_group(where[p], known) for p in added}


# ---- one parameter


def _kind(before: Tensor, after: Tensor, mask: Tensor | None) -> str:
    if before.shape == after.shape:
        return "carried"
    larger = before.ndim == after.ndim and all(
        a <= b for a, b in zip(before.shape, after.shape, strict=True)
    )
    if mask is not None:
        # What a search left there while the mask was open (ILNAS section 3.3) is not in the graph.
        before = before * mask
    return "widened" if larger and _in_corner(before, after) else "fresh"


def _corner(shape: torch.Size) -> tuple[slice, ...]:
    return tuple(slice(size) for size in shape)


def _in_corner(before: Tensor, after: Tensor) -> bool:
    """Whether the old numbers, or an n-th of a column of them (net2wider), are in the corner.

    The shape alone does not say so: a fused convolution is larger too, with the old kernel in the
    middle of its window, or its channels among others.
    """
    eps = max(torch.finfo(t.dtype).eps for t in (before, after))
    eps = 8 * max(eps, torch.finfo(torch.float32).eps)
    old = before.to(after.device, torch.float32)
    new = after[_corner(before.shape)].float()
    n = torch.ones((), device=new.device)
    if old.ndim > 1:
        rest = [axis for axis in range(old.ndim) if axis != 1]
        ratio = old.abs().sum(rest, keepdim=True) / new.abs().sum(rest, keepdim=True)
        n = ratio.nan_to_num(1, 1, 1).round().clamp(min=1)
    # The parts of a weight can differ in their last bits, such that their sum is exact.
    tolerance = eps * float(n.max())
    return torch.allclose(new * n, old, rtol=tolerance, atol=1e-30, equal_nan=True)


def _state(
    optimizer: Optimizer,
    group: int,
    name: str,
    before: nn.Parameter,
    after: nn.Parameter,
    state: Mapping[str, Any],
    fresh_of: Callable[[nn.Parameter], Mapping[str, float]],
) -> dict[str, Any]:
    """A copy of a parameter's state, filled up where the parameter got wider.

    On the new parameter's device, and in its type where it had the old one's. Not by PyTorch's
    ``load_state_dict``, which also makes NAdam's product of μ another type than it counts in.
    """
    wider = before.shape != after.shape
    settings = optimizer.param_groups[group]
    copied: dict[str, Any] = {}
    for key, value in state.items():
        if value is None or isinstance(value, (bool, int, float, complex)):
            copied[key] = value
        elif isinstance(value, Tensor) and (not wider or value.ndim == 0):
            copied[key] = _at_home(value.clone(), settings, before, after)
        elif isinstance(value, Tensor) and value.shape == before.shape:
            fresh = fresh_of(after)
            if key not in fresh:
                raise _not_understood(optimizer, name, key, "does not always have it")
            value = _at_home(value, settings, before, after)
            start = float(value.mean()) if key in SECOND_MOMENTS else fresh[key]
            full = torch.full_like(after, start, dtype=value.dtype, requires_grad=False)
            full[_corner(before.shape)] = value
            copied[key] = full
        elif isinstance(value, Tensor):
            shapes = f"{list(value.shape)}, where the parameter had {list(before.shape)}"
            raise _not_understood(optimizer, name, key, f"has shape {shapes} and got wider")
        else:
            raise _not_understood(optimizer, name, key, f"is a {type(value).__name__}")
    return copied


def _at_home(value: Tensor, settings: Mapping[str, Any], before: Tensor, after: Tensor) -> Tensor:
    if value.ndim > 0:
        return value.to(after.device, after.dtype if value.dtype == before.dtype else value.dtype)
    # Numbers such as `step` stay on the CPU unless the optimizer computes with them elsewhere.
    moves = settings.get("capturable") or settings.get("fused") or value.device.type != "cpu"
    return value.to(after.device) if moves else value


def _not_understood(optimizer: Optimizer, name: str, key: str, why: str) -> GrowcError:
    return GrowcError(
        f"{type(optimizer).__name__} cannot be carried over: its state `{key}` of `{name}` {why}",
        help=START_ANEW,
    )
