"""A run from configuration to report: the live rig, and the replay of its recording."""

import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ..acquisition.camera import CameraFormat
from ..acquisition.kinds import make_camera
from ..inference.bundled import look_up
from ..inference.config import TaskConfig
from ..inference.node_config import InferenceNodeConfig
from ..inference.rules.engine import Rules
from ..inference.rules.yoked import with_seeds, with_times
from ..streaming.lsl_config import LslConfig
from ..streaming.messages import FrameSet
from ..streaming.process_config import ProcessConfig
from ..streaming.recording_config import LOSSLESS_16_BIT
from ..streaming.recording_reader import Recording
from ..streaming.time_config import TimeConfig
from ..streaming.verify import VerifyResult, verify
from ..streaming.wire import Received
from ..sync.clock import NS_PER_S, ClockAnchor, FakeClock, RigClock
from ..sync.errors import ConfigError, RecordingError, ReportError
from ..sync.strict import validate
from .config import BusConfig, RigConfig, RunConfig
from .kept_calibration import keep_calibrations, with_kept_calibrations
from .process_table import RECORDER, REPLAY, ProcessRow, live_table, replay_table
from .replay_comparison import LiveModel, ReplayComparison
from .report import RunReport, write_json
from .supervisor import Outcome, Supervisor, new_session_id

log = logging.getLogger(__name__)

_RATE_TOLERANCE = 0.01
_REPLAY_SLOTS = 32
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


@dataclass(frozen=True, slots=True)
class Part:
    """A run that goes on with a session.

    Attributes:
        folder: of its recording.
        session: id of the session.
        recorder: what the recorder is told of the part before.
    """

    folder: Path
    session: str
    recorder: dict[str, Any]


class _Follower:
    """Feeds the report and the display, and ends the run in time."""

    def __init__(self, report: RunReport, display: Display, clock: RigClock, seconds: float | None) -> None:
        self._report = report
        self._display = display
        self._clock = clock
        self._seconds = seconds
        self._first_set_ns: int | None = None
        self._first_partial_ns = 0

    def on_message(self, received: Received) -> None:
        message = received.message
        self._report.add(received.topic, message)
        self._display.on_message(received)
        if self._first_set_ns is None and isinstance(message, FrameSet):
            now = self._clock.now_ns()
            self._first_partial_ns = self._first_partial_ns or now
            if message.status == "complete" or now - self._first_partial_ns > _PATIENCE_S * NS_PER_S:
                self._first_set_ns = now

    def on_tick(self, phase: str) -> bool:
        self._display.on_tick(phase, self._report)
        if self._seconds is None or self._first_set_ns is None:
            return False
        return self._clock.now_ns() - self._first_set_ns >= self._seconds * NS_PER_S


class _Compared(AbstractContextManager[Display]):
    """A display that also compares what it sees with the live run."""

    def __init__(self, display: AbstractContextManager[Display], comparison: ReplayComparison) -> None:
        self._display = display
        self._comparison = comparison

    def __enter__(self) -> Display:
        self._shown = self._display.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._display.__exit__(*error)

    def on_message(self, received: Received) -> None:
        self._comparison.add(received.message)
        self._shown.on_message(received)

    def on_tick(self, phase: str, report: RunReport) -> None:
        self._shown.on_tick(phase, report)


def probe_formats(run: RunConfig) -> tuple[dict[str, CameraFormat], float]:
    """Open every camera once and ask what it delivers; returns the formats and their common rate in Hz.

    Raises:
        CameraOpenError: a camera is not there.
        ConfigError: the rates differ, so that no frame set could be complete; or a camera delivers 16-bit grey to what
            takes 8 bits.
    """
    formats: dict[str, CameraFormat] = {}
    for name, config in run.rig.cameras.items():
        camera = make_camera(name, config, FakeClock())
        try:
            formats[name] = camera.open()
        finally:
            camera.close()
    rates = [one.rate_hz for one in formats.values()]
    if max(rates) - min(rates) > _RATE_TOLERANCE * max(rates):
        listed = ", ".join(f"{name} {one.rate_hz:g} Hz" for name, one in formats.items())
        raise ConfigError(f"cameras of one rig need one frame rate: {listed}; set rate_hz so that they agree")
    for name, one in formats.items():
        if one.pixel_format == "mono16":
            _check_mono16(run, name)
    return formats, rates[0]


