"""The calibrations of a task, copied into its recording: a replay years later sees the space that the live run saw."""

from pathlib import Path

from ..inference.config import TaskConfig
from ..streaming.durable import write_atomically
from ..sync.errors import RecordingError

_NAMES = {"tracking": "tracking_calibration.toml", "disparity": "disparity_calibration.toml"}
"""Part of the task → its file in the recording."""


def keep_calibrations(task: TaskConfig, recording: Path) -> None:
    """Copy them into the folder of a recording.

    Raises:
        RecordingError: one cannot be copied.
    """
    for part, name in _NAMES.items():
        options = getattr(task, part)
        if options is None:
            continue
        try:
            write_atomically(recording / name, options.calibration.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecordingError(
                f"{recording / name}: {options.calibration} cannot be copied there ({error.strerror}); make room, or "
                "check its rights"
            ) from error


def with_kept_calibrations(task: TaskConfig, recording: Path) -> TaskConfig:
    """The recorded task with the calibrations that its recording keeps, where it does."""
    kept = {
        part: getattr(task, part).model_copy(update={"calibration": recording / name})
        for part, name in _NAMES.items()
        if getattr(task, part) is not None and (recording / name).is_file()
    }
    return task.model_copy(update=kept)
