"""What `ethostream cameras` shows of a camera: its lines for the rig file, and one picture."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from ..acquisition.camera import CameraFormat, EndOfStream
from ..acquisition.discovery import FoundCamera
from ..acquisition.kinds import CameraConfig, make_camera
from ..streaming.pixel_format import values16
from ..sync.clock import NS_PER_S, Clock
from ..sync.errors import CameraOpenError, ReportError

CONFIG: TypeAdapter[Any] = TypeAdapter(CameraConfig)

PICTURE_S = 5.0
"""A camera that sends nothing for this long gets no picture: it waits for a trigger."""

_READ_S = 0.1
_MODE = re.compile(r"^(?P<fourcc>.{4}) (?P<width>\d+)x(?P<height>\d+)(?: at (?P<rate>[\d.]+))?")


def rig_options(found: FoundCamera) -> dict[str, Any]:
    """The options of the rig file that mean this camera; empty where too little is known."""
    match found.kind:
        case "basler":
            return {"kind": "basler", "serial": found.serial}
        case "genicam":
            options: dict[str, Any] = {"kind": "genicam", "producer": found.detail.get("producer", "")}
            return options | ({"serial": found.serial} if found.serial else {})
        case "opencv":
            mode = next((match for one in found.modes if (match := _MODE.match(one))), None)
            if mode is None:
                return {}
            return {
                "kind": "opencv",
                "device": found.detail.get("device", ""),
                "fourcc": mode["fourcc"],
                "width": int(mode["width"]),
                "height": int(mode["height"]),
                "rate_hz": float(mode["rate"] or 30),
            }
        case _:
            return {}


def rig_lines(name: str, options: dict[str, Any]) -> str:
    """The same as YAML, as it stands below ``cameras:``."""
    return yaml.safe_dump({name: options}, sort_keys=False, default_flow_style=False).rstrip()


def file_name(found: FoundCamera) -> str:
    """A name for the camera that may stand in a rig file and name a picture."""
    text = found.serial or found.detail.get("device", "").rsplit("/", 1)[-1] or found.model
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{found.kind}-{text}").strip("-")


def take_picture(name: str, config: Any, clock: Clock) -> tuple[CameraFormat, NDArray[np.uint8] | None]:
    """Open a camera, run it until it has sent one frame, and close it.

    Returns:
        What it delivers, and the frame as bytes; None where none came within `PICTURE_S`.

    Raises:
        CameraError: it does not open, or is lost.
    """
    camera = make_camera(name, config, clock)
    try:
        camera_format = camera.open()
        frame = np.zeros(camera_format.shape, np.uint8)
        camera.start(clock.now_ns())
        deadline_ns = clock.now_ns() + round(PICTURE_S * NS_PER_S)
        while clock.now_ns() < deadline_ns:
            try:
                if camera.read_into(frame, _READ_S) is not None:
                    return camera_format, frame
            except EndOfStream:
                break
        return camera_format, None
    finally:
        camera.close()


def ask_format(name: str, config: Any, clock: Clock) -> CameraFormat:
    """Open a camera, ask what it delivers, and close it.

    Raises:
        CameraError: it does not open.
    """
    camera = make_camera(name, config, clock)
    try:
        return camera.open()
    finally:
        camera.close()


def write_png(path: Path, camera_format: CameraFormat, frame: NDArray[np.uint8]) -> None:
    """Write a frame as PNG; ``mono16`` with all its bits.

    Raises:
        ReportError: it cannot be written.
    """
    image = values16(frame) if camera_format.pixel_format == "mono16" else frame
    ok, data = cv2.imencode(".png", image)
    assert ok, "PNG holds every pixel format of the rig"
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error


def validated(name: str, options: dict[str, Any]) -> Any:
    """The configuration of a camera that was found.

    Raises:
        CameraOpenError: it cannot be put into a rig file as it is.
    """
    try:
        return CONFIG.validate_python(options)
    except ValidationError as error:
        raise CameraOpenError(f"camera {name}: no way is known to open it ({error.errors()[0]['msg']})") from error
