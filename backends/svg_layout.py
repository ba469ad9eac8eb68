"""Where the boxes, frames and lines of a picture go: growc's own layered layout.

Every group is laid out on its own, inner groups first; outside it is then one box with ports where
lines enter and leave. Within a group, chains of members become runs, which are stacked tightly; the
runs are put on ranks, and a line that passes a rank gets a lane of its own beside the boxes there.
So no line crosses a box, and frames never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from .svg_ranks import Cell, Ranked, arrange
from .svg_scopes import Group

Point = tuple[float, float]
Edge = tuple[str, str]
"""(operand, user)"""

NODE_GAP, FRAME_GAP = 13.0, 20.0
"""Vertical space within a run: between two boxes, and next to a frame."""
RANK_GAP, STEEPEST = 26.0, 0.08
"""Space between ranks: at least, and per pixel that a line moves sideways there."""
PAD, PAD_TOP, PAD_BOTTOM = 13.0, 28.0, 15.0
"""Between a frame and what is in it."""


@dataclass(frozen=True)
class Frame:
    """The frame of a group, by its left upper corner."""

    scope: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """A finished layout. ``boxes`` has left upper corners.

    ``routes`` has one line for each pair of nodes, as control points of cubic Bézier curves:
    start, (control, control, end)…
    """

    width: float
    height: float
    boxes: Mapping[str, Point]
    frames: Sequence[Frame]
    routes: Mapping[Edge, Sequence[Point]]


@dataclass(frozen=True)
class Request:
    """What is to be laid out: groups, box sizes, widths of frames' labels, operands and users."""

    group: Group
    sizes: Mapping[str, tuple[float, float]]
    labels: Mapping[str, float]
    operands: Mapping[str, Sequence[str]]
    users: Mapping[str, Sequence[str]]


@dataclass
class Piece:
    """A part of the picture that is laid out, in its own coordinates.

    Lines are corner points. ``entering`` lines start at the upper border, all lines from one
    operand at the same port; ``leaving`` lines end at the lower border.
    """

    width: float
    height: float
    boxes: dict[str, Point] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    inner: dict[Edge, list[Point]] = field(default_factory=dict)
    entering: dict[Edge, list[Point]] = field(default_factory=dict)
    leaving: dict[str, list[Point]] = field(default_factory=dict)

    @cached_property
    def tops(self) -> dict[str, float]:
        """For each operand from outside: x of the port where its lines enter."""
        return {operand: line[0][0] for (operand, _), line in self.entering.items()}

    def adopt(self, other: Piece, dx: float, dy: float) -> None:
        """Take over what is in another piece, with its left upper corner at (dx, dy)."""
        self.boxes.update((n, (x + dx, y + dy)) for n, (x, y) in other.boxes.items())
        for f in other.frames:
            self.frames.append(Frame(f.scope, f.x + dx, f.y + dy, f.width, f.height))
        self.inner.update((edge, _moved(line, dx, dy)) for edge, line in other.inner.items())


def plain_layout(request: Request) -> Layout:
    """The layout of the whole picture, from the corner (0, 0)."""
    if not request.sizes:
        return Layout(0.0, 0.0, {}, [], {})
    whole = _group(request.group, request)
    routes = {edge: _curves(line) for edge, line in whole.inner.items()}
    return Layout(whole.width, whole.height, whole.boxes, whole.frames, routes)


def _moved(line: Iterable[Point], dx: float, dy: float) -> list[Point]:
    return [(x + dx, y + dy) for x, y in line]


def _curves(line: Sequence[Point]) -> list[Point]:
    """Corner points as Bézier curves with vertical ends, so that they join smoothly."""
    corners = [line[0]]
    for (x, y), after in zip(line[1:], [*line[2:], None], strict=True):
        straight = after is not None and corners[-1][0] == x == after[0]
        if not straight and (x, y) != corners[-1]:
            corners.append((x, y))
    curves = [corners[0]]
    for (x0, y0), (x1, y1) in pairwise(corners):
        middle = (y0 + y1) / 2
        curves += [(x0, middle), (x1, middle), (x1, y1)]
    return curves


# ---- groups


def _node(name: str, request: Request) -> Piece:
    width, height = request.sizes[name]
    piece = Piece(width, height, {name: (0.0, 0.0)})
    for operand in request.operands[name]:
        piece.entering[operand, name] = [(width / 2, 0.0)]
    if request.users[name]:
        piece.leaving[name] = [(width / 2, height)]
    return piece


