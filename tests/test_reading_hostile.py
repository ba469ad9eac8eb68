"""Damaged and hostile ONNX files: one clear error, quickly, and nothing written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from growc import GrowcError
from growc.backends import from_onnx

from .conftest import Done

node = helper.make_node
FLOAT = TensorProto.FLOAT

SECONDS = 2.0
"""No file of these takes longer, on a busy machine neither."""


def declared(name: str, *shape: Any, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def ints(name: str, *numbers: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def floats(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array, np.float32), name)


def model(
    *nodes: onnx.NodeProto,
    stored: Any = (),
    shape: Any = ("N", 4),
    output: str = "y",
    opset: int = 17,
    functions: Any = (),
) -> onnx.ModelProto:
    """A model that makes ``y`` of the input ``x``."""
    output_type = declared(output, "N", "M")
    graph = helper.make_graph(nodes, "net", [declared("x", *shape)], [output_type], stored)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions)


RELU = node("Relu", ["x"], ["y"])


def small_model() -> bytes:
    """All kinds of things that a file has: layers, shape arithmetic, a branch, an own function."""
    random = np.random.default_rng(0)
    then, other = (
        helper.make_graph([node(op, ["g"], [name])], name, [], [declared(name, "N", 3)])
        for op, name in (("Relu", "t1"), ("Neg", "t2"))
    )
    own = helper.make_function(
        "own",
        "twice",
        ["a"],
        ["b"],
        [node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv1", pads=[1, 1, 1, 1], strides=[1, 1]),
        node("BatchNormalization", ["c", *["ones"] * 4], ["n"], epsilon=1e-5),
        node("MaxPool", ["n"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Shape", ["p"], ["s"]),
        node("Gather", ["s", "zero"], ["first"], axis=0),
        node("Constant", [], ["rest"], value_ints=[-1]),
        node("Concat", ["first", "rest"], ["target"], axis=0),
        node("Reshape", ["p", "target"], ["f"]),
        node("Gemm", ["f", "m", "b"], ["g"], transB=1, alpha=0.5),
        node("If", ["yes"], ["h"], then_branch=then, else_branch=other),
        node("twice", ["h"], ["i"], domain="own"),
        node("Softmax", ["i"], ["y"], axis=-1),
    ]
    stored = [
        floats("w", random.standard_normal((3, 2, 3, 3))),
        floats("ones", np.ones(3)),
        ints("zero", 0),
        floats("m", random.standard_normal((3, 12))),
        helper.make_tensor("b", FLOAT, [3], [1.0, 2.0, 3.0]),
        numpy_helper.from_array(np.array(True), "yes"),
    ]
    made = model(*nodes, stored=stored, shape=("N", 2, 4, 4), functions=[own])
    onnx.checker.check_model(made)
    found: bytes = made.SerializeToString()
    return found


SMALL = small_model()


def read(folder: Path, content: bytes | onnx.ModelProto) -> GrowcError | None:
    """Read a file with this content: all is well, or there is an error that names the file."""
    path = folder / "net.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    start = time.process_time()
    found = None
    try:
        from_onnx(path)
    except GrowcError as error:
        found = error
    assert time.process_time() - start < SECONDS
    if found is not None:
        assert len(found.diagnostics) == 1
        assert found.diagnostics[0].message.startswith(f"{path}: ")
        assert len(str(found)) < 2000
    return found


def refusal(folder: Path, content: bytes | onnx.ModelProto) -> str:
    """What is said of a file, without its name."""
    error = read(folder, content)
    assert error is not None
    return str(error).replace(f"error: {folder / 'net.onnx'}: ", "")


def test_the_small_model_can_be_read(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@given(at=st.integers(0, len(SMALL) - 1))
def test_cut_off(folder: Path, at: int) -> None:
    read(folder, SMALL[:at])


POSITION = st.integers(0, len(SMALL) - 1)


@given(changes=st.lists(st.tuples(POSITION, st.integers(0, 255)), min_size=1, max_size=6))
def test_other_bytes(folder: Path, changes: list[tuple[int, int]]) -> None:
    content = bytearray(SMALL)
    for at, byte in changes:
        content[at] = byte
    read(folder, bytes(content))


@given(at=POSITION, bit=st.integers(0, 7))
def test_one_bit(folder: Path, at: int, bit: int) -> None:
    content = bytearray(SMALL)
    content[at] ^= 1 << bit
    read(folder, bytes(content))


@given(at=POSITION, length=st.integers(1, 30), new=st.binary(max_size=8))
def test_a_piece_missing_or_more(folder: Path, at: int, length: int, new: bytes) -> None:
    read(folder, SMALL[:at] + new + SMALL[at + length :])


@given(content=st.binary(max_size=200))
def test_any_bytes(folder: Path, content: bytes) -> None:
    read(folder, content)


# ---- files that are none


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(200), SMALL[:-1]]
)
def test_no_model(tmp_path: Path, content: bytes) -> None:
    said = refusal(tmp_path, content)
    assert said.startswith(("not a complete ONNX file", "not an ONNX model (it has no outputs)"))
    assert said.endswith("help: it is damaged, cut off, or something else")


def test_paths(tmp_path: Path) -> None:
    for path, what in ((tmp_path / "no.onnx", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(GrowcError, match=what):
            from_onnx(path)


# ---- models that cannot be


def without_opset() -> onnx.ModelProto:
    made = model(RELU)
    del made.opset_import[:]
    return made


def with_type(shape: Any, name: str = "x") -> onnx.ModelProto:
    made = model(node("Relu", [name], ["y"]), shape=shape)
    made.graph.input[0].name = name
    return made


def raw(shape: list[int], content: bytes = bytes(16), kind: int = FLOAT) -> onnx.ModelProto:
    """A model that adds a stored tensor of these bytes."""
    stored = TensorProto(name="w", data_type=kind, dims=shape, raw_data=content)
    return model(node("Add", ["x", "w"], ["y"], name="plus"), stored=[stored])


def with_constant(*nodes: onnx.NodeProto, stored: Any) -> onnx.ModelProto:
    """A model that adds the sum of the constant ``c``."""
    summed = [node("ReduceSum", ["c"], ["r"], keepdims=0), node("Add", ["x", "r"], ["y"])]
    return model(*nodes, *summed, stored=stored)


def nested(depth: int) -> onnx.ModelProto:
    inner = helper.make_graph([node("Relu", ["x"], ["y0"])], "g", [], [declared("y0")])
    for i in range(1, depth):
        other = helper.make_graph([node("Neg", ["x"], ["z"])], "e", [], [declared("z")])
        branch = node("If", ["yes"], [f"y{i}"], then_branch=inner, else_branch=other)
        inner = helper.make_graph([branch], "g", [], [declared(f"y{i}")])
    yes = numpy_helper.from_array(np.array(True), "yes")
    return model(*inner.node, stored=[yes], output=f"y{depth - 1}")


def calls(names: dict[str, list[str]]) -> onnx.ModelProto:
    """Functions that call others one after another."""
    functions = []
    for name, called in names.items():
        values = ["a", *(f"v{i}" for i in range(len(called) - 1)), "b"]
        nodes = [
            node(op, [x], [y], domain="" if op == "Relu" else "own")
            for op, x, y in zip(called, values, values[1:], strict=False)
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", name, ["a"], ["b"], nodes, opsets))
    return model(node(list(names)[-1], ["x"], ["y"], domain="own"), functions=functions)


def loop() -> onnx.ModelProto:
    """2^62 turns."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Add", ["v", "v"], ["w"])],
        "body",
        [declared("i", kind=7), declared("go", kind=9), declared("v", 1)],
        [declared("on", kind=9), declared("w", 1)],
    )
    turn = node("Loop", ["n", "yes", "one"], ["c"], body=body, name="turn")
    scalars = [("n", np.int64(2**62)), ("yes", np.bool_(True)), ("one", np.ones(1, np.float32))]
    return with_constant(
        turn, stored=[numpy_helper.from_array(np.asarray(a), n) for n, a in scalars]
    )


