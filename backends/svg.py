"""The graph as a picture: one self-contained SVG, no scripts, fonts or other files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Literal

from ..ir import Diagnostic, Graph, GrowcError, Node
from ..ir.diagnostics import plural
from .svg_graphviz import LayoutFailed, graphviz_layout
from .svg_layout import Frame, Layout, Request, plain_layout
from .svg_scopes import Group, grouped
from .svg_shapes import (
    GREY,
    INK,
    LEGEND_ROW,
    MARK,
    bowed,
    head,
    legend,
    legend_rows,
    number,
    path,
    rect,
    text,
)
from .svg_text import (
    FAMILIES,
    INPUT,
    LAYER,
    escape,
    family_of,
    fit,
    op_words,
    shape_words,
    text_width,
    tooltip,
)

Engine = Literal["auto", "graphviz", "plain"]

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
OP_SIZE, NAME_SIZE, FRAME_SIZE, FACTS_SIZE, TITLE_SIZE = 12.5, 10.0, 10.5, 11.0, 15.0
OP_ROOM = 1.06 * OP_SIZE
"""The op is bold, which takes more room."""
MIN_BOX, MAX_BOX, MAX_LABEL = 128.0, 288.0, 190.0
FULL, COMPACT, STRIP = 42.0, 25.0, 19.0
"""Heights of a box: two lines of text, one line, and what an output's name adds."""
INSET, MARGIN, HEADING, MIN_WIDTH = 10.0, 24.0, 46.0, 250.0

BOW = 9.0
"""How far apart several lines between the same two boxes are; less than what is kept free."""

LINE, SKIP = "#64748b", "#4465b0"
"""Colours of a line to the next box, and of one that passes others."""


def to_svg(graph: Graph, *, engine: Engine = "auto", highlight: Collection[str] = ()) -> str:
    """The graph as an SVG document, from inputs at the top to outputs at the bottom.

    Each node is a box with its op, its name without the scope that its frame shows, and its shape
    where the op changes it. Text that does not fit is shortened; the tooltip says everything.
    Block instances, that is scopes of dotted names, have frames. ``highlight`` are names of nodes
    to mark; names that the graph does not have are ignored, so that what a pass added can be given
    after further passes.

    ``engine`` places the boxes: ``graphviz`` by the program ``dot``, ``plain`` by growc, ``auto``
    by ``dot`` where it is installed and works. Raises :class:`GrowcError` for ``graphviz`` where
    it does not. One engine always gives the same text for the same graph.
    """
    return _Picture(graph, engine, frozenset(highlight)).document()


def _laid_out(request: Request, engine: Engine) -> Layout:
    if engine != "plain" and request.sizes:
        try:
            return graphviz_layout(request)
        except LayoutFailed as failure:
            if engine == "graphviz":
                help = "install Graphviz, or use the engine `plain`"
                raise GrowcError(Diagnostic(str(failure), help=help)) from None
    return plain_layout(request)


