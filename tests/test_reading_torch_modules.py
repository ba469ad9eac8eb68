"""What PyTorch modules do beside computing: names, modes, outputs, element types, and mistakes."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import growc
from growc.ir import Graph
from growc.ir.weights import NO_ENTRY, Foreign

from .torch_cases import Ids, Of, Spec, batch_of
from .torch_reading import (
    assert_close,
    assert_same_function,
    assert_untouched,
    compare,
    lively,
    read,
    state_of,
)

P, R = nn.Parameter, torch.randn


def of(function: Callable[..., Any], /, **parts: Any) -> nn.Module:
    torch.manual_seed(0)
    return Of(function, **parts)


def checked(model: nn.Module, *specs: Spec, train: bool = True) -> tuple[Graph, list[str]]:
    """Read, compare in all that :func:`compare` does, and return the notes."""
    notes: list[str] = []
    graph = read(lively(model), tuple(batch_of(specs, 1, torch.float32)), notes=notes)
    compare(model, graph, specs, 1e-11, train=train)
    return graph, notes


def in_evaluation(
    model: nn.Module, *specs: Spec, tolerance: float = 1e-5
) -> tuple[Graph, list[str]]:
    """Read, and compare in evaluation mode alone, in the module's own element type."""
    notes: list[str] = []
    kind = next((p.dtype for p in model.parameters()), torch.float32)
    graph = read(model, tuple(batch_of(specs, 2, kind)), notes=notes)
    ours = growc.to_torch(graph)
    for count in (1, 3):
        inputs = batch_of(specs, count, kind)
        with torch.no_grad():
            found = ours.eval()(*(x.float() if x.is_floating_point() else x for x in inputs))
            assert_close(found, model.eval()(*inputs), tolerance, count)
    return graph, notes


# ---- names


class Named(nn.Module):
    """Names that are those of ops, inputs, keywords and attributes, or need backticks."""

    def __init__(self) -> None:
        super().__init__()
        names = ("in proj", "0", "block", "net", "weight", "block.x".replace(".", "_"))
        self.layers = nn.ModuleDict({name: nn.Linear(6, 6) for name in names})
        self.input, self.output, self.x = (nn.Linear(6, 6) for _ in range(3))
        self.relu, self.add, self.forward_, self.train_ = (nn.Linear(6, 6) for _ in range(4))
        self.linear = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.ModuleList([nn.Linear(6, 6)])[0])
        self.w1, self.b1, self.scale = P(R(6, 6)), P(R(6)), P(R(6))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for layer in self.layers.values():
            x = F.relu(layer(x))
        for layer in (self.input, self.output, self.x, self.relu, self.add):
            x = layer(x) + y
        x = self.linear(self.train_(self.forward_(x)))
        return F.linear(x, self.w1, self.b1) * self.scale


def test_odd_names() -> None:
    graph, notes = checked(Named(), (6,), (6,))
    assert notes == []
    assert list(graph.inputs) == ["x", "y"]
    assert "layers.in_proj" in graph
    assert "train_" in graph


def test_a_sequence_at_the_root() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    graph, notes = checked(model, (3, 5, 5))
    assert notes == []
    ours = growc.to_torch(graph)
    assert ours.state_dict().keys() == model.state_dict().keys()
    named = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    assert {"conv", "norm"} <= {node.name for node in checked(named, (3, 5, 5))[0]}


def test_a_layer_at_the_root() -> None:
    model = nn.BatchNorm2d(4)
    graph, _ = checked(model, (4, 3, 3))
    assert growc.to_torch(graph).state_dict().keys() == model.state_dict().keys()


def test_containers_of_parameters() -> None:
    parts = {
        "several": nn.ParameterList([P(R(6)), P(R(6))]),
        "named": nn.ParameterDict({"a": P(R(6)), "b": P(R(6, 6))}),
    }
    checked(
        of(
            lambda m, x: F.linear(x * m.several[0] + m.several[1] * m.named["a"], m.named["b"]),
            **parts,
        ),
        (6,),
    )


def test_shared_modules() -> None:
    layer = nn.Linear(6, 6)
    model = of(
        lambda m, x: m.b(m.layers[1](m.layers[0](F.relu(m.a(x))))),
        a=layer,
        b=layer,
        layers=nn.ModuleList([layer, nn.Linear(6, 6)]),
    )
    graph, notes = checked(model, (6,))
    assert notes == []
    ours = growc.to_torch(graph)
    assert len(list(ours.parameters())) == 4
    norm = of(
        lambda m, x: m.norm(F.relu(m.norm(m.a(x)))), a=nn.Conv2d(4, 4, 1), norm=nn.BatchNorm2d(4)
    )
    checked(norm, (4, 5, 5))


