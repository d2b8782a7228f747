"""The message contract: every value that travels on the bus or stands in a recording.

A leaf: it imports nothing of ethostream. Each message is a frozen MessagePack array; fields are only ever added, at the
end, with a default. ``tests/streaming/test_wire_compat.py`` decodes the bytes of the last release.

Times are rig time (int64 nanoseconds, see ``sync/clock.py``). ``t_exposure_ns`` is the start of exposure. ``epoch``
counts the starts of a camera process in one session, so that ``(camera, epoch, seq)`` names one device frame for ever.
"""

from typing import Literal

import msgspec

SCHEMA_VERSION = 1
"""Raised when a change cannot be read by older code."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages: immutable, encoded as a MessagePack array."""


class FrameHeader(Message, frozen=True):
    """One frame of one camera, published when its pixels are readable.

    ``seq`` is the device's own frame counter, so a jump in it is a frame that the device dropped.
    ``ring``/``slot``/``generation`` say where the pixels lie in shared memory; ``ring`` is empty when they travel as
    the next message part, in ``encoding``. A colour frame is ``bgr8``: height x width x 3. A ``mono16`` frame is height
    x width x 2 bytes, low byte first: grey levels as the device gives them, 10 or 12 bits of them used.

    ``time_source`` is the clock that ``t_exposure_ns`` comes from: ``device``: the device's ``ticks`` through a locked
    line fit; ``host``: the arrival on the host less what is known of the transport (no ticks, or the fit has not
    settled yet). ``trigger_id`` counts hardware trigger pulses since the camera was armed, ``line_status`` is the bit
    field of the camera's input lines; -1 where the device does not tell.
    """

    camera: str
    epoch: int
    seq: int
    t_exposure_ns: int
    exposure_us: int
    t_received_ns: int
    time_source: Literal["simulated", "file", "device", "host"]
    width: int
    height: int
    pixel_format: Literal["mono8", "bgr8", "mono16"]
    ring: str
    slot: int
    generation: int
    encoding: Literal["ring", "raw", "jpeg"] = "ring"
    trigger_id: int = -1
    ticks: int = -1
    line_status: int = -1


class FrameTruth(Message, frozen=True):
    """What the simulator knows of one frame. ``instant`` is the same for all views of one true instant.

    ``pose`` is in millimetres, (x, y, z) per keypoint in the order of ``acquisition.simulated_world.KEYPOINTS``; only
    the first camera of a rig carries it, since it is the same for all. It is that of the first animal;
    ``poses_others`` holds those of any further ones. Of a simulated face the keypoints are
    ``acquisition.simulated_face.FACE_KEYPOINTS``.
    """

    camera: str
    epoch: int
    seq: int
    instant: int
    t_true_ns: int
    behavior: str
    pose: tuple[tuple[float, float, float], ...] = ()
    poses_others: tuple[tuple[tuple[float, float, float], ...], ...] = ()


class Gap(Message, frozen=True):
    """A declared loss: ``n`` frames of ``camera`` from ``first_seq`` on that ``source`` did not pass on.

    ``source`` device: the camera never delivered them (counted from its frame counter, or from the time between
    frames where it has none). bus: lost between processes. recorder: received but not written to video. sets: in no
    frame set, since they came too late or their time was not to be trusted (they are still recorded).
    ``camera`` may also name a pose source; its frames are then `Pose` messages.
    """

    source: Literal["device", "bus", "recorder", "sets"]
    camera: str
    epoch: int
    first_seq: int
    n: int
    reason: str
    t_ns: int


class CameraStatus(Message, frozen=True):
    """Counters of one camera since this epoch began; the last one, state ``stopped``, closes the account.

    Device frames = ``last_seq - first_seq + 1`` = ``captured + dropped_device``. ``captured`` counts each frame once;
    ``duplicates`` are deliveries of a frame that was already there. ``n_behind`` counts frames whose grab was late.
    ``counts`` says what the numbers are of: frames of a camera, or `Pose` messages of the pose source of this name.
    """

    camera: str
    epoch: int
    state: Literal["running", "stopped", "lost"]
    first_seq: int
    last_seq: int
    captured: int
    dropped_device: int
    duplicates: int
    rate_hz: float
    t_ns: int
    n_behind: int = 0
    counts: Literal["frames", "poses"] = "frames"


