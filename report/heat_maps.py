"""The section of masked layers: which connections each one has, as a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.svg_text import op_words
from ..ir import Graph, Node
from ..ir.diagnostics import plural
from ..ir.ops import ConvTranspose
from ..ir.summary import rows, share
from ..ir.weights import Mask
from .markup import Markup, joined, tag
from .page import Section

Shares = NDArray[np.float64]

CELLS = 128
"""More cells on a side than this are averaged down."""
SIDE, CELL, THIN = 256.0, 16.0, 8.0
"""Longest side of a picture, longest of a cell, and shortest side of a picture, in pixels."""
BLUE = (43, 124, 211)
"""Seen on white as on black; the share of connections is its opacity."""
FAINT = 0.28
"""Opacity of the smallest share above none, which must still be seen."""
OPEN = 12
"""How many layers are shown; the others are folded away."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with a mask: its connections from input to output channels."""

    node: Node
    shares: Shares
    """Rows are output channels, columns input channels: the share of the kernel's weights."""
    weights: tuple[int, int]
    """How many weights are there, and how many there would be without a mask."""
    biases: tuple[int, int]
    groups: int


def masked_layers(graph: Graph) -> list[Layer]:
    """The layers whose weights or biases have a mask, in canonical order."""
    found: list[Layer] = []
    seen: set[str] = set()
    for node in graph:
        keys = [key for key, _ in graph.params_of(node.name) if key not in seen]
        seen.update(keys)  # a shared parameter is shown at the first node that uses it
        if node.op.maskable and any(key in graph.weights.masks for key in keys):
            masks = [graph.weights.mask(key) for key, _ in graph.params_of(node.name)]
            found.append(_layer(node, masks))
    return found


def _layer(node: Node, masks: Sequence[Mask]) -> Layer:
    weight, *bias = masks
    # A transposed convolution stores its input channels first.
    turned = isinstance(node.op, ConvTranspose)
    shares = shares_of(weight.swapaxes(0, 1) if turned else weight)
    there = int(sum(mask.sum() for mask in bias)), sum(mask.size for mask in bias)
    groups = getattr(node.op, "groups", 1)
    return Layer(node, shares, (int(weight.sum()), weight.size), there, groups)


def shares_of(mask: Mask) -> Shares:
    """For a mask [outputs, inputs, *kernel] the share of each kernel that is there."""
    shares: Shares = mask.reshape(*mask.shape[:2], -1).mean(axis=2, dtype=np.float64)
    return shares


def averaged(shares: Shares) -> tuple[Shares, tuple[int, int]]:
    """The shares in at most :data:`CELLS` rows and columns, and how many channels a cell
    averages over; the last row and column of cells may have fewer."""
    by = tuple(-(-length // CELLS) for length in shares.shape)
    total, there = np.ones(shares.shape), shares
    for axis, size in enumerate(by):
        starts = np.arange(0, shares.shape[axis], size)
        there, total = (np.add.reduceat(array, starts, axis=axis) for array in (there, total))
    return there / total, (by[0], by[1])


# ---- the section


def connections(graph: Graph, layers: Sequence[Layer]) -> Section:
    """A heat map for each of these layers of the graph."""
    maskable = [row for row in rows(graph) if row.maskable]
    there, whole = sum(r.parameters for r in maskable), sum(r.size for r in maskable)
    words = tag(
        "p",
        f"A mask says which weights of a layer are there; the others are zero, are not trained, "
        f"and do not count. {plural(len(layers), 'layer')} of {len(maskable):,} "
        f"{'has' if len(layers) == 1 else 'have'} weights or biases missing. All layers together "
        f"have {there:,} of {whole:,} weights and biases: {share(there, whole)}.",
    )
    maps = [tag("div", *map(heat_map, layers[:OPEN]), class_="maps")]
    if len(layers) > OPEN:
        maps.append(
            tag(
                "details",
                tag("summary", plural(len(layers) - OPEN, "more layer")),
                tag("div", *map(heat_map, layers[OPEN:]), class_="maps"),
            )
        )
    return Section("connections", "Connections", joined([words, _legend(), *maps]))


def _legend() -> Markup:
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    boxes = [
        tag("rect", x=str(24 * i), width="24", height="12", fill=_hex(), fill_opacity=_opacity(s))
        for i, s in enumerate(steps)
    ]
    frame = tag("rect", x="0.5", y="0.5", width="119", height="12", class_="frame")
    drawn = tag("svg", *boxes, frame, width="120", height="13", aria_hidden="true")
    words = tag("span", "share of a kernel's weights that are there:")
    return tag("p", words, tag("span", "none", drawn, "all", class_="key whole"), class_="legend")


def _hex() -> str:
    return "#{:02x}{:02x}{:02x}".format(*BLUE)


def _opacity(share: float) -> float:
    return FAINT + (1 - FAINT) * share if share else 0.0


def heat_map(layer: Layer) -> Markup:
    """The layer's name, how full it is, and the picture."""
    cells, (down, across) = averaged(layer.shares)
    weights = f"{layer.weights[0]:,} of {plural(layer.weights[1], 'weight')}"
    facts = [f"{share(*layer.weights)} full: {weights}"]
    if layer.biases[1]:
        facts.append(f", {layer.biases[0]:,} of {plural(layer.biases[1], 'bias')}")
    if max(down, across) > 1:
        facts.append(f". Averaged: a cell stands for {down} output × {across} input channels")
    name = layer.node.name
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("strong", tag("code", name)),
            tag("span", op_words(layer.node.op), class_="muted"),
            tag("span", *facts),
        ),
        _picture(layer, cells),
        class_="map",
    )


