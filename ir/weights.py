"""Parameter values: the ``Weights`` store, new values, and safetensors files."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .diagnostics import GrowcError, did_you_mean
from .ops import Init

if TYPE_CHECKING:
    from .graph import Graph

NO_ENTRY = ""
"""In ``Weights.foreign``, the entry whose parts no entry of the foreign state dict is."""

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

MASK_SUFFIX = "#mask"
"""In a file, the mask of ``c.weight`` is the BOOL tensor ``c.weight#mask``."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What an entry of another program's state dict is here: a parameter, perhaps transposed;
    several, one after the other along the first axis; or nothing that the network computes with
    (no ``names``)."""

    names: tuple[str, ...]
    transposed: bool = False


class Weights(dict[str, Array]):
    """Parameter tensors by name, and the masks of those that have one.

    Tensors are shared by identity: a student's store holds its teacher's arrays, the same
    objects, under the same names (θ_s = θ_t ∪ θ_z, R2R section 3). Nothing in growc writes into
    an array that it did not make.

    ``masks`` holds α of a parameter W: Boolean, of W's shape, true where there is a connection.
    The network computes f(x, α ⊙ W) and has |α| parameters (ILNAS section 3.1). W is zero where
    α is false, so that W is α ⊙ W; a parameter without a mask has every connection. Masks are
    shared like arrays, and never written into.

    ``foreign`` says, for a network that was read from PyTorch, which entries of that module's
    state dict have another name or layout here; all others have the parameters' names.
    :data:`NO_ENTRY` lists what that state dict does not have at all, such as a mask that the
    module computes.
    """

    masks: dict[str, Mask]
    foreign: dict[str, Foreign]

    def __init__(
        self,
        *args: Any,
        masks: Mapping[str, Mask] | None = None,
        foreign: Mapping[str, Foreign] | None = None,
    ) -> None:
        super().__init__(*args)
        self.masks = dict(masks or {})
        self.foreign = dict(foreign or {})

    def copy(self) -> Weights:
        """A new store with the same arrays and masks."""
        return Weights(self, masks=self.masks, foreign=self.foreign)

    def put(self, name: str, value: Array, mask: Mask | None = None) -> None:
        """Replace a parameter and its mask; a mask that leaves nothing out is not kept."""
        self[name] = value
        self.masks.pop(name, None)
        if mask is not None and not mask.all():
            self.masks[name] = mask

    def discard(self, name: str) -> None:
        """Remove a parameter and its mask, where they are there."""
        self.pop(name, None)
        self.masks.pop(name, None)

    def mask(self, name: str) -> Mask:
        """α of a parameter that has a value; all true where it has no mask."""
        mask = self.masks.get(name)
        return np.ones(self[name].shape, np.bool_) if mask is None else mask

    def effective(self, name: str) -> Array:
        """α ⊙ W: what the network computes with. The array itself unless W breaks the rule that
        it is zero where α is false, as a training step by other means than growc's may do."""
        return masked(self[name], self.masks.get(name))

    def count(self, name: str, shape: tuple[int, ...]) -> int:
        """|α| of a parameter of this shape, which needs no value."""
        mask = self.masks.get(name)
        return math.prod(shape) if mask is None else int(np.count_nonzero(mask))


def masked(value: Array, mask: Mask | None) -> Array:
    """α ⊙ W: ``value`` itself where it is zero wherever ``mask`` is false, else a copy."""
    if mask is None or not value[~mask].any():
        return value
    return np.where(mask, value, np.float32(0))


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
    leaves the others' first values as they were. Distributions: PyTorch's defaults. Where a mask
    has no connection, the value is zero.
    """
    missing = [(n, s) for n, s in graph.parameters().items() if n not in graph.weights]
    for name, spec in missing:
        try:
            value = draw(spec.init, spec.shape, generator(seed, name))
            graph.weights[name] = masked(value, graph.weights.masks.get(name))
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
    """The graph's parameters as the content of a safetensors file, masks as BOOL tensors called
    ``<parameter>#mask``. The same graph gives the same bytes. Raises ``KeyError`` for a parameter
    without a value, :class:`GrowcError` for one that is called like another's mask."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {}
    masks = graph.weights.masks
    specs = graph.parameters()
    for name in specs:
        tensors[name] = _in_order(graph.weights.effective(name))
        if name in masks:
            if name + MASK_SUFFIX in specs:
                raise GrowcError(
                    f"the parameter `{name}{MASK_SUFFIX}` is called like the mask of `{name}`"
                )
            tensors[name + MASK_SUFFIX] = _in_order(masks[name])
    return save(tensors, _metadata(graph.weights.foreign) or None)


