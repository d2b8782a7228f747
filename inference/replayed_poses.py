"""Poses as a replay hands them over: exactly those that the live model stepped on, in its order.

Each is answered with the words in which it was handed over, so that the replay node can wait for it.
"""

from collections import OrderedDict
from typing import Final

from ..streaming.messages import Arming, PipelineState, Pose, ReplaySet, SyncPulse
from ..streaming.node import NodeContext
from ..streaming.topics import ARMING, PIPELINE_STATE, POSE, REPLAY_SET, SYNC_PULSE
from ..streaming.wire import Received
from ..sync.errors import RecordingError
from .node_config import PoseTaken
from .running_pose_model import RunningPoseModel

_POLL_MS: Final = 20
_POSES_KEPT: Final = 4096
"""Poses kept until they are handed over; far more than are under way at a time."""


class ReplayedPoses:
    """Steps on the poses that the replay node hands over, in its order, and answers each."""

    def __init__(self, context: NodeContext, pose: PoseTaken, model: RunningPoseModel) -> None:
        self._context = context
        self._source = pose.source
        self._model = model
        self._poses: OrderedDict[tuple[int, int], Pose] = OrderedDict()
        context.counters.update(steps=0, skipped=0, refused=0)

    def run(self) -> None:
        """Until the node is asked to stop."""
        context = self._context
        topics = [POSE, REPLAY_SET, PIPELINE_STATE, ARMING, SYNC_PULSE]
        with context.subscribe(topics, cameras=[self._source]) as bus:
            while not context.should_stop:
                for received in bus.receive(_POLL_MS):
                    self._accept(received)
                context.counters["refused"] = bus.n_refused
                context.ready_when_heard(bus.heard)
                context.beat()
            context.state = "stopping"

    def _accept(self, received: Received) -> None:
        match received.message:
            case Pose() as pose:
                self._poses[pose.epoch, pose.seq] = pose
                if len(self._poses) > _POSES_KEPT:
                    self._poses.popitem(last=False)
            case PipelineState() as state:
                if state.bundle == self._model.identity:
                    self._model.restore(state.payload)
            case Arming() as arming:
                self._model.recorded_arming(arming)
            case SyncPulse() as pulse:
                self._model.pulse(pulse)
            case ReplaySet() as replayed:
                self._step(replayed)
            case _:
                pass

    def _step(self, replayed: ReplaySet) -> None:
        (one,) = replayed.sources
        pose = self._poses.get((one.epoch, one.seq))
        if pose is None:
            raise RecordingError(f"replay: pose {one.epoch}/{one.seq} of {self._source} never came; replay it again")
        if self._model.step(pose, replayed.n_skipped, replayed.t_decided_ns):
            self._context.counters["steps"] += 1
            self._context.counters["skipped"] += replayed.n_skipped
        self._context.publish(REPLAY_SET, replayed)
