"""The page about a run: what it says is what the run's files say, and it needs nothing else."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import growc
from growc import GrowcError
from growc.ir import Graph, TensorType, ops
from growc.report import report
from growc.report.growth import grouped, split
from growc.report.heat_maps import FAINT, averaged, masked_layers, shares_of
from growc.report.reading import Growth

from .html_reading import Element, parsed
from .report_runs import (
    GROWTHS,
    RESULT,
    ROWS,
    SETTINGS,
    entry,
    masked_by_hand,
    small,
    write_run,
)
from .test_svg import contrast

SECTIONS = ["result", "curves", "growth", "connections", "architecture", "settings"]


def page(folder: Path) -> Element:
    return parsed(report(folder))


def sections(root: Element) -> list[str]:
    return [h.attributes["id"] for h in root.all("h2")]


def section(root: Element, name: str) -> Element:
    (found,) = (s for s in root.all("section") if sections(s) == [name])
    return found


def cells(table: Element) -> list[list[str]]:
    return [[cell.text for cell in row.all("td")] for row in table.all("tr")[1:]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


# ---- what the page says


def test_what_the_run_is(run: Path) -> None:
    root = page(run)
    assert sections(root) == SECTIONS
    assert root.one("head").one("title").text == root.one("h1").text == "Training run: small"
    assert root.one("p", "lead").text == (
        "The network small learns to classify the images of digits, in 60 updates with 32 images "
        "each. On the way it grows in 2 steps, from 3,000 to 3,360 parameters."
    )
    assert not root.all(class_="notice")
    settings = cells(section(root, "settings").one("table"))
    assert settings == [["optimizer", "sgd", "adam"], ["momentum", "0.9", "0.0"]]
    assert str(run) in root.one("footer").text


def test_result(run: Path) -> None:
    result = section(page(run), "result")
    tiles = [tile.text for tile in result.one("dl").all("div")]
    assert tiles == [
        "test accuracy91.2 %best model",
        "validation accuracy92.5 %best model",
        "parameters3,360from 3,000",
        "computation6.00 GFLOPof training",
        "time6.5 sof training",
    ]
    assert cells(result.one("table")) == [
        ["best", "45", "3,360", "92.5 %", "0.5000", "91.2 %", "0.5625"],
        ["last", "60", "3,360", "90.0 %", "0.6250", "88.8 %", "0.6875"],
    ]
    assert "every 15 updates" in result.text


def test_several_tasks(tmp_path: Path) -> None:
    tasks = {"test_accuracy_mnist": 0.975, "test_accuracy_fashion": 0.85}
    found = {name: {**RESULT[name], **tasks} for name in ("best", "last")}
    run = write_run(
        tmp_path / "run", result_json=json.dumps({**RESULT, **found, "shared_params": 672})
    )
    result = section(page(run), "result")
    assert cells(result.one("table"))[0][-2:] == ["97.5 %", "85.0 %"]
    assert "test, fashion" in result.one("table").text
    assert "share 672 of the last model's 3,360 parameters" in result.text


def test_growth_table(run: Path) -> None:
    assert cells(section(page(run), "growth").one("table")) == [
        [
            "1",
            "20",
            "new_node{count=2} at first, secondnew_layer at relu",
            "3,000 → 3,300",
            "+10.0 %",
            "✓ proved (eval, train)",
            "1.800000 → 1.800000 eval1.925000 → 1.925000 train",
            "0.03",
        ],
        [
            "2",
            "40",
            "new_connection{count=9} at first, second",
            "3,300 → 3,360",
            "+1.8 %",
            "✓ proved (eval, train)",
            "1.600000 → 1.600000 eval1.725000 → 1.725000 train",
            "0.03",
        ],
    ]


def test_steps_that_are_not_proved_are_not_said_to_be(tmp_path: Path) -> None:
    other = entry(
        50,
        "random_pad",
        3360,
        3400,
        proof="not claimed",
        loss_before={"eval": 0.25, "train": None},
        loss_after={"eval": 0.5, "train": None},
    )
    run = write_run(tmp_path / "run", growth_json=json.dumps([*GROWTHS, other]))
    growth = section(page(run), "growth")
    assert "2 of the 3 steps were proved not to change" in growth.text
    line = cells(growth.one("table"))[-1]
    assert line[5:7] == ["not claimed", "0.250000 → 0.500000 eval– train"]
    assert [e.text for e in growth.all("span", "unproved")] == ["not claimed"]
    run = write_run(tmp_path / "one", growth_json=json.dumps([other]))
    assert "This one was not proved" in section(page(run), "growth").text


@pytest.mark.parametrize("axis", ["updates", "cost", "time"])
def test_curves(run: Path, axis: str) -> None:
    """Each point is where its axes say, and its tooltip says what metrics.csv says."""
    curves = section(page(run), "curves")
    charts = curves.one("div", f"charts {axis}").all("figure")
    assert [c.one("strong").text for c in charts] == ["Accuracy", "Loss", "Parameters"]
    rows = list(csv.DictReader(ROWS))
    accuracy, loss, size = charts
    x = [
        float(row[{"updates": "update", "cost": "flops", "time": "seconds"}[axis]]) for row in rows
    ]
    dots = accuracy.all("circle", "dot")
    assert [d.text for d in dots] == [
        f"update {row['update']}: {100 * float(row['accuracy']):.1f} %" for row in rows
    ]
    along = [float(d.attributes["cx"]) for d in dots]
    up = [float(d.attributes["cy"]) for d in dots]
    assert along == pytest.approx([60 + 288 * v / max(x) for v in x], abs=0.06)
    # From 0 to 100 %: the highest of the ticks that go up in round steps.
    assert up == pytest.approx([198 - 176 * float(row["accuracy"]) for row in rows], abs=0.06)
    ring = accuracy.one("circle", "best").attributes
    assert (float(ring["cx"]), float(ring["cy"])) == (along[3], up[3])
    says = [d.text for d in loss.all("circle", "dot")]
    assert says[:2] == ["update 0: validation loss 2.5000", "update 15: validation loss 1.5000"]
    assert says[5] == "update 15: training loss 1.7500"
    assert len(says) == 9
    assert [k.text for k in loss.all("span", "key")] == ["validation loss", "training loss"]
    assert [d.text.partition(": ")[2] for d in size.all("circle", "dot")] == [
        f"{n} parameters" for n in "3,000 3,000 3,000 3,300 3,300 3,300 3,360 3,360 3,360".split()
    ]
    for chart in charts:
        marks = chart.all("g", "mark")
        assert [m.one("text").text for m in marks] == ["1", "2"]
        assert marks[0].one("title").text == (
            "growth step 1, at update 20: new_node{count=2}, new_layer; 3,000 → 3,300 parameters"
        )
        place = {"updates": 20 / 60, "cost": 2 / 6, "time": 2 / 6.5}[axis]
        assert marks[0].all("path")[0].attributes["d"] == f"M{60 + 288 * place:.1f} 22V198"
    labels = [e.text for e in accuracy.all("text", "label")]
    along_x = {"updates": "updates", "cost": "GFLOP of training", "time": "seconds of training"}
    assert labels == [along_x[axis], "validation accuracy, %"]


def test_the_axis_is_chosen_without_scripts(run: Path) -> None:
    root = page(run)
    buttons = root.all("input")
    assert [b.attributes["id"] for b in buttons] == ["by-updates", "by-cost", "by-time"]
    assert ["checked" in b.attributes for b in buttons] == [True, False, False]
    style = root.one("style").text
    for key in ("updates", "cost", "time"):
        assert f"#by-{key}:checked ~ .{key}" in style


# ---- connections


def test_shares_of_kernels() -> None:
    shares = shares_of(masked_by_hand(small()).weights.masks["second.weight"])
    assert shares.shape == (4, 6)
    assert (shares[0] == 1).all()
    assert shares[1] == pytest.approx(1 / 3)
    assert list(shares[2]) == [0, 0, 0, 0, 0, 1 / 9]
    assert (shares[3] == 0).all()
    assert shares_of(np.array([[True, False]])).tolist() == [[1.0, 0.0]]


def test_large_layers_are_averaged() -> None:
    shares = np.zeros((300, 5))
    shares[0, 0] = 1.0
    shares[297:, 4] = [1.0, 0.5, 0.0]
    cells, by = averaged(shares)
    assert by == (3, 1)
    assert cells.shape == (100, 5)
    assert cells[0, 0] == pytest.approx(1 / 3)
    assert cells[99, 4] == pytest.approx(0.5)
    assert cells.sum() == pytest.approx(1 / 3 + 0.5)
    # The last cells may have fewer channels, and are not paler for that.
    cells, by = averaged(np.ones((129, 257)))
    assert (by, cells.shape) == ((2, 3), (65, 86))
    assert (cells == 1).all()


def test_heat_map(run: Path) -> None:
    """Every pixel's opacity is the share, and the words say how full the layer is."""
    part = section(page(run), "connections")
    figure = part.one("figure", "map")
    assert figure.one("strong").text == "second"
    # 6 whole kernels, 6 thirds of 9, and 1 weight.
    assert "34 % full: 73 of 216 weights, 1 of 4 biases" in figure.text
    assert "Averaged" not in figure.text
    assert [e.text for e in figure.all("text")] == [
        "6 input channels",
        "4 output channels",
        "4",
        "6",
    ]
    # conv2d 1→6: 60; 6→4: 74 of 220; linear 256→10: 2,570
    assert "1 layer of 3 has weights or biases missing" in part.text
    assert "2,704 of 2,850 weights and biases: 95 %" in part.text
    kind, data = figure.one("image").attributes["href"].split(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
    opacity = np.asarray(picture)[..., 3]
    shares = shares_of(masked_by_hand(small()).weights.masks["second.weight"])
    wanted = np.where(shares > 0, 255 * (FAINT + (1 - FAINT) * shares), 0)
    np.testing.assert_allclose(opacity, wanted, atol=1.5)
    assert (opacity[3] == 0).all()


def test_rows_of_a_heat_map_are_output_channels() -> None:
    """A transposed convolution stores its input channels first."""
    graph = growc.loads("net n { input x: f32[3, 4, 4] output y = x -> conv_transpose2d(5) }")
    growc.initialize(graph)
    key = next(k for k in graph.parameters() if k.endswith("weight"))
    alpha = np.zeros((3, 5, 2, 2), np.bool_)
    alpha[2, 1] = True
    graph.weights.put(key, graph.weights[key] * alpha, alpha)
    (layer,) = masked_layers(graph)
    assert layer.shares.shape == (5, 3)
    assert layer.shares[1, 2] == 1
    assert layer.shares.sum() == 1


def test_a_shared_mask_is_shown_once() -> None:
    graph = growc.loads(
        "net n { input x: f32[4] y = x -> linear(4) as a -> relu\n"
        "output z = y -> linear(4) with (weight = a.weight) as b }"
    )
    growc.initialize(graph)
    alpha = np.eye(4, dtype=np.bool_)
    graph.weights.put("a.weight", graph.weights["a.weight"] * alpha, alpha)
    assert [layer.node.name for layer in masked_layers(graph)] == ["a"]


def test_a_layer_that_says_it_is_averaged(tmp_path: Path) -> None:
    net = small()
    alpha = np.zeros(net.weights["last.weight"].shape, np.bool_)
    alpha[:, ::2] = True
    net.weights.put("last.weight", net.weights["last.weight"] * alpha, alpha)
    figure = page(write_run(tmp_path / "run", net)).one("figure", "map")
    assert "50 % full: 1,280 of 2,560 weights, 10 of 10 biases" in figure.text
    assert "a cell stands for 1 output × 2 input channels" in figure.text


def test_many_masked_layers_are_folded(tmp_path: Path) -> None:
    net = growc.loads(
        "net n { input image: f32[1, 8, 8] x = image -> flatten\n"
        "repeat i in 0..14 { x = x -> linear(4) }\n output y = x -> linear(10) }"
    )
    growc.initialize(net)
    for key in list(net.parameters()):
        if key.endswith("weight"):
            alpha = np.ones(net.weights[key].shape, np.bool_)
            alpha[0] = False
            net.weights.put(key, net.weights[key] * alpha[..., :], alpha)
    part = section(page(write_run(tmp_path / "run", net)), "connections")
    assert len(part.all("figure", "map")) == 15
    assert part.one("details").one("summary").text == "3 more layers"
    assert len(part.one("details").all("figure", "map")) == 3


# ---- the network


def test_architecture(run: Path, tmp_path: Path) -> None:
    part = section(page(run), "architecture")
    assert part.one("p").text == (
        "This is the best network, after 45 updates, from inputs at the top to outputs at the "
        "bottom."
    )
    assert len(part.one("div", "picture").all("g", "node")) == len(small())
    assert not part.all("details")
    grown = growc.compile(small(), "new_layer{at=x.relu}", verify="none")
    part = section(page(write_run(tmp_path / "grown", grown)), "architecture")
    assert f"2 nodes of {len(grown)}, outlined, grew on the way" in part.text
    assert len(part.all("g", "highlight")) == 2


def test_a_large_network_is_folded(tmp_path: Path) -> None:
    net = small()
    for i in range(60):
        net.add(ops.Relu(), ["x.relu"], f"r{i}")
    part = section(page(write_run(tmp_path / "run", net)), "architecture")
    assert part.one("summary").text == f"Draw its {len(net)} nodes"
    assert part.one("details").all("div", "picture")


# ---- runs of other kinds, and unfinished ones


def test_a_run_that_does_not_grow(tmp_path: Path) -> None:
    rows = "\n".join(",".join([*r.split(",")[:3], "3000", *r.split(",")[4:]]) for r in ROWS[1:])
    run = write_run(tmp_path / "run", small(), growth_json=None, metrics_csv=f"{ROWS[0]}\n{rows}\n")
    root = page(run)
    assert sections(root) == ["result", "curves", "architecture", "settings"]
    assert "grow" not in root.one("p", "lead").text
    assert "growth step" not in section(root, "curves").text
    tiles = [tile.text for tile in section(root, "result").one("dl").all("div")]
    assert tiles[2] == "parameters3,000"


def test_no_test_images_and_no_validation(tmp_path: Path) -> None:
    plain = {"update": 45, "validation_accuracy": 0.925}
    run = write_run(
        tmp_path / "run",
        result_json=json.dumps({**RESULT, "best": plain, "last": plain}),
        settings_toml=f"{SETTINGS}validation = 0\n",
    )
    result = section(page(run), "result")
    assert "test" not in result.text
    assert "validation" not in result.text
    assert "training accuracy92.5 %" in result.text


def test_an_unfinished_run(tmp_path: Path) -> None:
    rows = "\n".join(ROWS[:4]) + "\n"
    run = write_run(tmp_path / "run", result_json=None, metrics_csv=rows)
    root = page(run)
    assert sections(root) == SECTIONS
    assert root.one("p", "notice").text == (
        "This run has not finished. 30 of 60 updates are done. All that follows is of its "
        "evaluations so far; if it was stopped, the command that began it goes on with --resume."
    )
    assert cells(section(root, "result").one("table")) == [
        ["best", "30", "3,300", "80.0 %", "0.7500"],
        ["last", "30", "3,300", "80.0 %", "0.7500"],
    ]


def test_a_run_that_was_not_evaluated_yet(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", result_json=None, metrics_csv=None, growth_json=None)
    for file in run.glob("best.*"):
        file.unlink()
    root = page(run)
    assert sections(root) == ["architecture", "settings"]
    assert "It has not been evaluated yet." in root.one("p", "notice").text


@pytest.mark.parametrize("count", [1, 2])
def test_few_evaluations(tmp_path: Path, count: int) -> None:
    """One point has no range."""
    rows = "\n".join(ROWS[: count + 1]) + "\n"
    run = write_run(tmp_path / "run", result_json=None, metrics_csv=rows, growth_json=None)
    curves = section(page(run), "curves")
    assert len(curves.one("div", "charts time").all("figure")[0].all("circle", "dot")) == count


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"settings_toml": "data = "}, r"settings.toml: Invalid value \(at end of document\)"),
        ({"settings_toml": "data = 3"}, "settings.toml: has no `updates`"),
        (
            {"settings_toml": SETTINGS.replace("60", '"many"')},
            "settings.toml: `updates` is not a number: 'many'",
        ),
        ({"metrics_csv": "update,loss\n0,1\n"}, "metrics.csv:2: has no `seconds`"),
        (
            {"metrics_csv": "\n".join(ROWS).replace("0.875", "much")},
            "metrics.csv:4: `train_loss` is not a number: 'much'",
        ),
        ({"metrics_csv": "\n".join(ROWS).replace("0.75,", "nan,")}, "metrics.csv:4: `loss` is nan"),
        (
            {"metrics_csv": "\n".join(ROWS).replace("30,3.0", "15,3.0")},
            "metrics.csv:4: update 15 does not come after 15",
        ),
        (
            {"metrics_csv": "\n".join(ROWS[:3]) + "\n30,3.0"},
            "metrics.csv:4: `flops` is not a number",
        ),
        ({"metrics_csv": None}, "metrics.csv: is missing, though the run has finished"),
        ({"growth_json": "[{"}, r"growth.json: is not JSON \(Expecting property name"),
        ({"growth_json": "{}"}, "growth.json: is not a list"),
        ({"growth_json": "[3]"}, "growth.json: entry 1: is not what a run writes"),
        (
            {"growth_json": json.dumps([GROWTHS[0], entry(40, "cse", 1, 2, params=[3, 4, 5])])},
            "growth.json: entry 2: is not what a run writes",
        ),
        (
            {"growth_json": json.dumps([entry(20, "cse", -1, 2)])},
            "growth.json: entry 1: `params` is not a whole number: -1",
        ),
        ({"growth_json": json.dumps([entry(20, "cse", 1, 2, proof=3)])}, "3 is not text"),
        ({"growth_json": json.dumps([entry(20, "cse", 1, 2, at=None)])}, "entry 1: is not what"),
        ({"result_json": "{}"}, "result.json: has no `updates`"),
        (
            {"result_json": json.dumps(RESULT | {"best": 3})},
            "result.json: is not what a run writes",
        ),
        ({"result_json": "\x00"}, "result.json: is not JSON"),
    ],
)
def test_damaged_files(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    run = write_run(tmp_path / "run", **files)
    with pytest.raises(GrowcError, match=message) as caught:
        report(run)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message.startswith(str(run))
    assert diagnostic.help


def test_missing_and_unreadable_files(run: Path) -> None:
    (run / "best.arch").rename(run / "away")
    with pytest.raises(GrowcError, match=r"best\.arch: no such file"):
        report(run)
    (run / "away").rename(run / "best.arch")
    (run / "best.safetensors").write_bytes(b"")
    with pytest.raises(GrowcError, match="SHA-256 differs"):
        report(run)
    (run / "metrics.csv").write_bytes(b"update\xff")
    with pytest.raises(GrowcError, match=r"metrics\.csv: is not text in UTF-8"):
        report(run)
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").mkdir()
    with pytest.raises(GrowcError, match=r"metrics\.csv: cannot be read \(Is a directory\)"):
        report(run)


# ---- text that others wrote


EVIL = "</title></code><script>alert('&\")</script>"


def test_everything_is_escaped(tmp_path: Path) -> None:
    net = Graph("n")
    x = net.add_input("image", TensorType((1, 8, 8)))
    x = net.add(ops.Flatten(), [x], f"a{EVIL}")
    x = net.add(ops.Linear(10), [x], f"b{EVIL}")
    net.set_output("y", x)
    growc.initialize(net)
    alpha = np.eye(10, 64, dtype=np.bool_)
    net.weights.put(f"b{EVIL}.weight", net.weights[f"b{EVIL}.weight"] * alpha, alpha)
    step = entry(
        20,
        f'pass{EVIL}{{at=[x{EVIL}], b="{EVIL}"}}',
        1,
        2,
        at=[[f"b{EVIL}"]],
        proof=f"proved {EVIL}",
        loss_before={EVIL: 1.0},
        loss_after={EVIL: 1.0},
    )
    settings = SETTINGS.replace('"digits"', json.dumps(f"folder:{EVIL}"))
    settings += f"lr_schedule = {json.dumps(EVIL)}\n{json.dumps(EVIL)} = {json.dumps(EVIL)}\n"
    run = write_run(
        tmp_path / f"run {EVIL}".replace("/", "∕"),
        net,
        growth_json=json.dumps([step]),
        settings_toml=settings,
    )
    root = page(run)
    assert sections(root) == SECTIONS
    assert not root.all("script")
    assert root.one("figure", "map").one("strong").text == f"b{EVIL}"
    assert EVIL in root.one("p", "lead").text
    assert EVIL in section(root, "settings").text
    line = section(root, "growth").one("tbody").text
    assert f"pass{EVIL}" in line
    assert f"at b{EVIL}" in line
    assert f"✓ proved {EVIL}" in line
    assert f"→ 1.000000 {EVIL}" in line
    assert EVIL.replace("/", "∕") in root.one("footer").text


# ---- one file that needs nothing else


def test_the_page_fetches_nothing(run: Path) -> None:
    root = page(run)
    assert not {e.name for e in root.all()} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
    }
    fetched = {"src", "href", "xlink:href", "action", "poster", "data", "srcset", "style"}
    for element in root.all():
        for name in fetched & element.attributes.keys():
            value = element.attributes[name]
            assert value.startswith(("#", "data:image/png;base64,")), (element.name, name, value)
        assert not [name for name in element.attributes if name.startswith("on")]
    for style in root.all("style"):
        assert not re.search(r"url\(|@import|https?:", style.text)


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert report(run) == report(str(run))


