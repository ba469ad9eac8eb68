"""``growc export``."""

from __future__ import annotations

from pathlib import Path

import click

from .common import (
    force_option,
    json_option,
    opset_option,
    print_json,
    progress,
    read_graph,
    seed_option,
    set_option,
    weights_option,
)


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "-o", "output", required=True, metavar="OUT", help="OUT.onnx, or OUT.pt for a PyTorch module."
)
@opset_option
@set_option
@weights_option
@seed_option
@force_option
@json_option
def command(
    file: str,
    output: str,
    opset: int | None,
    settings: tuple[str, ...],
    weights: str | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write a network as ONNX or as a PyTorch module, by the ending of OUT.

    An ONNX file is checked, run in onnxruntime and compared with torch before it is written. A
    .pt file holds a torch.fx GraphModule, for torch.load(OUT, weights_only=False); it needs growc
    where PyTorch has no module for an op, as for masks, uneven padding and constants.
    """
    kinds = {".onnx": "onnx", ".pt": "torch"}
    path = Path(output)
    if path.suffix not in kinds:
        raise click.BadParameter("the file must end in .onnx or .pt", param_hint="-o")
    if opset is not None and path.suffix != ".onnx":
        raise click.BadParameter("only an .onnx file has an opset", param_hint="--opset")
    from ..compiler import artifacts
    from ..ir import initialize
    from ..ir.diagnostics import plural
    from ..ir.files import refuse_existing, write_files

    refuse_existing([path], overwrite=force)
    prefix = path.with_suffix("")
    kind = kinds[path.suffix]
    check = None
    with progress(as_json) as tell:
        tell("reading")
        graph = read_graph(file, settings, weights, quiet=as_json)
        initialized = initialize(graph, seed)
        tell("lowering")
        files = artifacts.contents(graph, prefix, (kind,), opset=opset or artifacts.OPSET)
        if kind == "onnx":
            tell("running the ONNX file")
            check = artifacts.check_onnx(graph, prefix, files, seed)
        write_files(files, overwrite=force)
    if as_json:
        print_json(
            {
                "ok": True,
                "net": graph.name,
                "initialized": initialized,
                "files": [str(f) for f in files],
                "onnxruntime": {
                    "max_abs_diff": check[0].worst.max_abs,
                    "providers": list(check[1]),
                }
                if check
                else None,
            }
        )
        return
    if initialized:
        click.echo(f"{plural(initialized, 'parameter tensor')} drawn at random (seed {seed})")
    if check is not None:
        click.echo(
            f"ONNX file runs in onnxruntime ({check[1][0]}): max |Δ| "
            f"{check[0].worst.max_abs:.1e} against torch"
        )
    click.echo("wrote " + " ".join(map(str, files)))
