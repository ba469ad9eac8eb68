"""The command line: finds the command, and turns every mistake into words and an exit status."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from .common import Failed, report

if TYPE_CHECKING:
    from ..ir import GrowcError

COMMANDS = {
    "check": "Read networks; print inputs, outputs, parameters and MACs.",
    "fmt": "Rewrite .arch files in canonical style; comments stay.",
    "show": "Print the layer table, or draw the network.",
    "passes": "List the passes, or explain one.",
    "compile": "Apply passes, check that the function is kept, write it.",
    "verify": "Decide whether two networks compute the same.",
    "diff": "Say what differs between two networks.",
    "import": "Read a trained ONNX or PyTorch model as .arch and weights.",
    "export": "Write a network as ONNX or as a PyTorch module.",
    "train": "Train a network on images, growing it on the way.",
    "search": "Search for an architecture while it is trained.",
    "report": "Write one HTML page about a run.",
}


class Commands(click.Group):
    """Imports a command's file only when that command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        # `import` is a keyword of Python, so its file has another name.
        command = import_module(f"growc.cli.{'import_' if name == 'import' else name}").command
        assert isinstance(command, click.Command)
        command.short_help = COMMANDS[name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from ..ir.diagnostics import did_you_mean

            hint = did_you_mean(args[0], COMMANDS)
            hint = f" {hint[0].upper()}{hint[1:]}" if hint else ""
            raise click.UsageError(error.message + hint, ctx) from None


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from .. import __version__

        click.echo(f"growc {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Print the version.",
)
def growc() -> None:
    """Grow neural networks without changing what they compute.

    A network is text (.arch), or read from a trained ONNX or PyTorch model. Passes make it wider
    or deeper and keep its function; train it on in PyTorch, or export it to ONNX. A file may be
    `-`: standard input or output.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. Exit status: 0 fine, 1 wrong input or failed claim, 2 wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given
    try:
        growc.main(given, prog_name="growc", standalone_mode=False)
        status = 0
    except Failed:
        status = 1
    except click.ClickException as error:
        if as_json:
            report(_as_mistake(error), as_json)
        else:
            error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; nothing was written", err=True)
        status = 130
    except BrokenPipeError:
        # The reader of a pipe (`growc show … | head`) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:
        report(_as_mistake(error), as_json)
        status = 1
    sys.exit(status)


def _as_mistake(error: Exception) -> GrowcError:
    """What to tell the user about any exception."""
    # Imported late: `growc --help` needs nothing of the IR.
    from ..ir import GrowcError

    if isinstance(error, GrowcError):
        return error
    if isinstance(error, click.ClickException):
        return GrowcError(error.format_message())
    if isinstance(error, MemoryError):
        return GrowcError("this network does not fit into memory; nothing was written")
    if os.environ.get("GROWC_TRACEBACK"):
        raise error
    return GrowcError(
        f"growc itself failed ({type(error).__name__}: {error}); nothing was written",
        help="this is a bug: please report it, with what GROWC_TRACEBACK=1 prints",
    )
