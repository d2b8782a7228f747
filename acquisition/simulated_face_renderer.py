"""Draws the simulated face: a furred head in front of the dark, with an eye, whiskers, a mouth and a spout."""

import cv2
import numpy as np
from numpy.typing import NDArray

from .simulated_face import (
    CANON_PX,
    EYE_PX,
    EYE_RADII_PX,
    EYE_TILT_RAD,
    PX_PER_MM,
    WHISKER_ANGLE_RAD,
    WHISKER_LENGTH_PX,
    WHISKER_PX,
    FaceState,
    displacements,
    moved,
    tongue_tip,
    weights,
)
from .simulated_figure import FIXED, SHIFT
from .simulated_light import gain_at
from .simulated_noise import SensorNoise

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
Points = NDArray[np.float64]

HEAD_PX = np.array([
    (-40, 84), (60, 90), (150, 96), (200, 62), (274, 42), (330, 62), (423, 97), (514, 160), (640, 214), (709, 238),
    (780, 256), (808, 278), (806, 306), (784, 334), (731, 376), (674, 408), (571, 432), (491, 438), (423, 448),
    (320, 480), (280, 520), (-40, 520),
], np.float64)  # fmt: skip
PLATE_PX = np.array([(-40, -40), (345, -40), (190, 60), (-40, 64)], np.float64)
EAR_PX = np.array([(-40, 92), (96, 98), (140, 112), (122, 170), (60, 214), (-40, 220)], np.float64)
SPOUT_PX = np.array([(840, 470), (772, 420)], np.float64)
MUZZLE_PX = (430, 196, 830, 480)
"""What pad, jaw and snout move: x0, y0, x1, y1."""
N_HAIRS = 26_000
N_WHISKERS = 15
WHISKER_TAPER = ((0, 4, 2.2, 1.0), (4, 8, 1.4, 0.88), (8, 11, 0.8, 0.62))
"""First and last point of a piece of a whisker, its width in canonical pixels, its share of the light."""
EYE_ZOOM = 2.7


def face_affine(view: int, width: int, height: int) -> Points:
    """(2, 3): from canonical pixels to those of a view (0 left, 1 right, 2 eye) of this size."""
    scale = max(width / CANON_PX[0], height / CANON_PX[1])
    if view == 2:
        scale *= EYE_ZOOM
        shift = np.array([width / 2, height / 2]) - scale * np.array(EYE_PX)
        return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    # What does not fit is cut at the back and evenly above and below.
    x = width - scale * CANON_PX[0]
    y = (height - scale * CANON_PX[1]) / 2
    if view == 1:
        return np.array([[-scale, 0.0, width - 1 - x], [0.0, scale, y]])
    return np.array([[scale, 0.0, x], [0.0, scale, y]])


def face_pixels(pose_mm: Points, view: int, width: int, height: int) -> Points:
    """(n, 3) keypoints in mm to (n, 2) pixels of a view."""
    canonical = np.stack([pose_mm[:, 0] * PX_PER_MM, CANON_PX[1] - pose_mm[:, 1] * PX_PER_MM], axis=1)
    affine = face_affine(view, width, height)
    return canonical @ affine[:, :2].T + affine[:, 2]


