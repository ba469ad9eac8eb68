"""Pictures: well-formed, complete, nothing overlaps or is cut off, with either layout."""

import random
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, Literal

import pytest

from growc.backends.svg import to_svg
from growc.backends.svg_scopes import Group, grouped
from growc.backends.svg_shapes import head, path
from growc.backends.svg_text import FAMILIES, Family, escape, fit, op_words, text_width
from growc.ir import OPS, Graph, GrowcError, Op, TensorType, ops

Engine = Literal["auto", "graphviz", "plain"]
SVG = "{http://www.w3.org/2000/svg}"

Box = tuple[float, float, float, float]
"""Left, top, width and height."""

ENGINES = [
    "plain",
    pytest.param(
        "graphviz",
        marks=pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed"),
    ),
]


def random_graph(seed: int, size: int = 25, scoped: bool = True) -> Graph:
    """A random DAG of element-wise ops, some operands used twice, in scopes that interleave."""
    rng = random.Random(seed)
    graph = Graph("random")
    names = [graph.add_input(f"x{i}", TensorType((4, 8, 8))) for i in range(rng.randint(1, 3))]
    for i in range(size):
        scope = rng.choice(["", "", f"b{i // 7}.", f"b{i // 9}.", f"b{i // 9}.c{i // 4}."])
        operands = [rng.choice(names[-6:]) for _ in range(rng.choice([1, 1, 2, 3]))]
        op = ops.Add() if len(operands) > 1 else OPS[rng.choice(["relu", "batch_norm"])]()
        names.append(graph.add(op, operands, f"{scope if scoped else ''}n{i}"))
    for i, name in enumerate(rng.sample(names, 2)):
        graph.set_output(f"y{i}", name)
    return graph


def residual() -> Graph:
    graph = Graph("net")
    image = graph.add_input("image", TensorType((3, 8, 8)))
    stem = graph.add(ops.Conv2d(4), [image], "stem")
    conv = graph.add(ops.Conv2d(4, 3), [stem], "block.conv")
    norm = graph.add(ops.BatchNorm(), [conv], "block.norm")
    total = graph.add(ops.Add(), [stem, norm], "block.add")
    graph.set_output("features", total)
    return graph


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def texts(root: ET.Element) -> list[str]:
    return [t.text or "" for t in root.iter(f"{SVG}text")]


def groups(root: ET.Element, kind: str) -> list[ET.Element]:
    return [g for g in root.iter(f"{SVG}g") if kind in g.get("class", "").split()]


def title(element: ET.Element) -> str:
    return element.findtext(f"{SVG}title", "")


def rectangle(element: ET.Element) -> Box:
    rect = element.find(f"{SVG}rect")
    assert rect is not None
    x, y, width, height = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
    return x, y, width, height


def edges(root: ET.Element) -> list[ET.Element]:
    return [p for p in root.iter(f"{SVG}path") if p.get("class") == "edge"]


def apart(a: Box, b: Box) -> bool:
    """Whether two rectangles do not overlap. Coordinates are rounded to one decimal."""
    return (
        a[0] + a[2] <= b[0] + 0.2
        or b[0] + b[2] <= a[0] + 0.2
        or a[1] + a[3] <= b[1] + 0.2
        or b[1] + b[3] <= a[1] + 0.2
    )


def inside(a: Box, b: Box) -> bool:
    """Whether rectangle ``a`` is in ``b``."""
    return (
        b[0] - 0.2 <= a[0]
        and b[1] - 0.2 <= a[1]
        and a[0] + a[2] <= b[0] + b[2] + 0.2
        and a[1] + a[3] <= b[1] + b[3] + 0.2
    )


