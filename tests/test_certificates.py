"""Certificates: what `compile` writes, `verify --certificate` proves again, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import growc as package

NET = "net tiny { input x: f32[4]\n y = x -> linear(6) -> relu -> linear(4)\n output z = x + y }"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, growc: Callable[..., Any]) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.arch").write_text(NET)
    assert growc("compile", "tiny.arch", "-o", "a", "--emit", "arch").status == 0
    done = growc("compile", "a.arch", "--pass", "r2wider, r2deeper", "-o", "b", "--emit", "arch")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "wrote b.arch b.safetensors b.proof.json"
    return tmp_path


def check(growc: Callable[..., Any], *files: str) -> Any:
    return growc("verify", "--certificate", "b.proof.json", *files)


def test_what_it_says(folder: Path) -> None:
    said = json.loads((folder / "b.proof.json").read_text())
    assert [step["pass"] for step in said["passes"]] == ["r2wider", "r2deeper"]
    assert [step["proof"]["verdict"] for step in said["passes"]] == ["proved", "proved"]
    whole = said["end_to_end"]
    assert whole["verdict"] == "proved"
    assert whole["modes"] == whole["proved_modes"] == ["eval", "train"]
    assert whole["channels"] == 2 * 4
    assert len(whole["primes"]) == 5
    assert said["before"]["weights"] != said["after"]["weights"]
    assert said["numeric"] is None  # nothing was run: only text was written


def test_it_is_proved_again(folder: Path, growc: Callable[..., Any]) -> None:
    done = check(growc, "a.arch", "b.arch")
    assert done.status == 0
    assert "proved: the same function, in real arithmetic (eval, train)" in done.out


def test_rounding_is_told_where_networks_were_run(folder: Path, growc: Callable[..., Any]) -> None:
    assert growc("compile", "a.arch", "--pass", "r2wider", "-o", "c").status == 0
    said = json.loads((folder / "c.proof.json").read_text())
    assert {d["mode"] for d in said["numeric"]} == {"eval", "train"}
    assert all(d["max_abs_diff"] < 1e-5 for d in said["numeric"])


def test_other_networks_are_told_apart(folder: Path, growc: Callable[..., Any]) -> None:
    assert "about another network" in check(growc, "b.arch", "a.arch").err
    graph = package.load("b.arch")
    name = next(iter(graph.parameters()))
    graph.weights[name] = graph.weights[name] * 2
    package.save(graph, "b", overwrite=True)
    done = check(growc, "a.arch", "b.arch")
    assert done.status == 1
    assert "the weights of the one after the passes differ" in done.err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["end_to_end"].update(verdict="unproved"), "says unproved, but the proof"),
        (lambda c: c["end_to_end"].update(primes=[3, 5, 7, 11, 13]), "it was altered"),
        (lambda c: c["end_to_end"].update(modes=["sometimes"]), "not a certificate"),
        (lambda c: c["end_to_end"].update(seed="x"), "not a certificate"),
        (lambda c: c["end_to_end"].pop("primes"), "not a certificate"),
        (lambda c: c.update(end_to_end=None), "holds no proof from end to end"),
        (lambda c: c.update(format=99), "not a certificate"),
        (lambda c: c.pop("before"), "not a certificate"),
        (lambda c: c["before"].update(net="0"), "the text of the one before the passes differ"),
    ],
)
def test_altered_certificates(
    folder: Path, growc: Callable[..., Any], change: Callable[[Any], object], expected: str
) -> None:
    said = json.loads((folder / "b.proof.json").read_text())
    change(said)
    (folder / "b.proof.json").write_text(json.dumps(said))
    done = check(growc, "a.arch", "b.arch")
    assert done.status == 1
    assert expected in done.err


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_no_certificates(
    folder: Path, growc: Callable[..., Any], content: bytes
) -> None:
    (folder / "b.proof.json").write_bytes(content)
    done = check(growc, "a.arch", "b.arch")
    assert done.status == 1
    assert "not a certificate" in done.err


def test_missing_certificate(folder: Path, growc: Callable[..., Any]) -> None:
    (folder / "b.proof.json").unlink()
    assert "b.proof.json: no such file" in check(growc, "a.arch", "b.arch").err


def test_levels_of_verification(folder: Path, growc: Callable[..., Any]) -> None:
    for level, proved, ran in (
        ("proof", True, False),
        ("numeric", False, True),
        ("all", True, True),
    ):
        arguments = ("--verify", level, "--emit", "arch", "--force", "--json")
        done = growc("compile", "a.arch", "--pass", "r2wider", "-o", "d", *arguments)
        (step,) = done.json["passes"]
        assert (step["proof"] is not None, step["differences"] is not None) == (proved, ran)
    done = growc("compile", "a.arch", "--pass", "r2wider", "-o", "e", "--verify", "none")
    assert "not checked (claims eval, train)" in done.out
    assert not (folder / "e.proof.json").exists()
