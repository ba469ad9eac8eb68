"""``growc train``."""

from __future__ import annotations

from typing import Any

import click

from .training_options import check_usage, given, graph_of, run, settings_of, training_options


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option(
    "--grow",
    metavar="STEPS",
    help="Grow while training: 'at 100: r2deeper; at 200: r2wider{filters=8}'.",
)
@click.option(
    "--scale-lr/--no-scale-lr",
    default=True,
    help="When growing, multiply the learning rate by the parameters' number before over after.  "
    "[default: scale-lr]",
)
@click.option(
    "--scale-weight-decay/--no-scale-weight-decay", default=False, help="The weight decay, too."
)
@training_options
def command(**params: Any) -> None:
    """Train a network that classifies images, and grow it on the way.

    DATA is `digits` (scikit-learn's, needs no files), `cifar10:DIR`, `cifar100:DIR`, `mnist:DIR`,
    `fashion_mnist:DIR`, `stl10:DIR`, or `folder:DIR` with images in DIR/train/CLASS and
    DIR/val/CLASS. `?size=32&channels=3` behind it makes images of that size and channels. A network
    with several inputs and outputs learns a data set with each: 'mnist:DIR + fashion_mnist:DIR'.

    At each growth step the passes run and are proved, and the optimizer is carried over. RUN gets
    best.arch, last.arch, best.onnx, metrics.csv, growth.json and what resuming needs: a run that
    was killed goes on with --resume, to the result it would have had. Start it with torchrun
    (`torchrun --nproc-per-node 2 -m growc train …`) to train on several GPUs.
    """
    check_usage(params)
    from ..train.machine import settle_in

    settle_in()
    from ..search import ilnas as ilnas  # so that growth schedules can hold it

    ctx = click.get_current_context()
    told = settings_of(ctx, given(ctx))
    run("train", graph_of(params), told, params)