class FaceRenderer:
    """One camera's picture of the face. One thread uses it. The same state and instant give the same bytes.

    Args:
        view: 0 from the left, 1 from the right, 2 the left eye.
        width: pixels.
        height: pixels.
        seed: of fur and noise.
        noise: standard deviation of the read-out noise, grey levels; always in the whole image.
        shot_noise: variance of the noise of the light per grey level.
        light_drift: relative amplitude of a slow change of the light.
    """

    def __init__(
        self,
        view: int,
        width: int,
        height: int,
        seed: int,
        noise: float = 0.0,
        shot_noise: float = 0.0,
        light_drift: float = 0.0,
    ) -> None:
        self._affine = face_affine(view, width, height)
        self._scale = abs(float(self._affine[0, 0]))
        self._noise = SensorNoise(width, height, seed, 20 + view, noise, shot_noise)
        self._light_drift = light_drift
        rng = np.random.default_rng([seed, 24, int(view == 1)])  # the two sides of a face differ
        self._closed = self._draw_head(rng, width, height)
        self._open = self._closed.copy()
        self._draw_ball(self._open)
        self._whiskers = _draw_whiskers(rng)
        self._set_muzzle(width, height)
        self.image: Image = np.empty((height, width), np.uint8)
        self._mask = np.zeros((height, width), np.uint8)

    def render(self, state: FaceState, instant: int, gain: float = 1.0) -> Image:
        """Draw ``state``; ``instant`` picks the noise, ``gain`` is the brightness.

        Returns:
            ``image`` (height, width) uint8, valid until the next call.
        """
        np.copyto(self.image, self._closed)
        self._move_muzzle(state)
        self._draw_tongue(state)
        self._draw_eye(state)
        self._draw_moving_whiskers(state)
        gain = gain_at(state.t_s, gain, self._light_drift)
        if round(gain * 256) != 256:
            table = np.clip(np.rint(np.arange(256) * gain), 0, 255).astype(np.uint8)
            cv2.LUT(self.image, table, dst=self.image)
        self._noise.add(self.image, 0, 0, instant)
        return self.image

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        """Canonical to fixed-point pixels, any shape (..., 2)."""
        return np.rint((points @ self._affine[:, :2].T + self._affine[:, 2]) * FIXED).astype(np.int32)

    def _draw_head(self, rng: np.random.Generator, width: int, height: int) -> Image:
        """Everything that does not move, with the eye shut."""
        image = np.full((height, width), 12.0, np.float32)
        back = _smooth(rng, width, height, 90.0 * self._scale) * 9.0
        image += np.maximum(back, -8)
        head = np.zeros((height, width), np.uint8)
        cv2.fillPoly(head, [self._fixed(_rounded(HEAD_PX))], (255,), cv2.LINE_AA, SHIFT)
        x, y = self._canonical(width, height)
        skin = _skin(x, y) + _smooth(rng, width, height, 14.0 * self._scale) * 7.0
        soft = cv2.GaussianBlur(head, (0, 0), 3.0 * self._scale).astype(np.float32) / 255
        image += soft * (skin - image)
        self._draw_fur(image, rng)
        ear = np.zeros((height, width), np.uint8)
        cv2.fillPoly(ear, [self._fixed(_rounded(EAR_PX))], (255,), cv2.LINE_AA, SHIFT)
        ear_soft = cv2.GaussianBlur(ear, (0, 0), 5.0 * self._scale).astype(np.float32) / 255
        image += ear_soft * (236.0 - image)
        plate = [self._fixed(PLATE_PX)]
        cv2.fillPoly(image, plate, (252.0,), cv2.LINE_AA, SHIFT)
        cv2.polylines(image, plate, True, (120.0,), max(round(6 * self._scale), 1), cv2.LINE_AA, SHIFT)
        for thick, grey in ((26.0, 52.0), (18.0, 128.0), (5.0, 226.0)):
            line = [self._fixed(SPOUT_PX)]
            cv2.polylines(image, line, False, (grey,), max(round(thick * self._scale), 1), cv2.LINE_AA, SHIFT)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _canonical(self, width: int, height: int) -> tuple[Plane, Plane]:
        """Canonical coordinates of every pixel."""
        x = ((np.arange(width) - self._affine[0, 2]) / self._affine[0, 0]).astype(np.float32)
        y = ((np.arange(height) - self._affine[1, 2]) / self._affine[1, 1]).astype(np.float32)
        return np.broadcast_to(x[None], (height, width)), np.broadcast_to(y[:, None], (height, width))

    def _draw_fur(self, image: Plane, rng: np.random.Generator) -> None:
        """Hairs that lie backwards, in the colour of the skin below them, some lighter and some darker."""
        at = rng.uniform((-20, 20), (CANON_PX[0] + 10, CANON_PX[1] + 20), (N_HAIRS, 2))
        outline = _rounded(HEAD_PX).astype(np.float32)
        at = at[[cv2.pointPolygonTest(outline, (float(px), float(py)), False) > 0 for px, py in at]]
        x, y = at[:, 0], at[:, 1]
        # From the snout backwards, and round the eye.
        angle = np.pi - 0.30 - 0.35 * (y - 260) / 200 + rng.normal(0, 0.16, len(at))
        length = np.interp(x, (0, 500, 700, 800), (21, 18, 11, 7)) * rng.uniform(0.6, 1.3, len(at))
        grey = _skin(x, y) + rng.normal(0, 1, len(at)) * np.interp(x, (0, 600, 800), (21, 18, 12))
        from_eye = np.hypot((x - EYE_PX[0]) / EYE_RADII_PX[0], (y - EYE_PX[1]) / EYE_RADII_PX[1])
        grey += 42.0 * np.exp(-(((from_eye - 1.28) / 0.2) ** 2))
        lines = np.stack([at, at + length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)], axis=1)
        bend = np.mean(lines, axis=1, keepdims=True) + rng.normal(0, 0.8, (len(at), 1, 2))
        hairs = self._fixed(np.concatenate([lines[:, :1], bend, lines[:, 1:]], axis=1))
        shade = np.clip(np.rint(grey / 6), 2, 40).astype(int)
        thick = max(round(1.3 * self._scale), 1)
        for step in rng.permutation(np.unique(shade)).tolist():
            cv2.polylines(image, list(hairs[shade == step]), False, (6.0 * step,), thick, cv2.LINE_AA, SHIFT)

    def _draw_ball(self, image: Image) -> None:
        """The eye without its pupil."""
        centre = self._fixed(np.array(EYE_PX))
        tilt = np.rad2deg(EYE_TILT_RAD) * np.sign(self._affine[0, 0])
        for share, grey in ((1.0, 46), (0.93, 78), (0.80, 88), (0.62, 80)):
            axes = (
                round(EYE_RADII_PX[0] * self._scale * share * FIXED),
                round(EYE_RADII_PX[1] * self._scale * share * FIXED),
            )
            cv2.ellipse(image, (int(centre[0]), int(centre[1])), axes, tilt, 0, 360, (grey,), -1, cv2.LINE_AA, SHIFT)

    def _draw_eye(self, state: FaceState) -> None:
        image, scale = self.image, self._scale
        aperture = 1.0 - state.closure
        centre = self._fixed(np.array(EYE_PX)).tolist()
        tilt = float(np.rad2deg(EYE_TILT_RAD) * np.sign(self._affine[0, 0]))
        axes = (round(EYE_RADII_PX[0] * scale * FIXED), max(round(EYE_RADII_PX[1] * scale * aperture * FIXED), 1))
        reach = round(EYE_RADII_PX[0] * scale) + 6
        x, y = centre[0] // FIXED, centre[1] // FIXED
        rows = slice(max(y - reach, 0), max(y + reach, 0))
        columns = slice(max(x - reach, 0), max(x + reach, 0))
        if aperture > 0.03:
            mask = self._mask[rows, columns]
            mask[...] = 0
            local = (centre[0] - columns.start * FIXED, centre[1] - rows.start * FIXED)
            cv2.ellipse(mask, local, axes, tilt, 0, 360, (255,), -1, cv2.LINE_8, SHIFT)
            eye = self._open[rows, columns].copy()
            pupil = np.array(EYE_PX) + np.array((state.gaze_mm[0], -state.gaze_mm[1])) * PX_PER_MM
            at = self._fixed(pupil) - (columns.start * FIXED, rows.start * FIXED)
            radius = state.pupil_mm / 2 * PX_PER_MM * scale * FIXED
            size = (round(radius), round(0.92 * radius))
            cv2.ellipse(eye, (int(at[0]), int(at[1])), size, tilt, 0, 360, (9,), -1, cv2.LINE_AA, SHIFT)
            # The lamp's glint stays with the lamp, not with the pupil.
            glint = self._fixed(np.array(EYE_PX) + np.array((12.0, -5.0))) - (columns.start * FIXED, rows.start * FIXED)
            for share, grey in ((8.5, 120), (5.5, 250)):
                cv2.circle(
                    eye, (int(glint[0]), int(glint[1])), round(share * scale * FIXED), (grey,), -1, cv2.LINE_AA, SHIFT
                )
            cv2.copyTo(eye, mask, image[rows, columns])
        rim = max(round(2.2 * scale), 1)
        cv2.ellipse(image, (centre[0], centre[1]), axes, tilt, 20, 160, (168,), rim, cv2.LINE_AA, SHIFT)
        cv2.ellipse(image, (centre[0], centre[1]), axes, tilt, 190, 350, (58,), rim, cv2.LINE_AA, SHIFT)

    def _set_muzzle(self, width: int, height: int) -> None:
        corners = np.array([(MUZZLE_PX[0], MUZZLE_PX[1]), (MUZZLE_PX[2], MUZZLE_PX[3])], np.float64)
        ends = (corners @ self._affine[:, :2].T + self._affine[:, 2]).round().astype(int)
        (x0, x1), (y0, y1) = sorted(ends[:, 0].tolist()), sorted(ends[:, 1].tolist())
        x0, x1 = max(x0, 0), min(x1, width)
        y0, y1 = max(y0, 0), min(y1, height)
        self._muzzle = (slice(y0, max(y1, y0)), slice(x0, max(x1, x0)))
        x, y = (plane[self._muzzle].astype(np.float64) for plane in self._canonical(width, height))
        fade = np.clip((x - MUZZLE_PX[0]) / 60.0, 0, 1) * np.clip((y - MUZZLE_PX[1]) / 30.0, 0, 1)
        pad, jaw, snout = (np.asarray(w * fade, np.float32) for w in weights(x, y))
        sx, sy = np.float32(self._affine[0, 0]), np.float32(self._affine[1, 1])
        self._fields = [(-sx * pad, 0.25 * sy * pad), (0.2 * sx * jaw, -sy * jaw), (None, sy * snout)]
        rows, columns = (
            np.mgrid[y0:y1, x0:x1].astype(np.float32) if x1 > x0 and y1 > y0 else np.zeros((2, 0, 0), np.float32)
        )
        self._rows, self._columns = rows, columns

    def _move_muzzle(self, state: FaceState) -> None:
        if not self._rows.size:
            return
        map_x, map_y = self._columns.copy(), self._rows.copy()
        for amount, (along, down) in zip(displacements(state), self._fields, strict=True):
            if along is not None:
                map_x += np.float32(amount) * along
            map_y += np.float32(amount) * down
        cv2.remap(
            self._closed, map_x, map_y, cv2.INTER_LINEAR, dst=self.image[self._muzzle], borderMode=cv2.BORDER_REPLICATE
        )

    def _draw_tongue(self, state: FaceState) -> None:
        if state.jaw > 0.02:
            mouth = np.array(moved((742.0, 366.0), state))
            gap = np.array(
                [(-26, 10), (6, -6), (20, -16), (12, 2 + 16 * state.jaw), (-18, 12 + 10 * state.jaw)], np.float64
            )
            cv2.fillPoly(self.image, [self._fixed(mouth + gap)], (34,), cv2.LINE_AA, SHIFT)
        if state.tongue <= 0.02:
            return
        root, tip = np.array(moved((738.0, 362.0), state)), np.array(tongue_tip(state))
        along = tip - root
        side = np.array([-along[1], along[0]]) / (np.hypot(*along) + 1e-9)
        u = np.linspace(0.0, 1.0, 9)[:, None]
        # It bends up at its end, towards the spout.
        spine = root + u * along + np.array([10.0, -12.0]) * (u * u - u) * state.tongue
        width = 11.0 * np.sqrt(np.clip(1.0 - (u - 0.25) ** 2 * 1.7, 0.04, 1.0))
        for share, grey in ((1.0, 128), (0.72, 164), (0.30, 196)):
            outline = np.concatenate([spine + share * width * side, (spine - share * width * side)[::-1]])
            cv2.fillPoly(self.image, [self._fixed(outline)], (grey,), cv2.LINE_AA, SHIFT)

    def _draw_moving_whiskers(self, state: FaceState) -> None:
        u = np.linspace(0.0, 1.0, 12)
        pad, _, _ = displacements(state)
        for root, angle, length, bend, share, grey in self._whiskers:
            turned = angle - share * state.whisk_rad
            heading = turned + bend * u
            steps = length / 11 * np.stack([np.cos(heading), -np.sin(heading)], axis=1)
            line = (
                np.array(root)
                + np.array([0.7 * pad, 0.0])
                + np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])
            )
            fixed = self._fixed(line)
            # It gets thinner and fainter towards its tip.
            for begin, end, px, light in WHISKER_TAPER:
                thick = max(round(px * self._scale), 1)
                piece = [fixed[begin : end + 1]]
                cv2.polylines(self.image, piece, False, (round(light * grey),), thick, cv2.LINE_AA, SHIFT)


