"""``growc compile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import (
    STDIO,
    force_option,
    json_option,
    opset_option,
    print_json,
    progress,
    read_graph,
    seed_option,
    set_option,
    table,
    weights_option,
)

if TYPE_CHECKING:
    from ..compiler import Compiled, Step
    from ..proof import Comparison, Proof


def _kinds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    known = ("arch", "onnx", "torch")
    kinds = tuple(dict.fromkeys(k.strip() for k in value.split(",")))
    for kind in kinds:
        if kind not in known:
            raise click.BadParameter(f"{kind!r} is not one of {', '.join(known)}")
    return kinds


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--pass",
    "pipeline",
    multiple=True,
    metavar="P",
    help="A pass, or a comma-separated pipeline: 'r2wider{filters=16}, r2deeper'. May be repeated.",
)
@click.option(
    "-o", "prefix", required=True, metavar="PREFIX", help="Write PREFIX.arch, PREFIX.onnx, …"
)
@click.option(
    "--emit",
    callback=_kinds,
    metavar="KINDS",
    help="What to write, of arch (with safetensors), onnx, torch.  [default: arch,onnx]",
)
@click.option(
    "--verify",
    type=click.Choice(["proof", "numeric", "all", "none"]),
    default="proof",
    show_default=True,
    help="How claims are checked before anything is written: proved (and run on random inputs "
    "where there is no proof), run, both, or not at all.",
)
@opset_option
@set_option
@weights_option
@seed_option
@force_option
@json_option
def command(
    file: str,
    pipeline: tuple[str, ...],
    prefix: str,
    emit: tuple[str, ...],
    verify: str,
    opset: int | None,
    settings: tuple[str, ...],
    weights: str | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Apply passes to a network, prove that its function is preserved, and write the result.

    PREFIX.proof.json is the certificate, which `growc verify --certificate` checks again.
    Parameters without a value are drawn at random, by --seed. If a pass does not apply, or does
    not keep what it claims, nothing is written and the exit status is 1. With `-o -` the text
    goes to standard output, without weights.
    """
    if prefix == STDIO and set(emit) - {"arch"}:
        raise click.UsageError("standard output takes only text: use --emit arch with -o -")
    kinds = emit or ("arch", "onnx")
    if opset is not None and "onnx" not in kinds:
        raise click.BadParameter("only an ONNX file has an opset", param_hint="--opset")
    from ..compiler import artifacts, certificates, run
    from ..grammar import dumps
    from ..ir.files import refuse_existing, write_files
    from ..passes import parse_pipeline
    from ..proof import compare

    passes = [p for text in pipeline for p in parse_pipeline(text)]
    to_files = prefix != STDIO
    proof_file = artifacts.with_suffix(prefix, ".proof.json")
    if to_files:
        certified = [proof_file] if passes and verify != "none" else []
        refuse_existing([*artifacts.paths(prefix, kinds), *certified], overwrite=force)
    with progress(as_json) as tell:
        tell("reading")
        graph = read_graph(file, settings, weights)
        compiled = run(graph, passes, seed=seed, verify=verify, progress=tell)
        files: dict[Path, bytes] = {}
        onnx = numeric = None
        if to_files:
            tell("lowering")
            files = artifacts.contents(
                compiled.graph, prefix, kinds, opset=opset or artifacts.OPSET
            )
            if "onnx" in kinds and verify != "none":
                tell("running the ONNX file")
                onnx = artifacts.check_onnx(compiled.graph, prefix, files, seed)
            if certified:
                # Where torch is loaded anyway, the certificate also tells the rounding.
                run_both = verify != "proof" or set(kinds) & {"onnx", "torch"}
                if run_both and compiled.modes:
                    tell("running both networks")
                    numeric = compare(
                        compiled.start, compiled.graph, modes=compiled.modes, seed=seed
                    )
                files[proof_file] = certificates.to_text(compiled, numeric).encode()
            tell("writing")
            write_files(files, overwrite=force)
    if as_json:
        print_json(_report(compiled, files, onnx, numeric))
    elif to_files:
        _print(compiled, files, onnx, numeric)
    else:
        click.echo(dumps(compiled.graph), nl=False)


