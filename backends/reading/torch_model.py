"""PyTorch module → graph, through torch.export."""

from __future__ import annotations

import contextlib
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from ...ir import Graph, GrowcError
from ...ir.diagnostics import plural
from . import torch_arithmetic as torch_arithmetic  # these register the handlers
from . import torch_functions as torch_functions
from . import torch_images as torch_images
from . import torch_indexing as torch_indexing
from . import torch_layers as torch_layers
from . import torch_reductions as torch_reductions
from . import torch_shapes as torch_shapes
from .builder import Builder
from .naming import Naming, clean
from .tidy import tidy
from .torch_call import Call, Kind, changes_in_place, handler_of
from .torch_checking import Differs, disagreement
from .torch_entries import Entries
from .torch_tracing import MODES, Examples, exported, is_coarse, line, moves, quiet
from .values import Bound, Const, Hint, Unreadable, Value, long_axes


def from_torch(
    model: nn.Module,
    example: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    name: str | None = None,
    notes: list[str] | None = None,
    check: bool = True,
) -> Graph:
    """Read a PyTorch module as a graph with its weights, through ``torch.export``.

    ``example`` is an input of the module, a tuple of several, or a dictionary of them by the names
    of ``forward``'s parameters: batches of any size, whose first axis is the batch. Their other
    axes fix the network's shapes. Inputs are called as the parameters of ``forward``. Parameters
    keep the names of the module's state dict: ``growc.to_torch(graph)`` loads the state dict of
    ``model``. Tied parameters stay one. The module is not changed, and shares no memory with the
    graph.

    It is read in training mode, so that dropout and batch norms are what they are; where its own
    code does something else then, as for stochastic depth or auxiliary outputs, as it is in
    evaluation mode. ``check`` tells these cases: what was read is run on the example, in
    evaluation mode, beside the module. What cannot be kept is told in ``notes``, if a list is
    given.

    Raises :class:`GrowcError` if the module cannot be traced, or has operators that growc does not
    have: all of them are named at once.
    """
    if not isinstance(model, nn.Module):
        raise GrowcError(f"from_torch reads a PyTorch module, not {type(model).__name__}")
    model = getattr(model, "_orig_mod", model)  # what torch.compile was given
    examples = Examples.of(example)
    stored = _stored(model)
    batch = examples.batch(stored)
    failures: dict[str, GrowcError] = {}
    for mode in MODES:
        try:
            program = exported(model, examples.repeated(batch), mode)
            reader = _Reader(model, program, stored, batch, name or type(model).__name__, mode)
            graph = reader.read()
            coarse = is_coarse(program.graph)
            wrong = None
            if check:
                wrong = disagreement(graph, model, examples, reader.b.notes, coarse=coarse)
            if wrong is not None:
                raise wrong
        except GrowcError as error:
            failures[mode] = error
            continue
        if failures:
            reader.b.notes.add(_why_not(failures["training"], mode))
        if notes is not None:
            notes += reader.b.notes.texts
        return graph
    # That something differs says less than what it is.
    raise next((e for e in failures.values() if not isinstance(e, Differs)), failures["training"])