class Pose(Message, frozen=True):
    """Keypoints of every animal in one frame, as a tracker gives them.

    ``seq`` counts the frames of ``source``, so that a jump in it is a frame without a message; ``t_exposure_ns`` is the
    start of exposure of that frame, ``t_received_ns`` when the points were here. ``points`` are little-endian float32
    [animals, keypoints, 3], row by row: x px, y px, likelihood 0 to 1; x and y are NaN and the likelihood is 0 where a
    point is missing (`pose_format.points_of`).
    """

    source: str
    epoch: int
    seq: int
    t_exposure_ns: int
    t_received_ns: int
    animals: tuple[str, ...]
    keypoints: tuple[str, ...]
    points: bytes


class SourceFrame(Message, frozen=True):
    """One frame as a link in the chain from photon to action.

    ``believed`` False: its clock had not settled, so its time is that of its arrival; its trigger id found its set.
    """

    camera: str
    epoch: int
    seq: int
    t_exposure_ns: int
    exposure_us: int
    t_received_ns: int
    believed: bool = True


class FrameSet(Message, frozen=True):
    """Frames of one instant, matched by mid-exposure. ``missing`` names the cameras without a frame in it."""

    set_id: int
    status: Literal["complete", "partial"]
    sources: tuple[SourceFrame, ...]
    missing: tuple[str, ...]
    t_mid_ns: int
    t_closed_ns: int


class Box(Message, frozen=True):
    """Where the animal is in one view, pixels of the full frame; ``valid`` False: the view does not show it."""

    camera: str
    x_px: int
    y_px: int
    width_px: int
    height_px: int
    valid: bool = False


class CroppedView(Message, frozen=True):
    """The crop of one view and the measures that the model's features read; lengths are pixels of the full frame.

    Fields as in ``inference.cropper.Crop``.
    """

    view: str
    x_px: int
    y_px: int
    width_px: int
    height_px: int
    valid: bool
    center_x_px: float
    center_y_px: float
    area_px: float
    elongation: float
    motion: float


class Crops(Message, frozen=True):
    """The crops of one frame set, for a model on another host.

    The pixels are the next message part: those of ``views`` one after the other, height x width bytes each, grey. On
    the rig's own bus and in the recording it comes without them, and says that the croppers looked at this set.

    ``number`` counts the crops of this ``epoch`` of the cropper from 0, ``n_skipped`` the sets before this one that
    were not cropped since newer ones had come: what a reader lost or passed over is a subtraction. ``n_anew`` is how
    often the croppers have begun anew in this epoch. ``state`` is what they remember just before this set, an ``.npz``
    (no pickle), where the model has to save its own at this set; mostly it is empty.
    """

    frame_set: FrameSet
    epoch: int
    number: int
    n_skipped: int
    n_anew: int
    views: tuple[CroppedView, ...]
    t_taken_ns: int
    t_cropped_ns: int
    state: bytes = b""


class CropSession(Message, frozen=True):
    """What a model on another host has to know of the rig that it works for; said several times a second.

    ``task`` is the task file as the rig resolved it, as JSON; ``bundle`` the identity of its model; ``views`` the
    array shapes of what the model sees, in its order, ``cameras`` those whose frames that takes. ``t_start_ns``: when
    the rig began, 0 before. ``heard`` is the number of the model's process that the rig hears (`Heartbeat` counter
    ``instance``), 0: none, and ``n_models`` how many served this session so far. ``ends``: the run is over.
    ``disarmed`` is the number on the link of the last `Control` of this epoch that disarmed, -1: none; it counts where
    that itself was lost. ``t_ns`` is when this was said: what comes late says nothing of now.
    """

    session: str
    epoch: int
    task: str
    bundle: str
    views: dict[str, tuple[int, ...]]
    cameras: tuple[str, ...]
    rate_hz: float
    t_start_ns: int
    heard: int
    n_models: int
    ends: bool = False
    disarmed: int = -1
    t_ns: int = 0


