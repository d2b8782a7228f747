"""What does ``kill -9`` cost? Random processes of a running rig are killed at random instants, and the rest is read.

    python benchmarks/kill.py [--n 100] [--seed 1] [--json kill.json]

Each rig has two simulated cameras, the bundled model, a recorder, a monitor and its supervisor. Cameras, inference and
monitor are killed in the middle of a run, which goes on; a kill of recorder or supervisor ends it. Beside the rig this
program hears every frame header, so that it knows which frames were there before the kill. Then the recording is
opened, repaired and verified. ``seconds_lost`` of a kill is the age, at the kill, of the oldest frame that was
published before it, is not in the repaired recording, and had not been declared as lost before. ``newer_kept`` counts
frames of the same camera that were published after a lost one and are there: 0, since only the end may be missing.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic  # noqa: TID251
from typing import Any

import psutil
import yaml
from ethostream.streaming.context import open_context
from ethostream.streaming.frame_evidence import TORN, CameraEvidence
from ethostream.streaming.messages import FrameHeader, RecordingStatus
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.repair import repair
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, GAP, RECORDING
from ethostream.streaming.verify import verify
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.errors import EthostreamError

CAMERAS = ("cam0", "cam1")
GOES_ON = ("camera.cam0", "camera.cam1", "inference", "monitor")
ENDS = ("recorder", "supervisor")
CODECS = ("h264", "h264_lossless", "ffv1", "raw")
MAX_PER_RIG = 4
PATIENCE_S = 120.0


@dataclass
class Kill:
    """One kill, and what it cost."""

    rig: int
    codec: str
    victim: str
    at_s: float
    t_ns: int
    n_published: int
    n_lost: int = 0
    seconds_lost: float = 0.0
    newer_kept: int = 0


@dataclass
class Rig:
    """One rig over its life."""

    number: int
    codec: str
    kills: list[Kill] = field(default_factory=list)
    opened: bool = False
    state: str = ""
    verified: bool = False
    undeclared: int = 0
    device_frames: int = 0
    written: int = 0
    declared: int = 0
    away: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", nargs="*", help="kill these in this order instead of random ones")
    parser.add_argument("--no-model", action="store_true", help="without the bundled model: quicker to start")
    parser.add_argument("--keep", type=Path, help="folder to keep the recordings in")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rigs: list[Rig] = []
    planned: list[str] = list(options.victims or ())
    left = len(planned) or options.n
    with tempfile.TemporaryDirectory() as folder:
        while left > 0:
            if options.victims:
                victims = [planned.pop(0)]
                while planned and victims[-1] not in ENDS:
                    victims.append(planned.pop(0))
            else:
                victims = draw(rng, left)
            rig = run(Path(folder) / f"rig{len(rigs)}", len(rigs), victims, rng, options)
            rigs.append(rig)
            left -= len(victims)
            print(
                f"rig {rig.number}: {', '.join(f'{one.victim} {one.seconds_lost:.3f} s' for one in rig.kills)}; "
                f"{rig.state}, verified {rig.verified}",
                file=sys.stderr,
            )
    result = summary(rigs, options.seed)
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        print(text)
    return 0 if result["all_verified"] and result["max_seconds_lost"] <= 1.0 else 1


def draw(rng: random.Random, left: int) -> list[str]:
    """Victims of one rig: until one of them ends it."""
    victims: list[str] = []
    while len(victims) < min(left, MAX_PER_RIG):
        victims.append(rng.choice((*GOES_ON, *ENDS)))
        if victims[-1] in ENDS:
            break
    return victims


def run(folder: Path, number: int, victims: list[str], rng: random.Random, options: argparse.Namespace) -> Rig:
    """One rig: start it, kill, end it, read what is left."""
    folder.mkdir()
    rig = Rig(number, rng.choice(CODECS))
    rig_file = {
        "name": "kill",
        "cameras": {
            name: {"kind": "simulated", "view": view, "width": 160, "height": 120, "rate_hz": 30, "seed": number}
            for view, name in enumerate(CAMERAS)
        },
        "recording": {"codec": rig.codec, "reserve_mb": 10},
        "monitor": {"port": 0, "enabled": "monitor" in victims},
    }
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig_file))
    (folder / "task.yaml").write_text(yaml.safe_dump({} if options.no_model else {"bundle": "demo"}))
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [
        sys.executable, "-c", "from ethostream.deploy.cli import main; main()", "run", str(folder / "rig.yaml"),
        "--task", str(folder / "task.yaml"), "--headless", "--out", str(folder / "out"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        supervisor = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            heard = watch(folder, supervisor, victims, rng, rig)
        finally:
            end(supervisor, folder)
    (recording,) = (folder / "out").iterdir()
    judge(recording, rig, heard)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        shutil.copytree(recording, options.keep / f"rig{number}")
    shutil.rmtree(folder)
    return rig


def until(what: Callable[[], Any], supervisor: subprocess.Popen[bytes], folder: Path, words: str) -> Any:
    """Ask again until there is an answer."""
    deadline = monotonic() + PATIENCE_S
    while not (answer := what()):
        if supervisor.poll() is not None or monotonic() > deadline:
            raise SystemExit(f"the rig never {words}:\n{(folder / 'log').read_text()}")
        supervisor_wait(supervisor, 0.02)
    return answer


def supervisor_wait(supervisor: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        supervisor.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def read_card(folder: Path) -> dict[str, Any] | None:
    for path in folder.glob("ethostream-*/session.json"):
        try:
            return json.loads(path.read_text())
        except ValueError:
            return None
    return None


def watch(
    folder: Path, supervisor: subprocess.Popen[bytes], victims: list[str], rng: random.Random, rig: Rig
) -> list[list[FrameHeader]]:
    """Hear all headers, kill each victim in turn; what was heard before each kill."""
    card = until(lambda: read_card(folder), supervisor, folder, "said where it is")
    clock = RigClock(ClockAnchor(card["anchor_utc_ns"], card["anchor_monotonic_ns"]))
    context = open_context()
    published: list[FrameHeader] = []
    heard: list[list[FrameHeader]] = []
    recording = False
    endpoints = [one for name, one in card["endpoints"].items() if name.startswith("camera.") or name == "recorder"]
    with EverySubscriber(context, endpoints, [FRAME, RECORDING]) as bus:

        def listen(seconds: float) -> None:
            nonlocal recording
            deadline = clock.now_ns() + round(seconds * NS_PER_S)
            while (left := deadline - clock.now_ns()) > 0:
                for one in bus.receive(min(20, left // 1_000_000 + 1)):
                    if isinstance(one.message, FrameHeader):
                        published.append(one.message)
                    recording = recording or isinstance(one.message, RecordingStatus)

        def recorded() -> bool:
            listen(0.05)
            return recording

        until(recorded, supervisor, folder, "began to record")
        for victim in victims:
            listen(rng.uniform(0.05, 1.5))
            pid = until(lambda name=victim: find(supervisor, name) or listen(0.05), supervisor, folder, f"ran {victim}")
            os.kill(pid, signal.SIGKILL)
            now = clock.now_ns()
            listen(0.3)  # what was on its way
            before = [one for one in published if one.t_received_ns <= now]
            heard.append(before)
            at_s = (now - published[0].t_exposure_ns) / NS_PER_S
            rig.kills.append(Kill(rig.number, rig.codec, victim, round(at_s, 3), now, len(before)))
    context.term()
    return heard


def find(supervisor: subprocess.Popen[bytes], victim: str) -> int | None:
    """The process of a node, None while it waits for its next start."""
    if victim == "supervisor":
        return supervisor.pid
    try:
        children = psutil.Process(supervisor.pid).children()
    except psutil.NoSuchProcess:
        return None
    for child in children:
        try:
            if Path(child.cmdline()[-1]).name == f"{victim}.json" and child.status() != psutil.STATUS_ZOMBIE:
                return child.pid
        except (psutil.NoSuchProcess, IndexError):
            continue
    return None


def end(supervisor: subprocess.Popen[bytes], folder: Path) -> None:
    """Ctrl-C where it still runs; then every process of the rig has to go by itself."""
    if supervisor.poll() is None:
        top = psutil.Process(supervisor.pid)
        processes = [top, *top.children(recursive=True)]
        supervisor.send_signal(signal.SIGINT)
    else:
        processes = [
            one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())
        ]
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    outlived = [f"process {one.pid} outlived its rig: {one.cmdline()}" for one in alive]
    for one in alive:
        one.kill()
    if outlived:
        raise SystemExit("\n".join(outlived))


def judge(path: Path, rig: Rig, heard: list[list[FrameHeader]]) -> None:
    """Open, repair, verify; then look for each frame that was published before each kill."""
    try:
        rig.opened = sum(1 for _ in Recording.open(path).messages()) > 0
        for camera in CAMERAS:
            for _ in Recording.open(path).frames(camera):
                pass
        rig.state = repair(path).state
        found = verify(path, decode=True)
    except EthostreamError as error:
        rig.errors.append(str(error))
        return
    rig.verified = found.ok
    rig.errors += found.errors
    for one in found.cameras.values():
        rig.undeclared += one.undeclared
        rig.device_frames += one.n_device
        rig.written += one.written
        rig.declared += sum(one.declared.values())
        rig.away += one.away
    recording = Recording.open(path)
    evidence = {name: CameraEvidence() for name in CAMERAS}
    for logged in recording.messages([FRAME, GAP, CAMERA_STATUS]):
        evidence[logged.camera].add(logged)
    for name in CAMERAS:
        evidence[name].gaps[TORN].clear()
    there = {(name, one.epoch, one.seq) for name in CAMERAS for one, _ in recording.frames(name)}
    for kill, before in zip(rig.kills, heard, strict=True):
        lost = [
            one
            for one in before
            if (one.camera, one.epoch, one.seq) not in there and not declared_live(recording, evidence[one.camera], one)
        ]
        kill.n_lost = len(lost)
        oldest = {one.camera: one for one in reversed(lost)}
        kill.newer_kept = sum(
            (one.camera, one.epoch, one.seq) in there
            for one in before
            if one.camera in oldest and (one.epoch, one.seq) > (oldest[one.camera].epoch, oldest[one.camera].seq)
        )
        kill.seconds_lost = round(max((kill.t_ns - one.t_exposure_ns for one in lost), default=0) / NS_PER_S, 4)


def declared_live(recording: Recording, evidence: CameraEvidence, header: FrameHeader) -> bool:
    """The recorder itself had said that this frame is not in the video, and why."""
    note = recording.info.repaired
    runs = [] if note is None else note.missing.get(header.camera, [])
    if any(run.epoch == header.epoch and run.first_seq <= header.seq < run.first_seq + run.n for run in runs):
        return False
    kinds = (evidence.index.lost, evidence.gaps["bus"])
    return any(header.epoch in kind and header.seq in kind[header.epoch] for kind in kinds)


def summary(rigs: list[Rig], seed: int) -> dict[str, Any]:
    kills = [one for rig in rigs for one in rig.kills]
    by_victim: dict[str, dict[str, Any]] = {}
    for victim in sorted({one.victim for one in kills}):
        lost = sorted(one.seconds_lost for one in kills if one.victim == victim)
        by_victim[victim] = {"n": len(lost), "median_seconds_lost": lost[len(lost) // 2], "max_seconds_lost": lost[-1]}
    return {
        "seed": seed,
        "kills": len(kills),
        "rigs": len(rigs),
        "max_seconds_lost": max(one.seconds_lost for one in kills),
        "by_victim": by_victim,
        "opened": sum(rig.opened for rig in rigs),
        "repaired": Counter(rig.state for rig in rigs),
        "verified": sum(rig.verified for rig in rigs),
        "all_verified": all(rig.verified for rig in rigs),
        "undeclared": sum(rig.undeclared for rig in rigs),
        "device_frames": sum(rig.device_frames for rig in rigs),
        "written_plus_declared": sum(rig.written + rig.declared for rig in rigs),
        "away_frames": sum(rig.away for rig in rigs),
        "errors": [error for rig in rigs for error in rig.errors],
        "each": [asdict(one) for one in kills],
    }


if __name__ == "__main__":
    sys.exit(main())
