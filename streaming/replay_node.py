"""A recording as a source: the same frames, the same sets, in the same order, at any speed.

Frames are decoded and published as the cameras published them. With ``exact`` the sets handed to the inference node are
those that the live node took (its `Behavior` messages say which, skips included), starting from the state that was
saved when recording began; else every recorded set is handed over. The inference node answers each set, and only so
many are under way at a time: nothing is lost at any speed.
"""

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..sync.clock import NS_PER_MS
from ..sync.errors import RecordingError
from ..sync.strict import StrictModel, validate
from .frames import FrameSender
from .messages import (
    Arming,
    CameraStatus,
    FrameHeader,
    FrameSet,
    FrameTruth,
    Gap,
    PipelineState,
    Pose,
    ReplaySet,
    SyncPulse,
)
from .node import NodeContext
from .pixel_format import frame_shape
from .recording_reader import Recording
from .replay_plan import Plan, every_pose, every_set, exact_plan
from .seq_set import SeqSet
from .subscriber import EverySubscriber
from .topics import (
    ARMING,
    CAMERA_STATUS,
    FRAME,
    FRAME_SET,
    GAP,
    PIPELINE_STATE,
    POSE,
    REPLAY_SET,
    SYNC_PULSE,
    TRUTH,
)

_PUBLISHED_KEPT = 8192
_HANDED_KEPT = 4096
_OUT_OF_ORDER = 16
"""A frame whose camera is so many frames further, or began anew so many frames ago, does not come any more."""
_POLL_MS = 20
_NO_FRAMES = SeqSet()

log = logging.getLogger(__name__)

FrameKey = tuple[str, int, int]


class ReplayNodeConfig(StrictModel):
    """Options of the replay process.

    Attributes:
        recording: the folder.
        exact: hand over what the live node took, from its saved state; else every recorded set.
        speed: 1 is real time; None as fast as the model can.
        ring_slots: frames per camera in shared memory.
        inference: node that answers.
        pose: the source whose poses the model takes; None: it takes frame sets.
        frames: somebody looks at frames; else no video is read. A model on frame sets needs them.
    """

    recording: Path
    exact: bool
    speed: float | None = Field(default=1.0, gt=0)
    ring_slots: int = Field(default=64, ge=32)
    inference: str = "inference"
    pose: str | None = None
    frames: bool = True

    @model_validator(mode="after")
    def _model_has_input(self) -> Self:
        if self.pose is None and not self.frames:
            raise ValueError("frames: a model on frame sets needs them; set frames: true, or name a pose source")
        return self


def main(context: NodeContext) -> None:
    """Entry point."""
    config = validate(ReplayNodeConfig, context.spec.config, context.spec.node)
    recording = Recording.open(config.recording)
    if config.pose is None:
        recording.need_video("it cannot be replayed")
    if config.frames:
        recording.load_indices(context.beat)
    with context.subscribe([FRAME_SET, REPLAY_SET], nodes=[config.inference]) as answers:
        if context.wait_for_start() is None:
            return
        context.set_state("running")
        replay = _Replay(context, config, recording, answers)
        try:
            replay.run()
        finally:
            replay.close()
            context.set_state("stopping")


