"""What the recorder does with each message: log it, hand frames to the encoders, declare what is lost. No sockets."""

from collections.abc import Callable
from typing import Literal

from ..sync.clock import NS_PER_MS, NS_PER_S, Clock
from ..sync.errors import SharedMemoryError
from ..sync.latency import LatencyHistogram
from .camera_encoder import DISK_FULL, CameraEncoder, FrameJob
from .disk_space import DiskSpace
from .disk_watch import DiskWatch
from .frame_account import FrameAccount
from .messages import Alarm, Behavior, CameraStatus, Decision, FrameHeader, Gap, Message, Pose, RecordingStatus
from .recording_config import RecordingConfig
from .recording_writer import RecordingWriter
from .ring import RingReader
from .topics import ALARM, GAP, RECORDING, Topic
from .wire import Received, decode

FLUSH_PERIOD_NS = 250 * NS_PER_MS
STATUS_PERIOD_NS = NS_PER_S
START_PATIENCE_NS = 3 * NS_PER_S
"""The recording is announced this long after its first frame even where a camera has not delivered."""
FORMAT_CHANGED = "the camera's format differs from the recording's"

Publish = Callable[[Topic, Message, str], bytes]


class Recorder:
    """The recorder without its sockets. One thread, beside an encoder's per camera and those of the writer.

    Args:
        node: name of the node, for alarms.
        writer: the recording, just created.
        config: queue and reserve.
        clock: rig time.
        publish: sends a message of this node and returns its body; the node hands that to `log_own`.
    """

    def __init__(
        self, node: str, writer: RecordingWriter, config: RecordingConfig, clock: Clock, publish: Publish
    ) -> None:
        self._node = node
        self._writer = writer
        self._clock = clock
        self._publish = publish
        self._accounts = {name: FrameAccount(name, one.rate_hz) for name, one in writer.info.cameras.items()}
        self._accounts |= {
            name: FrameAccount(name, one.rate_hz, "pose source") for name, one in writer.info.poses.items()
        }
        self._encoders = {
            name: CameraEncoder(
                name, lambda name=name: writer.open_video(name), config.queue_frames, writer.flusher.wait_written
            )
            for name in (writer.info.cameras if config.video else ())
        }
        """None where only events are recorded: no frame is then looked at."""
        self._rings: dict[str, RingReader] = {}
        self._refused_formats: set[tuple[str, int]] = set()
        self._alarmed: set[str] = set()
        self._disk = DiskSpace(writer.folder, config.reserve_mb)
        self._disk_watch = DiskWatch(writer.folder, writer.flusher.timer)
        self._state: Literal["started", "running", "video_stopped", "stopped"] | None = None
        self._video_stopped = ""
        self._first_frame_ns = 0
        self._next_flush_ns = 0
        self._next_status_ns = 0
        self._events_failed = False
        self._n_unlogged_said = 0
        self._latency = {name: LatencyHistogram() for name in ("exposure_to_behavior", "exposure_to_trigger")}

    @property
    def quiet(self) -> bool:
        """Every camera and pose source that was heard has sent its last status."""
        return all(account.final for account in self._accounts.values())

    @property
    def unfinished(self) -> list[str]:
        """Cameras and pose sources that were heard and have not sent their last status."""
        return [name for name, account in self._accounts.items() if not account.final]

    @property
    def written(self) -> dict[str, int]:
        """Frames in each video; of pose sources and in an events-only recording, those whose message is kept."""
        return {name: account.n_written for name, account in self._accounts.items()}

    @property
    def declared(self) -> dict[str, int]:
        """Frames of each camera that are declared as not in its video, by the device, the bus or the recorder."""
        return {name: account.n_declared for name, account in self._accounts.items()}

    @property
    def n_waiting(self) -> int:
        """Frames in the encoders' queues."""
        return sum(encoder.n_waiting for encoder in self._encoders.values())

    @property
    def log_idle(self) -> bool:
        """What the event log held at the last `poll` is written, or has been refused."""
        return self._writer.flusher.idle

    @property
    def disk_ms(self) -> dict[str, int]:
        """The longest that the disk has taken so far, ms: for a write of messages, and to force out any one file."""
        syncs = [one.timer.max_ns for one in self._writer.syncs]
        return {"write_ms": self._writer.flusher.timer.max_ns // NS_PER_MS, "sync_ms": max(syncs) // NS_PER_MS}

    @property
    def n_unlogged(self) -> int:
        """Messages that are not in the event log, since the disk took nothing for too long."""
        return self._writer.events.n_refused

    def log_own(self, topic: Topic, camera: str, body: bytes) -> None:
        """Write a message that this node has published into the event log; nobody else brings it."""
        if topic.logged:
            seq = decode(topic.key(camera), body).seq
            self._writer.events.append(topic, camera, seq, body, self._clock.now_ns())

    def accept(self, received: Received) -> None:
        """Take one message from the bus."""
        topic, message = received.topic, received.message
        if topic.logged:
            self._writer.events.append(topic, received.camera, received.seq, received.body, self._clock.now_ns())
        if received.n_lost:
            self._alarm_once(
                f"lost {received.source}/{topic.name}",
                "warning",
                f"{received.n_lost} message(s) of {topic.name} from {received.source} were lost on the way to the "
                "recorder; the machine is too busy",
            )
        if isinstance(message, FrameHeader | Pose):
            self._take_frame(message, received)
            return
        if isinstance(message, Behavior):
            self._latency["exposure_to_behavior"].add(message.t_decided_ns - message.t_exposure_ns)
        elif isinstance(message, Decision) and message.t_fired_ns:
            self._latency["exposure_to_trigger"].add(message.t_fired_ns - message.t_exposure_ns)
        account = self._accounts.get(received.camera)
        if account is None:
            return
        if isinstance(message, Gap):
            account.add_gap(message)
        elif isinstance(message, CameraStatus):
            for gap in account.add_status(message, self._clock.now_ns()):
                self._publish(GAP, gap, gap.camera)

    def _take_frame(self, header: FrameHeader | Pose, received: Received) -> None:
        info = self._writer.info
        name, known = (header.source, info.poses) if isinstance(header, Pose) else (header.camera, info.cameras)
        if name not in known or name != received.camera:
            self._alarm_once(
                f"unknown {name}/{received.camera}",
                "error",
                f"frame of {name}: published as {received.camera} by {received.source}, which is not part of this "
                "recording; it is not written: add it to the rig file",
            )
            return
        account = self._accounts[name]
        if not account.add_header(header):
            return
        self._first_frame_ns = self._first_frame_ns or self._clock.now_ns()
        if isinstance(header, Pose) or not self._encoders:  # in the event log it is written
            account.add_written(header.epoch, header.seq)
            return
        reason = self._hand_over(header, received)
        if reason:
            # Outcomes that came before this frame are accounted before it, so that runs stay runs.
            self._settle(header.camera)
            account.add_lost(header.epoch, header.seq, reason)

    def _hand_over(self, header: FrameHeader, received: Received) -> str:
        expected = self._writer.info.cameras[header.camera]
        if (header.width, header.height, header.pixel_format) != (
            expected.width,
            expected.height,
            expected.pixel_format,
        ):
            key = (header.camera, header.epoch)
            if key not in self._refused_formats:
                self._refused_formats.add(key)
                self._alarm(
                    "error",
                    f"camera {header.camera}: delivers {header.width}x{header.height} {header.pixel_format}, its video "
                    f"holds {expected.width}x{expected.height} {expected.pixel_format}; these frames are not recorded: "
                    "set the camera back, or begin a new recording",
                )
            return FORMAT_CHANGED
        ring = None
        if header.ring:
            ring = self._rings.get(header.camera)
            if ring is None or ring.name != header.ring:
                # Mapped here and now: when the encoder gets to it, the camera may have gone and taken the name along.
                try:
                    ring = self._rings[header.camera] = RingReader(header.ring)
                except SharedMemoryError as error:
                    self._alarm_once(f"ring {header.ring}", "error", str(error))
                    return "its shared memory cannot be read"
                if ring.shape != expected.shape:
                    return FORMAT_CHANGED
        encoder = self._encoders[header.camera]
        reason = encoder.put(FrameJob(header, ring, received.pixels, self._writer.events.position))
        if reason and not encoder.failure and not encoder.ended:
            self._alarm_once(
                f"queue {header.camera}",
                "warning",
                f"camera {header.camera}: {reason}, frames are declared as lost; disk or processor is too slow: "
                "choose a lighter codec, or raise recording.queue_frames",
            )
        return reason

    def poll(self) -> None:
        """Do what is due: outcomes of the encoders, declarations, disk space, status. Call it at least 10 times a s."""
        for camera in self._accounts:
            self._settle(camera)
        now = self._clock.now_ns()
        if now >= self._next_flush_ns:
            self._next_flush_ns = now + FLUSH_PERIOD_NS
            self._declare(now)
            self._watch_disk()
            self._watch_encoders()
            self._watch_log()
        self._writer.flusher.kick()
        self._announce(now)

    def _settle(self, camera: str) -> None:
        account = self._accounts[camera]
        encoder = self._encoders.get(camera)
        for outcome in () if encoder is None else encoder.take_outcomes():
            if outcome.reason:
                account.add_lost(outcome.epoch, outcome.seq, outcome.reason, was_written=outcome.taken_back)
            else:
                account.add_written(outcome.epoch, outcome.seq)

    def _declare(self, now: int) -> None:
        for account in self._accounts.values():
            for gap in account.take_gaps(now):
                self._publish(GAP, gap, gap.camera)

    def _watch_disk(self) -> None:
        level = self._disk.level()
        if not self._encoders and level != "good":
            self._alarm_once("disk low", "warning", self._disk.describe() + "; free some space now")
        elif level == "low":
            self._alarm_once("disk low", "warning", self._disk.describe() + "; video will stop: free some space now")
        elif level == "full" and not self._video_stopped:
            self._stop_video(self._disk.describe() + "; video has stopped, messages are still written")
        for trouble in self._disk_watch.look(self._writer.syncs):
            if trouble.once:
                self._alarm_once(trouble.once, trouble.severity, trouble.text)
            else:
                self._alarm(trouble.severity, trouble.text)

    def _watch_encoders(self) -> None:
        for camera, encoder in self._encoders.items():
            if not encoder.n_waiting:
                self._alarmed.discard(f"queue {camera}")
            if encoder.failure == DISK_FULL and not self._video_stopped:
                self._stop_video(encoder.detail)
            elif encoder.failure and encoder.failure != DISK_FULL:
                self._alarm_once(f"encoder {camera}", "error", f"camera {camera}: {encoder.detail}")

    def _stop_video(self, detail: str) -> None:
        """All cameras together: a set with views missing is of no use for replay."""
        self._video_stopped = detail
        for encoder in self._encoders.values():
            encoder.stop_video(DISK_FULL, detail)
        self._alarm_once("disk full", "error", detail)
        self._say("video_stopped", self._clock.now_ns())

    def _watch_log(self) -> None:
        error = self._writer.flusher.error
        if error is not None and not self._events_failed:
            self._alarm("error", str(error))
        self._events_failed = error is not None
        # Once when it begins, for a person to hear, and once when there is room again, so that it stands in the log.
        if self.n_unlogged > self._n_unlogged_said and not (self._events_failed and self._n_unlogged_said):
            self._n_unlogged_said = self.n_unlogged
            self._alarm(
                "error",
                f"{self._writer.events.path}: {self.n_unlogged} message(s) are lost so far, since the disk took "
                "nothing for too long; free some space: what this recording lacks cannot be replayed",
            )

    def _announce(self, now: int) -> None:
        if self._state is None:
            waiting = [name for name, account in self._accounts.items() if not account.first_written]
            patience = self._first_frame_ns and now - self._first_frame_ns > START_PATIENCE_NS
            if waiting and not (patience and len(waiting) < len(self._accounts)):
                return
            if waiting:
                named = ", ".join(f"{self._accounts[name].what} {name}" for name in waiting)
                self._alarm("warning", f"recording has begun without {named}; look at their logs")
            self._say("started", now)
        elif now >= self._next_status_ns:
            self._say("video_stopped" if self._video_stopped else "running", now)

    def _say(self, state: Literal["started", "running", "video_stopped", "stopped"], now: int) -> None:
        self._state = state
        self._next_status_ns = now + STATUS_PERIOD_NS
        first = {
            f"{name}/{epoch}": seq
            for name, account in self._accounts.items()
            for epoch, seq in account.first_written.items()
        }
        info = self._writer.info
        status = RecordingStatus(
            info.name, str(self._writer.folder), state, first, self.written, self.declared, self._disk.bytes_free, now
        )
        self._publish(RECORDING, status, "")

    def _alarm(self, severity: Literal["warning", "error"], text: str) -> None:
        self._publish(ALARM, Alarm(self._node, severity, text, self._clock.now_ns()), "")

    def _alarm_once(self, key: str, severity: Literal["warning", "error"], text: str) -> None:
        if key not in self._alarmed:
            self._alarmed.add(key)
            self._alarm(severity, text)

    def end_encoders(self) -> None:
        """Ask the encoders to write what waits and to close their videos; `ended` tells when they have."""
        for encoder in self._encoders.values():
            encoder.end()

    @property
    def ended(self) -> bool:
        """All videos are closed."""
        return all(encoder.ended for encoder in self._encoders.values())

    def close(self) -> None:
        """Declare the rest, say ``stopped`` and close the recording. The encoders must have `ended`.

        Raises:
            RecordingError: the recording could not be closed, and opens as a torn one.
        """
        for camera in self.unfinished:
            self._accounts[camera].close_epochs()
            self._alarm(
                "error",
                f"{self._accounts[camera].what} {camera}: ended without a last status; frames it took after the last "
                "one here are not accounted for",
            )
        t_end_ns = max((account.last_exposure_ns for account in self._accounts.values()), default=0)
        for camera, account in self._accounts.items():
            self._settle(camera)
            account.close_away(t_end_ns)
        now = self._clock.now_ns()
        self._declare(now)
        self._watch_encoders()
        self._writer.flusher.end()
        self._watch_log()
        self._say("stopped", now)
        self._writer.close(now, self.written, self.declared, self._video_stopped, self._latency)
