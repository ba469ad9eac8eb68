"""Which parameter of one model is which of another, and in which group a new one belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from ..backends.module_weights import unwrapped
from ..ir import Graph


def parameters_of(model: nn.Module) -> dict[nn.Parameter, tuple[str, ...]]:
    """Every parameter and its name, or all of its names if it is tied; in the module's order."""
    names: dict[nn.Parameter, tuple[str, ...]] = {}
    for name, parameter in unwrapped(model).named_parameters(remove_duplicate=False):
        names[parameter] = (*names.get(parameter, ()), name)
    return names


def tensors_of(module: nn.Module, graph: Graph) -> dict[str, Tensor]:
    """The tensors of the module of a graph by the graph's names: parameters, running statistics."""
    named: dict[str, Tensor] = {
        **dict(module.named_buffers(remove_duplicate=False)),
        **dict(module.named_parameters(remove_duplicate=False)),
    }
    found: dict[str, Tensor] = {}
    for node in graph:
        for key, spec in graph.params_of(node.name):
            path = f"{node.name}.{spec.role}" if spec.role else node.name
            found.setdefault(key, named[path])
    return found


def masks_of(model: nn.Module) -> dict[nn.Parameter, Tensor]:
    """The Boolean masks of a model's parameters, which :func:`growc.to_torch` puts beside them."""
    masks = {}
    for module in unwrapped(model).modules():
        for role, parameter in module._parameters.items():
            mask = module._buffers.get(f"{role}_mask")
            if parameter is not None and mask is not None and mask.shape == parameter.shape:
                masks[parameter] = mask
    return masks


def origins(
    old: Mapping[nn.Parameter, tuple[str, ...]], new: Mapping[nn.Parameter, tuple[str, ...]]
) -> dict[nn.Parameter, nn.Parameter]:
    """For each new parameter the old one of the same name, if there is one.

    Any name of a tied parameter will do: which one it is listed under can change with the graph.
    """
    by_name = {name: parameter for parameter, names in old.items() for name in names}
    return {
        parameter: by_name[next(name for name in names if name in by_name)]
        for parameter, names in new.items()
        if not by_name.keys().isdisjoint(names)
    }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a parameter stands: its name's scopes, its kind, and when the network reaches it."""

    scopes: tuple[str, ...]
    kind: str
    position: int


def places(
    model: nn.Module, parameters: Mapping[nn.Parameter, tuple[str, ...]]
) -> dict[nn.Parameter, Place]:
    """The place of every parameter of a model, by its first name."""
    inner = unwrapped(model)
    calls: dict[str, int] = {}
    if isinstance(inner, fx.GraphModule):
        # Modules are listed in the order of their names' depth, which says little.
        nodes = [n for n in inner.graph.nodes if n.op in ("call_module", "get_attr")]
        calls = {str(node.target): position for position, node in enumerate(nodes)}
    found = {}
    for index, (parameter, names) in enumerate(parameters.items()):
        *scopes, role = names[0].split(".")
        called = calls.get(names[0], calls.get(".".join(scopes)))
        position = len(calls) + index if called is None else called
        kind = "bias" if role.endswith("bias") else "matrix" if parameter.ndim > 1 else "scale"
        found[parameter] = Place(tuple(scopes), kind, position)
    return found


Group = int | None
"""A group's number, or None for what the optimizer leaves to another one."""


def nearest_group(place: Place, known: Sequence[tuple[Place, Group]]) -> Group:
    """The group of the known parameter that is nearest to a new one.

    That is one in the innermost scope that they share; of several, the last that the network
    reaches before the new one, else the first after it. Where groups tell kinds of parameters
    apart (weight matrices and kernels, biases, scales of norms), it is one of its kind.
    """
    groups: dict[str, set[Group]] = {}
    for other, group in known:
        groups.setdefault(other.kind, set()).add(group)
    own = groups.get(place.kind)
    apart = own is not None and any(own.isdisjoint(others) for others in groups.values())

    def distance(candidate: tuple[Place, Group]) -> tuple[int, bool, int]:
        other, _ = candidate
        shared = 0
        for a, b in zip(place.scopes, other.scopes, strict=False):
            if a != b:
                break
            shared += 1
        return -shared, other.position > place.position, abs(other.position - place.position)

    _, nearest = min((c for c in known if not apart or c[0].kind == place.kind), key=distance)
    return nearest
