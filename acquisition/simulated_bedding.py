"""The empty wall cage through a wide lens: bedding, clear walls with reflections, cameras, spout, uneven light."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sync.camera_model import CameraModel
from .simulated_behaviors import SPOUT_MM
from .simulated_lens import WALL_CAGE_VIEWS
from .simulated_path import CAGE_MM

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]

GRID_PX = 8  # rays are computed for every eighth pixel and interpolated
PER_MM = 2  # grain of the bedding
FLOOR_GREY, WALL_GREY, ROOM_GREY = 150.0, 112.0, 46.0
STATIC_REFLECTION = 0.30  # of the floor in a clean wall
LENS_MM = 7.0
SPOUT_GREYS = (58, 150, 225)


@dataclass(frozen=True, slots=True)
class EmptyCage:
    """What a camera sees without animals.

    Attributes:
        image: (height, width) uint8.
        walls: (height, width) uint8: 0 for no wall, else 1 + axis * 2 + far: which wall is seen there.
    """

    image: Image
    walls: Image


def draw_wall_cage(model: CameraModel, seed: int) -> EmptyCage:
    """The picture of the empty wall cage for one camera. The wall before the camera is clear, and is not drawn."""
    eye = model.centre_mm.astype(np.float32)
    rays = _rays(model)
    bedding, smears = _bedding(seed), _smears(seed)
    shape = (model.height, model.width)
    image = np.full(shape, ROOM_GREY, np.float32)
    walls = np.zeros(shape, np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        down = rays[2] < 0
        t = np.where(down, -eye[2] / rays[2], 0.0).astype(np.float32)
        x, y = eye[0] + t * rays[0], eye[1] + t * rays[1]
        on_floor = down & (x >= 0) & (x <= CAGE_MM[0]) & (y >= 0) & (y <= CAGE_MM[1])
        image = np.where(on_floor, _floor(bedding, x, y), image)
        for axis in (0, 1):
            across = 1 - axis
            for far, level in enumerate((0.0, CAGE_MM[axis])):
                if (eye[axis] - level) * (1.0 - 2.0 * far) <= 0:
                    continue  # behind it
                t = ((np.float32(level) - eye[axis]) / rays[axis]).astype(np.float32)
                at, up = eye[across] + t * rays[across], eye[2] + t * rays[2]
                hit = (t > 0) & (at >= 0) & (at <= CAGE_MM[across]) & (up >= 0) & (up <= CAGE_MM[2])
                walls[hit] = 1 + 2 * axis + far
                image = np.where(hit, _wall(axis, far, at, up, smears), image)
                # What the wall mirrors: the ray goes on, turned back by it, to the floor.
                on = np.where(down, -up / rays[2], 0.0).astype(np.float32)
                back = np.float32(level) - on * rays[axis]
                side = at + on * rays[across]
                floor_x, floor_y = (back, side) if axis == 0 else (side, back)
                mirrored = hit & (on > 0) & (back >= 0) & (back <= CAGE_MM[axis])
                mirrored &= (side >= 0) & (side <= CAGE_MM[across])
                share = STATIC_REFLECTION * np.exp(-np.maximum(up, 0) / 60.0)
                image = np.where(mirrored, image + share * (_floor(bedding, floor_x, floor_y) - image), image)
    _draw_cameras(image, model)
    _draw_spout(image, model)
    # Lamps stand beside the lens: the middle of the picture is the brightest.
    v, u = np.ogrid[: model.height, : model.width]
    r2 = ((u - model.matrix[0, 2]) ** 2 + (v - model.matrix[1, 2]) ** 2) / (model.width / 2) ** 2
    image *= (1.08 - 0.30 * r2).astype(np.float32)
    return EmptyCage(np.clip(np.rint(image), 0, 255).astype(np.uint8), walls)


def _rays(model: CameraModel) -> list[Plane]:
    """Directions in the world, three (height, width) float32."""
    columns = np.arange(0, model.width + GRID_PX, GRID_PX, dtype=np.float64)
    rows = np.arange(0, model.height + GRID_PX, GRID_PX, dtype=np.float64)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1)
    coarse = model.rays(grid.reshape(-1, 2)).reshape(*grid.shape[:2], 3).astype(np.float32)
    u = np.broadcast_to((np.arange(model.width, dtype=np.float32) / GRID_PX)[None], (model.height, model.width))
    v = np.broadcast_to((np.arange(model.height, dtype=np.float32) / GRID_PX)[:, None], (model.height, model.width))
    fine = cv2.remap(coarse, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
    return [np.ascontiguousarray(fine[..., k], np.float32) for k in range(3)]


def _floor(bedding: Plane, x: Plane, y: Plane) -> Plane:
    edge = np.minimum(np.minimum(x, CAGE_MM[0] - x), np.minimum(y, CAGE_MM[1] - y))
    value = FLOOR_GREY + _sample(bedding, x, y) - 38.0 * np.exp(-np.maximum(edge, 0) / 12.0)
    return np.asarray(value, np.float32)


def _wall(axis: int, far: int, at: Plane, up: Plane, smears: Plane) -> Plane:
    width = CAGE_MM[1 - axis]
    value = WALL_GREY + 6.0 * axis - 4.0 * far + 0.10 * up + _sample(smears, at, up)
    value -= 34.0 * np.exp(-np.maximum(up, 0) / 10.0)
    frame = (up > CAGE_MM[2] - 6) | (at < 4) | (at > width - 4)
    return np.asarray(np.where(frame, 70.0, value), np.float32)


def _draw_cameras(image: Plane, model: CameraModel) -> None:
    """The other cameras, behind the walls opposite: a dark lens in a bright ring of lamps."""
    for view in WALL_CAGE_VIEWS:
        if view.name == model.name:
            continue
        at = model.project(view.position_mm[None])[0]
        away = float(np.linalg.norm(view.position_mm - model.centre_mm))
        if not np.isfinite(at).all() or model.to_camera(view.position_mm[None])[0, 2] < 60.0:
            continue
        scale = model.matrix[0, 0] / away
        centre = (round(float(at[0]) * 16), round(float(at[1]) * 16))
        for radius, grey in ((2.2 * LENS_MM, 84.0), (1.25 * LENS_MM, 150.0), (LENS_MM, 22.0), (0.25 * LENS_MM, 235.0)):
            cv2.circle(image, centre, max(round(radius * scale * 16), 8), grey, -1, cv2.LINE_AA, 4)


def _draw_spout(image: Plane, model: CameraModel) -> None:
    tip = np.array(SPOUT_MM)
    root = tip + np.array((14.0, 0.0, 12.0))
    line = tip + np.linspace(0.0, 1.0, 12)[:, None] * (root - tip)
    if np.any(model.to_camera(line)[:, 2] < 20.0):
        return
    pixels = model.project(line)
    scale = model.matrix[0, 0] / float(np.linalg.norm(tip - model.centre_mm))
    points = np.rint(pixels * 16).astype(np.int32)
    for width_mm, grey in zip((8.0, 5.5, 1.6), SPOUT_GREYS, strict=True):
        cv2.polylines(image, [points], False, (float(grey),), max(round(width_mm * scale), 1), cv2.LINE_AA, 4)
    cv2.circle(image, (int(points[0, 0]), int(points[0, 1])), max(round(2.4 * scale * 16), 8), 20.0, -1, cv2.LINE_AA, 4)


def _bedding(seed: int) -> Plane:
    """Wood shavings, about zero, ``PER_MM`` values per mm."""
    rng = np.random.default_rng([seed, 5])
    height, width = int(CAGE_MM[1]) * PER_MM + 8, int(CAGE_MM[0]) * PER_MM + 8
    image = np.zeros((height, width), np.float32)
    n = 7000
    places = rng.uniform((0, 0), (width, height), (n, 2)).astype(int).tolist()
    sizes = (rng.lognormal(1.5, 0.5, (n, 2)) * (PER_MM, 0.34 * PER_MM)).clip(1, 26).astype(int).tolist()
    angles = rng.uniform(0, 180, n).tolist()
    greys = rng.normal(0.0, 17.0, n).tolist()
    for (x, y), (long, short), angle, grey in zip(places, sizes, angles, greys, strict=True):
        # A shaving throws a thin shadow and has one light edge.
        cv2.ellipse(image, (x + 1, y + 2), (long, max(short, 1)), angle, 0, 360, grey - 30.0, -1, cv2.LINE_AA)
        cv2.ellipse(image, (x, y), (long, max(short, 1)), angle, 0, 360, grey + 6.0, -1, cv2.LINE_AA)
        cv2.ellipse(image, (x, y), (long, max(short, 1)), angle, 180, 320, grey + 22.0, 1, cv2.LINE_AA)
    image += cv2.GaussianBlur(rng.normal(0, 110, image.shape).astype(np.float32), (0, 0), 22.0)
    image += rng.normal(0, 4.0, image.shape).astype(np.float32)
    image -= image.mean()
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8), np.float32)


def _smears(seed: int) -> Plane:
    rng = np.random.default_rng([seed, 6])
    height, width = int(CAGE_MM[2]) * PER_MM + 8, int(CAGE_MM[0]) * PER_MM + 8
    image = cv2.GaussianBlur(rng.normal(0, 90, (height, width)).astype(np.float32), (0, 0), 16.0)
    for x, y, long, angle in zip(
        rng.uniform(0, width, 70), rng.uniform(0.5 * height, height, 70), rng.uniform(6, 26, 70),
        rng.uniform(0, 180, 70), strict=True,
    ):  # fmt: skip
        cv2.ellipse(image, (int(x), int(height - y)), (int(long), 3), angle, 0, 360, 9.0, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), 2.0), np.float32)


def _sample(texture: Plane, x: Plane, y: Plane) -> Plane:
    xs = np.clip(x * PER_MM, -1, texture.shape[1]).astype(np.float32)
    ys = np.clip(y * PER_MM, -1, texture.shape[0]).astype(np.float32)
    np.nan_to_num(xs, copy=False)
    np.nan_to_num(ys, copy=False)
    return np.asarray(cv2.remap(texture, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)
