"""A head-fixed simulated mouse: what its face does at every instant, and the keypoints that say so.

Bouts of four behaviours follow each other as in `simulated_world`. Whisking, licking and blinking run on their own
clocks inside a bout; the pupil follows arousal, which whisking and licking raise, with a lag of a second or so; gaze
jumps now and then. Coordinates are mm in the plane of the face seen from its left: x towards the snout, y up.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import cos, exp, pi, sin

import numpy as np
from numpy.typing import NDArray

from .simulated_bouts import ease, next_behavior

FACE_BEHAVIORS = ("still", "whisk", "lick", "blink")

FACE_KEYPOINTS = (
    "snout", "pad", "jaw", "tongue_tip", "eye", "pupil_front", "pupil_back", "lid_upper", "lid_lower", "whisker_tip",
)  # fmt: skip

PX_PER_MM = 32.0
"""Of the canonical picture, 800 x 480 pixels, in which places on the face are given below."""
CANON_PX = (800, 480)

SNOUT_PX, PAD_PX, JAW_PX, MOUTH_PX = (786.0, 292.0), (612.0, 316.0), (640.0, 408.0), (744.0, 364.0)
EYE_PX, EYE_RADII_PX, EYE_TILT_RAD = (345.0, 276.0), (64.0, 36.0), -0.16
WHISKER_PX, WHISKER_ANGLE_RAD, WHISKER_LENGTH_PX = (650.0, 292.0), 1.45, 250.0
"""The whisker whose tip is a keypoint: root, angle to the x axis (y up) at rest, length."""

TRANSITIONS = {
    "still": {"whisk": 0.50, "lick": 0.24, "blink": 0.26},
    "whisk": {"still": 0.56, "lick": 0.26, "blink": 0.18},
    "lick": {"still": 0.46, "whisk": 0.40, "blink": 0.14},
    "blink": {"still": 0.52, "whisk": 0.34, "lick": 0.14},
}
LENGTH_S = {"still": (0.9, 4.0), "whisk": (0.7, 3.5), "lick": (0.8, 3.0), "blink": (0.18, 0.36)}
WHISK_HZ, LICK_HZ, BREATH_HZ = (7.0, 12.0), (5.5, 7.5), 2.4
EASE_S = 0.10
PUPIL_MM = (0.75, 1.9)
AROUSAL_S = 1.1  # time constant of the pupil
GAZE_S = 1.7  # mean time between jumps of the gaze


@dataclass(frozen=True, slots=True)
class FaceState:
    """The face at one instant.

    Attributes:
        t_s: seconds since the session began.
        behavior: one of ``FACE_BEHAVIORS``.
        bout: number of the bout.
        whisk_rad: angle of the whiskers from rest, positive forward.
        whisking: in a bout of whisking.
        tongue: 0 inside, 1 fully out.
        n_licks: licks begun since the session began.
        jaw: 0 closed, 1 wide open.
        closure: of the eyelids: 0 open, 1 shut.
        pupil_mm: diameter of the pupil.
        gaze_mm: (2,) where the pupil is from the middle of the eye, mm.
        breath: -1 to 1.
    """

    t_s: float
    behavior: str
    bout: int
    whisk_rad: float
    whisking: bool
    tongue: float
    n_licks: int
    jaw: float
    closure: float
    pupil_mm: float
    gaze_mm: tuple[float, float]
    breath: float

    @property
    def pose(self) -> NDArray[np.float64]:
        """(len(FACE_KEYPOINTS), 3) float64 mm; z is 0."""
        eye = np.array(EYE_PX)
        pupil = eye + np.array((self.gaze_mm[0], -self.gaze_mm[1])) * PX_PER_MM
        half = np.array((self.pupil_mm / 2 * PX_PER_MM, 0.0))
        lid = np.array((0.0, EYE_RADII_PX[1] * (1.0 - self.closure)))
        angle = WHISKER_ANGLE_RAD - self.whisk_rad
        whisker = np.array(WHISKER_PX) + WHISKER_LENGTH_PX * np.array((cos(angle), -sin(angle)))
        points = np.array(
            [
                moved(SNOUT_PX, self),
                moved(PAD_PX, self),
                moved(JAW_PX, self),
                tongue_tip(self),
                eye,
                pupil + half,
                pupil - half,
                eye - lid,
                eye + lid,
                whisker,
            ]
        )
        pose = np.zeros((len(points), 3))
        pose[:, 0] = points[:, 0] / PX_PER_MM
        pose[:, 1] = (CANON_PX[1] - points[:, 1]) / PX_PER_MM
        return pose


def displacements(state: FaceState) -> tuple[float, float, float]:
    """How far pad (forward), jaw (down) and snout (up) have moved, canonical pixels."""
    return 15.0 * state.whisk_rad, 20.0 * state.jaw, 2.2 * state.breath + 3.0 * state.tongue


def moved(at_px: tuple[float, float], state: FaceState) -> tuple[float, float]:
    """Where a place on the face is now, canonical pixels; the skin between pad, jaw and snout moves with each."""
    pad, jaw, snout = displacements(state)
    w_pad, w_jaw, w_snout = (float(w) for w in weights(np.array(at_px[0]), np.array(at_px[1])))
    return at_px[0] + pad * w_pad - 0.2 * jaw * w_jaw, at_px[1] - 0.25 * pad * w_pad + jaw * w_jaw - snout * w_snout


def weights(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """How much of the motion of pad, jaw and snout each place (canonical pixels) has, 0 to 1."""
    pad = np.exp(-(((x - PAD_PX[0]) / 85.0) ** 2) - ((y - PAD_PX[1]) / 58.0) ** 2)
    jaw = np.exp(-(((x - JAW_PX[0]) / 120.0) ** 2) - ((y - JAW_PX[1]) / 42.0) ** 2)
    snout = np.exp(-(((x - SNOUT_PX[0]) / 75.0) ** 2) - ((y - SNOUT_PX[1]) / 60.0) ** 2)
    return pad, jaw, snout


def tongue_tip(state: FaceState) -> tuple[float, float]:
    """Canonical pixels."""
    x, y = moved(MOUTH_PX, state)
    return x + 36.0 * state.tongue, y + 40.0 * state.tongue


@dataclass(frozen=True, slots=True)
class _Bout:
    behavior: str
    length_s: float
    rate_hz: float
    strength: float
    phase: float


class FaceWorld:
    """The face. ``at`` may be called for any time in any order; the first four bouts show every behaviour.

    Args:
        seed: everything follows from it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng([seed, 20])
        self._first = [FACE_BEHAVIORS[i] for i in rng.permutation(len(FACE_BEHAVIORS))]
        self._slow = [(float(rng.uniform(0.03, 0.30)), float(rng.uniform(0, 2 * pi))) for _ in range(4)]
        self._starts_s = [0.0]
        self._licks = [0]
        self._bouts: list[_Bout] = []

    def at(self, t_s: float) -> FaceState:
        """The face ``t_s`` seconds (>= 0) after the beginning."""
        while t_s >= self._starts_s[-1]:
            self._append()
        index = bisect_right(self._starts_s, t_s) - 1
        bout, t_in_s = self._bouts[index], t_s - self._starts_s[index]
        # How much of its behaviour the bout shows: it sets in and dies away.
        whole = ease(t_in_s / EASE_S) * ease((bout.length_s - t_in_s) / EASE_S)
        breath = sin(2 * pi * BREATH_HZ * t_s)
        whisk, tongue, jaw, closure, n_licks = 0.02 * sin(2 * pi * 1.3 * t_s), 0.0, 0.0, 0.0, self._licks[index]
        cycle = bout.rate_hz * t_in_s
        if bout.behavior == "whisk":
            whisk += whole * bout.strength * (0.45 + 0.55 * sin(2 * pi * cycle + bout.phase))
            breath = (1.0 - whole) * breath + whole * sin(2 * pi * cycle)
        elif bout.behavior == "lick":
            n_licks += int(cycle) + 1
            out = max(sin(2 * pi * cycle), 0.0) ** 0.7
            tongue = out * bout.strength if int(cycle) < int(bout.rate_hz * bout.length_s) else 0.0
            jaw = whole * (0.25 + 0.6 * out)
            whisk += 0.08 * whole * sin(2 * pi * cycle + 1.0)
        elif bout.behavior == "blink":
            closure = sin(pi * min(t_in_s / bout.length_s, 1.0)) ** 0.6
        return FaceState(
            t_s,
            bout.behavior,
            index,
            whisk,
            bout.behavior == "whisk",
            tongue,
            n_licks,
            jaw,
            closure,
            self._pupil_mm(t_s, index),
            self._gaze_mm(t_s),
            breath,
        )

    def _pupil_mm(self, t_s: float, index: int) -> float:
        low, high = PUPIL_MM
        slow = sum(sin(2 * pi * hz * t_s + phase) for hz, phase in self._slow) / len(self._slow)
        arousal = 0.0
        for k in range(max(index - 8, 0), index + 1):
            if self._bouts[k].behavior in ("whisk", "lick"):
                begin = self._starts_s[k]
                end = min(begin + self._bouts[k].length_s, t_s)
                arousal += exp(-(t_s - end) / AROUSAL_S) - exp(-(t_s - begin) / AROUSAL_S)
        share = 0.28 + 0.22 * slow + 0.50 * arousal
        return low + (high - low) * min(max(share, 0.0), 1.0)

    def _gaze_mm(self, t_s: float) -> tuple[float, float]:
        slot = int(t_s / GAZE_S)
        jump_s = slot * GAZE_S + float(np.random.default_rng([self.seed, 22, slot]).uniform(0, 0.8 * GAZE_S))
        u = ease((t_s - jump_s) / 0.05)
        (x0, y0), (x1, y1) = self._target(slot - 1), self._target(slot)
        return x0 + u * (x1 - x0), y0 + u * (y1 - y0)

    def _target(self, slot: int) -> tuple[float, float]:
        rng = np.random.default_rng([self.seed, 23, slot + 1])
        return 0.35 + float(rng.normal(0.0, 0.22)), float(rng.normal(0.0, 0.07))

    def _append(self) -> None:
        index = len(self._bouts)
        rng = np.random.default_rng([self.seed, 21, index])
        if index < len(self._first):
            behavior = self._first[index]
        else:
            behavior = next_behavior(TRANSITIONS, self._bouts[-1].behavior, rng)
        shortest, longest = LENGTH_S[behavior]
        length_s = shortest + (longest - shortest) * float(rng.beta(1.8, 2.4))
        rate_hz = float(rng.uniform(*(LICK_HZ if behavior == "lick" else WHISK_HZ)))
        strength = float(rng.uniform(0.75, 1.0)) if behavior == "lick" else float(rng.uniform(0.45, 0.85))
        if behavior == "lick":
            length_s = round(length_s * rate_hz) / rate_hz  # whole licks
        self._bouts.append(_Bout(behavior, length_s, rate_hz, strength, float(rng.uniform(0, 2 * pi))))
        self._starts_s.append(self._starts_s[-1] + length_s)
        self._licks.append(self._licks[-1] + (round(length_s * rate_hz) if behavior == "lick" else 0))
