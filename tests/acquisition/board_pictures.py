"""Pictures of a printed board as a camera would take them: every pixel's ray is followed to the board."""

import cv2
import numpy as np
from ethostream.acquisition.calibration.board import CharucoBoard, ChessBoard
from ethostream.acquisition.calibration.pose import Pose
from ethostream.sync.camera_model import CameraModel
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

MARGIN_MM = 12.0
GROUND = 90
"""Grey level behind the board."""


class BoardPainter:
    """Draws one board in one camera; rays are computed once.

    Args:
        model: camera.
        board: print.
        px_per_mm: of the print.
    """

    def __init__(self, model: CameraModel, board: CharucoBoard | ChessBoard, px_per_mm: float) -> None:
        self._model = model
        self._px_per_mm = px_per_mm
        # Softened as a lens would, before it is sampled: sharp edges between pixels would move corners about.
        self._print = cv2.GaussianBlur(board.draw(px_per_mm, MARGIN_MM), (0, 0), 0.45 * px_per_mm)
        # Of a chessboard the origin is the first inner corner, one square into the print.
        self._inset = MARGIN_MM + (board.square_mm if isinstance(board, ChessBoard) else 0.0)
        y, x = np.mgrid[: model.height, : model.width]
        self._rays = model.rays(np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64))

    def paint(self, pose: Pose, rng: np.random.Generator, noise: float = 2.0) -> NDArray[np.uint8]:
        """(h, w) uint8: the board at ``pose`` (board to world) before a grey wall, with sensor noise."""
        model = self._model
        normal = pose.rotation[:, 2]
        along = ((pose.translation_mm - model.centre_mm) @ normal) / (self._rays @ normal)
        at = (model.centre_mm + along[:, None] * self._rays - pose.translation_mm) @ pose.rotation[:, :2]
        at[along <= 0] = -1e4
        source = ((at + self._inset) * self._px_per_mm - 0.5).astype(np.float32)
        shape = (model.height, model.width)
        drawn = cv2.remap(
            self._print,
            source[:, 0].reshape(shape),
            source[:, 1].reshape(shape),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(GROUND,),
        )
        return np.clip(drawn * 0.8 + 20 + rng.normal(0, noise, shape), 0, 255).astype(np.uint8)


def two_cameras(fisheye: bool = False) -> list[CameraModel]:
    """A stereo pair, 480 x 360, 80 mm apart and turned to each other by ten degrees."""
    models: list[CameraModel] = []
    for i, (x, angle) in enumerate(((-40.0, 5.0), (40.0, -5.0))):
        turn = Rotation.from_euler("y", angle, degrees=True).as_matrix().T
        focal = 260.0 if fisheye else 430.0 + 8 * i
        matrix = np.array([[focal, 0, 238.0 + 4 * i], [0, focal, 182.0], [0, 0, 1]])
        lens = np.array([0.03, -0.01, 0.0, 0.0]) if fisheye else np.array([-0.22, 0.09, 1e-3, -5e-4, 0.0])
        models.append(CameraModel(f"cam{i}", 480, 360, matrix, lens, turn, -turn @ np.array([x, 0, 0]), fisheye))
    return models


def shown_poses(n: int, middle_mm: NDArray[np.float64], near_mm: float = 220.0, seed: int = 3) -> list[Pose]:
    """Boards before the pair, all over the picture, tilted to every side."""
    rng = np.random.default_rng(seed)
    poses: list[Pose] = []
    for i in range(n):
        tilt = np.radians(28) * np.array([np.cos(2.4 * i), np.sin(2.4 * i), 0])
        turn = (Rotation.from_rotvec(tilt) * Rotation.from_euler("z", rng.uniform(-0.4, 0.4))).as_matrix()
        z = near_mm + 30 * (i % 4)
        place = np.array([((i % 3) - 1) * 0.28 * z, ((i // 3 % 3) - 1) * 0.2 * z, z])
        poses.append(Pose(turn, place - turn @ middle_mm))
    return poses
