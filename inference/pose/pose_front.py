"""Raw keypoints in, the head's input out: everything before the head, with its state."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import ConfigError
from ..cropper import State
from ..graph_spec import FeatureStepSpec
from ..model_input import PoseInput
from ..set_cropper import under
from .preparation import Preparation
from .registry import layout_of, open_pose_features

_PARTS = ("identity", "fill", "body")
"""What a preparation remembers, by the names that snapshots have."""


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
        self._preparation = Preparation(pose, layout)
        self._features = open_pose_features(specs, layout)
        self.names: tuple[str, ...] = tuple(name for feature in self._features for name in feature.names)
        self.dims = len(self.names)
        if not self.dims:
            raise ConfigError("a pose model needs one feature step at least; name some under features")
        self.reset()

    def reset(self) -> None:
        """Back to before the first frame."""
        self._prepared = self._preparation.initial()
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
        self._prepared, pose = self._preparation.block(self._prepared, points)
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
        return self._preparation.seen(points)

    def missing(self, n_frames: int) -> NDArray[np.float32]:
        """Raw points of frames that were lost, for `block`."""
        points = np.full((n_frames, self._layout.n_animals, len(self._layout.keypoints), 3), np.nan, np.float32)
        points[..., 2] = 0.0
        return points

    def snapshot(self) -> State:
        """Everything that it remembers, as flat arrays; copies."""
        parts = dict(self._prepared)
        parts |= {str(place): state for place, state in enumerate(self._states)}
        state: dict[str, NDArray[Any]] = {
            f"{part}.{key}": value.copy() for part, held in parts.items() for key, value in held.items()
        }
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of a front with the same input, steps and rate, bit for bit."""
        copied = {key: value.copy() for key, value in state.items()}
        self._prepared = {part: under(copied, f"{part}.") for part in _PARTS}
        self._states = [under(copied, f"{place}.") for place in range(len(self._features))]
