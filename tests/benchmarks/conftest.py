"""Runs a script of ``benchmarks/``."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from script_results import Run


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Run:
    """Runs a script in an empty folder and returns what it wrote with ``--json``."""

    def call(script: str, *options: str, status: int = 0) -> dict[str, Any]:
        path = tmp_path / "result.json"
        command = [sys.executable, str(repository / "benchmarks" / script), *options, "--json", str(path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
        return json.loads(path.read_text())

    return call
