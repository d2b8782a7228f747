"""Folds by Ray: the same bits as without it, a worker that dies is replaced, and what cannot work is said."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ethostream.sync.errors import ConfigError
from ethostream.training.runs.record import resolved
from rich.console import Console
from small_search import sessions, small_config

pytest.importorskip("ray", reason="ray is not installed: folds are done in one process only")

from ethostream.training.runs.ray_folds import RayFolds


@pytest.mark.long
def test_a_local_ray_does_the_same_and_replaces_workers_that_die(tmp_path: Path) -> None:
    """To the bit; and nothing but our own words is printed, since stdout may be JSON."""
    script = Path(__file__).with_name("ray_session.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


@pytest.mark.long
def test_the_command_with_ray_prints_json_and_nothing_else(tmp_path: Path) -> None:
    folder = sessions(tmp_path / "data", [1, 2])
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(resolved(small_config({1: None, 2: None}), folder)), encoding="utf-8")
    words = ["crossval", str(config), "--folds", "2", "--ray", "local", "--cache", "none", "--json", "-"]
    words += ["--out", str(tmp_path / "run")]
    code = f"import sys; from ethostream.deploy.cli import main; sys.argv[1:] = {words!r}; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["recordings"]) == ["1", "2"]


@pytest.mark.parametrize("address", ["cluster", "host:port", ":1", "ray://"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"expected HOST:PORT"):
        RayFolds(address, small_config({1: None, 2: None}).fit, Console(quiet=True))


def test_where_nothing_listens_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever comes is refused
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(ConfigError, match="nothing answers there"):
                RayFolds(address, small_config({1: None, 2: None}).fit, Console(quiet=True))


@pytest.mark.parametrize(("name", "extra"), [("ray", "ray"), ("optuna", "search")])
def test_what_is_not_installed_is_named_with_its_extra(name: str, extra: str, tmp_path: Path) -> None:
    """In a process that cannot import it."""
    sessions(tmp_path / "data", [1, 2])
    words = ["search" if name == "optuna" else "crossval", "--preset", "pose-tcn", "--data", str(tmp_path / "data")]
    words += ["--stream", "S1", "--out", str(tmp_path / "run"), *([] if name == "optuna" else ["--ray", "local"])]
    code = f"import sys; sys.modules[{name!r}] = None; from ethostream.deploy.cli import main; sys.argv[1:] = {words!r}"
    done = subprocess.run([sys.executable, "-c", f"{code}; main()"], capture_output=True, text=True, check=False)
    assert done.returncode == ConfigError.exit_code, done.stderr
    assert f"{name} is not installed; pip install 'ethostream[{extra}]' brings it" in " ".join(done.stderr.split())
