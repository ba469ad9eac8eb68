"""The lowered module as PyTorch users expect it, and the way back to the graph."""

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from growc.backends import to_torch, weights_of, with_weights_of
from growc.ir import Graph, GrowcError, Op, TensorType, initialize, ops, same_weights


def small_net() -> Graph:
    """conv (asymmetric padding) → batch norm → relu → dropout → flatten → linear"""
    graph = Graph("small")
    value = graph.add_input("image", TensorType((3, 6, 6)))
    for name, op in (
        ("stem.conv", ops.Conv2d(4, 2)),
        ("stem.norm", ops.BatchNorm()),
        ("stem.relu", ops.Relu()),
        ("drop", ops.Dropout(0.5)),
        ("flat", ops.Flatten()),
        ("head", ops.Linear(5)),
    ):
        value = graph.add(op, [value], name)
    graph.set_output("logits", value)
    initialize(graph)
    return graph


PARAMETERS = [
    "stem.conv.weight",
    "stem.conv.bias",
    "stem.norm.weight",
    "stem.norm.bias",
    "head.weight",
    "head.bias",
]
STATISTICS = ["stem.norm.running_mean", "stem.norm.running_var"]
COUNTER = "stem.norm.num_batches_tracked"


def images(batch: int = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(batch, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=dtype)


def train_once(module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module.train()
    module(images(dtype=dtype)).square().sum().backward()
    gradients = [p.grad for p in module.parameters() if p.numel() > 4]
    assert all(g is not None and g.abs().sum() > 0 for g in gradients)
    optimizer.step()


def test_importing_the_package_imports_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, growc.backends; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'onnx', 'onnxruntime')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lazy_names() -> None:
    import growc.backends as backends

    for name in backends.__all__:
        assert callable(getattr(backends, name))
        assert name in dir(backends)
    with pytest.raises(AttributeError, match="to_tensorflow"):
        _ = backends.to_tensorflow


def test_names_and_kinds() -> None:
    module: Any = to_torch(small_net())
    assert isinstance(module, torch.fx.GraphModule)
    assert [name for name, _ in module.named_parameters()] == PARAMETERS
    assert sorted(module.state_dict()) == sorted([*PARAMETERS, *STATISTICS, COUNTER])
    assert isinstance(module.get_submodule("stem.conv"), nn.Conv2d)
    assert type(module.get_submodule("stem.norm")) is nn.BatchNorm2d
    assert type(module.get_submodule("head")) is nn.Linear
    assert type(module.get_submodule("drop")) is nn.Dropout
    assert module.training


def test_values_are_the_graphs() -> None:
    graph = small_net()
    state = to_torch(graph).state_dict()
    for name in graph.parameters():
        np.testing.assert_array_equal(state[name].numpy(), graph.weights[name])


def test_a_step_is_that_of_the_module_written_by_hand() -> None:
    module: Any = to_torch(small_net())
    module.drop.p = 0.0
    twin: Any = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(3, 4, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 5),
    )
    for ours, theirs in ((module.stem.conv, 1), (module.stem.norm, 2), (module.head, 5)):
        twin[theirs].load_state_dict(ours.state_dict())
    for net in (module, twin):
        net(images()).square().sum().backward()
    for (name, ours), theirs in zip(module.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5, msg=name)
    torch.testing.assert_close(module.stem.norm.running_var, twin[2].running_var)


def test_lowering_leaves_the_random_generator_alone() -> None:
    graph = small_net()
    before = torch.get_rng_state()
    to_torch(graph)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_moves_everything_but_the_graph() -> None:
    graph = small_net()
    before = {name: array.copy() for name, array in graph.weights.items()}
    module: Any = to_torch(graph)
    train_once(module)
    for name in graph.weights:
        np.testing.assert_array_equal(graph.weights[name], before[name])
        # Batch norm takes away what the convolution's bias adds, so that has next to no gradient.
        if name != "stem.conv.bias":
            assert not np.array_equal(module.state_dict()[name].numpy(), before[name]), name
    assert module.state_dict()[COUNTER] == 1