def test_weights_tied_the_other_way_round() -> None:
    """An autoencoder that decodes with the transposed matrix: one parameter, one gradient."""
    model = of(
        lambda m, x: F.linear(F.relu(m.encode(x)), m.encode.weight.t(), m.bias),
        encode=nn.Linear(6, 4),
        bias=P(R(6)),
    )
    graph, notes = checked(model, (6,))
    assert notes == []
    assert graph.parameter_count() == sum(p.numel() for p in model.parameters())
    twice = of(lambda m, x: F.linear(x, m.w, m.b) + m.b + x @ m.w, w=P(R(6, 6)), b=P(R(6)))
    graph, _ = checked(twice, (6,))
    assert graph.parameter_count() == 42


def test_a_tensor_of_a_layer_that_is_used_beside_it() -> None:
    model = of(lambda m, x: F.linear(x, m.a.weight).relu() + m.a.bias, a=nn.Linear(6, 4))
    graph, notes = checked(model, (6,))
    assert notes == []
    assert {"a", "a_bias"} <= {node.name for node in graph}


def test_equal_numbers_are_not_the_same_tensor() -> None:
    """A weight that is normalized equals its direction at first, by chance."""
    model = of(lambda m, x: F.linear(x, m.v * m.g), v=P(R(4, 6)), g=torch.ones(1))
    checked(model, (6,))
    table = of(lambda m, x: x + m.table * m.ones, table=torch.rand(6), ones=torch.ones(6))
    notes: list[str] = []
    read(table, R(2, 6), notes=notes)
    assert len(notes) == 1


def test_a_part_of_a_matrix_beside_the_whole_is_a_copy() -> None:
    model = of(lambda m, x: m.a(x) + F.linear(x, m.a.weight[:3]).repeat(1, 2), a=nn.Linear(6, 6))
    graph, notes = in_evaluation(model, (6,))
    assert notes == ["`a_2.weight` is a copy of a part of `a.weight`: training parts them"]
    assert {"a.weight", "a.bias"} <= growc.to_torch(graph).state_dict().keys()


def test_half_numbers_inside() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.a(x).float()

    torch.manual_seed(0)
    read(of(function, a=nn.Linear(6, 4)), R(2, 6))


def test_what_the_network_does_not_compute_with() -> None:
    model = of(
        lambda m, x: m.a(x),
        a=nn.Linear(6, 6),
        unused=nn.Linear(3, 3),
        norm=nn.BatchNorm1d(6),
        table=torch.ones(3),
    )
    model.register_buffer("hidden", torch.ones(2), persistent=False)
    graph, notes = checked(model, (6,))
    (note,) = notes
    assert note.startswith(
        "the network does not compute with 7 stored tensors as it is: table, unused."
    )
    assert growc.to_torch(graph).state_dict().keys() == {"a.weight", "a.bias"}


def test_constants_are_in_no_state_dict() -> None:
    """Masks and tables that a module computes, or keeps to itself, are kept over loading."""
    model = of(lambda m, x: m.a(x * torch.arange(6) + m.table), a=nn.Linear(6, 3))
    model.register_buffer("table", torch.rand(6), persistent=False)
    graph, notes = checked(model, (6,))
    assert notes == []
    assert len(graph.weights.foreign[NO_ENTRY].names) == 2
    ours = growc.to_torch(graph)
    assert ours.state_dict().keys() == model.state_dict().keys()
    ours.load_state_dict(ours.state_dict())
    assert_same_function(ours, model, batch_of(((6,),), 3, torch.float32), 1e-5)
    assert Foreign(()) not in graph.weights.foreign.values()


def test_frozen_parameters_are_read() -> None:
    model = nn.Sequential(nn.Linear(6, 4).requires_grad_(False), nn.Linear(4, 2))
    in_evaluation(model, (6,))


# ---- modes


def dropped(m: Any, x: Tensor) -> Tensor:
    """Stochastic depth."""
    y = m.dropout(m.a(x))
    if m.training:
        y = y * (torch.rand(x.shape[0], 1) < 0.8) / 0.8
    return x + y


def with_auxiliary(m: Any, x: Tensor) -> Any:
    y = m.dropout(m.a(x))
    return (m.b(y), m.c(y)) if m.training else m.b(y)


