"""``growc show``."""

from __future__ import annotations

from pathlib import Path

import click

from .common import (
    STDIO,
    force_option,
    json_option,
    print_json,
    read_graph,
    set_option,
    table,
    weights_option,
)


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--svg", metavar="F", help="Draw the network as SVG into F (`-`: standard output).")
@set_option
@weights_option
@force_option
@json_option
def command(
    file: str,
    svg: str | None,
    settings: tuple[str, ...],
    weights: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Print the layer table: name, op, output shape, parameters and MACs of every node.

    With --svg, draw the graph: by Graphviz where it is installed, else by growc itself.
    """
    from ..ir.summary import rows, si

    graph = read_graph(file, settings, weights)
    if svg is not None:
        _draw(graph, svg, force)
        if svg == STDIO:
            return
    lines = rows(graph)
    total = graph.parameter_count(), graph.macs()
    if as_json:
        layers = [
            {
                "name": r.name,
                "op": r.op,
                "shape": list(r.type.shape),
                "parameters": r.parameters,
                "macs": r.macs,
            }
            for r in lines
        ]
        print_json(
            {"net": graph.name, "layers": layers, "parameters": total[0], "macs": total[1]}
            | ({"svg": svg} if svg else {})
        )
        return
    cells = [
        (
            r.name,
            r.op,
            str(r.type),
            f"{r.parameters:,}" if r.parameters else "",
            si(r.macs) if r.macs else "",
        )
        for r in lines
    ]
    cells.append(("total", "", "", f"{total[0]:,}", si(total[1])))
    table(("name", "op", "output", "parameters", "MACs"), cells, right=(3, 4))
    if svg is not None:
        click.echo(f"wrote {svg}")


def _draw(graph: object, svg: str, force: bool) -> None:
    from ..backends.svg import to_svg
    from ..ir import Graph
    from ..ir.files import write_files

    assert isinstance(graph, Graph)
    picture = to_svg(graph)
    if svg == STDIO:
        click.echo(picture, nl=False)
    else:
        write_files({Path(svg): picture.encode()}, overwrite=force)
