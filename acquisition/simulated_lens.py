"""The views of the simulated scenes as calibrated cameras, and the lens applied to what is drawn.

The wall cage is that of a published rig: a stereo pair in each of four walls, lenses of 120 degrees horizontally. Its
lenses follow the equidistant model of `CameraModel` with small coefficients; every camera is a little off its nominal
place, direction, focal length and centre, as real ones are.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sync.camera_model import CameraModel
from ..sync.errors import CameraOpenError
from .simulated_cage import CAGE_VIEWS
from .simulated_path import CAGE_MM

Array = NDArray[np.float64]
SceneName = Literal["cage", "wall_cage", "face"]

BASELINE_MM = 60.0
OUT_MM, UP_MM = 14.0, 182.0  # behind the clear wall, above the floor
DOWN_RAD = np.deg2rad(38.0)  # tilt: the far wall and the floor before the camera are both in view
HALF_WIDTH_RAD = np.deg2rad(60.0)
DISTORTION = (-0.028, 0.0042, -0.0011, 0.0)
FACE_VIEWS = ("left", "right", "eye")


@dataclass(frozen=True, slots=True)
class WideView:
    """One camera of the wall cage.

    Attributes:
        name: wall and side, as in ``CAGE_VIEWS``.
        position_mm: (3,) optical centre.
        rotation: (3, 3) world to camera.
        distortion: of the equidistant model.
        focal_scale: relative error of the focal length.
        centre_off: principal point less the middle of the image, in image widths.
    """

    name: str
    position_mm: Array
    rotation: Array
    distortion: Array
    focal_scale: float
    centre_off: tuple[float, float]

    def model(self, width: int, height: int) -> CameraModel:
        """The camera at this size of image; the horizontal field of view is the same at every aspect ratio."""
        t2 = HALF_WIDTH_RAD**2
        k1, k2, k3, k4 = DISTORTION
        edge = HALF_WIDTH_RAD * (1.0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
        focal = self.focal_scale * width / 2 / edge
        cx = (width - 1) / 2 + self.centre_off[0] * width
        cy = (height - 1) / 2 + self.centre_off[1] * width
        matrix = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        translation = -self.rotation @ self.position_mm
        return CameraModel(self.name, width, height, matrix, self.distortion, self.rotation, translation, fisheye=True)


def _wide_views() -> tuple[WideView, ...]:
    x, y, _ = CAGE_MM
    walls = (
        ("north", (x / 2, y + OUT_MM), (-1.0, 0.0)),
        ("east", (x + OUT_MM, y / 2), (0.0, 1.0)),
        ("south", (x / 2, -OUT_MM), (1.0, 0.0)),
        ("west", (-OUT_MM, y / 2), (0.0, -1.0)),
    )
    views: list[WideView] = []
    for wall, at, along in walls:
        right = np.array([*along, 0.0])
        inward = np.cross((0.0, 0.0, 1.0), right)
        forward = np.cos(DOWN_RAD) * inward - np.array([0.0, 0.0, np.sin(DOWN_RAD)])
        nominal = np.stack([right, np.cross(forward, right), forward])
        for side, sign in (("left", -1.0), ("right", 1.0)):
            rng = np.random.default_rng([120, len(views)])  # of the rig that this is, not of the session
            place = np.array([*at, UP_MM]) + sign * BASELINE_MM / 2 * right
            views.append(
                WideView(
                    f"{wall}_{side}",
                    place + rng.normal(0.0, 0.15, 3),
                    cv2.Rodrigues(rng.normal(0.0, np.deg2rad(0.4), 3))[0] @ nominal,
                    np.array(DISTORTION) + rng.normal(0.0, (1e-3, 2e-4, 2e-5, 0.0)),
                    float(1.0 + rng.normal(0.0, 0.003)),
                    (float(rng.normal(0.0, 0.002)), float(rng.normal(0.0, 0.002))),
                )
            )
    return tuple(views)


WALL_CAGE_VIEWS = _wide_views()
"""Two cameras behind each wall, 60 mm apart, in the order of ``CAGE_VIEWS``."""


def view_names(scene: SceneName) -> tuple[str, ...]:
    """The views of a scene, by number."""
    if scene == "face":
        return FACE_VIEWS
    return tuple(view.name for view in (CAGE_VIEWS if scene == "cage" else WALL_CAGE_VIEWS))


def view_number(scene: SceneName, view: int | str) -> int:
    """A view given by number or name.

    Raises:
        CameraOpenError: there is none.
    """
    names = view_names(scene)
    if isinstance(view, str) and view in names:
        return names.index(view)
    if isinstance(view, int) and 0 <= view < len(names):
        return view
    raise CameraOpenError(f"view {view!r}: there is none; choose 0 to {len(names) - 1} or one of {', '.join(names)}")


def simulated_view_model(scene: SceneName, view: int | str, width: int, height: int) -> CameraModel:
    """The true calibration of a simulated view of ``cage`` or ``wall_cage``; its world is the cage's frame.

    Raises:
        CameraOpenError: there is no such view, or the scene is the face, which has no geometry in mm.
    """
    if scene == "face":
        raise CameraOpenError("scene 'face': is drawn in the plane and has no camera model; choose cage or wall_cage")
    k = view_number(scene, view)
    if scene == "wall_cage":
        return WALL_CAGE_VIEWS[k].model(width, height)
    pinhole = CAGE_VIEWS[k]
    rotation = pinhole.rotation()
    translation = -rotation @ np.array(pinhole.position_mm)
    return CameraModel(
        pinhole.name, width, height, pinhole.intrinsics(width, height), np.zeros(4), rotation, translation
    )


class Lens:
    """From ideal image coordinates (x / z, y / z) to pixels, fast, for one camera without or with a fisheye lens."""

    def __init__(self, model: CameraModel) -> None:
        self._focal = np.array([model.matrix[0, 0], model.matrix[1, 1]])
        self._centre = model.matrix[:2, 2].copy()
        self._k: list[float] | None = model.distortion.tolist() if model.fisheye else None

    def to_pixels(self, xy: Array) -> Array:
        """(n, 2) to (n, 2)."""
        if self._k is None:
            return xy * self._focal + self._centre
        k1, k2, k3, k4 = self._k
        r = np.sqrt(np.einsum("ij,ij->i", xy, xy)) + 1e-12
        theta = np.arctan(r)
        t2 = theta * theta
        bent = theta * (1.0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
        return xy * (bent / r)[:, None] * self._focal + self._centre
