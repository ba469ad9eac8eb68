"""``growc report``."""

from __future__ import annotations

from pathlib import Path

import click

from .common import STDIO, force_option, json_option, print_json


@click.command()
@click.argument("folder", metavar="RUN")
@click.option("-o", "file", required=True, metavar="FILE", help="The page (`-`: standard output).")
@force_option
@json_option
def command(folder: str, file: str, force: bool, as_json: bool) -> None:
    """Write one HTML page about a run: result, curves, growth steps, connections, architecture.

    RUN is the folder that `growc train` was given with -o; a run that has not finished is shown
    as far as it is. The page needs no other file and no network.
    """
    if as_json and file == STDIO:
        raise click.UsageError("`-o -` prints the page, so --json cannot print beside it")
    from ..ir.diagnostics import plural
    from ..ir.files import refuse_existing, write_files
    from ..report import as_html, read_run

    if file != STDIO:
        refuse_existing([Path(file)], overwrite=force)  # before the work
    run = read_run(folder)
    text = as_html(run)
    if file == STDIO:
        click.echo(text, nl=False)
        return
    write_files({Path(file): text.encode()}, overwrite=force)
    done = run.evaluations[-1].update if run.evaluations else 0
    if as_json:
        print_json(
            {
                "report": file,
                "net": run.net.name,
                "finished": run.outcome is not None,
                "updates": done,
                "evaluations": len(run.evaluations),
                "growth_steps": len(run.growths),
                "parameters": run.net.parameter_count(),
            }
        )
        return
    state = "" if run.outcome else ", not finished"
    steps = plural(len(run.growths), "growth step")
    if run.evolution is not None:
        steps = plural(len(run.evolution.births), "model")
    click.echo(f"{run.net.name}: {plural(done, 'update')}, {steps}{state}")
    click.echo(f"wrote {file}")
