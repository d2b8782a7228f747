"""What a person gets wrong, through the command line: a clear error, its exit status, and nothing left behind.

That no process, socket file or shared-memory segment is left is checked after every test (tests/leak_check.py).
"""

import json
import signal
import socket
import subprocess
import sys
import time  # noqa: TID251 - only to bound the wait for a real process
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ethostream.inference.bundled import resolve_bundle
from ethostream.streaming.ring import SHM

pytestmark = pytest.mark.timeout(300)
CLI = [sys.executable, "-c", "from ethostream.deploy.entry import main; main()"]


def rig_file(folder: Path, **options: Any) -> Path:
    cameras = options.pop("cameras", None) or {
        f"cam{view}": {"kind": "simulated", "view": view, "width": 320, "height": 240} for view in range(2)
    }
    path = folder / "rig.yaml"
    rig = {
        "name": "small",
        "cameras": cameras,
        "monitor": {"enabled": False},
        "recording": {"reserve_mb": 10},
        **options,
    }
    path.write_text(yaml.safe_dump(rig))
    return path


def cli(folder: Path, *arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [*CLI, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, cwd=folder, check=False
    )
    assert "Traceback" not in result.stderr + result.stdout, result.stderr + result.stdout
    return result


def words(result: subprocess.CompletedProcess[str]) -> str:
    return " ".join((result.stdout + result.stderr).split())


def test_an_unknown_key(tmp_path: Path) -> None:
    result = cli(tmp_path, "run", rig_file(tmp_path, framerate=60))
    assert result.returncode == 2
    assert "framerate: unknown key; remove it or check its spelling" in words(result)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "nothing.mp4"), (b"", "nothing.mp4"), (b"no video" * 99, "nothing.mp4")]
)
def test_a_video_that_is_missing_empty_or_none(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "nothing.mp4").write_bytes(content)
    rig = rig_file(tmp_path, cameras={"top": {"kind": "file", "path": "nothing.mp4"}})
    result = cli(tmp_path, "run", rig, "--seconds", "1", "--headless")
    assert result.returncode == 5, words(result)
    assert said in words(result)


def bundle_copy(folder: Path) -> Path:
    import shutil

    copy = folder / "bundle"
    shutil.copytree(resolve_bundle("demo"), copy)
    return copy


def task_file(folder: Path, bundle: Path, **options: Any) -> Path:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump({"bundle": str(bundle), **options}))
    return path


def test_a_bundle_file_that_was_changed(tmp_path: Path) -> None:
    bundle = bundle_copy(tmp_path)
    with (bundle / "head_step.onnx").open("ab") as file:
        file.write(b"x")
    result = cli(
        tmp_path, "run", rig_file(tmp_path), "--task", task_file(tmp_path, bundle), "--seconds", "1", "--headless"
    )
    assert result.returncode != 0
    assert "head_step.onnx" in words(result) and "sha256" in words(result)


