"""Raw keypoints in, the head's input out: everything before the head, with its state."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import ConfigError
from ..cropper import State
from ..manifest import FeatureStepSpec, PoseInput
from ..set_cropper import under
from .body_length import BodyLength
from .filling import Filling
from .identities import Identified, Identities
from .pose_block import PoseBlock
from .registry import layout_of, open_pose_features

FAR_PX: Final = 1e6
"""Coordinates beyond it are mistakes, and the point is missing."""
_MS_PER_S: Final = 1000.0


class PoseFront:
    """Identities, filling, unit of length and feature steps over blocks of frames. One thread.

    Frames come at the model's rate. However a recording is cut into blocks, the values are equal bit for bit; a block
    of one frame is the live step. A frame that was lost is a frame whose points are all missing.

    Args:
        pose: what the model takes.
        specs: its feature steps, in order.
        rate_hz: of its steps.

    Attributes:
        names: of the values, in order.
        dims: how many there are.

    Raises:
        BundleError: the code of a feature is not that of the training.
        ConfigError: its parameters do not suit the input.
    """

    def __init__(self, pose: PoseInput, specs: Sequence[FeatureStepSpec], rate_hz: float) -> None:
        self._layout = layout = layout_of(pose, rate_hz)
        self._min_likelihood = pose.fill.min_likelihood
        tells_apart = pose.identity != "tracker" or pose.fill.twin_px is not None
        self._identities = Identities(pose.identity, pose.fill.twin_px) if tells_apart else None
        max_fill = round(pose.fill.max_fill_ms / _MS_PER_S * rate_hz)
        self._filling = Filling(pose.n_animals, len(pose.keypoints), max_fill)
        self._body = BodyLength(pose.scale, layout)
        self._features = open_pose_features(specs, layout)
        self.names: tuple[str, ...] = tuple(name for feature in self._features for name in feature.names)
        self.dims = len(self.names)
        if not self.dims:
            raise ConfigError("a pose model needs one feature step at least; name some under features")
        self.reset()

    def reset(self) -> None:
        """Back to before the first frame."""
        self._identity_state: State = {} if self._identities is None else self._identities.initial()
        self._fill_state = self._filling.initial()
        self._body_state = self._body.initial()
        self._states = [feature.initial() for feature in self._features]

    def block(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next frames.

        Args:
            points: (t, animals, keypoints, 3) x px, y px, likelihood as a tracker gives them, in the model's order of
                names; NaN where missing. Any t.

        Returns:
            (t, dims) float32, finite.

        Raises:
            ConfigError: the array has another form.
        """
        form = (self._layout.n_animals, len(self._layout.keypoints), 3)
        if points.shape[1:] != form:
            raise ConfigError(
                f"points of form {list(points.shape)} given, the model takes [frames, {form[0]}, {form[1]}, 3]"
            )
        x = np.empty((len(points), self.dims), np.float32)
        if not len(points):
            return x
        pose = self._prepare(points)
        column = 0
        for place, feature in enumerate(self._features):
            self._states[place], values = feature.block(self._states[place], pose, x[:, :column])
            # Which of two zeros is the lower one is nobody's business: there is one.
            np.add(values, 0.0, out=x[:, column : column + values.shape[1]])
            column += values.shape[1]
        return x

    def step(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """One frame, (animals, keypoints, 3); its values, (dims,) float32."""
        return self.block(points[None])[0]

    def seen(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which raw points (..., 3) are there: with coordinates that a picture can have, and likely enough."""
        x, y, likelihood = points[..., 0], points[..., 1], points[..., 2]
        # What is no number compares as False.
        return (np.abs(x) < FAR_PX) & (np.abs(y) < FAR_PX) & (likelihood >= self._min_likelihood)

    def missing(self, n_frames: int) -> NDArray[np.float32]:
        """Raw points of frames that were lost, for `block`."""
        points = np.full((n_frames, self._layout.n_animals, len(self._layout.keypoints), 3), np.nan, np.float32)
        points[..., 2] = 0.0
        return points

    def _prepare(self, points: NDArray[np.float32]) -> PoseBlock:
        seen = self.seen(points)
        xy = np.where(seen[..., None], points[..., :2], 0.0).astype(np.float64)
        likelihood = np.where(seen, np.minimum(points[..., 2], 1.0), 0.0).astype(np.float64)
        if self._identities is None:
            found = Identified(xy, seen, likelihood, np.zeros(len(xy), np.bool_))
        else:
            self._identity_state, found = self._identities.block(self._identity_state, xy, seen, likelihood)
        self._fill_state, filled = self._filling.block(self._fill_state, found.xy, found.seen)
        self._body_state, scale_px = self._body.block(self._body_state, filled.xy, found.seen)
        dt_s = self._layout.dt_s
        return PoseBlock(
            layout=self._layout,
            xy=filled.xy,
            seen=found.seen,
            since_s=filled.since.astype(np.float64) * dt_s,
            age_s=filled.age.astype(np.float64) * dt_s,
            likelihood=found.likelihood,
            twin=found.twin,
            scale_px=scale_px,
        )

    def snapshot(self) -> State:
        """Everything that it remembers, as flat arrays; copies."""
        parts: dict[str, State] = {"identity": self._identity_state, "fill": self._fill_state, "body": self._body_state}
        parts |= {str(place): state for place, state in enumerate(self._states)}
        state: dict[str, NDArray[Any]] = {
            f"{part}.{key}": value.copy() for part, held in parts.items() for key, value in held.items()
        }
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of a front with the same input, steps and rate, bit for bit."""
        copied = {key: value.copy() for key, value in state.items()}
        self._identity_state = under(copied, "identity.")
        self._fill_state = under(copied, "fill.")
        self._body_state = under(copied, "body.")
        self._states = [under(copied, f"{place}.") for place in range(len(self._features))]
