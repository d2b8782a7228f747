"""The wheel holds every module and data file of the tree, nothing else, and works where only the wheel is."""

import hashlib
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = ("acquisition", "deploy", "inference", "streaming", "sync", "training")

IMPORT_ALL = """
import importlib, pathlib, sys
home = pathlib.Path(sys.argv[1])
for name in sys.argv[2:]:
    file = pathlib.Path(importlib.import_module(name).__file__)
    assert file.is_relative_to(home), f"{name} came from {file}, not from the wheel"
"""


@pytest.fixture(scope="module")
def belongs(tracked: list[Path]) -> list[Path]:
    """The tracked files that a wheel has to hold."""
    return [path for path in tracked if path.parts[0] in LAYERS or str(path) in ("__init__.py", "py.typed")]


@pytest.fixture(scope="module")
def wheel(repository: Path, tracked: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked files, so that nothing that lies about gets in."""
    source = tmp_path_factory.mktemp("source")
    for path in tracked:
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((repository / path).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)], source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python of a new environment that holds the wheel; what it depends on is borrowed from this one."""
    home = tmp_path_factory.mktemp("clean") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", str(home)], home.parent)
    python = home / "bin" / "python"
    run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)],
        home.parent,
    )
    # A path file adds the folder of the libraries, but does not follow the path files in it: the editable install of
    # the tree stays out of sight.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    yield python


def run(command: list[str], folder: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_wheel_equals_tree(repository: Path, belongs: list[Path], wheel: Path) -> None:
    tree = {f"ethostream/{path.as_posix()}": sha256((repository / path).read_bytes()) for path in belongs}
    with zipfile.ZipFile(wheel) as archive:
        held = {
            name: sha256(archive.read(name))
            for name in archive.namelist()
            if not name.endswith("/") and ".dist-info/" not in name
        }
    assert held == tree


def test_wheel_carries_the_licence(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(licence) == (repository / "LICENSE").read_bytes()


def test_every_package_folder_is_declared(repository: Path, belongs: list[Path]) -> None:
    declared = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in belongs if path.suffix == ".py"}
    assert {".".join(("ethostream", *folder.parts)) for folder in folders} == set(declared)
    assert all((repository / folder / "__init__.py").is_file() for folder in folders)


def test_every_module_imports_from_the_wheel(clean_python: Path, belongs: list[Path]) -> None:
    modules = [
        ".".join(("ethostream", *path.with_suffix("").parts)).removesuffix(".__init__")
        for path in belongs
        if path.suffix == ".py"
    ]
    home = clean_python.parents[1]
    run([str(clean_python), "-c", IMPORT_ALL, str(home), *modules], home)


def test_the_command_is_installed(clean_python: Path, repository: Path) -> None:
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    assert version in run([str(clean_python.with_name("ethostream")), "version"], clean_python.parent)
