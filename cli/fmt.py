"""``growc fmt``."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from .common import STDIO, Failed, json_option, print_json, read_stdin, render_all


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; print what would change.")
@json_option
def command(files: tuple[str, ...], check: bool, show_diff: bool, as_json: bool) -> None:
    """Rewrite .arch files in place in canonical style. Comments stay; the network does not change.

    `growc fmt -` formats standard input to standard output.
    """
    from ..grammar import read_source
    from ..grammar.formatter import format_source
    from ..ir import GrowcError
    from ..ir.files import write_files

    would_change = []
    failed = False
    errors = []
    for file in files:
        try:
            source = read_stdin() if file == STDIO else read_source(Path(file))
            text = format_source(source)
        except GrowcError as error:
            failed = True
            errors += [d.as_json() for d in error.diagnostics]
            if not as_json:
                click.echo(render_all(error.diagnostics), err=True)
            continue
        if file == STDIO and not (check or show_diff or as_json):
            click.echo(text, nl=False)
            continue
        if text == source.text:
            continue
        would_change.append(file)
        if show_diff and not as_json:
            click.echo(_diff(file, source.text, text), nl=False)
        elif check and not as_json:
            click.echo(f"would reformat {file}")
        if not (check or show_diff) and file != STDIO:
            write_files({Path(file): text.encode()}, overwrite=True)
            if not as_json:
                click.echo(f"reformatted {file}")
    failed = failed or (check and bool(would_change))
    if as_json:
        key = "would_change" if check or show_diff else "changed"
        print_json(
            {"ok": not (failed or (check and would_change)), key: would_change, "errors": errors}
        )
    if failed:
        raise Failed


def _diff(file: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        file,
        f"{file} (formatted)",
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
