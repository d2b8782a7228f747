"""Pictures of a board for calibration, taken while somebody holds it before the running cameras.

The board counts only while it is held still: then it does not matter that the cameras' exposures differ by
milliseconds, and nothing is smeared. An instant is kept when it brings something that is still missing.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...streaming.pixel_format import values16
from ...sync.clock import NS_PER_MS, NS_PER_S, Clock
from ...sync.errors import CalibrationError, CameraLostError, EthostreamError
from ..camera import Camera, CameraFormat, EndOfStream
from .board import Board, Corners, Grey
from .coverage import CoverageTracker

STILL_PX = 1.5
"""A board that moved less than this since the last look is held still."""
MAX_APART_NS = 150 * NS_PER_MS
"""Newest frames farther apart than this are not looked at together."""
_READ_TIMEOUT_S = 0.2
_POLL_NS = 10 * NS_PER_MS
_OPEN_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one look at all cameras came to.

    Attributes:
        seen: cameras that see the board now.
        still: cameras that see it held still.
        kept: number of the instant that was saved, None where none was.
    """

    seen: tuple[str, ...]
    still: tuple[str, ...]
    kept: int | None


class BoardWatcher:
    """Decides which instants to keep and saves them. Pure but for the files it writes.

    Args:
        sizes: (width, height) of each camera.
        board: what is shown.
        folder: gets a sub-folder of PNG files per camera; instants have the same number in all.

    Raises:
        CalibrationError: the folder holds pictures already, or cannot be made.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]], board: Board, folder: Path) -> None:
        self.tracker = CoverageTracker(sizes, board)
        self.n_seen = 0
        self._board = board
        self._folder = folder
        self._before: dict[str, Corners] = {}
        try:
            for name in sizes:
                (folder / name).mkdir(parents=True, exist_ok=True)
                if any((folder / name).iterdir()):
                    raise CalibrationError(f"{folder / name}: is not empty; name a new folder for the new pictures")
        except OSError as error:
            raise CalibrationError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error

    def look(self, images: Mapping[str, Grey]) -> Look:
        """Take the newest picture of every camera.

        Args:
            images: (h, w) uint8 of all cameras, at about one instant.
        """
        found = {name: corners for name, image in images.items() if (corners := self._board.detect(image)) is not None}
        still = {name: corners for name, corners in found.items() if self._is_still(name, corners)}
        self._before = found
        self.n_seen += bool(found)
        kept: int | None = None
        # One camera that sees it move is enough: it moves.
        if still and len(still) == len(found) and self.tracker.gain(still) > 0:
            kept = self.tracker.n_instants
            for name, image in images.items():
                path = self._folder / name / f"{kept:04d}.png"
                if not cv2.imwrite(str(path), image):
                    raise CalibrationError(f"{path}: cannot be written; is the disk full?")
            self.tracker.add(still)
        return Look(tuple(found), tuple(still), kept)

    def _is_still(self, name: str, corners: Corners) -> bool:
        before = self._before.get(name)
        if before is None:
            return False
        common, now, then = np.intersect1d(corners.ids, before.ids, return_indices=True)
        if len(common) < len(corners.ids) // 2:
            return False
        moved = np.linalg.norm(corners.pixels[now] - before.pixels[then], axis=1)
        return float(np.median(moved)) < STILL_PX


@dataclass(slots=True, eq=False)
class _Newest:
    """What a camera's thread hands over."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    opened: threading.Event = field(default_factory=threading.Event)
    begin: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    camera_format: CameraFormat | None = None
    t_start_ns: int = 0
    image: NDArray[np.uint8] | None = None
    t_ns: int = 0
    count: int = 0
    ended: bool = False
    error: EthostreamError | None = None