def test_a_report_imports_neither_torch_nor_onnx(run: Path) -> None:
    code = (
        f"import sys; from growc.report import report; report({str(run)!r}); "
        "print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def colours(style: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", style))


def test_text_can_be_read_in_light_and_dark(root: Path) -> None:
    """WCAG AA: 4.5 for text; 3 for lines that must be told from the page."""
    style = (root / "report" / "page.css").read_text(encoding="utf-8")
    light, dark = style.split("prefers-color-scheme: dark")
    for theme in (colours(light), colours(dark)):
        for text in ("ink", "muted", "one", "two", "good"):
            for paper in ("surface", "panel"):
                assert contrast(theme[text], theme[paper]) > 4.5, (text, paper)
        assert contrast(theme["ink"], theme["notice"]) > 4.5
        assert contrast(theme["rule"], theme["surface"]) > 2.9
        assert contrast("#2b7cd3", theme["surface"]) > 3
    assert colours(light).keys() == colours(dark.partition("}")[0]).keys()


# ---- long runs


def test_fifty_growth_steps_with_long_pipelines(tmp_path: Path) -> None:
    rows, steps, size = [ROWS[0]], [], 1000
    for update in range(0, 52_000, 10):
        rows.append(f"{update},{update / 10},{update * 1e12},{size},{1 / (1 + update)},0.5,0.5,0.1")
        if update and update % 1000 == 0:
            layers = [f"stage{i}.conv" for i in range(12)]
            numbers = ", ".join(map(str, range(update, update + 500)))
            text = ", ".join(f"new_connection{{at={n}, indices=[{numbers}]}}" for n in layers)
            text += f", new_node{{at=[{', '.join(layers)}], count=4}}"
            at = [*([n] for n in layers), layers]
            steps.append(entry(update, text, size, size + 6000, at=at))
            size += 6000
    run = write_run(
        tmp_path / "run", growth_json=json.dumps(steps), metrics_csv="\n".join(rows) + "\n"
    )
    assert (run / "growth.json").stat().st_size > 1e6
    text = report(run)
    assert len(text) < 450_000
    root = parsed(text)
    lines = cells(section(root, "growth").one("table"))
    assert len(lines) == 51
    assert lines[0][2].startswith("new_connection{indices=[… 6,000]} × 12 at 12 places")
    assert "new_node{count=4} at 12 places" in lines[0][2]
    chart = root.one("div", "charts updates").all("figure")[0]
    assert len(chart.all("g", "crowd")) == 51
    numbers = [m.one("text").text for m in chart.all("g", "mark") if m.all("text")]
    assert numbers == [str(n) for n in range(5, 51, 5)]
    # 5,200 points are more than 288 pixels can show.
    assert len(chart.all("circle", "hit")) <= 101
    assert chart.one("path", "line").attributes["d"].count("L") <= 600


