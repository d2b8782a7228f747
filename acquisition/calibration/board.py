"""Calibration boards: what is printed, how large, and where its corners are found in a picture.

Corner coordinates are those of OpenCV: the origin is the upper left corner of the print, x to the right, y down, z into
the board; of a chessboard the origin is its first inner corner.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ...sync.camera_model import Array
from ...sync.errors import CalibrationError

Grey = NDArray[np.uint8]

MIN_CORNERS = 8
"""A view with fewer corners fixes the six numbers of a pose too weakly to be of use."""
_SYNTAX = (
    "charuco:COLUMNSxROWS:SQUARE_MM:MARKER_MM:DICTIONARY[:legacy] (squares, as charuco:8x11:24:18.75:DICT_4X4_1000) or "
    "chessboard:COLUMNSxROWS:SQUARE_MM (inner corners, as chessboard:9x6:30)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """The corners of a board that were found in one picture.

    Attributes:
        ids: (k,) int64, rows of `Board.points_mm`, increasing.
        pixels: (k, 2) float64.
        sharpness: of the edges at the corners, see `sharpness`.
    """

    ids: NDArray[np.int64]
    pixels: Array
    sharpness: float = 1.0


class Board(Protocol):
    """A flat board with known corners."""

    @property
    def spec(self) -> str:
        """The text that `parse_board` reads."""
        ...

    @property
    def square_mm(self) -> float:
        """Side of a square."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Inner corners: columns, rows; corner i is at column i % columns, row i // columns."""
        ...

    @property
    def points_mm(self) -> Array:
        """(n, 3) float64, mm: the inner corners, z = 0."""
        ...

    @property
    def directed(self) -> bool:
        """Whether a corner has the same id from every side. Only such boards can join cameras."""
        ...

    def detect(self, image: Grey) -> Corners | None:
        """Find the board in (h, w) uint8, to a fraction of a pixel; None where it is not seen."""
        ...

    def draw(self, px_per_mm: float, margin_mm: float = 0.0) -> Grey:
        """Picture of the board; its print starts ``margin_mm`` from the edge."""
        ...


def _grid_points(columns: int, rows: int, square_mm: float, first_mm: float) -> Array:
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    return np.stack([x * square_mm + first_mm, y * square_mm + first_mm, np.zeros(columns * rows)], axis=1)