def test_share_trains_the_graphs_own_arrays() -> None:
    graph = small_net()
    arrays = dict(graph.weights)
    before = {name: array.copy() for name, array in arrays.items()}
    train_once(to_torch(graph, share=True))
    for name in set(arrays) - {"stem.conv.bias"}:
        assert graph.weights[name] is arrays[name]
        assert not np.array_equal(arrays[name], before[name]), name


def test_read_only_arrays_are_copied_but_not_shared() -> None:
    graph = small_net()
    graph.weights["head.weight"].setflags(write=False)
    train_once(to_torch(graph))
    with pytest.raises(GrowcError, match=r"`head\.weight` is read-only"):
        to_torch(graph, share=True)


def test_arrays_that_cannot_be_shared() -> None:
    graph = small_net()
    graph.weights["head.weight"] = graph.weights["head.weight"][::-1]
    graph.weights["head.bias"] = graph.weights["head.bias"].astype(np.float64)
    module: Any = to_torch(graph)
    np.testing.assert_array_equal(module.head.weight.detach(), graph.weights["head.weight"])
    with pytest.raises(GrowcError) as raised:
        to_torch(graph, share=True)
    assert "`head.weight` is stored backwards" in str(raised.value)
    assert "`head.bias` is float64, not float32" in str(raised.value)
    with pytest.raises(GrowcError, match=r"dtype=torch\.float64 cannot be had"):
        to_torch(small_net(), share=True, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    graph = small_net()
    for module in (to_torch(graph, dtype=dtype), to_torch(graph).to(dtype)):
        assert {t.dtype for n, t in module.state_dict().items() if n != COUNTER} == {dtype}
        train_once(module, dtype)
        assert module(images(dtype=dtype)).dtype == dtype
        assert {a.dtype for a in weights_of(graph, module).values()} == {np.dtype(np.float32)}


def test_double_and_channels_last_compute_the_same() -> None:
    graph = small_net()
    expected = to_torch(graph).eval()(images())
    last: Any = to_torch(graph).eval()
    last = last.to(memory_format=torch.channels_last)
    result = last(images().to(memory_format=torch.channels_last))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    double = to_torch(graph).eval().double()(images(dtype=torch.float32).double())
    torch.testing.assert_close(double, expected.double(), rtol=0, atol=1e-6)


def saved_and_loaded(module: fx.GraphModule) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved_and_loaded]
)
def test_copies_by_any_road(twin: Callable[[fx.GraphModule], fx.GraphModule]) -> None:
    graph = small_net()
    module: Any = to_torch(graph).eval()
    other = twin(module)
    assert torch.equal(other(images()), module(images()))
    assert list(other.state_dict()) == list(module.state_dict())
    train_once(other)
    assert not torch.equal(other.eval()(images()), module(images()))
    train_once(module.train())


def test_evaluation_mode_reaches_dropout_and_batch_norm() -> None:
    module: Any = to_torch(small_net())
    x = images()
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


# ---- tied weights


def tied_net() -> Graph:
    graph = Graph("tied")
    value = graph.add_input("x", TensorType((4,)))
    value = graph.add(ops.Linear(4), [value], "a")
    value = graph.add(ops.Linear(4), [value], "b", shared={"weight": "a.weight"})
    value = graph.add(ops.BatchNorm(), [value], "n")
    value = graph.add(ops.BatchNorm(), [value], "m", shared={"running_mean": "n.running_mean"})
    graph.set_output("y", value)
    initialize(graph)
    return graph


def test_tied_weights_are_one_parameter() -> None:
    graph = tied_net()
    module: Any = to_torch(graph)
    assert module.a.weight is module.b.weight
    assert module.a.bias is not module.b.bias
    assert module.n.running_mean is module.m.running_mean
    assert "b.weight" not in dict(module.named_parameters())
    assert copy.deepcopy(module).a.weight is not module.a.weight
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin.a.weight is twin.b.weight
    assert set(weights_of(graph, module)) == set(graph.parameters())
    module(torch.ones(3, 4)).sum().backward()
    double: Any = to_torch(graph, dtype=torch.float64)
    assert double.a.weight is double.b.weight


