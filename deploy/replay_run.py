"""The replay of a recording: the same sets through the same inference, compared with the live run."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..acquisition.camera import CameraFormat
from ..inference.bundled import look_up
from ..inference.config import TaskConfig
from ..streaming.lsl_config import LslConfig
from ..streaming.process_config import ProcessConfig
from ..streaming.recording_reader import Recording
from ..streaming.time_config import TimeConfig
from ..streaming.wire import Received
from ..sync.clock import ClockAnchor, RigClock
from ..sync.strict import validate
from .config import BusConfig, RigConfig, RunConfig
from .kept_calibration import with_kept_calibrations
from .pose_checks import check_inputs, pose_source_of
from .process_table import REPLAY, PosesOfRun, replay_table
from .replay_comparison import LiveModel, ReplayComparison
from .report import RunReport, write_json
from .run_checks import check_geometry, check_rules, fixed_task
from .supervised_run import Display, RunResult, supervise
from .supervisor import new_session_id

_REPLAY_SLOTS = 32
_CANNOT = "it cannot be replayed"


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


def replay_rig(rig: RigConfig, monitor: bool) -> RigConfig:
    """The rig as a replay runs it: it speaks to nobody outside. No address but loopback, no keys, no streams."""
    bus = rig.bus.model_copy(update={"keys": None, "bind": BusConfig().bind})
    return rig.model_copy(
        update={
            "monitor": rig.monitor.model_copy(update={"enabled": monitor}),
            "bus": bus,
            "time": TimeConfig(),
            "remote_model": None,
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
        RecordingError: it is not a recording of this version, or was recorded without video, which the model looks at.
    """
    recording = Recording.open(recording_path)
    if not recording.info.poses:
        recording.need_video(_CANNOT)
    run = validate(RunConfig, recording.info.config, f"{recording_path}/recording.json")
    live_task = with_kept_calibrations(run.task, recording_path.resolve())
    chosen = task or live_task
    if bundle is not None:
        chosen = chosen.model_copy(update={"bundle": Path(bundle)})
    chosen = fixed_task(chosen)
    check_rules(chosen, None, None)
    rig = replay_rig(run.rig, monitor)
    check_inputs(chosen, rig)
    poses = PosesOfRun(recording.info.poses, pose_source_of(chosen, recording.info.poses))
    if poses.model is None:
        recording.need_video(_CANNOT)
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
    rate_hz = next(one.rate_hz for one in (*formats.values(), *poses.formats.values()))
    check_geometry(chosen, formats, rate_hz)
    rows = replay_table(
        run,
        formats,
        rate_hz,
        {
            "recording": str(recording_path.resolve()),
            "exact": exact,
            "speed": speed,
            "ring_slots": max(_REPLAY_SLOTS, run.rig.bus.ring_slots),
            "pose": poses.model,
            "frames": poses.model is None or monitor,
        },
        poses,
    )
    session = new_session_id()
    clock = RigClock(ClockAnchor.take())
    report = RunReport("replay", tuple(formats), tuple(poses.formats))
    comparison = ReplayComparison(recording)
    compared = display if why_not is not None else _Compared(display, comparison)
    outcome = supervise(run, formats, poses, rows, clock, session, report, compared, None, None)
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
        lossy = live.lossy if poses.model is None else ()
        result["replay"] = comparison.to_dict(counters.get("unreplayable", 0), lossy)
    result["recording"]["path"] = str(recording_path)
    if report_path is not None:
        write_json(report_path, result)
    return RunResult(outcome, result, recording_path, None)
