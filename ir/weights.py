"""Parameter values: the ``Weights`` store, new values, and safetensors files."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .diagnostics import GrowcError, did_you_mean
from .ops import Init

if TYPE_CHECKING:
    from .graph import Graph

Array = NDArray[np.float32]


class Weights(dict[str, Array]):
    """Parameter tensors by name.

    Tensors are shared by identity: a student's store holds its teacher's arrays, the same
    objects, under the same names (θ_s = θ_t ∪ θ_z, R2R section 3). Nothing in growc writes into
    an array that it did not make.
    """

    def copy(self) -> Weights:
        """A new store with the same arrays."""
        return Weights(self)


def draw(init: Init, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A new float32 array filled as ``init`` says."""
    if init.kind == "constant":
        return np.full(shape, init.bound, np.float32)
    if init.kind == "normal":
        return rng.standard_normal(shape, np.float32) * np.float32(init.bound)
    return (rng.random(shape, np.float32) * 2 - 1) * np.float32(init.bound)


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the names alone, not on any order of calls."""
    words = [zlib.crc32(n.encode()) for n in names]
    return np.random.Generator(np.random.PCG64([seed, *words]))


def initialize(graph: Graph, seed: int = 0) -> int:
    """Give every parameter that has no value yet a new one; return how many there were.

    Each parameter's numbers depend on ``seed`` and its own name only, so that adding a layer
    leaves the others' first values as they were. Distributions: PyTorch's defaults.
    """
    missing = [(n, s) for n, s in graph.parameters().items() if n not in graph.weights]
    for name, spec in missing:
        try:
            graph.weights[name] = draw(spec.init, spec.shape, generator(seed, name))
        except (MemoryError, ValueError) as error:
            raise GrowcError(
                f"the parameter `{name}` of shape {list(spec.shape)} does not fit into memory"
            ) from error
    return len(missing)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_bytes(graph: Graph) -> bytes:
    """The graph's parameters as the content of a safetensors file. The same graph gives the same
    bytes. Raises ``KeyError`` for a parameter without a value."""
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(graph.weights[name]) for name in graph.parameters()}
    return save(tensors)


def read_file(path: Path, graph: Graph, sha256: str | None = None) -> Weights:
    """Read the graph's parameters from a safetensors file.

    Raises :class:`GrowcError` if the file is missing, damaged, has another content hash than
    ``sha256``, or does not hold exactly the graph's parameters with their shapes, as float32.
    """
    from safetensors import SafetensorError, safe_open

    check_readable(path)
    if sha256 is not None and file_hash(path) != sha256.lower():
        raise GrowcError(
            f"{path}: the weights are not the ones this network was saved with "
            "(their SHA-256 differs)",
            help="restore the file, or remove `sha256` to accept any weights that fit",
        )
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            stored = {n: (tuple(v.get_shape()), v.get_dtype()) for n, v in slices.items()}
            _check_fit(path, graph, stored)
            return Weights({name: file.get_tensor(name) for name in graph.parameters()})
    except SafetensorError as error:
        raise GrowcError(
            f"{path}: not a complete safetensors file ({_plain(error)})",
            help="the file is damaged or was cut off; write it again",
        ) from error
    except OSError as error:
        raise GrowcError(f"{path}: cannot be read ({error.strerror or error})") from error


def check_readable(path: Path) -> None:
    """Raise :class:`GrowcError` unless ``path`` is a file."""
    if path.is_dir():
        raise GrowcError(f"{path}: is a folder, not a weights file")
    if not path.exists():
        raise GrowcError(
            f"{path}: no such weights file",
            help="put the file beside the text, or give another one with --weights",
        )


def _plain(error: Exception) -> str:
    return str(error).removeprefix("Error while deserializing header: ").split("\n")[0]


def _check_fit(path: Path, graph: Graph, stored: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """All mismatches at once, each named; a long list is cut."""
    wanted = graph.parameters()
    problems = []
    for name, spec in wanted.items():
        if name not in stored:
            hint = did_you_mean(name, (n for n in stored if n not in wanted))
            problems.append(f"`{name}` is missing" + (f" ({hint})" if hint else ""))
            continue
        shape, dtype = stored[name]
        if shape != spec.shape:
            problems.append(
                f"`{name}` has shape {list(shape)}, but the network needs {list(spec.shape)}"
            )
        elif dtype != "F32":
            problems.append(f"`{name}` has element type {dtype}, not F32")
    strangers = [name for name in stored if name not in wanted]
    problems += [f"`{name}` belongs to no node of the network" for name in strangers]
    if problems:
        shown = problems[:5]
        if len(problems) > 5:
            shown.append(f"and {len(problems) - 5} more")
        raise GrowcError(
            f"{path}: the weights do not fit the network: " + "; ".join(shown),
            help="weights are matched by name; were they saved for another version of the text?",
        )