def check_picture(graph: Graph, svg: str) -> ET.Element:
    """What holds for every picture."""
    root = parsed(svg)
    nodes = groups(root, "node")
    names = [title(n).split("\n")[0] for n in nodes]
    assert sorted(names) == sorted(graph.order())
    boxes = dict(zip(names, map(rectangle, nodes), strict=True))
    for a, b in combinations(boxes.values(), 2):
        assert apart(a, b)
    wanted = sorted(f"{o} → {n.name}" for n in graph for o in n.operands)
    assert sorted(map(title, edges(root))) == wanted
    for name, box in boxes.items():
        for operand in graph.node(name).operands:
            assert boxes[operand][1] + boxes[operand][3] <= box[1] + 0.2
    frames = [(title(f), rectangle(f)) for f in groups(root, "frame")]
    for (_, a), (_, b) in combinations(frames, 2):
        assert apart(a, b) or inside(a, b) or inside(b, a)
    for scope, frame in frames:
        within = [name for name, box in boxes.items() if inside(box, frame)]
        assert len(within) > 1
        assert all(name.startswith(f"{scope}.") for name in within)
        assert all(inside(box, frame) or apart(box, frame) for box in boxes.values())
    check_bounds(root, svg)
    return root


def check_bounds(root: ET.Element, svg: str) -> None:
    """Everything, control points of curves included, is within the view box."""
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    moved = re.search(r"translate\(([\d.]+) ([\d.]+)\)", svg)
    assert moved is not None
    dx, dy = map(float, moved.groups())
    for edge in edges(root):
        x = y = None
        for command, values in re.findall(r"([MVC])([^MVC]*)", edge.attrib["d"]):
            numbers = list(map(float, values.split()))
            points = [(x, numbers[0])] if command == "V" else zip(*[iter(numbers)] * 2, strict=True)
            for x, y in points:
                assert 0 <= x + dx <= width
                assert 0 <= y + dy <= height
    for kind in ("node", "frame"):
        for element in groups(root, kind):
            x, y, w, h = rectangle(element)
            assert inside((x + dx, y + dy, w, h), (0, 0, width, height))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int, engine: Engine) -> None:
    graph = random_graph(seed, scoped=seed % 3 != 0)
    check_picture(graph, to_svg(graph, engine=engine))


@pytest.mark.parametrize("seed", range(12))
def test_plain_lines_cross_no_boxes(seed: int) -> None:
    """Lines of growc's own layout keep out of all boxes, but for their ends."""
    graph = random_graph(seed)
    root = parsed(to_svg(graph, engine="plain"))
    boxes = [rectangle(n) for n in groups(root, "node")]
    for edge in edges(root):
        for x, y in samples(edge.attrib["d"]):
            assert not any(
                bx + 1 < x < bx + w - 1 and by + 1 < y < by + h - 1 for bx, by, w, h in boxes
            )


def samples(d: str) -> Iterator[tuple[float, ...]]:
    """Points on a path."""
    at = (0.0, 0.0)
    for command, values in re.findall(r"([MVC])([^MVC]*)", d):
        n = list(map(float, values.split()))
        if command == "M":
            at = (n[0], n[1])
            continue
        curve = [at, *zip(n[::2], n[1::2], strict=True)] if command == "C" else None
        end = curve[3] if curve else (at[0], n[0])
        for step in range(21):
            t = step / 20
            if curve is None:
                yield (at[0], at[1] + t * (end[1] - at[1]))
            else:
                weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                yield tuple(
                    sum(w * p[k] for w, p in zip(weights, curve, strict=True)) for k in (0, 1)
                )
        at = end


ODD = [
    "a<b>&c",
    'say "hi"',
    "it's",
    "back\\slash",
    "日本語.網",
    "%n\\N",
    "{a|b}",
    "]]>",
    "e\u0301",
    "שלום",
]


@pytest.mark.parametrize("engine", ENGINES)
def test_odd_names(engine: Engine) -> None:
    graph = Graph('<&"net\\">')
    value = graph.add_input("<in>", TensorType(()))
    for name in ODD:
        value = graph.add(ops.Relu(), [value], name)
    graph.set_output("<out> & 'more'", value)
    root = check_picture(graph, to_svg(graph, engine=engine))
    assert title(root) == '<&"net\\">'
    assert "output <out> & 'more'" in texts(root)


def test_what_xml_cannot_hold_is_replaced() -> None:
    graph = residual()
    graph.name = "a\x00b\ufffe"
    assert title(parsed(to_svg(graph, engine="plain"))) == "a\ufffdb\ufffd"


