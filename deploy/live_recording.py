"""The recording as a person sees it now: what is written, and how long the disk will last."""

from collections import deque

from ..streaming.messages import RecordingStatus
from ..sync.clock import NS_PER_MS, NS_PER_S
from .snapshot import Problem, RecordingNow

GIB = 2**30
LITTLE_GIB = 5.0
LITTLE_HOURS = 0.5
RATE_STATUSES = 60
MIN_RATE_SPAN_NS = 5 * NS_PER_S
"""Shorter, and what the page cache does would pass for the rate of writing."""


class LiveRecording:
    """The recorder's newest status and the trend of free space. One thread."""

    def __init__(self) -> None:
        self._status: RecordingStatus | None = None
        self._free: deque[tuple[int, int]] = deque(maxlen=RATE_STATUSES)

    def add(self, status: RecordingStatus) -> None:
        self._status = status
        self._free.append((status.t_ns, status.bytes_free))

    def now(self) -> RecordingNow | None:
        status = self._status
        if status is None:
            return None
        return RecordingNow(
            path=status.path,
            state=status.state,
            written=sum(status.written.values()),
            declared=sum(status.declared.values()),
            gib_free=round(status.bytes_free / GIB, 2),
            hours_left=self._hours_left(),
        )

    def _hours_left(self) -> float | None:
        if len(self._free) < 2:
            return None
        (t0, free0), (t1, free1) = self._free[0], self._free[-1]
        used = free0 - free1
        if t1 - t0 < MIN_RATE_SPAN_NS or used <= 0:
            return None
        return round(free1 / used * (t1 - t0) / NS_PER_S / 3600, 2)

    def problem(self, now_ns: int) -> Problem | None:
        """Little room, or video that has stopped."""
        now = self.now()
        if now is None or now.state == "stopped":
            return None
        if now.state == "video_stopped":
            return Problem("error", "recorder", "disk full: video has stopped, events go on", now_ns / NS_PER_MS)
        little_time = now.hours_left is not None and now.hours_left < LITTLE_HOURS
        if now.gib_free < LITTLE_GIB or little_time:
            left = f", about {now.hours_left * 60:.0f} min" if now.hours_left is not None else ""
            text = f"{now.gib_free:.1f} GiB left{left}; make room on the disk of {now.path}"
            return Problem("warning", "recorder", text, now_ns / NS_PER_MS)
        return None
