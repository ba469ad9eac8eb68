"""What a network is written as: ``.arch`` text, safetensors weights, ONNX, a torch module."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from ..backends.registry import require_values
from ..grammar import dumps
from ..ir import Graph, GrowcError
from ..ir.files import write_files
from ..ir.weights import to_bytes
from ..proof import Comparison, compare_runtimes

EMIT = ("arch", "onnx", "torch")
OPSET = 20
"""What ONNX is written in unless told otherwise: most runtimes read it."""
SUFFIXES = {"arch": (".arch", ".safetensors"), "onnx": (".onnx",), "torch": (".pt",)}


def paths(prefix: str | Path, emit: Iterable[str]) -> list[Path]:
    """The files that ``prefix`` stands for."""
    return [with_suffix(prefix, s) for kind in emit for s in SUFFIXES[kind]]


def with_suffix(prefix: str | Path, suffix: str) -> Path:
    """``out/v1.2`` and ``.arch`` → ``out/v1.2.arch``: a dot in the prefix is part of the name.

    Raises :class:`GrowcError` for a prefix that ends in no name, such as ``out/``, or in one that
    a text cannot say: the ``.arch`` file names its weights.
    """
    name = os.path.basename(prefix)  # noqa: PTH119, a Path has no last slash
    if name in ("", ".", ".."):
        raise GrowcError(f"`{prefix}` names no file", help="add a name, as in out/net")
    if not name.isprintable():
        raise GrowcError(f"{name!a}: a file's name cannot hold invisible characters")
    return Path(f"{prefix}{suffix}")


def contents(
    graph: Graph, prefix: str | Path, emit: Iterable[str] = EMIT[:1], *, opset: int = OPSET
) -> dict[Path, bytes]:
    """File → content, for each kind in ``emit``.

    ``arch`` is the text with the weights it is bound to, ``torch`` a pickled ``GraphModule``,
    which PyTorch loads without growc unless an op has no module in PyTorch: masks, uneven padding,
    constants and the like. Raises :class:`GrowcError` for what cannot be written that way.
    """
    files: dict[Path, bytes] = {}
    for kind in emit:
        if kind == "arch":
            require_values(graph)
            weights = to_bytes(graph)
            place = with_suffix(prefix, ".safetensors")
            binding = (place.name, hashlib.sha256(weights).hexdigest())
            files[with_suffix(prefix, ".arch")] = dumps(graph, weights=binding).encode()
            files[place] = weights
        elif kind == "onnx":
            from ..backends import onnx_files, to_onnx

            model = to_onnx(graph, opset=opset)
            files.update(onnx_files(model, with_suffix(prefix, ".onnx")))
        else:
            files[with_suffix(prefix, ".pt")] = _torch_bytes(graph)
    return files


def check_onnx(
    graph: Graph, prefix: str | Path, files: Mapping[Path, bytes], seed: int = 0
) -> tuple[Comparison, tuple[str, ...]]:
    """Run the ONNX file among ``files`` in onnxruntime before it is written, against torch.

    Returns the comparison and the execution providers that were in use. Raises
    :class:`GrowcError` if it cannot be run, or computes something else.
    """
    with TemporaryDirectory() as folder:
        # As files, because a model above 2 GB is two of them and cannot be run from memory.
        ours = {p: c for p, c in files.items() if p.name.startswith(f"{Path(prefix).name}.onnx")}
        for path, content in ours.items():
            (Path(folder) / path.name).write_bytes(content)
        model = Path(folder) / with_suffix(prefix, ".onnx").name
        comparison, providers = compare_runtimes(graph, model, seed=seed)
    if not comparison.agrees:
        worst = comparison.worst
        raise GrowcError(
            f"the ONNX file computes something else than torch: max |Δ| {worst.max_abs:.3g}, "
            f"where outputs reach {worst.scale:.3g} (seed {seed}, float32)",
            help="nothing was written; this is a bug in growc or in onnxruntime",
        )
    return comparison, tuple(providers)


def _torch_bytes(graph: Graph) -> bytes:
    import torch

    from ..backends import to_torch

    buffer = io.BytesIO()
    torch.save(to_torch(graph), buffer)
    return buffer.getvalue()


def save(graph: Graph, prefix: str | Path, *, overwrite: bool = False) -> None:
    """Write ``PREFIX.arch`` and ``PREFIX.safetensors``, both or neither.

    ``growc.load`` reads them back. Raises :class:`GrowcError` for parameters without a value, and
    if a file exists (unless ``overwrite``) or cannot be written.
    """
    write_files(contents(graph, prefix), overwrite=overwrite)