def test_long_names_are_shortened_and_kept_in_the_tooltip() -> None:
    graph = Graph("n" * 400)
    name = "very_long_name_" * 20 + "end"
    scope = "block_with_a_name_" * 10
    value = graph.add_input("x", TensorType((3, 8, 8)))
    for node in (name, f"{scope}.{name}", f"{scope}.b"):
        value = graph.add(ops.Conv2d(4), [value], node)
    graph.set_output("logits" * 50, value)
    root = check_picture(graph, to_svg(graph, engine="plain"))
    assert max(len(t) for t in texts(root)) < 60
    assert any("…" in t and t.endswith("end") for t in texts(root))
    width = float(root.attrib["width"])
    for text in root.iter(f"{SVG}text"):
        assert text_width(text.text or "", float(text.attrib["font-size"])) <= width
    assert [title(f) for f in groups(root, "frame")] == [scope]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_graph_gives_the_same_text(engine: Engine) -> None:
    assert to_svg(random_graph(5), engine=engine) == to_svg(random_graph(5), engine=engine)


def test_what_a_box_says() -> None:
    root = check_picture(residual(), to_svg(residual(), engine="plain"))
    said = texts(root)
    for words in (
        "net",
        "input",
        "image",
        "3×8×8",
        "conv2d 4, 3×3",
        "batch_norm",
        "output features",
    ):
        assert words in said
    assert [title(f) for f in groups(root, "frame")] == ["block"]
    assert "norm" in said, "names in a frame go without its scope"
    assert "conv2d(channels=4)" in title(groups(root, "node")[1])


def test_operand_used_twice_has_two_lines() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType((4,)))
    graph.set_output("y", graph.add(ops.Add(), [x, x], "twice"))
    root = check_picture(graph, to_svg(graph, engine="plain"))
    first, second = (edge.attrib["d"] for edge in edges(root))
    assert first != second


def test_highlight() -> None:
    graph = residual()
    root = parsed(to_svg(graph, engine="plain", highlight=["block.conv", "gone"]))
    assert [title(g).split("\n")[0] for g in groups(root, "highlight")] == ["block.conv"]
    assert "highlighted" in texts(root)
    assert "highlighted" not in texts(parsed(to_svg(graph, engine="plain", highlight=["gone"])))


@pytest.mark.parametrize(
    "graph", [Graph(), random_graph(0, size=0)], ids=["nothing", "inputs alone"]
)
def test_small_graphs(graph: Graph) -> None:
    if len(graph):
        check_picture(graph, to_svg(graph))
    for engine in ("auto", "plain"):
        parsed(to_svg(graph, engine=engine))


def test_nothing_from_outside() -> None:
    svg = to_svg(residual(), engine="plain")
    for word in ("<script", "href", "url(", "@import", "<image", "<foreignObject", "<style"):
        assert word not in svg
    assert svg.count("http") == 1
    assert 'fill="#ffffff"' in svg, "dark viewers need a background"


# ---- Graphviz


def failing(kind: str) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        if kind == "timeout":
            raise subprocess.TimeoutExpired("dot", 1)
        if kind == "status":
            raise subprocess.CalledProcessError(1, "dot", stderr="Error: out of luck\n")
        if kind == "missing":
            raise OSError("no such file")
        return subprocess.CompletedProcess(args, 0, kind, "")

    return run


FAILURES = {
    "timeout": "took more than",
    "status": "out of luck",
    "missing": "no such file",
    "": "could not be used",
    "{}": "could not be used",
    '{"bb": "0,0,9,9", "objects": []}': "missing in the answer",
    '{"bb": "0,0,nan,9"}': "not finite",
}


