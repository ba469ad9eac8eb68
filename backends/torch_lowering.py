"""The graph as a ``torch.fx.GraphModule``."""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..ir import Graph, GrowcError, Input, Op, ParamSpec
from ..ir.analysis import input_free
from ..ir.ops import Constant
from . import torch_attention as torch_attention  # these register the lowerings
from . import torch_functions as torch_functions
from . import torch_ops as torch_ops
from . import torch_pools as torch_pools
from . import torch_resize as torch_resize
from . import torch_shapes as torch_shapes
from .module_names import assemble
from .module_weights import remember
from .registry import require_values, shortened
from .state_dicts import keep_foreign
from .torch_modules import set_masks
from .torch_site import Draft, Site, Tracer, lowering, variable


def torch_supports(op: type[Op]) -> bool:
    """Whether ops of this class can be lowered to PyTorch."""
    return lowering.find(op) is not None


def to_torch(
    graph: Graph,
    *,
    dtype: torch.dtype | None = None,
    share: bool = False,
    reuse: Mapping[str, Tensor] = MappingProxyType({}),
) -> fx.GraphModule:
    """A trainable PyTorch module that computes what the graph says.

    It takes the graph's inputs in order, each ``[batch, *shape]``, of whole numbers as int64, and
    returns the output tensor, or ``{output name: tensor}`` if there are several. Ops with
    parameters are standard PyTorch modules at the node's dotted name, a ``parameter`` is an
    ``nn.Parameter`` there and a ``constant`` a buffer, so the state dict's keys are the graph's
    parameter names (and PyTorch's own ``num_batches_tracked``). Tied weights are one
    ``nn.Parameter``; the state dict lists it under each node that uses it. Of a network read by
    :func:`from_torch` it loads and gives state dicts of the module that was read. The module is in
    training mode, as any new one.

    ``dtype`` is that of the parameters, float32 if not given. With ``share`` the module's tensors
    are the graph's arrays, so that training changes these; otherwise they are copies. ``reuse`` has
    tensors of another module, by the graph's names, that are taken as they are.

    The module remembers the graph's structure: see :func:`graph_of`.

    A layer whose parameters have masks computes with α ⊙ W: a missing weight has no gradient and
    stays zero, whatever the optimizer. Its masks are the buffers ``weight_mask`` and
    ``bias_mask``, which are not in the state dict. For ∂L/∂(α_i W_i) where α_i = 0 (ILNAS section
    3.3), fill them with true while gradients are taken: W is zero there, so the function stays.

    Raises :class:`GrowcError` for parameters without a value, ops that have no lowering, node
    names that a module cannot have, and arrays that cannot be shared.
    """
    lowering.check(graph)
    require_values(graph)
    values = {**_tensors(graph, dtype or torch.float32, share=share, reuse=reuse), **reuse}
    masked = {key: m for key, m in graph.weights.masks.items() if key in values}
    tracer = Tracer if any(isinstance(node.op, Constant) for node in graph) else None
    draft = Draft(dtype or torch.float32, input_free(graph), fx.Graph(tracer_cls=tracer))
    results: dict[str, fx.Node] = {}
    for node in graph:
        if isinstance(node.op, Input):
            results[node.name] = _placeholder(draft, node.name)
            continue
        operands = tuple(results[name] for name in node.operands)
        params = graph.params_of(node.name)
        masks = {s.role: masked[key] for key, s in params if key in masked}
        site = Site(node, operands, graph.operand_types(node), draft, bool(masks))
        lower = lowering.find(type(node.op))
        assert lower is not None  # lowering.check has looked
        results[node.name] = lower(node.op, site)
        module = draft.modules.get(node.name)
        set_masks(module, node.name, masks)
        if module is not None:
            _fill(module, params, values)
        elif params:
            ((key, _),) = params
            draft.tensors[node.name] = values[key]
    for name in dict.fromkeys(graph.outputs.values()):
        if name in draft.free:
            results[name] = draft.expanded(results[name], graph.node(name).type, name)
    outputs = {name: results[node] for name, node in graph.outputs.items()}
    draft.graph.output(next(iter(outputs.values())) if len(outputs) == 1 else outputs)
    module = fx.GraphModule(assemble(graph, draft.modules, draft.tensors), draft.graph)
    if graph.weights.foreign or any(node.shared for node in graph):
        keep_foreign(module, graph.weights.foreign)
    remember(module, graph)
    return module


def _placeholder(draft: Draft, name: str) -> fx.Node:
    node = draft.graph.create_node("placeholder", name, name=variable(name))
    draft.first_input = draft.first_input or node
    # A placeholder's target is printed as a parameter of `forward`, where the input's own name
    # may not be an identifier; the node's name is one.
    node.target = node.name
    return node


def _tensors(
    graph: Graph, dtype: torch.dtype, *, share: bool, reuse: Container[str]
) -> dict[str, Tensor]:
    """Every parameter by store name, but for those that are there already: an ``nn.Parameter``, or
    a tensor for running statistics."""
    specs = {name: spec for name, spec in graph.parameters().items() if name not in reuse}
    if share:
        _require_shareable(graph, dtype)
    tensors: dict[str, Tensor] = {}
    for name, spec in specs.items():
        if share:
            tensor = torch.from_numpy(graph.weights[name])
        else:
            # The copy also makes a read-only array writable and a strided one contiguous.
            tensor = torch.from_numpy(np.array(graph.weights.effective(name), order="C")).to(dtype)
        tensors[name] = nn.Parameter(tensor) if spec.trainable else tensor
    return tensors


def _require_shareable(graph: Graph, dtype: torch.dtype) -> None:
    if dtype != torch.float32:
        raise GrowcError(f"share=True shares float32 arrays, so dtype={dtype} cannot be had")
    problems = []
    for name in graph.parameters():
        array = graph.weights[name]
        if array.dtype != np.float32:
            problems.append(f"`{name}` is {array.dtype}, not float32")
        elif not array.flags.writeable:
            problems.append(f"`{name}` is read-only")
        elif any(stride < 0 for stride in array.strides):
            problems.append(f"`{name}` is stored backwards")
    if problems:
        raise GrowcError(
            f"the weights of `{graph.name}` cannot be shared with PyTorch: {shortened(problems)}",
            help="use share=False, or replace these arrays by copies",
        )


def _fill(
    module: nn.Module, params: list[tuple[str, ParamSpec]], values: Mapping[str, Tensor]
) -> None:
    """Put the values in the place of the module's own parameters, which have none."""
    for name, spec in params:
        value = values[name]
        if isinstance(value, nn.Parameter):
            module.register_parameter(spec.role, value)
        else:
            module.register_buffer(spec.role, value)
    if isinstance(module, _BatchNorm):
        module.num_batches_tracked = torch.tensor(0)
