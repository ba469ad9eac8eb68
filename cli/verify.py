"""``growc verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Failed, json_option, print_json, progress, read_graph, seed_option

if TYPE_CHECKING:
    from ..ir import Graph
    from ..proof import Comparison, Proof


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--mode",
    type=click.Choice(["eval", "train", "both"]),
    default=None,
    help="Which mode to compare in.  [default: both; eval where a file is ONNX]",
)
@click.option(
    "--certificate",
    metavar="F",
    help="Check again what the certificate F (PREFIX.proof.json) says of A and B.",
)
@seed_option
@json_option
def command(
    a: str, b: str, mode: str | None, certificate: str | None, seed: int, as_json: bool
) -> None:
    """Decide whether two networks compute the same: two .arch files, or one and its .onnx.

    Two .arch files are proved equal where that is possible, in real arithmetic; then both are run
    on random inputs, and the largest difference of any output is printed. The verdict is proved,
    refuted, or unproved: no proof, and no difference found. An .onnx file is only run. Exit status
    1 if refuted, else 0. Networks without weights get the same random ones, by --seed, wherever
    names agree.
    """
    from ..ir import GrowcError
    from ..proof import compare

    models = [f for f in (a, b) if Path(f).suffix == ".onnx"]
    if len(models) == 2 or (models and certificate):
        raise GrowcError(
            "one of the two must be an .arch file"
            if not certificate
            else "certificates are about .arch files",
            help="compare each of the models with it" if not certificate else None,
        )
    for model in models:
        if not Path(model).is_file():
            raise GrowcError(f"{model}: no such file")
    if models and mode in ("train", "both"):
        raise GrowcError(
            f"{models[0]}: an ONNX model has no train mode", help="use --mode eval, or leave it out"
        )
    with progress(as_json) as tell:
        tell("reading")
        if models:
            graph = _ready(b if a in models else a, seed, as_json)
            tell("running both")
            proof, comparison = None, _against_onnx(graph, models[0], seed)
        else:
            before, after = _ready(a, seed, as_json), _ready(b, seed, as_json)
            modes = (mode,) if mode in ("eval", "train") else ("eval", "train")
            tell("proving")
            proof = _prove(certificate, before, after, modes, seed)
            tell("running both")
            comparison = compare(before, after, modes=proof.modes, seed=seed)
    verdict = _verdict(proof, comparison)
    _print(verdict, proof, comparison, as_json)
    if verdict == "refuted":
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


def _prove(
    certificate: str | None, before: Graph, after: Graph, modes: tuple[str, ...], seed: int
) -> Proof:
    from ..certificates import recheck
    from ..proof import Prover

    if certificate is not None:
        return recheck(certificate, before, after)
    return Prover(seed)(before, after, modes, search=False)


def _verdict(proof: Proof | None, comparison: Comparison) -> str:
    if proof is not None and proof.verdict == "proved":
        return "proved"
    return "unproved" if comparison.agrees else "refuted"


def _against_onnx(graph: Graph, model: str, seed: int) -> Comparison:
    from ..proof import compare_runtimes

    return compare_runtimes(graph, Path(model), seed=seed)[0]


def _print(verdict: str, proof: Proof | None, comparison: Comparison, as_json: bool) -> None:
    if as_json:
        from ..certificates import as_json as plain

        print_json(
            {
                "verdict": verdict,
                "max_abs_diff": comparison.worst.max_abs,
                "agrees": comparison.agrees,
                "seed": comparison.seed,
                "proof": plain(proof) if proof else None,
                "differences": [d.as_json() for d in comparison.differences],
            }
        )
        return
    for d in comparison.differences:
        click.echo(
            f"{d.mode:<5}  {d.dtype}  max |Δ| {d.max_abs:.2e}, {d.relative:.1e} of the outputs' "
            f"scale {d.scale:.3g}"
        )
    if verdict == "proved":
        assert proof is not None
        click.echo(f"proved: the same function, in real arithmetic ({', '.join(proof.modes)})")
        if not comparison.agrees:
            click.echo("in floating point they differ, by rounding or overflow: see above")
    elif verdict == "refuted":
        click.echo(f"refuted: on the inputs of seed {comparison.seed} the outputs differ")
    elif proof is None:
        click.echo("unproved: equal within rounding on random inputs (ONNX files are only run)")
    else:
        click.echo("unproved: equal within rounding on random inputs, which is no proof")
    if proof is not None and proof.parting is not None:
        click.echo(str(proof.parting))
