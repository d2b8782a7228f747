"""``kill -9`` of the processes of a rig in the middle of a run: all but the end is there, and verifies.

The short form of ``benchmarks/kill.py``, which kills a hundred at random and measures how long that end is.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def killed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two rigs: one loses a camera, inference and then its recorder, the other a camera and then its supervisor."""
    path = tmp_path_factory.mktemp("kill") / "kill.json"
    victims = ["camera.cam1", "inference", "recorder", "camera.cam0", "supervisor"]
    done = subprocess.run(
        [sys.executable, repository / "benchmarks" / "kill.py", "--victims", *victims, "--no-model", "--json", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert path.exists(), done.stderr
    return json.loads(path.read_text())


def test_only_the_end_is_lost(killed: dict[str, Any]) -> None:
    assert killed["kills"] == 5 and killed["rigs"] == 2
    assert all(one["n_published"] > one["n_lost"] for one in killed["each"]), killed["each"]
    assert all(one["newer_kept"] == 0 for one in killed["each"]), killed["each"]
    assert all(one["n_lost"] == 0 for one in killed["each"] if one["victim"] == "inference"), killed["each"]


def test_every_recording_opens_is_closed_and_verifies(killed: dict[str, Any]) -> None:
    assert killed["errors"] == []
    assert killed["opened"] == killed["verified"] == 2
    assert killed["device_frames"] == killed["written_plus_declared"] > 0
    assert killed["undeclared"] == 0


def test_a_recorder_that_was_killed_needs_the_repair_and_one_whose_supervisor_was_killed_closes_by_itself(
    killed: dict[str, Any],
) -> None:
    assert killed["repaired"] == {"repaired": 1, "whole": 1}