def test_a_bundle_that_looks_ahead(tmp_path: Path) -> None:
    bundle = bundle_copy(tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["look_ahead_frames"] = 4
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    result = cli(
        tmp_path, "run", rig_file(tmp_path), "--task", task_file(tmp_path, bundle), "--seconds", "1", "--headless"
    )
    assert result.returncode != 0
    assert "look" in words(result) and "max_look_ahead_frames" in words(result)


def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    task = task_file(tmp_path, resolve_bundle("demo"), provider="cuda")
    result = cli(tmp_path, "run", rig_file(tmp_path), "--task", task, "--seconds", "1", "--headless")
    if result.returncode == 0:
        pytest.skip("a CUDA device is here")
    assert "ethostream[gpu]" in words(result)


def test_shared_memory_too_small(tmp_path: Path) -> None:
    """In a mount namespace of its own with 8 MiB of /dev/shm."""
    inside = f'mount -t tmpfs -o size=8m tmpfs {SHM} && exec "$@"'
    probe = subprocess.run(["unshare", "-m", "sh", "-c", inside, "sh", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"a mount namespace is refused here: {probe.stderr.decode().strip()}")
    command = [*CLI, "run", str(rig_file(tmp_path)), "--seconds", "1", "--headless"]
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, "sh", *command],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert result.returncode == 10
    assert "of shared memory" in words(result) and "bus.ring_slots" in words(result)
    assert "Traceback" not in result.stderr


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = cli(tmp_path, "run", rig_file(tmp_path, monitor={"port": port}), "--seconds", "1", "--headless")
        assert result.returncode != 0
        assert str(port) in words(result) and "monitor.port" in words(result)
        bus = {"transport": "tcp", "first_port": port}
        result = cli(tmp_path, "run", rig_file(tmp_path, bus=bus), "--seconds", "1", "--headless")
        assert result.returncode == 4
        assert f"127.0.0.1:{port}" in words(result)


def test_a_full_disk_stops_video_and_not_the_run(tmp_path: Path) -> None:
    """A small tmpfs: video stops cleanly with a declared gap, events go on, and the recording verifies."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is refused here: {mounted.stderr.decode().strip()}")
    try:
        rig = rig_file(tmp_path, recording={"codec": "raw", "reserve_mb": 8})
        result = cli(tmp_path, "run", rig, "--seconds", "8", "--headless", "--out", disk, "--report", "r.json")
        report = json.loads((tmp_path / "r.json").read_text())
        assert result.returncode == 0, words(result)
        assert report["recording"]["verified"] is True
        assert sum(camera["dropped_declared"] for camera in report["cameras"].values()) > 0
        assert "disk" in json.dumps(report["alarms"])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_recording_that_is_none(tmp_path: Path) -> None:
    for command in ("verify", "replay", "export"):
        result = cli(tmp_path, command, tmp_path)
        assert result.returncode == 8, words(result)
        assert "recording.json" in words(result)


@pytest.mark.parametrize("phase", ["import", "starting", "running", "stopping"])
def test_ctrl_c_in_every_phase(tmp_path: Path, phase: str) -> None:
    """No process and no segment is left, and what was recorded until then verifies."""
    rig = rig_file(tmp_path)
    task = task_file(tmp_path, resolve_bundle("demo"))
    seconds = "3" if phase == "stopping" else "60"
    command = [
        *CLI,
        "run",
        str(rig),
        "--task",
        str(task),
        "--headless",
        "--seconds",
        seconds,
        "--out",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    watched = psutil.Process(process.pid)
    family: set[psutil.Process] = set()
    wait_for_phase(watched, phase, tmp_path / "out", family)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=90)
    assert phase != "import" or process.returncode in (-signal.SIGINT, 130), said
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, "a process is left"
    assert "Traceback" not in said, said
    if phase in ("running", "stopping"):
        (recording,) = (tmp_path / "out").iterdir()
        assert process.returncode == 0, said
        assert cli(tmp_path, "verify", recording).returncode == 0


def wait_for_phase(watched: psutil.Process, phase: str, out: Path, family: set[psutil.Process]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        family |= set(watched.children(recursive=True))
        frames = [path for path in out.glob("*/cam0.*") if path.stat().st_size > 10_000] if out.exists() else []
        if phase == "import" and watched.memory_info().rss > 20_000_000:
            return
        if phase == "starting" and len(family) >= 2:
            return
        if phase == "running" and frames:
            return
        if phase == "stopping" and frames and not cameras_running(family):
            return
        time.sleep(0.01)
    raise AssertionError(f"the run never came to {phase}")


def cameras_running(family: set[psutil.Process]) -> bool:
    for child in family:
        try:
            if (
                child.is_running()
                and child.status() != psutil.STATUS_ZOMBIE
                and "camera.cam" in " ".join(child.cmdline())
            ):
                return True
        except psutil.NoSuchProcess:
            continue
    return False
