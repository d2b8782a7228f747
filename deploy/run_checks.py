"""Before any process of a run starts: what it fixes, and what is better refused now than by a process in a minute."""

import secrets
from collections.abc import Mapping, Sequence

from ..acquisition.camera import CameraFormat
from ..acquisition.kinds import make_camera
from ..inference.bundled import look_up
from ..inference.config import TaskConfig
from ..inference.node_config import InferenceNodeConfig
from ..inference.rules.engine import Rules
from ..inference.rules.yoked import with_seeds, with_times
from ..streaming.recording_config import LOSSLESS_16_BIT
from ..sync.clock import FakeClock
from ..sync.errors import ConfigError
from .config import RigConfig, RunConfig
from .pose_checks import takes_pose

_RATE_TOLERANCE = 0.01


def probe_formats(run: RunConfig) -> tuple[dict[str, CameraFormat], float]:
    """Open every camera once and ask what it delivers; returns the formats and their common rate in Hz, 0 without any.

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
    rates = [one.rate_hz for one in formats.values()] or [0.0]
    if max(rates) - min(rates) > _RATE_TOLERANCE * max(rates):
        listed = ", ".join(f"{name} {one.rate_hz:g} Hz" for name, one in formats.items())
        raise ConfigError(f"cameras of one rig need one frame rate: {listed}; set rate_hz so that they agree")
    check_pixels(run, formats)
    return formats, rates[0]


def check_pixels(run: RunConfig, formats: Mapping[str, CameraFormat]) -> None:
    """Whether all that looks at frames takes what the cameras deliver.

    Raises:
        ConfigError: a camera delivers 16-bit grey to what takes 8 bits.
    """
    for name, one in formats.items():
        if one.pixel_format == "mono16":
            _check_mono16(run, name)


def _check_mono16(run: RunConfig, camera: str) -> None:
    """Nothing may squeeze 16-bit grey into 8 bits on its way."""
    recording, views, tracking, disparity = run.rig.recording, run.task.views, run.task.tracking, run.task.disparity
    if recording.enabled and recording.video and recording.codec not in LOSSLESS_16_BIT:
        codecs = " or ".join(sorted(LOSSLESS_16_BIT))
        raise ConfigError(
            f"recording.codec={recording.codec}: camera {camera} delivers mono16, which it cannot hold; set "
            f"recording.codec to {codecs}, or the camera's pixel_format to mono8"
        )
    looks_at_frames = run.task.bundle is not None and not takes_pose(run.task)
    if looks_at_frames and (views is None or camera in views):
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


def check_geometry(task: TaskConfig, formats: Mapping[str, CameraFormat], rate_hz: float) -> None:
    """A calibration that is not there, or that does not fit the cameras, is refused likewise."""
    if task.tracking is None and task.disparity is None:
        return
    from ..inference.geometry import check_geometry as check_calibrations

    views = {name: list(one.shape) for name, one in formats.items()}
    check_calibrations(InferenceNodeConfig(task=task, views=views, rate_hz=rate_hz))
