"""Order and columns of what stands on the ranks of a layered drawing.

The order comes from barycenter sweeps. For the columns, cells that are best straight below each
other are joined to blocks (as Brandes and Köpf do), and the blocks are moved towards the mean of
what they are connected to as far as their neighbours allow.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

BOX_GAP, LANE_GAP = 26.0, 13.0
"""Horizontal space between two boxes, and next to a lane."""
ORDER_WORK, SWEEPS = 60_000, 12
MOVES, STILL = 60, 0.05
LANE = 100
"""Weight of keeping a passing line straight; boxes weigh 10 and a little more, all else 1."""


@dataclass
class Cell:
    """A run of boxes, a port (no width) or a lane (no width, weight 0) on one rank.

    ``weight`` is the number of nodes in it. ``x`` is the centre.
    """

    rank: int
    width: float
    weight: int
    x: float = 0.0


class Segment(NamedTuple):
    """A part of a line between two neighbouring ranks; ports as offsets from the cells' centres."""

    upper: int
    start: float
    lower: int
    end: float
    weight: int


@dataclass
class Wire:
    """The lines from one tensor: its source, one lane for every rank passed, and the targets."""

    source: int
    lanes: list[int]
    ends: Mapping[int, float]


@dataclass
class Ranked:
    """Cells on ranks and the segments between neighbouring ranks (by the upper one's number)."""

    cells: list[Cell]
    wires: dict[str, Wire] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    segments: dict[int, list[Segment]] = field(default_factory=lambda: defaultdict(list))

    def add(self, cell: Cell) -> int:
        self.cells.append(cell)
        return len(self.cells) - 1

    def connect(self, tensor: str, source: int, start: float, ends: Mapping[int, float]) -> None:
        """Draw the lines from one cell to others below; they share lanes until they part."""
        wire = self.wires[tensor] = Wire(source, [], ends)
        deepest = max((self.cells[t].rank for t in ends), default=0)
        by_rank: dict[int, list[int]] = defaultdict(list)
        for target in ends:
            by_rank[self.cells[target].rank].append(target)
        current = source
        for rank in range(self.cells[source].rank + 1, deepest + 1):
            for target in by_rank[rank]:
                self._segment(current, start, target, ends[target])
            if rank < deepest:
                lane = self.add(Cell(rank, 0.0, 0))
                wire.lanes.append(lane)
                self._segment(current, start, lane, 0.0)
                current, start = lane, 0.0

    def _segment(self, upper: int, start: float, lower: int, end: float) -> None:
        a, b = self.cells[upper], self.cells[lower]
        lanes = (a.weight == 0) + (b.weight == 0)
        weight = (10 + min(9, a.weight) + min(9, b.weight), 1, LANE)[lanes]
        self.segments[a.rank].append(Segment(upper, start, lower, end, weight))

    def sideways(self) -> dict[int, float]:
        """How far a line moves sideways below each rank, at most."""
        return {
            rank: max(
                abs(self.cells[s.upper].x + s.start - self.cells[s.lower].x - s.end)
                for s in segments
            )
            for rank, segments in self.segments.items()
            if segments
        }


def arrange(ranked: Ranked) -> None:
    """Give every cell its column, ``x``."""
    rows: dict[int, list[int]] = defaultdict(list)
    for index, cell in enumerate(ranked.cells):
        rows[cell.rank].append(index)
    for row in rows.values():  # what passes by on the right, unless crossings say otherwise
        row.sort(key=lambda i: -ranked.cells[i].weight)
    ordered = _ordered([rows[r] for r in range(max(rows) + 1)], ranked)
    _Columns(ordered, ranked).assign()


# ---- order


