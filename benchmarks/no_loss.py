"""Is every frame accounted for? Eight cameras with injected drops through the whole rig, recorded and verified.

    python benchmarks/no_loss.py [--seconds 600] [--cameras 8] [--rate 60] [--codec h264] [--json no_loss.json]

Runs ``ethostream run`` on eight simulated 640x480 cameras that drop, repeat and reorder frames, with the bundled model,
then checks for each camera: device frames = written + declared, by the recording's own account and by the simulator's
truth (every frame that it delivered stands in the recording).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import yaml
from ethostream.streaming.messages import FrameHeader, FrameTruth
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import FRAME, TRUTH

DEMO_TASK = Path(__file__).parents[1] / "deploy" / "demo" / "task.yaml"
FAULTS = {"drop_p": 0.002, "duplicate_p": 0.001, "reorder_p": 0.001}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--rate", type=float, default=60)
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--task", default=str(DEMO_TASK), help="'none' runs without a model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    camera = {
        "kind": "simulated",
        "width": 640,
        "height": 480,
        "rate_hz": options.rate,
        "exposure_us": 2000,
        "faults": FAULTS,
    }
    rig = {
        "name": "no-loss",
        "cameras": {f"cam{view}": {**camera, "view": view} for view in range(options.cameras)},
        "recording": {"codec": options.codec},
        "monitor": {"enabled": False},
    }
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        rig_path, report_path = Path(folder) / "rig.yaml", Path(folder) / "report.json"
        rig_path.write_text(yaml.safe_dump(rig))
        command = [
            sys.executable, "-c", "from ethostream.deploy.cli import main; main()", "run", str(rig_path), "--headless",
            "--seconds", str(options.seconds), "--out", folder, "--report", str(report_path),
        ]  # fmt: skip
        if options.task != "none":
            command += ["--task", options.task]
        status = subprocess.run(command, check=False).returncode
        report = json.loads(report_path.read_text())
        delivered: Counter[str] = Counter()
        headers: Counter[str] = Counter()
        seen: set[tuple[str, int, int]] = set()
        for logged in Recording.open(Path(report["recording"]["path"])).messages([FRAME, TRUTH]):
            message = logged.message
            if isinstance(message, FrameTruth):
                delivered[message.camera] += 1
            elif isinstance(message, FrameHeader):
                headers[message.camera] += 1
                seen.add((message.camera, message.epoch, message.seq))
        size_mb = sum(path.stat().st_size for path in Path(report["recording"]["path"]).rglob("*.*")) / 1e6
    result = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "command": " ".join(["python", "benchmarks/no_loss.py", *sys.argv[1:]]),
        "exit_status": status,
        "delivered_by_truth": sum(delivered.values()),
        "headers_recorded": sum(headers.values()),
        "distinct_frames": len(seen),
        "captured": sum(one["captured"] for one in report["cameras"].values()),
        "dropped_by_device": sum(one["dropped_device"] for one in report["cameras"].values()),
        "duplicates": sum(one["duplicates"] for one in report["cameras"].values()),
        "recording_mb": round(size_mb, 1),
        **{
            key: report[key]
            for key in ("seconds", "cameras", "sets", "recording", "latency_ms", "inference", "behavior")
        },
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return status


if __name__ == "__main__":
    sys.exit(main())
