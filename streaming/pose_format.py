"""What a pose source delivers, and its messages as arrays, numbers and links of a chain."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..sync.errors import WireError
from ..sync.strict import StrictModel
from .messages import Pose, SourceFrame
from .set_ids import SETS_PER_EPOCH

N_VALUES: Final = 3
"""Of each point: x px, y px, likelihood."""
_WIRE: Final = np.dtype("<f4")


class PoseFormat(StrictModel):
    """What a pose source delivers, in every message alike.

    Attributes:
        rate_hz: frames per second.
        animals, keypoints: their names, in the order of the points.
    """

    rate_hz: float = Field(gt=0)
    animals: list[str] = Field(min_length=1)
    keypoints: list[str] = Field(min_length=1)

    def suits(self, pose: Pose) -> bool:
        """Whether a message has these animals and keypoints, and as many points."""
        n_bytes = len(self.animals) * len(self.keypoints) * N_VALUES * _WIRE.itemsize
        named = list(pose.animals) == self.animals and list(pose.keypoints) == self.keypoints
        return named and len(pose.points) == n_bytes


def points_bytes(points: NDArray[np.float32]) -> bytes:
    """The points of one frame, [animals, keypoints, 3], as they travel."""
    return points.astype(_WIRE).tobytes()


def points_of(pose: Pose) -> NDArray[np.float32]:
    """The points of a message, [animals, keypoints, 3] float32; read-only.

    Raises:
        WireError: there are not as many as the message names.
    """
    shape = len(pose.animals), len(pose.keypoints), N_VALUES
    if len(pose.points) != int(np.prod(shape)) * _WIRE.itemsize:
        raise WireError(
            f"pose of {pose.source}, frame {pose.seq}: {len(pose.points)} bytes of points for {shape[0]} animals with "
            f"{shape[1]} keypoints; run the same ethostream release on every node"
        )
    return np.frombuffer(pose.points, _WIRE).reshape(shape).astype(np.float32, copy=False)


def set_id_of(pose: Pose) -> int:
    """Number of a pose as `Behavior` and `Decision` name it: one for every frame of a source, over all its epochs."""
    return pose.epoch * SETS_PER_EPOCH + pose.seq


def source_frame_of(pose: Pose) -> SourceFrame:
    """A pose as a link of the chain from photon to action; how long it was exposed is not known."""
    return SourceFrame(pose.source, pose.epoch, pose.seq, pose.t_exposure_ns, 0, pose.t_received_ns)