def _check_mono16(run: RunConfig, camera: str) -> None:
    """Nothing may squeeze 16-bit grey into 8 bits on its way."""
    recording, views, tracking, disparity = run.rig.recording, run.task.views, run.task.tracking, run.task.disparity
    if recording.enabled and recording.video and recording.codec not in LOSSLESS_16_BIT:
        codecs = " or ".join(sorted(LOSSLESS_16_BIT))
        raise ConfigError(
            f"recording.codec={recording.codec}: camera {camera} delivers mono16, which it cannot hold; set "
            f"recording.codec to {codecs}, or the camera's pixel_format to mono8"
        )
    if run.task.bundle is not None and (views is None or camera in views):
        raise ConfigError(
            f"bundle={run.task.bundle}: models see 8-bit images, and camera {camera} delivers mono16; set its "
            "pixel_format to mono8, or leave it out of the task's views"
        )
    pairs = [] if disparity is None else [name for view in disparity.views.values() for name in (view.left, view.right)]
    if camera in pairs or (tracking is not None and (tracking.views is None or camera in tracking.views)):
        key = "disparity" if camera in pairs else "tracking"
        raise ConfigError(
            f"{key}: takes 8-bit images, and camera {camera} delivers mono16; set its pixel_format to mono8, or leave "
            "it out there"
        )
    if run.rig.bus.pixels == "jpeg":
        raise ConfigError(
            f"bus.pixels=jpeg: camera {camera} delivers mono16, which JPEG cannot hold; set bus.pixels to ring or raw"
        )


def run_rig(
    run: RunConfig,
    display: AbstractContextManager[Display],
    seconds: float | None,
    out: Path,
    report_path: Path | None,
    part: Part | None = None,
    on_begin: Callable[[], None] | None = None,
) -> RunResult:
    """Run a rig until its sources end, ``seconds`` after the first complete set have passed, or Ctrl-C.

    Args:
        run: resolved configuration.
        display: shows the run.
        seconds: None: until stopped.
        out: folder in which the recording folder is made.
        report_path: where the report goes beside the recording's own ``report.json``.
        part: this run goes on with a session that has parts already; it then names the recording.
        on_begin: called once the folder of the recording is made.
    """
    run = run.model_copy(update={"task": fixed_task(run.task, again=part is not None)})
    formats, rate_hz = probe_formats(run)
    check_rules(run.task, run.rig, list(formats))
    _check_geometry(run.task, formats, rate_hz)
    session = new_session_id() if part is None else part.session
    clock = RigClock(ClockAnchor.take())
    if part is not None:
        folder = _make_folder(part.folder)
    else:
        folder = _recording_folder(out, run.rig.name, clock.now_ns(), session) if run.rig.recording.enabled else None
    if on_begin is not None:
        on_begin()
    if folder is not None:
        keep_calibrations(run.task, folder)
    rows = live_table(run, formats, rate_hz, None if folder is None else str(folder))
    if part is not None:
        rows = [replace(row, config={**row.config, **part.recorder}) if row.node == RECORDER else row for row in rows]
    report = RunReport("live", tuple(formats))
    outcome = _supervise(run, formats, rows, clock, session, report, display, seconds, folder)
    verified = None
    if folder is not None and (folder / "recording.json").exists():
        verified = verify(folder)
        report.set_verified(verified.ok)
        try:
            report.write(folder / "report.json")
        except ReportError as error:
            # A full disk must not take the report that goes elsewhere, nor the summary, with it.
            log.warning("%s", error)
    if report_path is not None:
        report.write(report_path)
    return RunResult(outcome, report.to_dict(), folder, verified)


def replay_rig(rig: RigConfig, monitor: bool) -> RigConfig:
    """The rig as a replay runs it: it speaks to nobody outside. No address but loopback, no keys, no streams."""
    bus = rig.bus.model_copy(update={"keys": None, "bind": BusConfig().bind})
    return rig.model_copy(
        update={
            "monitor": rig.monitor.model_copy(update={"enabled": monitor}),
            "bus": bus,
            "time": TimeConfig(),
            "lsl": LslConfig(),
            "process": ProcessConfig(),
        }
    )