@pytest.mark.parametrize(("kind", "reason"), FAILURES.items())
def test_failing_graphviz_falls_back(
    monkeypatch: pytest.MonkeyPatch, kind: str, reason: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/dot")
    monkeypatch.setattr(subprocess, "run", failing(kind))
    assert to_svg(residual()) == to_svg(residual(), engine="plain")
    with pytest.raises(GrowcError, match=reason):
        to_svg(residual(), engine="graphviz")


def test_without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert to_svg(residual()) == to_svg(residual(), engine="plain")
    with pytest.raises(GrowcError, match="not found"):
        to_svg(residual(), engine="graphviz")


# ---- size


def test_a_thousand_nodes() -> None:
    graph = random_graph(1, size=1000)
    start = time.perf_counter()
    svg = to_svg(graph, engine="plain")
    # About one second alone; the rest is for a machine that has other work.
    assert time.perf_counter() - start < 8
    assert len(groups(parsed(svg), "node")) == len(graph)


def test_deep_scopes_and_long_chains() -> None:
    graph = Graph()
    value = graph.add_input("x", TensorType((4,)))
    for depth in range(120):
        value = graph.add(ops.Relu(), [value], "s." * depth + "n")
    for i in range(2000):
        value = graph.add(ops.Relu(), [value], f"m{i}")
    graph.set_output("y", value)
    assert len(groups(parsed(to_svg(graph, engine="plain")), "node")) == len(graph)


# ---- parts


def scopes(group: Group) -> Any:
    return [(m.scope, scopes(m)) if isinstance(m, Group) else m for m in group.members]


def test_scopes() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType((4,)))
    for name in ("a.b.0.p", "a.b.0.q", "a.b.1.p", "one.p", "c.p", "c.d.p", "c.d.q"):
        x = graph.add(ops.Relu(), [x], name)
    graph.set_output("y", x)
    assert scopes(grouped(graph)) == [
        "x",
        ("a.b.0", ["a.b.0.p", "a.b.0.q"]),
        "a.b.1.p",
        "one.p",
        ("c", ["c.p", ("c.d", ["c.d.p", "c.d.q"])]),
    ]


def test_a_scope_that_comes_back_is_cut() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType((4,)))
    for name in ("r.a", "r.b", "between", "r.c", "r.d"):
        x = graph.add(ops.Relu(), [x], name)
    graph.set_output("y", x)
    found = scopes(grouped(graph))
    assert found == ["x", ("r", ["r.a", "r.b"]), "between", ("r", ["r.c", "r.d"])]
    check_picture(graph, to_svg(graph, engine="plain"))


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (ops.Conv2d(64, 3, stride=2), "conv2d 64, 3×3 /2"),
        (ops.Conv2d(8, (1, 3), stride=(1, 2)), "conv2d 8, 1×3 /1×2"),
        (ops.Conv2d(8, groups=8, dilation=2), "conv2d 8, 3×3, depthwise, dilation 2"),
        (ops.Conv1d(8, groups=2), "conv1d 8, 3, 2 groups"),
        (ops.Linear(10), "linear 10"),
        (ops.MaxPool2d(3, stride=2), "max_pool2d 3×3 /2"),
        (ops.AdaptiveAvgPool2d(4), "adaptive_avg_pool2d to 4×4"),
        (ops.BatchNorm(eps=0.1), "batch_norm"),
        (ops.GroupNorm(4), "group_norm 4 groups"),
        (ops.Scale(-1.0, 1.0), "scale × -1 + 1"),
        (ops.Dropout(0.1), "dropout p 0.1"),
        (ops.Concat(), "concat"),
        (ops.Slice(2, 5), "slice 2:5"),
    ],
)
def test_op_words(op: Op, words: str) -> None:
    assert op_words(op, 8) == words


def test_fit() -> None:
    assert fit("short", 10, 100) == "short"
    assert fit("", 10, 0) == ""
    for room in range(0, 200, 7):
        shown = fit("conv2d_with_a_long_name_17", 10, room)
        assert text_width(shown, 10) <= max(room, text_width("…", 10)) + 0.01
    assert fit("conv2d_with_a_long_name_17", 10, 80).endswith("17")
    assert escape("<'&\"\x07>") == "&lt;&#x27;&amp;&quot;\ufffd&gt;"


def test_lines_stop_where_the_arrowhead_starts() -> None:
    route = [(5.0, 0.0), (5.0, 10.0), (5.0, 20.0), (5.0, 30.0)]
    assert path(route) == "M5 0V24.5"
    assert head(route, "#000").startswith('<path d="M5 30L')


def contrast(a: str, b: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((light(a), light(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.label)
def test_text_can_be_read_on_every_colour(family: Family) -> None:
    """WCAG AA: 4.5 for text, 3 for outlines against white (decorative here, so a little less)."""
    assert contrast("#1e293b", family.fill) > 7
    assert contrast("#586577", family.fill) > 4.5
    assert contrast(family.line, "#ffffff") > 2.5


def test_drawing_imports_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, growc.backends.svg; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