@pytest.mark.parametrize(
    ("pipeline", "parts"),
    [
        ("cse", ["cse"]),
        ("r2wider{filters=8, at=a.*}, cse", ["r2wider{filters=8, at=a.*}", "cse"]),
        ("a{at=[x, y], b=1},b", ["a{at=[x, y], b=1}", "b"]),
        ('a{at="x}, b{"}, c', ['a{at="x}, b{"}', "c"]),
        (r'a{at="\"}, b"}, c', [r'a{at="\"}, b"}', "c"]),
        ("", [""]),
    ],
)
def test_split(pipeline: str, parts: list[str]) -> None:
    assert split(pipeline) == parts


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("cse", ["cse"]),
        ("r2wider{filters=8, at=a.*}, cse", ["r2wider{filters=8}", "cse"]),
        ("a{x=[1, 2, 3, 4]}", ["a{x=[1, 2, 3, 4]}"]),
        ("a{x=[1, 2, 3, 4, 5]}", ["a{x=[… 5]}"]),
        ("a{x=[1], y=2}, b, a{x=[2], y=2}", ["a{x=[… 2], y=2} × 2", "b"]),
        ("a{x=1, y=2}, a{x=2, y=2}, a{y=2}", ["a{y=2} × 3"]),
        (f"a{{x={'y' * 200}}}", [f"a{{x={'y' * 87}…}}"]),
    ],
)
def test_pipelines_in_short(pipeline: str, words: list[str]) -> None:
    growth = Growth(1, pipeline, (), (1, 2), "", {}, {}, 0.0)
    assert [str(group) for group in grouped(growth)] == words


