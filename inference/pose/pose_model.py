"""Keypoints in, stabilised label out: the pure step of a pose model, which rig, replay and offline use alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import Clock
from ...sync.errors import BundleError
from ..backend import Graph
from ..cropper import State
from ..gap import NEVER, GapPlan
from ..manifest import Manifest
from ..recogniser import Recogniser
from ..set_cropper import under
from ..stabilisation.config import StabiliserConfig
from .pose_front import PoseFront

_SLOT = np.zeros(1, np.intp)


@dataclass(frozen=True, slots=True)
class PoseStep:
    """What one step saw and answered.

    Attributes:
        x: (1, dims) float32, the input of the head.
        p: (n_classes,) float32.
        raw: the most probable class.
        label: stabilised behaviour, "" before the first one.
        label_since_ns: exposure time of the step that set it.
        behind_ns: how long before this step the frame was exposed that ``p``, ``raw`` and ``label`` are of.
        gap_frames: steps before this one without any input.
        reset: the gap was so long that everything was forgotten.
        warm: enough steps since the last reset.
        t_features_ns: when the features were there.
        t_head_ns: when the head had answered.
    """

    x: NDArray[np.float32]
    p: NDArray[np.float32]
    raw: str
    label: str
    label_since_ns: int
    behind_ns: int
    gap_frames: int
    reset: bool
    warm: bool
    t_features_ns: int
    t_head_ns: int


class PoseModel:
    """The whole chain from keypoints to behaviour, with explicit state. One thread steps it.

    Steps that are missing, as long as the gap rule bridges them, are frames in which every point is missing: a run
    that lost a message answers as one whose tracker saw nothing in that frame. A longer gap forgets everything.

    Args:
        manifest: of the bundle.
        head_step: opened ``head_step.onnx``.
        rate_hz: at which keypoints come.
        clock: for the stage times only.
        stabiliser: instead of the bundle's defaults.

    Raises:
        ConfigError: the rate does not suit the model.
        BundleError: feature code differs, or a graph lacks an input.
    """

    def __init__(
        self,
        manifest: Manifest,
        head_step: Graph,
        rate_hz: float,
        clock: Clock,
        stabiliser: StabiliserConfig | None = None,
    ) -> None:
        self.manifest = manifest
        self._clock = clock
        self.front = open_front(manifest)
        self._recogniser = Recogniser(manifest, head_step, 1, "joined", rate_hz, clock, stabiliser)
        self.stabiliser = self._recogniser.stabiliser
        self.reset()

    def reset(self) -> None:
        """Forget everything: identities, points, features, head, label and time."""
        self.front.reset()
        self._recogniser.reset()

    def step(self, points: NDArray[np.float32], t_ns: int) -> PoseStep | None:
        """One frame.

        Args:
            points: (animals, keypoints, 3) as `PoseFront.block` takes them.
            t_ns: its exposure time.

        Returns:
            None: it is no step of the model (the rate rule, or not newer than the last one).
        """
        grid = self._recogniser.grid
        before = grid.index
        index = grid.step(t_ns)
        if index is None:
            return None
        plans = self._recogniser.plan_gaps(_SLOT, index)
        plan = plans.get(0, GapPlan(reset=False, n_repeat=0))
        if plan.reset:
            self.front.reset()
        rows = self.front.block(np.concatenate([self.front.missing(plan.n_repeat), points[None]]))
        t_features_ns = self._clock.now_ns()

        def missed(round_: int, _: NDArray[np.intp]) -> NDArray[np.float32]:
            return rows[round_ : round_ + 1]

        x = rows[plan.n_repeat :]
        answer = self._recogniser.step(x, _SLOT, index, t_ns, plans, missed)
        return PoseStep(
            x=x,
            p=answer.p,
            raw=answer.raw,
            label=answer.label,
            label_since_ns=answer.label_since_ns,
            behind_ns=answer.behind_ns,
            gap_frames=index - before - 1 if before != NEVER else 0,
            reset=answer.reset,
            warm=answer.warm,
            t_features_ns=t_features_ns,
            t_head_ns=answer.t_head_ns,
        )

    def snapshot(self) -> State:
        """Everything that it remembers, as flat arrays."""
        state: dict[str, NDArray[Any]] = self._recogniser.snapshot()
        state.update({f"front.{key}": value for key, value in self.front.snapshot().items()})
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of a model with the same manifest, bit for bit."""
        self._recogniser.restore(state)
        self.front.restore(under(state, "front."))


def open_front(manifest: Manifest) -> PoseFront:
    """The front of a bundle.

    Raises:
        BundleError: the model takes no pose, or gives the head another number of values than the manifest says.
    """
    front = PoseFront(manifest.pose, manifest.features, manifest.rate_hz)
    if front.dims != manifest.head.dims:
        raise BundleError(
            f"bundle {manifest.name}: its features give {front.dims} numbers, the head takes {manifest.head.dims}; "
            "export the bundle again"
        )
    return front
