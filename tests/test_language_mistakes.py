"""Every kind of mistake in a text, with the diagnostics that people read.

One file of ``golden/mistakes`` is one mistake. Its sections begin with a line ``=== …``:

    === NAME.arch           a text file
    === bytes NAME          a file written with escapes such as \\xff
    === weights NAME        a safetensors file: lines ``name dtype shape``, or ``cut N`` bytes
    === folder NAME         a folder
    === set                 hyperparameters, lines ``name = JSON``
    === override NAME       weights to use instead of those that the text names
    === load NAME           what is loaded, where it is not net.arch
    === diagnostics         what growc says; GROWC_UPDATE_GOLDEN=1 renews it
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from growc.grammar import load_file
from growc.ir import GrowcError

GOLDEN = Path(__file__).parent / "golden" / "mistakes"
CASES = sorted(GOLDEN.glob("*.txt"))
LAST = "=== diagnostics\n"


def sections(text: str) -> list[tuple[str, str]]:
    """(header, content) of each section."""
    found = []
    for piece in text.split("=== ")[1:]:
        header, _, content = piece.partition("\n")
        found.append((header, content))
    return found


def safetensors(content: str) -> bytes:
    """A weights file as its section describes it."""
    tensors, cut = {}, 0
    for line in content.splitlines():
        first, _, rest = line.partition(" ")
        if first == "cut":
            cut = int(rest)
        else:
            dtype, _, shape = rest.partition(" ")
            tensors[first] = np.zeros(json.loads(shape), dtype)
    return save(tensors)[: -cut or None]


def diagnostics(case: list[tuple[str, str]], folder: Path) -> str:
    """What growc says about the files of a case, written into ``folder``."""
    target, values, weights = "net.arch", {}, None
    for header, content in case:
        kind, _, name = header.rpartition(" ")
        match kind or name:
            case "bytes":
                raw = content.removesuffix("\n").encode().decode("unicode_escape")
                (folder / name).write_bytes(raw.encode("latin-1"))
            case "weights":
                (folder / name).write_bytes(safetensors(content))
            case "folder":
                (folder / name).mkdir()
            case "set":
                lines = [line.split(" = ", 1) for line in content.splitlines()]
                values = {key: json.loads(value) for key, value in lines}
            case "load":
                target = name
            case "override":
                weights = Path(name)
            case "diagnostics":
                pass
            case _:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(content, encoding="utf-8")
    try:
        warnings = load_file(Path(target), values, weights=weights).warnings
    except GrowcError as error:
        return str(error) + "\n"
    return "".join(w.render() + "\n" for w in warnings) or "(fine)\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_mistake(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    said = diagnostics(sections(text), tmp_path)
    before, mark, expected = text.partition(LAST)
    if os.environ.get("GROWC_UPDATE_GOLDEN"):
        path.write_text(before + LAST + said, encoding="utf-8")
        return
    assert mark, f"{path.name} has no diagnostics: run with GROWC_UPDATE_GOLDEN=1"
    assert said == expected


FORBIDDEN = ("Expected", "Traceback", "Token(", "Tensor(", "None", "<class", "object at", "RPAR")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_says_nothing_of_the_inside(path: Path) -> None:
    said = path.read_text(encoding="utf-8").partition(LAST)[2]
    assert said, "run with GROWC_UPDATE_GOLDEN=1"
    assert not [word for word in FORBIDDEN if word in said]
    assert str(Path.cwd()) not in said
    assert "/tmp" not in said
    assert "error: " in said or "warning: " in said or said == "(fine)\n"


def test_carets_stand_under_what_is_meant() -> None:
    """Line, column and excerpt of the golden files agree with their text."""
    for path in CASES:
        text = path.read_text(encoding="utf-8")
        files: dict[str, Any] = dict(sections(text))
        lines = text.partition(LAST)[2].splitlines()
        for at, line in enumerate(lines):
            name, *place = line.split(": ")[0].split(":")
            if len(place) != 2 or name not in files or at + 2 >= len(lines):
                continue
            row, column = int(place[0]), int(place[1])
            written = files[name].split("\n")[row - 1]
            if len(written) > 160:
                continue
            assert lines[at + 1] == f"{row:>5} | {written}" or not written.isprintable()
            assert lines[at + 2].index("^") == 8 + column - 1, path.name