# ---- a real run


def test_a_real_run_with_masked_growth(
    tmp_path: Path, growc: Callable[..., Any], root: Path
) -> None:
    """What the page says of a run of ``growc train`` is what that run wrote."""
    grow = "at 10: r2wider, new_node{count=2}, new_layer; at 20: new_connection{count=20}"
    where = tmp_path / "run"
    options = ["--updates", "30", "--evaluate-every", "6", "--grow", grow, "--device", "cpu"]
    net = root / "examples" / "digits.arch"
    assert growc("train", net, *options, "--no-tensorboard", "-o", where).status == 0
    found = page(where)
    assert sections(found) == [s for s in SECTIONS if s != "settings"] + ["settings"]
    rows = list(csv.DictReader((where / "metrics.csv").read_text().splitlines()))
    dots = found.one("div", "charts updates").all("figure")[0].all("circle", "dot")
    assert [d.text for d in dots] == [
        f"update {row['update']}: {100 * float(row['accuracy']):.1f} %" for row in rows
    ]
    steps = json.loads((where / "growth.json").read_text())
    for line, step in zip(cells(section(found, "growth").one("table")), steps, strict=True):
        before, after = step["params"]
        assert line[1] == str(step["update"])
        assert line[3] == f"{before:,} → {after:,}"
        assert line[5] == f"✓ {step['proof']}"
        for mode in ("eval", "train"):
            loss = f"{step['loss_before'][mode]:.6f} → {step['loss_after'][mode]:.6f} {mode}"
            assert loss in line[6]
    result = json.loads((where / "result.json").read_text())
    best = cells(section(found, "result").one("table"))[0]
    assert best[1] == str(result["best"]["update"])
    assert best[5] == f"{100 * result['best']['test_accuracy']:.1f} %"
    assert best[6] == f"{result['best']['test_loss']:.4f}"
    shown = json.loads(growc("show", where / "best.arch", "--json").out)
    masked = [r["name"] for r in shown["layers"] if r["parameters"] < r["size"]]
    assert [f.one("strong").text for f in found.all("figure", "map")] == masked
