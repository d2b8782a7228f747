"""Layers import only downward, heavy libraries stay in their files, and the contracts that say so do bite."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = ("acquisition", "deploy", "inference", "streaming", "sync", "training")

# library -> the files or folders that may import it
ALLOWED = {
    "time": ("sync/clock.py",),
    "zmq": ("streaming/",),
    "torch": ("training/",),
    "lightning": ("training/",),
    "torchmetrics": ("training/",),
    "sklearn": ("training/",),
    "optuna": ("training/runs/study.py", "deploy/commands/search_command.py"),
    "sqlalchemy": ("training/runs/study.py",),
    "ray": ("training/runs/ray_folds.py",),
    "onnx": ("training/", "inference/half_precision.py"),
    "onnxscript": ("training/",),
    "onnxruntime": (
        "inference/onnxruntime_backend.py",
        "inference/half_precision.py",
        "training/quantisation/graph_quantiser.py",
    ),
    "cuda": ("inference/cuda_memory.py",),
    "tensorrt": ("inference/tensorrt_backend.py",),
    "pypylon": ("acquisition/basler_sdk.py",),
    "harvesters": ("acquisition/genicam_device.py",),
    "genicam": ("acquisition/genicam_device.py",),
    "pylsl": ("streaming/lsl_",),
    "serial": ("streaming/serial_port.py",),
    "nidaqmx": ("inference/actuators/nidaq_actuator.py",),
    "gpiod": ("inference/actuators/gpio_guard.py",),
    "miniaudio": ("inference/actuators/sound_actuator.py",),
    "pythonosc": ("inference/actuators/datagram_actuators.py",),
    "neo": ("sync/pulse_files.py",),
    "nptdms": ("sync/pulse_files.py",),
    "sleap_io": ("acquisition/pose/sleap_files.py",),
    "sonpy": ("sync/pulse_files.py",),
    "pickle": (),
    "cPickle": (),
    "cloudpickle": (),
    "dill": (),
    "joblib": (),
    "shelve": (),
}


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Absolute imports anywhere in a module, functions included, also by `importlib.import_module("...")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if ast.unparse(node) == "from pickle import UnpicklingError":
                continue  # what torch.load(weights_only=True) raises; a name, not a way to unpickle
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, node.lineno


def misplaced(path: str, tree: ast.AST) -> list[str]:
    found: list[str] = []
    for name, line in imports(tree):
        top = name.split(".")[0]
        if top in ALLOWED and not path.startswith(ALLOWED[top] or ("nowhere",)):
            found.append(f"{path}:{line}: {top} is allowed in {' '.join(ALLOWED[top]) or 'no file'} only")
        if top == "ethostream" or top in LAYERS:
            found.append(f"{path}:{line}: {name}: import relatively inside the package")
        if name == "multiprocessing.shared_memory":
            found.append(f"{path}:{line}: a reader that exits unlinks it for all; use streaming/ring.py")
    return found


def unsafe(path: str, tree: ast.AST) -> list[str]:
    """Clock reads that need no import of time, unpickling by the back door, queues without a bound."""
    found: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called.split(".")[-1] in ("now", "utcnow", "today") and "date" in called and path != "sync/clock.py":
            found.append(f"{path}:{node.lineno}: {called}() reads a machine clock; take a Clock")
        if keywords.get("allow_pickle", "False") != "False":
            found.append(f"{path}:{node.lineno}: allow_pickle")
        if called == "torch.load" and keywords.get("weights_only") != "True":
            found.append(f"{path}:{node.lineno}: torch.load without weights_only=True unpickles")
        bounds = [ast.unparse(argument) for argument in node.args] + [keywords.get("maxsize", "")]
        if called.split(".")[-1] == "SimpleQueue" or (
            called.split(".")[-1] in ("Queue", "LifoQueue", "PriorityQueue")
            and not any(b not in ("", "0") for b in bounds)
        ):
            found.append(f"{path}:{node.lineno}: {called} has no bound")
    return found


def test_contracts_hold(repository: Path) -> None:
    done = lint_imports(repository, dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("sync/strict.py", "from ..streaming import topics", "layers"),
        ("acquisition/camera.py", "from .. import inference", "layers"),
        ("streaming/messages.py", "from ..sync import errors", "the message contract is a leaf"),
        ("training/scores/frames.py", "from .. import config", "inside training"),
        ("inference/manifest.py", "import torch", "torch only in training"),
        ("deploy/config.py", "import zmq", "zmq only in streaming"),
    ],
)
def test_contracts_bite(
    repository: Path, package_files: list[Path], tmp_path: Path, path: str, line: str, contract: str
) -> None:
    root = tmp_path / "ethostream"
    for file in package_files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes((repository / file).read_bytes())
    (root / "pyproject.toml").write_bytes((repository / "pyproject.toml").read_bytes())
    (root / path).write_text(f"{line}\n" + (root / path).read_text())
    done = lint_imports(root, os.environ | {"PYTHONPATH": str(tmp_path)})
    broken = [row for row in done.stdout.splitlines() if row.startswith(contract) and row.endswith("BROKEN")]
    assert broken, done.stdout + done.stderr


def lint_imports(folder: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_libraries_stay_in_their_files(repository: Path, package_files: list[Path]) -> None:
    found = [
        line
        for path in package_files
        for line in misplaced(path.as_posix(), ast.parse((repository / path).read_text(), str(path)))
    ]
    assert not found, "\n".join(found)


def test_no_clock_pickle_or_endless_queue(repository: Path, package_files: list[Path]) -> None:
    found = [
        line
        for path in package_files
        for line in unsafe(path.as_posix(), ast.parse((repository / path).read_text(), str(path)))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from time import perf_counter",
        "import torch.nn",
        "def f():\n    import onnxruntime",
        "import importlib\nimportlib.import_module('tensorrt')",
        "def f():\n    from serial import Serial",
        "from neo.rawio import CedRawIO",
        "from nptdms import TdmsFile",
        "import sonpy",
        "import pickle",
        "from pickle import UnpicklingError, loads",
        "from multiprocessing import shared_memory",
        "import sync",
        "from ethostream.sync import clock",
    ],
)
def test_a_misplaced_import_is_found(line: str) -> None:
    assert misplaced("deploy/x.py", ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "from datetime import datetime\ndatetime.now()",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "queue.Queue()",
        "Queue(maxsize=0)",
        "SimpleQueue()",
    ],
)
def test_an_unsafe_call_is_found(line: str) -> None:
    assert unsafe("deploy/x.py", ast.parse(line))


def test_bounded_and_safe_calls_pass() -> None:
    code = "Queue(8)\nqueue.Queue(maxsize=n)\ntorch.load(p, weights_only=True)\nnp.load(p)\nclock.now_ns()"
    assert not unsafe("deploy/x.py", ast.parse(code))


@pytest.mark.parametrize("module", [*LAYERS, "time"])
def test_top_level_imports_are_banned_by_the_linter(repository: Path, module: str) -> None:
    command = [str(Path(sys.executable).with_name("ruff")), "check", "--no-cache", "--select", "TID251"]
    command += ["--stdin-filename", "streaming/x.py", "-"]
    for line in (f"import {module}\n", f"from {module} import x\n"):
        done = subprocess.run(command, cwd=repository, input=line, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "TID251" in done.stdout


def test_names(repository: Path, package_files: list[Path]) -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert not [path for path in package_files if vague & set(path.stem.split("_"))]
    assert not list((repository / "tests").rglob("__init__.py")), "tests are not a package"
