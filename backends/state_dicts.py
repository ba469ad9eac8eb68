"""State dicts of networks that were read from PyTorch: in the names and layouts of the module that
they came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..ir.weights import NO_ENTRY, Foreign

State = dict[str, Any]


def keep_foreign(module: nn.Module, foreign: Mapping[str, Foreign]) -> None:
    """Make a module load and give state dicts as the module did that it was read from.

    Entries that the network does not compute with are taken, and not given back; what no entry
    is keeps its numbers, and is given back where training moves it. A parameter that several
    nodes share may be given under the name of any of them.
    """
    module.register_load_state_dict_pre_hook(partial(_load, dict(foreign)))  # type: ignore[no-untyped-call]
    if foreign:
        module.register_state_dict_post_hook(partial(_give, dict(foreign)))  # type: ignore[no-untyped-call]


def _load(
    foreign: Mapping[str, Foreign], module: nn.Module, state: State, prefix: str, *rest: Any
) -> None:
    """Rename what is in ``state``, which is PyTorch's own copy."""
    own = dict(_tensors(module))
    for name in foreign.get(NO_ENTRY, Foreign(())).names:
        if name in own:
            state.setdefault(f"{prefix}{name}", own[name])
    given: State = {}
    for entry, here in foreign.items():
        key = f"{prefix}{entry}"
        if key not in state or here == Foreign((entry,)):
            continue
        parts = _parts(here, state[key], own)
        if parts is None:
            continue  # it does not fit, of which PyTorch tells
        del state[key]
        for name, part in zip(here.names, parts, strict=True):
            given.setdefault(f"{prefix}{name}", part)
    for key, value in given.items():
        state.setdefault(key, value)
    _fill_tied(own, state, prefix)


def _parts(here: Foreign, value: Any, own: Mapping[str, Tensor]) -> list[Any] | None:
    if not here.names:
        return []
    if not isinstance(value, Tensor) or (here.transposed and value.ndim < 2):
        return None
    value = value.transpose(-1, -2) if here.transposed else value
    if len(here.names) == 1:
        return [value]
    sizes = [len(own[name]) for name in here.names if name in own]
    fits = len(sizes) == len(here.names) and value.ndim and sum(sizes) == len(value)
    return list(value.split(sizes)) if fits else None


def _fill_tied(own: Mapping[str, Tensor], state: State, prefix: str) -> None:
    """PyTorch wants a shared parameter under each of its names."""
    given = {id(tensor): name for name, tensor in own.items() if f"{prefix}{name}" in state}
    for name, tensor in own.items():
        if f"{prefix}{name}" not in state and id(tensor) in given:
            state[f"{prefix}{name}"] = state[f"{prefix}{given[id(tensor)]}"]


def _give(
    foreign: Mapping[str, Foreign], module: nn.Module, state: State, prefix: str, *rest: Any
) -> None:
    own = dict(_tensors(module))
    given: State = {}
    for name in foreign.get(NO_ENTRY, Foreign(())).names:
        if not isinstance(own.get(name), nn.Parameter):
            state.pop(f"{prefix}{name}", None)
    entries = {entry: here for entry, here in foreign.items() if entry != NO_ENTRY}
    for entry, here in entries.items():
        found = [state.get(f"{prefix}{name}") for name in here.names]
        parts = [part for part in found if isinstance(part, Tensor)]
        if parts and len(parts) == len(found):
            whole = parts[0] if len(parts) == 1 else torch.cat(parts)
            given[f"{prefix}{entry}"] = whole.transpose(-1, -2) if here.transposed else whole
    renamed = {id(own[n]) for here in entries.values() for n in here.names if n in own}
    for name, tensor in own.items():
        if id(tensor) in renamed and name not in foreign:
            state.pop(f"{prefix}{name}", None)
    state.update(given)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