class Behavior(Message, frozen=True):
    """The model's answer for one frame set.

    ``p`` are the fused probabilities in the order of ``classes``, the bundle's classes. ``raw`` is their arg max,
    ``label`` the stabilised behaviour ("" before the first one). ``n_skipped`` sets before this one were not looked at
    because newer ones had come; ``gap_frames`` model steps before this one had no input. ``warm`` is False until the
    state has seen enough frames to be trusted. The ``t_*_ns`` are when each stage ended. ``reset``: the model began
    anew just before this set: it is its first, a gap was too long, or pixels had changed while they were read.
    ``t_arrived_ns`` is when its crops had come from another host, 0 where they were made in the same process.
    ``previous_set_id`` is the set that the model stepped on before, -1 where there is none: a chain without holes
    proves that no behaviour is missing. A model that looks ahead speaks of the past: then ``p``, ``raw`` and ``label``
    are of the frame that was exposed at ``t_label_ns``, else it is 0. ``label_since_ns`` is of the step that set the
    label, whatever that spoke of. ``epoch`` is that of the model's process, from which the trials of its rules are
    numbered; -1 in recordings made before it was said.
    """

    set_id: int
    status: Literal["complete", "partial"]
    sources: tuple[SourceFrame, ...]
    missing: tuple[str, ...]
    bundle: str
    p: tuple[float, ...]
    raw: str
    label: str
    label_since_ns: int
    n_skipped: int
    gap_frames: int
    warm: bool
    boxes: tuple[Box, ...]
    t_exposure_ns: int
    t_received_ns: int
    t_taken_ns: int
    t_cropped_ns: int
    t_embedded_ns: int
    t_head_ns: int
    t_decided_ns: int
    animal: int = 0
    classes: tuple[str, ...] = ()
    reset: bool = False
    t_arrived_ns: int = 0
    previous_set_id: int = -1
    t_label_ns: int = 0
    epoch: int = -1

    @property
    def t_spoken_of_ns(self) -> int:
        """Exposure time of the frame that ``p``, ``raw`` and ``label`` are of."""
        return self.t_label_ns or self.t_exposure_ns


class Decision(Message, frozen=True):
    """A rule's answer when its time had come: fired, sham or withheld, and why, with its chain of source frames.

    A ``sham`` is a firing in all but that nothing acts. Fired and sham decisions are the rule's trials, counted from 0
    over the session in ``trial`` (-1 where withheld). ``t_due_ns`` is when the actuator shall act, its delay included,
    and of a sham when it would have; 0 where withheld. ``reason`` is one of ``inference/rules/reasons.py``.
    ``t_fired_ns`` is when an actuator without a delay had been told, else 0 (`Actuation` says).
    """

    rule: str
    set_id: int
    action: Literal["fired", "sham", "withheld"]
    reason: str
    behavior: str
    p: float
    actuator: str
    sources: tuple[SourceFrame, ...]
    t_exposure_ns: int
    t_received_ns: int
    t_decided_ns: int
    t_fired_ns: int
    animal: int = 0
    trial: int = -1
    t_due_ns: int = 0


class Actuation(Message, frozen=True):
    """What an actuator did about one decision, or, with ``set_id`` -1, by itself.

    ``sent``: told at ``t_sent_ns`` (rig time, just after the call). ``acknowledged``: the device answered; ``t_on_ns``
    is when its line rose by its own clock, in rig time, and ``board_us`` that clock, where it has one (else 0, -1).
    ``cancelled``: disarmed before it was due. ``refused``, ``failed`` and ``released`` with ``reason``.
    """

    actuator: str
    rule: str
    set_id: int
    trial: int
    state: Literal["sent", "acknowledged", "cancelled", "refused", "failed", "released"]
    reason: str
    t_due_ns: int
    t_sent_ns: int
    t_on_ns: int = 0
    board_us: int = -1


class Arming(Message, frozen=True):
    """Whether rules may fire from ``t_ns`` on, and who said so: ``by``.

    ``start`` or ``stop`` of the run, a ``person``, the ``schedule``, or an input line, as ``line in0``; ``link``: a
    model on another host had lost the rig for a while, or commands of it, or works for it no more.
    Of the first ``start`` of a session ``t_ns`` is the instant from which session times count. What a person says is
    always answered; where schedule or line hold the rules disarmed all the same, the answer names these.
    """

    armed: bool
    by: str
    t_ns: int


class PipelineState(Message, frozen=True):
    """Everything the pipeline remembers just before set ``set_id``, as an ``.npz`` (no pickle); replay starts here."""

    set_id: int
    bundle: str
    payload: bytes


class ReplaySet(Message, frozen=True):
    """In replay: the set to take next, exactly as the live node took it. ``n_skipped`` repeats the live value.

    ``crop_only``: the croppers looked at it, and the model did not.
    """

    set_id: int
    status: Literal["complete", "partial"]
    sources: tuple[SourceFrame, ...]
    missing: tuple[str, ...]
    n_skipped: int
    t_decided_ns: int
    crop_only: bool = False


