"""What a tracker should find: the true centre of a simulated body. Pure."""

import numpy as np
from numpy.typing import NDArray

from .simulated_body import ellipsoids
from .simulated_scene import SceneState
from .simulated_world import WorldState

N_SAMPLES = 120  # and their mirror images, in each ellipsoid; the centroid of the union is then good to 0.3 mm


def _samples() -> NDArray[np.float64]:
    """(N_SAMPLES, 3) points spread evenly in the unit ball, by a golden spiral."""
    i = np.arange(N_SAMPLES) + 0.5
    radius = (i * 0.7548776662 % 1.0) ** (1 / 3)
    z = 1.0 - 2.0 * i / N_SAMPLES
    turn = i * np.pi * (3.0 - np.sqrt(5.0))
    across = np.sqrt(1.0 - z * z)
    ball = np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1) * radius[:, None]
    return np.concatenate([ball, -ball])


_BALL = _samples()


def body_centroid_mm(state: SceneState | WorldState, animal: int = 0) -> NDArray[np.float64]:
    """(3,) float64: centroid of the volume of one animal's body without the tail, mm in the cage's frame.

    The body is the union of its ellipsoids; what lies in several of them counts once.
    """
    one = state.animals[animal] if isinstance(state, SceneState) else state
    centre, axis, half, radius = ellipsoids(one.pose, one.breath)
    # Points of every ellipsoid: stretched along its axis, scaled across it.
    along = axis @ _BALL.T
    points = (
        centre[:, None, :]
        + radius[:, None, None] * _BALL[None]
        + ((half - radius)[:, None] * along)[:, :, None] * axis[:, None, :]
    ).reshape(-1, 3)
    # (p - c)' A (p - c) <= 1 for all points and parts at once: A has six numbers, A c three, c' A c one.
    shape = np.eye(3) / radius[:, None, None] ** 2
    shape += (1 / half**2 - 1 / radius**2)[:, None, None] * (axis[:, :, None] * axis[:, None, :])
    bent = np.einsum("kij,kj->ki", shape, centre)
    x, y, z = points.T
    monomials = np.stack([x * x, y * y, z * z, x * y, x * z, y * z, x, y, z, np.ones_like(x)], axis=1)
    weights = np.column_stack(
        [
            shape[:, 0, 0], shape[:, 1, 1], shape[:, 2, 2], 2 * shape[:, 0, 1], 2 * shape[:, 0, 2], 2 * shape[:, 1, 2],
            -2 * bent, np.einsum("ki,ki->k", bent, centre),
        ]
    )  # fmt: skip
    inside = monomials @ weights.T <= 1.0 + 1e-6
    volume = np.repeat(half * radius**2, len(_BALL)) / inside.sum(axis=1)
    return volume @ points / volume.sum()
