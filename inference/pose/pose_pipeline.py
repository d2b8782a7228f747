"""A pose message in, a behaviour message and decisions out: the pure step around a pose model. No sockets.

It gives the same `Behavior`, rules and snapshots as `inference/pipeline.py` does for frame sets.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ...streaming.messages import Behavior, Box, Decision, Pose, SourceFrame
from ...streaming.pose_format import PoseFormat, points_of
from ...sync.clock import Clock
from ...sync.errors import WireError
from ..bundle import Bundle
from ..config import TaskConfig
from ..cropper import State
from ..pipeline_state import NO_SET, PipelineMemory, pack_pipeline, unpack_pipeline
from ..rules.engine import TRIALS_PER_EPOCH, Rules
from .pose_model import PoseModel, PoseStep
from .select import PointSelection


class PosePipeline:
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
        self._bundle = bundle
        self._source = source
        self._form = form
        self._clock = clock
        self._classes = tuple(manifest.classes)
        self._selection = PointSelection(form.animals, form.keypoints, manifest.pose, f"pose source {source!r}")
        self._boxed = manifest.pose.n_animals == 1
        self.model = PoseModel(manifest, bundle.head_step, form.rate_hz, clock, task.stabiliser)
        self.rules = Rules(
            task.rules,
            manifest.classes,
            armed,
            zones=task.zones,
            arming=task.arming,
            views=[source] if self._boxed else [],
            first_trial=epoch * TRIALS_PER_EPOCH,
            tracked=task.tracking is not None,
        )
        self._anew = True
        self._last_set_id = NO_SET

    def reset(self) -> None:
        """Forget everything; also after `step` raised, since it may have been half done."""
        self.model.reset()
        self.rules.reset()
        self._anew = True

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
        decided_ns = self._clock.now_ns() if t_decided_ns is None else t_decided_ns
        behavior = self._message(pose, points, step, set_id, n_skipped, t_taken_ns, decided_ns)
        self._anew = False
        self._last_set_id = set_id
        return behavior, self.rules.step(behavior)

    def settle(self) -> None:
        """Nothing is learnt after a step; here for those who run either pipeline."""

    def _message(
        self,
        pose: Pose,
        points: NDArray[np.float32],
        step: PoseStep,
        set_id: int,
        n_skipped: int,
        t_taken_ns: int,
        t_decided_ns: int,
    ) -> Behavior:
        seen = self.model.front.seen(points)
        missing = () if seen.any() else (self._source,)
        source = SourceFrame(self._source, pose.epoch, pose.seq, pose.t_exposure_ns, 0, pose.t_received_ns)
        return Behavior(
            set_id=set_id,
            status="partial" if missing else "complete",
            sources=(source,),
            missing=missing,
            bundle=self._bundle.identity,
            p=tuple(float(value) for value in step.p),
            raw=step.raw,
            label=step.label,
            label_since_ns=step.label_since_ns,
            n_skipped=n_skipped,
            gap_frames=step.gap_frames,
            warm=step.warm,
            boxes=tuple(self._boxes(points[seen])),
            t_exposure_ns=pose.t_exposure_ns,
            t_received_ns=pose.t_received_ns,
            t_taken_ns=t_taken_ns,
            t_cropped_ns=t_taken_ns,
            t_embedded_ns=step.t_features_ns,
            t_head_ns=step.t_head_ns,
            t_decided_ns=t_decided_ns,
            classes=self._classes,
            reset=step.reset or self._anew,
            previous_set_id=self._last_set_id,
            t_label_ns=pose.t_exposure_ns - step.behind_ns if step.behind_ns else 0,
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

    def snapshot(self, beside: State | None = None) -> bytes:
        """Everything that it remembers, as an ``.npz`` without pickle; ``beside`` comes back from `restore`."""
        memory = PipelineMemory(
            self.model.snapshot(), self.rules.snapshot(), self._anew, self._last_set_id, beside or {}
        )
        return pack_pipeline(memory, [self._source])

    def restore(self, payload: bytes) -> State:
        """Continue from a snapshot of a pipeline with the same bundle and source, bit for bit.

        Returns:
            What was kept ``beside`` it.

        Raises:
            BundleError: it is no snapshot, or one of another source, model or version.
        """
        memory = unpack_pipeline(payload, [self._source], self.model.snapshot(), self._bundle.identity)
        self.model.restore(memory.model)
        self.rules.restore(memory.rules)
        self._anew, self._last_set_id = memory.anew, memory.last_set_id
        return memory.beside