def test_a_tie_that_broke_is_noticed() -> None:
    graph = tied_net()
    module: Any = to_torch(graph)
    module.b.weight = nn.Parameter(module.b.weight.detach().clone())
    with pytest.raises(GrowcError, match=r"`b\.weight` is no longer tied .* `a\.weight`"):
        weights_of(graph, module)


# ---- and back


def test_weights_of_is_the_same_memory() -> None:
    graph = small_net()
    module: Any = to_torch(graph)
    weights = weights_of(graph, module)
    assert list(weights) == list(graph.parameters())
    state = module.state_dict()
    for name, array in weights.items():
        assert array.ctypes.data == state[name].data_ptr()
    back = with_weights_of(graph, module)
    assert back == graph
    assert same_weights(back, graph)
    train_once(module)
    np.testing.assert_array_equal(weights["head.weight"], module.head.weight.detach().numpy())
    assert not same_weights(back, graph)


def test_with_weights_of_keeps_the_rest_of_the_store() -> None:
    graph = small_net()
    other = graph.weights["of.another.graph"] = np.ones(3, np.float32)
    module: Any = to_torch(graph)
    back = with_weights_of(graph, module)
    assert back.weights["of.another.graph"] is other
    assert back.weights is not graph.weights


def test_weights_of_wrapped_modules() -> None:
    class Compiled(nn.Module):
        """As torch.compile wraps, without its seconds of compiling."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self._orig_mod = inner

    graph = small_net()
    module: Any = to_torch(graph)
    wrapped = weights_of(graph, Compiled(module))
    assert wrapped["head.bias"].ctypes.data == module.head.bias.data_ptr()


def test_a_module_that_does_not_fit() -> None:
    graph = small_net()
    module: Any = to_torch(graph)
    del module.head
    module.stem.conv.bias = nn.Parameter(torch.zeros(7))
    with pytest.raises(GrowcError) as raised:
        weights_of(graph, module)
    assert "`head.weight` is missing" in str(raised.value)
    assert "`stem.conv.bias` has shape [7], not [4]" in str(raised.value)
    with pytest.raises(GrowcError, match=r"and \d+ more"):
        with_weights_of(graph, nn.Identity())


# ---- inputs and outputs


def test_several_inputs_and_outputs() -> None:
    graph = Graph("two")
    graph.add_input("left", TensorType((3,)))
    graph.add_input("right", TensorType((3,)))
    graph.add_input("unused", TensorType((1,)))
    graph.add(ops.Sub(), ["left", "right"], "difference")
    graph.add(ops.Relu(), ["left"], "dead")
    graph.set_output("d", "difference")
    graph.set_output("again", "difference")
    graph.set_output('it\'s "l"', "left")
    module: Any = to_torch(graph)
    a, b, c = torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 1)
    result = module(a, b, c)
    assert list(result) == ["d", "again", 'it\'s "l"']
    assert torch.equal(result["d"], a - b)
    assert torch.equal(result["again"], a - b)
    assert torch.equal(result['it\'s "l"'], a)


# ---- errors


def test_parameters_without_values() -> None:
    graph = small_net()
    del graph.weights["head.bias"], graph.weights["stem.conv.weight"]
    with pytest.raises(GrowcError) as raised:
        to_torch(graph)
    assert "2 parameters of `small` lack values" in str(raised.value)
    assert "growc.initialize" in str(raised.value)


def test_values_of_another_shape() -> None:
    graph = small_net()
    graph.weights["head.bias"] = np.zeros(6, np.float32)
    with pytest.raises(GrowcError, match=r"`head\.bias` has shape \[6\], not \[5\]"):
        to_torch(graph)


def test_unknown_ops_are_named_all_at_once() -> None:
    class Mystery(Op):
        name = "mystery"

        def infer(self, *operands: TensorType) -> TensorType:
            return operands[0]

    graph = Graph("net")
    graph.add_input("x", TensorType((4,)))
    graph.add(Mystery(), ["x"], "first")
    graph.add(Mystery(), ["first"], "second")
    graph.set_output("y", "second")
    with pytest.raises(GrowcError) as raised:
        to_torch(graph)
    assert [d.message for d in raised.value.diagnostics] == [
        f"`mystery` (node `{name}`) cannot be lowered to PyTorch" for name in ("first", "second")
    ]