@dataclass(frozen=True)
class CharucoBoard:
    """A chessboard with a marker in every white square: partly hidden views count, and every corner has a name.

    Attributes:
        columns: squares across.
        rows: squares down.
        square_mm: side of a square.
        marker_mm: side of a marker.
        dictionary: name in OpenCV, as ``DICT_4X4_1000``.
        legacy: the layout that OpenCV drew before 4.6; it differs where the number of rows is even.
    """

    columns: int
    rows: int
    square_mm: float
    marker_mm: float
    dictionary: str
    legacy: bool = False

    def __post_init__(self) -> None:
        if self.columns < 3 or self.rows < 3 or not 0 < self.marker_mm < self.square_mm:
            raise CalibrationError(
                f"board {self.spec}: it takes at least 3 x 3 squares and markers smaller than the squares; measure "
                "the print and write its numbers in mm"
            )
        if not self.dictionary.startswith("DICT_") or not hasattr(cv2.aruco, self.dictionary):
            names = ", ".join(sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_")))
            raise CalibrationError(f"board {self.spec}: no dictionary {self.dictionary!r}; there are {names}")
        n_markers = self.columns * self.rows // 2
        n_known = len(self._dictionary.bytesList)
        if n_markers > n_known:
            raise CalibrationError(
                f"board {self.spec}: needs {n_markers} markers and {self.dictionary} has {n_known}; name the "
                "dictionary that it was printed from"
            )

    @property
    def spec(self) -> str:
        size = f"charuco:{self.columns}x{self.rows}:{self.square_mm:g}:{self.marker_mm:g}:{self.dictionary}"
        return size + (":legacy" if self.legacy else "")

    @property
    def grid(self) -> tuple[int, int]:
        return self.columns - 1, self.rows - 1

    @property
    def points_mm(self) -> Array:
        return _grid_points(*self.grid, self.square_mm, self.square_mm)

    @property
    def directed(self) -> bool:
        return True

    def detect(self, image: Grey) -> Corners | None:
        found, ids, _, _ = self._detector.detectBoard(image)
        if ids is None or found is None or len(ids) < MIN_CORNERS:
            return None
        order = np.argsort(np.asarray(ids).ravel())
        pixels = np.asarray(found, np.float64).reshape(-1, 2)[order]
        corners = np.asarray(ids, np.int64).ravel()[order]
        if _collinear(self.points_mm[corners]):
            return None
        return Corners(corners, pixels, sharpness(image, pixels))

    def draw(self, px_per_mm: float, margin_mm: float = 0.0) -> Grey:
        margin = round(margin_mm * px_per_mm)
        size = [round(n * self.square_mm * px_per_mm) for n in (self.columns, self.rows)]
        print_ = np.asarray(self._board.generateImage((size[0], size[1]), None, 0, 1), np.uint8)
        return np.pad(print_, margin, constant_values=255)

    @cached_property
    def _dictionary(self) -> Any:
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))

    @cached_property
    def _board(self) -> Any:
        # The markers that it bears alone: to look every candidate up among a thousand takes nine tenths of the time.
        whole = self._dictionary
        n_markers = self.columns * self.rows // 2
        own = cv2.aruco.Dictionary(whole.bytesList[:n_markers], whole.markerSize, whole.maxCorrectionBits)
        board = cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_mm, self.marker_mm, own)
        board.setLegacyPattern(self.legacy)
        return board

    @cached_property
    def _detector(self) -> Any:
        return cv2.aruco.CharucoDetector(self._board)


@dataclass(frozen=True)
class ChessBoard:
    """A plain chessboard; it counts only where it is seen whole.

    Attributes:
        columns: inner corners across.
        rows: inner corners down.
        square_mm: side of a square.
    """

    columns: int
    rows: int
    square_mm: float

    def __post_init__(self) -> None:
        if self.columns < 3 or self.rows < 3 or self.square_mm <= 0:
            raise CalibrationError(
                f"board {self.spec}: it takes at least 3 x 3 inner corners (one less than squares) and a square in mm"
            )

    @property
    def spec(self) -> str:
        return f"chessboard:{self.columns}x{self.rows}:{self.square_mm:g}"

    @property
    def grid(self) -> tuple[int, int]:
        return self.columns, self.rows

    @property
    def points_mm(self) -> Array:
        return _grid_points(self.columns, self.rows, self.square_mm, 0.0)

    @property
    def directed(self) -> bool:
        """Turned by half a circle, a board looks the same unless one number of inner corners is odd, the other even."""
        return (self.columns + self.rows) % 2 == 1

    def detect(self, image: Grey) -> Corners | None:
        how = cv2.CALIB_CB_ADAPTIVE_THRESH + cv2.CALIB_CB_FAST_CHECK + cv2.CALIB_CB_NORMALIZE_IMAGE
        found, raw = cv2.findChessboardCorners(image, self.grid, flags=how)
        if not found:
            return None
        corners = np.asarray(raw, np.float32).reshape(-1, 1, 2)
        # A window that reaches into the next corner would be drawn to it.
        window = int(np.clip(0.4 * _spacing(corners.reshape(self.rows, self.columns, 2)), 2, 11))
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)
        fine = cv2.cornerSubPix(image, corners, (window, window), (-1, -1), stop)
        grid = np.asarray(fine, np.float64).reshape(self.rows, self.columns, 2)
        across, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
        if across[0] * down[1] < across[1] * down[0]:
            grid = grid[:, ::-1]  # numbered as in a mirror
        pixels = np.ascontiguousarray(grid).reshape(-1, 2)
        if self.directed and self._upside_down(image, pixels):
            pixels = pixels[::-1].copy()
        return Corners(np.arange(len(pixels)), pixels, sharpness(image, pixels))

    def draw(self, px_per_mm: float, margin_mm: float = 0.0) -> Grey:
        side = round(self.square_mm * px_per_mm)
        y, x = np.mgrid[: (self.rows + 1) * side, : (self.columns + 1) * side] // side
        print_ = np.where((x + y) % 2 == 0, 0, 255).astype(np.uint8)
        return np.pad(print_, round(margin_mm * px_per_mm), constant_values=255)

    def _upside_down(self, image: Grey, pixels: Array) -> bool:
        """Whether the first inner square is brighter than its neighbours: by convention it is black."""
        grid = pixels.reshape(self.rows, self.columns, 2)
        centres = (grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]) / 4
        at = np.rint(centres).astype(np.int64)
        grey = image[np.clip(at[..., 1], 0, image.shape[0] - 1), np.clip(at[..., 0], 0, image.shape[1] - 1)]
        row, column = np.mgrid[: grey.shape[0], : grey.shape[1]]
        first = (row + column) % 2 == 0
        return float(grey[first].mean()) > float(grey[~first].mean())


