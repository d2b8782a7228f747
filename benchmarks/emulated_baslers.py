"""Is every frame of eight Basler cameras accounted for? pylon's emulator at 1080p60 through the whole rig.

    python benchmarks/emulated_baslers.py [--seconds 600] [--rate 60] [--cameras 8] [--json emulated_baslers.json]

Runs ``ethostream run`` on emulated cameras (mono8, 1920 x 1080), recording events and no video, and checks for each
camera: captured = delivered + declared. Captured is what the device numbered, delivered the headers in the recording,
declared the gaps that stand beside them. The emulator stamps no times, so this is about the account and not about sets.
Exit status 1 where a frame is undeclared.
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
from time import perf_counter  # noqa: TID251
from typing import Any

import psutil
import yaml
from ethostream.streaming.messages import FrameHeader, Gap, Heartbeat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import FRAME, GAP, HEARTBEAT
from ethostream.streaming.verify import verify

SAMPLE_S = 1.0


def rig(folder: Path, n_cameras: int, rate_hz: float) -> Path:
    camera = {
        "kind": "basler",
        "rate_hz": rate_hz,
        "exposure_us": 4000,
        "roi": {"width_px": 1920, "height_px": 1080},
    }
    config = {
        "name": "emulated-baslers",
        "cameras": {f"cam{i}": {**camera, "serial": f"0815-{i:04d}"} for i in range(n_cameras)},
        "recording": {"video": False},
        "monitor": {"enabled": False},
    }
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run_sampled(command: list[str], environment: dict[str, str]) -> tuple[int, dict[int, tuple[float, float]], float]:
    """Run a command; returns its status, and per process of it (CPU seconds, largest resident MiB), and the seconds."""
    began = perf_counter()
    child = subprocess.Popen(command, env=environment)
    seen: dict[int, tuple[float, float]] = {}
    root = psutil.Process(child.pid)
    while True:
        try:
            for process in [root, *root.children(recursive=True)]:
                try:
                    times = process.cpu_times()
                    memory = process.memory_info().rss / 2**20
                    seen[process.pid] = (times.user + times.system, max(memory, seen.get(process.pid, (0, 0))[1]))
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            pass
        try:
            return child.wait(SAMPLE_S), seen, perf_counter() - began
        except subprocess.TimeoutExpired:
            continue


def account(recording: Path) -> tuple[dict[str, dict[str, Any]], dict[int, str]]:
    """Per camera its frames, by the recording alone, and which process was which node."""
    seqs: dict[str, set[tuple[int, int]]] = {}
    times: dict[str, list[int]] = {}
    declared: Counter[str] = Counter()
    by_source: dict[str, Counter[str]] = {}
    nodes: dict[int, str] = {}
    for logged in Recording.open(recording).messages([FRAME, GAP, HEARTBEAT]):
        message = logged.message
        if isinstance(message, FrameHeader):
            seqs.setdefault(message.camera, set()).add((message.epoch, message.seq))
            times.setdefault(message.camera, []).append(message.t_received_ns)
        elif isinstance(message, Heartbeat):
            nodes[message.pid] = message.node
        elif isinstance(message, Gap) and message.source in ("device", "bus"):
            declared[message.camera] += message.n
            by_source.setdefault(message.camera, Counter())[message.source] += message.n
    result: dict[str, dict[str, Any]] = {}
    for camera, one in sorted(seqs.items()):
        epochs = {epoch for epoch, _ in one}
        captured = 0
        for epoch in epochs:
            own = [seq for e, seq in one if e == epoch]
            captured += max(own) - min(own) + 1
        received = times[camera]
        result[camera] = {
            "captured": captured,
            "delivered": len(one),
            "declared": declared[camera],
            "declared_by": dict(by_source.get(camera, {})),
            "undeclared": captured - len(one) - declared[camera],
            "restarts": len(epochs) - 1,
            "rate_hz": round((len(received) - 1) / ((received[-1] - received[0]) / 1e9), 3) if len(received) > 1 else 0,
        }
    return result, nodes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=60)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        report_path = folder / "report.json"
        command = [
            sys.executable, "-c", "from ethostream.deploy.cli import main; main()", "run",
            str(rig(folder, options.cameras, options.rate)), "--headless", "--seconds", str(options.seconds),
            "--out", str(folder), "--report", str(report_path),
        ]  # fmt: skip
        environment = {**os.environ, "PYLON_CAMEMU": str(options.cameras)}
        status, processes, wall_s = run_sampled(command, environment)
        report = json.loads(report_path.read_text())
        path = Path(report["recording"]["path"])
        cameras, nodes = account(path)
        verified = verify(path)
    undeclared = sum(one["undeclared"] for one in cameras.values())
    result = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "command": " ".join(["python", "benchmarks/emulated_baslers.py", *sys.argv[1:]]),
        "exit_status": status,
        "seconds": round(wall_s, 1),
        "frame": "1920x1080 mono8",
        "rate_hz": options.rate,
        "cameras": cameras,
        "total": {
            key: sum(one[key] for one in cameras.values())
            for key in ("captured", "delivered", "declared", "undeclared")
        },
        "verified": verified.ok,
        "verify_errors": verified.errors,
        "processes": {
            nodes.get(pid, "supervisor" if i == 0 else f"other.{pid}"): {
                "cpu_share": round(cpu_s / wall_s, 3),
                "peak_mib": round(mib, 1),
            }
            for i, (pid, (cpu_s, mib)) in enumerate(sorted(processes.items()))
        },
        "cpu_cores_used": round(sum(cpu_s for cpu_s, _ in processes.values()) / wall_s, 2),
        "sets": report["sets"],
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return int(status != 0 or undeclared != 0 or len(cameras) != options.cameras or not verified.ok)


if __name__ == "__main__":
    sys.exit(main())