def _draw_whiskers(rng: np.random.Generator) -> list[tuple[tuple[float, float], float, float, float, float, int]]:
    """(root, angle, length, bend, share of the whisk, grey) of each; the first is the keypoint's."""
    whiskers = [(WHISKER_PX, WHISKER_ANGLE_RAD, WHISKER_LENGTH_PX, 0.0, 1.0, 150)]
    for k in range(N_WHISKERS - 1):
        up = k < 6
        root = (float(rng.uniform(590, 690)), float(rng.uniform(280, 300) if up else rng.uniform(318, 350)))
        angle = float(rng.uniform(0.55, 1.75) if up else -rng.uniform(0.9, 2.2))
        length = float(rng.uniform(150, 290) if up else rng.uniform(90, 190))
        bend = float(rng.uniform(-0.7, -0.1) if up else rng.uniform(0.1, 0.5))
        whiskers.append(
            (root, angle, length, bend, float(rng.uniform(0.7, 1.15)) * (1 if up else -0.6), int(rng.uniform(105, 190)))
        )
    return whiskers


def _skin(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mean grey of the fur at a place: dark behind, bright on pad and lower lip."""
    grey = 92.0 + 12.0 * np.exp(-(((x - 300) / 160) ** 2) - ((y - 120) / 70) ** 2)
    grey = grey + 98.0 * np.exp(-(((x - 660) / 130) ** 2) - ((y - 322) / 62) ** 2)
    grey = grey + 62.0 * np.exp(-(((x - 775) / 60) ** 2) - ((y - 285) / 50) ** 2)
    grey = grey + 48.0 * np.exp(-(((x - 570) / 120) ** 2) - ((y - 415) / 30) ** 2)
    return grey - 26.0 * np.exp(-(((x - 300) / 220) ** 2) - ((y - 430) / 60) ** 2)


def _smooth(rng: np.random.Generator, width: int, height: int, sigma: float) -> Plane:
    """Smooth noise of unit variance."""
    small = max(round(4 / 3 * sigma / 4), 1)
    rough = rng.standard_normal((height // small + 4, width // small + 4), np.float32)
    soft = cv2.GaussianBlur(rough, (0, 0), max(sigma / small, 0.5))
    soft = (soft - soft.mean()) / (soft.std() + 1e-9)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _rounded(polygon: Points) -> Points:
    """The polygon with its corners cut twice (Chaikin)."""
    for _ in range(2):
        after = np.roll(polygon, -1, axis=0)
        polygon = np.stack([0.75 * polygon + 0.25 * after, 0.25 * polygon + 0.75 * after], axis=1).reshape(-1, 2)
    return polygon
