"""Traces a PyTorch module with torch.export, and leaves it as it was."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from ...ir import GrowcError
from .torch_call import changes_in_place
from .values import batch_number

LEAST_BATCH = 127
"""The batch is at least this while a module is traced, so that its size is told from others."""


@dataclass(frozen=True)
class Examples:
    """Inputs of a module, by position or by the names of ``forward``'s parameters."""

    args: tuple[Tensor, ...]
    kwargs: Mapping[str, Tensor]

    @classmethod
    def of(cls, example: Any) -> Examples:
        """Raises :class:`GrowcError` for what are not tensors with a batch."""
        if isinstance(example, Mapping):
            found = cls((), {str(name): x for name, x in example.items()})
        else:
            several = isinstance(example, Sequence) and not isinstance(example, str)
            found = cls(tuple(example) if several else (example,), {})
        for x in found.tensors:
            if not isinstance(x, Tensor):
                raise GrowcError(
                    f"an example is a tensor, not {type(x).__name__}",
                    help="give a tensor, a tuple of tensors for several inputs, or a dictionary "
                    "of them by the names of forward's parameters",
                )
            if x.ndim == 0:
                raise GrowcError("an example input needs a batch axis, its first")
        if not found.tensors:
            raise GrowcError("a module is traced with an example of its inputs; this one is empty")
        return found

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.args, *self.kwargs.values()]

    def in_order(self, names: Iterable[str]) -> list[Tensor]:
        """The inputs by these names; those that have none here are next by position."""
        rest = iter(self.args)
        return [self.kwargs[name] if name in self.kwargs else next(rest) for name in names]

    def map(self, function: Callable[[Tensor], Tensor]) -> Examples:
        return Examples(
            tuple(function(x) for x in self.args), {k: function(x) for k, x in self.kwargs.items()}
        )

    def batch(self, stored: Mapping[str, Tensor]) -> int:
        """A size for the batch that no other axis has."""
        taken = {n for x in self.tensors for n in x.shape[1:]}
        return batch_number(taken.union(*(value.shape for value in stored.values())), LEAST_BATCH)

    def repeated(self, batch: int) -> Examples:
        """The first example that many times."""

        def repeat(x: Tensor) -> Tensor:
            rows = x.detach()[:1] if len(x) else x.new_zeros((1, *x.shape[1:]))
            return rows.repeat(batch, *(1,) * (x.ndim - 1))

        return self.map(repeat)

    def telling(self) -> Examples:
        """A batch of at least two, whose numbers differ where they may."""
        count = max(2, *(len(x) for x in self.tensors)) if self.tensors else 2
        random = torch.Generator().manual_seed(0)

        def fill(x: Tensor) -> Tensor:
            if not len(x):
                x = x.new_zeros((1, *x.shape[1:]))
            rows = x.detach()[torch.arange(count, device=x.device) % len(x)]
            if rows.is_floating_point() and bool((rows == rows.reshape(-1)[:1]).all()):
                return torch.randn(rows.shape, generator=random).to(rows)
            return rows

        return self.map(fill)


# ---- modes

MODES = ("training", "parts", "evaluation")
"""How a module is traced: in training mode; the library's own parts alone in training mode, so that
dropout and batch norms are what they are, but the module's code does what it does in evaluation; in
evaluation mode."""


@contextlib.contextmanager
def in_mode(model: nn.Module, mode: str) -> Iterator[None]:
    """Put a module into one of :data:`MODES`, and back into its own."""
    before = {module: module.training for module in model.modules()}
    try:
        for module in before:
            own = type(module).__module__.startswith("torch.nn.modules")
            module.training = mode == "training" or (mode == "parts" and own)
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch.export warns of what does not concern a reader, logs, and prints."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


# ---- tracing


def exported(model: nn.Module, examples: Examples, mode: str) -> ExportedProgram:
    """Raises :class:`GrowcError` if torch.export cannot trace the module."""
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise GrowcError(
            f"{name} is TorchScript, which torch.export does not read",
            help="give the module that it was made from",
        )
    try:
        with in_mode(model, mode), quiet(), restored(model):
            program = torch.export.export(model, examples.args, dict(examples.kwargs))
            return program.run_decompositions({}) if _needs_order(program.graph) else program
    except Exception as error:  # anything that the module's code, or torch, raises
        fault = _fault(model, examples)
        if fault is not None:
            raise GrowcError(
                f"{name} cannot be run on the example ({fault})",
                help="give an example of each input as forward takes it, with the batch as first "
                "axis",
            ) from error
        raise GrowcError(
            f"{name} cannot be traced by torch.export ({line(error)})",
            help="its forward must not decide by the numbers that it computes, nor leave PyTorch; "
            "see PyTorch's documentation of torch.export",
        ) from error


@contextlib.contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Give a module back the tensors that it had, as they were: its code may change them."""
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    places: list[tuple[dict[str, Any], str, Any]] = [
        (holder, key, value)
        for module in model.modules()
        for holder in (module._parameters, module._buffers)
        for key, value in holder.items()
    ]
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, own in attributes:
            for key in [k for k in vars(module) if k not in own]:
                del vars(module)[key]
            vars(module).update(own)
        for holder, key, value in places:
            holder[key] = value
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _fault(model: nn.Module, examples: Examples) -> str | None:
    """What the module raises when it is simply run, in evaluation mode."""
    try:
        run(model, examples.telling())
    except Exception as error:  # whatever the module's own code raises
        return f"{type(error).__name__}: {line(error)}"
    return None


def run(model: nn.Module, examples: Examples) -> Any:
    """What a module gives in evaluation mode; it is left as it was."""
    with in_mode(model, "evaluation"), restored(model), torch.no_grad(), quiet():
        return model(*examples.args, **examples.kwargs)


def line(error: Exception) -> str:
    """The first line of an error's text, not too long."""
    text = next((part.strip() for part in str(error).splitlines() if part.strip()), "")
    text = text or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def is_coarse(graph: fx.Graph) -> bool:
    """Whether half numbers are among those that a program computes with."""
    values = (node.meta.get("val") for node in graph.nodes)
    return any(isinstance(x, Tensor) and x.dtype in (torch.float16, torch.bfloat16) for x in values)


def moves(target: Any) -> bool:
    """Whether an operator gives back the numbers that it is given, perhaps in another shape."""
    schema = getattr(target, "_schema", None)
    copies = ("clone", "_to_copy", "lift_fresh_copy", "detach", "type_as", "repeat")
    return schema is not None and (
        schema.name.partition("::")[2] in copies
        or any(result.alias_info is not None for result in schema.returns)
    )


def _needs_order(graph: fx.Graph) -> bool:
    """Whether the program must be written without changes in place first: one of them is seen
    through another view of the same numbers, or a part of the program is a graph of its own."""
    views: dict[fx.Node, set[fx.Node]] = {}
    position = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op == "get_attr":
            return True
        if node.op != "call_function":
            continue
        base = _viewed(node)
        if base is None:
            continue
        same = views.setdefault(base, {base})
        if changes_in_place(str(node.target)) and any(
            position[user] > position[node] for other in same - {base} for user in other.users
        ):
            return True
        same.add(node)
        views[node] = same
    return False


def _viewed(node: fx.Node) -> fx.Node | None:
    """The node whose numbers this one may show."""
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node):
        return None
    return first if changes_in_place(str(node.target)) or _is_view(node) else None


def _is_view(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    if schema is None or changes_in_place(str(node.target)):
        return False
    return any(result.alias_info is not None for result in schema.returns)