class RecordingStatus(Message, frozen=True):
    """The recorder's account. ``first_seq`` maps "camera/epoch" to the first frame that is in the recording."""

    recording: str
    path: str
    state: Literal["started", "running", "video_stopped", "stopped"]
    first_seq: dict[str, int]
    written: dict[str, int]
    declared: dict[str, int]
    bytes_free: int
    t_ns: int


class Heartbeat(Message, frozen=True):
    """A node is alive. ``state`` ready: it has heard every publisher that it needs. ``counters`` are the node's own."""

    node: str
    epoch: int
    pid: int
    state: Literal["starting", "ready", "running", "stopping"]
    t_ns: int
    counters: dict[str, int] = {}


class Alarm(Message, frozen=True):
    """Something a person should know now."""

    node: str
    severity: Literal["warning", "error"]
    text: str
    t_ns: int


class Control(Message, frozen=True):
    """From the supervisor to every node: ``start`` begins acquisition at ``t_start_ns``.

    ``arm`` and ``disarm`` are a person's wish: rules may fire from now on, or must not. The running model answers with
    `Arming`. An ``arm`` holds until ``until_ns`` (rig time; 0: without end): one that is read later is left out, since
    who asked has been told that nobody answered. A ``disarm`` never expires. ``stop`` disarms, since the run ends.
    """

    command: Literal["start", "arm", "disarm", "stop"]
    t_start_ns: int = 0
    until_ns: int = 0


class ClockStatus(Message, frozen=True):
    """How one clock relates to rig time; residuals are those of the last ten seconds or so.

    ``clock`` is ``camera.NAME``, ``board.NAME``, ``host.NAME`` or ``lsl.STREAM``. ``offset_ns`` is rig time less that
    clock at ``t_ns``, ``drift_ppm`` how much faster than rig time it runs. ``delay_ns`` is the least transport delay
    that was seen (round trip for a host), -1 where it cannot be known. ``stepped``: it jumped or began anew, and the
    fit with it. ``trusted``: it is believed because the rig file says so, and nothing was measured.
    """

    clock: str
    epoch: int
    state: Literal["settling", "locked", "stepped", "lost", "trusted"]
    offset_ns: int
    drift_ppm: float
    residual_p50_us: float
    residual_p99_us: float
    residual_max_us: float
    n_used: int
    n_outliers: int
    n_steps: int
    t_ns: int
    delay_ns: int = -1


class SyncPulse(Message, frozen=True):
    """One edge that a trigger board made or saw, counted by the board itself.

    ``pulse`` counts from 0 since the board was armed, per ``line``; ``board_us`` is the board's own microsecond clock,
    unwrapped; ``t_ns`` is that edge in rig time. ``n_lost`` messages of the board were lost since the edge before it,
    on the serial line or in the board's full queue: any of them may have been an edge of any line.
    """

    source: str
    epoch: int
    line: str
    pulse: int
    board_us: int
    t_ns: int
    rising: bool = True
    n_lost: int = 0


class LslSamples(Message, frozen=True):
    """Samples of one Lab Streaming Layer inlet, as they came in one pull.

    ``lsl_s`` are the sender's time stamps, seconds, uncorrected; ``t_ns`` the same instants in rig time, through the
    clock offset that stands beside it as `ClockStatus`. One row of ``values`` per sample for numeric streams, one of
    ``texts`` for string streams; the other is empty. ``first_sample`` counts samples since the inlet opened.
    """

    stream: str
    epoch: int
    first_sample: int
    channels: tuple[str, ...]
    lsl_s: tuple[float, ...]
    t_ns: tuple[int, ...]
    values: tuple[tuple[float, ...], ...] = ()
    texts: tuple[tuple[str, ...], ...] = ()


class AnimalTrack(Message, frozen=True):
    """One animal in one frame set, in the cage's frame (mm, z up).

    ``xyz_mm`` is the centroid of the body without the tail, from the silhouettes of ``n_views`` views;
    ``residual_px`` the median distance of its projections from them, -1 where it cannot be measured. ``boxes`` has one
    entry per camera: ``valid`` False where the view does not show the animal. ``valid`` False: fewer than two views
    agree, and the position is the last known one carried on.
    """

    animal: int
    xyz_mm: tuple[float, float, float]
    velocity_mm_s: tuple[float, float, float]
    n_views: int
    residual_px: float
    boxes: tuple[Box, ...]
    valid: bool = False


class Tracks(Message, frozen=True):
    """Where the animals are in one frame set; ``animal`` keeps its meaning over time and views."""

    set_id: int
    t_mid_ns: int
    animals: tuple[AnimalTrack, ...]
