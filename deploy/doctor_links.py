"""Will the cameras' pictures fit through their cables? Pure: configuration and formats in, findings out."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..acquisition.basler_config import BaslerCameraConfig
from ..acquisition.camera import CameraFormat
from ..acquisition.file_camera import FileCameraConfig
from ..acquisition.genicam_camera import RECIPES, GenicamCameraConfig
from ..acquisition.opencv_camera import OpencvCameraConfig
from ..acquisition.simulated_camera import SimulatedCameraConfig
from .doctor_finding import Finding

TIGHT = 0.85
"""Part of what is usable from which one more camera, or a burst, is one too many."""

_MBIT = 1e6


class LinkKind(NamedTuple):
    """A kind of port.

    Attributes:
        pattern: of the names that such a port goes by.
        words: what it is.
        nominal: its speed in Mbit/s where nothing else is said.
        usable: part of it that is left for pixels, after coding, headers and pauses; by rule of thumb.
    """

    pattern: str
    words: str
    nominal: float
    usable: float


KINDS = (
    LinkKind(r"usb2", "USB 2", 480, 0.60),
    LinkKind(r"usb", "USB3", 5000, 0.64),
    LinkKind(r"cxp|coax", "CoaXPress", 6250, 0.77),
    LinkKind(r"eth|en[opsx]|gige|bond|lan", "GigE", 1000, 0.94),
)

_PACKED = {"mono10p": 1.5, "mono12p": 1.5, "mono10": 2.0, "mono12": 2.0, "rgb8": 3.0}
_BITS_IN_A_ROW = r"usb|cxp|coax"
"""Links whose 10-bit pixels follow each other without a gap; the older GigE form takes 12 bits for one."""
_FOURCC = {"YUYV": 2.0, "UYVY": 2.0, "NV12": 1.5, "YU12": 1.5, "GREY": 1.0, "BGR3": 3.0, "RGB3": 3.0, "Y16 ": 2.0}


@dataclass(frozen=True, slots=True)
class LinkSum:
    """What one link carries.

    Attributes:
        link: its name.
        cameras: Mbit/s of each camera; None where it depends on the picture.
        usable_mbit_s: None: not known.
    """

    link: str
    cameras: dict[str, float | None]
    usable_mbit_s: float | None

    @property
    def total_mbit_s(self) -> float:
        """Of those that are known."""
        return sum(one for one in self.cameras.values() if one is not None)


def wire_bytes(config: Any) -> float | None:
    """Bytes per pixel on the cable; None where the camera compresses, so that it depends on the picture."""
    match config:
        case BaslerCameraConfig(pixel_format="mono10p", link=str(link)) if re.match(
            _BITS_IN_A_ROW, link, re.IGNORECASE
        ):
            return 1.25
        case BaslerCameraConfig():
            return _PACKED.get(config.pixel_format, 1.0)
        case GenicamCameraConfig():
            return (RECIPES[config.pixel_format].number >> 16 & 0xFF) / 8
        case OpencvCameraConfig():
            return _FOURCC.get(config.fourcc or "")
        case SimulatedCameraConfig():
            return 1.0
        case _:
            return None


def wire_mbit_s(config: Any, camera_format: CameraFormat) -> float | None:
    """Pixels of one camera on its cable, Mbit/s: 995 for 1920x1080 mono8 at 60 Hz."""
    n_bytes = wire_bytes(config)
    if n_bytes is None:
        return None
    return camera_format.width * camera_format.height * n_bytes * 8 * camera_format.rate_hz / _MBIT


def kind_of(link: str) -> LinkKind | None:
    """The kind of port that goes by this name."""
    return next((kind for kind in KINDS if re.match(kind.pattern, link, re.IGNORECASE)), None)


def link_sums(
    configs: Mapping[str, Any],
    formats: Mapping[str, CameraFormat],
    links: Mapping[str, float],
    measured: Mapping[str, float],
) -> list[LinkSum]:
    """Each link that cameras name, with what they send through it.

    Args:
        configs: of all cameras of the rig.
        formats: of those that could be asked.
        links: speeds of the rig file, Mbit/s.
        measured: speeds that ports of this machine have now, Mbit/s.
    """
    cameras: dict[str, dict[str, float | None]] = {}
    for name, config in configs.items():
        link = None if isinstance(config, FileCameraConfig) else config.link
        if link is not None:
            form = formats.get(name)
            cameras.setdefault(link, {})[name] = None if form is None else wire_mbit_s(config, form)
    return [LinkSum(link, one, _usable(link, links, measured)) for link, one in cameras.items()]


def _usable(link: str, links: Mapping[str, float], measured: Mapping[str, float]) -> float | None:
    kind = kind_of(link)
    said = [speed for speed in (links.get(link), measured.get(link)) if speed is not None and speed > 0]
    if said:
        # What the port has now counts, whatever the rig file hopes for.
        return min(said) * (kind.usable if kind is not None else _ETHERNET.usable)
    return None if kind is None else kind.nominal * kind.usable


_ETHERNET = KINDS[-1]


def judge(sums: list[LinkSum]) -> list[Finding]:
    """Whether each link carries what is asked of it."""
    findings: list[Finding] = []
    for one in sums:
        topic = f"link {one.link}"
        parts = " + ".join(
            f"{name} {'?' if mbit is None else format(mbit, '.0f')}" for name, mbit in one.cameras.items()
        )
        if one.usable_mbit_s is None:
            findings.append(
                Finding(
                    topic,
                    "error",
                    f"{parts} Mbit/s, and nothing is known of the link",
                    f"write its speed into the rig file: links: {{{one.link}: 1000}}",
                    refuses=True,
                )
            )
            continue
        total, usable = one.total_mbit_s, one.usable_mbit_s
        text = f"{parts} = {total:.0f} Mbit/s, of {usable:.0f} usable"
        unknown = [name for name, mbit in one.cameras.items() if mbit is None]
        if total > usable:
            findings.append(Finding(topic, "error", f"{text}: does not fit", _cure(one), refuses=True))
        elif total > TIGHT * usable:
            findings.append(Finding(topic, "warning", f"{text}: tight", _cure(one)))
        elif unknown:
            more = f"{text}; {', '.join(unknown)}: compressed, or not to be asked, and not in the sum"
            findings.append(Finding(topic, "warning", more, "leave room for them, or give them a port of their own"))
        else:
            findings.append(Finding(topic, "ok", text))
    return findings


def _cure(one: LinkSum) -> str:
    total, usable = one.total_mbit_s, one.usable_mbit_s or 0.0
    n_ports = math.ceil(total / usable) if usable else 2
    smaller = f"lower rate_hz or roi to {100 * TIGHT * usable / total:.0f} % of what they send"
    single = len(one.cameras) == 1 or max(mbit or 0.0 for mbit in one.cameras.values()) > usable
    ports = "use a faster port" if single else f"spread the cameras over {max(2, n_ports)} ports"
    return f"{smaller}, or {ports} (where the port is faster than its name says: links: {{{one.link}: MBIT_S}})"


def without_link(configs: Mapping[str, Any]) -> list[Finding]:
    """Cameras on a cable that name no link: their bandwidth is in no sum."""
    hardware = (BaslerCameraConfig, GenicamCameraConfig, OpencvCameraConfig)
    names = [name for name, config in configs.items() if isinstance(config, hardware) and config.link is None]
    if not names:
        return []
    return [
        Finding(
            "links",
            "warning",
            f"{', '.join(names)}: on which port is not said, so that nothing is summed",
            "write link: eth2, link: usb3-1 ... into each camera; cameras behind one hub or switch share one",
        )
    ]
