"""``growc train``."""

from __future__ import annotations

import os
import shlex
import sys
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
    from ..train.settings import Settings

NOT_SETTINGS = {"file", "settings", "weights", "folder", "config", "epochs", "device", "workers"}
NOT_SETTINGS |= {"tensorboard", "resume", "force", "as_json"}


def _updates(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("give updates with commas between them: 3000,4500") from None


COUNT = click.IntRange(min=1)
FROM_0 = click.IntRange(min=0)


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--data", metavar="DATA", help="digits, or NAME:DIR as above.  [default: digits]")
@click.option("-o", "folder", required=True, metavar="RUN", help="The folder of the run.")
@click.option("--config", metavar="FILE", help="Settings in TOML, as RUN/settings.toml.")
@click.option("--updates", type=COUNT, metavar="N", help="How long.  [default: 10 epochs]")
@click.option("--epochs", type=COUNT, metavar="N", help="How long, in epochs.")
@click.option("--batch-size", type=COUNT, metavar="N", help="Images an update.  [default: 64]")
@click.option("--lr", type=float, metavar="X", help="Learning rate.  [default: 0.001]")
@click.option(
    "--grow",
    metavar="STEPS",
    help="Grow while training: 'at 100: r2deeper; at 200: r2wider{filters=8}'.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in RUN.")
@click.option("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N.")
@click.option("--optimizer", metavar="O", help="adam, adamw, sgd.  [default: adam]")
@click.option("--weight-decay", type=float, metavar="X", help="[default: 0]")
@click.option(
    "--amsgrad/--no-amsgrad", default=False, help="Adam with the largest second moment so far."
)
@click.option("--beta1", type=float, metavar="X", help="Of Adam.  [default: 0.9]")
@click.option("--beta2", type=float, metavar="X", help="Of Adam.  [default: 0.999]")
@click.option("--momentum", type=float, metavar="X", help="Of SGD.  [default: 0]")
@click.option("--nesterov/--no-nesterov", default=False, help="Nesterov's momentum.")
@click.option("--clip", type=float, metavar="X", help="Largest norm of the gradient.")
@click.option("--loss", metavar="L", help="cross_entropy, binary_cross_entropy.")
@click.option("--label-smoothing", type=float, metavar="X", help="[default: 0]")
@click.option(
    "--lr-schedule", metavar="S", help="constant, linear, cosine, steps.  [default: constant]"
)
@click.option("--warmup", type=FROM_0, metavar="N", help="Updates in which the rate rises from 0.")
@click.option(
    "--lr-steps", callback=_updates, metavar="N,N", help="When the rate falls, with steps."
)
@click.option("--lr-decay", type=float, metavar="X", help="By what, with steps.  [default: 0.1]")
@click.option("--precision", metavar="P", help="float32, bfloat16, float16 (mixed precision).")
@click.option(
    "--scale-lr/--no-scale-lr",
    default=True,
    help="When growing, multiply the learning rate by the parameters' number before over after.  "
    "[default: scale-lr]",
)
@click.option(
    "--scale-weight-decay/--no-scale-weight-decay", default=False, help="The weight decay, too."
)
@click.option("--verify", metavar="V", help="proof, numeric, all, none.  [default: proof]")
@click.option("--normalize", metavar="N", help="channel, mean_image, none.  [default: channel]")
@click.option("--crop/--no-crop", default=False, help="Crop images at random, padded by 4.")
@click.option("--flip/--no-flip", default=False, help="Mirror every second image.")
@click.option(
    "--replacement/--no-replacement", default=False, help="Draw batches with replacement."
)
@click.option("--validation", type=FROM_0, metavar="N", help="Images to choose the best model by.")
@click.option("--evaluate-every", type=COUNT, metavar="N", help="Updates.  [default: an epoch]")
@click.option("--workers", type=FROM_0, metavar="N", help="Threads that prepare batches.")
@click.option("--tensorboard/--no-tensorboard", default=True, help="[default: tensorboard]")
@click.option(
    "--seed", type=FROM_0, metavar="N", help="For all that is random: weights, batches, dropout."
)
@set_option
@weights_option
@force_option
@json_option
def command(
    file: str | None,
    folder: str,
    config: str | None,
    epochs: int | None,
    device: str,
    workers: int | None,
    tensorboard: bool,
    resume: bool,
    settings: tuple[str, ...],
    weights: str | None,
    force: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Train a network that classifies images, and grow it on the way.

    DATA is `digits` (scikit-learn's, needs no files), `cifar10:DIR`, `cifar100:DIR`, `mnist:DIR`,
    `fashion_mnist:DIR`, `stl10:DIR`, or `folder:DIR?size=64` with images in DIR/train/CLASS and
    DIR/val/CLASS.

    At each growth step the passes run and are proved, and the optimizer is carried over. RUN gets
    best.arch, last.arch, best.onnx, metrics.csv, growth.json and what resuming needs: a run that
    was killed goes on with --resume, to the result it would have had. Start it with torchrun
    (`torchrun --nproc-per-node 2 -m growc train …`) to train on several GPUs.
    """
    if file is None and not resume:
        raise click.UsageError("give the network to train, or --resume")
    if resume and force:
        raise click.UsageError("--resume goes on with the run that --force would forget")
    from ..train.machine import settle_in

    settle_in()
    ctx = click.get_current_context()
    given = {
        name: value
        for name, value in ctx.params.items()
        if name not in NOT_SETTINGS
        and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if epochs is not None and "updates" in given:
        raise click.UsageError("give --updates or --epochs, not both")

    told = _told(given, config, epochs, folder, resume)
    graph = None if file is None else read_graph(file, settings, weights, quiet=as_json)
    from ..train.runs import train
    from ..train.settings import EPOCHS
    from .train_output import Talking

    first = os.environ.get("RANK", "0") == "0"
    observer = Talking(Path(folder), quiet=as_json)
    try:
        result = train(
            graph,
            told,
            folder,
            epochs=epochs or EPOCHS,
            resume=resume,
            overwrite=force,
            device=device,
            workers=workers,
            tensorboard=tensorboard,
            observer=observer,
            name=file or "the network",
        )
    except KeyboardInterrupt:
        observer.close()
        begun = (Path(folder) / "settings.toml").exists()
        goes_on = f"`growc train -o {shlex.quote(folder)} --resume` goes on"
        click.echo(f"stopped; {goes_on if begun else 'nothing was written'}", err=True)
        sys.exit(130)
    if as_json and first:
        print_json(result)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # A thread of torch.distributed that still runs when Python takes itself apart aborts the
        # process now and then, and torchrun then says that the run failed. All is written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _told(
    given: dict[str, Any], config: str | None, epochs: int | None, folder: str, resume: bool
) -> Settings:
    """The settings: of the options, else of the file, else of the run that is resumed."""
    from ..ir import GrowcError
    from ..train.runs import stored_settings
    from ..train.settings import Settings

    values: dict[str, Any] = {}
    if resume:
        values = {**vars(stored_settings(folder))}
    if config is not None:
        values |= Settings.from_toml(Path(config))
    try:
        settings = Settings(**{**values, **given})
    except GrowcError as error:
        if values:
            raise
        why = error.diagnostics[0]
        raise click.UsageError(f"{why.message}; {why.help}") from None
    return settings if epochs is None else replace(settings, updates=0)
