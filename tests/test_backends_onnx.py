"""The ONNX model: names, structure, files; and the runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from growc.backends import Session, run_onnx, to_onnx
from growc.ir import Graph, GrowcError, Op, TensorType, initialize, ops


def net() -> Graph:
    graph = Graph("net")
    value = graph.add_input("image", TensorType((3, 6, 6)))
    for name, op in (
        ("stem.conv", ops.Conv2d(4, 3)),
        ("stem.norm", ops.BatchNorm()),
        ("stem.relu", ops.Relu()),
        ("drop", ops.Dropout(0.5)),
        ("pool", ops.AdaptiveAvgPool2d(4)),
        ("flat", ops.Flatten()),
        ("head", ops.Linear(5)),
    ):
        value = graph.add(op, [value], name)
    graph.set_output("logits", value)
    initialize(graph)
    return graph


def images(batch: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((batch, 3, 6, 6)).astype(np.float32)


def shape_of(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def node_names(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node]


def test_names_and_shapes() -> None:
    graph = net()
    model = to_onnx(graph)
    assert (model.producer_name, model.ir_version) == ("growc", 10)
    assert {i.name for i in model.graph.initializer} == set(graph.parameters())
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(
            onnx.numpy_helper.to_array(tensor), graph.weights[tensor.name]
        )
    assert [(i.name, shape_of(i)) for i in model.graph.input] == [("image", ["batch", 3, 6, 6])]
    assert [(o.name, shape_of(o)) for o in model.graph.output] == [("logits", ["batch", 5])]
    names = node_names(model)
    assert len(set(names)) == len(names)
    assert [n for n in names if n in graph] == [n.name for n in graph if n.name != "image"]


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert to_onnx(net()).SerializeToString() == to_onnx(net()).SerializeToString()


def test_dead_nodes_are_left_out_and_unused_inputs_stay() -> None:
    graph = net()
    graph.add_input("unused", TensorType((2,)))
    graph.add(ops.Linear(7), ["unused"], "dead")
    initialize(graph)
    model = to_onnx(graph)
    assert "dead" not in node_names(model)
    assert not any(i.name.startswith("dead") for i in model.graph.initializer)
    assert [i.name for i in model.graph.input] == ["image", "unused"]


def test_tied_weights_are_written_once() -> None:
    graph = Graph("tied")
    graph.add_input("x", TensorType((4,)))
    graph.add(ops.Linear(4), ["x"], "a")
    graph.add(ops.Linear(4), ["a"], "b", shared={"weight": "a.weight"})
    graph.set_output("y", "b")
    initialize(graph)
    model = to_onnx(graph)
    assert [i.name for i in model.graph.initializer] == ["a.weight", "a.bias", "b.bias"]
    weight = graph.weights["a.weight"].T
    x = np.ones((1, 4), np.float32)
    expected = (x @ weight + graph.weights["a.bias"]) @ weight + graph.weights["b.bias"]
    np.testing.assert_allclose(run_onnx(model, {"x": x})["y"], expected, rtol=0, atol=1e-6)


def test_outputs_may_be_called_anything() -> None:
    graph = Graph("names")
    graph.add_input("x", TensorType((3,)))
    graph.add(ops.Scale(2.0), ["x"], "double")
    graph.add(ops.Scale(3.0), ["double"], "sixfold")
    graph.add(ops.Scale(0.5), ["sixfold"], "half/Mul")
    graph.set_output("double", "sixfold")  # another node's name
    graph.set_output("twin", "sixfold")  # a second name for one tensor
    graph.set_output("same", "x")  # an input
    graph.set_output("x", "x")  # an input under its own name
    graph.set_output("two", "double")
    graph.set_output("half/Mul", "half/Mul")  # its own name
    graph.set_output('odd " name', "half/Mul")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = run_onnx(to_onnx(graph), {"x": x})
    expected = {"double": 6, "twin": 6, "same": 1, "x": 1, "two": 2, "half/Mul": 3, 'odd " name': 3}
    assert list(result) == list(expected)
    for name, factor in expected.items():
        np.testing.assert_array_equal(result[name], factor * x)
    assert len(set(node_names(to_onnx(graph)))) == len(to_onnx(graph).graph.node)


def test_names_that_the_writer_would_make_itself() -> None:
    graph = Graph("names")
    value = graph.add_input("constant", TensorType((3,)))
    for name in ("constant_2", "a", "a/Mul", "a/Sigmoid", "y_2"):
        value = graph.add(ops.Silu(), [value], name)
    value = graph.add(ops.Scale(2.0, 1.0), [value], "y")
    graph.set_output("a", value)
    result = run_onnx(to_onnx(graph), {"constant": np.zeros((1, 3), np.float32)})
    np.testing.assert_array_equal(result["a"], np.ones((1, 3)))


@pytest.mark.parametrize(("output", "other"), [("image", "an input"), ("head.bias", "a parameter")])
def test_outputs_that_onnx_cannot_name(output: str, other: str) -> None:
    graph = net()
    graph.set_output(output, "head")
    with pytest.raises(GrowcError, match=f"`{output}` is called like {other}"):
        to_onnx(graph)


@pytest.mark.parametrize("opset", [12, 24, 0])
def test_other_opsets_are_refused(opset: int) -> None:
    with pytest.raises(GrowcError, match=f"opset {opset} cannot be written, only 13 to 23"):
        to_onnx(net(), opset=opset)


def test_parameters_without_values() -> None:
    graph = net()
    graph.weights.clear()
    with pytest.raises(GrowcError, match="8 parameters of `net` lack values"):
        to_onnx(graph)


def test_unknown_ops_are_named() -> None:
    class Mystery(Op):
        name = "mystery"

        def infer(self, *operands: TensorType) -> TensorType:
            return operands[0]

    graph = net()
    graph.add(Mystery(), ["head"], "last")
    to_onnx(graph)  # no output needs it
    graph.set_output("logits", "last")
    with pytest.raises(GrowcError, match=r"`mystery` \(node `last`\) cannot be lowered to ONNX"):
        to_onnx(graph)


def test_the_checker_compares_the_graphs_types_with_its_own() -> None:
    graph = net()
    graph.set_op("pool", ops.AdaptiveAvgPool2d(3))  # not settled: the types are stale
    with pytest.raises(onnx.shape_inference.InferenceError):
        to_onnx(graph)


def test_weights_stored_in_any_order() -> None:
    graph = net()
    expected = to_onnx(graph).SerializeToString()
    for name, array in graph.weights.items():
        graph.weights[name] = np.asfortranarray(array)
    assert to_onnx(graph).SerializeToString() == expected


# ---- files


def test_one_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "net.onnx"
    model = to_onnx(net(), path)
    assert path.read_bytes() == model.SerializeToString(deterministic=True)
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    x = {"image": images()}
    np.testing.assert_array_equal(run_onnx(path, x)["logits"], run_onnx(model, x)["logits"])
    np.testing.assert_array_equal(run_onnx(str(path), x)["logits"], run_onnx(model, x)["logits"])


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("precious")
    with pytest.raises(GrowcError, match="already exists"):
        to_onnx(net(), path)
    assert path.read_text() == "precious"
    to_onnx(net(), path, overwrite=True)
    onnx.checker.check_model(str(path))


def test_large_models_have_their_weights_beside_them(tmp_path: Path) -> None:
    graph = net()
    x = {"image": images()}
    expected = run_onnx(to_onnx(graph), x)["logits"]
    path = tmp_path / "net.onnx"
    model = to_onnx(graph, path, max_bytes=2000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    onnx.checker.check_model(str(path), full_check=True)
    np.testing.assert_array_equal(run_onnx(path, x)["logits"], expected)
    np.testing.assert_array_equal(run_onnx(model, x)["logits"], expected)
    structure = onnx.load(path, load_external_data=False)
    assert all(not i.raw_data for i in structure.graph.initializer)
    entries = [{e.key: e.value for e in i.external_data} for i in structure.graph.initializer]
    assert {e["location"] for e in entries} == {"net.onnx.data"}
    assert all(int(e["offset"]) % 4096 == 0 for e in entries)  # or it could not be mapped
    loaded = onnx.load(path)
    for tensor in loaded.graph.initializer:
        np.testing.assert_array_equal(
            onnx.numpy_helper.to_array(tensor), graph.weights[tensor.name]
        )


def test_neither_of_two_files_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "net.onnx.data").write_text("precious")
    with pytest.raises(GrowcError, match=r"net\.onnx\.data: already exists"):
        to_onnx(net(), tmp_path / "net.onnx", max_bytes=0)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx.data"]


# ---- the runtime


def test_session_tells_what_it_runs_on() -> None:
    session = Session(to_onnx(net()))
    assert session.providers == ("CPUExecutionProvider",)
    assert (session.inputs, session.outputs) == (("image",), ("logits",))
    assert session.run({"image": images(3)})["logits"].shape == (3, 5)
    assert session.run({"image": images().astype(np.float64)})["logits"].dtype == np.float32


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    run_onnx(to_onnx(net()), {"image": images()})
    assert capfd.readouterr() == ("", "")


def test_unknown_providers_are_refused() -> None:
    with pytest.raises(GrowcError, match="no execution provider `CPUExecutionProvder`"):
        Session(to_onnx(net()), ["CPUExecutionProvder"])


def test_models_that_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x01\x02 not a model")
    for model in (broken, tmp_path / "missing.onnx", b"nothing"):
        with pytest.raises(GrowcError, match="onnxruntime cannot load it") as raised:
            Session(model)
        assert "ONNXRuntimeError" not in str(raised.value)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "takes 1 input .image., but `image` is missing"),
        ({"image": images(), "imgae": images()}, "`imgae` is unknown"),
        ({"image": images()[:, :2]}, "onnxruntime cannot run the model .*Got: 2 Expected: 3"),
        ({"image": images()[0]}, "onnxruntime cannot run the model"),
    ],
)
def test_inputs_that_do_not_fit(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(GrowcError, match=message):
        run_onnx(to_onnx(net()), inputs)
