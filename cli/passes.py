"""``growc passes``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from .common import json_option, print_json, table

if TYPE_CHECKING:
    from ..ir.attributes import Attribute
    from ..passes import Pass


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the passes, or explain the pass NAME and its options."""
    from ..ir import GrowcError
    from ..ir.diagnostics import did_you_mean
    from ..passes import PASSES

    if name is None:
        if as_json:
            print_json({"passes": [_describe(cls) for cls in PASSES.values()]})
            return
        lines = [(n, _equation(cls), f"preserves: {cls.claim}") for n, cls in PASSES.items()]
        table(("pass", "what it does", "claim"), lines)
        click.echo(
            "\n`growc passes NAME` explains one. Use: growc compile FILE --pass NAME -o PREFIX"
        )
        return
    if name not in PASSES:
        raise GrowcError(
            f"no pass is called `{name}`",
            help=did_you_mean(name, PASSES) or f"passes: {', '.join(PASSES)}",
        )
    cls = PASSES[name]
    if as_json:
        print_json(_describe(cls))
        return
    click.echo(f"{name}: {_text(cls)}\n\npreserves: {cls.claim}\n\noptions:")
    formatter = click.HelpFormatter(width=100)
    formatter.indent()
    formatter.write_dl([(_option(a), f"{a.doc}: {a.kind.expects}") for a in cls.attributes])
    click.echo(formatter.getvalue(), nl=False)
    click.echo(f"\nfor instance: --pass '{name}{{{_example(cls)}}}'")


def _option(attribute: Attribute) -> str:
    if attribute.required or attribute.default is None:
        return attribute.name
    return f"{attribute.name}={attribute.kind.show_option(attribute.default)}"


def _text(cls: type[Pass]) -> str:
    return (inspect.getdoc(cls) or "").replace("``", "`")


def _equation(cls: type[Pass]) -> str:
    return _text(cls).split("\n")[0]


def _describe(cls: type[Pass]) -> dict[str, Any]:
    return {
        "name": cls.name,
        "equation": _equation(cls),
        "description": _text(cls),
        "preserves": {"eval": cls.claim.eval, "train": cls.claim.train},
        "options": [
            {"name": a.name, "default": a.default, "value": a.kind.expects, "meaning": a.doc}
            for a in cls.attributes
        ],
    }


def _example(cls: type[Pass]) -> str:
    """One option with a value other than its default."""
    for a in cls.attributes:
        if a.name == "filters":
            return "filters=16"
    first = cls.attributes[0]
    return f"{first.name}={'…' if first.default is None else first.kind.show_option(first.default)}"
