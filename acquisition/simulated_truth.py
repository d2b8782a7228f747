"""What a tracker should find: the true centre of a simulated body. Pure."""

import numpy as np
from numpy.typing import NDArray

from .simulated_body import ellipsoids
from .simulated_scene import SceneState
from .simulated_world import WorldState

N_SAMPLES = 40  # points in each ellipsoid; the centroid of the union is then good to a few tenths of a mm


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
    apart = points[:, None, :] - centre[None]
    on_axis = np.einsum("nkj,kj->nk", apart, axis)
    across2 = np.einsum("nkj,nkj->nk", apart, apart) - on_axis**2
    inside = (on_axis / half) ** 2 + across2 / radius**2 <= 1.0 + 1e-9
    volume = np.repeat(half * radius**2, len(_BALL)) / inside.sum(axis=1)
    return volume @ points / volume.sum()
