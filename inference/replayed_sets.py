"""Frame sets as a replay hands them over: exactly those that the live model took, in its order.

Each is answered with its own `FrameSet`, so that the replay node can wait for it.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ..streaming.frames import FrameReceiver
from ..streaming.messages import (
    Arming,
    FrameHeader,
    FrameSet,
    PipelineState,
    ReplaySet,
    SyncPulse,
)
from ..streaming.node import NodeContext
from ..streaming.topics import (
    ARMING,
    FRAME,
    FRAME_SET,
    PIPELINE_STATE,
    REPLAY_SET,
    SYNC_PULSE,
)
from ..streaming.wire import Received
from ..sync.errors import BusError, RecordingError
from .node_config import InferenceNodeConfig
from .pipeline import middle_ns
from .running_model import RunningModel

_POLL_MS = 20
_REPLAY_HEADERS = 4096
"""Headers kept in replay until their set comes; far more than the ring holds."""


class ReplayedSets:
    """Steps on the sets that the replay node hands over, in its order, and answers each."""

    def __init__(self, context: NodeContext, config: InferenceNodeConfig, model: RunningModel | None) -> None:
        self._context = context
        self._model = model
        self._receiver = FrameReceiver()
        self._headers: dict[tuple[str, int, int], Received] = {}
        self._order: deque[tuple[str, int, int]] = deque()
        context.counters.update(steps=0, skipped=0, overwritten=0, refused=0)

    def run(self) -> None:
        context = self._context
        with context.subscribe([FRAME, REPLAY_SET, PIPELINE_STATE, ARMING, SYNC_PULSE]) as bus:
            while not context.should_stop:
                for received in bus.receive(_POLL_MS):
                    self._accept(received)
                context.counters["refused"] = bus.n_refused
                context.ready_when_heard(bus.heard)
                context.beat()
            context.state = "stopping"

    def _accept(self, received: Received) -> None:
        message = received.message
        if isinstance(message, FrameHeader):
            key = (message.camera, message.epoch, message.seq)
            if key not in self._headers:
                self._order.append(key)
            self._headers[key] = received
            if len(self._order) > _REPLAY_HEADERS:
                self._headers.pop(self._order.popleft(), None)
        elif isinstance(message, PipelineState) and self._model is not None:
            if message.bundle == self._model.identity:
                self._model.restore(message.payload)
        elif isinstance(message, Arming) and self._model is not None:
            self._model.recorded_arming(message)
        elif isinstance(message, SyncPulse) and self._model is not None:
            self._model.pulse(message)
        elif isinstance(message, ReplaySet):
            self._step(message)

    def _step(self, replayed: ReplaySet) -> None:
        now = self._context.clock.now_ns()
        frame_set = FrameSet(
            replayed.set_id,
            replayed.status,
            replayed.sources,
            replayed.missing,
            middle_ns(replayed.sources),
            now,
        )
        if self._model is not None:
            try:
                self._step_model(self._model, frame_set, replayed)
            except (BusError, KeyError) as error:
                raise RecordingError(
                    f"replay: set {replayed.set_id} cannot be read any more ({error}); raise bus.ring_slots"
                ) from error
        self._context.publish(FRAME_SET, frame_set)

    def _step_model(self, model: RunningModel, frame_set: FrameSet, replayed: ReplaySet) -> None:
        frames: dict[str, FrameHeader] = {}
        images: dict[str, NDArray[np.uint8]] = {}
        for source in replayed.sources:
            if source.camera in model.views:
                received = self._headers[source.camera, source.epoch, source.seq]
                assert isinstance(received.message, FrameHeader)
                frames[source.camera] = received.message
                images[source.camera] = self._receiver.view(received.message, received.pixels)
        if replayed.crop_only:
            model.crop_only(frame_set, frames, images, self._receiver)
            return
        if model.step(
            frame_set, frames, images, self._receiver, replayed.n_skipped, t_decided_ns=replayed.t_decided_ns
        ):
            self._context.counters["steps"] += 1
            self._context.counters["skipped"] += replayed.n_skipped
