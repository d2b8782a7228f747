"""A small simulated rig with a task that decides often, run live: what several tests of whole rigs begin with."""

from pathlib import Path
from typing import Any

import yaml
from ethostream.deploy.config import load_run
from ethostream.deploy.rig_run import run_rig
from ethostream.deploy.supervised_run import RunResult
from small_rig import Quiet, write_rig

TASK = {
    "bundle": "demo",
    "rules": [
        *(
            {"name": f"on_{behavior}", "on_enter": behavior, "refractory_ms": 700, "actuator": "log"}
            for behavior in ("rear", "locomote", "groom", "still")
        ),
        *(
            {
                "name": f"while_{behavior}",
                "on_while": {"behavior": behavior, "every_ms": 150},
                "actuator": "log",
                "jitter_ms": 40,
                "sham": {"fraction": 0.3},
            }
            for behavior in ("rear", "locomote", "groom", "still")
        ),
    ],
    "arming": {"windows": [{"from_s": 0, "to_s": 3}, {"from_s": 3.5}]},
    "actuators": {"log": {"kind": "log"}},
}


def write_files(folder: Path, n_views: int = 2, task: dict[str, Any] | None = None, **parts: Any) -> tuple[Path, Path]:
    """A small simulated rig and its task."""
    camera = {"width": 320, "height": 240, "seed": 7, **parts.pop("camera", {})}
    parts = {"recording": {"codec": "h264_lossless", "reserve_mb": 10}, **parts}
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK if task is None else task))
    return write_rig(folder, n_views, camera, **parts), folder / "task.yaml"


def live(folder: Path, seconds: float, display: Quiet | None = None, **options: Any) -> RunResult:
    rig, task = write_files(folder, **options)
    return run_rig(load_run(rig, task), display or Quiet(), seconds, folder / "out", folder / "report.json")
