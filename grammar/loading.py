"""Files and texts → graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ir import Diagnostic, Graph, GrowcError, Source, Span
from ..ir.weights import Weights, read_file
from . import syntax as s
from .blocks import SourceFile
from .elaborate import Elaborated, elaborate
from .garbage import collector_paused
from .parser import parse
from .statements import WeightsBinding

MAX_FILE_BYTES = 64 * 2**20
MAX_FILES = 200


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file read whole: the graph with its weights, or just blocks (``graph`` is None)."""

    graph: Graph | None
    warnings: list[Diagnostic]
    blocks: list[str]
    weights: WeightsBinding | None = None


def load(
    path: str | Path,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    weights: str | Path | None = None,
    **more: Any,
) -> Graph:
    """Read the network of an ``.arch`` file, with the weights that its text names.

    ``hyperparameters`` (or keyword arguments) replace the net's defaults; ``weights`` is a
    safetensors file to use instead of the one the text names. Raises :class:`GrowcError`.
    """
    return _graph(load_file(Path(path), {**(hyperparameters or {}), **more}, weights=weights), path)


def loads(text: str, hyperparameters: Mapping[str, Any] | None = None, **more: Any) -> Graph:
    """The network of an ``.arch`` text. Files it names are looked up in the current folder.

    Raises :class:`GrowcError`.
    """
    source = Source("<text>", text)
    return _graph(load_source(source, Path(), {**(hyperparameters or {}), **more}), "the text")


def _graph(loaded: Loaded, where: str | Path) -> Graph:
    if loaded.graph is None:
        raise GrowcError(f"{where}: there is no net here", help="add `net name { … }`")
    return loaded.graph


def load_file(
    path: Path,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    weights: str | Path | None = None,
) -> Loaded:
    """Like :func:`load`, for files that may hold only blocks; keeps the warnings."""
    return load_source(read_source(path), path.parent, hyperparameters, weights=weights)


def load_source(
    source: Source,
    folder: Path,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    weights: str | Path | None = None,
) -> Loaded:
    """Elaborate a text whose files are relative to ``folder``, and read its weights."""
    with collector_paused():
        made = elaborate(_with_used(source, folder), hyperparameters)
    if made.graph is not None:
        if weights is not None:
            made.graph.weights = _read_weights(Path(weights), made.graph)
        elif made.weights is not None:
            made.graph.weights = _bound_weights(made, made.weights, folder)
    elif hyperparameters:
        raise GrowcError(f"{source.name}: there is no net whose hyperparameters could be set")
    return Loaded(made.graph, made.warnings, made.blocks, made.weights)


def _read_weights(path: Path, graph: Graph, sha256: str | None = None) -> Weights:
    try:
        return read_file(path, graph, sha256)
    except OSError as error:
        raise GrowcError(f"{path}: cannot be read ({error.strerror or error})") from error


def _bound_weights(made: Elaborated, binding: WeightsBinding, folder: Path) -> Weights:
    assert made.graph is not None
    try:
        return _read_weights(folder / binding.file, made.graph, binding.sha256)
    except GrowcError as error:
        first = error.diagnostics[0]
        raise GrowcError(Diagnostic(first.message, binding.span, first.help)) from error


def read_source(path: Path) -> Source:
    """Read a text file. Raises :class:`GrowcError` if it cannot be read as UTF-8."""
    name = str(path)
    try:
        # No look at the size before: a pipe has none.
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        near = _similar_file(path)
        raise GrowcError(f"{name}: no such file", help=near) from None
    except IsADirectoryError:
        raise GrowcError(f"{name}: is a folder, not an .arch file") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise GrowcError(f"{name}: cannot be read ({reason})") from error
    if len(content) > MAX_FILE_BYTES:
        raise GrowcError(f"{name}: is larger than {MAX_FILE_BYTES // 2**20} MB, too large for text")
    return decode(name, content)


def decode(name: str, content: bytes) -> Source:
    """Bytes → source text. Raises :class:`GrowcError` with the place of the first bad byte."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Places count from behind the byte order mark, if there is one.
        rest = bytes(error.object)
        source = Source(name, rest.decode("utf-8", errors="replace"))
        at = len(rest[: error.start].decode("utf-8"))
        raise GrowcError(
            Diagnostic(
                f"this is not UTF-8 text (byte 0x{rest[error.start]:02x})",
                Span(source, at, at + 1),
                "save the file as UTF-8",
            )
        ) from None
    return Source(name, text)


def _similar_file(path: Path) -> str | None:
    for other in (path.with_suffix(".arch"), Path(f"{path}.arch")):
        if other != path and other.is_file():
            return f"did you mean {other}?"
    return None


def _with_used(source: Source, folder: Path) -> list[SourceFile]:
    """The file and all files it uses, directly or not, each once."""
    first = SourceFile(source, parse(source))
    if not first.tree.items:
        raise GrowcError(
            f"{source.name}: the file is empty"
            if not source.text.strip()
            else f"{source.name}: the file has only comments",
            help="write a net: net name { input x: f32[8]  output y = x -> linear(2) }",
        )
    found = [first]
    seen = {(folder / Path(source.name).name).resolve()}
    waiting = [(first, folder)]
    while waiting:
        file, base = waiting.pop(0)
        for use in file.tree.items:
            if not isinstance(use, s.Use):
                continue
            path = base / use.file.value
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            span = Span(file.source, use.file.start, use.file.end)
            if len(found) >= MAX_FILES:
                raise GrowcError(Diagnostic(f"more than {MAX_FILES} files are used", span))
            used = _read_used(path, span)
            found.append(used)
            waiting.append((used, path.parent))
    return found


def _read_used(path: Path, span: Span) -> SourceFile:
    try:
        source = read_source(path)
    except GrowcError as error:
        first = error.diagnostics[0]
        raise GrowcError(Diagnostic(first.message, span, first.help)) from None
    return SourceFile(source, parse(source))
