"""The documentation is true: its examples run, and docs/ops.md is what the registry says."""

from __future__ import annotations

import inspect
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest

from growc.grammar import dumps, load_file
from growc.grammar.loading import Loaded
from growc.ir import OPS, GrowcError, Op, ShapeError, TensorType

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: list[tuple[str, str]] = FENCE.findall((DOCS / "language.md").read_text(encoding="utf-8"))


def load_text(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Load an example as net.arch, beside the examples that begin with ``# NAME.arch``."""
    for kind, other in BLOCKS:
        named = re.match(r"# (\w+\.arch)\n", other)
        if kind == "arch" and named:
            (folder / named[1]).write_text(other, encoding="utf-8")
    (folder / "net.arch").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    return load_file(Path("net.arch"))


@pytest.mark.parametrize("at", range(len(BLOCKS)))
def test_language_page(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, text = BLOCKS[at]
    before_kind, before = BLOCKS[at - 1]
    match kind:
        case "arch":
            assert load_text(text, tmp_path, monkeypatch).warnings == []
        case "arch-error":
            assert BLOCKS[at + 1][0] == "text"
            with pytest.raises(GrowcError):
                load_text(text, tmp_path, monkeypatch)
        case "text":
            assert before_kind == "arch-error"
            with pytest.raises(GrowcError) as caught:
                load_text(before, tmp_path, monkeypatch)
            assert str(caught.value) + "\n" == text
        case "names" | "canonical":
            graph = load_text(before, tmp_path, monkeypatch).graph
            assert graph is not None
            made = "".join(f"{node.name}\n" for node in graph)
            assert text == (made if kind == "names" else dumps(graph))
        case _:
            pytest.fail(f"a block of unknown kind: {kind}")


def test_every_example_is_read() -> None:
    text = (DOCS / "language.md").read_text(encoding="utf-8")
    assert len(BLOCKS) == text.count("\n```") / 2 > 20


# ---- docs/ops.md

FAMILIES = {
    "conv": "Convolution and linear",
    "norm": "Normalization",
    "activation": "Activation",
    "functions": "More functions",
    "pool": "Pooling",
    "arithmetic": "Arithmetic",
    "reduce": "Reduction",
    "attention": "Attention and matrix product",
    "shape": "Shape",
    "resize": "Resolution",
    "tensors": "Stored tensors and tokens",
}

HEAD = """# The ops

<!-- Generated from the registry by tests/test_docs.py; GROWC_UPDATE_GOLDEN=1 renews it. -->

Shapes leave out the batch: an image is `f32[channels, height, width]`. `x -> op(…)` is the same as
`op(x, …)`. An attribute without a default is required.
"""


def ops_page() -> str:
    """docs/ops.md as it should be."""
    parts = [HEAD]
    for module, title in FAMILIES.items():
        ops = [cls for cls in OPS.values() if cls.__module__.rpartition(".")[2] == module]
        links = ", ".join(f"[`{cls.name}`](#{cls.name})" for cls in ops)
        parts += [f"## {title}\n\n{links}\n", *map(entry, ops)]
    return "\n".join(parts)


def entry(cls: type[Op]) -> str:
    """What the page says of one op."""
    about = inspect.cleandoc(cls.__doc__ or "").rstrip(".").replace("``", "`")
    lines = [f"### {cls.name}", "", f"    {cls.call_signature()}", "", f"{about}."]
    if cls.attributes:
        lines += ["", "| attribute | default | values | meaning |", "|---|---|---|---|"]
    for a in cls.attributes:
        if a.required or a.default is None:
            default = "required" if a.required else "none"
        else:
            default = f"`{a.kind.show(a.default)}`"
        lines.append(f"| `{a.name}` | {default} | {a.kind.expects} | {a.doc} |")
    return "\n".join([*lines, *example(cls), ""])


VALUES: dict[str, Any] = {
    "axes": [-1],
    "block": 2,
    "channels": 16,
    "count": 100,
    "exponent": 2.0,
    "features": 10,
    "groups": 2,
    "indices": [2, 0],
    "order": [1, 0],
    "repeats": [1, 2],
    "shape": [12, -1],
    "size": [16, 16],
    "start": 2,
}
"""For required attributes, by name."""

SPECIAL: dict[str, tuple[dict[str, Any], list[TensorType] | None]] = {
    "local_response_norm": ({"size": 5}, None),
    "matmul": ({}, [TensorType((6, 8)), TensorType((8, 5))]),
    "attention": ({}, [TensorType((6, 8))] * 3),
    "depth_to_space": ({}, [TensorType((8, 8, 8))]),
    "embedding": ({}, [TensorType((12,), "i64")]),
    "to_float": ({}, [TensorType((12,), "i64")]),
    "expand": ({"shape": [4, 6, 8]}, [TensorType((6, 1))]),
    "parameter": ({"shape": [6, 8]}, []),
    "constant": ({"shape": [6, 8]}, []),
}
"""Attributes and operands of ops that do not take those of others."""


def example(cls: type[Op]) -> list[str]:
    """Shapes and parameters of the op on tensors that it takes."""
    special, taken = SPECIAL.get(cls.name, ({}, None))
    required = {a.name: VALUES[a.name] for a in cls.attributes if a.required}
    op = cls.build([], {**required, **special})
    images = [(6, 8, 8), (6, 8), (6, 8, 8, 8), (6,)]
    shapes = [(6,), *images] if cls.name == "linear" else images
    options = [[TensorType(shape)] * len(cls.operands) for shape in shapes]
    for operands in options if taken is None else [taken]:
        try:
            result = op.result(*operands)
        except ShapeError:
            continue
        written = ", ".join(text for _, text in op.arguments())
        call = f"{op.name}({written})" if written else op.name
        given = " and ".join(dict.fromkeys(map(str, operands)))
        found = [f"From {given}, `{call}` makes {result}." if given else f"`{call}` is {result}."]
        for spec in op.params(*operands):
            kind = "" if spec.trainable else ", not trained"
            name = f"`{spec.role}`" if spec.role else "of the node's own name,"
            found.append(f"- {name} {list(spec.shape)}{kind}")
        if len(found) > 1:
            count = sum(math.prod(s.shape) for s in op.params(*operands) if s.trainable)
            found[0] = f"{found[0][:-1]}, with {count:,} parameters:\n"
        return ["", *found]
    raise AssertionError(f"no example fits {cls.name}")


def test_ops_page_is_current() -> None:
    path = DOCS / "ops.md"
    if os.environ.get("GROWC_UPDATE_GOLDEN"):
        path.write_text(ops_page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == ops_page(), "run with GROWC_UPDATE_GOLDEN=1"


def test_ops_page_has_every_op() -> None:
    page = ops_page()
    assert [name for name in OPS if f"\n### {name}\n" not in page] == []
