"""The options that ``growc train`` and ``growc search`` share, and the settings that they make."""

from __future__ import annotations

import functools
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .common import (
    force_option,
    json_option,
    print_json,
    read_graph,
    set_option,
    weights_option,
)

if TYPE_CHECKING:
    from ..ir import Graph
    from ..train.data import DataSet
    from ..train.run_folder import RunFolder
    from ..train.settings import Settings
    from .train_output import Talking

NOT_SETTINGS = {"file", "settings", "weights", "folder", "config", "epochs", "device", "workers"}
NOT_SETTINGS |= {"tensorboard", "resume", "force", "as_json"}


def numbers(kind: type[int] | type[float], help: str) -> Callable[..., Any]:
    """A callback that reads numbers with commas between them."""

    def read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return tuple(kind(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter(help) from None

    return read


_updates = numbers(int, "give updates with commas between them: 3000,4500")


PATIENCE = 3.0
"""Seconds that a process gives another one to end before it says what is wrong."""
COUNT = click.IntRange(min=1)
FROM_0 = click.IntRange(min=0)

LENGTH = (
    click.option("--updates", type=COUNT, metavar="N", help="How long.  [default: 10 epochs]"),
    click.option("--epochs", type=COUNT, metavar="N", help="How long, in epochs."),
)
OPTIONS = (
    click.option("--data", metavar="DATA", help="digits, or NAME:DIR.  [default: digits]"),
    click.option("-o", "folder", required=True, metavar="RUN", help="The folder of the run."),
    click.option("--config", metavar="FILE", help="Settings in TOML, as RUN/settings.toml."),
    *LENGTH,
    click.option("--batch-size", type=COUNT, metavar="N", help="Images an update.  [default: 64]"),
    click.option("--lr", type=float, metavar="X", help="Learning rate.  [default: 0.001]"),
    click.option("--resume", is_flag=True, help="Go on with the run in RUN."),
    click.option("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N."),
    click.option("--optimizer", metavar="O", help="adam, adamw, sgd.  [default: adam]"),
    click.option("--weight-decay", type=float, metavar="X", help="[default: 0]"),
    click.option(
        "--amsgrad/--no-amsgrad", default=False, help="Adam with the largest second moment so far."
    ),
    click.option("--beta1", type=float, metavar="X", help="Of Adam.  [default: 0.9]"),
    click.option("--beta2", type=float, metavar="X", help="Of Adam.  [default: 0.999]"),
    click.option("--momentum", type=float, metavar="X", help="Of SGD.  [default: 0]"),
    click.option("--nesterov/--no-nesterov", default=False, help="Nesterov's momentum."),
    click.option("--clip", type=float, metavar="X", help="Largest norm of the gradient."),
    click.option("--loss", metavar="L", help="cross_entropy, binary_cross_entropy."),
    click.option("--label-smoothing", type=float, metavar="X", help="[default: 0]"),
    click.option(
        "--lr-schedule", metavar="S", help="constant, linear, cosine, steps.  [default: constant]"
    ),
    click.option(
        "--warmup", type=FROM_0, metavar="N", help="Updates in which the rate rises from 0."
    ),
    click.option(
        "--lr-steps", callback=_updates, metavar="N,N", help="When the rate falls, with steps."
    ),
    click.option(
        "--lr-decay", type=float, metavar="X", help="By what, with steps.  [default: 0.1]"
    ),
    click.option("--precision", metavar="P", help="float32, bfloat16, float16 (mixed precision)."),
    click.option("--verify", metavar="V", help="proof, numeric, all, none.  [default: proof]"),
    click.option("--normalize", metavar="N", help="channel, mean_image, none.  [default: channel]"),
    click.option(
        "--crop",
        metavar="C",
        help="At random: pad (by 4, cropped again), resized (a part, enlarged).  [default: none]",
    ),
    click.option("--flip/--no-flip", default=False, help="Mirror every second image."),
    click.option(
        "--replacement/--no-replacement", default=False, help="Draw batches with replacement."
    ),
    click.option(
        "--validation", type=FROM_0, metavar="N", help="Images to choose the best model by."
    ),
    click.option("--evaluate-every", type=COUNT, metavar="N", help="Updates.  [default: an epoch]"),
    click.option("--workers", type=FROM_0, metavar="N", help="Threads that prepare batches."),
    click.option(
        "--tensorboard/--no-tensorboard", default=None, help="[default: tensorboard, or as before]"
    ),
    click.option(
        "--seed",
        type=FROM_0,
        metavar="N",
        help="For all that is random: weights, batches, dropout.",
    ),
    set_option,
    weights_option,
    force_option,
    json_option,
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all options of a training run. What is wrong with it is said once."""
    return _with(OPTIONS, command)


def training_options_but_length(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same, for a command that says otherwise how long it trains."""
    return _with([option for option in OPTIONS if option not in LENGTH], command)


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    command = _in_turn(command)
    for option in reversed(options):
        command = option(command)
    return command


def _in_turn(command: Callable[..., Any]) -> Callable[..., Any]:
    """Of several processes of torchrun, which mostly make the same mistake, let the first one end.

    torchrun ends the others once one has failed. What only one of them finds is said after a
    while; a lost connection, which follows from another one's mistake, last.
    """

    @functools.wraps(command)
    def ending(*args: Any, **params: Any) -> Any:
        from ..ir import GrowcError

        try:
            return command(*args, **params)
        except Exception as error:
            if os.environ.get("WORLD_SIZE", "1") != "1":
                plain = isinstance(error, GrowcError | click.ClickException)
                time.sleep(PATIENCE * ((not first_process()) if plain else 2))
            raise

    return ending


def first_process() -> bool:
    """Whether this process is the one that talks."""
    return os.environ.get("RANK", "0") == "0"


def given(ctx: click.Context, besides: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The options that were given, but for those that are no settings of a run."""
    return {
        name: value
        for name, value in ctx.params.items()
        if name not in NOT_SETTINGS | besides
        and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def settings_of(
    ctx: click.Context, options: dict[str, Any], run_folder: RunFolder | None = None
) -> Settings:
    """The settings: of the options, else of the file, else of the run that is resumed.

    ``run_folder`` is the folder of the run, if it is of another kind than that of ``growc train``.
    """
    from ..train.run_folder import RunFolder
    from ..train.runs import stored_settings
    from ..train.settings import Settings, WrongSetting

    params = ctx.params
    epochs = params.get("epochs")
    if epochs is not None and "updates" in options:
        raise click.UsageError("give --updates or --epochs, not both")
    run_folder = run_folder or RunFolder(Path(params["folder"]))
    stored = vars(stored_settings(run_folder)) if params["resume"] else {}
    file = None if params["config"] is None else Path(params["config"])
    told = {} if file is None else Settings.from_toml(file)
    try:
        settings = Settings(**{**stored, **told, **options})
    except WrongSetting as error:
        where = ""
        if file is not None and error.setting in told and error.setting not in options:
            where = f" (`{error.setting}` is in {file})"
            try:
                Settings(**{**stored, **told})
            except WrongSetting as own:  # wrong without any option
                raise own.within(file) from None
        why = error.diagnostics[0]
        raise click.UsageError(f"{why.message}{where}; {why.help}") from None
    return settings if epochs is None else replace(settings, updates=0)


def check_usage(params: dict[str, Any], *, file_needed: bool = True) -> None:
    """Raises ``click.UsageError`` for options that contradict each other."""
    if params["file"] is None and file_needed and not params["resume"]:
        raise click.UsageError("give the network to train, or --resume")
    if params["file"] is None and (params["settings"] or params["weights"]):
        raise click.UsageError("--set and --weights are for FILE, which is not given")
    if params["resume"] and params["force"]:
        raise click.UsageError("--resume goes on with the run that --force would forget")


def graph_of(params: dict[str, Any]) -> Graph | None:
    """The network in FILE, if that is given."""
    if params["file"] is None:
        return None
    return read_graph(
        params["file"],
        params["settings"],
        params["weights"],
        quiet=params["as_json"] or not first_process(),
    )


def _place_of_grow(params: dict[str, Any]) -> str:
    """Where the growth schedule stands."""
    from ..train.run_folder import RunFolder
    from ..train.settings import Settings

    if params.get("grow") is None:
        if params["config"] is not None and "grow" in Settings.from_toml(Path(params["config"])):
            return f"{params['config']}: grow"
        if params["resume"]:
            return f"{RunFolder(Path(params['folder'])).settings}: grow"
    return "--grow"


def run(
    command: str,
    graph: Graph | None,
    told: Settings,
    params: dict[str, Any],
    data: Sequence[DataSet] | None = None,
) -> None:
    """Train, and say what happens. ``command`` is what goes on with the run."""
    from ..train.runs import train
    from ..train.settings import EPOCHS
    from .train_output import Talking

    observer = Talking(Path(params["folder"]), quiet=params["as_json"])

    def begin() -> dict[str, Any]:
        return train(
            graph,
            told,
            params["folder"],
            epochs=params["epochs"] or EPOCHS,
            resume=params["resume"],
            overwrite=params["force"],
            device=params["device"],
            workers=params["workers"],
            tensorboard=params["tensorboard"],
            observer=observer,
            name=params["file"] or "the network",
            data=data,
            grow_in="the search" if command.startswith("search") else _place_of_grow(params),
        )

    carry_out(command, params, begin, observer)


def carry_out(
    command: str, params: dict[str, Any], begin: Callable[[], dict[str, Any]], observer: Talking
) -> None:
    """Begin a run, and say how it ends. ``command`` is what goes on with it."""
    folder = params["folder"]
    try:
        result = begin()
    except KeyboardInterrupt:
        observer.close()
        begun = (Path(folder) / "settings.toml").exists()
        goes_on = f"`growc {command} -o {shlex.quote(folder)} --resume` goes on"
        if first_process():
            click.echo(f"stopped; {goes_on if begun else 'nothing was written'}", err=True)
        sys.exit(130)
    if params["as_json"] and first_process():
        print_json(result)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # A thread of torch.distributed that still runs when Python takes itself apart aborts the
        # process now and then, and torchrun then says that the run failed. All is written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