MODES: dict[str, tuple[Callable[..., Any], str]] = {
    "depth": (dropped, "it draws random numbers"),
    "auxiliary": (with_auxiliary, "has 2 outputs, and 1 in evaluation mode"),
    "scale": (lambda m, x: m.dropout(m.a(x)) * (2 if m.training else 3), "max |Δ|"),
    "noise": (lambda m, x: m.dropout(x + torch.randn_like(x) if m.training else x), "randn_like"),
}


@pytest.mark.parametrize("name", MODES)
def test_code_that_depends_on_the_mode(name: str) -> None:
    """It is read as in evaluation mode; the library's own dropout stays."""
    function, reason = MODES[name]
    parts = {key: nn.Linear(6, 6) for key in "abc"}
    model = of(function, dropout=nn.Dropout(0.3), **parts)
    graph, notes = in_evaluation(model, (6,))
    assert any(n.startswith("read as it is in evaluation mode") and reason in n for n in notes)
    assert "dropout" in {node.op.name for node in graph}


def test_without_a_check_training_mode_is_believed() -> None:
    model = of(MODES["scale"][0], dropout=nn.Dropout(0.3), a=nn.Linear(6, 6))
    graph = growc.from_torch(model, R(2, 6), check=False)
    assert "factor=2.0" in growc.dumps(graph)


def test_modes_are_left_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.1))
    model[1].eval()
    assert read(model, R(2, 6))
    assert [m.training for m in model.modules()] == [True, True, False, True]


@pytest.mark.parametrize(
    ("part", "shape", "note"),
    [
        (nn.Dropout2d(0.3), (3, 4, 4), "no feature dropout"),
        (nn.AlphaDropout(0.3), (6,), "no alpha dropout"),
        (nn.FeatureAlphaDropout(0.3), (3, 4, 4), "no feature alpha dropout"),
        (nn.RReLU(), (6,), "no random slopes"),
        (nn.BatchNorm1d(6, momentum=None), (6,), "averages over all batches"),
        (Of(lambda x: x.detach() * 2), (6,), "gradients stop at a detach"),
    ],
)
def test_what_cannot_be_kept_is_noted(part: nn.Module, shape: tuple[int, ...], note: str) -> None:
    _, notes = in_evaluation(nn.Sequential(part), shape)
    assert any(note in n for n in notes), notes


