"""What a mouse has beside ellipsoids: tail, eyes, and a shadow on the floor, as polygons in one view."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .simulated_motion import KEYPOINTS, SNOUT_MM

TAIL_RADII_MM = (2.9, 2.0, 1.0)  # at the base, in the middle, at the tip
TAIL_GREYS = (92, 118)  # skin, and the light along its middle
TAIL_LIGHT = 0.5  # width of that light relative to the tail
N_TAIL = 9  # points along the tail
N_EYE = 12  # points of an eye's outline
N_RING = 14
EYE_MM = (0.42 * SNOUT_MM, 5.4, 3.2)  # from the head: forward, sideways, up
EYE_RADIUS_MM = 1.9
GLINT = 0.35  # size of the light in the eye, and how far it lies up and left
SHADOW_RADII_MM = np.array([8.0, 16.0, 17.0, 13.0, 9.0, 4.0])

_INDEX = {name: k for k, name in enumerate(KEYPOINTS)}
_TAIL = [_INDEX[name] for name in ("tail_base", "tail_mid", "tail_tip")]
_SPINE = [_INDEX[name] for name in ("tail_base", "hip", "spine", "neck", "head", "nose")]
_HEAD, _NOSE, _LEFT, _RIGHT = (_INDEX[name] for name in ("head", "nose", "ear_left", "ear_right"))


def _ring(n: int) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


_RING, _EYE = _ring(N_RING), _ring(N_EYE)
_U = np.linspace(0.0, 1.0, N_TAIL)
# A parabola through base, middle and tip.
_TAIL_WEIGHTS = np.stack([(1 - _U) * (1 - 2 * _U), 4 * _U * (1 - _U), _U * (2 * _U - 1)], axis=1)
_TAIL_RADIUS = np.interp(_U, (0.0, 0.5, 1.0), TAIL_RADII_MM)


@dataclass(frozen=True, slots=True)
class ExtraShapes:
    """Polygons in pixels.

    Attributes:
        tail: (2, N_TAIL - 1, 4, 2): skin and light, piece by piece.
        tail_depth: mm from the camera.
        eyes: (0 to 4, N_EYE, 2): of each eye that can be seen, the eye and its glint.
        shadow: (6, N_RING, 2): rings along the body; the shadow is what they sweep.
    """

    tail: NDArray[np.float64]
    tail_depth: float
    eyes: NDArray[np.float64]
    shadow: NDArray[np.float64]


class Extras:
    """Computes them for one view.

    Args:
        projection: (3, 4), to homogeneous pixels, or to ideal image coordinates, where ``focal_px`` is 1.
        focal_px: focal length.
        position_mm: (3,) the pinhole.
    """

    def __init__(
        self, projection: NDArray[np.float64], focal_px: float, position_mm: Sequence[float] | NDArray[np.float64]
    ) -> None:
        self._linear, self._shift = projection[:, :3].T.copy(), projection[:, 3].copy()
        self._focal_px = focal_px
        self._position = np.array(position_mm)

    def at(self, pose: NDArray[np.float64]) -> ExtraShapes:
        """Tail, eyes and shadow of one pose (len(KEYPOINTS), 3) in mm."""
        curve = _TAIL_WEIGHTS @ pose[_TAIL]
        np.maximum(curve[:, 2], 1.0, out=curve[:, 2])
        spine = pose[_SPINE]
        rings = np.zeros((len(_SPINE), N_RING, 3))
        # What is high up throws a fainter shadow; here it throws a smaller one.
        radius = SHADOW_RADII_MM * np.clip(1.0 - (spine[:, 2] - 20.0) / 110.0, 0.3, 1.0)
        rings[:, :, :2] = spine[:, None, :2] + radius[:, None, None] * _RING
        eyes = self._visible_eyes(pose)
        points = np.concatenate([curve, eyes, rings.reshape(-1, 3)]) @ self._linear
        points += self._shift
        depth = points[:, 2]
        pixels = points[:, :2] / depth[:, None]
        n = N_TAIL + len(eyes)
        return ExtraShapes(
            self._tail(pixels[:N_TAIL], depth[:N_TAIL]),
            float(depth[:N_TAIL].mean()),
            self._eyes(pixels[N_TAIL:n], depth[N_TAIL:n]),
            pixels[n:].reshape(len(_SPINE), N_RING, 2),
        )

    def _visible_eyes(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        head = pose[_HEAD]
        forward, side = pose[_NOSE] - head, pose[_LEFT] - pose[_RIGHT]
        forward = forward / (np.sqrt(forward @ forward) + 1e-9)
        side = side / (np.sqrt(side @ side) + 1e-9)
        up = np.array(
            (
                forward[1] * side[2] - forward[2] * side[1],
                forward[2] * side[0] - forward[0] * side[2],
                forward[0] * side[1] - forward[1] * side[0],
            )
        )
        middle = head + EYE_MM[0] * forward + EYE_MM[2] * up
        to_camera = self._position - middle
        aside, above = float(side @ to_camera), 0.3 * float(up @ to_camera)
        seen = [sign for sign in (1.0, -1.0) if sign * aside + above > 0]
        return middle + EYE_MM[1] * np.array(seen)[:, None] * side

    def _eyes(self, at: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
        radius = (EYE_RADIUS_MM * self._focal_px / depth)[:, None]
        centers = np.stack([at, at - GLINT * radius], axis=1)
        sizes = np.stack([radius, GLINT * radius], axis=1)
        return (centers[:, :, None, :] + sizes[:, :, :, None] * _EYE).reshape(-1, N_EYE, 2)

    def _tail(self, pixels: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
        along = np.empty_like(pixels)
        along[1:-1] = pixels[2:] - pixels[:-2]
        along[0], along[-1] = pixels[1] - pixels[0], pixels[-1] - pixels[-2]
        scale = _TAIL_RADIUS * self._focal_px / depth / (np.hypot(along[:, 0], along[:, 1]) + 1e-9)
        side = np.empty_like(pixels)
        side[:, 0], side[:, 1] = -along[:, 1] * scale, along[:, 0] * scale
        pieces = np.empty((2, N_TAIL - 1, 4, 2))
        for layer, width in enumerate((1.0, TAIL_LIGHT)):
            left, right = pixels + width * side, pixels - width * side
            pieces[layer, :, 0], pieces[layer, :, 1] = left[:-1], left[1:]
            pieces[layer, :, 2], pieces[layer, :, 3] = right[1:], right[:-1]
        return pieces