def _print(
    compiled: Compiled,
    files: dict[Path, bytes],
    onnx: tuple[Comparison, tuple[str, ...]] | None,
    numeric: Comparison | None,
) -> None:
    from ..ir.diagnostics import plural
    from ..ir.summary import si

    if compiled.steps:
        lines = [
            (
                str(step.applied),
                step.result.where,
                f"{step.before.parameter_count():,} → {step.result.graph.parameter_count():,}",
                f"{si(step.before.macs())} → {si(step.result.graph.macs())}",
                _function(step),
            )
            for step in compiled.steps
        ]
        table(("pass", "at", "parameters", "MACs", "function"), lines)
        for step in compiled.steps:
            for refusal in step.result.refused:
                click.echo(f"{step.applied.name} left out {refusal}")
    else:
        graph = compiled.graph
        click.echo(
            f"net {graph.name}: {graph.parameter_count():,} parameters, {si(graph.macs())} MACs"
        )
    if compiled.whole is not None or numeric is not None:
        click.echo(f"from end to end: {_end_to_end(compiled.whole, numeric)}")
    if compiled.initialized:
        click.echo(f"{plural(compiled.initialized, 'parameter tensor')} drawn at random")
    if onnx is not None:
        check, providers = onnx
        click.echo(
            f"ONNX file runs in onnxruntime ({providers[0]}): max |Δ| "
            f"{check.worst.max_abs:.1e} against torch"
        )
    click.echo("wrote " + " ".join(map(str, files)))


def _end_to_end(whole: Proof | None, numeric: Comparison | None) -> str:
    parts = []
    if whole is not None:
        parts.append(f"{whole.verdict} ({', '.join(whole.modes)})")
    if numeric is not None:
        parts.append(f"max |Δ| {numeric.worst.max_abs:.1e} in float64")
    return ", ".join(parts)


def _function(step: Step) -> str:
    """What is known of the function: proved, or how far outputs moved in the worst claimed mode."""
    claim = step.result.claim
    if step.proof is not None and step.proof.verdict == "proved":
        proved = f"preserved: proved ({', '.join(step.proof.proved_modes)})"
        return proved + (f", max |Δ| {_moved(step):.1e}" if step.check else "")
    if step.check is None:
        return f"not checked (claims {claim})"
    if not claim.modes:
        return f"changed: max |Δ| {step.check.worst.max_abs:.1e}"
    return f"preserved: max |Δ| {_moved(step):.1e} ({claim})"


def _moved(step: Step) -> float:
    assert step.check is not None
    judged = [d for d in step.check.differences if d.dtype == "float64"]
    return max(d.max_abs for d in judged if d.mode in step.result.claim.modes)


def _report(
    compiled: Compiled,
    files: dict[Path, bytes],
    onnx: tuple[Comparison, tuple[str, ...]] | None,
    numeric: Comparison | None,
) -> dict[str, Any]:
    from ..compiler.certificates import as_json

    return {
        "ok": True,
        "net": compiled.graph.name,
        "parameters": compiled.graph.parameter_count(),
        "macs": compiled.graph.macs(),
        "initialized": compiled.initialized,
        "passes": [
            {
                "pass": str(step.applied),
                "at": [place.name for place in step.result.places],
                "refused": {r.place.name: r.reason for r in step.result.refused},
                "parameters": [
                    step.before.parameter_count(),
                    step.result.graph.parameter_count(),
                ],
                "macs": [step.before.macs(), step.result.graph.macs()],
                "claims": list(step.result.claim.modes),
                "exact": step.result.claim.exact,
                "proof": as_json(step.proof) if step.proof else None,
                "differences": [d.as_json() for d in step.check.differences]
                if step.check
                else None,
            }
            for step in compiled.steps
        ],
        "end_to_end": as_json(compiled.whole) if compiled.whole else None,
        "differences": [d.as_json() for d in numeric.differences] if numeric else None,
        "onnxruntime": {"max_abs_diff": onnx[0].worst.max_abs, "providers": list(onnx[1])}
        if onnx
        else None,
        "files": [str(path) for path in files],
    }
