"""From the keypoints and animals of a source to those of a model, by name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import ConfigError
from ..model_input import PoseInput


class PointSelection:
    """Picks a model's keypoints out of a source's, in the model's order.

    Args:
        animals: names of the source's animals.
        keypoints: names of the source's keypoints.
        pose: what the model takes.
        where: name of the source, for messages.
        there: (animals, keypoints) which points there are in any frame; None: that is not known yet, as of a source
            that runs. Where it is known and there are more animals than the model takes, those that have none of its
            keypoints are left out: DeepLabCut's unique body parts are one.

    Attributes:
        left_out: names of these.

    Raises:
        ConfigError: a keypoint of the model is not among the source's, or the number of animals differs.
    """

    def __init__(
        self,
        animals: Sequence[str],
        keypoints: Sequence[str],
        pose: PoseInput,
        where: str,
        there: NDArray[np.bool_] | None = None,
    ) -> None:
        absent = [name for name in pose.keypoints if name not in keypoints]
        if absent:
            raise ConfigError(
                f"{where}: has no keypoint {', '.join(absent)} (it has {', '.join(keypoints)}), and the model was "
                f"trained on {', '.join(pose.keypoints)}; name them as in the training, or train a model on these"
            )
        self._shape = (len(animals), len(keypoints), 3)
        self._order = np.array([list(keypoints).index(name) for name in pose.keypoints], np.intp)
        kept = list(range(len(animals)))
        if there is not None and len(animals) > pose.n_animals:
            kept = np.flatnonzero(there[:, self._order].any(axis=1)).tolist()
        if len(kept) != pose.n_animals:
            cure = "use a bundle for as many"
            if there is None and len(animals) > pose.n_animals:
                cure = f"name those that are meant under pose.NAME.animals of the rig file, or {cure}"
            have = f"{len(animals)} animal(s) ({', '.join(animals)})"
            raise ConfigError(f"{where}: has {have}, the model takes {pose.n_animals}; {cure}")
        self.left_out = [name for place, name in enumerate(animals) if place not in kept]
        self._animals = np.array(kept, np.intp) if self.left_out else None
        self._all = list(keypoints) == list(pose.keypoints)

    def of(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's points, [..., animals, keypoints, 3], of the source's.

        Raises:
            ConfigError: the array has another form than the names.
        """
        if points.shape[-3:] != self._shape:
            raise ConfigError(
                f"points of form {list(points.shape)} do not fit {self._shape[0]} animals with {self._shape[1]} "
                "keypoints of x, y, likelihood"
            )
        if self._animals is not None:
            points = points[..., self._animals, :, :]
        return points if self._all else points[..., self._order, :]
