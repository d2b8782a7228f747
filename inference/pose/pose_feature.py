"""What a feature of pose is: something causal that is measured over blocks of frames, with explicit state."""

from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...sync.strict import StrictModel
from ..cropper import State
from .measures import Squash
from .pose_block import PoseBlock


class PoseFeature(Protocol):
    """One feature step. It holds no state itself, and a block of one frame is the live step.

    However a recording is cut into blocks, the values are equal bit for bit.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    rests_on: ClassVar[tuple[Callable[..., object], ...]]
    """Classes and functions whose code decides on its values, beside its own and `registry.SHARED`."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each of its values."""
        ...

    def initial(self) -> State:
        """The state before the first frame."""
        ...

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        """Next state and (t, dims) values of a block of one frame at least.

        Args:
            state: it is left as it is.
            pose: the block.
            before: (t, m) what the steps before this one gave.
        """
        ...


class SquashOptions(StrictModel):
    """For lengths and speeds, whose largest values say least.

    Attributes:
        squash: how they are drawn together; see `measures.squash`.
        squash_unit: where that begins, in the unit of the value.
    """

    squash: Squash = "none"
    squash_unit: float = Field(default=0.1, gt=0.0)
