"""Model and tracker in their process: with the actuators, and with what they publish."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..streaming.frames import FrameReceiver
from ..streaming.messages import Crops, FrameHeader, FrameSet, PipelineState, Tracks
from ..streaming.topics import PIPELINE_STATE, TRACKS
from ..sync.errors import BundleError, FrameOverwrittenError
from .acting_model import ActingModel
from .bundle import Bundle
from .bundled import resolve_bundle
from .geometry import model_views, open_tracker
from .model_host import ModelHost
from .node_config import InferenceNodeConfig
from .onnxruntime_backend import open_graph
from .pipeline import BehaviorPipeline, middle_ns
from .set_cropper import CroppedSet
from .set_taker import STATE_PERIOD_NS

if TYPE_CHECKING:
    from .tracking.tracker import AnimalTracker

log = logging.getLogger(__name__)


def _log_build(what: str, done: int, of: int) -> None:
    if done == 0:
        log.info("engine not in the cache, building it: %s (ethostream engines does that ahead of a run)", what)


class RunningModel(ActingModel):
    """What steps on frame sets: the behaviour pipeline with its actuators, the tracker, or both.

    Args:
        context: of the node; where crops come from another host, what that says of its rig.
        config: its task names a bundle, tracking, or both.

    Attributes:
        views: camera → shape of its frames, for those that it looks at.
        ready: frame sets may come.
        needs_state: its state has to be saved before the next set, whatever the recording is at.

    Raises:
        ConfigError: views that are not in the rig, or that do not suit model or calibration.
        BundleError: the model cannot be used.
        CalibrationError: the calibration cannot be used.
    """

    ready = True

    def __init__(self, context: ModelHost, config: InferenceNodeConfig) -> None:
        super().__init__(context, replay=config.replay)
        task = config.task
        self.pipeline: BehaviorPipeline | None = None
        self.identity = ""
        self._lost_tracks = False
        self._saved_ns = -STATE_PERIOD_NS
        self._model_views: dict[str, tuple[int, ...]] = {}
        self._pair_cameras: set[str] = set()
        if task.bundle is not None:
            self._open_model(config)
        self._tracker = open_tracker(config)
        # What either needs is looked at, in the rig's order.
        wanted = {
            *self._model_views,
            *self._pair_cameras,
            *(self._tracker.cameras if self._tracker is not None else ()),
        }
        self.views = {name: tuple(shape) for name, shape in config.views.items() if name in wanted}

    @property
    def needs_state(self) -> bool:
        """After tracks were lost; at most once in `STATE_PERIOD_NS`, since an overloaded rig loses them often."""
        return self._lost_tracks and self._context.clock.now_ns() - self._saved_ns >= STATE_PERIOD_NS

    def _open_model(self, config: InferenceNodeConfig) -> None:
        task, context = config.task, self._context
        assert task.bundle is not None
        bundle = Bundle.load(
            resolve_bundle(task.bundle),
            provider=task.provider,
            threads=task.threads,
            max_look_ahead_frames=task.max_look_ahead_frames,
            opener=partial(open_graph, spin=context.spec.process.spin),
            gpu=task.gpu,
            tell=_log_build,
        )
        self._model_views, disparity = model_views(config, bundle.manifest)
        self.identity = bundle.identity
        self.pipeline = BehaviorPipeline(
            bundle,
            task,
            self._model_views,
            context.clock,
            set_rate_hz=config.rate_hz,
            armed=context.spec.armed,
            disparity=disparity,
            epoch=context.spec.epoch,
            cameras=config.cameras,
        )
        self._pair_cameras = set() if disparity is None else disparity.cameras
        self._begin_acting(self.pipeline.rules, task)
        log.info("bundle %s on %s, %d views", self.identity, bundle.provider, len(self._model_views))
        log.info(self.pipeline.model.stabiliser.delays_in_words())

    def step(
        self,
        frame_set: FrameSet,
        headers: Mapping[str, FrameHeader],
        images: Mapping[str, NDArray[np.uint8]],
        receiver: FrameReceiver,
        n_skipped: int,
        announce: Callable[[], None] | None = None,
        t_decided_ns: int | None = None,
    ) -> bool:
        """One step on one set: act on the decisions, publish the behaviour, then track and learn.

        Args:
            frame_set: its header.
            headers: camera → header of its frame.
            images: camera → frame; they may lie in shared memory.
            receiver: of the pixels; it knows whether they were overwritten meanwhile.
            n_skipped: sets before this one that were not looked at.
            announce: called before anything is said of the set.
            t_decided_ns: in replay, when the live run decided.

        Returns:
            False: the rate rule of the model left the set out, and the tracker with it, so that a replay of the
            model's sets gives the tracker its own.
        """
        check = partial(receiver.check_all, headers)
        if self.pipeline is not None:
            result = self.pipeline.step(frame_set, images, n_skipped, t_decided_ns, check)
            if result is None:
                return False
            self._act_on(*result, announce)
        elif announce is not None:
            announce()
        if self._tracker is not None:
            try:
                self._track(self._tracker, frame_set, images, check)
            except FrameOverwrittenError as error:
                if self._replay or self.pipeline is None:
                    raise
                self._lose_tracks(self._tracker, frame_set, error)
        if self.pipeline is not None:
            self.pipeline.settle()
        return True

    def _lose_tracks(self, tracker: "AnimalTracker", frame_set: FrameSet, error: FrameOverwrittenError) -> None:
        """What the set decided stands, and is published: only where the animals were is not known."""
        tracker.forget_pixels()
        self._lost_tracks = True
        self._context.counters["overwritten"] = self._context.counters.get("overwritten", 0) + 1
        self._context.alarm(
            "warning",
            f"set {frame_set.set_id} was decided and not tracked: its frames were overwritten before the tracker had "
            f"read them, and the tracker's background begins anew: {error}",
        )

    def step_crops(self, crops: Crops, cropped: CroppedSet, n_skipped: int, t_arrived_ns: int) -> bool:
        """As `step`, on a set that was cropped on another host.

        Args:
            crops: the message.
            cropped: its pixels, in the model's ``cropper``.
            n_skipped: sets before this one that the model did not look at.
            t_arrived_ns: when the message was here, rig time.
        """
        if self.pipeline is None:
            return False
        result = self.pipeline.step_crops(
            crops.frame_set, cropped, n_skipped, crops.t_taken_ns, crops.t_cropped_ns, t_arrived_ns
        )
        if result is not None:
            self._act_on(*result)
        return result is not None

    def crop_only(
        self,
        frame_set: FrameSet,
        headers: Mapping[str, FrameHeader],
        images: Mapping[str, NDArray[np.uint8]],
        receiver: FrameReceiver,
    ) -> None:
        """In replay: a set that was cropped, and on which the model did not step."""
        if self.pipeline is not None:
            self.pipeline.crop_only(frame_set, images, partial(receiver.check_all, headers))

    def _track(
        self,
        tracker: "AnimalTracker",
        frame_set: FrameSet,
        images: Mapping[str, NDArray[np.uint8]],
        check: Callable[[], None],
    ) -> None:
        sources = tuple(one for one in frame_set.sources if one.camera in tracker.cameras)
        if not sources:
            return
        t_mid_ns = middle_ns(sources)
        animals = tracker.step({one.camera: images[one.camera] for one in sources}, t_mid_ns)
        check()
        tracks = Tracks(frame_set.set_id, t_mid_ns, animals)
        self._context.publish(TRACKS, tracks)
        if self.pipeline is not None:
            self.pipeline.rules.tracked(tracks)

    def reset(self) -> None:
        """Forget everything but which animal is which; also after `step` raised, since it may have been half done."""
        if self.pipeline is not None:
            self.pipeline.reset()
        if self._tracker is not None:
            # Numbered anew, two animals could be exchanged, and nobody would know.
            self._tracker.forget_pixels()

    def snapshot(self) -> bytes | None:
        """Everything that is remembered, as an ``.npz`` without pickle; None without a model, as replay needs one."""
        if self.pipeline is None:
            return None
        return self.pipeline.snapshot(None if self._tracker is None else self._tracker.snapshot())

    def save_state(self, set_id: int) -> None:
        """Publish what is remembered just before a set, for replay to begin there."""
        self._lost_tracks, self._saved_ns = False, self._context.clock.now_ns()
        payload = self.snapshot()
        if payload is not None:
            self._context.publish(PIPELINE_STATE, PipelineState(set_id, self.identity, payload))

    def restore(self, payload: bytes) -> None:
        """Continue from a snapshot, bit for bit.

        Raises:
            BundleError: it is of another model, other views or another version.
        """
        if self.pipeline is None:
            return
        beside = self.pipeline.restore(payload)
        self.pipeline.rules.arming.follow()
        if self._tracker is not None:
            if not beside:
                raise BundleError("the saved state holds no tracks: replay with the recorded task, without tracking")
            self._tracker.restore(beside)
