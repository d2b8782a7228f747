"""The bus as one table. Sockets, recorder, health, monitor and tests all derive from it.

A topic travels as ``name/`` or, where it is per camera, ``name/camera/``; the closing slash keeps a prefix
subscription to ``cam1`` from matching ``cam10``.
"""

from dataclasses import dataclass
from typing import Literal

from . import messages as m

Delivery = Literal["latest", "every"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Topic:
    """One row.

    Attributes:
        name: first part of the topic on the wire.
        message: type of the body.
        rate_hz: nominal rate per publisher, for health and for sizing; 0 means now and then.
        delivery: ``every``: a reader gets all, and a loss is counted and declared. ``latest``: a reader may skip.
        logged: written into ``events.mcap``.
        max_bytes: bound on the body; larger is refused on both sides.
        per_camera: published once per camera, or pose source.
        pixels: a message part with pixels may follow.
    """

    name: str
    message: type[m.Message]
    rate_hz: float
    delivery: Delivery
    logged: bool
    max_bytes: int
    per_camera: bool = False
    pixels: bool = False

    def key(self, camera: str = "") -> bytes:
        """The topic part on the wire."""
        return f"{self.name}/{camera}/".encode() if self.per_camera else f"{self.name}/".encode()

    def prefix(self) -> bytes:
        """What matches this topic for every camera."""
        return f"{self.name}/".encode()


FRAME = Topic("frame", m.FrameHeader, 60.0, "every", True, 1 * KIB, per_camera=True, pixels=True)
TRUTH = Topic("truth", m.FrameTruth, 60.0, "every", True, 4 * KIB, per_camera=True)
POSE = Topic("pose", m.Pose, 60.0, "every", True, 64 * KIB, per_camera=True)
CAMERA_STATUS = Topic("camera_status", m.CameraStatus, 2.0, "every", True, 1 * KIB, per_camera=True)
GAP = Topic("gap", m.Gap, 0.0, "every", True, 1 * KIB, per_camera=True)
FRAME_SET = Topic("frame_set", m.FrameSet, 60.0, "every", True, 16 * KIB)
CROPS = Topic("crops", m.Crops, 60.0, "latest", True, 64 * MIB, pixels=True)
CROP_SESSION = Topic("crop_session", m.CropSession, 5.0, "latest", False, 1 * MIB)
BEHAVIOR = Topic("behavior", m.Behavior, 60.0, "every", True, 32 * KIB)
DECISION = Topic("decision", m.Decision, 0.0, "every", True, 16 * KIB)
ACTUATION = Topic("actuation", m.Actuation, 0.0, "every", True, 4 * KIB)
ARMING = Topic("arming", m.Arming, 0.0, "every", True, 1 * KIB)
PIPELINE_STATE = Topic("pipeline_state", m.PipelineState, 0.0, "every", True, 256 * MIB)
REPLAY_SET = Topic("replay_set", m.ReplaySet, 60.0, "every", False, 16 * KIB)
RECORDING = Topic("recording", m.RecordingStatus, 1.0, "every", True, 64 * KIB)
HEARTBEAT = Topic("heartbeat", m.Heartbeat, 5.0, "every", True, 16 * KIB)
ALARM = Topic("alarm", m.Alarm, 0.0, "every", True, 16 * KIB)
CLOCK = Topic("clock", m.ClockStatus, 1.0, "every", True, 1 * KIB)
SYNC_PULSE = Topic("sync_pulse", m.SyncPulse, 60.0, "every", True, 1 * KIB)
LSL = Topic("lsl", m.LslSamples, 20.0, "every", True, 1 * MIB)
TRACKS = Topic("tracks", m.Tracks, 60.0, "every", True, 64 * KIB)
CONTROL = Topic("control", m.Control, 0.0, "every", True, 1 * KIB)

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        FRAME, TRUTH, POSE, CAMERA_STATUS, GAP, FRAME_SET, CROPS, CROP_SESSION, BEHAVIOR, DECISION, ACTUATION, ARMING,
        PIPELINE_STATE, REPLAY_SET, RECORDING, HEARTBEAT, ALARM, CLOCK, SYNC_PULSE, LSL, TRACKS, CONTROL,
    )
}  # fmt: skip
