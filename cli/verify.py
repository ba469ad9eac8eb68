"""``growc verify``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Failed, is_onnx, json_option, print_json, progress, read_graph, seed_option

if TYPE_CHECKING:
    from ..compiler.verifying import Verified
    from ..ir import Graph
    from ..proof import Difference


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
    """Decide whether two networks compute the same. Each is an .arch file or an ONNX model.

    They are proved equal where that is possible, in real arithmetic; then both are run on random
    inputs, and the largest difference of any output is printed. The verdict is proved, refuted, or
    unproved: no proof, and no difference found. An .onnx file is read for the proof, and run in
    onnxruntime beside what was read; one that growc cannot read is only run. Exit status 1 if
    refuted, else 0. Networks without weights get the same random ones, by --seed, wherever names
    agree.
    """
    from ..ir import GrowcError

    models = [f for f in (a, b) if is_onnx(f)]
    if models and certificate:
        raise GrowcError("certificates are about .arch files")
    if models and mode in ("train", "both"):
        raise GrowcError(
            f"{models[0]}: an ONNX model has no train mode", help="use --mode eval, or leave it out"
        )
    with progress(as_json) as tell:
        tell("reading")
        found = _compared(a, b, mode, certificate, seed, as_json, tell)
    _print(found, as_json)
    if found.verdict == "refuted":
        raise Failed


def _compared(
    a: str,
    b: str,
    mode: str | None,
    certificate: str | None,
    seed: int,
    as_json: bool,
    tell: Callable[[str], None],
) -> Verified:
    from ..compiler.certificates import recheck
    from ..compiler.verifying import only_run, verify

    sides = [_side(file, seed, as_json) for file in (a, b)]
    if any(isinstance(side, str) for side in sides):
        tell("running both")
        return only_run(*sides, seed=seed)
    before, after = sides
    models = {file: side for file, side in zip((a, b), sides, strict=True) if is_onnx(file)}
    modes: tuple[str, ...] = (mode,) if mode in ("eval", "train") else ("eval", "train")
    if models:
        modes = ("eval",)
    tell("proving, and running both")
    proof = recheck(certificate, before, after) if certificate is not None else None
    return verify(before, after, modes, models=models, proof=proof, seed=seed)


def _side(file: str, seed: int, as_json: bool) -> Any:
    """The network of a file with values for all parameters, or the path of a model that growc
    cannot read."""
    from ..ir import GrowcError

    try:
        return _ready(file, seed, as_json)
    except GrowcError as error:
        if not is_onnx(file) or not Path(file).is_file():
            raise
        if not as_json:
            click.echo(f"note: {error.diagnostics[0].message}", err=True)
        return file


def _ready(file: str, seed: int, as_json: bool) -> Graph:
    from ..ir import initialize
    from ..ir.diagnostics import plural

    graph = read_graph(file, quiet=as_json)
    count = initialize(graph, seed)
    if count and not as_json:
        tensors = plural(count, "parameter tensor")
        click.echo(f"note: {file}: {tensors} drawn at random (seed {seed})", err=True)
    return graph


def _print(found: Verified, as_json: bool) -> None:
    proof = found.proof
    if as_json:
        from ..compiler.certificates import as_json as plain

        print_json(
            {
                "verdict": found.verdict,
                "max_abs_diff": found.comparison.worst.max_abs,
                "agrees": found.comparison.agrees,
                "seed": found.comparison.seed,
                "proof": plain(proof) if proof else None,
                "differences": [d.as_json() for d in found.comparison.differences],
                "onnxruntime": {file: c.worst.as_json() for file, c in found.runtimes.items()},
            }
        )
        return
    for d in found.comparison.differences:
        _line(d)
    for file, comparison in found.runtimes.items():
        _line(comparison.worst, f" ({file} in onnxruntime, against what growc read)")
    if found.verdict == "proved":
        assert proof is not None
        click.echo(f"proved: the same function, in real arithmetic ({', '.join(proof.modes)})")
        if not found.comparison.agrees:
            click.echo("in floating point they differ, by rounding or overflow: see above")
    elif found.verdict == "refuted":
        click.echo(f"refuted: on the inputs of seed {found.comparison.seed} the outputs differ")
    elif proof is None:
        click.echo("unproved: equal within rounding on random inputs (a model was only run)")
    else:
        click.echo("unproved: equal within rounding on random inputs, which is no proof")
    if proof is not None and proof.parting is not None:
        click.echo(str(proof.parting))


def _line(d: Difference, more: str = "") -> None:
    click.echo(
        f"{d.mode:<5}  {d.dtype}  max |Δ| {d.max_abs:.2e}, {d.relative:.1e} of the outputs' "
        f"scale {d.scale:.3g}{more}"
    )
