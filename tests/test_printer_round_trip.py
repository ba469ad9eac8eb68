"""Networks with parts that repeat, or nearly repeat, print as text that gives them back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from growc import testing
from growc.grammar import dumps, loads
from growc.grammar.formatter import format_source
from growc.ir import Graph, Source, TensorType, check_invariants, names
from growc.ir.ops import (
    Add,
    BatchNorm,
    Clip,
    Conv2d,
    Dropout,
    LeakyRelu,
    MaxPool2d,
    Mul,
    Op,
    Relu,
    Scale,
    Softmax,
    Sub,
)

EXAMPLES = settings(
    deadline=None,
    max_examples=max(100, settings.default.max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

LIMITS = st.none() | st.floats(1.0, 2.0)
KERNELS = st.sampled_from([1, 3, [1, 3], [3, 1]])
PADDINGS = st.sampled_from(["same", "same", 1, [1, 1]])


def ops(kind: str) -> st.SearchStrategy[Op]:
    """Ops of one kind with attributes of all sorts; the result is like the first operand."""
    match kind:
        case "conv":
            same = st.builds(
                Conv2d,
                st.just(4),
                kernel=KERNELS,
                groups=st.sampled_from([1, 2, 4]),
                bias=st.booleans(),
            )
            return same | st.builds(Conv2d, st.just(4), kernel=st.just(3), padding=PADDINGS)
        case "pool":
            return st.builds(MaxPool2d, KERNELS, stride=st.just(1), padding=st.just("same"))
        case "softmax":
            return st.builds(Softmax, axis=st.integers(-3, 2))
        case "norm":
            return st.builds(BatchNorm, eps=st.sampled_from([1e-5, 1e-3]), affine=st.booleans())
        case "scale":
            factors = st.sampled_from([-1.0, 1.0, 0.5])
            return st.builds(Scale, factor=factors, offset=st.sampled_from([0.0, -0.0, 1.5]))
        case "leaky":
            return st.builds(LeakyRelu, st.sampled_from([0.1, 0.01]))
        case "clip":
            return st.builds(Clip, low=st.sampled_from([None, -1.0, 0.0]), high=LIMITS)
        case "dropout":
            return st.builds(Dropout, st.sampled_from([0.5, 0.25]))
    return st.just({"relu": Relu(), "add": Add(), "mul": Mul(), "sub": Sub()}[kind])


ONE = ["conv", "pool", "softmax", "norm", "scale", "leaky", "clip", "dropout", "relu"]
TWO = ["add", "mul", "sub"]
WORDS = ["a", "b", "conv", "x", "y", "groups", "conv1", "relu", "in", "0", "1", "a b", "layer_2"]
SCOPES = ["layer1", "layer2", "layer.0", "blocks.1", "b.attn", "attn", "x", "0", "1.a", "relu", "é"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One node of a part, or the nodes of another part."""

    name: str
    what: str | Part
    operands: tuple[int, ...]
    """Earlier steps, or tensors that the part is applied to: -1, -2, …"""


@dataclasses.dataclass(frozen=True)
class Part:
    """What is stamped into a graph several times, each time with attributes of its own."""

    steps: tuple[Step, ...]
    inputs: int


@st.composite
def parts(draw: st.DrawFn, depth: int = 2) -> Part:
    inputs = draw(st.sampled_from([1, 1, 1, 2, 3]))
    inner = draw(parts(depth - 1)) if depth and draw(st.booleans()) else None
    steps: list[Step] = []
    used: set[str] = set()
    for i in range(draw(st.integers(2, 6))):
        name = draw(st.sampled_from([w for w in WORDS if w not in used]))
        used.add(name)
        operand = st.integers(max(-inputs, i - 3) if i > 2 else -inputs, i - 1)
        if inner is not None and draw(st.integers(0, 2)) == 0:
            count, what = inner.inputs, inner
        else:
            kind = draw(st.sampled_from([*ONE, *TWO, "relu", "conv"]))
            count = draw(st.integers(2, 3)) if kind == "add" else 2 if kind in TWO else 1
            what = kind
        steps.append(Step(name, what, tuple(draw(operand) for _ in range(count))))
    loose = set(range(len(steps))) - {o for step in steps for o in step.operands}
    if len(loose) > 1 and draw(st.integers(0, 3)):
        steps.append(Step("sum", "add", tuple(sorted(loose))))
    return Part(tuple(steps), inputs)