def _why_not(failure: GrowcError, mode: str) -> str:
    how = "without dropout" if mode == "evaluation" else "with the dropout of its parts"
    reason = failure.diagnostics[0].message
    return f"read as it is in evaluation mode, {how}: in training mode {reason}"


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Every entry of the state dict, and the buffers that are not in it."""
    found = dict(model.state_dict(keep_vars=True))
    found.update((k, v) for k, v in model.named_buffers(remove_duplicate=False) if k not in found)
    lazy = [k for k, v in found.items() if is_lazy(v)]
    if lazy:
        raise GrowcError(
            f"`{lazy[0]}` of {type(model).__name__} has no size yet",
            help="run the module once, so that its lazy layers know their inputs",
        )
    return {k: v for k, v in found.items() if isinstance(v, Tensor)}


class _Reader:
    def __init__(
        self,
        model: nn.Module,
        program: ExportedProgram,
        stored: Mapping[str, Tensor],
        batch: int,
        name: str,
        mode: str,
    ) -> None:
        self.mode = mode
        self.model, self.program, self.stored, self.name = model, program, stored, name
        self.persistent = set(model.state_dict())
        self.b = Builder(batch)
        self.values: dict[fx.Node, Any] = {}
        self.fixed: dict[Bound, fx.Node] = {}
        """What is computed from stored tensors alone → the node of the program that does it."""
        # One name for each tensor, the first: the others are tied to it.
        self.first: dict[int, str] = {}
        for key, tensor in stored.items():
            self.first.setdefault(id(tensor), key)

    def read(self) -> Graph:
        self._require_known()
        self._inputs()
        for node in self._needed():
            self._node(node)
        self._outputs()
        self.b.graph.name = clean(self.name).replace(".", "_") or "net"
        tidy(self.b)
        naming = Naming(self.b.graph, self.b.hints, self.b.sources)
        graph = naming.renamed()
        entries = Entries(self.stored, self.persistent, self.first, naming, self.b.notes)
        graph.weights.foreign = entries.foreign()
        return graph

    # ---- what there is

    def _needed(self) -> list[fx.Node]:
        """The calls that an output needs: not those that only assert something."""
        needed: set[fx.Node] = set()
        for node in reversed(self.program.graph.nodes):
            in_place = node.op == "call_function" and changes_in_place(str(node.target))
            if node.op == "output" or in_place or node in needed:
                needed.add(node)
                needed.update(node.all_input_nodes)
        return [n for n in self.program.graph.nodes if n.op == "call_function" and n in needed]

    def _require_known(self) -> None:
        """Take apart what growc does not know; raise one error that names what is left of it."""
        table: Any = torch.export.default_decompositions()
        strange = self._strange()
        if strange:
            before = self.program
            self._take_apart({op: table[op] for op in strange if op in table})
            if self._strange():
                # Named are the module's own operators, not what they are made of.
                strange = self._hopeless(before, strange, table)
                count = sum(map(len, strange.values()))
                listed = "; ".join(
                    f"{op} in {self._places(nodes)}"
                    for op, nodes in sorted((str(op), nodes) for op, nodes in strange.items())
                )
                raise GrowcError(
                    f"growc cannot read {plural(count, 'call')} of {self.name}: {listed}",
                    help="write these parts of the module with other operators",
                )

    def _take_apart(self, table: Mapping[Any, Any]) -> None:
        with quiet(), contextlib.suppress(Exception):  # what is missing is told anyway
            self.program = self.program.run_decompositions(dict(table))

    def _hopeless(
        self, program: ExportedProgram, strange: dict[Any, list[fx.Node]], table: Any
    ) -> dict[Any, list[fx.Node]]:
        """Those of the operators that growc cannot read when they are taken apart either."""
        found = {}
        for op, nodes in strange.items():
            self.program = program
            if op in table:
                self._take_apart({op: table[op]})
            if op not in table or not self._strange().keys() <= strange.keys() - {op}:
                found[op] = nodes
        return found or strange

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
        for node in self._needed():
            if all(n in known for n in node.all_input_nodes):
                known.add(node)
            elif getattr(node.target, "__module__", "") == "_operator":
                continue  # getitem, or arithmetic with sizes
            elif handler_of(str(node.target)) is None:
                found.setdefault(node.target, []).append(node)
        return found

    def _places(self, nodes: Sequence[fx.Node]) -> str:
        """The modules that calls lie in."""
        paths = Counter(_hint(node).scope or "" for node in nodes)
        shown = []
        for path, n in paths.items():
            place = f"`{path}` ({self._class(path)})" if path else "`forward`"
            shown.append(place + (f" {n} times" if n > 1 else ""))
        rest = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        return ", ".join(shown[:5]) + rest

    def _class(self, path: str) -> str:
        try:
            return type(self.model.get_submodule(path)).__name__
        except AttributeError:
            return "module"

    def _help(self, node: fx.Node) -> str | None:
        """What to do about it, where the module that a call lies in tells."""
        path = _hint(node).scope or ""
        while True:
            with contextlib.suppress(AttributeError):
                if getattr(self.model.get_submodule(path), "batch_first", None) is False:
                    return (
                        "growc takes the first axis of every input as the batch: make it with "
                        "batch_first=True, or transpose around it"
                    )
            if not path:
                return None
            path = path.rpartition(".")[0]

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
            found = self.values[whole]
            self._keep(node, None if found is None else found[index])
            return
        target: Any = node.target
        args = pytree.tree_map(self._value, (node.args, node.kwargs))
        tensors = [v for v in pytree.tree_leaves(args) if isinstance(v, (Bound, Const))]
        self.b.here = _hint(node)
        handler = handler_of(str(target))
        constant = not any(isinstance(v, Bound) for v in tensors)
        layout = any(v.trainable for v in tensors if isinstance(v, Const)) and handler is not None
        try:
            if constant and torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
                raise Unreadable("it draws random numbers")
            if constant and (not layout or not tensors):
                found = self._evaluated(target, *args)
            elif handler is not None:
                called, handle = handler
                found = handle(self._call(called, node, args))
            else:
                found = self._frozen(node)
        except Unreadable as error:
            raise GrowcError(
                f"growc cannot read {target} in {self._places([node])}: {error}",
                help=self._help(node),
            ) from None
        self._keep(node, found)
        first = node.args[0] if node.args else None
        if changes_in_place(str(target)) and isinstance(first, fx.Node):
            if first.op == "placeholder" and isinstance(found, (Bound, Const)):
                self._tell_of_change(first)
            self._keep(first, found)

    def _keep(self, node: fx.Node, value: Any) -> None:
        self.values[node] = value
        if isinstance(value, Bound) and value.batch is None:
            self.fixed.setdefault(value, node)

    def _call(self, called: str, node: fx.Node, args: Any) -> Call:
        given = _named(node.target, node.args, node.kwargs)
        kinds = {key: kind for key, arg in given.items() if (kind := _kind(arg)) is not None}
        named = _named(node.target, *args)
        result = _kind(node) or "float"
        return Call(called, named, self.b, kinds, result, self.mode, self._worked_out)

    def _tell_of_change(self, place: fx.Node) -> None:
        """A buffer that the module writes into, other than a batch norm's."""
        for spec in self.program.graph_signature.input_specs:
            target = spec.target or ""
            here = getattr(spec.arg, "name", "") == place.name and spec.kind == InputKind.BUFFER
            if here and not target.endswith("num_batches_tracked"):
                self.b.notes.add(f"the module changes its buffer `{target}`; the network does not")

    def _value(self, arg: Any) -> Any:
        return self.values[arg] if isinstance(arg, fx.Node) else arg

    def _worked_out(self, value: Bound) -> Const | None:
        """The numbers of what depends on no input."""
        node = self.fixed.get(value)
        return None if node is None else self._frozen(node)

    def _frozen(self, node: fx.Node) -> Const:
        """What PyTorch computes for a node that depends on no input. Raises :class:`Unreadable`."""
        found = self._numbers(node)
        if not isinstance(found, Tensor):
            raise Unreadable("its constant result cannot be worked out")
        return _const(found, None, trainable=False)

    def _numbers(self, node: fx.Node) -> Any:
        value = self.values.get(node)
        if isinstance(value, Const):
            return torch.from_numpy(np.array(value.array))
        if isinstance(value, Bound) and (value.batch is not None or node.op != "call_function"):
            raise Unreadable("it depends on an input")
        target: Any = node.target
        args, kwargs = pytree.tree_map(
            lambda arg: self._numbers(arg) if isinstance(arg, fx.Node) else arg,
            (node.args, node.kwargs),
        )
        return _computed(target, args, kwargs)

    def _evaluated(self, target: Any, args: Any, kwargs: Any) -> Value:
        """What depends on no input is worked out by PyTorch itself."""

        def tensor(value: Any) -> Any:
            return torch.from_numpy(np.array(value.array)) if isinstance(value, Const) else value

        given = pytree.tree_map(tensor, (args, kwargs))
        found = _computed(target, given[0], given[1])
        # Only what moves numbers gives back what it was given; that two are equal may be chance.
        same = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Const)]
        same = same if moves(target) else []

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
                if _seen_otherwise(known.array, array):
                    return known.viewed(array)
            return Const(array)

        if isinstance(found, (list, tuple)):
            return tuple(const(v) for v in found)
        return const(found)  # type: ignore[no-any-return]

    # ---- outputs

    def _outputs(self) -> None:
        specs = self.program.graph_signature.output_specs
        found = [s.arg for s in specs if s.kind == OutputKind.USER_OUTPUT]
        by_name = {n.name: n for n in self.program.graph.nodes}
        for arg, label in zip(found, self._labels(len(found)), strict=True):
            node = by_name.get(arg.name)
            if node is None:
                constant = getattr(arg, "value", None)
                if constant is not None:
                    self.b.notes.add(f"the output `{label}` is always {constant}; it is left out")
                continue
            value = self.values.get(node)
            if isinstance(value, Const) or (isinstance(value, Bound) and value.batch is None):
                raise GrowcError(
                    f"the output `{label}` of {self.name} does not depend on an input",
                    help="leave it out of what forward returns",
                )
            if not isinstance(value, Bound):
                raise GrowcError(f"the output `{label}` of {self.name} is not a tensor")
            kind = _kind(node)
            if kind != "float" and value.dtype == "f32":
                self.b.notes.add(f"the output `{label}` is float32 now, not {kind}")
            try:
                self.b.output(label, value)
            except Unreadable as error:
                raise GrowcError(
                    f"growc cannot read the output `{label}` of {self.name}: {error}"
                ) from None
        if not self.b.graph.outputs:
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


def _kind(node: Any) -> Kind | None:
    """``bool``, ``int`` or ``float``, for a tensor of the program, or the first of several."""
    if not isinstance(node, fx.Node):
        return None
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        value = next(iter(value), None)
    if not isinstance(value, Tensor):
        return None
    if value.dtype == torch.bool:
        return "bool"
    return "float" if value.dtype.is_floating_point else "int"


def _computed(target: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Raises :class:`Unreadable` for what PyTorch refuses."""
    keywords = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory")}
    try:
        with torch.no_grad(), quiet():
            return target(*args, **keywords)
    except Exception as error:  # whatever the operator raises
        raise Unreadable(f"its constant result cannot be worked out ({line(error)})") from error


def _seen_otherwise(known: NDArray[Any], array: NDArray[Any]) -> bool:
    """Whether an array is another but for axes of size 1."""
    return (
        known.dtype == array.dtype
        and long_axes(known.shape) == long_axes(array.shape)
        and np.array_equal(known.reshape(-1), array.reshape(-1))
    )
