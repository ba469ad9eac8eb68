"""What happens to files: nothing half written, nothing lost, and mistakes in plain words."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import growc as package
from growc.ir.files import write_files

NET = """net tiny {
    input x: f32[4]
    y = x -> linear(6) -> relu -> linear(4)
    output z = x + y
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.arch").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_compiled_files_load_everywhere(folder: Path, growc: Callable[..., Any]) -> None:
    assert (
        growc(
            "compile", "tiny.arch", "--pass", "r2wider", "-o", "out/w", "--emit", "arch,onnx,torch"
        ).status
        == 0
    )
    graph = package.load("out/w.arch")
    x = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    with torch.no_grad():
        expected = package.to_torch(graph).eval()(torch.from_numpy(x)).numpy()
        # loaded by someone who has torch, but not growc
        code = (
            "import sys, torch; sys.modules['growc'] = None\n"
            "m = torch.load('out/w.pt', weights_only=False).eval()\n"
            f"torch.save(m(torch.tensor({x.tolist()})), 'result')"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)
        from_pt = torch.load(folder / "result").numpy()
    np.testing.assert_array_equal(from_pt, expected)
    from_onnx = package.run_onnx("out/w.onnx", {"x": x})["z"]
    # one layer of 6 and one of 4 numbers of order 1: a few float32 roundings
    np.testing.assert_allclose(from_onnx, expected, atol=1e-6, rtol=0)


def test_same_seed_same_bytes(folder: Path, growc: Callable[..., Any]) -> None:
    for name in ("a", "b"):
        assert growc("compile", "tiny.arch", "--pass", "r2deeper", "-o", f"{name}/n").status == 0
    assert listing(folder / "a") == listing(folder / "b")
    growc("compile", "tiny.arch", "--pass", "r2deeper", "--seed", 1, "-o", "c/n")
    assert listing(folder / "a")["n.safetensors"] != listing(folder / "c")["n.safetensors"]


def test_nothing_is_written_when_a_claim_fails(
    folder: Path, growc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from growc.passes import r2r

    # The halves of an R2R block no longer cancel.
    monkeypatch.setattr(r2r, "plus_minus", lambda half: np.concatenate([half, half], axis=1))
    before = listing(folder)
    done = growc("compile", "tiny.arch", "--pass", "r2wider", "-o", "out/x")
    assert done.status == 1
    assert "claims to preserve the function, but does not" in done.err
    assert listing(folder) == before
    assert (
        growc("compile", "tiny.arch", "--pass", "r2wider", "-o", "out/x", "--json").json["ok"]
        is False
    )


def test_disk_full_loses_nothing(
    folder: Path, growc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert growc("compile", "tiny.arch", "-o", "out/n").status == 0
    before = listing(folder)
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = growc("compile", "tiny.arch", "--seed", 7, "-o", "out/n", "--force")
    assert done.status == 1
    assert "cannot be written (No space left on device)" in done.err
    assert listing(folder) == before


def test_existing_files_are_kept_without_force(folder: Path, growc: Callable[..., Any]) -> None:
    (folder / "n.safetensors").write_bytes(b"precious")
    done = growc("compile", "tiny.arch", "-o", "n")
    assert done.status == 1
    assert "n.safetensors: already exists" in done.err
    assert (folder / "n.safetensors").read_bytes() == b"precious"
    assert not (folder / "n.arch").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(folder: Path, growc: Callable[..., Any]) -> None:
    (folder / "locked").mkdir(mode=0o500)
    done = growc("compile", "tiny.arch", "-o", "locked/n")
    assert done.status == 1
    assert "cannot be written (Permission denied)" in done.err


def test_a_folder_is_in_the_way(folder: Path, growc: Callable[..., Any]) -> None:
    (folder / "n.arch").mkdir()
    done = growc("compile", "tiny.arch", "-o", "n", "--force")
    assert done.status == 1
    assert "n.arch: is a folder" in done.err


def test_weights_mistakes(folder: Path, growc: Callable[..., Any]) -> None:
    growc("compile", "tiny.arch", "-o", "n", "--emit", "arch")
    good = (folder / "n.safetensors").read_bytes()
    (folder / "n.safetensors").write_bytes(good[:-8])
    assert "SHA-256 differs" in growc("check", "n.arch").err
    (folder / "n.safetensors").unlink()
    done = growc("check", "n.arch")
    assert done.status == 1
    assert "n.arch:2:5: error: n.safetensors: no such weights file" in done.err
    for content, expected in (
        (good[:-8], "not a complete safetensors file"),
        (b"", "not a complete safetensors file"),
        (b"\xff" * 64, "not a complete safetensors file"),
    ):
        (folder / "w.safetensors").write_bytes(content)
        done = growc("compile", "tiny.arch", "--weights", "w.safetensors", "-o", "out/x")
        assert done.status == 1
        assert expected in done.err
        assert not (folder / "out").exists()


def test_input_and_output_as_dash(folder: Path, growc: Callable[..., Any]) -> None:
    done = growc("compile", "-", "--pass", "r2wider", "-o", "-", stdin=NET.encode())
    assert done.status == 0
    assert package.loads(done.out).parameter_count() > package.loads(NET).parameter_count()
    picture = growc("show", "-", "--svg", "-", stdin=NET.encode())
    assert picture.out.lstrip().startswith(("<svg", "<?xml"))


@pytest.mark.parametrize("command", ["check - -", "fmt - -", "diff - -", "verify - -"])
def test_standard_input_is_read_once(folder: Path, growc: Callable[..., Any], command: str) -> None:
    done = growc(*command.split(), stdin=NET.encode())
    assert done.status == 2
    assert "only one of the files can be `-`" in done.err


def test_an_opset_without_an_onnx_file_is_wrong_usage(
    folder: Path, growc: Callable[..., Any]
) -> None:
    for command in ("export tiny.arch -o n.pt", "compile tiny.arch -o n --emit arch,torch"):
        assert growc(*command.split(), "--opset", "15").status == 2
    assert listing(folder) == {"tiny.arch": NET.encode()}
    assert growc("export", "tiny.arch", "-o", "n.onnx", "--opset", "15").status == 0
    import onnx

    assert onnx.load(folder / "n.onnx").opset_import[0].version == 15


def test_opsets_of_the_command_line_are_those_that_can_be_written(
    folder: Path, growc: Callable[..., Any]
) -> None:
    from growc.backends.onnx_writing import OPSETS

    for opset, status in ((OPSETS[0], 0), (OPSETS[-1], 0), (OPSETS[0] - 1, 2), (OPSETS[-1] + 1, 2)):
        done = growc("export", "tiny.arch", "-o", "n.onnx", "--force", "--opset", str(opset))
        assert done.status == status, opset


def test_prefixes_that_name_no_file(folder: Path, growc: Callable[..., Any]) -> None:
    for prefix in ("", "out/", ".", "out/.."):
        done = growc("compile", "tiny.arch", "-o", prefix)
        assert done.status == 1
        assert "names no file" in done.err
    assert listing(folder) == {"tiny.arch": NET.encode()}


def test_svg_file(folder: Path, growc: Callable[..., Any]) -> None:
    done = growc("show", "tiny.arch", "--svg", "net.svg")
    assert done.status == 0
    assert done.out.endswith("wrote net.svg\n")
    assert growc("show", "tiny.arch", "--svg", "net.svg").status == 1
    assert growc("show", "tiny.arch", "--svg", "net.svg", "--force").status == 0


def test_closed_pipe_is_no_error(folder: Path) -> None:
    """`growc show … | head` ends quietly."""
    producer = subprocess.Popen(
        [sys.executable, "-m", "growc", "show", "tiny.arch", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert producer.stdout is not None
    producer.stdout.close()
    _, err = producer.communicate()
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


def test_bugs_are_reported_without_a_traceback(
    folder: Path, growc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from growc.ir import summary

    def broken(graph: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(summary, "rows", broken)
    done = growc("show", "tiny.arch")
    assert done.status == 1
    assert done.err.startswith("error: growc itself failed (ZeroDivisionError: oh)")


def test_write_files_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(package.GrowcError, match="already exists"):
        write_files({tmp_path / "b": b"new", tmp_path / "a": b"new"})
    assert listing(tmp_path) == {"a": b"old"}
    write_files({tmp_path / "b": b"new", tmp_path / "a": b"new"}, overwrite=True)
    assert listing(tmp_path) == {"a": b"new", "b": b"new"}
    with pytest.raises(package.GrowcError, match="is a file, not a folder"):
        write_files({tmp_path / "a" / "c": b""})


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to("a")
    write_files({link: b"new"}, overwrite=True)
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o640


def test_only_ordinary_files_are_overwritten(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(package.GrowcError, match="is not an ordinary file"):
        write_files({pipe: b"new"}, overwrite=True)
    assert pipe.is_fifo()


def test_names_as_long_as_a_folder_takes(tmp_path: Path) -> None:
    write_files({tmp_path / ("n" * 255): b"new"})
    with pytest.raises(package.GrowcError, match=r"cannot be written .*too long"):
        write_files({tmp_path / ("n" * 256): b"new"})
    assert [len(p.name) for p in tmp_path.iterdir()] == [255]


def test_interrupt_says_so(
    folder: Path, growc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from growc.compiler import driver as compiler

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compiler, "run", interrupted)
    done = growc("compile", "tiny.arch", "-o", "n")
    assert done.status == 130
    assert "nothing was written" in done.err
    assert listing(folder) == {"tiny.arch": NET.encode()}


def test_json_everywhere(folder: Path, growc: Callable[..., Any]) -> None:
    growc("compile", "tiny.arch", "-o", "n")
    commands = (
        ["check", "n.arch"],
        ["fmt", "--check", "tiny.arch"],
        ["show", "n.arch"],
        ["passes"],
        ["passes", "r2wider"],
        ["compile", "n.arch", "--pass", "r2wider", "-o", "m"],
        ["verify", "n.arch", "m.arch"],
        ["diff", "n.arch", "m.arch"],
        ["export", "n.arch", "-o", "e.onnx"],
    )
    for command in commands:
        done = growc(*command, "--json")
        assert done.json["ok"] is (done.status == 0), command
        assert done.err == "", command
    missing = growc("show", "none.arch", "--json")
    assert missing.status == 1
    assert missing.json["errors"][0]["message"] == "none.arch: no such file"


def test_growc_as_a_module_and_as_a_script(folder: Path) -> None:
    for command in ([sys.executable, "-m", "growc"], [str(Path(sys.executable).parent / "growc")]):
        done = subprocess.run(
            [*command, "check", "tiny.arch"], cwd=folder, capture_output=True, text=True, check=True
        )
        assert "parameters  58" in done.stdout


def test_text_streams_without_utf8(folder: Path) -> None:
    """The table has characters such as `→`; a plain ASCII locale must not break it."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "growc", "diff", "tiny.arch", "tiny.arch"],
        cwd=folder, env=env, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "growc", "passes"],
        cwd=folder, env=env, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert io.BytesIO(done.stdout).readline().startswith(b"pass")
