"""What the page of a recording is made from: one pass over its messages."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..streaming.messages import Behavior, Decision, FrameSet, Pose
from ..streaming.recording_reader import Recording
from ..streaming.topics import PIPELINE_STATE, TOPICS
from ..streaming.verify import verify
from ..sync.calibration_file import utc_text
from ..sync.latency import LatencyHistogram
from .report import RunReport

ACTIONS = ("fired", "sham", "withheld")
MAX_MARKS = 20_000
"""Decisions that are drawn per rule, the last ones; all are counted."""
MAX_BOUTS = 50_000
"""Bouts that are kept per behaviour, the last ones."""


@dataclass
class Digest:
    """Of one recording.

    Attributes:
        name, session_id, began_utc: which.
        session: subject, experimenter and notes.
        closed: it was closed in order.
        undeclared: frames that nothing accounts for, as `verify` finds; None where the recording was not closed.
        report: as ``report.json``, from the recorded messages.
        latency: by path.
        latency_stored: they are the recorder's own; else counted from the messages.
        written: frames in each video.
        classes: of the model.
        t_first_ns, span_ns: rig time of the first frame set (without cameras, of the first pose), and from there
            to the last.
        bouts: behaviour → (begin, end) in exposure time, ns.
        rules: rule → ``fired``, ``sham``, ``withheld`` and ``withheld_by_reason``.
        marks: rule → (exposure time in ns, action) of its last decisions.
    """

    name: str
    session_id: str
    began_utc: str
    session: dict[str, Any]
    closed: bool
    undeclared: int | None
    report: dict[str, Any]
    latency: dict[str, LatencyHistogram]
    latency_stored: bool
    written: dict[str, int]
    classes: tuple[str, ...] = ()
    t_first_ns: int = 0
    span_ns: int = 0
    bouts: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    rules: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    marks: dict[str, list[tuple[int, str]]] = field(default_factory=dict[str, list[tuple[int, str]]])


class _Bouts:
    """Stretches of one label, by animal."""

    def __init__(self) -> None:
        self.done: dict[str, deque[tuple[int, int]]] = {}
        self._open: dict[int, tuple[str, int, int]] = {}

    def add(self, one: Behavior) -> None:
        label, begin, last = self._open.get(one.animal, ("", 0, 0))
        if one.label != label or one.reset:
            self._end(label, begin, last if one.reset else one.t_spoken_of_ns)
            begin = one.t_spoken_of_ns
        self._open[one.animal] = one.label, begin, one.t_spoken_of_ns

    def _end(self, label: str, begin: int, end: int) -> None:
        if label and end > begin:
            self.done.setdefault(label, deque(maxlen=MAX_BOUTS)).append((begin, end))

    def finish(self) -> dict[str, list[tuple[int, int]]]:
        for label, begin, last in self._open.values():
            self._end(label, begin, last)
        self._open.clear()
        return {label: list(bouts) for label, bouts in self.done.items()}


def digest_recording(recording: Recording, on_progress: Callable[[float], None] | None = None) -> Digest:
    """Read a recording once.

    Args:
        recording: opened.
        on_progress: told the share that is read.

    Raises:
        WireError: a message does not validate.
    """
    info = recording.info
    report = RunReport("live", tuple(info.cameras), tuple(info.poses))
    bouts = _Bouts()
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {}
    marks: dict[str, deque[tuple[int, str]]] = {}
    behavior, trigger = LatencyHistogram(), LatencyHistogram()
    first_ns = last_ns = 0
    classes: tuple[str, ...] = ()
    topics = [topic for topic in TOPICS.values() if topic.logged and topic is not PIPELINE_STATE]
    for n, logged in enumerate(recording.messages(topics)):
        message = logged.message
        report.add(logged.topic, message)
        if on_progress is not None and n % 2048 == 0:
            on_progress(min(1.0, n / max(1, info.n_messages)))
        if isinstance(message, FrameSet):
            first_ns, last_ns = first_ns or message.t_mid_ns, max(last_ns, message.t_mid_ns)
        elif isinstance(message, Pose) and not info.cameras:
            first_ns, last_ns = first_ns or message.t_exposure_ns, max(last_ns, message.t_exposure_ns)
        elif isinstance(message, Behavior):
            classes = message.classes or classes
            bouts.add(message)
            behavior.add(message.t_decided_ns - message.t_exposure_ns)
        elif isinstance(message, Decision):
            actions, reasons = counts.setdefault(message.rule, (Counter(), Counter()))
            actions[message.action] += 1
            if message.action == "withheld":
                reasons[message.reason] += 1
            marks.setdefault(message.rule, deque(maxlen=MAX_MARKS)).append((message.t_exposure_ns, message.action))
            if message.t_fired_ns:
                trigger.add(message.t_fired_ns - message.t_exposure_ns)
    verified = verify(recording.path) if recording.closed else None
    stored = {name: one.histogram for name, one in info.latency.items()}
    report.set_verified(None if verified is None else verified.ok)
    return Digest(
        name=info.name,
        session_id=info.session,
        began_utc=utc_text(info.t_start_ns),
        session=dict(info.config.get("session") or {}),
        closed=recording.closed,
        undeclared=None
        if verified is None
        else sum(one.undeclared for one in (*verified.cameras.values(), *verified.poses.values())),
        report=report.to_dict(),
        latency=stored or {"exposure_to_behavior": behavior, "exposure_to_trigger": trigger},
        latency_stored=bool(stored),
        written=dict(info.written),
        classes=classes,
        t_first_ns=first_ns,
        span_ns=last_ns - first_ns,
        bouts=bouts.finish(),
        rules={
            name: {**{action: n[action] for action in ACTIONS}, "withheld_by_reason": dict(reasons)}
            for name, (n, reasons) in counts.items()
        },
        marks={name: list(each) for name, each in marks.items()},
    )
