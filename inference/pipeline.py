"""A frame set in, a behaviour message and decisions out: the pure step around the model. No sockets.

Live, in replay and offline the same object runs; the only clock readings are those that it writes into its messages,
and in replay the age of an onset is judged by the recorded time.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..streaming.messages import Behavior, Box, Decision, FrameSet, SourceFrame
from ..sync.clock import NS_PER_US, Clock
from .bundle import Bundle
from .config import TaskConfig
from .deciding_pipeline import DecidingPipeline, StepInput
from .disparity import DisparityViews
from .model import BehaviorModel, ModelStep
from .set_cropper import CroppedSet
from .set_views import SetViews


class BehaviorPipeline(DecidingPipeline[BehaviorModel]):
    """Model, stabiliser and rules over frame sets. One thread steps it."""

    def __init__(
        self,
        bundle: Bundle,
        task: TaskConfig,
        views: Mapping[str, tuple[int, ...]],
        clock: Clock,
        set_rate_hz: float,
        armed: bool,
        disparity: DisparityViews | None = None,
        epoch: int = 0,
        cameras: Iterable[str] | None = None,
    ) -> None:
        """Prepare for a rig.

        Args:
            bundle: the loaded model.
            task: rules and stabiliser.
            views: view → array shape of its frames, those that the model sees, in joining order: cameras and views of
                ``disparity``.
            clock: rig time, for the stage times.
            set_rate_hz: rate of the frame sets.
            armed: False: every onset is withheld.
            disparity: computes views from stereo pairs.
            epoch: how often the process was started before in this session; trials are numbered from there.
            cameras: those whose frames the views are made of, where the crops come from elsewhere.

        Raises:
            ConfigError: views, rate, rules or stabiliser do not suit the model.
        """
        self._views = SetViews(views, disparity, cameras)
        model = BehaviorModel(
            bundle.manifest, bundle.embedder, bundle.head_step, views, set_rate_hz, clock, task.stabiliser
        )
        super().__init__(bundle, task, clock, model, model.views, zone_views=list(views), armed=armed, epoch=epoch)

    def step(
        self,
        frame_set: FrameSet,
        images: Mapping[str, NDArray[np.uint8]],
        n_skipped: int,
        t_decided_ns: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> tuple[Behavior, list[Decision]] | None:
        """One frame set.

        Args:
            frame_set: its header; cameras that are no views of the model are passed over.
            images: camera → frame, (h, w) or (h, w, 3) uint8, for the views that are there; shared memory is fine.
            n_skipped: sets before this one that were not looked at.
            t_decided_ns: in replay, when the live run decided.
            check: called after the last pixel was read; it raises if the images were overwritten meanwhile, and then
                this object must be reset.

        Returns:
            None: the set is no step (left out by the rate rule, not newer than the last, or none of the views in it).
        """
        t_taken_ns = self._clock.now_ns()
        sources = self._views.sources(frame_set)
        seen = self._views.images(sources, images)
        if not seen:
            return None
        step = self.model.step(seen, middle_ns(sources), check)
        if step is None:
            return None
        return self._decide(self._seen(frame_set, sources, step, n_skipped, t_taken_ns), step, t_decided_ns)

    def step_crops(
        self,
        frame_set: FrameSet,
        cropped: CroppedSet,
        n_skipped: int,
        t_taken_ns: int,
        t_cropped_ns: int,
        t_arrived_ns: int,
    ) -> tuple[Behavior, list[Decision]] | None:
        """One frame set that was cropped on another host.

        Args:
            frame_set: its header.
            cropped: its crops, in this model's ``cropper``.
            n_skipped: sets before this one that the model did not look at.
            t_taken_ns: when cropping began, there, in rig time.
            t_cropped_ns: when it had ended.
            t_arrived_ns: when the crops were here.

        Returns:
            As `step`.
        """
        sources = self._views.sources(frame_set)
        if not cropped.crops or not sources:
            return None
        step = self.model.step_crops(cropped, middle_ns(sources), t_cropped_ns)
        if step is None:
            return None
        return self._decide(self._seen(frame_set, sources, step, n_skipped, t_taken_ns, t_arrived_ns), step, None)

    def crop_only(
        self, frame_set: FrameSet, images: Mapping[str, NDArray[np.uint8]], check: Callable[[], None] | None = None
    ) -> None:
        """In replay: a set that was cropped, and on which the model did not step. Arguments as of `step`."""
        seen = self._views.images(self._views.sources(frame_set), images)
        if seen:
            self.model.cropper.step(seen)
        if check is not None:
            check()

    def settle(self) -> None:
        """Learn from the last set what only later steps need: once its decisions are on their way."""
        self.model.cropper.settle()

    def _seen(
        self,
        frame_set: FrameSet,
        sources: tuple[SourceFrame, ...],
        step: ModelStep,
        n_skipped: int,
        t_taken_ns: int,
        t_arrived_ns: int = 0,
    ) -> StepInput:
        boxes = (
            Box(camera, crop.x_px, crop.y_px, crop.width_px, crop.height_px, crop.valid)
            for camera, crop in zip(step.views, step.crops, strict=True)
        )
        return StepInput(
            set_id=frame_set.set_id,
            sources=sources,
            missing=tuple(camera for camera in self.model.views if camera not in step.views),
            boxes=tuple(boxes),
            n_skipped=n_skipped,
            t_exposure_ns=min(one.t_exposure_ns for one in believed(sources)),
            t_received_ns=max(one.t_received_ns for one in sources),
            t_taken_ns=t_taken_ns,
            t_cropped_ns=step.t_cropped_ns,
            t_embedded_ns=step.t_embedded_ns,
            t_arrived_ns=t_arrived_ns,
        )


def middle_ns(sources: tuple[SourceFrame, ...]) -> int:
    """Exposure time of a set: halfway between the first and the last mid-exposure of its `believed` sources.

    It is computed from the sources alone, so that replay, which knows nothing else, gets the same number.
    """
    middles = [one.t_exposure_ns + one.exposure_us * NS_PER_US // 2 for one in believed(sources)]
    return (min(middles) + max(middles)) // 2


def believed(sources: tuple[SourceFrame, ...]) -> tuple[SourceFrame, ...]:
    """Those whose times are to be believed; where none is, all: there is nothing better."""
    return tuple(one for one in sources if one.believed) or sources
