"""``growc search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .search_neuroevolution import command as neuroevolution
from .training_options import (
    COUNT,
    FROM_0,
    check_usage,
    given,
    graph_of,
    run,
    settings_of,
    training_options,
)

if TYPE_CHECKING:
    from ..search.ilnas import Ilnas
    from ..train.schedule import Repeated
    from ..train.settings import Settings


@click.group()
def command() -> None:
    """Search for an architecture while it is trained."""


command.add_command(neuroevolution)


OWN = {
    "max_params": "max_params",
    "arch_lr": "arch_lr",
    "arch_lr_decay": "decay",
    "granularity": "granularity",
    "candidate_ratio": "ratio",
    "select": "select",
    "gradient_batches": "batches",
    "shared": "shared",
    "nodes": "nodes",
    "sources": "sources",
    "layers": "layers",
}
"""The options of the search, and what they are called in a growth schedule."""
OTHERS = {"expand_every", "expand_flat", "freeze", "start_params"}
FREEZE = 0.2
SHARED = 0.2
"""With several data sets, the share of parameters that several tasks use (Table 3's first rows)."""


@command.command("ilnas")
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--max-params", type=COUNT, metavar="P", help="Largest number of parameters, |α|.")
@click.option(
    "--start-params",
    type=COUNT,
    metavar="P",
    help="Without FILE: size of the random baseline.  [default: half of --max-params]",
)
@click.option(
    "--expand-every", type=COUNT, metavar="N", help="Updates between expansions.  [default: epoch]"
)
@click.option(
    "--expand-flat",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="F",
    help="Expand earlier where the training loss no longer falls by this share of itself.",
)
@click.option(
    "--freeze",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="F",
    help="Share of the run at whose end the architecture stays.  [default: 0.2]",
)
@click.option(
    "--arch-lr",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Architecture learning rate: what an expansion adds, as a share of |α|.  "
    "[default: what reaches --max-params]",
)
@click.option(
    "--arch-lr-decay",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="By what it is multiplied from one expansion to the next.  [default: 0.95]",
)
@click.option("--granularity", metavar="G", help="layer, kernel, weight, mixed.  [default: mixed]")
@click.option(
    "--candidate-ratio",
    type=click.FloatRange(1),
    metavar="X",
    help="How many candidates there are for each parameter that is added.  [default: 2]",
)
@click.option("--select", metavar="S", help="gradient, or random (a baseline).")
@click.option(
    "--gradient-batches",
    type=COUNT,
    metavar="N",
    help="Batches that the candidates' gradients are of.  [default: 1]",
)
@click.option(
    "--shared",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="F",
    help="With several data sets: wanted share of parameters that several tasks use.  "
    "[default: 0.2]",
)
@click.option("--nodes", type=FROM_0, metavar="N", help="Placeholders a layer.  [default: 8]")
@click.option(
    "--sources",
    type=FROM_0,
    metavar="N",
    help="Layers that may be connected with an earlier node of their stage.  [default: 2]",
)
@click.option("--layers", type=FROM_0, metavar="N", help="New layers tried.  [default: none]")
@training_options
def ilnas(**params: Any) -> None:
    """Intra-layer architecture search (ILNAS): single weights, kernels, nodes and layers.

    Every few updates the connections with the largest gradients are added to the network, until it
    has --max-params parameters. Without FILE, the search begins at a random network of the
    template: three stages of convolutions with random kernels missing, then linear layers.

    With several data sets, as in --data 'mnist:DIR + fashion_mnist:DIR', one network learns these
    tasks at a time, with weights that are shared in part.

    Each expansion is a pipeline of new_node, new_layer and new_connection, proved to keep the
    function, in RUN/growth.json. RUN is as `growc train` makes it; DATA and the other options are
    those of `growc train`, whose --help says more. A search goes on with --resume.
    """
    check_usage(params, file_needed=False)
    ctx = click.get_current_context()
    options = given(ctx, frozenset(OTHERS))
    own = {OWN[name]: options.pop(name) for name in [n for n in OWN if n in options]}
    if params["start_params"] is not None and (params["file"] is not None or params["resume"]):
        raise click.UsageError("--start-params is for a search without FILE")
    from ..train.machine import settle_in

    settle_in()
    from ..search.ilnas import start_for
    from ..train.runs import largest, sets_of

    # Growth steps of a search leave the learning rate alone: set with the schedule below.
    told = settings_of(ctx, {**options, "scale_lr": True})
    stored = _stored(told)
    if stored is not None:
        own = {**vars(stored.search), **own}
    if "max_params" not in own:
        raise click.UsageError("give --max-params")
    if (params["start_params"] or 0) >= own["max_params"]:
        raise click.UsageError("--start-params must be less than --max-params")
    data = sets_of(told)
    from ..train.settings import EPOCHS

    if len(data) > 1 and stored is None:
        own.setdefault("shared", SHARED)
    told = told.resolved(largest(data), params["epochs"] or EPOCHS)
    told = _with_search(told, own, stored, params)
    graph = graph_of(params)
    if graph is None and not params["resume"]:
        size = params["start_params"] or own["max_params"] // 2
        shared = own.get("shared")
        graph = start_for(data, size, told.seed, SHARED if shared is None else shared)
    run("search ilnas", graph, told, params, data)


def _stored(told: Settings) -> Repeated | None:
    """The search that a configuration, or the run that is resumed, has."""
    from ..search import ilnas as ilnas  # so that growth schedules can hold it
    from ..train.schedule import Repeated, parse_schedule

    stored = next(iter(parse_schedule(told.grow)), None)
    if stored is not None and not isinstance(stored, Repeated):
        raise click.UsageError("the configuration has growth steps; a search finds its own")
    return stored


def _with_search(
    told: Settings, own: dict[str, Any], stored: Repeated | None, params: dict[str, Any]
) -> Settings:
    """The settings with the search as their growth schedule."""
    from dataclasses import replace

    from ..ir import Source, Span
    from ..train.schedule import Repeated

    freeze = params["freeze"]
    until: int | None = round(told.updates * (1 - (FREEZE if freeze is None else freeze)))
    every, flat = told.evaluate_every, params["expand_flat"]
    if stored is not None:
        every, flat = stored.every, stored.flat if flat is None else flat
        until = stored.until if freeze is None else until
    every = params["expand_every"] or every
    search = _ilnas(own)
    if until is not None and until < every:
        raise click.UsageError(
            f"the first expansion would be at {every}, after the architecture is fixed at {until}; "
            "give --expand-every, a smaller --freeze, or more --updates"
        )
    schedule = Repeated(every, until, search, Span(Source("--grow", ""), 0, 0), flat)
    return replace(told, grow=str(schedule), scale_lr=False)


def _ilnas(own: dict[str, Any]) -> Ilnas:
    from ..ir.attributes import BadArgument
    from ..search.ilnas import Ilnas

    try:
        return Ilnas(**own)
    except BadArgument as error:
        raise click.UsageError(f"--{str(error.where).replace('_', '-')}: {error.message}") from None
