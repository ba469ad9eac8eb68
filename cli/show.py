"""``growc show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from ..ir.summary import Row


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

    If layers have masks, it also says how full each one is: the share of its connections that
    are there. Of a network with several outputs, it says how many parameters several of them
    depend on.

    With --svg, draw the graph: by Graphviz where it is installed, else by growc itself.
    """
    from ..ir.parts import shared_size
    from ..ir.summary import rows, share, si

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
                "size": r.size,
                "macs": r.macs,
            }
            for r in lines
        ]
        sums = {"parameters": total[0], "size": sum(r.size for r in lines), "macs": total[1]}
        if len(graph.outputs) > 1:
            sums["shared"] = shared_size(graph)
        print_json({"net": graph.name, "layers": layers} | sums | ({"svg": svg} if svg else {}))
        return
    maskable = [r for r in lines if r.maskable]
    masked = any(r.parameters < r.size for r in maskable)

    def full(layers: list[Row]) -> list[str]:
        """The cell of the column, if there is one."""
        there, size = sum(r.parameters for r in layers), sum(r.size for r in layers)
        return [share(there, size) if size else ""] if masked else []

    cells = [
        (
            r.name,
            r.op,
            str(r.type),
            f"{r.parameters:,}" if r.parameters else "",
            *full([r] if r.maskable else []),
            si(r.macs) if r.macs else "",
        )
        for r in lines
    ]
    cells.append(("total", "", "", f"{total[0]:,}", *full(maskable), si(total[1])))
    headings = ("name", "op", "output", "parameters", *(["full"] if masked else []), "MACs")
    table(headings, cells, right=(3, 4, 5))
    if len(graph.outputs) > 1:
        several = shared_size(graph)
        click.echo(
            f"several outputs depend on {several:,} of the {total[0]:,} parameters, "
            f"{share(several, total[0])}"
        )
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
