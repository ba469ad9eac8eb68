"""``growc verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Failed, json_option, print_json, progress, read_graph, seed_option

if TYPE_CHECKING:
    from ..ir import Graph
    from ..proof import Comparison


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--mode",
    type=click.Choice(["eval", "train", "both"]),
    default=None,
    help="Which mode to compare in.  [default: both; eval where a file is ONNX]",
)
@seed_option
@json_option
def command(a: str, b: str, mode: str | None, seed: int, as_json: bool) -> None:
    """Compare what two networks compute, on random inputs: two .arch files, or one and its .onnx.

    Prints the largest absolute difference of any output. Exit status 0 if rounding explains it,
    else 1. Networks without weights get the same random ones, by --seed, wherever names agree.
    """
    from ..ir import GrowcError
    from ..proof import compare

    models = [f for f in (a, b) if Path(f).suffix == ".onnx"]
    if len(models) == 2:
        raise GrowcError(
            "one of the two must be an .arch file", help="compare each of the models with it"
        )
    if models and mode in ("train", "both"):
        raise GrowcError(
            f"{models[0]}: an ONNX model has no train mode", help="use --mode eval, or leave it out"
        )
    with progress(as_json) as tell:
        tell("reading")
        if models:
            graph = _ready(b if a in models else a, seed, as_json)
            tell("running both")
            comparison = _against_onnx(graph, models[0], seed)
        else:
            before, after = _ready(a, seed, as_json), _ready(b, seed, as_json)
            tell("running both")
            modes = (mode,) if mode in ("eval", "train") else ("eval", "train")
            comparison = compare(before, after, modes=modes, seed=seed)
    _print(a, b, comparison, as_json)
    if not comparison.agrees:
        raise Failed


def _ready(file: str, seed: int, as_json: bool) -> Graph:
    from ..ir import initialize
    from ..ir.diagnostics import plural

    graph = read_graph(file, quiet=as_json)
    count = initialize(graph, seed)
    if count and not as_json:
        tensors = plural(count, "parameter tensor")
        click.echo(f"note: {file}: {tensors} drawn at random (seed {seed})", err=True)
    return graph


def _against_onnx(graph: Graph, model: str, seed: int) -> Comparison:
    from ..ir import GrowcError
    from ..proof import compare_runtimes

    if not Path(model).is_file():
        raise GrowcError(f"{model}: no such file")
    return compare_runtimes(graph, Path(model), seed=seed)[0]


def _print(a: str, b: str, comparison: Comparison, as_json: bool) -> None:
    worst = comparison.worst
    if as_json:
        print_json(
            {
                # Samples can refute, but never prove.
                "verdict": "unproved" if comparison.agrees else "refuted",
                "max_abs_diff": worst.max_abs,
                "agrees": comparison.agrees,
                "seed": comparison.seed,
                "differences": [d.as_json() for d in comparison.differences],
            }
        )
        return
    for d in comparison.differences:
        click.echo(
            f"{d.mode:<5}  {d.dtype}  max |Δ| {d.max_abs:.2e}, {d.relative:.1e} of the outputs' "
            f"scale {d.scale:.3g}"
        )
    if comparison.agrees:
        click.echo("equal within rounding on random inputs (which is no proof)")
    else:
        click.echo(f"different: {a} and {b} are not the same function (seed {comparison.seed})")