def scalars(**numbers: Any) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(a), n) for n, a in numbers.items()]


HUGE = 2**62

IMPOSSIBLE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "no opset": (without_opset, "the model does not say the version of ONNX's operators"),
    "opset 6": (lambda: model(RELU, opset=6), "the model has opset 6, but growc reads 7 to 23"),
    "opset 24": (lambda: model(RELU, opset=24), "the model has opset 24, but growc reads 7 to 23"),
    "ops": (
        lambda: model(
            node("Fancy", ["x"], ["a"], domain="own", name="f1"),
            node("LSTM", ["a"], ["b"]),
            node("Fancy", ["b"], ["y"], domain="own", name="f2"),
        ),
        "growc cannot read 3 nodes: own.Fancy (opset 17) at `f1`, `f2`; LSTM (opset 17) at the "
        "node that gives `b`",
    ),
    "random": (
        lambda: model(node("RandomNormal", [], ["r"], shape=[4]), node("Add", ["x", "r"], ["y"])),
        "growc cannot read 1 node: RandomNormal (opset 17)",
    ),
    "too few bytes": (
        lambda: raw([5]),
        "the stored tensor `w` of shape [5] needs 20 bytes, but has 16",
    ),
    "no bytes": (lambda: raw([2**40], b""), "needs 4,398,046,511,104 bytes, but has 0"),
    "negative size": (lambda: raw([-4]), "the stored tensor `w` has the impossible shape [-4]"),
    "overflow": (lambda: raw([HUGE, 4]), f"has the impossible shape [{HUGE}, 4]"),
    "no numbers": (lambda: raw([0], b""), "(Add): it reads a stored tensor without numbers"),
    "element type": (lambda: raw([4], kind=99), "elements that are no numbers, or of an unknown"),
    "strings": (lambda: raw([4], kind=TensorProto.STRING), "elements that are no numbers"),
    "cycle": (
        lambda: model(node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), RELU),
        "the nodes form a cycle through the node that gives `a`",
    ),
    "missing": (
        lambda: model(node("Add", ["x", "w"], ["y"], name="plus")),
        "the node `plus` reads `w`, which nothing gives\nhelp: an initializer or a node is missing",
    ),
    "no output": (lambda: model(node("Relu", ["x"], ["z"])), "nothing gives the output `y`"),
    "constant output": (
        lambda: model(RELU, stored=[floats("w", [1, 2])], output="w"),
        "the output `w` does not depend on an input",
    ),
    "given twice": (lambda: model(RELU, RELU), "two nodes give `y`"),
    "stored twice": (
        lambda: model(RELU, stored=[floats("w", [1]), floats("w", [2])]),
        "it has two stored tensors `w`",
    ),
    "input given": (lambda: model(node("Neg", ["x"], ["x"]), RELU), "gives `x`, which is an input"),
    "name": (lambda: with_type(("N", 4), "a`b"), "the input 'a`b' has a name that growc cannot"),
    "open axis": (
        lambda: with_type(("N", "tokens")),
        "axis `tokens` of the input `x` has no size\nhelp: give it one: sizes={'tokens': 224}, on "
        "the command line --size tokens=224",
    ),
    "nameless axis": (lambda: with_type(("N", None)), "--size 1=224"),
    "negative axis": (lambda: with_type(("N", -3)), "axis 1 of the input `x` has the impossible"),
    "huge axis": (lambda: with_type(("N", HUGE)), "axis 1 of the input `x` has the impossible"),
    "huge batch": (lambda: with_type((HUGE, 4)), "the impossible first axis"),
    "no axes": (lambda: with_type(()), "the input `x` has no batch axis"),
    "attribute's type": (
        lambda: model(node("Softmax", ["x"], ["y"], axis=1.5)),
        "the node that gives `y` (Softmax) is not as ONNX says: its attribute `axis` is of type "
        "FLOAT, not INT",
    ),
    "attribute unknown": (
        lambda: model(node("Relu", ["x"], ["y"], axis=1)),
        "in opset 17 it has no attribute `axis`",
    ),
    "attribute missing": (
        lambda: model(node("MaxPool", ["x"], ["y"]), shape=("N", 2, 4, 4)),
        "its attribute `kernel_shape` is missing",
    ),
    "operands": (lambda: model(node("Relu", ["x", "x"], ["y"])), "it has 2 operands, not 1"),
    "axis": (lambda: model(node("Softmax", ["x"], ["y"], axis=7)), "axis 7 is out of range"),
    "stride": (
        lambda: model(
            node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[0, 1]),
            shape=("N", 2, 4, 4),
        ),
        "its strides [0, 1] are too small",
    ),
    "kernel": (
        lambda: model(node("MaxPool", ["x"], ["y"], kernel_shape=[2**40, 3]), shape=("N", 2, 4, 4)),
        "not [1099511627776, 3]",
    ),
    "reshape": (
        lambda: model(node("Reshape", ["x", "s"], ["y"]), stored=[ints("s", HUGE, -1)]),
        f"(Reshape): [N, 4] does not become [{HUGE}, -1]",
    ),
    "padding": (
        lambda: model(node("Pad", ["x", "p"], ["y"]), stored=[ints("p", 0, HUGE, 0, HUGE)]),
        "growc cannot read the node that gives `y` (Pad)",
    ),
    "expand": (
        lambda: with_constant(
            node("Expand", ["e", "s"], ["c"]), stored=[ints("s", 2**31, 2**31), floats("e", [1])]
        ),
        "its constant result would have 4,611,686,018,427,387,904 numbers",
    ),
    "fill": (
        lambda: with_constant(node("ConstantOfShape", ["s"], ["c"]), stored=[ints("s", 2**31, 99)]),
        "numbers, which is more than the size of the file explains",
    ),
    "fill more": (
        lambda: with_constant(node("ConstantOfShape", ["s"], ["c"]), stored=[ints("s", HUGE)]),
        "which is too large",
    ),
    "tile": (
        lambda: with_constant(
            node("Tile", ["e", "s"], ["c"]), stored=[ints("s", 2**40), floats("e", [1, 2])]
        ),
        "(Tile): its constant result would have 2,199,023,255,552 numbers",
    ),
    "range": (
        lambda: with_constant(
            node("Range", ["a", "b", "d"], ["c"]),
            stored=scalars(a=np.float32(0), b=np.float32(1e30), d=np.float32(1)),
        ),
        "(Range): its constant result would have",
    ),
    "range without step": (
        lambda: with_constant(
            node("Range", ["a", "b", "a"], ["c"]),
            stored=scalars(a=np.float32(0), b=np.float32(1)),
        ),
        "(Range): its step is 0",
    ),
    "product": (
        lambda: with_constant(
            node("MatMul", ["a", "b"], ["c"]),
            stored=[floats("a", np.ones((60000, 1))), floats("b", np.ones((1, 60000)))],
        ),
        "(MatMul): its constant result would have 3,600,000,000 numbers",
    ),
    "doubling": (
        lambda: with_constant(
            *(
                node("Concat", [f"c{i}"] * 1000, [f"c{i + 1}" if i < 3 else "c"], axis=0)
                for i in range(4)
            ),
            stored=[floats("c0", [1, 2])],
        ),
        "(Concat): its constant result would have",
    ),
    "loop": (loop, "growc cannot read 1 node: Loop (opset 17) at `turn`"),
    "calls itself": (lambda: calls({"f": ["f"]}), "its function `f` calls itself"),
    "billion laughs": (
        lambda: calls({"f0": ["Relu"]} | {f"f{i}": [f"f{i - 1}"] * 10 for i in range(1, 20)}),
        "its functions, written out, have more than a million nodes",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible(tmp_path: Path, name: str) -> None:
    made, expected = IMPOSSIBLE[name]
    assert expected in refusal(tmp_path, made())


def test_graphs_within_graphs(tmp_path: Path) -> None:
    assert read(tmp_path, nested(20)) is None


def test_unknown_sizes(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(with_type(("N", "tokens")).SerializeToString())
    assert from_onnx(path, sizes={"tokens": 5}).node("x").type.shape == (5,)
    with pytest.raises(GrowcError, match="no input has an axis `token` without a size"):
        from_onnx(path, sizes={"token": 5})
    path.write_bytes(with_type(("N", None)).SerializeToString())
    assert from_onnx(path, sizes={"1": 5}).node("x").type.shape == (5,)


def test_inputs_may_be_called_like_nodes(tmp_path: Path) -> None:
    made = with_type(("N", 4), "n1")
    assert len(from_onnx(made)) == 2


def test_a_long_chain(tmp_path: Path) -> None:
    count = 5000
    values = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
    nodes = [node("Tanh" if i % 2 else "Sin", [values[i]], [values[i + 1]]) for i in range(count)]
    assert len(from_onnx(model(*nodes))) == count + 1


# ---- external data


def external(**entries: Any) -> onnx.ModelProto:
    shape = entries.pop("shape", [4])
    stored = TensorProto(name="w", data_type=FLOAT, dims=shape)
    stored.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        stored.external_data.add(key=key, value=str(value))
    return model(node("Add", ["x", "w"], ["y"]), stored=[stored])


OUTSIDE = "outside of the model's folder"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"location": "../secret.bin"}, OUTSIDE),
        ({"location": "sub/../../secret.bin"}, OUTSIDE),
        ({"location": "/etc/passwd"}, OUTSIDE),
        ({"location": "link.bin"}, OUTSIDE),
        ({"location": "elsewhere/secret.bin"}, OUTSIDE),
        ({"location": "loop"}, OUTSIDE),
        ({"location": ""}, OUTSIDE),
        ({"location": "a\0b"}, OUTSIDE),
        ({"location": "a" * 5000}, OUTSIDE),
        ({}, OUTSIDE),
        ({"location": "."}, "is no file, but should have the stored tensor `w`"),
        ({"location": "missing.bin"}, "cannot be read (No such file or directory)"),
        ({"location": "w.bin", "offset": 24}, "needs 16 bytes at 24 of w.bin, which has 32"),
        ({"location": "w.bin", "offset": -4}, "needs 16 bytes at -4 of w.bin"),
        ({"location": "w.bin", "offset": 2**70}, "of w.bin, which has 32"),
        ({"location": "w.bin", "length": HUGE}, "needs 16 bytes at 0 of w.bin"),
        ({"location": "w.bin", "length": 8}, "needs 16 bytes at 0 of w.bin"),
        ({"location": "w.bin", "offset": "four"}, "has an offset or length that is no number"),
        ({"location": "w.bin", "offset": "9" * 6000}, "has an offset or length that is no number"),
        ({"location": "w.bin", "shape": [2**39]}, "needs 2,199,023,255,552 bytes at 0 of w.bin"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_external_data(tmp_path: Path, entries: dict[str, Any], expected: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(np.arange(8, dtype=np.float32).tobytes())
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to("../secret.bin")
    (folder / "elsewhere").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    assert expected in refusal(folder, external(**entries))


def test_external_data_of_an_attribute(tmp_path: Path) -> None:
    value = TensorProto(name="w", data_type=FLOAT, dims=[4])
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="/etc/passwd")
    made = model(node("Constant", [], ["w"], value=value), node("Add", ["x", "w"], ["y"]))
    assert "an attribute of `Constant` lies in another file" in refusal(tmp_path, made)


def test_external_data_within_the_folder(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(8, dtype=np.float32).tobytes())
    path = tmp_path / "net.onnx"
    path.write_bytes(external(location="w.bin", offset=8, length=16).SerializeToString())
    (weights,) = from_onnx(path).weights.values()
    np.testing.assert_array_equal(weights, [2, 3, 4, 5])


# ---- the command


@pytest.mark.parametrize("name", ["ops", "cycle", "too few bytes", "tile"])
def test_import_writes_nothing(growc: Callable[..., Done], tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(IMPOSSIBLE[name][0]().SerializeToString())
    done = growc("import", path, "-o", tmp_path / "new")
    assert done.status == 1
    assert done.err.startswith(f"error: {path}: ")
    assert IMPOSSIBLE[name][1] in done.err
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
