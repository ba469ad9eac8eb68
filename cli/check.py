"""``growc check``."""

from __future__ import annotations

from typing import Any

import click

from .common import STDIO, Failed, json_option, print_json, read, render_all, set_option, warn


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@set_option
@json_option
def command(files: tuple[str, ...], settings: tuple[str, ...], as_json: bool) -> None:
    """Read networks, infer their shapes, and print inputs, outputs, parameters and MACs.

    Weights that a text names are read too. All mistakes of all files are reported.
    """
    from ..ir import GrowcError

    failed = False
    reports: list[dict[str, Any]] = []
    for file in files:
        try:
            loaded = read(file, settings)
        except GrowcError as error:
            failed = True
            reports.append(
                {
                    "file": _shown(file),
                    "ok": False,
                    "errors": [d.as_json() for d in error.diagnostics],
                }
            )
            if not as_json:
                click.echo(render_all(error.diagnostics), err=True)
            continue
        report = _report(file, loaded)
        reports.append(report)
        if not as_json:
            warn(loaded.warnings)
            _print(report)
    if as_json:
        print_json({"ok": not failed, "files": reports})
    if failed:
        raise Failed


def _shown(file: str) -> str:
    return "<stdin>" if file == STDIO else file


def _report(file: str, loaded: Any) -> dict[str, Any]:
    graph = loaded.graph
    report: dict[str, Any] = {"file": _shown(file), "ok": True}
    report["warnings"] = [w.as_json() for w in loaded.warnings]
    if graph is None:
        report["blocks"] = loaded.blocks
        return report
    report["net"] = graph.name
    report["inputs"] = {name: str(graph.node(name).type) for name in graph.inputs}
    report["outputs"] = {name: str(graph.node(n).type) for name, n in graph.outputs.items()}
    report["nodes"] = len(graph)
    report["parameters"] = graph.parameter_count()
    report["macs"] = graph.macs()
    report["weights"] = loaded.weights.file if loaded.weights else None
    return report


def _print(report: dict[str, Any]) -> None:
    from ..ir.diagnostics import plural
    from ..ir.summary import si

    if "net" not in report:
        blocks = ", ".join(report["blocks"])
        count = plural(len(report["blocks"]), "block")
        click.echo(f"{report['file']}: no net, {count}" + (f" ({blocks})" if blocks else ""))
        return
    click.echo(f"{report['file']}: net {report['net']}")
    names = [*report["inputs"], *report["outputs"]]
    width = max(map(len, names))
    for kind in ("inputs", "outputs"):
        for name, type in report[kind].items():
            click.echo(f"  {kind[:-1]:<10}  {name:<{width}}  {type}")
    weights = f", weights in {report['weights']}" if report["weights"] else ""
    click.echo(f"  {'nodes':<10}  {report['nodes']:,}")
    click.echo(f"  {'parameters':<10}  {report['parameters']:,}{weights}")
    click.echo(f"  {'MACs':<10}  {si(report['macs'])}")
