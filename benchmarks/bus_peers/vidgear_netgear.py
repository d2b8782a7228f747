"""VidGear NetGear in PUB/SUB over ipc, copy=False, no compression.

A NetGear receiver binds and a sender connects: each reading process has one receiver per camera, and each camera sends
through one NetGear per reading process, the only way in which its PUB/SUB reaches several readers without its
multi-client mode, which puts a reply after every frame. Its high-water mark is fixed at one message.
"""

from collections.abc import Sequence
from importlib import import_module
from time import sleep  # noqa: TID251

from .peer import Image, Place, Pool

WINDOW = 1
ZEROMQ = True
_PATTERN = 2


def require() -> None:
    import_module("vidgear.gears.netgear")


def _address(place: Place, camera: int, number: int) -> dict[str, str]:
    return {"address": f"{place.folder}/ng{number}", "port": str(camera)}


class NetGearSender:
    def __init__(self, place: Place, camera: int) -> None:
        library = import_module("vidgear.gears.netgear")
        self._pool = Pool(place)
        self._senders = [
            library.NetGear(
                **_address(place, camera, number), protocol="ipc", pattern=_PATTERN, jpeg_compression=False, copy=False
            )
            for number in range(place.readers)
        ]

    def image(self) -> Image:
        return self._pool.image

    def send(self) -> None:
        for one in self._senders:
            one.send(self._pool.image)
        self._pool.turn()

    def close(self) -> None:
        for one in self._senders:
            one.close()


class NetGearReader:
    def __init__(self, place: Place, number: int) -> None:
        library = import_module("vidgear.gears.netgear")
        self._gears = [
            library.NetGear(
                **_address(place, camera, number),
                protocol="ipc",
                pattern=_PATTERN,
                receive_mode=True,
                jpeg_compression=False,
                copy=False,
            )
            for camera in range(place.cameras)
        ]
        # recv blocks on one camera; whether one is there only its queue tells.
        self._queues = [vars(one)["_NetGear__queue"] for one in self._gears]

    def poll(self, timeout_ms: int) -> Sequence[tuple[Image, None]]:
        for _ in range(timeout_ms * 10):
            if any(self._queues):
                break
            sleep(1e-4)
        found: list[tuple[Image, None]] = []
        for gear, queue in zip(self._gears, self._queues, strict=True):
            while queue:
                image = gear.recv()
                if image is None:
                    break
                found.append((image, None))
        return found

    def whole(self, token: None) -> bool:
        return True

    def close(self) -> None:
        """Nothing: a receiver that is closed while its thread waits aborts the process; the threads are daemons."""


def sender(place: Place, camera: int) -> NetGearSender:
    return NetGearSender(place, camera)


def reader(place: Place, number: int) -> NetGearReader:
    return NetGearReader(place, number)