class LiveCapture:
    """Runs the cameras of a rig, one thread each, until the coverage is complete.

    Args:
        cameras: closed; each is opened, read and closed by its own thread.
        board: what is shown.
        folder: for the pictures.
        clock: of the rig.
    """

    def __init__(self, cameras: Mapping[str, Camera], board: Board, folder: Path, clock: Clock) -> None:
        self._cameras = dict(cameras)
        self._board = board
        self._folder = folder
        self._clock = clock

    def run(
        self,
        on_look: Callable[[BoardWatcher, Look], None],
        *,
        blind_s: float,
        max_s: float | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> BoardWatcher:
        """Look until nothing is missing, ``max_s`` has passed, a source ends or ``should_stop`` says so.

        Args:
            on_look: told after every look.
            blind_s: give up when no camera has seen a board for this long since the start.
            max_s: end after this long; None: no limit.
            should_stop: asked before every look.

        Raises:
            CalibrationError: no camera ever saw a board.
            CameraError: a camera cannot be opened or was lost.
        """
        newest = {name: _Newest() for name in self._cameras}
        threads = [
            threading.Thread(target=_grab, args=(camera, newest[name], self._clock), name=f"calibrate-{name}")
            for name, camera in self._cameras.items()
        ]
        for thread in threads:
            thread.start()
        try:
            sizes = self._sizes(newest)
            watcher = BoardWatcher(sizes, self._board, self._folder)
            t_start = self._clock.now_ns()
            for one in newest.values():
                one.t_start_ns = t_start
                one.begin.set()
            taken = dict.fromkeys(newest, 0)
            while not should_stop() and not watcher.tracker.done:
                now = self._clock.now_ns()
                if watcher.n_seen == 0 and now - t_start > blind_s * NS_PER_S:
                    break
                if max_s is not None and now - t_start > max_s * NS_PER_S:
                    break
                images = self._take(newest, taken)
                if images is None:
                    if all(one.ended for one in newest.values()):
                        break
                    self._clock.sleep_until_ns(now + _POLL_NS)
                    continue
                on_look(watcher, watcher.look(images))
        finally:
            for one in newest.values():
                one.stop.set()
                one.begin.set()
            for thread in threads:
                thread.join()
        _raise_errors(newest)
        if watcher.n_seen == 0:
            raise CalibrationError(
                f"no camera saw the board {self._board.spec}; hold it before the cameras, and check its numbers, the "
                "light and the focus"
            )
        return watcher

    def _sizes(self, newest: Mapping[str, _Newest]) -> dict[str, tuple[int, int]]:
        sizes: dict[str, tuple[int, int]] = {}
        for name, one in newest.items():
            if not one.opened.wait(_OPEN_TIMEOUT_S):
                raise CameraLostError(
                    f"camera {name}: did not open within {_OPEN_TIMEOUT_S:g} s; check its cable and power"
                )
            _raise_errors(newest)
            assert one.camera_format is not None
            sizes[name] = (one.camera_format.width, one.camera_format.height)
        return sizes

    def _take(self, newest: Mapping[str, _Newest], taken: dict[str, int]) -> dict[str, Grey] | None:
        """The newest picture of every camera, once all have one that was not looked at yet."""
        _raise_errors(newest)
        images: dict[str, Grey] = {}
        times: list[int] = []
        counts: dict[str, int] = {}
        for name, one in newest.items():
            with one.lock:
                if one.image is None or one.count == taken[name]:
                    return None
                images[name], counts[name] = one.image, one.count
                times.append(one.t_ns)
        if max(times) - min(times) > MAX_APART_NS:
            return None
        taken.update(counts)
        return {name: _grey(image, newest[name].camera_format) for name, image in images.items()}


def _grab(camera: Camera, newest: _Newest, clock: Clock) -> None:
    """The whole life of one camera, in its own thread."""
    try:
        newest.camera_format = camera.open()
        newest.opened.set()
        newest.begin.wait()
        if newest.stop.is_set():
            return
        camera.start(newest.t_start_ns)
        while not newest.stop.is_set():
            image = np.empty(newest.camera_format.shape, np.uint8)
            grab = camera.read_into(image, _READ_TIMEOUT_S)
            if grab is not None:
                with newest.lock:
                    # Cameras that do not know rig time are matched by arrival: good enough for a board held still.
                    newest.image, newest.t_ns = image, clock.now_ns()
                    newest.count += 1
    except EndOfStream:
        newest.ended = True
    except EthostreamError as error:
        newest.error = error
    finally:
        newest.opened.set()
        camera.close()


def _raise_errors(newest: Mapping[str, _Newest]) -> None:
    for one in newest.values():
        if one.error is not None:
            raise one.error


def _grey(image: NDArray[np.uint8], camera_format: CameraFormat | None) -> Grey:
    """Eight bits of grey. Of wider pixels the upper eight of those in use: a corner is where it is at any "
    "brightness.
    """
    if camera_format is None or camera_format.pixel_format == "mono8":
        return image
    if camera_format.pixel_format == "bgr8":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    values = values16(image)
    return (values >> max(int(values.max()).bit_length() - 8, 0)).astype(np.uint8)
