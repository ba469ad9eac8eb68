"""``growc import``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import STDIO, force_option, is_onnx, json_option, print_json, progress, seed_option

if TYPE_CHECKING:
    from ..importing import Imported


def _sizes(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    found = {}
    for text in values:
        name, _, size = text.partition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise click.BadParameter(f"{text!r} is not NAME=SIZE")
        found[name] = int(size)
    return found


@click.command("import")
@click.argument("model", metavar="MODEL")
@click.option(
    "-o",
    "prefix",
    required=True,
    metavar="PREFIX",
    help="Write PREFIX.arch and PREFIX.safetensors.",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    callback=_sizes,
    metavar="NAME=N",
    help="The size of an axis that the ONNX model leaves open, other than the batch. May be "
    "repeated.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="TYPE",
    help="The type of a PyTorch module's input without the batch, such as 3,224,224 or i64:128. "
    "Once for each input.",
)
@seed_option
@force_option
@json_option
def command(
    model: str,
    prefix: str,
    sizes: dict[str, int],
    inputs: tuple[str, ...],
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Read a trained model as .arch text and safetensors weights.

    MODEL is an .onnx file (opset 7 to 23), or package.module:factory for a PyTorch module. The
    factory returns the module, or the module and an example input. What was read is run beside
    the model on random inputs before anything is written. With `-o -` the text goes to standard
    output, without weights.
    """
    from ..compiler import artifacts
    from ..grammar import dumps
    from ..importing import import_module, import_onnx
    from ..ir.files import refuse_existing, write_files

    if is_onnx(model) and inputs:
        raise click.UsageError("--input is for PyTorch modules; an ONNX model says its inputs")
    if not is_onnx(model) and sizes:
        raise click.UsageError("--size is for ONNX models; use --input for a PyTorch module")
    to_files = prefix != STDIO
    if to_files:
        refuse_existing(artifacts.paths(prefix, ("arch",)), overwrite=force)
    with progress(as_json) as tell:
        if is_onnx(model):
            imported = import_onnx(model, sizes=sizes, seed=seed, progress=tell)
        else:
            imported = import_module(model, inputs, seed=seed, progress=tell)
        tell("writing")
        contents = artifacts.contents(imported.graph, prefix) if to_files else {}
        write_files(contents, overwrite=force)
    files = [str(path) for path in contents]
    if as_json:
        print_json(_report(imported, files))
    elif to_files:
        _print(imported, files)
    else:
        click.echo(dumps(imported.graph), nl=False)


def _print(imported: Imported, files: list[str]) -> None:
    from ..ir.diagnostics import plural
    from ..ir.summary import si

    graph, worst = imported.graph, imported.comparison.worst
    click.echo(
        f"net {graph.name}: {plural(len(graph), 'node')}, {graph.parameter_count():,} parameters, "
        f"{si(graph.macs())} MACs"
    )
    for kind, names in (("input", graph.inputs), ("output", graph.outputs)):
        for name in names:
            node = graph.outputs[name] if kind == "output" else name
            click.echo(f"  {kind:<6}  {name}  {graph.node(node).type}")
    for note in imported.notes:
        click.echo(f"note: {note}")
    click.echo(
        f"read rightly: max |Δ| {worst.max_abs:.1e} against {imported.runtime}, where outputs "
        f"reach {worst.scale:.3g}"
    )
    click.echo("wrote " + " ".join(files))


def _report(imported: Imported, files: list[str]) -> dict[str, object]:
    graph = imported.graph
    return {
        "net": graph.name,
        "nodes": len(graph),
        "parameters": graph.parameter_count(),
        "macs": graph.macs(),
        "inputs": {name: str(graph.node(name).type) for name in graph.inputs},
        "outputs": {name: str(graph.node(n).type) for name, n in graph.outputs.items()},
        "notes": list(imported.notes),
        "max_abs_diff": imported.comparison.worst.max_abs,
        "scale": imported.comparison.worst.scale,
        "against": imported.runtime,
        "files": files,
    }
