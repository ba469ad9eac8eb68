"""Every operator of PyTorch that is read, in small modules: the same function, gradients, names."""

from __future__ import annotations

import pytest
import torch

import growc
from growc.backends.reading import torch_model
from growc.backends.reading.torch_call import HANDLERS

from .torch_cases import CASES, batch_of
from .torch_reading import compare, lively, read


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    model = lively(case.make())
    notes: list[str] = []
    graph = read(model, tuple(batch_of(case.inputs, 2, torch.float32, seed=9)), notes=notes)
    compare(model, graph, case.inputs, case.tolerance, train=case.train)


ELSEWHERE = {
    # asserted by the program, and left out before they are looked up
    *("_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_size"),
    # what operators that growc does not know are made of
    *("_log_softmax", "_softmax", "constant_pad_nd", "convolution", "native_dropout", "norm"),
    *("native_batch_norm", "_native_batch_norm_legit_functional", "native_layer_norm"),
    *("clamp_max", "logical_and", "new_empty"),
    # told of, in test_reading_torch_messages.py
    *("alpha_dropout", "feature_alpha_dropout", "feature_dropout", "rrelu_with_noise", "detach"),
    *("gru", "gru_cell", "lstm", "lstm_cell", "rnn_tanh", "rnn_tanh_cell", "rnn_relu"),
    *("rnn_relu_cell", "atan2"),
}


def test_every_handler_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    met = set()
    find = torch_model.handler_of

    def noted(target: str) -> object:
        found = find(target)
        if found is not None:
            met.add(found[0])
        return found

    monkeypatch.setattr(torch_model, "handler_of", noted)
    for case in CASES.values():
        model = case.make()
        growc.from_torch(model, tuple(batch_of(case.inputs, 2, torch.float32)), check=False)
    assert HANDLERS.keys() - met == {f"aten.{name}" for name in ELSEWHERE}


@pytest.mark.parametrize("name", ["Llama", "Llama, shared keys"])
def test_rotated_and_shared_heads_are_attention(name: str) -> None:
    case = CASES[name]
    graph = growc.from_torch(case.make(), tuple(batch_of(case.inputs, 2, torch.float32)))
    (attention,) = (node for node in graph if node.op.name == "attention")
    assert (attention.op.heads, attention.op.causal) == (4, True)
    assert not {node.op.name for node in graph} & {"matmul", "softmax"}