def test_a_frozen_batch_norm_is_noted() -> None:
    model = of(
        lambda m, x: F.batch_norm(x, m.n.running_mean, m.n.running_var, m.n.weight, m.n.bias),
        n=nn.BatchNorm1d(6),
    )
    _, notes = in_evaluation(lively(model), (6,))
    assert any("does not train in the module" in n for n in notes)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrized_weights_are_worked_out(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(wrap(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    graph, notes = in_evaluation(model.eval(), (3, 5, 5))
    assert any("stored tensor" in n for n in notes)
    ours = growc.to_torch(graph)
    ours.load_state_dict(model.state_dict())
    assert ours.get_parameter("_0.weight").requires_grad


def test_gradients_may_be_switched_off_inside() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = m.a(x)
        return m.b(y)

    in_evaluation(of(function, a=nn.Linear(6, 4), b=nn.Linear(4, 4)), (6,))


def test_a_changed_buffer_is_noted() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        m.seen.add_(1)
        return x * 2

    _, notes = in_evaluation(of(function, seen=torch.zeros(1)), (6,))
    assert "the module changes its buffer `seen`; the network does not" in notes


# ---- inputs and outputs

Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("function", "labels"),
    [
        (lambda m, x: m.a(x), ["output"]),
        (lambda m, x: (m.a(x), x), ["output_0", "output_1"]),
        (lambda m, x: [m.a(x)], ["output_0"]),
        (lambda m, x: [m.a(x)] * 2, ["output_0", "output_1"]),
        (lambda m, x: {"b": m.a(x), "a": x * 2}, ["b", "a"]),
        (
            lambda m, x: {"b": m.a(x), "a": (x, [x * 2, {"z": x + 1}])},
            ["b", "a_0", "a_1_0", "a_1_1_z"],
        ),
        (lambda m, x: Pair(m.a(x), x * 2), ["left", "right"]),
        (lambda m, x: OrderedDict(out=m.a(x), aux=x * 2), ["out", "aux"]),
        (lambda m, x: {1: m.a(x), "a b": x * 2}, ["output_1", "a_b"]),
        (lambda m, x: (m.a(x), None, 3), ["output_0"]),
        (lambda m, x: x, ["output"]),
    ],
)
def test_outputs(function: Callable[..., Any], labels: list[str]) -> None:
    graph, notes = in_evaluation(of(function, a=nn.Linear(6, 4)), (6,))
    assert list(graph.outputs) == labels
    assert {n for n in notes if "compute with" not in n} <= {
        "the output `output_2` is always 3; it is left out"
    }


def test_a_batch_elsewhere_comes_first() -> None:
    graph, notes = in_evaluation(of(lambda m, x: m.a(x).transpose(0, 1), a=nn.Linear(6, 4)), (3, 6))
    assert graph.node(graph.outputs["output"]).type.shape == (3, 4)
    assert notes == ["the output `output` has the batch as its first axis now"]


def test_several_inputs_one_unused() -> None:
    model = of(
        lambda m, x, i, y, z: m.e(i).mean(1) + m.a(x) + y.mean((1, 2))[:, None],
        a=nn.Linear(6, 4),
        e=nn.Embedding(9, 4),
    )
    checked(model, (6,), Ids(9, (3,)), (2, 4), (1,))


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.e = nn.Linear(6, 4), nn.Embedding(9, 4)

    def forward(self, x: Tensor, *, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.a(x) + self.e(ids)
        return y if mask is None else y.masked_fill(mask, 0.0)


def test_inputs_by_name() -> None:
    model = Keywords()
    example = {"ids": torch.zeros(1).long(), "x": R(1, 6)}
    graph = read(model, example)
    assert set(graph.inputs) == {"x", "ids"}
    x, ids = R(3, 6), torch.arange(3)
    ours = growc.to_torch(graph)
    feed = {"x": x, "ids": ids}
    assert_close(ours(*(feed[n] for n in graph.inputs)), model(x, ids=ids), 1e-6, "keywords")
    notes: list[str] = []
    read(model, example | {"mask": torch.zeros(1, 4).bool()}, notes=notes)
    assert notes == ["the input `mask` takes int64 now"]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_element_types(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)).to(kind)
    graph, _ = in_evaluation(model, (8,), tolerance=1e-6 if kind == torch.float64 else 0.02)
    ours = growc.to_torch(graph)
    ours.load_state_dict(model.state_dict())
    mixed = of(lambda m, x: m.a(x.to(kind)).float(), a=nn.Linear(8, 4).to(kind))
    growc.from_torch(mixed, R(2, 8))


def test_other_whole_numbers() -> None:
    model = of(lambda m, i: m.e(i), e=nn.Embedding(9, 4))
    notes: list[str] = []
    graph = read(model, torch.zeros(2, 3).int(), notes=notes)
    assert str(graph.node(next(iter(graph.inputs))).type) == "i64[3]"
    assert notes == ["the input `x_0` takes int64 now"]


def test_truth_is_numbers() -> None:
    _, notes = in_evaluation(of(lambda x: (x > 0, (x > 0).sum(-1))), (6,))
    assert notes == [
        "the output `output_0` is float32 now, not bool",
        "the output `output_1` is float32 now, not int",
    ]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_module_is_read_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    graph = growc.from_torch(torch.compile(model), R(2, 6))  # type: ignore[arg-type]
    growc.to_torch(graph).load_state_dict(model.state_dict())


# ---- mistakes


def branching(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


BAD: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, str]] = {
    "recurrent": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.LSTM(6, 5, batch_first=True)),
        (4, 6),
        "growc cannot read aten.lstm.input in `1` (LSTM): growc has no recurrent layers",
        "",
    ),
    "cell": (lambda: of(lambda m, x: m.c(x), c=nn.GRUCell(6, 5)), (6,), "`c` (GRUCell)", ""),
    "several unknown": (
        lambda: of(lambda m, x: (x.cumsum(-1), m.b(x, x), x.topk(2)[0]), b=nn.Bilinear(6, 6, 2)),
        (6,),
        "growc cannot read 3 calls of Of: aten.bilinear.default in `b` (Bilinear); "
        "aten.cumsum.default in `forward`; aten.topk.default in `forward`",
        "write these parts of the module with other operators",
    ),
    "data": (lambda: of(branching), (6,), "cannot be traced by torch.export", "must not decide"),
    "numpy": (
        lambda: of(lambda x: torch.from_numpy(x.detach().numpy())),
        (6,),
        "cannot be traced by torch.export",
        "leave PyTorch",
    ),
    "no input": (
        lambda: of(lambda m, x: m.w * 2, w=P(R(3))),
        (6,),
        "the output `output` of Of does not depend on an input",
        "leave it out",
    ),
    "constant": (
        lambda: of(lambda x: (x, torch.ones(2, 3))),
        (6,),
        "`output_1` of Of does not",
        "",
    ),
    "no batch": (lambda: of(lambda x: x.sum(0)), (6,), "it works along the batch axis", ""),
    "one number": (lambda: of(lambda x: x.mean()), (6,), "it reduces over the batch", ""),
    "batch statistics": (lambda: of(lambda x: x - x.mean(0)), (6,), "along the batch axis", ""),
    "size of the batch": (
        lambda: of(lambda x: x * x.shape[0]),
        (6,),
        "computes something else than it does in evaluation mode",
        "must not depend on the size of the batch",
    ),
    "pairs": (lambda: of(lambda x: x @ x.t()), (6,), "their batch at different axes", ""),
    "part of the batch": (
        lambda: of(lambda x: x[:1] + x),
        (6,),
        "it takes a part of the batch",
        "",
    ),
    "batch second": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16)),
        (5, 8),
        "`0.self_attn` (MultiheadAttention): its operands have their batch at different axes",
        "batch_first=True",
    ),
    "chance": (lambda: of(lambda x: x + torch.rand(6)), (6,), "it draws random numbers", ""),
    "running statistics": (
        lambda: lively(nn.InstanceNorm2d(3, track_running_stats=True)),
        (3, 4, 4),
        "it uses running statistics",
        "",
    ),
    "no statistics": (
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        (3, 4, 4),
        "it keeps no running statistics, which growc's batch norm needs",
        "",
    ),
    "whole numbers": (
        lambda: of(lambda m, x: m.e(x.long()), e=nn.Embedding(9, 4)),
        (3,),
        "it makes whole numbers of numbers that are computed",
        "",
    ),
    "angle": (lambda: of(lambda x: torch.atan2(x, x)), (3,), "no angle of two coordinates", ""),
    "wrong shape": (
        lambda: nn.Linear(5, 4),
        (6,),
        "Linear cannot be run on the example (RuntimeError: mat1 and mat2",
        "give an example of each input",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes(name: str) -> None:
    """One plain error; the module stays as it is, and nothing is printed, warned or logged."""
    make, shape, message, help = BAD[name]
    model = make()
    before = state_of(model)
    with pytest.raises(growc.GrowcError) as caught:
        growc.from_torch(model, R(2, *shape))
    assert_untouched(before, model)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert help in (found.help or "")
    assert "\n" not in found.message


@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (3, R(2, 6), "from_torch reads a PyTorch module, not int"),
        (nn.Linear, R(2, 6), "from_torch reads a PyTorch module, not type"),
        (nn.Linear(6, 2), (3,), "an example is a tensor, not int"),
        (nn.Linear(6, 2), ({"x": R(2, 6)},), "an example is a tensor, not dict"),
        (nn.Linear(6, 2), 3, "an example is a tensor, not int"),
        (nn.Linear(6, 2), None, "an example is a tensor, not NoneType"),
        (nn.Linear(6, 2), (), "this one is empty"),
        (nn.Linear(6, 2), torch.tensor(1.0), "needs a batch axis"),
        (nn.Linear(6, 2), {"y": R(2, 6)}, "cannot be run on the example (TypeError"),
        (nn.LazyLinear(2), R(2, 6), "`weight` of LazyLinear has no size yet"),
    ],
)
def test_wrong_arguments(model: Any, example: Any, message: str) -> None:
    with pytest.raises(growc.GrowcError) as caught:
        growc.from_torch(model, example)
    assert message in caught.value.diagnostics[0].message


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_torchscript() -> None:
    with pytest.raises(growc.GrowcError, match="is TorchScript"):
        growc.from_torch(torch.jit.script(nn.Sequential(nn.Linear(6, 4))), R(2, 6))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (branching, lambda x: x * 2, lambda x: x.topk(2)[0]):
            try:
                growc.from_torch(of(function), R(2, 6))
            except growc.GrowcError:
                continue
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET
    assert sys.stderr is not None


class Hoarder(nn.Module):
    """Keeps what it computes, as attributes and in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(6, 4), None
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        self.last = y
        self.mean = 0.9 * self.mean + 0.1 * y.mean(0)
        return y.relu()


def test_a_module_that_keeps_tensors_is_left_without_them() -> None:
    model = Hoarder()
    with contextlib.suppress(growc.GrowcError):
        read(model, R(2, 6))
    assert model.last is None
    assert not model.mean.any()
    model(R(2, 6))
