"""The cage as the cameras see it: eight pinhole views with known geometry, and the picture of the empty cage."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .simulated_path import CAGE_MM


@dataclass(frozen=True, slots=True)
class ViewGeometry:
    """A pinhole camera in the cage's frame (mm, z up), without lens distortion.

    Attributes:
        name: wall and side.
        position_mm: the pinhole.
        target_mm: the point in the middle of the image.
        focal_rel: focal length in image heights; the vertical field of view is the same at every aspect ratio.
    """

    name: str
    position_mm: tuple[float, float, float]
    target_mm: tuple[float, float, float]
    focal_rel: float

    def rotation(self) -> NDArray[np.float64]:
        """(3, 3): cage frame to camera frame (x right, y down, z forward)."""
        forward = np.subtract(self.target_mm, self.position_mm)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def intrinsics(self, width: int, height: int) -> NDArray[np.float64]:
        """(3, 3) camera matrix in pixels."""
        f = self.focal_rel * height
        return np.array([[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]])

    def projection(self, width: int, height: int) -> NDArray[np.float64]:
        """(3, 4) matrix from homogeneous cage coordinates in mm to homogeneous pixels."""
        rotation = self.rotation()
        position = np.array(self.position_mm)[:, None]
        return self.intrinsics(width, height) @ np.hstack([rotation, -rotation @ position])

    def project(self, points_mm: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """(n, 3) points in mm to (n, 2) pixels."""
        p = self.projection(width, height)
        q = points_mm @ p[:, :3].T + p[:, 3]
        return q[:, :2] / q[:, 2:]


def _views() -> tuple[ViewGeometry, ...]:
    x, y, _ = CAGE_MM
    out, up, half_base = 215.0, 210.0, 55.0
    target = (x / 2, y / 2, 28.0)
    walls = (
        ("north", (x / 2, y + out), (-1.0, 0.0), 1.02),
        ("east", (x + out, y / 2), (0.0, 1.0), 1.10),
        ("south", (x / 2, -out), (1.0, 0.0), 1.02),
        ("west", (-out, y / 2), (0.0, -1.0), 1.10),
    )
    return tuple(
        ViewGeometry(
            f"{wall}_{side}",
            (at[0] + sign * half_base * along[0], at[1] + sign * half_base * along[1], up),
            target,
            focal,
        )
        for wall, at, along, focal in walls
        for side, sign in (("left", -1.0), ("right", 1.0))
    )


CAGE_VIEWS = _views()
"""Two cameras outside each wall, 110 mm apart, looking down into the cage: ``north_left``, ``north_right``, ...

Left and right are those of the camera itself.
"""

FLOOR_GREY, WALL_GREY, OUTSIDE_GREY = 168.0, 196.0, 120.0


def draw_cage(view: ViewGeometry, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """(height, width) uint8: floor with bedding, the far walls, and the room behind. The near wall is clear."""
    rotation = view.rotation()
    inverse = np.linalg.inv(view.intrinsics(width, height))
    u = (np.arange(width) * inverse[0, 0] + inverse[0, 2]).astype(np.float32)[None, :]
    v = (np.arange(height) * inverse[1, 1] + inverse[1, 2]).astype(np.float32)[:, None]
    right, down, forward = rotation.astype(np.float32)
    rays = [right[k] * u + down[k] * v + forward[k] for k in range(3)]
    eye = np.array(view.position_mm, np.float32)
    image = np.full((height, width), OUTSIDE_GREY, np.float32)
    best = np.full((height, width), np.inf, np.float32)
    textures = _textures(seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis, level, shade in _surfaces(view):
            distance = (np.float32(level) - eye[axis]) / rays[axis]
            a, b = (k for k in range(3) if k != axis)
            at_a, at_b = eye[a] + distance * rays[a], eye[b] + distance * rays[b]
            hit = (distance > 0) & (distance < best) & (at_a >= 0) & (at_a <= CAGE_MM[a])
            hit &= (at_b >= 0) & (at_b <= CAGE_MM[b])
            if axis == 2:
                value = shade + _sample(textures[0], at_a, at_b, 1.0)
                edge = np.minimum(np.minimum(at_a, CAGE_MM[0] - at_a), np.minimum(at_b, CAGE_MM[1] - at_b))
                value -= 34.0 * np.exp(-np.maximum(edge, 0) / 14.0)  # the corner gets less light
            else:
                value = shade + 0.35 * _sample(textures[1], at_a, at_b, 0.5) + 0.05 * at_b
                value -= 30.0 * np.exp(-np.maximum(at_b, 0) / 18.0)
                value -= 55.0 * ((at_b > CAGE_MM[2] - 5) | (at_a < 2.5) | (at_a > CAGE_MM[a] - 2.5))
            image = np.where(hit, value, image)
            best = np.where(hit, distance, best)
    return np.clip(image, 0, 255).astype(np.uint8)


def _surfaces(view: ViewGeometry) -> list[tuple[int, float, float]]:
    """(axis, level, shade) of what can be seen: the floor and the walls that face the camera from inside."""
    surfaces = [(2, 0.0, FLOOR_GREY)]
    for axis in (0, 1):
        for level, inside in ((0.0, 1.0), (CAGE_MM[axis], -1.0)):
            if (view.position_mm[axis] - level) * inside > 0:
                surfaces.append((axis, level, WALL_GREY - 10.0 * axis))
    return surfaces


def _textures(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bedding and smears on the walls, one value per mm."""
    rng = np.random.default_rng([seed, 3])
    shape = (int(CAGE_MM[1]) + 8, int(CAGE_MM[0]) + 8)
    bedding = np.zeros(shape, np.float32)
    for n, length, width, depth in ((900, 9.0, 2, 15.0), (1500, 5.0, 1, 20.0)):
        for x, y, angle, grey in zip(
            rng.uniform(0, shape[1], n), rng.uniform(0, shape[0], n), rng.uniform(0, np.pi, n),
            rng.uniform(-depth, depth, n), strict=True,
        ):  # fmt: skip
            dx, dy = length * np.cos(angle) / 2, length * np.sin(angle) / 2
            cv2.line(bedding, (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy)), float(grey), width)
    bedding += cv2.GaussianBlur(rng.normal(0, 60, shape).astype(np.float32), (0, 0), 6.0)
    smears = cv2.GaussianBlur(rng.normal(0, 160, shape).astype(np.float32), (0, 0), 9.0)
    return np.asarray(cv2.GaussianBlur(bedding, (0, 0), 0.7), np.float32), np.asarray(smears, np.float32)


def _sample(
    texture: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32], scale: float
) -> NDArray[np.float32]:
    xs = np.nan_to_num(np.clip(x * scale, -1, texture.shape[1])).astype(np.float32)
    ys = np.nan_to_num(np.clip(y * scale, -1, texture.shape[0])).astype(np.float32)
    return np.asarray(cv2.remap(texture, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)
