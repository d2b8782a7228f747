"""The simulated cage on a whole rig: what a bundle says live, in the replay of that recording, and over the frames."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ethostream.acquisition.simulated_camera import render_session
from ethostream.inference.bundle import Bundle
from ethostream.streaming.messages import Behavior, FrameTruth
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import BEHAVIOR, TRUTH
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.training.answers.offline import run_offline
from ethostream.training.scores.frames import score
from numpy.typing import NDArray

COMMAND = [sys.executable, "-c", "from ethostream.deploy.entry import main; main()"]


def live_and_again(
    bundle: Bundle, seed: int, seconds: float, views: dict[str, int], size: tuple[int, int], folder: Path
) -> dict[str, Any]:
    """Run a rig with a camera per view, replay its recording, and run the bundle over the same frames.

    Args:
        bundle: loaded.
        seed: of the simulated session.
        seconds: of it.
        views: camera → number of its view, in joining order.
        size: width and height, pixels.
        folder: for the recording.
    """
    rate_hz = bundle.manifest.rate_hz
    camera = {"kind": "simulated", "width": size[0], "height": size[1], "rate_hz": rate_hz, "seed": seed}
    rig = {
        "name": "views",
        "cameras": {name: {**camera, "view": view} for name, view in views.items()},
        "recording": {"codec": "h264_lossless", "reserve_mb": 10},
        "monitor": {"enabled": False},
    }
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    (folder / "task.yaml").write_text(yaml.safe_dump({"bundle": str(bundle.path.resolve())}))
    where = ["--out", str(folder / "out"), "--headless"]
    call("run", str(folder / "rig.yaml"), "--task", str(folder / "task.yaml"), "--seconds", str(seconds), *where)
    [path] = [one.parent for one in (folder / "out").glob("*/recording.json")]
    call("replay", str(path), "--speed", "max", "--headless", "--report", str(folder / "replay.json"))
    replayed = json.loads((folder / "replay.json").read_text())["replay"]
    recording = Recording.open(path)
    answers = [one.message for one in recording.messages([BEHAVIOR]) if isinstance(one.message, Behavior)]
    truth: dict[int, str] = {}
    instants: dict[tuple[str, int, int], int] = {}
    for one in (logged.message for logged in recording.messages([TRUTH])):
        if isinstance(one, FrameTruth):
            truth[one.instant] = one.behavior
            instants[one.camera, one.epoch, one.seq] = one.instant
    at = [instants[one.sources[0].camera, one.sources[0].epoch, one.sources[0].seq] for one in answers]
    offline = over_frames(bundle, seed, max(at) + 1, list(views.values()), size, at[0])
    pairs = [(live, offline[instant]) for live, instant in zip(answers, at, strict=True)]
    same = [live.label == other.label for live, other in pairs]
    classes = bundle.manifest.classes
    known = np.array([classes.index(truth[instant]) for instant in at], np.int16)
    said = np.array([classes.index(one.label) if one.label else -1 for one in answers], np.int16)
    return {
        "views": len(views),
        "seed": seed,
        "seconds": seconds,
        "n_answers": len(answers),
        "n_complete": sum(one.status == "complete" for one in answers),
        "n_skipped": sum(one.n_skipped for one in answers),
        "balanced_accuracy": score(known, said, classes).balanced_accuracy,
        "replay": replayed,
        "same_label_over_frames": sum(same) / len(same),
        "same_probabilities_over_frames": sum(live.p == other.p for live, other in pairs) / len(pairs),
    }


def over_frames(
    bundle: Bundle, seed: int, n_frames: int, views: list[int], size: tuple[int, int], first: int
) -> dict[int, Behavior]:
    """What the bundle says of each instant when it is given frame after frame from instant ``first`` on."""
    rate_hz = bundle.manifest.rate_hz

    def frames() -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
        for k, (images, _) in enumerate(render_session(seed, n_frames, rate_hz, views, *size)):
            if k >= first:
                yield round(k * NS_PER_S / rate_hz), images

    shapes = {str(view): (size[1], size[0]) for view in views}
    answers = run_offline(bundle, shapes, rate_hz, frames(), RigClock(ClockAnchor.take()))
    return {first + k: one for k, one in enumerate(answers) if one is not None}


def call(*arguments: str) -> None:
    """An ethostream command that has to end well."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ethostream {arguments[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr}")
