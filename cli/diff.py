"""``growc diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .common import json_option, print_json, read_graph

if TYPE_CHECKING:
    from ..ir import Graph
    from ..ir.summary import GraphDiff, ParameterChange


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@json_option
def command(a: str, b: str, as_json: bool) -> None:
    """Say what was added, changed and removed on the way from network A to network B.

    Nodes and parameters are matched by name.
    """
    from ..ir.summary import diff

    before, after = read_graph(a, quiet=True), read_graph(b, quiet=True)
    found = diff(before, after)
    if as_json:
        print_json(_report(found, before, after))
    else:
        _print(found, before, after)


def _print(found: GraphDiff, before: Graph, after: Graph) -> None:
    from ..grammar.printer import application
    from ..ir.diagnostics import plural
    from ..ir.summary import si

    if found.is_empty:
        click.echo("the networks are the same")
        return
    for text in found.interface:
        click.secho(f"! {text}", fg="yellow")
    for node in found.removed:
        click.secho(f"- {node.name} = {application(node)}", fg="red")
    for node in found.added:
        click.secho(f"+ {node.name} = {application(node)}  {node.type}", fg="green")
    for old, new in found.changed:
        click.secho(f"~ {old.name}", fg="yellow")
        if application(old) != application(new):
            click.secho(f"    - {application(old)}", fg="red")
            click.secho(f"    + {application(new)}", fg="green")
        if old.type != new.type:
            click.echo(f"    {old.type} → {new.type}")
    for change in found.parameters_changed:
        click.secho(f"~ {change.name}  {_what(change)}", fg="yellow")
    click.echo(
        f"nodes: {len(found.added)} added, {len(found.changed)} changed, "
        f"{len(found.removed)} removed"
    )
    click.echo(
        f"parameter tensors: {len(found.parameters_added)} added, "
        f"{len(found.parameters_changed)} changed, {len(found.parameters_removed)} removed, "
        f"{plural(found.parameters_same, 'other')} the same"
    )
    click.echo(
        f"parameters {before.parameter_count():,} → {after.parameter_count():,}, "
        f"MACs {si(before.macs())} → {si(after.macs())}"
    )


def _what(change: ParameterChange) -> str:
    if change.connections is None:
        return _values(change)
    masks = "another mask, |α| {:,} → {:,}".format(*change.connections)
    if change.before == change.after and not change.moved:
        return masks
    return f"{_values(change)}, {masks}"


def _values(change: ParameterChange) -> str:
    if change.before != change.after:
        kept = ", the old values in its corner" if change.keeps_corner else ""
        return f"{list(change.before)} → {list(change.after)}{kept}"
    if change.moved is None:
        return "has values in one network only"
    return f"moved by up to {change.moved:.2e}"


def _report(found: GraphDiff, before: Graph, after: Graph) -> dict[str, Any]:
    from ..grammar.printer import application

    return {
        "same": found.is_empty,
        "added": {n.name: application(n) for n in found.added},
        "removed": {n.name: application(n) for n in found.removed},
        "changed": {o.name: [application(o), application(n)] for o, n in found.changed},
        "interface": list(found.interface),
        "parameters_added": list(found.parameters_added),
        "parameters_removed": list(found.parameters_removed),
        "parameters_changed": {
            c.name: {
                "before": list(c.before),
                "after": list(c.after),
                "max_abs_diff": c.moved,
                "keeps_corner": c.keeps_corner,
                "connections": c.connections,
            }
            for c in found.parameters_changed
        },
        "parameters_same": found.parameters_same,
        "parameters": [before.parameter_count(), after.parameter_count()],
        "macs": [before.macs(), after.macs()],
    }
