"""The same layout by Graphviz: DOT text out, coordinates back."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from typing import Any

from .svg_layout import PAD, Edge, Frame, Layout, Point, Request
from .svg_scopes import Group

TIMEOUT = 10.0
"""Seconds that ``dot`` may take."""

POINTS = 72.0
"""Points in an inch: dot takes box sizes in inches and answers in points."""


class LayoutFailed(Exception):
    """``dot`` is not there, failed, took too long, or answered what cannot be used."""


def graphviz_layout(request: Request, timeout: float = TIMEOUT) -> Layout:
    """The layout by ``dot``. Raises :class:`LayoutFailed`."""
    program = shutil.which("dot")
    if program is None:
        raise LayoutFailed("Graphviz's program `dot` was not found")
    names = list(request.group.nodes())
    try:
        done = subprocess.run(
            [program, "-Tjson0"],
            input=dot_text(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=True,
        )
        return _layout(json.loads(done.stdout), names, request)
    except subprocess.TimeoutExpired:
        raise LayoutFailed(f"`dot` took more than {timeout:g} s") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().splitlines()
        raise LayoutFailed(f"`dot` failed: {reason[0] if reason else error.returncode}") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise LayoutFailed(f"`dot` could not be used: {error}") from None


def dot_text(request: Request) -> str:
    """The request in DOT. Nodes are n0, n1, …, so no name of the graph needs quoting."""
    ids = {name: f"n{i}" for i, name in enumerate(request.group.nodes())}
    lines = [
        "digraph {",
        "graph [rankdir=TB, nodesep=0.3, ranksep=0.36, fontsize=11, labeljust=l];",
        'node [shape=box, fixedsize=true, label=""]; edge [arrowhead=none];',
    ]
    count = 0

    def body(group: Group) -> None:
        nonlocal count
        for member in group.members:
            if isinstance(member, Group):
                # Only the label's room counts here: x's are about as wide as what will be drawn.
                label = "x" * max(1, round(request.labels[member.scope] / 6))
                lines.append(f'subgraph cluster_{count} {{ margin={PAD:g}; label="{label}";')
                count += 1
                body(member)
                lines.append("}")
            else:
                width, height = (size / POINTS for size in request.sizes[member])
                lines.append(f"{ids[member]} [width={width:.4f}, height={height:.4f}];")

    body(request.group)
    for user in ids:
        for operand in request.operands[user]:
            alone = len(request.operands[user]) == len(request.users[operand]) == 1
            weight = 8 if alone else 2
            lines.append(f"{ids[operand]} -> {ids[user]} [weight={weight}];")
    return "\n".join([*lines, "}", ""])


def _layout(answer: dict[str, Any], names: list[str], request: Request) -> Layout:
    left, bottom, right, top = _numbers(answer["bb"])

    def point(x: float, y: float) -> Point:
        return (x - left, top - y)

    # Clusters are numbered in the order in which their frames come in a walk over the groups.
    scopes = [group.scope for group in _walk(request.group)]
    by_id: dict[int, str] = {}
    boxes: dict[str, Point] = {}
    frames: dict[int, Frame] = {}
    for thing in answer.get("objects", ()):
        if thing["name"].startswith("cluster_"):
            number = int(thing["name"].removeprefix("cluster_"))
            x0, y0, x1, y1 = _numbers(thing["bb"])
            frames[number] = Frame(scopes[number], *point(x0, y1), x1 - x0, y1 - y0)
        else:
            name = names[int(thing["name"].removeprefix("n"))]
            by_id[thing["_gvid"]] = name
            x, y = point(*_numbers(thing["pos"]))
            width, height = request.sizes[name]
            boxes[name] = (x - width / 2, y - height / 2)
    routes: dict[Edge, list[Point]] = {}
    for edge in answer.get("edges", ()):
        points = [point(*_numbers(pair)) for pair in edge["pos"].split()]
        if len(points) % 3 != 1:
            raise ValueError(f"not a spline: {edge['pos']}")
        routes[by_id[edge["tail"]], by_id[edge["head"]]] = points
    expected = {(o, user) for user in names for o in request.operands[user]}
    if len(boxes) != len(names) or routes.keys() != expected or len(frames) != len(scopes):
        raise ValueError("nodes or edges are missing in the answer")
    width, height = right - left, top - bottom
    return Layout(width, height, boxes, [frames[i] for i in sorted(frames)], routes)


def _walk(group: Group) -> list[Group]:
    """The groups inside a group, outer before inner."""
    found = []
    for member in group.members:
        if isinstance(member, Group):
            found += [member, *_walk(member)]
    return found


def _numbers(text: str) -> list[float]:
    numbers = [float(part) for part in text.split(",")]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"not finite: {text}")
    return numbers
