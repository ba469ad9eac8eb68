"""What all commands share: options, tables, and how mistakes end a command."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..grammar import Loaded
    from ..ir import Diagnostic, Graph, GrowcError, Source

Command = TypeVar("Command", bound=Callable[..., Any])

STDIO = "-"


# ---- options


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")(
        command
    )


def set_option(command: Command) -> Command:
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a hyperparameter of the net. May be repeated.",
    )(command)


def weights_option(command: Command) -> Command:
    return click.option(
        "--weights",
        metavar="FILE",
        help="A safetensors file to take the parameters from, instead of the one the text names.",
    )(command)


def seed_option(command: Command) -> Command:
    return click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="For parameters that have no value yet, and for random inputs.",
    )(command)


def opset_option(command: Command) -> Command:
    return click.option(
        "--opset",
        type=click.IntRange(13, 23),
        metavar="N",
        help="ONNX opset.  [default: 20]",
    )(command)


def force_option(command: Command) -> Command:
    return click.option("--force", is_flag=True, help="Overwrite existing files.")(command)


# ---- reading


def read(file: str, settings: Sequence[str] = (), weights: str | None = None) -> Loaded:
    """What is in a file, or on standard input if ``file`` is ``-``. A model in ONNX is read too."""
    from ..grammar import load_file, load_source
    from ..grammar.settings import read_settings

    if is_onnx(file):
        return _read_onnx(file, settings, weights)
    values = read_settings(tuple(settings))
    if file == STDIO:
        return load_source(read_stdin(), Path(), values, weights=weights)
    return load_file(Path(file), values, weights=weights)


def is_onnx(file: str) -> bool:
    """Whether a file's name says that it is an ONNX model."""
    return file != STDIO and Path(file).suffix.lower() == ".onnx"


def _read_onnx(file: str, settings: Sequence[str], weights: str | None) -> Loaded:
    from ..backends import from_onnx
    from ..grammar import Loaded
    from ..ir import Diagnostic, GrowcError

    if settings or weights:
        raise GrowcError(
            f"{file}: an ONNX model has no hyperparameters and brings its weights along",
            help="leave out --set and --weights, or read it with `growc import` first",
        )
    notes: list[str] = []
    graph = from_onnx(file, notes=notes)
    warnings = [Diagnostic(f"{file}: {note}", severity="warning") for note in notes]
    return Loaded(graph, warnings, [])


def read_stdin() -> Source:
    """The text on standard input, which a command can read once."""
    from ..grammar import decode

    meta = click.get_current_context().meta
    if "growc.stdin" in meta:
        raise click.UsageError("only one of the files can be `-`, standard input")
    meta["growc.stdin"] = True
    return decode("<stdin>", sys.stdin.buffer.read())


def read_graph(
    file: str, settings: Sequence[str] = (), weights: str | None = None, *, quiet: bool = False
) -> Graph:
    """Like :func:`read`, for commands that need a net. Warnings go to standard error."""
    from ..ir import GrowcError

    loaded = read(file, settings, weights)
    if not quiet:
        warn(loaded.warnings)
    if loaded.graph is None:
        raise GrowcError(f"{file}: there is no net in this file", help="it defines only blocks")
    return loaded.graph


# ---- writing


def warn(warnings: Sequence[Diagnostic]) -> None:
    for warning in warnings:
        click.echo(warning.render(), err=True)


def print_json(value: Mapping[str, object]) -> None:
    """Print one object. ``ok`` tells whether the exit status is 0, also where nothing else does."""
    click.echo(json.dumps({"ok": True, **value}, indent=2, ensure_ascii=False))


def table(
    headings: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """An aligned table; bold headings only on a terminal, and nothing cut off.

    Not rich's: that shortens cells to fit the terminal, and takes a second per 1,500 lines.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(headings, *lines, strict=True)]

    def aligned(line: Sequence[str]) -> str:
        cells = []
        for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
            blanks = " " * (width - cell_len(cell))
            cells.append(blanks + cell if i in right else cell + blanks)
        return "   ".join(cells).rstrip()

    click.secho(aligned(headings), bold=True)
    click.echo("─" * (sum(widths) + 3 * (len(widths) - 1)))
    click.echo("".join(f"{aligned(line)}\n" for line in lines), nl=False)


@contextlib.contextmanager
def progress(as_json: bool = False) -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is going on; nothing when output is redirected."""
    if as_json or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("…") as status:
        yield lambda text: status.update(text)


# ---- the end of a command


class Failed(Exception):
    """The command has said what is wrong; it ends with exit status 1."""


def report(error: GrowcError, as_json: bool) -> None:
    """Print mistakes: as text to standard error, or as JSON."""
    if as_json:
        print_json({"ok": False, "errors": [d.as_json() for d in error.diagnostics]})
    else:
        click.echo(render_all(error.diagnostics), err=True)


def render_all(diagnostics: Sequence[Diagnostic]) -> str:
    """All diagnostics, a blank line between those with an excerpt."""
    return "\n\n".join(d.render() for d in diagnostics)
