"""``growc train`` as a command: killed for real, in several processes, on real files."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .test_train_data_formats import idx
from .test_train_runs import outcome

GROW = "at 20: r2wider{variant=concat}; at 40: r2deeper"
ARGUMENTS = ["examples/digits.arch", "--updates", "60", "--evaluate-every", "5", "--grow", GROW]


def command(*arguments: str | Path, torchrun: int = 0) -> list[str]:
    before = [sys.executable, "-m"]
    if torchrun:
        before += ["torch.distributed.run", "--standalone", f"--nproc-per-node={torchrun}", "-m"]
    return [*before, "growc", "train", *map(str, arguments), "--device", "cpu"]


def ended(*arguments: str | Path, torchrun: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(*arguments, torchrun=torchrun),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_kill_9(tmp_path: Path) -> None:
    """Killed by the system while it trains, until it gets to the end."""
    done = ended(*ARGUMENTS, "-o", tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    where = tmp_path / "cut"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments: list[str | Path] = [*ARGUMENTS, "-o", where]
    for rows in (2, 5, 9):
        process = subprocess.Popen(command(*arguments), env=environment, stdout=subprocess.DEVNULL)
        metrics = where / "metrics.csv"
        while process.poll() is None:
            if metrics.exists() and len(metrics.read_text().splitlines()) > rows:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        assert process.wait() == -signal.SIGKILL
        arguments = ["-o", where, "--resume"]
    done = ended(*arguments)
    assert done.returncode == 0, done.stderr
    assert "resumed after" in done.stdout
    assert outcome(where) == outcome(tmp_path / "whole")


def test_two_processes(tmp_path: Path) -> None:
    """One model, grown alike in both: the loop itself compares them, bit by bit."""
    done = ended(*ARGUMENTS, "-o", tmp_path / "two", torchrun=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("proved (eval, train)") == 2
    again = ended(*ARGUMENTS, "-o", tmp_path / "again", torchrun=2)
    assert again.returncode == 0, again.stderr
    assert outcome(tmp_path / "two") == outcome(tmp_path / "again")
    # A batch norm of half a batch is another function, so it is not what one process gives; but
    # what they train on is the same, so it is near.
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    one = ended(*ARGUMENTS, "-o", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    alone = json.loads((tmp_path / "one" / "result.json").read_text())
    assert result["flops"] == alone["flops"]
    assert result["last"]["test_loss"] == pytest.approx(alone["last"]["test_loss"], rel=0.2)


def test_processes_with_a_parameter_that_no_output_needs(tmp_path: Path) -> None:
    """It gets no gradient, for which torch's processes would wait."""
    net = tmp_path / "net.arch"
    net.write_text(
        "net n { input x: f32[1, 8, 8]  spare = x -> flatten -> linear(4)"
        "  output y = x -> flatten -> linear(10) }"
    )
    done = ended(net, "--updates", "3", "-o", tmp_path / "r", torchrun=2)
    assert done.returncode == 0, done.stderr


def test_processes_whose_part_of_a_batch_is_too_small(tmp_path: Path) -> None:
    net = tmp_path / "net.arch"
    net.write_text(
        "net n { input x: f32[1, 8, 8]  output y = x -> flatten -> linear(10) -> batch_norm }"
    )
    done = ended(net, "--batch-size", "2", "-o", tmp_path / "r", torchrun=2)
    assert done.returncode != 0
    assert "in batches of one image in each of 2 processes they have no variance" in done.stderr
    assert "give --batch-size 4 or more" in done.stderr
    assert not (tmp_path / "r").exists()


def test_processes_must_share_a_batch_equally(tmp_path: Path) -> None:
    done = ended("examples/digits.arch", "--batch-size", "3", "-o", tmp_path / "r", torchrun=2)
    assert done.returncode != 0
    assert done.stderr.count("a batch of 3 can't be shared equally by 2 processes") == 1
    assert not (tmp_path / "r").exists()