def _ordered(rows: list[list[int]], ranked: Ranked) -> list[list[int]]:
    """The rows with few crossings between them. Ties keep the given order."""
    cells = ranked.cells
    position = [0.0] * len(cells)
    up: dict[int, list[tuple[int, float]]] = defaultdict(list)
    down: dict[int, list[tuple[int, float]]] = defaultdict(list)

    def share(cell: int, offset: float) -> float:
        return 0.9 * offset / (cells[cell].width or 1.0)

    work = len(cells)
    for segments in ranked.segments.values():
        work += len(segments)
        for s in segments:
            up[s.lower].append((s.upper, share(s.upper, s.start)))
            down[s.upper].append((s.lower, share(s.lower, s.end)))

    def number(row: list[int]) -> None:
        for place, cell in enumerate(row):
            position[cell] = float(place)

    def crossings() -> int:
        count = 0
        for segments in ranked.segments.values():
            ends = sorted(
                (position[s.upper] + share(s.upper, s.start),
                 position[s.lower] + share(s.lower, s.end))
                for s in segments
            )  # fmt: skip
            seen: list[float] = []
            for _, end in ends:
                count += len(seen) - bisect.bisect_right(seen, end)
                bisect.insort(seen, end)
        return count

    for row in rows:
        number(row)
    best, fewest = [list(row) for row in rows], crossings()
    for sweep in range(max(2, min(SWEEPS, ORDER_WORK // work))):
        if fewest == 0:
            break
        near = down if sweep % 2 else up
        for row in reversed(rows) if sweep % 2 else rows:
            keys = {
                c: sum(position[n] + s for n, s in near[c]) / len(near[c])
                if near[c]
                else position[c]
                for c in row
            }
            row.sort(key=keys.__getitem__)
            number(row)
        count = crossings()
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    return best


# ---- columns


class _Columns:
    """Blocks of cells that stand straight below each other, and their places."""

    def __init__(self, rows: list[list[int]], ranked: Ranked) -> None:
        self.rows, self.ranked, self.cells = rows, ranked, ranked.cells
        self.block = list(range(len(self.cells)))
        self.shift = [0.0] * len(self.cells)  # of a cell from its block's x
        self._align()
        self.members: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            for cell in row:
                self.members[self.block[cell]].append(cell)
        # What is beside a block: (the other block, least distance of their x).
        self.left: dict[int, list[tuple[int, float]]] = defaultdict(list)
        self.right: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for row in rows:
            for a, b in pairwise(row):
                gap = BOX_GAP if self.cells[a].width and self.cells[b].width else LANE_GAP
                distance = (self.cells[a].width + self.cells[b].width) / 2 + gap
                distance += self.shift[a] - self.shift[b]
                self.left[self.block[b]].append((self.block[a], distance))
                self.right[self.block[a]].append((self.block[b], distance))

    def _align(self) -> None:
        """Join cells to blocks, the heaviest segments first; two joints never cross."""
        place = {cell: i for row in self.rows for i, cell in enumerate(row)}
        for rank in range(len(self.rows)):
            segments = [s for s in self.ranked.segments.get(rank, ()) if s.weight > 1]
            skew = _skew(segments, place)
            used: set[int] = set()
            joints: list[tuple[int, int]] = []
            for s in sorted(segments, key=lambda s: (-s.weight, skew[s])):
                if s.upper in used or s.lower in used:
                    continue
                joint = (place[s.upper], place[s.lower])
                at = bisect.bisect(joints, joint)
                before = joints[at - 1][1] if at else -1
                after = joints[at][1] if at < len(joints) else len(place)
                if before < joint[1] < after:
                    joints.insert(at, joint)
                    used.update((s.upper, s.lower))
                    self.block[s.lower] = self.block[s.upper]
                    self.shift[s.lower] = self.shift[s.upper] + s.start - s.end

    def assign(self) -> None:
        """Give every cell its x: first halfway between as far left and as far right as can be."""
        order = self._from_the_left()
        low: dict[int, float] = {}
        for block in order:
            low[block] = max((low[b] + d for b, d in self.left[block]), default=0.0)
        high: dict[int, float] = {}
        for block in reversed(order):
            limit = max(low.values())
            high[block] = min((high[b] - d for b, d in self.right[block]), default=limit)
        x = {block: (low[block] + high[block]) / 2 for block in order}
        pulls = self._pulls()
        for move in range(MOVES):
            moved = 0.0
            for block in reversed(order) if move % 2 else order:
                if not pulls[block]:
                    continue
                wanted = sum((x[b] + d) * w for b, d, w in pulls[block])
                wanted /= sum(w for _, _, w in pulls[block])
                least = max((x[b] + d for b, d in self.left[block]), default=-math.inf)
                most = min((x[b] - d for b, d in self.right[block]), default=math.inf)
                there = max(least, min(most, wanted))
                moved, x[block] = max(moved, abs(there - x[block])), there
            if moved < STILL:
                break
        for index, cell in enumerate(self.cells):
            cell.x = x[self.block[index]] + self.shift[index]

    def _from_the_left(self) -> list[int]:
        """The blocks, each after all that are left of it."""
        waiting = {block: len(self.left[block]) for block in self.members}
        ready = [block for block, count in waiting.items() if count == 0]
        for block in ready:
            for other, _ in self.right[block]:
                waiting[other] -= 1
                if waiting[other] == 0:
                    ready.append(other)
        return ready

    def _pulls(self) -> dict[int, list[tuple[int, float, int]]]:
        """For each block: (other block, offset from its x to be straight below it, weight)."""
        pulls: dict[int, list[tuple[int, float, int]]] = defaultdict(list)
        for segments in self.ranked.segments.values():
            for s in segments:
                a, b = self.block[s.upper], self.block[s.lower]
                if a != b:
                    offset = self.shift[s.upper] + s.start - self.shift[s.lower] - s.end
                    pulls[a].append((b, -offset, s.weight))
                    pulls[b].append((a, offset, s.weight))
        return pulls


def _skew(segments: Iterable[Segment], place: Mapping[int, int]) -> dict[Segment, float]:
    """How far each segment is from the middle one of those of its weight at both its ends."""
    fans: dict[tuple[str, int, int], list[Segment]] = defaultdict(list)
    for s in segments:
        fans["out", s.upper, s.weight].append(s)
        fans["in", s.lower, s.weight].append(s)
    skew: dict[Segment, float] = defaultdict(float)
    for (side, _, _), fan in fans.items():
        fan.sort(key=lambda s: place[s.lower] if side == "out" else place[s.upper])
        for i, s in enumerate(fan):
            skew[s] += abs(i - (len(fan) - 1) / 2)
    return skew
