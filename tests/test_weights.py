"""Parameter values: first values, files, and what is said of files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import growc
from growc.ir import Graph, GrowcError, TensorType, initialize, ops
from growc.ir.weights import Array, draw, generator, read_file, to_bytes


def net(*names: str) -> Graph:
    graph = Graph("net")
    value = graph.add_input("x", TensorType((4,)))
    for name in names:
        value = graph.add(ops.Linear(4), [value], name)
    graph.set_output("y", value)
    return graph


def test_first_values_depend_on_seed_and_name_alone() -> None:
    one, other, seeded = net("a", "b", "c"), net("c", "new", "a"), net("a")
    assert initialize(one, 5) == 6
    assert initialize(other, 5) == 6
    initialize(seeded, 6)
    for name in ("a.weight", "a.bias", "c.weight", "c.bias"):
        np.testing.assert_array_equal(one.weights[name], other.weights[name])
    assert not np.array_equal(one.weights["a.weight"], one.weights["c.weight"])
    assert not np.array_equal(one.weights["a.weight"], seeded.weights["a.weight"])


def test_initialize_leaves_values_that_are_there() -> None:
    graph = net("a", "b")
    ours = graph.weights["a.weight"] = np.ones((4, 4), np.float32)
    assert initialize(graph) == 3
    assert graph.weights["a.weight"] is ours
    assert initialize(graph) == 0


@pytest.mark.parametrize("op", [ops.Conv2d(64, 5, groups=2), ops.Linear(900)])
def test_first_values_are_distributed_as_in_pytorch(op: ops.Op) -> None:
    graph = Graph("net")
    shape = (32, 9, 9) if isinstance(op, ops.Conv2d) else (500,)
    graph.add(op, [graph.add_input("x", TensorType(shape))], "a")
    graph.set_output("y", "a")
    initialize(graph)
    weight = graph.weights["a.weight"]
    bound = 1 / np.sqrt(np.prod(weight.shape[1:]))
    assert weight.dtype == np.float32
    assert 0.99 * bound < np.abs(weight).max() <= bound
    # of a uniform distribution: mean 0, standard deviation bound/√3; 25,600 numbers or more
    assert abs(weight.mean()) < 5 * bound / np.sqrt(3 * weight.size)
    assert abs(weight.std() * np.sqrt(3) / bound - 1) < 0.02


def test_kinds_of_first_values() -> None:
    norm = ops.BatchNorm()
    specs = {s.role: s for s in norm.params(TensorType((3, 2, 2)))}
    for role, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        drawn = draw(specs[role].init, (3,), generator(0, role))
        np.testing.assert_array_equal(drawn, np.full(3, value, np.float32))


# ---- files


def stored(graph: Graph, folder: Path, **changes: Array | None) -> Path:
    """A file with the graph's weights, some of them changed, left out (None) or added."""
    tensors = {**graph.weights, **{k.replace("__", "."): v for k, v in changes.items()}}
    path = folder / "w.safetensors"
    save_file({k: v for k, v in tensors.items() if v is not None}, path)
    return path


def test_files_come_back_bit_for_bit(tmp_path: Path) -> None:
    graph = net("a", "b")
    initialize(graph)
    graph.weights["a.weight"] = np.asfortranarray(graph.weights["a.weight"])
    graph.weights["b.bias"] = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    graph.weights["of.another.graph"] = np.ones(3, np.float32)
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_bytes(graph))
    back = read_file(path, graph)
    assert set(back) == set(graph.parameters())
    for name, array in back.items():
        assert array.tobytes() == graph.weights[name].tobytes()
        np.testing.assert_array_equal(array, graph.weights[name])
    graph.weights = back
    assert to_bytes(graph) == path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a__bias": None}, "`a.bias` is missing"),
        ({"a__bias": None, "a__bais": np.ones(4, np.float32)}, "did you mean `a.bais`?"),
        ({"a__bias": np.ones(5, np.float32)}, "`a.bias` has shape [5], but the network needs [4]"),
        ({"a__bias": np.ones(4, np.float64)}, "`a.bias` has element type F64, not F32"),
        ({"more": np.ones(4, np.float32)}, "`more` belongs to no node of the network"),
        ({f"m{i}": np.ones(1, np.float32) for i in range(9)}, "; and 4 more"),
    ],
)
def test_files_that_do_not_fit(
    tmp_path: Path, changes: dict[str, Array | None], message: str
) -> None:
    graph = net("a")
    initialize(graph)
    with pytest.raises(GrowcError) as raised:
        read_file(stored(graph, tmp_path, **changes), graph)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"error: {tmp_path / 'w.safetensors'}: the weights do not")


def test_damaged_files(tmp_path: Path) -> None:
    graph = net("a")
    initialize(graph)
    path = tmp_path / "w.safetensors"
    content = to_bytes(graph)
    # every cut, and every header that is not one
    pieces = [content[:n] for n in range(len(content))]
    pieces += [b"\xff" * 8 + content[8:], b"PK\3\4" + bytes(100), content + b"more"]
    for piece in pieces:
        path.write_bytes(piece)
        with pytest.raises(GrowcError, match="not a complete safetensors file"):
            read_file(path, graph)


def test_another_content_than_the_text_was_saved_with(tmp_path: Path) -> None:
    graph = net("a")
    initialize(graph)
    growc.save(graph, tmp_path / "net")
    other = graph.copy()
    other.weights["a.bias"] = -graph.weights["a.bias"]
    (tmp_path / "net.safetensors").write_bytes(to_bytes(other))
    with pytest.raises(GrowcError, match="their SHA-256 differs"):
        growc.load(tmp_path / "net.arch")


def test_saving_needs_values_and_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph = net("a", "b")
    with pytest.raises(GrowcError, match="4 parameters of `net` lack values"):
        growc.save(graph, "out/net")
    initialize(graph)
    for prefix in ("", "out/", ".", "..", "out/."):
        with pytest.raises(GrowcError, match="names no file"):
            growc.save(graph, prefix)
    for prefix in ("a\nb", "a\udcff"):
        with pytest.raises(GrowcError, match="cannot hold invisible characters"):
            growc.save(graph, prefix)
    assert not list(tmp_path.iterdir())
    growc.save(graph, "out/v1.2")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["v1.2.arch", "v1.2.safetensors"]
