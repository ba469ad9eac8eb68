"""Reading trained models of others, and checking what was read against the model itself."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ir import Graph, GrowcError
from .ir.diagnostics import did_you_mean
from .ir.types import DTYPES
from .proof import Comparison, compare_runtimes


@dataclass(frozen=True, slots=True)
class Imported:
    """A network that was read, and how it compares with the model it was read from."""

    graph: Graph
    notes: tuple[str, ...]
    comparison: Comparison
    """PyTorch running what was read against the model, in float32."""
    runtime: str
    """What ran the model: ``onnxruntime`` or ``PyTorch``."""


def import_onnx(
    path: str | os.PathLike[str],
    *,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Imported:
    """Read an ONNX file, and compare with onnxruntime on random inputs.

    Raises :class:`GrowcError` if it cannot be read, or what was read computes something else.
    """
    from .backends import from_onnx

    notes: list[str] = []
    progress("reading")
    graph = from_onnx(path, sizes=sizes, notes=notes)
    progress("running both")
    comparison, _ = compare_runtimes(graph, Path(path), seed=seed)
    return _checked(Imported(graph, tuple(notes), comparison, "onnxruntime"), os.fspath(path))


def import_module(
    target: str,
    inputs: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Imported:
    """Read the PyTorch module that ``package.module:factory`` makes, and compare with it.

    The factory is called without arguments, and returns the module, or the module and an example
    input (or a tuple or dictionary of them). What it prints goes to standard error. Without an
    example ``inputs`` are the types of the inputs, such as ``3,224,224`` or ``i64:128``.

    Raises :class:`GrowcError` if it cannot be found, made or read, or what was read computes
    something else.
    """
    from .backends import from_torch
    from .backends.reading.torch_tracing import Examples
    from .proof import compare_with_module

    progress("importing")
    model, example = _made(target)
    if inputs:
        example = tuple(_example(text) for text in inputs)
    if example is None:
        raise GrowcError(
            f"{target}: growc needs to know the inputs of this module",
            help="say --input 3,224,224 (or i64:128) for each of them, or return an example "
            "beside the module",
        )
    notes: list[str] = []
    progress("tracing")
    graph = from_torch(model, example, notes=notes)
    progress("running both")
    like = Examples.of(example).in_order(graph.inputs)
    comparison = compare_with_module(graph, model, like=like, seed=seed)
    return _checked(Imported(graph, tuple(notes), comparison, "PyTorch"), target)


def _checked(imported: Imported, what: str) -> Imported:
    if not imported.comparison.agrees:
        worst = imported.comparison.worst
        raise GrowcError(
            f"{what}: what growc read computes something else than {imported.runtime}: max |Δ| "
            f"{worst.max_abs:.3g}, where outputs reach {worst.scale:.3g} (seed "
            f"{imported.comparison.seed}, float32)",
            help="nothing was written; this is a bug in growc, or the model's outputs are not "
            "determined by its inputs",
        )
    return imported


def _made(target: str) -> tuple[Any, Any]:
    """The module that a factory makes, and its example if it gives one."""
    from torch import nn

    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise GrowcError(
            f"`{target}` is neither an ONNX file nor a factory of a PyTorch module",
            help="write package.module:factory, or the path of a file that ends in .onnx",
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # Standard output is the command's own, which may be JSON.
    with contextlib.redirect_stdout(sys.stderr):
        found = _found(target, name, attribute)
        if not isinstance(found, nn.Module) and not callable(found):
            raise GrowcError(
                f"{target}: it is {_kind(found)}, neither a PyTorch module nor what makes one"
            )
        try:
            made = found if isinstance(found, nn.Module) else found()
        except (Exception, SystemExit) as error:  # whatever the factory raises
            raise GrowcError(f"{target}: it failed ({_reason(error)})") from error
    model, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise GrowcError(
            f"{target}: it gives {_kind(model).removeprefix('of type ')}, not a PyTorch module",
            help="a factory returns the module, or (module, example)",
        )
    return model, example


def _found(target: str, name: str, attribute: str) -> Any:
    """What ``package.module:attribute`` is."""
    try:
        found: Any = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module's own code raises
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise GrowcError(
                f"{target}: there is no module `{missing}`",
                help="is it in this folder, or installed?",
            ) from error
        raise GrowcError(f"{target}: importing it failed ({_reason(error)})") from error
    whole = name
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, [n for n in dir(found) if not n.startswith("_")])
            raise GrowcError(f"{target}: `{whole}` has no `{part}`", help=hint)
        found = getattr(found, part)
        whole = f"{whole}.{part}"
    return found


def _reason(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _kind(value: object) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"


def _example(text: str) -> Any:
    """``3,224,224`` or ``i64:128`` as a batch of two."""
    import torch

    kind, _, sizes = text.rpartition(":")
    kind = kind or "f32"
    try:
        shape = [int(n) for n in sizes.split(",")] if sizes.strip() else []
    except ValueError:
        shape = [0]
    if kind not in DTYPES or any(n < 1 for n in shape):
        raise GrowcError(
            f"`{text}` is not the type of an input", help="write 3,224,224, or i64:128 for tokens"
        )
    if kind == "i64":
        return torch.zeros((2, *shape), dtype=torch.int64)
    return torch.zeros((2, *shape))
