"""A pose message in, a behaviour message and decisions out: the pure step around a pose model. No sockets.

It gives the same `Behavior`, rules and snapshots as `inference/pipeline.py` does for frame sets.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ...streaming.messages import Behavior, Box, Decision, Pose
from ...streaming.pose_format import PoseFormat, points_of, source_frame_of
from ...sync.clock import Clock
from ...sync.errors import WireError
from ..bundle import Bundle
from ..config import TaskConfig
from ..deciding_pipeline import DecidingPipeline, StepInput
from .pose_model import PoseModel, PoseStep
from .select import PointSelection


class PosePipeline(DecidingPipeline[PoseModel]):
    """Model, stabiliser and rules over the messages of one pose source. One thread steps it.

    A frame in which nothing is seen is ``partial``, since nobody knows what the animals do; with a point of any animal
    it is ``complete``. Of a single animal the box about its points comes along, in the view that the source is, so
    that rules with zones in pixels work.

    Args:
        bundle: the loaded model.
        task: rules and stabiliser.
        source: name of the pose source.
        form: what the source delivers.
        clock: rig time, for the stage times.
        armed: False: every onset is withheld.
        epoch: how often the process was started before in this session; trials are numbered from there.

    Raises:
        ConfigError: keypoints, animals, rate, rules or stabiliser do not suit the model.
        BundleError: the bundle takes no pose.
    """

    def __init__(
        self,
        bundle: Bundle,
        task: TaskConfig,
        source: str,
        form: PoseFormat,
        clock: Clock,
        armed: bool,
        epoch: int = 0,
    ) -> None:
        manifest = bundle.manifest
        self._source = source
        self._form = form
        self._selection = PointSelection(form.animals, form.keypoints, manifest.pose, f"pose source {source!r}")
        self._boxed = manifest.pose.n_animals == 1
        model = PoseModel(manifest, bundle.head_step, form.rate_hz, clock, task.stabiliser)
        views = [source] if self._boxed else []
        super().__init__(bundle, task, clock, model, [source], zone_views=views, armed=armed, epoch=epoch)

    def step(
        self, pose: Pose, set_id: int, n_skipped: int = 0, t_decided_ns: int | None = None
    ) -> tuple[Behavior, list[Decision]] | None:
        """One message.

        Args:
            pose: of this source.
            set_id: number of this message among those of the session, as frame sets have one.
            n_skipped: messages before this one that were not looked at.
            t_decided_ns: in replay, when the live run decided.

        Returns:
            None: it is no step (left out by the rate rule, or not newer than the last).

        Raises:
            WireError: it is of another source, or has other animals or keypoints than the source said.
        """
        t_taken_ns = self._clock.now_ns()
        if pose.source != self._source or not self._form.suits(pose):
            raise WireError(
                f"pose of {pose.source!r}, frame {pose.seq}: is not of source {self._source!r} with animals "
                f"{', '.join(self._form.animals)} and keypoints {', '.join(self._form.keypoints)}; the source changed "
                "while it ran"
            )
        points = self._selection.of(points_of(pose))
        step = self.model.step(points, pose.t_exposure_ns)
        if step is None:
            return None
        return self._decide(self._seen(pose, points, step, set_id, n_skipped, t_taken_ns), step, t_decided_ns)

    def settle(self) -> None:
        """Nothing is learnt after a step; here for those who run either pipeline."""

    def _seen(
        self, pose: Pose, points: NDArray[np.float32], step: PoseStep, set_id: int, n_skipped: int, t_taken_ns: int
    ) -> StepInput:
        seen = self.model.front.seen(points)
        return StepInput(
            set_id=set_id,
            sources=(source_frame_of(pose),),
            missing=() if seen.any() else (self._source,),
            boxes=tuple(self._boxes(points[seen])),
            n_skipped=n_skipped,
            t_exposure_ns=pose.t_exposure_ns,
            t_received_ns=pose.t_received_ns,
            t_taken_ns=t_taken_ns,
            t_cropped_ns=t_taken_ns,
            t_embedded_ns=step.t_features_ns,
        )

    def _boxes(self, points: NDArray[np.float32]) -> Iterable[Box]:
        """About the seen points (n, 3) of a single animal."""
        if not self._boxed:
            return
        if not len(points):
            yield Box(self._source, 0, 0, 0, 0, False)
            return
        left, upper = np.floor(points[:, :2].min(axis=0)).astype(int).tolist()
        right, lower = np.ceil(points[:, :2].max(axis=0)).astype(int).tolist()
        yield Box(self._source, left, upper, right - left, lower - upper, True)
