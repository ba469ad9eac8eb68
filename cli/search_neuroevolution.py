"""``growc search neuroevolution``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .training_options import (
    COUNT,
    carry_out,
    check_usage,
    given,
    graph_of,
    numbers,
    settings_of,
    training_options_but_length,
)

if TYPE_CHECKING:
    from ..search.neuroevolution.settings import Evolution


OWN = (
    "iterations",
    "first_updates",
    "updates",
    "population",
    "keep",
    "select",
    "mutations",
    "widths",
    "tau",
    "moments",
    "statistics",
    "scale_lr",
    "scale_weight_decay",
    "ensemble",
    "head_updates",
)
"""The options of the search; all others are those of any training run."""


@click.command("neuroevolution")
@click.argument("file", metavar="[FILE]", required=False)
@click.option(
    "--iterations", type=COUNT, metavar="N", help="Selections and mutations.  [default: 15]"
)
@click.option(
    "--updates",
    type=COUNT,
    metavar="N",
    help="Updates of all models together in an iteration.  [default: 5000]",
)
@click.option(
    "--first-updates",
    type=COUNT,
    metavar="N",
    help="Updates of the first model alone.  [default: as --updates]",
)
@click.option("--population", type=COUNT, metavar="M", help="Models trained.  [default: 10]")
@click.option("--keep", type=COUNT, metavar="K", help="Models selected.  [default: 3]")
@click.option("--select", metavar="S", help="accuracy, coevolution.  [default: accuracy]")
@click.option(
    "--mutations",
    metavar="M",
    help="Passes with their chances: '0.5: r2wider; 0.5: r2deeper{kernel=5}'.  [default: both, "
    "kernels 1, 3, 5]",
)
@click.option(
    "--widths",
    callback=numbers(float, "give numbers with commas between them: 0.5,1,2"),
    metavar="X,X",
    help="Widths of new R2R blocks, as multiples of their output.  [default: 0.5,1,2]",
)
@click.option(
    "--tau",
    type=float,
    metavar="X",
    help="A mutation's parameters before over after are above it.  [default: 0]",
)
@click.option(
    "--moments",
    metavar="M",
    help="What optimizers know of a parameter: shared by models, or their own.  [default: shared]",
)
@click.option(
    "--statistics",
    metavar="S",
    help="Running statistics: a model's own, or tied where nothing before differs.  [default: own]",
)
@click.option(
    "--scale-lr/--no-scale-lr",
    default=True,
    help="Multiply a child's learning rate by the parameters before over after.  "
    "[default: scale-lr]",
)
@click.option(
    "--scale-weight-decay/--no-scale-weight-decay", default=False, help="The weight decay, too."
)
@click.option(
    "--ensemble/--no-ensemble",
    default=False,
    help="At the end join the models selected, and train a head that reads their logits.",
)
@click.option(
    "--head-updates",
    type=COUNT,
    metavar="N",
    help="Updates of the ensemble's head.  [default: as --updates]",
)
@click.option(
    "--search-config",
    metavar="FILE",
    help="The options above in TOML, as RUN/search.toml; those given here override it.",
)
@training_options_but_length
def command(**params: Any) -> None:
    """Neuroevolution with shared parameters: networks evolve while they are trained together.

    Again and again the best K networks are kept, children of them that R2R passes widen or deepen
    fill up the population, and all of them are trained, sharing the parameters that they have in
    common. R2R mutations are proved to keep the function; --verify says how others are checked.

    FILE is the first network. RUN gets the best network, every model ever alive in models/, and who
    came from whom in lineage.json. DATA and the other options are those of `growc train`; a search
    goes on with --resume.
    """
    check_usage(params)
    from ..train.machine import settle_in

    settle_in()
    from ..search.neuroevolution import neuroevolution
    from ..search.neuroevolution.folder import SearchFolder
    from ..train.run_folder import SEARCH
    from .search_output import TalkingOfEvolution

    ctx = click.get_current_context()
    if params["config"] is not None and Path(params["config"]).name == SEARCH:
        raise click.UsageError("--config is for settings.toml; give search.toml to --search-config")
    options = given(ctx, besides=frozenset({"search_config"}))
    own = {name: options.pop(name) for name in OWN if name in options}
    folder = Path(params["folder"])
    told = settings_of(ctx, options, SearchFolder(folder))
    evolution = _evolution(own, params)
    observer = TalkingOfEvolution(folder, quiet=params["as_json"])

    def begin() -> dict[str, Any]:
        return neuroevolution(
            graph_of(params),
            told,
            evolution,
            folder,
            resume=params["resume"],
            overwrite=params["force"],
            device=params["device"],
            workers=params["workers"],
            tensorboard=params["tensorboard"],
            observer=observer,
            name=params["file"] or "the network",
        )

    carry_out("search neuroevolution", params, begin, observer)


def _evolution(given: dict[str, Any], params: dict[str, Any]) -> Evolution:
    """The search: of the options, else of the file, else of the run that is resumed."""
    from ..search.neuroevolution.runs import stored
    from ..search.neuroevolution.settings import Evolution, WrongOption

    before = vars(stored(params["folder"])) if params["resume"] else {}
    file = params["search_config"]
    told = {} if file is None else Evolution.from_toml(Path(file))
    options = before | told | given
    if "updates" in options:
        options = {"first_updates": options["updates"], **options}
    try:
        return Evolution(**options)
    except WrongOption as error:
        inside = error.option in told and error.option not in given
        where = f" (`{error.option}` is in {file})" if inside else ""
        why = error.diagnostics[0]
        raise click.UsageError(f"{why.message}{where}; {why.help}") from None
