"""One camera, or pose source, as a person sees it now."""

from collections import Counter, deque
from typing import Literal

from ..streaming.messages import CameraStatus, FrameHeader, Gap, Pose
from ..sync.clock import NS_PER_MS, NS_PER_S
from .snapshot import CameraNow, Problem

RATE_NS = 2 * NS_PER_S
MAX_RATE_FRAMES = 2_048
SILENT_NS = NS_PER_S
SILENT_PERIODS = 2
"""Silence begins after a second, and where frames are further apart after so many of their periods."""
RESTART_NS = 5 * NS_PER_S
"""Frames this much older than the last: a replay that has begun again."""
_CURES = {
    "camera": {"silent": "check its cable, power and trigger", "lost": "check its cable and power"},
    "pose source": {"silent": "look at its log", "lost": "look at its log"},
}


class LiveSource:
    """Rate and age from its frames, counts from its own account. One thread.

    Args:
        name: its name.
        what: it is, in words.
    """

    def __init__(self, name: str, what: Literal["camera", "pose source"] = "camera") -> None:
        self._name = name
        self.what = what
        self._recent: deque[tuple[int, int, int]] = deque(maxlen=MAX_RATE_FRAMES)
        self._epoch = -1
        self._heard_ns: int | None = None
        self._n_headers = 0
        self._status: CameraStatus | None = None
        self._earlier = Counter[str]()
        """What the epochs before this one counted."""
        self._declared = Counter[str]()

    def add_header(self, header: FrameHeader | Pose, now_ns: int) -> None:
        self._heard_ns = now_ns
        self._n_headers += 1
        last_ns, last_seq = self._recent[-1][:2] if self._recent else (0, -1)
        if last_ns - header.t_exposure_ns > RESTART_NS or (header.seq < last_seq and header.epoch != self._epoch):
            self._recent.clear()
        elif header.t_exposure_ns <= last_ns:
            return  # one that was overtaken on its way
        self._epoch = header.epoch
        self._recent.append((header.t_exposure_ns, header.seq, self._declared["device"]))
        while header.t_exposure_ns - self._recent[0][0] > RATE_NS:
            self._recent.popleft()

    def add_status(self, status: CameraStatus) -> None:
        last = self._status
        if last is not None and last.epoch != status.epoch:
            self._earlier.update(
                captured=max(0, last.captured), dropped=last.dropped_device, duplicates=last.duplicates
            )
        self._status = status

    def add_gap(self, gap: Gap) -> None:
        self._declared[gap.source] += gap.n

    def state(self, now_ns: int) -> Literal["waiting", "running", "silent", "stopped", "lost"]:
        if self._status is not None and self._status.state != "running":
            return self._status.state
        if self._heard_ns is None:
            return "waiting"
        return "silent" if now_ns - self._heard_ns > self._patience_ns() else "running"

    def _patience_ns(self) -> int:
        status = self._status
        # A pose source says its nominal rate, which does not fall while nothing comes.
        if status is None or status.counts != "poses" or status.rate_hz <= 0.0:
            return SILENT_NS
        return max(SILENT_NS, round(SILENT_PERIODS * NS_PER_S / status.rate_hz))

    def now(self, now_ns: int) -> CameraNow:
        status, state = self._status, self.state(now_ns)
        rate_hz = self._rate_hz() if state == "running" else 0.0
        return CameraNow(
            name=self._name,
            state=state,
            rate_hz=round(rate_hz, 2),
            captured=self._n_headers if status is None else self._earlier["captured"] + max(status.captured, 0),
            dropped=self._declared["device"] if status is None else self._earlier["dropped"] + status.dropped_device,
            declared=self._declared["bus"] + self._declared["recorder"],
            duplicates=0 if status is None else self._earlier["duplicates"] + status.duplicates,
            age_ms=None if self._heard_ns is None else round((now_ns - self._heard_ns) / NS_PER_MS, 1),
        )

    def _rate_hz(self) -> float:
        # By frame counter less declared drops: a reader that skips frames then measures the same rate.
        if len(self._recent) < 2:
            return 0.0
        (t0, seq0, dropped0), (t1, seq1, dropped1) = self._recent[0], self._recent[-1]
        return max(0, seq1 - seq0 - (dropped1 - dropped0)) * NS_PER_S / (t1 - t0)

    def problem(self, now_ns: int) -> Problem | None:
        """What is wrong with it now."""
        state = self.state(now_ns)
        if state == "silent" and self._heard_ns is not None:
            text = f"no frame for {(now_ns - self._heard_ns) / NS_PER_S:.0f} s"
        elif state == "lost":
            text = "lost"
        else:
            return None
        words = f"{text}; {_CURES[self.what][state]}"
        return Problem("error", f"{self.what} {self._name}", words, now_ns / NS_PER_MS)