def _group(group: Group, request: Request) -> Piece:
    members = [
        _group(m, request) if isinstance(m, Group) else _node(m, request) for m in group.members
    ]
    owner = {name: index for index, m in enumerate(members) for name in m.boxes}
    runs = _runs(members, owner, request)
    owner = {name: index for index, run in enumerate(runs) for name in run.boxes}
    ranked = _ranks(runs, owner, request)
    arrange(ranked)
    return _assemble(group.scope, runs, ranked, owner, request)


def _runs(members: list[Piece], owner: Mapping[str, int], request: Request) -> list[Piece]:
    """Members that follow each other without a branch, stacked into one piece each."""
    feeds = [{(o, owner.get(o, -1)) for o, _ in member.entering} for member in members]
    follower: dict[int, tuple[int, str]] = {}
    for index, member in enumerate(members):
        used = {(s, owner.get(u, -1)) for s in member.leaving for u in request.users[s]}
        used = {(s, user) for s, user in used if user != index}
        if len(used) == 1:
            ((tensor, user),) = used
            if user >= 0 and feeds[user] == {(tensor, index)}:
                follower[index] = (user, tensor)
    followers = {user for user, _ in follower.values()}
    runs = []
    for head in range(len(members)):
        if head not in followers:
            parts, wires = [members[head]], []
            while head in follower:
                head, tensor = follower[head]
                parts.append(members[head])
                wires.append(tensor)
            runs.append(_stacked(parts, wires))
    return runs


def _stacked(parts: list[Piece], wires: list[str]) -> Piece:
    """Pieces below each other, the line between each two straight."""
    if len(parts) == 1:
        return parts[0]
    lefts = [0.0]
    for tensor, upper, lower in zip(wires, parts, parts[1:], strict=False):
        lefts.append(lefts[-1] + upper.leaving[tensor][-1][0] - lower.tops[tensor])
    shift = -min(lefts)
    tops = [0.0]
    for upper, lower in pairwise(parts):
        gap = FRAME_GAP if upper.frames or lower.frames else NODE_GAP
        tops.append(tops[-1] + upper.height + gap)
    places = [(left + shift, top) for left, top in zip(lefts, tops, strict=True)]
    run = Piece(
        max(x + part.width for (x, _), part in zip(places, parts, strict=True)),
        tops[-1] + parts[-1].height,
    )
    for part, place in zip(parts, places, strict=True):
        run.adopt(part, *place)
    run.entering = {edge: _moved(line, *places[0]) for edge, line in parts[0].entering.items()}
    run.leaving = {s: _moved(line, *places[-1]) for s, line in parts[-1].leaving.items()}
    for index, tensor in enumerate(wires):
        start = _moved(parts[index].leaving[tensor], *places[index])
        for edge, line in parts[index + 1].entering.items():
            run.inner[edge] = start + _moved(line, *places[index + 1])
    return run


# ---- from runs to ranks, and back


def _ranks(runs: list[Piece], owner: Mapping[str, int], request: Request) -> Ranked:
    """The runs and the ports of the group as cells on ranks, with lanes for passing lines."""
    above: list[set[int]] = [set() for _ in runs]
    below: list[set[int]] = [set() for _ in runs]
    for index, run in enumerate(runs):
        above[index] = {owner[o] for o, _ in run.entering if o in owner}
        for other in above[index]:
            below[other].add(index)
    rank = _longest_paths(above, below)
    ranked = Ranked([Cell(rank[i], run.width, len(run.boxes)) for i, run in enumerate(runs)])
    last = max(rank) + 1
    sources: dict[str, int] = {}  # tensor → its cell, in the order of the runs
    targets: dict[str, set[int]] = {}
    ports: dict[tuple[str, ...], int] = {}
    exits = []
    for index, run in enumerate(runs):
        for operand, _ in run.entering:
            targets.setdefault(operand, set()).add(index)
            if operand in owner or operand in sources:
                continue
            # Lines to the same nodes enter together: no matter where they come from, none cross.
            users = tuple(user for user in request.users[operand] if user in owner)
            if users not in ports:
                ports[users] = ranked.add(Cell(0, 0.0, 1))
            sources[operand] = ports[users]
        for tensor in run.leaving:
            sources[tensor] = index
            if any(user not in owner for user in request.users[tensor]):
                exits.append(tensor)
    for tensor in exits:
        ranked.exits[tensor] = ranked.add(Cell(last, 0.0, 1))
        targets.setdefault(tensor, set()).add(ranked.exits[tensor])
    for tensor, source in sources.items():
        wanted = targets.get(tensor, set()) - {source}
        ends = {
            t: runs[t].tops[tensor] - runs[t].width / 2 if t < len(runs) else 0.0
            for t in sorted(wanted)
        }
        start = 0.0
        if source < len(runs):
            start = runs[source].leaving[tensor][-1][0] - runs[source].width / 2
        ranked.connect(tensor, source, start, ends)
    return ranked


