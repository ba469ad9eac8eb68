"""PyTorch module → graph, through torch.export."""

from __future__ import annotations

import contextlib
import logging
import operator
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from ...ir import Graph, GrowcError
from ...ir.diagnostics import plural
from ...ir.weights import Foreign
from . import torch_functions as torch_functions  # these three register the handlers
from . import torch_layers as torch_layers
from . import torch_shapes as torch_shapes
from .builder import Builder
from .naming import Naming, clean
from .tidy import tidy
from .torch_call import Call, changes_in_place, handler_of
from .values import Bound, Const, Hint, Unreadable, Value, batch_number

LEAST_BATCH = 31
"""The batch is at least this while a module is traced, so that its size is told from others."""


def from_torch(
    model: nn.Module,
    example: Tensor | Sequence[Any],
    *,
    name: str | None = None,
    notes: list[str] | None = None,
) -> Graph:
    """Read a PyTorch module as a graph with its weights, through ``torch.export``.

    ``example`` is an input of the module, or a tuple of several: batches of any size, whose first
    axis is the batch. Their other axes fix the network's shapes; their numbers do not matter.
    Inputs are called as the parameters of ``forward``. Parameters keep the names of the
    module's state dict: ``growc.to_torch(graph)`` loads the state dict of ``model``. Tied
    parameters stay one. The module is not changed, and shares no memory with the graph.

    It is read in training mode, so that dropout and batch norms are what they are. What cannot be
    kept is told in ``notes``, if a list is given.

    Raises :class:`GrowcError` if the module cannot be traced, or has operators that growc does not
    have: all of them are named at once.
    """
    examples = (example,) if isinstance(example, Tensor) else tuple(example)
    stored = _stored(model)
    batch = _batch(examples, stored)
    program = _exported(model, tuple(_with_batch(x, batch) for x in examples))
    return _Reader(program, stored, batch, name or type(model).__name__, notes).read()


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Every entry of the state dict, and the buffers that are not in it."""
    found = dict(model.state_dict(keep_vars=True))
    found.update((k, v) for k, v in model.named_buffers(remove_duplicate=False) if k not in found)
    return {k: v for k, v in found.items() if isinstance(v, Tensor)}


def _batch(examples: Sequence[Any], stored: Mapping[str, Tensor]) -> int:
    taken: set[int] = set()
    for x in examples:
        if not isinstance(x, Tensor):
            raise GrowcError(f"an example is a tensor, not {type(x).__name__}")
        if x.ndim == 0:
            raise GrowcError("an example input needs a batch axis, its first")
        taken.update(x.shape[1:])
    for value in stored.values():
        taken.update(value.shape)
    return batch_number(taken, LEAST_BATCH)


def _with_batch(x: Tensor, batch: int) -> Tensor:
    """The example with another batch size."""
    rows = x.detach()[:1] if len(x) else x.new_zeros((1, *x.shape[1:]))
    return rows.repeat(batch, *(1,) * (x.ndim - 1))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export warns of what does not concern a reader, and logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _exported(model: nn.Module, examples: tuple[Tensor, ...]) -> ExportedProgram:
    modes = {module: module.training for module in model.modules()}
    # Tracing may run the module's own code on buffers such as batch norms' counters.
    try:
        model.train()
        with _quiet():
            try:
                return torch.export.export(model, examples)
            except Exception as first:  # anything that the module's code, or torch, raises
                try:
                    model.eval()
                    return torch.export.export(model, examples)
                except Exception:
                    raise GrowcError(
                        f"{type(model).__name__} cannot be traced by torch.export ({_line(first)})",
                        help="its forward must not decide by the numbers that it computes; see "
                        "PyTorch's documentation of torch.export",
                    ) from first
    finally:
        for module, training in modes.items():
            module.training = training


def _line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = text or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


class _Reader:
    def __init__(
        self,
        program: ExportedProgram,
        stored: Mapping[str, Tensor],
        batch: int,
        name: str,
        notes: list[str] | None,
    ) -> None:
        self.program, self.stored, self.name, self.notes = program, stored, name, notes
        self.b = Builder(batch)
        self.values: dict[fx.Node, Any] = {}
        # One name for each tensor, the first: the others are tied to it.
        self.first: dict[int, str] = {}
        for key, tensor in stored.items():
            self.first.setdefault(id(tensor), key)

    def read(self) -> Graph:
        self._require_known()
        self._inputs()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._node(node)
        self._outputs()
        self.b.graph.name = clean(self.name).replace(".", "_") or "net"
        tidy(self.b)
        naming = Naming(self.b.graph, self.b.hints, self.b.sources)
        graph = naming.renamed()
        graph.weights.foreign = self._foreign(naming)
        if self.notes is not None:
            self.notes += self.b.notes.texts
        return graph

    # ---- what there is

    def _require_known(self) -> None:
        """Take apart what growc does not know; raise one error that names what is left of it."""
        strange = self._strange()
        if strange:
            table: Any = torch.export.default_decompositions()
            some = {op: table[op] for op in strange if op in table}
            with _quiet(), contextlib.suppress(Exception):  # the error below says what is missing
                self.program = self.program.run_decompositions(some)
            strange = self._strange()
        if strange:
            listed = "; ".join(
                f"{op} in {_places(nodes)}"
                for op, nodes in sorted((str(op), nodes) for op, nodes in strange.items())
            )
            count = sum(map(len, strange.values()))
            raise GrowcError(
                f"growc cannot read {plural(count, 'call')} of {self.name}: {listed}",
                help="write these parts of the module with other operators",
            )

    def _strange(self) -> dict[Any, list[fx.Node]]:
        found: dict[Any, list[fx.Node]] = {}
        known: set[fx.Node] = set()
        inputs = {
            spec.arg.name
            for spec in self.program.graph_signature.input_specs
            if spec.kind == InputKind.USER_INPUT
        }
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name not in inputs:
                known.add(node)
            if node.op != "call_function":
                continue
            if all(n in known for n in node.all_input_nodes):
                known.add(node)
            elif node.target is not operator.getitem and handler_of(str(node.target)) is None:
                found.setdefault(node.target, []).append(node)
        return found

    # ---- inputs

    def _inputs(self) -> None:
        places = {n.name: n for n in self.program.graph.nodes if n.op == "placeholder"}
        buffers = {**self.program.state_dict, **self.program.constants}
        for spec in self.program.graph_signature.input_specs:
            node = places.get(getattr(spec.arg, "name", ""))
            if node is None:
                continue
            if spec.kind == InputKind.USER_INPUT:
                self.values[node] = self._input(node)
                continue
            target = spec.target or ""
            tensor = self.stored.get(target)
            if tensor is None:
                tensor = buffers[target]
            name = self.first.get(id(tensor), target if target in self.stored else None)
            self.values[node] = _const(tensor, name, isinstance(tensor, nn.Parameter))

    def _input(self, node: fx.Node) -> Any:
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            return value
        whole = not value.dtype.is_floating_point
        if value.dtype.is_complex:
            raise GrowcError(f"the input `{node.name}` has complex numbers")
        if whole and value.dtype != torch.int64:
            self.b.notes.add(f"the input `{node.name}` takes int64 now")
        return self.b.input(node.name, tuple(value.shape[1:]), "i64" if whole else "f32")

    # ---- nodes

    def _node(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            whole, index = node.args
            assert isinstance(whole, fx.Node)
            assert isinstance(index, int)
            self.values[node] = self.values[whole][index]
            return
        target: Any = node.target
        args = pytree.tree_map(self._value, (node.args, node.kwargs))
        tensors = [v for v in pytree.tree_leaves(args) if isinstance(v, (Bound, Const))]
        self.b.here = _hint(node)
        handler = handler_of(str(target))
        constant = not any(isinstance(v, Bound) for v in tensors)
        layout = any(v.trainable for v in tensors if isinstance(v, Const)) and handler is not None
        try:
            if constant and (not layout or not tensors):
                self.values[node] = self._evaluated(target, *args)
            else:
                assert handler is not None
                called, handle = handler
                self.values[node] = handle(Call(called, _named(target, *args), self.b))
        except Unreadable as error:
            raise GrowcError(f"growc cannot read {target} in {_places([node])}: {error}") from None
        first = node.args[0] if node.args else None
        if changes_in_place(str(target)) and isinstance(first, fx.Node):
            self.values[first] = self.values[node]

    def _value(self, arg: Any) -> Any:
        return self.values[arg] if isinstance(arg, fx.Node) else arg

    def _evaluated(self, target: Any, args: Any, kwargs: Any) -> Value:
        """What depends on no input is worked out by PyTorch itself."""

        def tensor(value: Any) -> Any:
            return torch.from_numpy(np.array(value.array)) if isinstance(value, Const) else value

        given = pytree.tree_map(tensor, (args, kwargs))
        keywords = {k: v for k, v in given[1].items() if k not in ("device", "pin_memory")}
        try:
            with torch.no_grad(), _quiet():
                found = target(*given[0], **keywords)
        except Exception as error:  # whatever the operator raises
            raise Unreadable(
                f"its constant result cannot be worked out ({_line(error)})"
            ) from error
        same = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Const)]

        def const(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            array = value.numpy()
            for known in same:
                unchanged = known.array.dtype == array.dtype and known.array.shape == array.shape
                if unchanged and np.array_equal(
                    known.array, array, equal_nan=array.dtype.kind == "f"
                ):
                    return known
            return Const(array)

        if isinstance(found, (list, tuple)):
            return tuple(const(v) for v in found)
        return const(found)  # type: ignore[no-any-return]

    # ---- outputs

    def _outputs(self) -> None:
        specs = self.program.graph_signature.output_specs
        names = [s.arg.name for s in specs if s.kind == OutputKind.USER_OUTPUT]
        by_name = {n.name: n for n in self.program.graph.nodes}
        for name, label in zip(names, self._labels(len(names)), strict=True):
            value = self.values.get(by_name[name])
            if isinstance(value, Const):
                raise GrowcError(f"the output `{label}` does not depend on an input")
            if not isinstance(value, Bound):
                raise GrowcError(f"the output `{label}` is not a tensor")
            try:
                self.b.output(label, value)
            except Unreadable as error:
                raise GrowcError(f"growc cannot read the output `{label}`: {error}") from None
        if not names:
            raise GrowcError(f"{self.name} has no output that is a tensor")

    def _labels(self, count: int) -> list[str]:
        """``output``, the keys of a dictionary, or ``output_0``, ``output_1``, …"""
        spec = self.program.call_spec.out_spec
        if count == 1 and spec is not None and spec.num_leaves == 1 and spec.is_leaf():
            return ["output"]
        if spec is None or spec.num_leaves != count:
            return [f"output_{i}" for i in range(count)]
        tree = pytree.tree_unflatten(list(range(count)), spec)
        labels = []
        for path, _ in pytree.tree_flatten_with_path(tree)[0]:
            parts = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
            label = clean("_".join(parts)) if parts else "output"
            labels.append(label if not label.lstrip("_").isdigit() else f"output{label}")
        return labels

    # ---- names of parameters

    def _foreign(self, naming: Naming) -> dict[str, Foreign]:
        """What the entries of the module's state dict are, where names do not say it."""
        parts = self._parts(naming)
        foreign: dict[str, Foreign] = {}
        forgotten: list[str] = []
        for name, tensor in self.stored.items():
            if name not in self.program.state_dict and not isinstance(tensor, nn.Parameter):
                continue  # a buffer that is in no state dict
            found = parts.get(self.first[id(tensor)], Foreign(()))
            if name.endswith("num_batches_tracked"):
                if name.rpartition(".")[0] not in naming.found.values():
                    foreign[name] = found
            elif not found.names:
                forgotten.append(name)
                foreign[name] = found
            elif found != Foreign((name,)):
                foreign[name] = found
        shared = {key for node in naming.graph for key in node.shared.values()}
        targets = {name for here in foreign.values() for name in here.names}
        for key in targets | {naming.keys[key] for key in shared}:
            if parts.get(key) == Foreign((key,)):
                foreign.setdefault(key, Foreign((key,)))
        if forgotten:
            self.b.notes.add(
                f"the network does not compute with {plural(len(forgotten), 'stored tensor')} as "
                f"it is: {', '.join(forgotten[:5])}" + (", …" if len(forgotten) > 5 else "")
            )
        return foreign

    def _parts(self, naming: Naming) -> dict[str, Foreign]:
        """Name of a stored tensor → the parameters that are all of it."""
        rows: dict[str, list[tuple[tuple[int, int], str, bool]]] = {}
        for key, source in self.b.sources.items():
            if source.name is not None and source.exact and key in naming.keys:
                size = len(self.stored[source.name]) if self.stored[source.name].ndim else 1
                part = (source.rows or (0, size), naming.keys[key], source.transposed)
                rows.setdefault(source.name, []).append(part)
        found = {}
        for name, parts in rows.items():
            parts.sort()
            ends = [0, *(stop for (_, stop), _, _ in parts)]
            size = len(self.stored[name]) if self.stored[name].ndim else 1
            if [start for (start, _), _, _ in parts] == ends[:-1] and ends[-1] == size:
                found[name] = Foreign(tuple(key for _, key, _ in parts), parts[0][2])
        return found


def _const(tensor: Tensor, name: str | None, trainable: bool) -> Const:
    array = tensor.detach().cpu()
    if array.dtype == torch.bfloat16:
        array = array.float()
    return Const(array.numpy().copy(), name, trainable)


def _named(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, its defaults filled in."""
    found: dict[str, Any] = {}
    for i, argument in enumerate(target._schema.arguments):
        if i < len(args) and not argument.kwarg_only:
            found[argument.name] = args[i]
        elif argument.name in kwargs:
            found[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            found[argument.name] = argument.default_value
    return found


def _hint(node: fx.Node) -> Hint:
    """The path of the module that the call lies in."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed([path for path, _ in stack.values()]), "")
    return Hint(scope=path)


def _places(nodes: Sequence[fx.Node]) -> str:
    """The modules that calls lie in."""
    paths = Counter(_hint(node).scope or "forward" for node in nodes)
    shown = [f"`{path}`" + (f" ({n} times)" if n > 1 else "") for path, n in paths.items()]
    rest = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + rest


def run_module(model: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a module in evaluation mode, in the order of the graph that is read from it.

    Leaves the module in the mode that it was in.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            found = model(*inputs)
    finally:
        for module, training in modes.items():
            module.training = training
    return [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]
