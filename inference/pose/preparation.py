"""From raw keypoints to what features are measured on: which points count, whose they are, and the unit of length."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..cropper import State
from ..model_input import PoseInput
from .body_length import BodyLength
from .filling import Filling
from .identities import Identified, Identities
from .layout import PoseLayout
from .pose_block import PoseBlock


class Preparation:
    """Identities, filling and body length over blocks of frames; it holds no state itself.

    Args:
        pose: what the model takes.
        layout: its names and rate.
    """

    far_px: ClassVar[float] = 1e6
    """Coordinates beyond it are mistakes, and the point is missing."""

    def __init__(self, pose: PoseInput, layout: PoseLayout) -> None:
        self._layout = layout
        self._min_likelihood = pose.fill.min_likelihood
        tells_apart = pose.identity != "tracker" or pose.fill.twin_px is not None
        self._identities = Identities(pose.identity, pose.fill.twin_px) if tells_apart else None
        max_fill = round(pose.fill.max_fill_ms / 1000.0 * layout.rate_hz)
        self._filling = Filling(pose.n_animals, len(pose.keypoints), max_fill)
        self._body = BodyLength(pose.scale, layout)

    def initial(self) -> dict[str, State]:
        """The state of each part before the first frame."""
        identity: State = {} if self._identities is None else self._identities.initial()
        return {"identity": identity, "fill": self._filling.initial(), "body": self._body.initial()}

    def block(self, state: dict[str, State], points: NDArray[np.float32]) -> tuple[dict[str, State], PoseBlock]:
        """Next state, and a block of frames as features see it.

        Args:
            state: it is left as it is.
            points: (t, animals, keypoints, 3) raw, one frame at least.
        """
        after = dict(state)
        seen = self.seen(points)
        xy = np.where(seen[..., None], points[..., :2], 0.0).astype(np.float64)
        likelihood = np.where(seen, np.minimum(points[..., 2], 1.0), 0.0).astype(np.float64)
        if self._identities is None:
            found = Identified(xy, seen, likelihood, np.zeros(len(xy), np.bool_))
        else:
            after["identity"], found = self._identities.block(state["identity"], xy, seen, likelihood)
        after["fill"], filled = self._filling.block(state["fill"], found.xy, found.seen)
        after["body"], scale_px = self._body.block(state["body"], filled.xy, found.seen)
        dt_s = self._layout.dt_s
        return after, PoseBlock(
            layout=self._layout,
            xy=filled.xy,
            seen=found.seen,
            since_s=filled.since.astype(np.float64) * dt_s,
            age_s=filled.age.astype(np.float64) * dt_s,
            likelihood=found.likelihood,
            twin=found.twin,
            scale_px=scale_px,
        )

    def seen(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which raw points (..., 3) are there: with coordinates that a picture can have, and likely enough."""
        x, y, likelihood = points[..., 0], points[..., 1], points[..., 2]
        # What is no number compares as False.
        return (np.abs(x) < self.far_px) & (np.abs(y) < self.far_px) & (likelihood >= self._min_likelihood)