class _Replay:
    """Reads the recording twice side by side: what happened, and which sets to hand over next."""

    def __init__(
        self, context: NodeContext, config: ReplayNodeConfig, recording: Recording, answers: EverySubscriber
    ) -> None:
        self._context = context
        self._config = config
        self._recording = recording
        self._answers = answers
        self._senders: dict[str, FrameSender] = {}
        self._videos: dict[str, Iterator[tuple[FrameHeader, NDArray[np.uint8]]]] = {}
        self._next_frame: dict[str, tuple[FrameHeader, NDArray[np.uint8]] | None] = {}
        self._n_frames: dict[str, int] = {}
        self._published: OrderedDict[FrameKey, bool] = OrderedDict()
        """Recent frames; False: the recording has no pixels for it."""
        self._recorded: dict[str, dict[int, SeqSet]] = {}
        """Frames whose header is in the recording, by camera and epoch; of those that a set may have."""
        if config.pose is None:
            self._recorded = {name: recording.index(name)[0].filter.received for name in recording.info.cameras}
        self._plan = self._read_plan()
        self._head: Plan | None = next(self._plan, None)
        self._handed: deque[int] = deque(maxlen=_HANDED_KEPT)
        self._newest: dict[tuple[str, int], int] = {}
        self._n_out = Counter[tuple[str, int]]()
        self._passed: deque[FrameSet] = deque()
        self._under_way: deque[tuple[int, dict[str, int]]] = deque()
        self._in_a_hole = False
        self._crops_missed = False
        self._first_exposure_ns: int | None = None
        self._begin_ns = 0
        context.counters.update(frames=0, sets=0, poses=0, unreplayable=0)

    def run(self) -> None:
        while not self._context.should_stop and self._config.inference not in self._answers.heard:
            self._collect(_POLL_MS)
        for logged in self._recording.messages():
            if self._context.should_stop:
                return
            self._handle(logged.message)
        self._hand_over(end=True)
        self._announce_passed()
        while self._under_way and not self._context.should_stop:
            self._collect(_POLL_MS)

    def _read_plan(self) -> Iterator[Plan]:
        if self._config.exact:
            return exact_plan(self._recording, self._skip)
        source = self._config.pose
        return every_set(self._recording) if source is None else every_pose(self._recording, source)

    def _handle(self, message: msgspec.Struct) -> None:
        if isinstance(message, FrameHeader):
            if self._config.frames and self._recording.info.video:  # without, the model takes pose
                self._frame(message)
                self._hand_over(end=False)
        elif isinstance(message, Pose):
            self._pose(message)
            self._hand_over(end=False)
        elif isinstance(message, FrameTruth):
            self._context.publish(TRUTH, message, message.camera)
        elif isinstance(message, CameraStatus):
            self._context.publish(CAMERA_STATUS, message, message.camera)
        elif isinstance(message, Gap):
            self._context.publish(GAP, message, message.camera)
        elif isinstance(message, SyncPulse):
            self._context.publish(SYNC_PULSE, message)
        elif isinstance(message, FrameSet):
            self._passed.append(message)
            self._announce_passed()

    def _announce_passed(self) -> None:
        """Sets that the model takes are announced by the inference node's answer, the others by this node: all of them,
        where the model takes pose.

        Which they are shows when the plan is past them: a set may be logged before the last of its frames.
        """
        while self._passed:
            set_id = self._passed[0].set_id
            beyond = self._head.set_id > set_id if isinstance(self._head, ReplaySet) else self._head is None
            beyond = beyond or self._config.pose is not None
            if not beyond and len(self._passed) <= _HANDED_KEPT:
                return
            passed = self._passed.popleft()
            if set_id not in self._handed or self._config.pose is not None:
                self._context.publish(FRAME_SET, passed)

    def _pose(self, pose: Pose) -> None:
        key = (pose.source, pose.epoch, pose.seq)
        if key in self._published:
            return
        self._note(key, found=True)
        self._pace(pose)
        self._context.publish(POSE, pose, pose.source)
        self._context.counters["poses"] += 1

    def _note(self, key: FrameKey, *, found: bool) -> None:
        """A frame is out, or has no pixels here."""
        start = key[:2]
        self._newest[start] = max(key[2], self._newest.get(start, -1))
        self._n_out[start] += 1
        self._published[key] = found
        if len(self._published) > _PUBLISHED_KEPT:
            self._published.popitem(last=False)

    def _frame(self, header: FrameHeader) -> None:
        camera = header.camera
        key = (camera, header.epoch, header.seq)
        if key in self._published:
            return
        if camera not in self._videos:
            self._open(header)
        upcoming = self._next_frame[camera]
        found = upcoming is not None and (upcoming[0].epoch, upcoming[0].seq) == (header.epoch, header.seq)
        self._note(key, found=found)
        if not found or upcoming is None:
            return
        self._pace(header)
        self._make_room(camera)
        sender = self._senders[camera]
        np.copyto(sender.acquire(), upcoming[1])
        ring, slot, generation, _ = sender.commit()
        self._context.publish(
            FRAME,
            msgspec.structs.replace(header, ring=ring, slot=slot, generation=generation, encoding="ring"),
            camera,
        )
        self._n_frames[camera] += 1
        self._context.counters["frames"] += 1
        self._next_frame[camera] = next(self._videos[camera], None)

    def _open(self, header: FrameHeader) -> None:
        camera = header.camera
        shape = frame_shape(header.pixel_format, header.height, header.width)
        self._senders[camera] = FrameSender(
            self._context.spec.session, camera, self._context.spec.epoch, shape, self._config.ring_slots
        )
        self._videos[camera] = iter(self._recording.frames(camera))
        self._next_frame[camera] = next(self._videos[camera], None)
        self._n_frames[camera] = 0

    def _pace(self, header: FrameHeader | Pose) -> None:
        if self._first_exposure_ns is None:
            self._first_exposure_ns = header.t_exposure_ns
            self._begin_ns = self._context.clock.now_ns()
        if self._config.speed is None:
            self._collect(0)
            return
        due = self._begin_ns + round((header.t_exposure_ns - self._first_exposure_ns) / self._config.speed)
        while not self._context.should_stop:
            left_ns = due - self._context.clock.now_ns()
            if left_ns <= 0:
                break
            self._collect(min(_POLL_MS, left_ns // NS_PER_MS))
            self._context.clock.sleep_until_ns(min(due, self._context.clock.now_ns() + NS_PER_MS))

    def _make_room(self, camera: str) -> None:
        """Wait while the next frame could overwrite one that a set under way still needs."""
        while self._under_way and not self._context.should_stop:
            if self._n_frames[camera] - self._under_way[0][1].get(camera, 0) < self._config.ring_slots // 2:
                return
            self._collect(_POLL_MS)

    def _is_out(self, key: FrameKey) -> bool | None:
        """Whether a frame is published; False: without pixels here, or its header is lost; None: it may still come."""
        if key in self._published:
            return self._published[key]
        if not self._may_come(key):
            return False
        camera, epoch, seq = key
        passed = self._newest.get((camera, epoch), -1) > seq + _OUT_OF_ORDER
        # What a process sent as it was killed may have reached the model and not the recorder.
        began_anew = any(
            name == camera and later > epoch and n > _OUT_OF_ORDER for (name, later), n in self._n_out.items()
        )
        return False if passed or began_anew else None

    def _may_come(self, key: FrameKey) -> bool:
        """False: the model had the frame and the recorder did not, and no frame after it need ever show that."""
        camera, epoch, seq = key
        recorded = self._recorded.get(camera)
        return recorded is None or seq in recorded.get(epoch, _NO_FRAMES)

    def _hand_over(self, *, end: bool) -> None:
        """Hand over the next sets of the plan whose frames are all out; ``end``: no more frames will come."""
        while self._head is not None and not self._context.should_stop:
            head = self._head
            if isinstance(head, PipelineState):
                self._crops_missed = False
                self._context.publish(PIPELINE_STATE, head)
            elif isinstance(head, Arming):
                self._context.publish(ARMING, head)
            elif self._crops_missed:
                self._skip(head.set_id, "a set that the croppers remember has no pixels")
            else:
                state = [self._is_out((one.camera, one.epoch, one.seq)) for one in head.sources]
                if False in state or (end and None in state):
                    self._crops_missed = head.crop_only
                    self._skip(head.set_id, self._why_not(head))
                elif None in state:
                    return
                else:
                    self._send(head)
            self._head = next(self._plan, None)

    def _why_not(self, head: ReplaySet) -> str:
        if self._config.pose is not None:
            return "the recording lacks a pose"
        lacking = [one.camera for one in head.sources if not self._may_come((one.camera, one.epoch, one.seq))]
        return f"the recording lacks a frame of {', '.join(lacking)}" if lacking else "frames have no pixels"

    def _skip(self, set_id: int, why: str) -> None:
        self._context.counters["unreplayable"] += 1
        if not self._in_a_hole:
            what = "sets" if self._config.pose is None else "poses"
            self._context.alarm("warning", f"{what} from {set_id} on cannot be replayed: {why}")
        self._in_a_hole = True

    def _send(self, replayed: ReplaySet) -> None:
        self._in_a_hole = False
        self._context.publish(REPLAY_SET, replayed)
        self._handed.append(replayed.set_id)
        self._under_way.append((replayed.set_id, dict(self._n_frames)))
        self._context.counters["sets"] += 1
        while len(self._under_way) >= max(1, self._config.ring_slots // 4) and not self._context.should_stop:
            self._collect(_POLL_MS)

    def _collect(self, timeout_ms: int) -> None:
        """Take the inference node's answers, and stay alive."""
        for received in self._answers.receive(timeout_ms):
            if isinstance(received.message, FrameSet | ReplaySet):
                if not self._under_way or self._under_way[0][0] != received.message.set_id:
                    raise RecordingError(f"replay: the inference node answered {received.message.set_id} out of turn")
                self._under_way.popleft()
        self._context.beat()

    def close(self) -> None:
        for sender in self._senders.values():
            sender.close()
