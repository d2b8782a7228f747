# ruff: noqa: RUF012 - a bench overrides what is plain data
"""One bench per kind of camera: a device or a stand-in that runs in real time, and the faults that it can show.

A bench strikes from outside: it takes the stream away beneath the SDK, cuts a socket, exchanges a file. What a kind has
no way to show stands in ``cannot``, with the reason.
"""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ethostream.acquisition.kinds import CameraConfig
from pydantic import TypeAdapter

# The emulator counts its cameras when pylon is first imported.
os.environ.setdefault("PYLON_CAMEMU", "8")

CONFIG: TypeAdapter[Any] = TypeAdapter(CameraConfig)
KNOWN = {one.model_fields["kind"].default for one in CameraConfig.__origin__.__args__}
FAULT_AT_S = 0.15


class Bench:
    """A camera on the bench.

    Attributes:
        options: of the rig file.
        wanted: width, height and rate that these must give.
        refused: options that the device must refuse, and what the message must name.
        cannot: faults that this kind cannot show, and why.
    """

    options: dict[str, Any]
    wanted: tuple[int, int, float]
    refused: tuple[dict[str, Any], str]
    cannot: dict[str, str]

    def config(self, fault: str | None = None) -> Any:
        return CONFIG.validate_python(self.options)

    def strike(self, fault: str, camera: Any) -> None:
        """Let it happen now, to a running camera."""

    def mend(self) -> None:
        """Undo it."""

    def close(self) -> None:
        pass


class SimulatedBench(Bench):
    options = {"kind": "simulated", "view": 0, "width": 160, "height": 120, "rate_hz": 50}
    wanted = (160, 120, 50)
    refused = ({"exposure_us": 50_000}, "exposure_us=50000")
    cannot = {"format change": "a simulated device has one format and nobody else who could set it"}

    def config(self, fault: str | None = None) -> Any:
        schedule = {
            None: [],
            "unplug": [{"fault": "unplug", "at_s": FAULT_AT_S, "away_s": 600}],
            "stall": [{"fault": "stall", "at_s": FAULT_AT_S, "for_s": 600}],
        }[fault]
        return CONFIG.validate_python(self.options | {"faults": {"schedule": schedule}})


class FileBench(Bench):
    wanted = (64, 48, 200)
    cannot = {"stall": "a local file is there or it is not; nothing between it and the reader can pause"}

    def __init__(self, folder: Path, write_video: Callable[..., Path], grey_frames: Callable[..., Any]) -> None:
        self._write, self._frames = write_video, grey_frames
        self._path = folder / "bench.mkv"
        write_video(self._path, grey_frames(20))
        self.options = {"kind": "file", "path": self._path, "rate_hz": 200, "loop": True}
        self.refused = ({"path": folder / "gone.mkv"}, r"gone\.mkv")

    def strike(self, fault: str, camera: Any) -> None:
        self._path.unlink()
        if fault == "format change":
            self._write(self._path, self._frames(20, width=80, height=32))

    def mend(self) -> None:
        self._path.unlink(missing_ok=True)
        self._write(self._path, self._frames(20))


class GenicamBench(Bench):
    options = {
        "kind": "genicam", "producer": "simulator", "serial": "2", "rate_hz": 100, "buffers": 4,
        "roi": {"width_px": 160, "height_px": 120}, "features": {"BouncingBallSize": 7},
    }  # fmt: skip
    wanted = (160, 120, 100)
    refused = ({"rate_hz": 500}, "AcquisitionFrameRate=500")
    cannot = {}

    def strike(self, fault: str, camera: Any) -> None:
        acquirer = camera._device._acquirer
        nodes = acquirer.remote_device.node_map
        match fault:
            case "unplug":
                acquirer.data_streams[0].module.close()
            case "stall":
                nodes.AcquisitionStop.execute()
            case "format change":
                nodes.TLParamsLocked.value = 0
                nodes.Width.value = 200


class OpencvBench(Bench):
    """MJPEG over HTTP on a socket of this machine; no UVC device is to be had in a test."""

    wanted = (64, 48, 50)
    refused = ({"width": 640}, "width=640")
    cannot = {}

    def __init__(self, make_server: Callable[..., Any]) -> None:
        self._make_server = make_server
        self._server = make_server()
        self.options = {"kind": "opencv", "url": self._server.url, "rate_hz": 50, "away_s": 0.3, "stall_s": 0.3}

    def strike(self, fault: str, camera: Any) -> None:
        match fault:
            case "unplug":
                self._server.close()
            case "stall":
                self._server.flowing.clear()
            case "format change":
                self._server.size = (80, 32)

    def mend(self) -> None:
        self._server.close()
        self._server = self._make_server(self._server.port)

    def close(self) -> None:
        self._server.close()


class BaslerBench(Bench):
    options = {
        "kind": "basler", "serial": "0815-0000", "rate_hz": 50.0,
        "roi": {"width_px": 160, "height_px": 120},
    }  # fmt: skip
    wanted = (160, 120, 50)
    refused = ({"rate_hz": 9_999.0}, "AcquisitionFrameRate")
    cannot = {"format change": "the emulator locks its format while it grabs"}

    def config(self, fault: str | None = None) -> Any:
        if fault == "stall":
            return CONFIG.validate_python(self.options | {"trigger": {"kind": "hardware", "line": "Line1"}})
        return super().config(fault)

    def strike(self, fault: str, camera: Any) -> None:
        if fault == "unplug":
            # The emulator's own way to say that a camera was removed; its stall is a trigger that never comes.
            camera._camera.GetNodeMap().GetNode("FirePnPCallback").Execute()


def missing(kind: str) -> str | None:
    """Why a kind cannot be put on the bench here; None: it can."""
    if kind not in KNOWN:
        return f"kind {kind} is not known to this version"
    package = {"genicam": "harvesters", "basler": "pypylon"}.get(kind)
    if package is not None and importlib.util.find_spec(package) is None:
        return f"{package} is not installed; pip install 'ethostream[{kind}]' brings it"
    return None
