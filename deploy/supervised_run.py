"""A run under its supervisor, shown while it goes on; the same for a live rig and for a replay."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..acquisition.camera import CameraFormat
from ..streaming.messages import FrameSet, Pose
from ..streaming.verify import VerifyResult
from ..streaming.wire import Received
from ..sync.clock import NS_PER_S, RigClock
from .config import RunConfig
from .process_table import PosesOfRun, ProcessRow
from .report import RunReport
from .supervisor import Outcome, Supervisor

_PATIENCE_S = 10.0
"""Where no set is complete for this long, the run's seconds count from the first partial one."""


class Display(Protocol):
    """What shows a run while it goes on."""

    def on_message(self, received: Received) -> None: ...

    def on_tick(self, phase: str, report: RunReport) -> None: ...


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run leaves behind."""

    outcome: Outcome
    report: dict[str, Any]
    recording: Path | None
    verified: VerifyResult | None


class _Follower:
    """Feeds the report and the display, and ends the run in time."""

    def __init__(
        self, report: RunReport, display: Display, clock: RigClock, seconds: float | None, *, cameras: bool
    ) -> None:
        self._report = report
        self._cameras = cameras
        self._display = display
        self._clock = clock
        self._seconds = seconds
        self._first_set_ns: int | None = None
        self._first_partial_ns = 0

    def on_message(self, received: Received) -> None:
        message = received.message
        self._report.add(received.topic, message)
        self._display.on_message(received)
        if self._first_set_ns is not None:
            return
        if isinstance(message, Pose) and not self._cameras:
            self._first_set_ns = self._clock.now_ns()
        elif isinstance(message, FrameSet):
            now = self._clock.now_ns()
            self._first_partial_ns = self._first_partial_ns or now
            if message.status == "complete" or now - self._first_partial_ns > _PATIENCE_S * NS_PER_S:
                self._first_set_ns = now

    def on_tick(self, phase: str) -> bool:
        self._display.on_tick(phase, self._report)
        if self._seconds is None or self._first_set_ns is None:
            return False
        return self._clock.now_ns() - self._first_set_ns >= self._seconds * NS_PER_S


def supervise(
    run: RunConfig,
    formats: Mapping[str, CameraFormat],
    poses: PosesOfRun,
    rows: Sequence[ProcessRow],
    clock: RigClock,
    session: str,
    report: RunReport,
    display: AbstractContextManager[Display],
    seconds: float | None,
    folder: Path | None,
) -> Outcome:
    """Start the processes of ``rows``, feed ``report`` and ``display`` with what they say, and end with them.

    Args:
        run: resolved configuration.
        formats: of every camera.
        poses: the pose sources.
        rows: of the process table.
        clock: rig time of this session.
        session: its id.
        report: filled here.
        display: shows the run.
        seconds: after the first complete set, without cameras after the first pose; None: until the sources end or
            somebody stops it.
        folder: of the recording, for the logs of the processes.
    """
    if run.task.bundle is not None:
        # The node refuses to run anywhere but on the provider that was asked for.
        report.set_inference(run.task.provider, str(run.task.bundle))
    rates = [one.rate_hz for one in (*formats.values(), *poses.formats.values())]
    about = {"rig": run.rig.name, "cameras": list(formats), "poses": list(poses.formats), "rate_hz": rates[0]}
    frame_bytes = max((math.prod(one.shape) for one in formats.values()), default=0)
    with display as shown:
        follower = _Follower(report, shown, clock, seconds, cameras=bool(formats))
        supervisor = Supervisor(
            rows,
            clock,
            session,
            follower,
            log_folder=None if folder is None else folder / "logs",
            first_port=run.rig.bus.first_port if run.rig.bus.transport == "tcp" else None,
            about=about,
            bind=run.rig.bus.bind,
            keys=run.rig.bus.keys,
            pixels_in_messages=frame_bytes if run.rig.bus.pixels != "ring" else 0,
        )
        outcome = supervisor.run()
    report.set_messages_lost(outcome.messages_lost)
    return outcome
