"""Which parts of the picture, tilts and pairs of cameras the pictures of a board cover, and what to show next.

A lens is known only where corners were seen; focal length and distance come apart only when the board is tilted; two
cameras are joined only by instants in which both see the board.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...sync.camera_model import CameraModel
from .board import Board, Corners
from .board_pose import board_pose
from .detection import CameraDetections

Cell = tuple[int, int]

TARGET_IMAGES = 15
"""Pictures per camera after which another brings little by its number alone."""
TARGET_CELL = 2
"""Pictures with corners in a ninth of the picture."""
TARGET_SHARED = 6
"""Instants that join two cameras, where the tree needs them."""
TILT_DEG = 15.0
"""A board turned less than this counts as flat."""
_GUESSED_FOCAL = 0.8
"""Focal length in widths of the picture, for the tilt alone; half or twice this still tells flat from tilted."""
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "middle", "right")
TILTS = ("left edge away", "right edge away", "upper edge away", "lower edge away")


@dataclass(frozen=True, slots=True, eq=False)
class CameraCoverage:
    """What the pictures of one camera cover.

    Attributes:
        camera: name.
        n_images: with the board in them.
        cells: (3, 3) int64, pictures with corners in each ninth; row 0 is the upper one.
        tilts: pictures by `TILTS`.
        hints: what is missing, the most important first; empty when nothing is.
    """

    camera: str
    n_images: int
    cells: NDArray[np.int64]
    tilts: Mapping[str, int]
    hints: tuple[str, ...]

    @property
    def done(self) -> bool:
        return not self.hints


class CoverageTracker:
    """Fed with what was found instant by instant; answers what is covered and what to do next. Pure; one thread.

    Args:
        sizes: (width, height) of each camera.
        board: what is shown.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]], board: Board) -> None:
        self._sizes = dict(sizes)
        self._points = board.points_mm
        self._cells = {name: np.zeros((3, 3), np.int64) for name in sizes}
        self._tilts = {name: Counter[str]() for name in sizes}
        self._n = Counter[str]()
        self._shared = Counter[tuple[str, str]]()
        self.n_instants = 0

    def gain(self, seen: Mapping[str, Corners]) -> int:
        """How many things that are still wanted an instant would bring; 0: it is not worth keeping."""
        total = 0
        for name, corners in seen.items():
            total += self._n[name] < TARGET_IMAGES
            total += 2 * sum(self._cells[name][cell] < TARGET_CELL for cell in self._cells_of(name, corners))
            tilt = self._tilt_of(name, corners)
            total += 2 * (tilt is not None and self._tilts[name][tilt] == 0)
        wanted = self._wanted_links()
        total += 2 * sum(pair in wanted for pair in combinations(sorted(seen), 2))
        return total

    def add(self, seen: Mapping[str, Corners]) -> None:
        """Take one instant: the corners of every camera that sees the board."""
        self.n_instants += 1
        for name, corners in seen.items():
            self._n[name] += 1
            for cell in self._cells_of(name, corners):
                self._cells[name][cell] += 1
            tilt = self._tilt_of(name, corners)
            if tilt is not None:
                self._tilts[name][tilt] += 1
        self._shared.update(combinations(sorted(seen), 2))

    def camera(self, name: str) -> CameraCoverage:
        """What is covered of one camera."""
        tilts = {tilt: self._tilts[name][tilt] for tilt in TILTS}
        return CameraCoverage(name, self._n[name], self._cells[name].copy(), tilts, tuple(self._hints(name)))

    def shared(self, first: str, second: str) -> int:
        """Instants in which both cameras saw the board."""
        low, high = sorted((first, second))
        return self._shared[low, high]

    def link_hints(self) -> tuple[str, ...]:
        """Cameras that nothing joins yet."""
        groups = self._groups(TARGET_SHARED)
        if len(groups) < 2:
            return ()
        rest = [", ".join(group) for group in groups[1:]]
        return tuple(
            f"show the board to one of {', '.join(groups[0])} and one of {other} at the same instant, {TARGET_SHARED} "
            "times"
            for other in rest
        )

    @property
    def done(self) -> bool:
        """Nothing more is wanted."""
        return not self.link_hints() and all(self.camera(name).done for name in self._sizes)

    def _hints(self, name: str) -> Iterable[str]:
        if self._n[name] == 0:
            yield "the board was never seen; show it to this camera"
            return
        empty = [(row, column) for row in range(3) for column in range(3) if self._cells[name][row, column] == 0]
        thin = [
            (row, column) for row in range(3) for column in range(3) if 0 < self._cells[name][row, column] < TARGET_CELL
        ]
        if empty:
            yield f"no corners in the {_listed(empty)}; bring the board there"
        if thin:
            yield f"corners of one picture only in the {_listed(thin)}; bring the board there once more"
        missing = [tilt for tilt in TILTS if self._tilts[name][tilt] == 0]
        if missing:
            yield f"tilt the board more: {', '.join(missing)} (by {TILT_DEG:g} degrees or more)"
        if self._n[name] < TARGET_IMAGES:
            yield f"{self._n[name]} pictures; take {TARGET_IMAGES - self._n[name]} more at other places and tilts"

    def _cells_of(self, name: str, corners: Corners) -> set[Cell]:
        width, height = self._sizes[name]
        column = np.clip(corners.pixels[:, 0] * 3 // width, 0, 2).astype(int)
        row = np.clip(corners.pixels[:, 1] * 3 // height, 0, 2).astype(int)
        return set(zip(row.tolist(), column.tolist(), strict=True))

    def _tilt_of(self, name: str, corners: Corners) -> str | None:
        width, height = self._sizes[name]
        focal = _GUESSED_FOCAL * width
        matrix = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
        model = CameraModel(name, width, height, matrix, np.zeros(4), np.eye(3), np.zeros(3))
        pose = board_pose(model, corners, self._points)
        if pose is None:
            return None
        x, y, z = pose.rotation[:, 2] * np.sign(pose.rotation[2, 2])
        if np.degrees(np.arccos(np.clip(z, -1, 1))) < TILT_DEG:
            return None
        # The normal points away from the camera: where it leans to the right, the left edge is the farther one.
        if abs(x) >= abs(y):
            return TILTS[0] if x > 0 else TILTS[1]
        return TILTS[2] if y > 0 else TILTS[3]

    def _wanted_links(self) -> set[tuple[str, str]]:
        groups = self._groups(TARGET_SHARED)
        where = {name: number for number, group in enumerate(groups) for name in group}
        return {(a, b) for a, b in combinations(sorted(self._sizes), 2) if where[a] != where[b]}

    def _groups(self, least: int) -> list[list[str]]:
        """Cameras joined by at least so many shared instants."""
        groups = [{name} for name in sorted(self._sizes)]
        for (first, second), n in self._shared.items():
            if n < least:
                continue
            a = next(group for group in groups if first in group)
            b = next(group for group in groups if second in group)
            if a is not b:
                a |= b
                groups.remove(b)
        return [sorted(group) for group in groups]


def coverage_of(detections: Sequence[CameraDetections], board: Board) -> CoverageTracker:
    """The coverage of pictures that were taken already."""
    tracker = CoverageTracker({one.camera: (one.width, one.height) for one in detections}, board)
    for instant in dict.fromkeys(instant for one in detections for instant in one.images):
        tracker.add({one.camera: one.images[instant] for one in detections if instant in one.images})
    return tracker


def _listed(cells: Sequence[Cell]) -> str:
    if len(cells) == 1:
        return f"{_cell_name(cells[0])} ninth"
    return f"ninths {', '.join(_cell_name(cell) for cell in cells)}"


def _cell_name(cell: Cell) -> str:
    return "centre" if cell == (1, 1) else f"{_ROWS[cell[0]]} {_COLUMNS[cell[1]]}"
