"""The rooms of the house: which may import which, what is installed, and what stays unloaded."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# Lowest first; a room may import those before it, and itself. src/growc may import all.
ROOMS = ["ir", "grammar", "fingerprints", "passes", "backends", "proof", "compiler", "train"]
ROOMS += ["search", "report", "cli"]
MAY_IMPORT = {
    "ir": set(),
    "grammar": {"ir"},
    "fingerprints": {"ir"},
    "passes": {"ir", "fingerprints"},
    "backends": {"ir"},
    "proof": {"ir", "fingerprints", "backends"},
    "compiler": {"ir", "grammar", "passes", "backends", "proof"},
    "train": {"ir", "grammar", "passes", "backends", "proof", "compiler"},
    "search": {"ir", "grammar", "fingerprints", "passes", "backends", "compiler", "train"},
    "report": {"ir", "grammar", "backends", "train"},
    "cli": {*ROOMS, "growc"},
}
OUTSIDE = {
    "ir": {"numpy", "networkx", "safetensors"},
    "grammar": {"lark"},
    "fingerprints": {"numpy"},
    "passes": {"numpy"},
    "backends": {"numpy", "torch", "onnx", "onnx_ir", "onnxruntime"},
    "proof": {"numpy", "torch"},
    "compiler": {"torch"},
    "train": {"numpy", "PIL", "sklearn", "torch"},
    "search": {"numpy", "torch"},
    "report": {"numpy", "PIL"},
    "cli": {"click", "rich"},
}


def imports_of(file: Path, room: str) -> set[str]:
    """Rooms and outside packages that a file imports, those inside functions included."""
    found = set()
    depth = len(file.parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > depth and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > depth:
            # `from .. import x`: a room, or else something of the front door
            # (the version, which every room may write into its files, is not)
            named = {a.name for a in node.names} - {"__version__"}
            found |= {name if name in ROOMS else "growc" for name in named}
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_point_one_way(root: Path, room: str) -> None:
    front_door = {p.stem for p in (root / "src" / "growc").glob("*.py")} | {"growc"}
    files = sorted((root / room).rglob("*.py"))
    assert files, f"{room} is empty"
    for file in files:
        relative = file.relative_to(root)
        for name in imports_of(relative, room) - {room}:
            if name in front_door:
                assert "growc" in MAY_IMPORT[room], f"{relative} imports the front door's {name}"
            elif name in ROOMS:
                assert name in MAY_IMPORT[room], f"{relative} imports the room {name}"
            else:
                assert name in OUTSIDE[room], f"{relative} imports {name}"


def test_only_graph_py_touches_networkx(root: Path) -> None:
    users = [
        str(file.relative_to(root))
        for room in ROOMS
        for file in (root / room).rglob("*.py")
        if "networkx" in imports_of(file.relative_to(root), room)
    ]
    assert users == ["ir/graph.py"]


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.split(".")[0] for name in done.stderr.split()}


HEAVY = {"torch", "onnx", "onnxruntime"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["check", "examples/r2r_figure9.arch"],
        ["show", "examples/mlp.arch"],
        ["passes", "r2wider"],
        ["fmt", "--check", "examples/mlp.arch"],
        ["diff", "examples/r2r_base.arch", "examples/r2r_wide_teacher.arch"],
    ],
    ids=lambda a: a[0],
)
def test_fast_commands_leave_torch_and_onnx_alone(root: Path, arguments: list[str]) -> None:
    code = (
        f"import os; os.chdir({str(root)!r})\nfrom growc.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as end: assert not end.code, end.code"
    )
    loaded = modules_after(code)
    assert not loaded & HEAVY
    if arguments == ["--help"]:
        assert not loaded & {"numpy", "networkx", "lark", "rich"}


def test_import_growc_is_light() -> None:
    assert not modules_after("import growc") & {*HEAVY, "numpy", "networkx", "lark"}


def test_passes_run_on_numpy_alone() -> None:
    code = (
        "import growc\n"
        "g = growc.loads('net n { input x: f32[4] y = x -> linear(4) output z = x + y }')\n"
        "growc.compile(g, 'r2wider, r2deeper', verify='none')"
    )
    assert not modules_after(code) & HEAVY


def test_public_names_exist_and_are_documented() -> None:
    import growc

    for name in growc.__all__:
        assert getattr(growc, name) is not None
        if callable(getattr(growc, name)):
            assert getattr(growc, name).__doc__, f"growc.{name} has no docstring"


def test_packages_are_listed(root: Path) -> None:
    """pyproject.toml names every folder with Python files, and every room is linked."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    folders = {"growc"}
    for room in ROOMS:
        for init in (root / room).rglob("__init__.py"):
            folders.add("growc." + ".".join(init.parent.relative_to(root).parts))
        link = root / "src" / "growc" / room
        assert link.is_symlink(), f"src/growc/{room} is not a link"
        assert link.resolve() == (root / room).resolve()
    assert listed == folders


def test_wheel_holds_the_tree(root: Path, tmp_path: Path) -> None:
    """What is installed is what is here: no file forgotten, none too many."""
    import shutil
    import zipfile

    # Built from a copy, as setuptools leaves its build folder beside the sources.
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "src", *ROOMS):
        source = root / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, copy / name)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    pytest.importorskip("setuptools", reason="building a wheel needs setuptools")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {n for n in archive.namelist() if not n.startswith("growc-")}
    wanted = {
        "growc/" + str(file.relative_to(root / "src" / "growc"))
        for file in (root / "src" / "growc").glob("*.*")
        if file.is_file()
    }
    for room in ROOMS:
        for pattern in ("*.py", "*.lark", "*.css"):
            files = (root / room).rglob(pattern)
            wanted |= {"growc/" + str(file.relative_to(root)) for file in files}
    assert packed == wanted