class _Picture:
    """One graph while it is drawn."""

    def __init__(self, graph: Graph, engine: Engine, highlight: Collection[str]) -> None:
        self.graph, self.highlight = graph, highlight
        self.families = {node.name: family_of(graph, node) for node in graph}
        self.compact = {node.name: self._is_compact(node) for node in graph}
        self.outputs: dict[str, list[str]] = {}
        for output, name in graph.outputs.items():
            self.outputs.setdefault(name, []).append(output)
        group = grouped(graph)
        self.scope_of = dict(_scopes(group))
        self.labels = dict(_labels(group))
        labels = {s: text_width(words, FRAME_SIZE) + 20 for s, words in self.labels.items()}
        self.heads: dict[str, None] = {}  # lines from the same side share theirs
        self.width = self._box_width()
        self.layout = _laid_out(
            Request(
                group,
                {node.name: (self.width, self._height(node.name)) for node in graph},
                labels,
                {node.name: tuple(dict.fromkeys(node.operands)) for node in graph},
                {
                    n.name: tuple(dict.fromkeys(u for u, _ in graph.consumers(n.name)))
                    for n in graph
                },
            ),
            engine,
        )

    # ---- boxes

    def _is_compact(self, node: Node) -> bool:
        """Whether one line is enough: no layer, and the shape stays what it was."""
        if self.families[node.name] is LAYER or not node.operands:
            return False
        return node.type == self.graph.node(node.operands[0]).type

    def _height(self, name: str) -> float:
        return (COMPACT if self.compact[name] else FULL) + (STRIP if name in self.outputs else 0)

    def _op_words(self, node: Node) -> str:
        first = self.graph.node(node.operands[0]).type.shape if node.operands else ()
        return op_words(node.op, first[0] if first else None)

    def _short_name(self, node: Node) -> str:
        scope = self.scope_of[node.name]
        return node.name[len(scope) + 1 :] if scope else node.name

    def _box_width(self) -> float:
        """One width for all boxes, so that stacks of them look calm."""
        width = MIN_BOX
        for node in self.graph:
            op = text_width(self._op_words(node), OP_ROOM)
            name = text_width(self._short_name(node), NAME_SIZE) + 10
            shape = text_width(shape_words(node), NAME_SIZE)
            needed = op + name if self.compact[node.name] else max(op, name + shape)
            if node.name in self.outputs:
                needed = max(needed, text_width(self._output_words(node.name), NAME_SIZE))
            width = max(width, needed + 2 * INSET)
            if width >= MAX_BOX:
                return MAX_BOX
        return math.ceil(width)

    def _box(self, node: Node) -> Iterator[str]:
        x, y = self.layout.boxes[node.name]
        width, height = self.width, self._height(node.name)
        family, marked = self.families[node.name], node.name in self.highlight
        room, right = width - 2 * INSET, x + width - INSET
        yield f'<g class="node{" highlight" if marked else ""}">'
        yield f"<title>{escape(tooltip(node))}</title>"
        yield rect(x, y, width, height, 6, family.fill, family.line)
        if marked:
            yield rect(x - 3, y - 3, width + 6, height + 6, 8, "none", MARK, 2.4)
        weight = "600" if family in (LAYER, INPUT) else "500"
        words = fit(self._op_words(node), OP_ROOM, room)
        name = self._short_name(node)
        if self.compact[node.name]:
            yield text(x + INSET, y + 16.8, words, OP_SIZE, INK, weight)
            left = room - text_width(words, OP_ROOM) - 8
            if left > 2 * NAME_SIZE:
                name = fit(name, NAME_SIZE, left)
                yield text(right, y + 16.5, name, NAME_SIZE, GREY, anchor="end")
        else:
            yield text(x + INSET, y + 17, words, OP_SIZE, INK, weight)
            shape = fit(shape_words(node), NAME_SIZE, 0.6 * room)
            name = fit(name, NAME_SIZE, room - text_width(shape, NAME_SIZE) - 8)
            yield text(x + INSET, y + 33, name, NAME_SIZE, GREY)
            yield text(right, y + 33, shape, NAME_SIZE, INK, anchor="end")
        if node.name in self.outputs:
            yield from self._strip(node.name, x, y + height - STRIP)
        yield "</g>"

    def _output_words(self, name: str) -> str:
        names = self.outputs[name]
        return f"{'output' if len(names) == 1 else 'outputs'} {', '.join(names)}"

    def _strip(self, name: str, x: float, y: float) -> Iterator[str]:
        """The names of the outputs, in the lower part of the box."""
        words = fit(self._output_words(name), NAME_SIZE, self.width - 2 * INSET)
        outline = (
            f"M{number(x)} {number(y)}h{number(self.width)}v{number(STRIP - 6)}a6 6 0 0 1 -6 6"
            f"h{number(12 - self.width)}a6 6 0 0 1 -6 -6z"
        )
        yield f'<path d="{outline}" fill="{INPUT.line}"/>'
        yield text(x + self.width / 2, y + 13, words, NAME_SIZE, "#ffffff", "600", "middle")

    # ---- lines and frames

    def _edges(self) -> Iterator[str]:
        depth: dict[str, int] = {}
        for node in self.graph:
            depth[node.name] = 1 + max((depth[o] for o in node.operands), default=0)
        for node in self.graph:
            for operand, times in Counter(node.operands).items():
                route = self.layout.routes[operand, node.name]
                passes = depth[node.name] - depth[operand] > 1
                style = f'stroke="{SKIP}" stroke-width="1.7"' if passes else f'stroke="{LINE}"'
                title = f"<title>{escape(f'{operand} → {node.name}')}</title>"
                for copy in range(times):
                    line = path(bowed(route, BOW * copy / max(1, times - 1)))
                    yield f'<path class="edge" d="{line}" {style}>{title}</path>'
                self.heads[head(route, SKIP if passes else LINE)] = None

    def _frame(self, frame: Frame) -> Iterator[str]:
        fill = ("#f8fafc", "#f1f5f9")[frame.scope.count(".") % 2]
        yield f'<g class="frame"><title>{escape(frame.scope)}</title>'
        yield rect(frame.x, frame.y, frame.width, frame.height, 10, fill, "#cbd5e1")
        yield "</g>"

    def _frame_label(self, frame: Frame) -> str:
        words = fit(self.labels[frame.scope], FRAME_SIZE, frame.width - 16)
        return text(frame.x + 9, frame.y + 16, words, FRAME_SIZE, "#475569", "600", halo="#f8fafc")

    # ---- the whole

    def document(self) -> str:
        """The SVG text."""
        graph, layout = self.graph, self.layout
        width = max(layout.width + 2 * MARGIN, MIN_WIDTH)
        room = width - 2 * MARGIN
        used = set(self.families.values())
        marked = any(name in graph for name in self.highlight)
        rows = legend_rows([f for f in FAMILIES if f in used], marked, room)
        top = MARGIN + HEADING
        foot = top + layout.height + 22
        height = foot + LEGEND_ROW * len(rows) + MARGIN - 6
        size = f'role="img" width="{number(width)}" height="{number(height)}"'
        box = f'viewBox="0 0 {number(width)} {number(height)}"'
        facts = f"{plural(len(graph), 'node')}, {graph.parameter_count():,} parameters"
        inputs = [f"{name} {shape_words(graph.node(name))}" for name in graph.inputs]
        outputs = [f"{o} {shape_words(graph.node(name))}" for o, name in graph.outputs.items()]
        about = f"{facts}. Inputs: {', '.join(inputs)}. Outputs: {', '.join(outputs)}."
        # Inner frames over outer ones.
        frames = sorted(layout.frames, key=lambda f: -f.width * f.height)
        shift = f"translate({number((width - layout.width) / 2)} {number(top)})"
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} font-family="{FONT}">',
            f"<title>{escape(graph.name)}</title>",
            f"<desc>{escape(about)}</desc>",
            f'<rect width="{number(width)}" height="{number(height)}" fill="#ffffff"/>',
            text(MARGIN, MARGIN + 8, fit(graph.name, TITLE_SIZE, room), TITLE_SIZE, INK, "700"),
            text(MARGIN, MARGIN + 26, fit(facts, FACTS_SIZE, room), FACTS_SIZE, GREY),
            f'<g transform="{shift}">',
        ]
        for frame in frames:
            lines += self._frame(frame)
        lines += ['<g fill="none" stroke-width="1.3">', *self._edges(), "</g>"]
        lines += map(self._frame_label, frames)
        for node in graph:
            lines += self._box(node)
        lines += [*self.heads, "</g>", *legend(rows, MARGIN, foot), "</svg>", ""]
        return "\n".join(lines)


def _scopes(group: Group) -> Iterator[tuple[str, str]]:
    """Each node with the scope of the innermost frame around it."""
    for member in group.members:
        if isinstance(member, Group):
            yield from _scopes(member)
        else:
            yield member, group.scope


def _labels(group: Group) -> Iterator[tuple[str, str]]:
    """Each framed scope with what its frame says: the part that no outer frame says."""
    for member in group.members:
        if isinstance(member, Group):
            own = member.scope[len(group.scope) + 1 :] if group.scope else member.scope
            yield member.scope, fit(own, FRAME_SIZE, MAX_LABEL)
            yield from _labels(member)
