"""A rig and the host of its model: real processes, CURVE keys, and a cable that can be cut."""

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ethostream.deploy.config import load_run
from ethostream.deploy.rig_run import run_rig
from ethostream.deploy.supervised_run import RunResult
from ethostream.streaming.keys import allow_key, make_keys
from ethostream.streaming.messages import Arming, Behavior, Decision, Message
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import ARMING
from ethostream.streaming.wire import Received
from ethostream.sync.clock import ClockAnchor, RigClock
from free_ports import free_ports
from live_rig import write_files
from run_end import LIMIT_S, RING_SLOTS
from small_rig import Quiet

FORWARD = Path(__file__).parent / "nodes" / "tcp_forward.py"
ENDS = ("crops", "time", "model")
N_BEFORE = 40
"""Behaviours before anything is done to a link or a process."""


class TwoHosts:
    """Keys of a rig's and of a model's host, the cable between them, and the model's process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for me in ("rig", "gpu"):
            make_keys(folder / me, me)
        allow_key(folder / "rig", folder / "gpu" / "gpu.key")
        allow_key(folder / "gpu", folder / "rig" / "rig.key")
        ports = free_ports(2 * len(ENDS))
        self.near = dict(zip(ENDS, ports[: len(ENDS)], strict=True))
        self.far = dict(zip(ENDS, ports[len(ENDS) :], strict=True))
        """The same three through the cable."""
        self.clock = RigClock(ClockAnchor.take())
        """Near rig time: both go on from the same clocks."""
        self.cable: subprocess.Popen[str] | None = None
        self.plug_in()
        self.model = self._start_model()

    def plug_in(self) -> None:
        pairs = [f"{self.far[end]}:{self.near[end]}" for end in ENDS]
        self.cable = subprocess.Popen([sys.executable, str(FORWARD), *pairs], stdout=subprocess.PIPE, text=True)
        assert self.cable.stdout is not None
        assert self.cable.stdout.readline() == "ready\n"

    def cut(self) -> None:
        assert self.cable is not None and self.cable.stdout is not None
        self.cable.kill()
        self.cable.wait()
        self.cable.stdout.close()
        self.cable = None

    def _start_model(self) -> "subprocess.Popen[bytes]":
        addresses = [
            *("--crops", f"tcp://127.0.0.1:{self.far['crops']}", "--time", f"tcp://127.0.0.1:{self.far['time']}"),
            *("--publish", f"tcp://127.0.0.1:{self.near['model']}"),
        ]
        command = [sys.executable, "-c", "from ethostream.deploy.entry import main; main()", "infer", *addresses]
        with (self.folder / "model.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--keys", str(self.folder / "gpu"), "--once"], stdout=log, stderr=subprocess.STDOUT
            )

    def rig(self, **parts: Any) -> tuple[Path, Path]:
        remote = {
            "crops": f"tcp://127.0.0.1:{self.near['crops']}",
            "model": f"tcp://127.0.0.1:{self.far['model']}",
        }
        time = {"serve": f"tcp://127.0.0.1:{self.near['time']}"}
        bus = {"keys": str(self.folder / "rig"), "ring_slots": RING_SLOTS}
        return write_files(self.folder, remote_model=remote, time=time, bus=bus, **parts)

    def run(self, act: Callable[[Received], None]) -> RunResult:
        """Until ``act`` ends it."""
        rig, task = self.rig()
        result = run_rig(load_run(rig, task), Quiet(act), LIMIT_S, self.folder / "out", None)
        assert result.outcome.reason == "interrupted", f"{result.outcome}\n{self.said()}"
        return result

    def said(self) -> str:
        """The model's log."""
        return (self.folder / "model.log").read_text()

    def change_model(self) -> None:
        """Another process takes over from the one that has gone."""
        self.model.wait(30)
        self.model = self._start_model()

    def close(self) -> None:
        if self.cable is not None:
            self.cut()
        if self.model.poll() is None:
            self.model.send_signal(signal.SIGCONT)  # one that stands still does not hear that it shall end
            self.model.terminate()
        try:
            self.model.wait(30)
        except subprocess.TimeoutExpired:
            self.model.kill()
            self.model.wait()


class Begun:
    """Whether there are enough behaviours, and a rule has fired; none does any more where the link was lost already."""

    def __init__(self) -> None:
        self._n_behaviors = 0
        self._fired = False

    def __call__(self, message: Message) -> bool:
        self._n_behaviors += isinstance(message, Behavior)
        self._fired |= isinstance(message, Decision) and message.action == "fired"
        self._fired |= isinstance(message, Arming) and message.by == "link"
        return self._fired and self._n_behaviors >= N_BEFORE


def recorded(result: RunResult, *topics: Any) -> list[Any]:
    """Messages of these topics."""
    assert result.recording is not None
    return [one.message for one in Recording.open(result.recording).messages(topics)]


def link_lost(result: RunResult, before_ns: float = math.inf) -> bool:
    """Whether the link was silent for two seconds: where nobody cut it, a process was held up for so long."""
    return any(one.by == "link" and one.t_ns < before_ns for one in recorded(result, ARMING))