def _in_order(array: NDArray[Any]) -> NDArray[Any]:
    """The array, row by row in memory. numpy's ascontiguousarray gives () an axis."""
    return np.asarray(array, order="C")


FOREIGN = "growc.state_dict"
"""Where a file's metadata says what the entries of a foreign state dict are."""


def _metadata(foreign: Mapping[str, Foreign]) -> dict[str, str]:
    if not foreign:
        return {}
    plain = {entry: [*here.names, *[".T"][: here.transposed]] for entry, here in foreign.items()}
    return {FOREIGN: json.dumps(plain, ensure_ascii=False)}


def _foreign(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Foreign]:
    text = (metadata or {}).get(FOREIGN)
    if text is None:
        return {}
    try:
        found = {}
        for entry, parts in json.loads(text).items():
            if not all(isinstance(part, str) for part in parts):
                raise ValueError
            names = tuple(part for part in parts if part != ".T")
            found[entry] = Foreign(names, ".T" in parts)
        return found
    except (ValueError, AttributeError, TypeError):
        raise GrowcError(
            f"{path}: what it says of a foreign state dict cannot be read",
            help="the file is damaged; write it again",
        ) from None


def read_file(path: Path, graph: Graph, sha256: str | None = None) -> Weights:
    """Read the graph's parameters from a safetensors file.

    Raises :class:`GrowcError` if the file is missing, damaged, has another content hash than
    ``sha256``, or does not hold exactly the graph's parameters with their shapes, as float32, and
    perhaps masks that fit them.
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
            found = Weights({name: file.get_tensor(name) for name in graph.parameters()})
            wanted = {name + MASK_SUFFIX: name for name in found}
            for key in stored.keys() & (wanted.keys() - found.keys()):
                found.masks[wanted[key]] = file.get_tensor(key)
            found.foreign = _foreign(path, file.metadata())
    except SafetensorError as error:
        raise GrowcError(
            f"{path}: not a complete safetensors file ({_plain(error)})",
            help="the file is damaged or was cut off; write it again",
        ) from error
    except OSError as error:
        raise GrowcError(f"{path}: cannot be read ({error.strerror or error})") from error
    _check_masks(path, found)
    return found


def _check_masks(path: Path, weights: Weights) -> None:
    problems = []
    for name, mask in weights.masks.items():
        # Any byte but 0 and 1 would count wrongly: numpy takes the bytes as they are.
        if (mask.view(np.uint8) > 1).any():
            problems.append(f"`{name}{MASK_SUFFIX}` holds bytes that are neither 0 nor 1")
        elif weights[name][~mask].any():
            problems.append(f"`{name}` is not zero everywhere that its mask has no connection")
    if problems:
        raise _misfit(path, sorted(problems), "the file is damaged; write it again")


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
    maskable = graph.maskable() if any(n.endswith(MASK_SUFFIX) for n in stored) else set()
    problems = []
    for name, spec in wanted.items():
        if name not in stored:
            strange = (n for n in stored if n not in wanted and not n.endswith(MASK_SUFFIX))
            hint = did_you_mean(name, strange)
            problems.append(f"`{name}` is missing" + (f" ({hint})" if hint else ""))
            continue
        shape, dtype = stored[name]
        if shape != spec.shape:
            problems.append(
                f"`{name}` has shape {list(shape)}, but the network needs {list(spec.shape)}"
            )
        elif dtype != "F32":
            problems.append(f"`{name}` has element type {dtype}, not F32")
    strangers = []
    for name, (shape, dtype) in stored.items():
        if name in wanted:
            continue
        owner = name.removesuffix(MASK_SUFFIX)
        if owner == name or owner not in wanted:
            strangers.append(f"`{name}` belongs to no node of the network")
        elif owner not in maskable:
            problems.append(f"`{name}` masks a parameter that cannot have a mask")
        elif shape != wanted[owner].shape:
            problems.append(
                f"`{name}` has shape {list(shape)}, but its parameter has "
                f"{list(wanted[owner].shape)}"
            )
        elif dtype != "BOOL":
            problems.append(f"`{name}` has element type {dtype}, not BOOL")
    if problems or strangers:
        raise _misfit(
            path,
            problems + strangers,
            "weights are matched by name; were they saved for another version of the text?",
        )


def _misfit(path: Path, problems: list[str], help: str) -> GrowcError:
    shown = problems[:5]
    if len(problems) > 5:
        shown.append(f"and {len(problems) - 5} more")
    return GrowcError(f"{path}: the weights do not fit the network: {'; '.join(shown)}", help=help)
