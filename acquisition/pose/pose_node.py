"""One pose source, one process: every frame published at its time and counted, as a camera's frames are."""

import logging
from typing import Final, Literal

from ...streaming.messages import CameraStatus, Pose
from ...streaming.node import NodeContext
from ...streaming.pose_format import points_bytes
from ...streaming.topics import CAMERA_STATUS, POSE
from ...sync.clock import NS_PER_MS, NS_PER_S
from ...sync.strict import StrictModel, validate
from .config import PoseSourceConfig
from .pose_source import FilePoseSource, PoseFrame

_STATUS_PERIOD_NS: Final = NS_PER_S // 2
_WAIT_NS: Final = 50 * NS_PER_MS
"""The next frame is awaited in steps of this, so that the process stays alive between slow frames."""

log = logging.getLogger(__name__)


class PoseNodeConfig(StrictModel):
    """Options of the process of one pose source: its name, and its kind and settings."""

    name: str
    pose: PoseSourceConfig


def main(context: NodeContext) -> None:
    """Entry point: read, wait for the common start, publish until stopped or ended."""
    config = validate(PoseNodeConfig, context.spec.config, context.spec.node)
    source = FilePoseSource(config.name, config.pose, context.clock, again=context.spec.epoch > 0)
    t_start_ns = context.wait_for_start()
    if t_start_ns is not None:
        source.start(t_start_ns)
        PoseLoop(context, config.name, source).run()


class PoseLoop:
    """The loop and its account.

    Args:
        context: of the node.
        name: of the source.
        source: started.
    """

    def __init__(self, context: NodeContext, name: str, source: FilePoseSource) -> None:
        self._context = context
        self._name = name
        self._source = source
        self._animals = tuple(source.format.animals)
        self._keypoints = tuple(source.format.keypoints)
        self._first_seq = self._last_seq = -1
        self._n_published = 0
        self._n_behind = 0
        self._next_status_ns = 0

    def run(self) -> None:
        """Publish until the file ends or the node is asked to stop; the last status closes the account."""
        context = self._context
        context.set_state("running")
        state: Literal["stopped", "lost"] = "lost"
        try:
            while not context.should_stop:
                now = context.clock.now_ns()
                if now >= self._next_status_ns:
                    self._say("running", now)
                context.beat()
                due_ns = self._source.next_ns()
                if due_ns is None:
                    log.info("the file has ended after %d frames", self._n_published)
                    break
                if due_ns > now:
                    context.clock.sleep_until_ns(min(due_ns, now + _WAIT_NS))
                else:
                    frame = self._source.read()
                    assert frame is not None
                    self._publish(frame, now)
            state = "stopped"
        finally:
            context.state = "stopping"
            self._say(state, context.clock.now_ns())
            context.set_state("stopping")

    def _publish(self, frame: PoseFrame, now: int) -> None:
        pose = Pose(
            self._name,
            self._context.spec.epoch,
            frame.seq,
            frame.t_exposure_ns,
            now,
            self._animals,
            self._keypoints,
            points_bytes(frame.points),
        )
        self._context.publish(POSE, pose, self._name)
        self._first_seq = frame.seq if self._first_seq < 0 else self._first_seq
        self._last_seq = frame.seq
        self._n_published += 1
        self._n_behind += now - frame.t_exposure_ns > NS_PER_S / self._source.format.rate_hz

    def _say(self, state: Literal["running", "stopped", "lost"], now: int) -> None:
        self._next_status_ns = now + _STATUS_PERIOD_NS
        status = CameraStatus(
            self._name,
            self._context.spec.epoch,
            state,
            self._first_seq,
            self._last_seq,
            self._n_published,
            0,
            0,
            self._source.format.rate_hz if self._n_published else 0.0,
            now,
            self._n_behind,
            "poses",
        )
        self._context.counters.update(captured=self._n_published, behind=self._n_behind)
        self._context.publish(CAMERA_STATUS, status, self._name)
