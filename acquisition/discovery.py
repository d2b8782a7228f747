"""Which cameras are there, asked of every kind that can be asked."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..sync.errors import CameraError, ConfigError


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """A camera that answers.

    Attributes:
        kind: as in the rig file.
        serial: as printed on the camera; empty where it has none.
        model: as it names itself.
        vendor: its maker.
        interface: how it is connected, in the words of its driver.
        modes: sizes and formats, as far as they can be asked for.
        detail: anything else that tells it from others.
    """

    kind: str
    serial: str
    model: str
    vendor: str
    interface: str
    modes: tuple[str, ...] = ()
    detail: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Discovered:
    """What one kind of camera has to say.

    Attributes:
        kind: as in the rig file.
        cameras: that answer.
        note: why there may be more than these, and what to do; empty where nothing is in the way.
    """

    kind: str
    cameras: tuple[FoundCamera, ...]
    note: str = ""


def discover(kinds: Sequence[str] = ()) -> list[Discovered]:
    """Ask every kind, or those named; what is not installed or does not answer is a note, and not an error.

    Raises:
        ConfigError: a kind that cannot be asked.
    """
    unknown = [kind for kind in kinds if kind not in _ASKED]
    if unknown:
        raise ConfigError(f"--kind {unknown[0]}: cannot be searched for; one of {', '.join(_ASKED)}")
    return [ask() for kind, ask in _ASKED.items() if not kinds or kind in kinds]


def _basler() -> Discovered:
    if importlib.util.find_spec("pypylon") is None:
        return Discovered("basler", (), "pypylon is not installed; pip install 'ethostream[basler]' brings it")
    from . import basler_sdk

    try:
        return Discovered("basler", tuple(basler_sdk.discover()))
    except CameraError as error:
        return Discovered("basler", (), str(error))


def _genicam() -> Discovered:
    if importlib.util.find_spec("harvesters") is None or importlib.util.find_spec("genicam") is None:
        return Discovered("genicam", (), "harvesters is not installed; pip install 'ethostream[genicam]' brings it")
    from . import genicam_device

    producers = genicam_device.installed_producers()
    if not producers:
        note = (
            "no producer: GENICAM_GENTL64_PATH names no folder with a .cti file. Install the camera maker's software, "
            "which brings one and sets it"
        )
        return Discovered("genicam", (), note)
    cameras: list[FoundCamera] = []
    notes: list[str] = []
    for producer in producers:
        try:
            cameras.extend(genicam_device.discover(producer))
        except CameraError as error:
            notes.append(str(error))
    return Discovered("genicam", tuple(cameras), "; ".join(notes))


def _opencv() -> Discovered:
    from . import v4l2

    cameras, notes = v4l2.discover()
    if not cameras and not notes:
        notes = ["no /dev/video* on this machine; a camera behind RTSP or HTTP is given by its url"]
    return Discovered("opencv", tuple(cameras), "; ".join(notes))


_ASKED: dict[str, Callable[[], Discovered]] = {"basler": _basler, "genicam": _genicam, "opencv": _opencv}
"""Kinds whose cameras can be searched for."""