def run_replay(
    recording_path: Path,
    display: AbstractContextManager[Display],
    speed: float | None,
    bundle: str | None,
    task: TaskConfig | None,
    monitor: bool,
    report_path: Path | None,
) -> RunResult:
    """Replay a recording through the same inference node and compare with what the live run decided.

    Args:
        recording_path: the folder.
        display: shows the run.
        speed: 1 is real time; None as fast as the model can.
        bundle: another model than the one that ran live.
        task: another task than the one that ran live.
        monitor: serve the monitor page.
        report_path: where the report goes.

    Raises:
        RecordingError: it is not a recording of this version, or was recorded without video.
    """
    recording = Recording.open(recording_path)
    recording.need_video("it cannot be replayed")
    run = validate(RunConfig, recording.info.config, f"{recording_path}/recording.json")
    live_task = with_kept_calibrations(run.task, recording_path.resolve())
    chosen = task or live_task
    if bundle is not None:
        chosen = chosen.model_copy(update={"bundle": Path(bundle)})
    chosen = fixed_task(chosen)
    check_rules(chosen, None, None)
    rig = replay_rig(run.rig, monitor)
    run = RunConfig(rig=rig, task=chosen, session=run.session)
    formats = {
        name: CameraFormat(one.width, one.height, one.pixel_format, one.rate_hz, "file")
        for name, one in recording.info.cameras.items()
    }
    live = LiveModel.read(recording)
    why_not = live.why_not_repeated(
        None if chosen.bundle is None else look_up(chosen.bundle)[1],
        same_task=chosen.model_dump(exclude={"bundle"}) == live_task.model_dump(exclude={"bundle"}),
    )
    exact = why_not is None
    rate_hz = next(iter(formats.values())).rate_hz
    _check_geometry(chosen, formats, rate_hz)
    rows = replay_table(
        run,
        formats,
        rate_hz,
        {
            "recording": str(recording_path.resolve()),
            "exact": exact,
            "speed": speed,
            "ring_slots": max(_REPLAY_SLOTS, run.rig.bus.ring_slots),
        },
    )
    session = new_session_id()
    clock = RigClock(ClockAnchor.take())
    report = RunReport("replay", tuple(formats))
    comparison = ReplayComparison(recording)
    compared = display if why_not is not None else _Compared(display, comparison)
    outcome = _supervise(run, formats, rows, clock, session, report, compared, None, None)
    result = report.to_dict()
    if why_not is not None:
        result["replay"] = {"exact": None, "why": why_not}
    elif outcome.reason not in ("sources ended", "failed"):
        result["replay"] = {"exact": None, "why": "stopped before its end"}
    elif outcome.messages_lost:
        result["replay"] = {"exact": None, "why": f"{outcome.messages_lost} messages were not seen; replay it slower"}
    else:
        comparison.finish()
        counters = result["nodes"].get(REPLAY, {}).get("counters", {})
        result["replay"] = comparison.to_dict(counters.get("unreplayable", 0), live.lossy)
    result["recording"]["path"] = str(recording_path)
    if report_path is not None:
        write_json(report_path, result)
    return RunResult(outcome, result, recording_path, None)


def fixed_task(task: TaskConfig, *, again: bool = False) -> TaskConfig:
    """The task with what a run fixes before it starts: seeds that were not given, and the times of yoked rules.

    ``again``: it is the task of a part before this one. Every seed is drawn anew: trials are counted from 0 again, and
    with the old seeds the animal would get the same shams in the same order.

    Raises:
        ConfigError, RecordingError: see `with_times`.
    """
    rules = [rule.model_copy(update={"seed": None}) for rule in task.rules] if again else task.rules
    rules = with_seeds(with_times(rules), lambda: secrets.randbits(32))
    return task.model_copy(update={"rules": rules})


def check_rules(task: TaskConfig, rig: RigConfig | None, cameras: Sequence[str] | None) -> None:
    """A rule that cannot be is better refused now than by a process in a minute."""
    if task.bundle is None:
        return
    views = None if cameras is None else [*(task.views or cameras), *(task.disparity.views if task.disparity else ())]
    Rules(
        task.rules,
        look_up(task.bundle)[0].classes,
        armed=False,
        zones=task.zones,
        arming=task.arming,
        views=views,
        tracked=task.tracking is not None,
    )
    line = task.arming.line
    if line is not None and rig is not None:
        inputs = [f"in{one}" for one in (rig.trigger.inputs if rig.trigger is not None else ())]
        if line.line not in inputs:
            raise ConfigError(
                f"arming.line.line {line.line!r}: the rig's board does not watch it "
                f"({', '.join(inputs) or 'no input'}); set trigger.inputs in the rig file"
            )


def _check_geometry(task: TaskConfig, formats: Mapping[str, CameraFormat], rate_hz: float) -> None:
    """Likewise a calibration that is not there, or that does not fit the cameras."""
    if task.tracking is None and task.disparity is None:
        return
    from ..inference.geometry import check_geometry

    views = {name: list(one.shape) for name, one in formats.items()}
    check_geometry(InferenceNodeConfig(task=task, views=views, rate_hz=rate_hz))


def _supervise(
    run: RunConfig,
    formats: Mapping[str, CameraFormat],
    rows: Sequence[ProcessRow],
    clock: RigClock,
    session: str,
    report: RunReport,
    display: AbstractContextManager[Display],
    seconds: float | None,
    folder: Path | None,
) -> Outcome:
    if run.task.bundle is not None:
        # The node refuses to run anywhere but on the provider that was asked for.
        report.set_inference(run.task.provider, str(run.task.bundle))
    about = {"rig": run.rig.name, "cameras": list(formats), "rate_hz": next(iter(formats.values())).rate_hz}
    frame_bytes = max(math.prod(one.shape) for one in formats.values())
    with display as shown:
        follower = _Follower(report, shown, clock, seconds)
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


def _recording_folder(out: Path, rig: str, t_ns: int, session: str) -> Path:
    stamp = datetime.fromtimestamp(t_ns / NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
    return _make_folder(out / f"{rig}_{stamp}_{session}")


def _make_folder(folder: Path) -> Path:
    try:
        # A part whose cameras did not come up has left a folder without a recording.
        folder.mkdir(parents=True, exist_ok=not (folder / "recording.json").exists())
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
    return folder.resolve()
