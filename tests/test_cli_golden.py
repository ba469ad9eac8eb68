"""What the commands print, word for word: tests/golden/cli/*.txt.

A scenario is a list of `$ growc …` lines, each followed by what it prints; lines of standard error
begin with `! `, and an exit status other than 0 is in brackets. Commands run one after another in
a folder that has a copy of examples/ and some runs. GROWC_UPDATE_GOLDEN=1 writes the outputs anew.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .report_runs import write_run

SCENARIOS = sorted((Path(__file__).parent / "golden" / "cli").glob("*.txt"))

FILES = {
    "bad.arch": b"net bad {\n    input x: f32[3, 8, 8]\n    y = x -> conv2(8)\n"
    b"    output y -> relu\n}\n",
    "mistakes.arch": b"net bad {\n    input x: f32[3, 8, 8]\n    y = x -> conv2d(8, kernl=5)\n"
    b"    z = x -> conv2d(4) + x\n    output z\n}\n",
    "untidy.arch": b"net  untidy( width:int=8 ){   # a net\ninput x:f32[4]\n"
    b"  output y=x->linear(width)->relu}\n",
    "squeeze.arch": b"net squeeze {\n    input x: f32[4, 7, 7]\n"
    b"    y = x -> conv2d(6) -> relu -> conv2d(4)\n    a = x + y\n"
    b"    z = a -> conv2d(4, padding=0)\n    b = adaptive_avg_pool2d(a, 5) + z\n"
    b"    output c = flatten(b) -> linear(2)\n}\n",
    "latin1.arch": "# größer\nnet n { input x: f32[1] output x }\n".encode("latin-1"),
    "empty.arch": b"",
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.stem)
def test_scenario(
    scenario: Path,
    growc: Callable[..., Any],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(root / "examples", tmp_path / "examples")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    write_run(tmp_path / "finished")
    write_run(tmp_path / "unfinished", result_json=None)
    write_run(tmp_path / "begun", result_json=None, metrics_csv=None, growth_json=None)
    write_run(tmp_path / "damaged", growth_json='[{"update": 20}]')
    monkeypatch.chdir(tmp_path)
    expected = scenario.read_text(encoding="utf-8")
    found = []
    for command in re.findall(r"^\$ growc (.*)$", expected, re.MULTILINE):
        words, _, source = command.partition(" < ")
        stdin = Path(source).read_bytes() if source else b""
        done = growc(*shlex.split(words), stdin=stdin)
        found.append(f"$ growc {command}\n{tidy(done.out)}{mark(tidy(done.err))}")
        if done.status:
            found.append(f"[exit {done.status}]\n")
        found.append("\n")
    text = "".join(found).rstrip("\n") + "\n"
    if os.environ.get("GROWC_UPDATE_GOLDEN"):
        scenario.write_text(text, encoding="utf-8")
    assert text == expected


def tidy(text: str) -> str:
    """Without what differs from machine to machine: rounding errors and hashes."""
    text = re.sub(r"\d(\.\d+)?e[-+]\d\d", "<tiny>", text)
    text = re.sub(r'"[0-9a-f]{64}"', '"<hash>"', text)
    text = re.sub(r"(scale|\"scale\":) \d\.\d+", r"\1 <number>", text)
    text = re.sub(r"by up to <tiny>", "by up to <number>", text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def mark(text: str) -> str:
    return "".join(f"! {line}".rstrip() + "\n" for line in text.splitlines())
