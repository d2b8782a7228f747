"""Pictures of a board from several cameras, and the corners found in them.

A folder holds one sub-folder, or one video, per camera. Pictures of the same instant have the same name, or the same
last number in their names; frame i of every video is one instant. A picture that one camera lacks is an error unless it
is allowed: where numbers were given by counting, it means that all later pictures are paired wrongly.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ...sync.errors import CalibrationError
from .board import Board, Corners, Grey

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v"})
INNER_FOLDERS = ("calibration_images", "calibration")
"""Where other tools put the pictures of a camera: looked into where the camera's folder has none itself."""

Progress = Callable[[str, int, int], None]
"""What is being done, how many of it are done, how many there are."""


def no_progress(what: str, done: int, total: int) -> None:
    """A `Progress` that tells nobody."""


@dataclass(frozen=True, slots=True)
class CameraSource:
    """Where the pictures of one camera are: ``images`` by instant, or ``video``."""

    camera: str
    images: Mapping[str, Path] = field(default_factory=dict[str, Path])
    video: Path | None = None


@dataclass(slots=True, eq=False)
class CameraDetections:
    """What was found in the pictures of one camera.

    Attributes:
        camera: its name.
        width: pixels.
        height: pixels.
        images: corners by instant, only where the board was seen.
        not_found: instants whose picture shows no board, or too little of it.
    """

    camera: str
    width: int
    height: int
    images: dict[str, Corners] = field(default_factory=dict[str, Corners])
    not_found: list[str] = field(default_factory=list[str])

    def subset(self, instants: set[str]) -> "CameraDetections":
        """The same camera with these instants alone."""
        kept = {name: corners for name, corners in self.images.items() if name in instants}
        return CameraDetections(self.camera, self.width, self.height, kept, list(self.not_found))


def find_sources(folder: Path, *, allow_missing: bool = False) -> dict[str, CameraSource]:
    """The cameras of a folder and where their pictures are, in order of name.

    Args:
        folder: one sub-folder of pictures, or one video, per camera.
        allow_missing: accept that cameras have different instants.

    Raises:
        CalibrationError: nothing is there, names are ambiguous, or the cameras have different instants.
    """
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: is no folder; give one that holds a sub-folder or a video per camera")
    videos = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES}
    sources: dict[str, CameraSource] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        source = _camera_source(path)
        if source is not None:
            sources[path.name] = source
    if both := sorted(sources.keys() & videos.keys()):
        raise CalibrationError(f"{folder}: {both[0]} is there as a folder and as a video; keep one")
    sources |= {name: CameraSource(name, video=path) for name, path in videos.items()}
    if not sources:
        raise CalibrationError(
            f"{folder}: holds no pictures of any camera; make one sub-folder per camera, named as in the rig file, "
            f"with pictures ({' '.join(sorted(IMAGE_SUFFIXES))}) of the same name or number for the same instant, or "
            "put one video per camera here"
        )
    kinds = {source.video is None for source in sources.values()}
    if len(kinds) > 1:
        listed = ", ".join(f"{name} ({'images' if one.video is None else 'video'})" for name, one in sources.items())
        raise CalibrationError(f"{folder}: pictures for some cameras and videos for others: {listed}; use one kind")
    if kinds == {True}:
        _check_instants(folder, sources, allow_missing)
    return sources


def _camera_source(folder: Path) -> CameraSource | None:
    """Pictures before videos, and a folder made for calibration before a video that may be of anything."""
    inner = [folder / name for name in INNER_FOLDERS if (folder / name).is_dir()]
    for place in (folder, *inner):
        images = sorted(path for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if images:
            return CameraSource(folder.name, _by_instant(images))
    for place in (*inner, folder):
        videos = sorted(path for path in place.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        if len(videos) == 1:
            return CameraSource(folder.name, video=videos[0])
        if videos:
            names = ", ".join(path.name for path in videos)
            raise CalibrationError(f"{place}: holds {len(videos)} videos ({names}); leave the one of the board")
    return None


def _by_instant(images: list[Path]) -> dict[str, Path]:
    """Pictures by the last number in their names, in its order; by the whole name where one has no number."""
    numbers = [re.findall(r"\d+", path.stem) for path in images]
    if not all(numbers):
        return {path.stem: path for path in images}
    named: dict[str, Path] = {}
    for path, found in sorted(zip(images, numbers, strict=True), key=lambda one: int(one[1][-1])):
        instant = str(int(found[-1]))
        if instant in named:
            raise CalibrationError(
                f"{path.parent}: {named[instant].name} and {path.name} both end in number {instant}; the last number "
                "in a name says which instant it shows: rename one"
            )
        named[instant] = path
    return named


def _check_instants(folder: Path, sources: Mapping[str, CameraSource], allow_missing: bool) -> None:
    union = list(dict.fromkeys(instant for source in sources.values() for instant in source.images))
    lines: list[str] = []
    for name, source in sources.items():
        missing = [instant for instant in union if instant not in source.images]
        if missing:
            shown = ", ".join(missing[:8]) + (" ..." if len(missing) > 8 else "")
            lines.append(f"  {name}: {len(source.images)} pictures, without {shown}")
    if lines and not allow_missing:
        raise CalibrationError(
            f"{folder}: {len(union)} instants in all, and these cameras lack some:\n" + "\n".join(lines) + "\nPictures "
            "of one instant need the same name or number. Remove the instants that are not in all cameras, or allow "
            "missing ones (--allow-missing) when the names are right and pictures were left out on purpose"
        )


def read_image(path: Path) -> Grey:
    """One picture in grey, as it is stored: orientation tags are not followed, so all cameras are read alike.

    Raises:
        CalibrationError: it is no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise CalibrationError(f"{path}: cannot be read as a picture; remove it or export it again")
    return np.asarray(image, np.uint8)


def detect_images(
    sources: Mapping[str, CameraSource], board: Board, progress: Progress = no_progress
) -> list[CameraDetections]:
    """Look for the board in every picture.

    Raises:
        CalibrationError: a picture that cannot be read, or whose size differs from the others of its camera.
    """
    found: list[CameraDetections] = []
    for name, source in sources.items():
        detections = CameraDetections(name, 0, 0)
        for done, (instant, path) in enumerate(source.images.items()):
            progress(f"{name}: looking for the board", done, len(source.images))
            add_image(detections, instant, read_image(path), board, str(path))
        progress(f"{name}: looking for the board", len(source.images), len(source.images))
        found.append(detections)
    return found


def add_image(detections: CameraDetections, instant: str, image: Grey, board: Board, where: str) -> None:
    """Look for the board in one more picture of a camera.

    Raises:
        CalibrationError: its size differs from the others'.
    """
    height, width = image.shape
    if (detections.width, detections.height) == (0, 0):
        detections.width, detections.height = width, height
    if (width, height) != (detections.width, detections.height):
        raise CalibrationError(
            f"{where}: is {width}x{height}, the other pictures of {detections.camera} are {detections.width}x"
            f"{detections.height}; a calibration holds for one size: remove it"
        )
    corners = board.detect(image)
    if corners is None:
        detections.not_found.append(instant)
    else:
        detections.images[instant] = corners


def require_boards(detections: list[CameraDetections], board: Board) -> None:
    """Check that every camera has seen the board.

    Raises:
        CalibrationError: one has not.
    """
    blind = [one.camera for one in detections if not one.images]
    if blind:
        raise CalibrationError(
            f"{', '.join(blind)}: no board of the kind {board.spec} in any picture; check columns and rows, the "
            "dictionary (and :legacy for prints from before OpenCV 4.6), light and focus"
        )