def _picture(layer: Layer, cells: Shares) -> Markup:
    height, width = _sides(*cells.shape)
    left, top = 34.0, 20.0
    outputs, inputs = layer.shares.shape
    grouped = ", of a group" if layer.groups > 1 else ""
    across, down = f"{plural(inputs, 'input channel')}{grouped}", plural(outputs, "output channel")
    turned = f"translate(12 {top:g}) rotate(-90)"
    room = max(width, 6.2 * len(across))
    tall = max(height, 6.2 * len(down) - 8)
    return tag(
        "svg",
        tag("text", across, x=left, y=12, class_="label"),
        tag("text", down, transform=turned, text_anchor="end", class_="label"),
        *_ends(outputs, inputs, left, top, width, height),
        tag(
            "image",
            x=left,
            y=top,
            width=width,
            height=height,
            preserveAspectRatio="none",
            href=f"data:image/png;base64,{_png(cells)}",
        ),
        tag("rect", x=left, y=top, width=width, height=height, class_="frame"),
        width=left + room + 4,
        height=top + tall + 18,
        viewBox=f"0 0 {left + room + 4:g} {top + tall + 18:g}",
        role="img",
        aria_label=f"connections of {layer.node.name}",
    )


def _ends(
    outputs: int, inputs: int, left: float, top: float, width: float, height: float
) -> Iterator[Markup]:
    """The numbers of the last channels; the first ones are 1, in the corner."""
    yield tag("text", f"{outputs:,}", x=left - 4, y=top + height, text_anchor="end")
    yield tag("text", f"{inputs:,}", x=left + width, y=top + height + 13, text_anchor="end")


def _sides(rows: int, columns: int) -> tuple[float, float]:
    """Height and width of a picture: square cells where that leaves no side too thin."""
    cell = min(CELL, SIDE / max(rows, columns))
    return max(rows * cell, THIN), max(columns * cell, THIN)


def _png(shares: Shares) -> str:
    """A picture of one colour, whose opacity is the share: it fits light and dark pages."""
    from PIL import Image

    levels = np.arange(256)
    opacity = np.where(levels, FAINT * 255 + (1 - FAINT) * levels, 0).astype(np.uint8)
    # Rounded up, so that no share above none becomes none.
    picture = Image.fromarray(np.ceil(255 * shares).astype(np.uint8), "P")
    picture.putpalette(BLUE * 256)
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=opacity.tobytes(), optimize=True)
    return base64.b64encode(file.getvalue()).decode()
