"""``--set width=64``: hyperparameters from the command line."""

from __future__ import annotations

import re
from typing import Any

from ..ir import GrowcError, Source
from . import syntax as s
from .parser import parse

_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_WORD = re.compile(r"[\w./+-]+\Z")


def read_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """``("width=64", "kernels=[3, 5]")`` → ``{"width": 64, "kernels": [3, 5]}``.

    A value is a number, ``true`` or ``false``, a text or a list of them; a text that is one word
    needs no quotes. Raises :class:`GrowcError`.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name, text = name.strip(), text.strip()
        if not equals or not _NAME.match(name) or not text:
            raise GrowcError(
                f"--set {setting}: not a setting",
                help="write --set name=value, as in --set width=64",
            )
        if name in found:
            raise GrowcError(f"--set {setting}: `{name}` is set twice")
        found[name] = _value(text, setting)
    return found


def _value(text: str, setting: str) -> Any:
    try:
        # A value is read as the default of a parameter, so that both are written alike.
        (net,) = parse(Source("--set", f"net n(v = {text}\n) {{}}")).items
        assert isinstance(net, s.Net)
        (parameter,) = net.parameters
        return _plain(parameter.default)
    except (GrowcError, TypeError, ValueError):
        if _WORD.match(text):
            return text
        raise GrowcError(
            f"--set {setting}: `{text}` is not a value",
            help='a value is a number, true, false, "a text", or a list such as [3, 5]',
        ) from None


def _plain(expr: s.Expr | None) -> Any:
    if isinstance(expr, (s.Number, s.String, s.Boolean)):
        return expr.value
    if isinstance(expr, s.Name):
        return expr.text
    if isinstance(expr, s.ListOf):
        return [_plain(item) for item in expr.items]
    if isinstance(expr, s.Unary) and expr.operator == "-" and isinstance(expr.operand, s.Number):
        return -expr.operand.value
    raise ValueError("not a plain value")
