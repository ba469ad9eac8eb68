"""The Python and shell examples of README.md and docs/ run as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from growc.passes import PASSES


@pytest.fixture
def folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the examples in it; passes that an example registers are forgotten."""
    shutil.copytree(root / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    known = dict(PASSES)
    yield tmp_path
    PASSES.clear()
    PASSES.update(known)


def blocks(file: Path, language: str) -> list[str]:
    text = file.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_python_page(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A module, since dataclasses and hypothesis look up where a class or function was defined.
    page = types.ModuleType("python_page")
    monkeypatch.setitem(sys.modules, "python_page", page)
    examples = blocks(root / "docs" / "python.md", "python")
    assert len(examples) == 7
    for code in examples:
        exec(compile(code, "docs/python.md", "exec"), vars(page))
    page.test_double_relu()
    assert (folder / "out" / "student.safetensors").exists()


def test_importing_page(root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (root / "docs" / "importing.md").read_text(encoding="utf-8")
    page: dict[str, Any] = {}
    for code in blocks(root / "docs" / "importing.md", "python"):
        exec(compile(code, "docs/importing.md", "exec"), page)
    shown = text.partition("prints\n\n")[2].partition("\nThe second argument")[0]
    assert capsys.readouterr().out.strip() == textwrap.dedent(shown).strip()
    assert (folder / "student.onnx").exists()


def test_neuroevolution_page(root: Path, folder: Path, growc: Callable[..., Any]) -> None:
    page = root / "docs" / "neuroevolution.md"
    commands = re.findall(r"^    growc (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        done = growc(*shlex.split(command))
        assert done.status == 0, done.err
    assert (folder / "evolved.html").exists()
    (code,) = blocks(page, "python")
    exec(compile(code, "docs/neuroevolution.md", "exec"), {})
    assert len(list((folder / "out" / "evolved" / "models").glob("*.arch"))) == 3


def test_training_page(root: Path, folder: Path, growc: Callable[..., Any]) -> None:
    page = root / "docs" / "training.md"
    first, resumed = blocks(page, "sh")
    done = growc(*shlex.split(first)[1:])
    assert done.status == 0, done.err
    text = page.read_text(encoding="utf-8")
    shown = textwrap.dedent(text.partition("like ours,\n\n")[2].partition("    ────")[0])
    assert done.out.startswith(shown)
    assert growc(*shlex.split(resumed)[1:]).status == 0
    listed = set(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))
    named = {name.rstrip("/") for cell in listed for name in re.findall("`(.*?)`", cell)}
    there = {p.name for p in (folder / "out" / "run").iterdir() if p.suffix != ".safetensors"}
    assert there == named
    (settings,) = blocks(page, "toml")
    Path("run.toml").write_text(settings, encoding="utf-8")
    done = growc("train", "examples/digits.arch", "--config", "run.toml", "-o", "out/second")
    assert done.status == 0, done.err
    (code,) = blocks(page, "python")
    exec(compile(code, "docs/training.md", "exec"), {})


def test_search_page(root: Path, folder: Path, growc: Callable[..., Any]) -> None:
    text = (root / "docs" / "search.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    growc (.*)$", text, re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        done = growc(*shlex.split(command))
        assert done.status == 0, done.err
    assert (folder / "found.html").exists()


def test_readme(root: Path, folder: Path, growc: Callable[..., Any]) -> None:
    """Every `growc …` line of the README, in order, then its Python."""
    text = (root / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (?:\$ )?growc (.*)$", text, re.MULTILINE)
    assert len(commands) == 10
    for command in commands:
        done = growc(*shlex.split(command, comments=True))
        assert done.status == 0, done.err
    (code,) = blocks(root / "README.md", "python")
    exec(compile(code.replace("\n...\n", "\n"), "README.md", "exec"), {})
    assert (folder / "student.onnx").exists()


def test_readme_shows_the_example_as_it_is(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    example = (root / "examples" / "r2r_figure9.arch").read_text(encoding="utf-8")
    shown = "".join(f"    {line}\n" if line else "\n" for line in example.splitlines())
    assert shown[shown.index("    use ") :] in readme


def test_readme_shows_what_compile_prints(
    root: Path, folder: Path, growc: Callable[..., Any]
) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    match = re.search(r"^    \$ growc (compile .*)\n((?:    .*\n)+)", text, re.MULTILINE)
    assert match
    printed = growc(*shlex.split(match[1])).out

    def plain(output: str) -> list[str]:
        # Rounding differs from machine to machine, and with it the width of the line.
        output = re.sub(r"\d\.\d+e-\d\d", "<tiny>", output)
        return [line.strip().rstrip("─") for line in output.splitlines() if line.strip()]

    assert plain(printed) == plain(match[2])


def test_passes_page_commands_parse(root: Path) -> None:
    from growc import parse_pipeline

    text = (root / "docs" / "passes.md").read_text(encoding="utf-8")
    pipelines = re.findall(r"--pass '(.*?)'", text) + re.findall(r"`(r2\w+\{.*?\})`", text)
    assert pipelines
    for pipeline in pipelines:
        assert parse_pipeline(pipeline.replace("{…}", ""))
