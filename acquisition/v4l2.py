"""What Video4Linux says of its devices: names, formats, sizes and rates (linux/videodev2.h)."""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from .discovery import FoundCamera

_QUERYCAP = 0x80685600  # VIDIOC_QUERYCAP, 104 bytes
_ENUM_FMT = 0xC0405602  # VIDIOC_ENUM_FMT, 64 bytes
_ENUM_FRAMESIZES = 0xC02C564A  # 44 bytes
_ENUM_FRAMEINTERVALS = 0xC034564B  # 52 bytes
_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE, and V4L2_CAP_VIDEO_CAPTURE
_DISCRETE = 1
_HAS_DEVICE_CAPS = 0x80000000
_MOST = 256  # entries of one list; a driver that never ends its list is broken

Ioctl = Callable[[int, int, bytearray], int]
"""``fcntl.ioctl``: file descriptor, request, structure that is filled in."""


def _ioctl(fd: int, request: int, data: bytearray) -> int:
    return fcntl.ioctl(fd, request, data)


def discover(root: Path = Path("/"), ioctl: Ioctl = _ioctl) -> tuple[list[FoundCamera], list[str]]:
    """Capture devices below ``root``/dev, and what kept others from being asked.

    Args:
        root: of the file system; tests bring their own.
        ioctl: asks the kernel.
    """
    cameras: list[FoundCamera] = []
    notes: list[str] = []
    by_id = {link.resolve(): link for link in sorted((root / "dev/v4l/by-id").glob("*"))}
    for node in sorted((root / "dev").glob("video*"), key=lambda path: (len(path.name), path.name)):
        try:
            fd = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            notes.append(f"{node}: {error.strerror}; add yourself to the group video")
            continue
        try:
            found = _ask(fd, node, by_id.get(node.resolve()), root, ioctl)
        except OSError as error:
            notes.append(f"{node}: does not answer ({error.strerror})")
        else:
            if found is not None:
                cameras.append(found)
        finally:
            os.close(fd)
    return cameras, notes


def _ask(fd: int, node: Path, by_id: Path | None, root: Path, ioctl: Ioctl) -> FoundCamera | None:
    """One device; None: it captures no video (a second node of a camera carries its metadata)."""
    data = bytearray(104)
    ioctl(fd, _QUERYCAP, data)
    _, card, bus, _, all_caps, node_caps = struct.unpack_from("<16s32s32sIII", data)
    if not (node_caps if all_caps & _HAS_DEVICE_CAPS else all_caps) & _CAPTURE:
        return None
    usb = (root / "sys/class/video4linux" / node.name / "device").resolve().parent
    detail = {"device": str(by_id or node), "bus": _text(bus)}
    if speed := _line(usb / "speed"):
        detail["usb_mbit_s"] = speed
    return FoundCamera(
        "opencv",
        _line(usb / "serial"),
        _text(card),
        _line(usb / "manufacturer"),
        "USB" if speed else "V4L2",
        tuple(_modes(fd, ioctl)),
        detail,
    )


def _modes(fd: int, ioctl: Ioctl) -> Iterator[str]:
    for i in range(_MOST):
        data = bytearray(64)
        struct.pack_into("<II", data, 0, i, _CAPTURE)
        if not _filled(fd, _ENUM_FMT, data, ioctl):
            return
        fourcc = bytes(data[44:48])
        for width, height in _sizes(fd, fourcc, ioctl):
            rates = ", ".join(f"{one:g}" for one in _rates(fd, fourcc, width, height, ioctl))
            yield f"{fourcc.decode('ascii', 'replace')} {width}x{height}" + (f" at {rates} Hz" if rates else "")


def _sizes(fd: int, fourcc: bytes, ioctl: Ioctl) -> Iterator[tuple[int, int]]:
    for i in range(_MOST):
        data = bytearray(44)
        struct.pack_into("<I4s", data, 0, i, fourcc)
        if not _filled(fd, _ENUM_FRAMESIZES, data, ioctl):
            return
        kind, first, second = struct.unpack_from("<III", data, 8)
        # A range gives least, greatest and step of the width, and then of the height: the greatest size is shown.
        yield (first, second) if kind == _DISCRETE else (second, struct.unpack_from("<I", data, 28)[0])


def _rates(fd: int, fourcc: bytes, width: int, height: int, ioctl: Ioctl) -> Iterator[float]:
    for i in range(_MOST):
        data = bytearray(52)
        struct.pack_into("<I4sII", data, 0, i, fourcc, width, height)
        if not _filled(fd, _ENUM_FRAMEINTERVALS, data, ioctl):
            return
        kind, numerator, denominator = struct.unpack_from("<III", data, 16)
        if kind != _DISCRETE or not numerator:
            return
        yield round(denominator / numerator, 3)


def _filled(fd: int, request: int, data: bytearray, ioctl: Ioctl) -> bool:
    """Whether the list goes on: its end is an error of the call."""
    try:
        ioctl(fd, request, data)
    except OSError:
        return False
    return True


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