def test_what_one_process_alone_finds_is_said(tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(
        "import os, growc\nfrom growc.train import runs\n"
        "def missing(*args, **more): raise growc.GrowcError('no images on this machine')\n"
        "if os.environ['RANK'] == '1': runs.open_all = missing\n"
        "from growc.cli import main\nmain()\n"
    )
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*run, str(script), "train", "examples/digits.arch", "--device=cpu", "-o", tmp_path / "r"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode != 0
    assert "no images on this machine" in done.stderr
    assert "growc itself failed" not in done.stderr


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """``growc train … | head -1``: the run goes on to its end."""
    with subprocess.Popen(
        command(*ARGUMENTS, "-o", tmp_path),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")
    assert (tmp_path / "result.json").exists()


def test_ctrl_c(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "it's cut"
    assert ended(*ARGUMENTS, "-o", whole).returncode == 0
    process = subprocess.Popen(
        command(*ARGUMENTS, "-o", cut),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Where tests run in the background, a shell has told processes to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        text=True,
    )
    metrics = cut / "metrics.csv"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 5):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said == f"stopped; `growc train -o '{tmp_path}/it'\"'\"'s cut' --resume` goes on\n"
    assert not (cut / "result.json").exists()
    assert ended("-o", cut, "--resume").returncode == 0
    assert outcome(cut) == outcome(whole)


def test_processes_agree_on_when_to_write_a_checkpoint(tmp_path: Path) -> None:
    """Their clocks differ; one that writes alone would wait for the other for ever."""
    script = tmp_path / "eager.py"
    script.write_text(
        "from growc.train import pace\npace.CHECKPOINT_SECONDS = 0.02\n"
        "from growc.cli import main\nmain()\n"
    )
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = ["train", "examples/digits.arch", "--updates", "200", "--evaluate-every", "200"]
    done = subprocess.run(
        [*run, str(script), *train, "--device", "cpu", "-o", str(tmp_path / "r")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # far beyond what it takes: a deadlock would never end
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def test_processes_resume_from_between_evaluations(tmp_path: Path) -> None:
    """Both die seven updates after a timed checkpoint, which has a growth step behind it."""
    script = tmp_path / "dying.py"
    script.write_text(
        "import os\nfrom growc.train import loop, pace\npace.CHECKPOINT_SECONDS = 0.0\n"
        "update = loop.Loop._update\n"
        "def dying(self, *batch):\n"
        "    update(self, *batch)\n"
        "    if self.state.progress.update == 47: os._exit(9)\n"
        "loop.Loop._update = dying\n"
        "from growc.cli import main\nmain()\n"
    )
    told = ["examples/digits.arch", "--updates", "60", "--evaluate-every", "60"]
    told += ["--grow", "at 30: r2wider{variant=concat}"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = ended(*told, "-o", whole, torchrun=2)
    assert done.returncode == 0, done.stderr
    dying = [*command(torchrun=2)[:-5], str(script), "train", *told, "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    died = subprocess.run([*dying, "-o", str(cut)], capture_output=True, env=environment)
    assert died.returncode != 0
    done = ended("-o", cut, "--resume", torchrun=2)
    assert done.returncode == 0, done.stderr
    assert "resumed after 40 updates" in done.stdout
    assert outcome(cut) == outcome(whole)


def on_terminal(*arguments: str | Path, stdout: Any = None) -> str:
    """What a run prints where standard error, and output if it is not redirected, is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    # At the end of what is on a terminal, reading fails.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait() == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_a_terminal_and_a_file(tmp_path: Path) -> None:
    """The bar is on the terminal, and rows are wherever standard output goes, with no bar."""
    bar, row = re.compile(r"\d+/60 loss"), re.compile(r"\d+ +3,322 +\d\.\d{4} ")
    told = ["examples/digits.arch", "--updates", "60", "--evaluate-every", "20"]
    shown = on_terminal(*told, "-o", tmp_path / "a")
    assert bar.search(shown)
    assert len(row.findall(shown)) == 4
    with (tmp_path / "out.txt").open("wb") as file:
        shown = on_terminal(*told, "-o", tmp_path / "b", stdout=file)
    assert bar.search(shown)
    assert not row.search(shown)
    printed = (tmp_path / "out.txt").read_text()
    assert "\x1b" not in printed
    assert len(row.findall(printed)) == 4


def test_json_is_the_result_alone(tmp_path: Path, growc: Callable[..., Any]) -> None:
    done = growc("train", "examples/digits.arch", "--updates", "3", "-o", tmp_path / "r", "--json")
    assert done.status == 0
    assert done.err == ""
    assert done.json["ok"] is True
    assert done.json["updates"] == 3
    assert 0 <= done.json["best"]["test_accuracy"] <= 1


@pytest.mark.parametrize("option", [["--momentum", "0.9"], ["--updates", "x"], ["--resum"]])
def test_json_of_wrong_usage(growc: Callable[..., Any], option: list[str]) -> None:
    done = growc("train", "examples/digits.arch", "-o", "r", "--json", *option)
    assert (done.status, done.err) == (2, "")
    assert done.json["ok"] is False
    assert option[0] in done.json["errors"][0]["message"]


def test_settings_of_one_run_begin_another(tmp_path: Path, growc: Callable[..., Any]) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    more = ["--updates", "4", "--lr", "0.01", "--grow", "at 2: r2wider", "--seed", "3"]
    assert growc("train", "examples/digits.arch", *more, "-o", first).status == 0
    told = first / "settings.toml"
    done = growc("train", "examples/digits.arch", "--config", told, "-o", second)
    assert done.status == 0, done.err
    assert outcome(first) == outcome(second)
    assert told.read_text() == (second / "settings.toml").read_text()


@pytest.mark.parametrize(
    ("text", "options", "status", "said"),
    [
        (
            "momentum = 0.9",
            [],
            1,
            "run.toml: `momentum` is for `optimizer` sgd\nhelp: leave it out",
        ),
        (
            "lr = 0.1",
            ["--momentum", "0.9"],
            2,
            "Error: --momentum is for --optimizer sgd; leave it",
        ),
        (
            'optimizer = "sgd"\nmomentum = 0.9',
            ["--optimizer", "adam"],
            2,
            "--momentum is for --optimizer sgd (`momentum` is in {config}); leave it out",
        ),
        (
            '[[grow]]\nat = 3\npass = "r2wider{at=no}"',
            [],
            1,
            "run.toml: grow:1:1: error: r2wider: ",
        ),
        ("scale_lr = false", [], 1, "run.toml: `scale_lr` is for `grow`"),
        ("lr = 0.1", ["--grow", "at 3: r2wider{at=no}"], 1, "--grow:1:1: error: r2wider: "),
    ],
)
def test_who_is_to_blame(
    tmp_path: Path,
    growc: Callable[..., Any],
    text: str,
    options: list[str],
    status: int,
    said: str,
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(text)
    more = ["--updates", "5", "--config", config, "-o", tmp_path / "r"]
    done = growc("train", "examples/digits.arch", *more, *options)
    assert done.status == status
    assert said.format(config=config) in done.err


def test_mistakes_when_a_run_goes_on(tmp_path: Path, growc: Callable[..., Any]) -> None:
    where = tmp_path / "r"
    assert growc("train", "examples/digits.arch", "--updates", "4", "-o", where).status == 0
    for option in (["--set", "classes=5"], ["--weights", "w.safetensors"]):
        done = growc("train", "-o", where, "--resume", *option)
        assert done.status == 2
        assert "--set and --weights are for FILE, which is not given" in done.err
    told = where / "settings.toml"
    told.write_text(told.read_text().replace('grow = ""', 'grow = "at 3: r2wder"'))
    done = growc("train", "-o", where, "--resume")
    assert f"{told}: grow:1:7: error: no pass is called `r2wder`" in done.err
    told.write_text(told.read_text().replace("momentum = 0.0", "momentum = 0.5"))
    done = growc("train", "-o", where, "--resume")
    assert f"{told}: `momentum` is for `optimizer` sgd" in done.err


def test_a_file_where_curves_should_be(tmp_path: Path, growc: Callable[..., Any]) -> None:
    where = tmp_path / "r"
    where.mkdir()
    (where / "tensorboard").write_text("mine")
    arguments = ["examples/digits.arch", "--updates", "2", "-o", where]
    done = growc("train", *arguments)
    assert done.status == 1
    assert f"{where / 'tensorboard'}: cannot be made a folder (File exists)" in done.err
    assert growc("train", *arguments, "--no-tensorboard").status == 0


def test_epochs(tmp_path: Path, growc: Callable[..., Any]) -> None:
    arguments = ["examples/digits.arch", "--batch-size", "735", "--epochs", "2"]
    done = growc("train", *arguments, "-o", tmp_path / "r", "--json")
    assert done.json["updates"] == 4
    done = growc("train", *arguments, "--updates", "5", "-o", tmp_path / "s")
    assert done.status == 2
    assert "--updates or --epochs" in done.err


def test_curves_for_tensorboard(tmp_path: Path, growc: Callable[..., Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ["--updates", "4", "--evaluate-every", "2", "--grow", "at 3: r2wider"]
    growc("train", "examples/digits.arch", *arguments, "-o", tmp_path / "r")
    growc("train", "examples/digits.arch", *arguments, "-o", tmp_path / "s", "--no-tensorboard")
    growc("train", "-o", tmp_path / "s", "--resume")
    assert not (tmp_path / "s" / "tensorboard").exists()
    events = EventAccumulator(str(tmp_path / "r" / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("accuracy/validation")] == [0, 2, 4]
    assert [e.step for e in events.Scalars("loss/training")] == [2, 4]
    grown = [e.value for e in events.Scalars("size/parameters")]
    assert grown[0] == grown[1] < grown[2]
    growc("train", "-o", tmp_path / "r", "--resume")
    events.Reload()
    assert [e.step for e in events.Scalars("accuracy/validation")] == [0, 2, 4]


def test_cifar10(tmp_path: Path, growc: Callable[..., Any], cifar10_test: Path) -> None:
    """A few updates on the real images, with growth."""
    done = growc(
        *("train", "examples/r2r_figure9.arch", "--data", f"cifar10:{cifar10_test.parent}"),
        *("--updates", "8", "--batch-size", "16", "--evaluate-every", "8"),
        *("--crop", "pad", "--flip"),
        *("--grow", "at 4: r2wider", "--loss", "binary_cross_entropy", "-o", tmp_path / "r"),
    )
    assert done.status == 0, done.err
    assert "cifar10: 49,000 training, 1,000 validation and 1,000 test images" in done.out
    assert "proved (eval, train)" in done.out


def test_mnist(tmp_path: Path, growc: Callable[..., Any]) -> None:
    """The digits as IDX files, 28x28, one of them packed."""
    from sklearn.datasets import load_digits

    bundled = load_digits()
    pixels = np.zeros((300, 28, 28), np.uint8)
    pixels[:, 2:26, 2:26] = (bundled.images[:300] * 15).astype(np.uint8).repeat(3, 1).repeat(3, 2)
    where = tmp_path / "MNIST"
    where.mkdir()
    for part, some in (("train", slice(0, 240)), ("t10k", slice(240, 300))):
        (where / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels[some]))
        labels = idx(bundled.target[:300][some].astype(np.uint8))
        (where / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    done = growc(
        *("train", "examples/mlp.arch", "--data", f"mnist:{tmp_path}", "--epochs", "6"),
        *("--set", "widths=[16, 16]", "--batch-size", "16", "--grow", "at 20: net2wider"),
        *("-o", tmp_path / "r", "--json"),
    )
    assert done.status == 0, done.err
    assert done.json["best"]["test_accuracy"] > 0.5


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_folder_of_images(tmp_path: Path, growc: Callable[..., Any], workers: str) -> None:
    """Two classes that differ in their colour, in files of another size."""
    from PIL import Image

    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 5)):
        for channel, name in enumerate(("reds", "greens")):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 60, (11, 13, 3)).astype(np.uint8)
                pixels[..., channel] += 150
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{i}.png")
    net = tmp_path / "net.arch"
    net.write_text(
        "net n { input x: f32[3, 8, 8]"
        "  output y = x -> conv2d(4) -> relu -> conv2d(4) -> relu -> flatten -> linear(2) }"
    )
    done = growc(
        *("train", net, "--data", f"folder:{tmp_path / 'images'}?size=8", "--updates", "30"),
        *("--batch-size", "8", "--lr", "0.01", "--crop", "resized", "--flip"),
        *("--grow", "at 10: r2deeper", "--workers", workers, "-o", tmp_path / "r"),
    )
    assert done.status == 0, done.err
    assert "folder: 38 training, 2 validation and 10 test images of 3x8x8, 2 classes" in done.out
    assert "proved (eval, train)" in done.out
    assert json.loads((tmp_path / "r" / "result.json").read_text())["last"]["test_accuracy"] == 1.0