class Stamper:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.graph = Graph("n")
        self.convs: list[str] = []

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == one_in - 1

    def stamp(self, part: Part, scope: str, tensors: list[str]) -> str:
        """Add the nodes of a part, and return the last one's name."""
        made: list[str] = []
        for step in part.steps:
            operands = [made[o] if o >= 0 else tensors[-o - 1] for o in step.operands]
            name = f"{scope}.{step.name}" if scope else step.name
            if isinstance(step.what, Part):
                made.append(self.stamp(step.what, name, operands))
            else:
                made.append(self.node(step.what, operands, name))
        return made[-1]

    def node(self, kind: str, operands: list[str], name: str) -> str:
        op = self.draw(ops(kind))
        name = self.graph.fresh(name)
        shared = None
        if kind == "conv":
            alike = [c for c in self.convs if self.graph.node(c).op == op]
            if alike and self.chance(6):
                shared = {"weight": f"{self.draw(st.sampled_from(alike))}.weight"}
            self.convs.append(name)
        return self.graph.add(op, operands, name, shared)


@st.composite
def repetitive(draw: st.DrawFn) -> Graph:
    """A graph with parts stamped under several names, and a few disturbances."""
    stamper = Stamper(draw)
    graph = stamper.graph
    kind = TensorType((4, 6, 6))
    ends = [graph.add_input(n, kind) for n in draw(st.sampled_from([["x"], ["image", "x.in"]]))]
    for part in draw(st.lists(parts(), min_size=1, max_size=2)):
        for name in draw(st.lists(st.sampled_from(SCOPES), min_size=1, max_size=2, unique=True)):
            scopes = [f"{name}.{i}" for i in range(draw(st.integers(1, 5)))]
            if draw(st.booleans()):
                scopes.append(name)
            for scope in scopes:
                tensors = [draw(st.sampled_from(ends[-2:])) for _ in range(part.inputs)]
                ends.append(stamper.stamp(part, scope, tensors))
                if stamper.chance(8):
                    words = st.sampled_from([*WORDS, scope, f"{scope}.extra"])
                    ends.append(stamper.node("relu", [ends[-1]], draw(words)))
    loose = [node.name for node in graph if node.name in ends and not graph.consumers(node.name)]
    if len(loose) > 1 and not stamper.chance(4):
        ends.append(graph.add(Add(), loose, graph.fresh("sum")))
    outputs = [ends[-1]]
    if stamper.chance(3):
        outputs += draw(st.lists(st.sampled_from([n.name for n in graph]), max_size=2))
    for node in outputs:
        name = draw(st.sampled_from([node, "out", "logits", *SCOPES]))
        if name not in graph.inputs and name not in graph.outputs:
            graph.set_output(name, node)
    assume(graph.outputs)
    return graph


@pytest.fixture(params=["where they pay", "everywhere"])
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small graphs would hardly ever get a block: they also get one where it makes them longer."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "everywhere":
            patch.setattr("growc.grammar.outline._pays", lambda *_: True)
        yield


@EXAMPLES
@given(repetitive())
@pytest.mark.usefixtures("blocks")
def test_networks_of_repeated_parts_come_back(graph: Graph) -> None:
    comes_back(graph)


@st.composite
def stamped_networks(draw: st.DrawFn) -> Graph:
    """A random network of all ops, several times over, side by side."""
    net = draw(testing.networks(several_outputs=False))
    prefix = draw(st.sampled_from(["stage", "encoder.layers", "0", "b.relu"]))
    graph = Graph("n")
    for name in net.inputs:
        graph.add_input(name, net.node(name).type)
    for i in range(draw(st.integers(2, 4))):
        scope = f"{prefix}.{i}"
        new = {node.name: f"{scope}.{node.name}" for node in net if node.name not in net.inputs}
        for node in net:
            if node.name not in new:
                continue
            shared = {
                role: new[names.scope_of(key)] + "." + key.rpartition(".")[2]
                for role, key in node.shared.items()
            }
            operands = [new.get(o, o) for o in node.operands]
            graph.add(draw(varied(node.op)), operands, new[node.name], shared)
        for name, node in net.outputs.items():
            graph.set_output(f"{name}.{i}", new.get(node, node))
    return graph


def varied(op: Op) -> st.SearchStrategy[Op]:
    """The op, or the same with another number where that changes no shape."""
    free = {"eps": [0.25, 0.5], "rate": [0.1], "slope": [0.125], "offset": [2.0], "bias": [True]}
    choices = [op]
    for attribute in op.attributes:
        values: list[Any] = free.get(attribute.name, [])
        if op.name != "local_response_norm":
            choices += [dataclasses.replace(op, **{attribute.name: v}) for v in values]
    return st.sampled_from(choices)


@EXAMPLES
@given(stamped_networks())
@pytest.mark.usefixtures("blocks")
def test_random_networks_several_times_over_come_back(graph: Graph) -> None:
    comes_back(graph)


def comes_back(graph: Graph) -> None:
    try:
        check_invariants(graph)
    except AssertionError:
        assume(False)  # a node and a parameter of one name
    text = dumps(graph)
    again = loads(text)
    assert again == graph, text
    assert dumps(again) == text
    # `growc fmt` breaks long lines of all kinds, and quotes arguments called like words.
    if all(len(line) <= 100 for line in text.splitlines()) and "output=" not in text:
        assert format_source(Source("test", text)) == text
