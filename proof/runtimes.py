"""A network against other runtimes: ONNX models in onnxruntime, modules in PyTorch.

They share float32 alone, so what is judged is looser than between two networks of growc.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph, GrowcError
from .numeric import BATCH, Comparison, Outputs, Probe, difference_of, random_inputs

if TYPE_CHECKING:
    import torch


def compare_runtimes(
    graph: Graph, model: Any, *, seed: int = 0, batch: int = BATCH
) -> tuple[Comparison, Sequence[str]]:
    """The network in torch, float64, against an ONNX model in onnxruntime, float32, eval mode.

    ``model`` is a path or an ``onnx.ModelProto``; one that fixes the size of its batch is run with
    that. Also returns the execution providers that
    onnxruntime used. Raises :class:`GrowcError` if the model cannot be run on these inputs.
    """
    from ..backends import Session

    session = Session(str(model) if isinstance(model, Path) else model)
    batch = session.batch or batch
    inputs = random_inputs(graph, seed, batch)
    ours = Probe(("eval",), seed, batch)(graph)
    expected = ours["eval", "float64"]
    found = session.run(inputs)
    missing = [name for name in expected if name not in found]
    if missing:
        raise GrowcError(
            f"the ONNX model has no output `{missing[0]}`",
            help=f"its outputs are {', '.join(found)}",
        )
    difference = difference_of("eval", "float32", expected, found)
    return Comparison((difference,), seed, "float32", _noise(ours)), session.providers


def _noise(ours: Outputs) -> float:
    """How far float32 moves the outputs."""
    return difference_of(
        "eval", "float32", ours["eval", "float64"], ours["eval", "float32"]
    ).relative


def compare_with_module(
    graph: Graph,
    model: torch.nn.Module,
    *,
    like: Sequence[torch.Tensor] = (),
    seed: int = 0,
    batch: int = BATCH,
) -> Comparison:
    """The network, float64, against the module that it was read from, float32, eval mode.

    The module's outputs, in whatever nest of tuples and dictionaries, are the graph's in order.
    ``like`` are examples of its inputs, which have their element types. A module of half numbers
    is run as a copy in float32, as its numbers are too coarse to tell.
    Raises :class:`GrowcError` if it has another number of them, or cannot be run on this batch.
    """
    import torch

    from ..backends.reading.torch_checking import aligned, run_module

    inputs = random_inputs(graph, seed, batch)
    device = next((p.device for p in model.parameters()), None)
    coarse = {p.dtype for p in model.parameters()} & {torch.float16, torch.bfloat16}
    if coarse:
        model = copy.deepcopy(model).float()
    types = dict(zip(graph.inputs, (x.dtype for x in like), strict=False))
    tensors = {}
    for name in graph.inputs:
        tensor = torch.from_numpy(inputs[name])
        wanted = types.get(name, torch.float32 if tensor.is_floating_point() else torch.int64)
        tensors[name] = tensor.to(device, torch.float32 if wanted in coarse else wanted)
    try:
        found = run_module(model, tensors)
    except Exception as error:  # whatever the module's own code raises
        raise GrowcError(
            f"{type(model).__name__} cannot be run on a batch of {batch} "
            f"({type(error).__name__}: {error})"
        ) from error
    if len(found) != len(graph.outputs):
        raise GrowcError(
            f"{type(model).__name__} has {len(found)} outputs in evaluation mode, but "
            f"{len(graph.outputs)} were read in training mode"
        )
    ours = Probe(("eval",), seed, batch)(graph)
    expected = {}
    for (name, value), t in zip(ours["eval", "float64"].items(), found, strict=True):
        there = aligned(t.double().cpu(), torch.from_numpy(value))
        expected[name] = there.float().numpy()
    difference = difference_of("eval", "float32", expected, ours["eval", "float64"])
    return Comparison((difference,), seed, "float32", _noise(ours))


def compare_models(before: str | Path, after: str | Path, *, seed: int = 0) -> Comparison:
    """Two ONNX files in onnxruntime on the same random inputs, in float32.

    Open axes, but for the batch, get the size 8. Raises :class:`GrowcError` if one of them cannot
    be run, or they differ in the names of inputs or outputs.
    """
    from ..backends import Session

    sessions = [Session(str(path)) for path in (before, after)]
    batch = next((s.batch for s in sessions if s.batch), BATCH)
    for what, (a, b) in (
        ("inputs", [s.inputs for s in sessions]),
        ("outputs", [s.outputs for s in sessions]),
    ):
        if set(a) != set(b):
            raise GrowcError(
                f"the models differ in their {what}: {', '.join(a)} in one, {', '.join(b)} in the "
                "other",
                help="only models with the same inputs and outputs can be compared",
            )
    inputs: dict[str, NDArray[Any]] = {}
    for name, (shape, whole) in sessions[0].input_types.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        sizes = [n if isinstance(n, int) else 8 for n in shape]
        sizes[:1] = [batch][: len(sizes)]
        inputs[name] = rng.integers(0, 2, sizes) if whole else rng.standard_normal(sizes)
    found = [session.run(inputs) for session in sessions]
    return Comparison((difference_of("eval", "float32", *found),), seed, judged="float32")
