"""A session that goes on after a crash: a new part beside the old one, with its configuration, linked both ways."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..streaming.recording_info import INFO_FILE, read_info, write_info
from ..streaming.repair import OnProgress, needs_repair, repair
from ..sync.errors import RecordingError
from ..sync.strict import validate
from .attach import running_sessions
from .config import RunConfig
from .kept_calibration import with_kept_calibrations
from .rig_run import Part, run_rig
from .supervised_run import Display, RunResult

_PART = re.compile(r"\.part\d+$")


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """What `resume` will run.

    Attributes:
        run: the configuration of the part before, as it was resolved then.
        part: the new recording.
        repaired: the part before had to be repaired.
    """

    run: RunConfig
    part: Part
    repaired: bool


def plan_resume(recording: Path, on_progress: OnProgress | None = None) -> ResumePlan:
    """Repair the part before where it is torn, and say what the next part is. Nothing runs yet.

    Raises:
        RecordingError: it is not a recording, its session still runs, or it goes on in another part already.
    """
    old = recording.resolve()
    info = read_info(old)
    if any(card["session"] == info.session for _, card in running_sessions()):
        raise RecordingError(f"{recording}: its session {info.session} still runs on this machine; stop it first")
    base, number = _PART.sub("", old.name), info.part + 1
    new = old.with_name(f"{base}.part{number}")
    later = old.with_name(info.continued_by) if info.continued_by else new
    if (later / INFO_FILE).exists():
        raise RecordingError(f"{recording}: goes on in {later.name} already; resume that one")
    torn = needs_repair(old)
    if torn:
        repair(old, on_progress=on_progress)
        info = read_info(old)
    run = validate(RunConfig, info.config, f"{recording}/{INFO_FILE}")
    # The space of the session is the one that it began with, whatever lies at the old path now.
    run = run.model_copy(update={"task": with_kept_calibrations(run.task, old)})
    link: dict[str, Any] = {"continues": {"name": old.name, "t_last_ns": info.t_stop_ns}, "part": number}
    return ResumePlan(run, Part(new, info.session, link), torn)


def resume(
    recording: Path,
    plan: ResumePlan,
    display: AbstractContextManager[Display],
    seconds: float | None,
    report_path: Path | None,
) -> RunResult:
    """Run the next part; as `run_rig`, and the part before names this one from its start on."""
    old = recording.resolve()

    def link() -> None:
        write_info(old, read_info(old).model_copy(update={"continued_by": plan.part.folder.name}))

    return run_rig(plan.run, display, seconds, old.parent, report_path, part=plan.part, on_begin=link)