def _longest_paths(above: list[set[int]], below: list[set[int]]) -> list[int]:
    """A rank for each run, from 1: one more than the lowest run above it."""
    rank = [1] * len(above)
    waiting = [len(others) for others in above]
    ready = [i for i, count in enumerate(waiting) if count == 0]
    heads = list(ready)
    for index in ready:
        for other in sorted(below[index]):
            rank[other] = max(rank[other], rank[index] + 1)
            waiting[other] -= 1
            if waiting[other] == 0:
                ready.append(other)
    for index in heads:  # next to what uses it, not far up: a second input, for example
        rank[index] = max(1, min((rank[i] for i in below[index]), default=1) - 1)
    return rank


def _assemble(
    scope: str, runs: list[Piece], ranked: Ranked, owner: Mapping[str, int], request: Request
) -> Piece:
    """The group's piece, from the columns of its cells."""
    cells = ranked.cells
    pad = PAD if scope else 0.0
    left = min(cell.x - cell.width / 2 for cell in cells) - pad
    right = max(cell.x + cell.width / 2 for cell in cells) + pad
    spare = max(0.0, (request.labels.get(scope, 0.0) - (right - left)) / 2)
    left, right = left - spare, right + spare
    bands = _bands(bool(scope), runs, ranked)
    height = bands[-1][1]
    piece = Piece(right - left, height)
    if scope:
        piece.frames.append(Frame(scope, 0.0, 0.0, right - left, height))
    places = []
    for run, cell in zip(runs, cells, strict=False):
        top, bottom = bands[cell.rank]
        places.append((cell.x - cell.width / 2 - left, (top + bottom - run.height) / 2))
        piece.adopt(run, *places[-1])

    def lane(indices: Iterable[int]) -> list[Point]:
        """Straight down through these cells' ranks."""
        return [(cells[i].x - left, y) for i in indices for y in bands[cells[i].rank]]

    for tensor, wire in ranked.wires.items():
        if wire.source < len(runs):
            place = places[wire.source]
            start = _moved(runs[wire.source].leaving[tensor], *place)
            start.append((start[-1][0], bands[cells[wire.source].rank][1]))
        else:
            start = lane([wire.source])
        for target in wire.ends:
            lanes = [i for i in wire.lanes if cells[i].rank < cells[target].rank]
            line = start + lane(lanes)
            if target >= len(runs):
                piece.leaving[tensor] = line + lane([target])
                continue
            for user in request.users[tensor]:
                if owner.get(user) == target:
                    end = _moved(runs[target].entering[tensor, user], *places[target])
                    whole = [*line, (end[0][0], bands[cells[target].rank][0]), *end]
                    kept = piece.inner if tensor in owner else piece.entering
                    kept[tensor, user] = whole
    return piece


def _bands(framed: bool, runs: list[Piece], ranked: Ranked) -> list[tuple[float, float]]:
    """Upper and lower y of every rank. Rank 0 and the last one are the group's borders."""
    last = max(cell.rank for cell in ranked.cells[: len(runs)]) + 1
    heights = [0.0] * (last + 1)
    for run, cell in zip(runs, ranked.cells, strict=False):
        heights[cell.rank] = max(heights[cell.rank], run.height)
    gaps = [FRAME_GAP] * last
    gaps[0], gaps[-1] = (PAD_TOP, PAD_BOTTOM) if framed else (0.0, 0.0)
    for rank, sideways in ranked.sideways().items():
        if sideways < 1:
            continue
        gaps[rank] = max(gaps[rank], min(RANK_GAP + STEEPEST * sideways, 4 * RANK_GAP))
    bands, y = [], 0.0
    for height, gap in zip(heights, [*gaps, 0.0], strict=True):
        bands.append((y, y + height))
        y += height + gap
    return bands
