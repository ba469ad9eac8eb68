"""Node names that PyTorch modules can have, whatever they look like, and those they cannot."""

import copy
import pickle

import pytest
import torch

from growc.backends import to_torch
from growc.ir import OPS, Graph, GrowcError, TensorType, initialize, ops

ODD_NAMES = [
    "self",
    "torch",
    "inf",
    "nan",
    "import",
    "class.0",
    "0",
    "1.weight",
    "é",
    "a b",
    "a'b",
    "{x}",
    "%s",
    "/model/Conv_1",
    "#",
    "None",
    "print",
    "growc",
    "forward_",
    "_",
]


@pytest.mark.parametrize("kind", ["linear", "relu", "input"])
def test_odd_names_work(kind: str) -> None:
    graph = Graph("odd")
    value = graph.add_input("x", TensorType((4,)))
    for name in ODD_NAMES:
        if kind == "linear" and name in ("self", "import", "class.0", "None"):
            continue
        if kind == "input":
            value = graph.add(
                ops.Add(), [value, graph.add_input(name, TensorType((4,)))], f"plus_{len(graph)}"
            )
        else:
            value = graph.add(OPS[kind].build([4] if kind == "linear" else [], {}), [value], name)
    graph.set_output("y", value)
    initialize(graph)
    module = to_torch(graph)
    x = [torch.randn(2, 4) for _ in graph.inputs]
    expected = module(*x)
    assert expected.shape == (2, 4)
    assert set(module.state_dict()) == set(graph.parameters())
    assert torch.equal(pickle.loads(pickle.dumps(module))(*x), expected)
    assert torch.equal(copy.deepcopy(module)(*x), expected)


@pytest.mark.parametrize(
    "name",
    [
        "self",
        "type",
        "train",
        "float",
        "forward",
        "graph",
        "code",
        "meta",
        "training",
        "a.type",
        "a.class",
        "import",
        'a"b',
        "a\\b",
        "ﬁ",
        "head.weight",
        "head.in_features.x",
        "stem._modules",
    ],
)
def test_names_that_a_module_cannot_have_are_refused(name: str) -> None:
    graph = Graph("net")
    graph.add_input("x", TensorType((4,)))
    graph.add(ops.Linear(4), ["x"], name)
    graph.add(ops.Linear(4), [name], "head")
    graph.add(ops.Linear(4), ["head"], "train.it")
    graph.set_output("y", "train.it")
    initialize(graph)
    with pytest.raises(GrowcError) as raised:
        to_torch(graph)
    messages = [d.message for d in raised.value.diagnostics]
    assert len(messages) == 2  # all of them at once
    assert any(f"the node `{name}` cannot keep its name" in m for m in messages)
    assert {f"rename the node `{n}`" for n in (name, "train.it")} == {
        d.help for d in raised.value.diagnostics
    }


def test_ops_without_a_module_may_be_called_anything() -> None:
    graph = Graph("net")
    value = graph.add_input("x", TensorType((4,)))
    for name in ("train", "forward", "type", 'a"b'):
        value = graph.add(ops.Relu(), [value], name)
    graph.set_output("y", value)
    assert to_torch(graph)(torch.ones(1, 4)).shape == (1, 4)


@pytest.mark.parametrize("order", [("stem", "stem.relu"), ("stem.relu", "stem")])
@pytest.mark.parametrize("second", ["relu", "dropout", "linear"])
def test_a_name_inside_another(order: list[str], second: str) -> None:
    made = {"stem": ops.Linear(4), "stem.relu": OPS[second].build([4] * (second == "linear"), {})}
    graph = Graph("net")
    value = graph.add_input("x", TensorType((4,)))
    for name in order:
        value = graph.add(made[name], [value], name)
    graph.set_output("y", value)
    initialize(graph)
    module = to_torch(graph)
    assert set(module.state_dict()) == set(graph.parameters())
    for twin in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin(torch.ones(2, 4)).shape == (2, 4)
