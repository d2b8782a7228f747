"""Every kind of camera that a rig file can name."""

from typing import Annotated

from pydantic import Field

from ..sync.clock import Clock
from .basler_camera import BaslerCamera
from .basler_config import BaslerCameraConfig, HardwareTrigger
from .camera import Camera
from .file_camera import FileCamera, FileCameraConfig
from .genicam_camera import GenicamCamera, GenicamCameraConfig
from .opencv_camera import OpencvCamera, OpencvCameraConfig
from .simulated_camera import SimulatedCamera, SimulatedCameraConfig

CameraConfig = Annotated[
    SimulatedCameraConfig | FileCameraConfig | BaslerCameraConfig | GenicamCameraConfig | OpencvCameraConfig,
    Field(discriminator="kind"),
]
"""Settings of one camera; ``kind`` says which."""


def follows_pulses(config: CameraConfig) -> bool:
    """Whether a camera of these settings begins its exposures at pulses on a line of its own."""
    match config:
        case BaslerCameraConfig():
            return isinstance(config.trigger, HardwareTrigger)
        case GenicamCameraConfig():
            return config.trigger is not None
        case SimulatedCameraConfig() | FileCameraConfig() | OpencvCameraConfig():
            return False  # a simulated camera counts pulses of its own making


def make_camera(
    name: str,
    config: SimulatedCameraConfig | FileCameraConfig | BaslerCameraConfig | GenicamCameraConfig | OpencvCameraConfig,
    clock: Clock,
) -> Camera:
    """The camera ``name`` for its settings, not yet open."""
    match config:
        case SimulatedCameraConfig():
            return SimulatedCamera(name, config, clock)
        case FileCameraConfig():
            return FileCamera(name, config, clock)
        case BaslerCameraConfig():
            return BaslerCamera(name, config, clock)
        case GenicamCameraConfig():
            return GenicamCamera(name, config, clock)
        case OpencvCameraConfig():
            return OpencvCamera(name, config, clock)
