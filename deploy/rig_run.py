"""A live rig from configuration to report."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..streaming.verify import verify
from ..sync.clock import NS_PER_S, ClockAnchor, RigClock
from ..sync.errors import RecordingError, ReportError
from .config import RunConfig
from .kept_calibration import keep_calibrations
from .pose_checks import check_inputs, pose_source_of, probe_poses, views_of_pose
from .process_table import RECORDER, PosesOfRun, live_table
from .report import RunReport
from .run_checks import check_geometry, check_rules, fixed_task, probe_formats
from .supervised_run import Display, RunResult, supervise
from .supervisor import new_session_id

log = logging.getLogger(__name__)


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
    check_inputs(run.task, run.rig)
    found = probe_poses(run)
    poses = PosesOfRun(found, pose_source_of(run.task, found))
    rate_hz = rate_hz or next(iter(found.values())).rate_hz
    check_rules(run.task, run.rig, list(formats) if poses.model is None else views_of_pose(poses))
    check_geometry(run.task, formats, rate_hz)
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
    rows = live_table(run, formats, rate_hz, None if folder is None else str(folder), poses)
    if part is not None:
        rows = [replace(row, config={**row.config, **part.recorder}) if row.node == RECORDER else row for row in rows]
    report = RunReport("live", tuple(formats), tuple(found))
    outcome = supervise(run, formats, poses, rows, clock, session, report, display, seconds, folder)
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