def parse_board(text: str) -> CharucoBoard | ChessBoard:
    """Read a board from one word.

    Raises:
        CalibrationError: the word is none, or the board cannot be.
    """
    kind, *parts = text.split(":")
    try:
        if kind == "charuco" and (len(parts) == 4 or (len(parts) == 5 and parts[4] == "legacy")):
            columns, rows = (int(number) for number in parts[0].split("x"))
            return CharucoBoard(columns, rows, float(parts[1]), float(parts[2]), parts[3], len(parts) == 5)
        if kind == "chessboard" and len(parts) == 2:
            columns, rows = (int(number) for number in parts[0].split("x"))
            return ChessBoard(columns, rows, float(parts[1]))
    except ValueError as error:
        raise CalibrationError(f"board {text!r}: {error}; write {_SYNTAX}") from error
    raise CalibrationError(f"board {text!r}: is no board; write {_SYNTAX}")


def sharpness(image: Grey, pixels: Array) -> float:
    """How steep the edges at the corners are: the largest step between neighbouring pixels over the local contrast.

    1.0 is a step within one pixel, 0.3 an edge that is smeared over three; the median over the corners. Of the two
    directions the softer one counts: a board that moves sideways is smeared only across.
    """
    steps: list[float] = []
    for x, y in np.rint(pixels[:: max(1, len(pixels) // 24)]).astype(np.int64):
        patch = image[max(y - 6, 0) : y + 7, max(x - 6, 0) : x + 7].astype(np.float64)
        if min(patch.shape) < 3:
            continue
        contrast = float(np.percentile(patch, 95) - np.percentile(patch, 5))
        if contrast > 0:
            across, down = np.abs(np.diff(patch, axis=1)), np.abs(np.diff(patch, axis=0))
            steps.append(float(min(np.percentile(across, 95), np.percentile(down, 95))) / contrast)
    return float(np.median(steps)) if steps else 0.0


def _spacing(grid: Array | NDArray[np.float32]) -> float:
    """Smallest distance between neighbours of a (rows, columns, 2) grid."""
    across = np.linalg.norm(np.diff(grid, axis=1), axis=2)
    down = np.linalg.norm(np.diff(grid, axis=0), axis=2)
    return float(min(across.min(), down.min()))


def _collinear(points_mm: Array) -> bool:
    spread = np.linalg.svd(points_mm[:, :2] - points_mm[:, :2].mean(axis=0), compute_uv=False)
    return bool(spread[1] < 1e-3 * spread[0])
