"""The report of one run: what was captured, classified, fired and recorded, and how long it took."""

import json
import os
import platform
from collections import Counter, deque
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..streaming.clock_account import ClockAccounts
from ..streaming.messages import (
    Actuation,
    Alarm,
    Arming,
    Behavior,
    CameraStatus,
    ClockStatus,
    Decision,
    FrameHeader,
    FrameSet,
    FrameTruth,
    Gap,
    Heartbeat,
    Message,
    Pose,
    RecordingStatus,
)
from ..streaming.topics import Topic
from ..sync.errors import ReportError
from ..sync.whole_file import write_whole
from .report_parts import BehaviorPart, CameraPart, LatencyPart, RecordingPart, SetsPart, TriggerPart
from .truth_join import TruthJoin, TruthStore

REPORT_SCHEMA = 1
MAX_ALARMS = 50
MAX_NODES = 1_000


class RunReport:
    """Collects messages and answers with the report. Pure: no socket, no clock. One thread.

    Memory is bounded whatever the length of the run: counters, histograms, and joins of bounded size.

    Args:
        mode: what kind of run it is.
        cameras: listed in the report even when nothing was heard of them.
        poses: pose sources, likewise.
    """

    def __init__(
        self, mode: Literal["live", "replay"] = "live", cameras: tuple[str, ...] = (), poses: tuple[str, ...] = ()
    ) -> None:
        self._mode: Literal["live", "replay"] = mode
        self._cameras: dict[str, CameraPart] = {name: CameraPart() for name in cameras}
        self._poses: dict[str, CameraPart] = {name: CameraPart() for name in poses}
        self._clocks = ClockAccounts()
        self._sets = SetsPart()
        self._latency = LatencyPart(mode == "live")
        self._behavior = BehaviorPart()
        self._triggers = TriggerPart()
        self._recording = RecordingPart()
        self._messages_lost = 0
        self._provider: str | None = None
        self._bundle: str | None = None
        self._alarms: deque[Alarm] = deque(maxlen=MAX_ALARMS)
        self._n_alarms = Counter[str]()
        self._nodes: dict[str, Heartbeat] = {}
        self._truth = TruthStore()
        self._set_join = TruthJoin[FrameSet](self._truth, self._sets.settle)
        self._behavior_join = TruthJoin[Behavior](self._truth, self._behavior.settle)

    def add(self, topic: Topic, message: Message) -> None:
        """Take one message of the bus; topics that the report has no use for are passed over."""
        match message:
            case FrameTruth():
                self._truth.add(message)
                self._set_join.advance()
                self._behavior_join.advance()
            case FrameHeader():
                self._camera(message.camera).add_header(message)
            case Pose():
                self._pose(message.source).add_header(message)
            case FrameSet():
                self._sets.add(message)
                self._latency.add_set(message)
                self._set_join.add(message, message.sources)
            case Behavior():
                self._behavior.add(message)
                self._latency.add_behavior(message)
                if message.sources:
                    exposed = [source for source in message.sources if source.t_exposure_ns == message.t_exposure_ns]
                    self._behavior_join.add(message, (exposed or message.sources)[:1])
            case Decision():
                self._triggers.add(message)
                self._latency.add_decision(message)
            case Actuation():
                self._triggers.add_actuation(message)
                self._latency.add_actuation(message)
            case Arming():
                self._triggers.add_arming(message)
            case CameraStatus():
                part = self._pose if message.counts == "poses" else self._camera
                part(message.camera).add_status(message)
            case ClockStatus():
                self._clocks.add(message)
            case Gap():
                part = self._pose if message.camera in self._poses else self._camera
                part(message.camera).add_gap(message)
            case RecordingStatus():
                self._recording.status = message
            case Heartbeat():
                if message.node in self._nodes or len(self._nodes) < MAX_NODES:
                    self._nodes[message.node] = message
            case Alarm():
                self._alarms.append(message)
                self._n_alarms[message.severity] += 1
            case _:
                pass

    def set_inference(self, provider: str, bundle: str) -> None:
        """Say which execution provider runs (as the session itself answers) and which bundle."""
        self._provider, self._bundle = provider, bundle

    def set_verified(self, verified: bool | None) -> None:
        """Say what `verify` found of the recording; None where it did not run."""
        self._recording.verified = verified

    def set_messages_lost(self, n: int) -> None:
        """Say how many messages never reached this report: its counts are then too low, the recording's are not."""
        self._messages_lost = n

    def to_dict(self) -> dict[str, Any]:
        """The report so far; may be asked at any time. Values are JSON types, and no number is NaN."""
        self._set_join.sweep()
        self._behavior_join.sweep()
        return {
            "schema": REPORT_SCHEMA,
            "mode": self._mode,
            "seconds": self._sets.seconds or max((part.seconds for part in self._poses.values()), default=0.0),
            "cameras": {name: part.to_dict() for name, part in sorted(self._cameras.items())},
            "poses": {name: part.to_dict() for name, part in sorted(self._poses.items())},
            "clocks": {name: one.to_dict() for name, one in self._clocks},
            "sets": {
                **self._sets.to_dict(self._truth.n_seen),
                "late": sum(part.declared["sets"] for part in self._cameras.values()),
            },
            "latency_ms": self._latency.to_dict(),
            "stage_ms": self._latency.stages(),
            "inference": {
                "provider": self._provider,
                "bundle": self._behavior.bundle or self._bundle,
                "steps": self._behavior.n_steps,
                "skipped": max(self._behavior.n_skipped, self._skipped_counter()),
                "gap_frames": self._behavior.n_gap_frames,
            },
            "behavior": self._behavior.to_dict(),
            "triggers": self._triggers.to_dict(),
            "recording": self._recording.to_dict(),
            "alarms": {
                "errors": self._n_alarms["error"],
                "warnings": self._n_alarms["warning"],
                "last": [msgspec.structs.asdict(alarm) for alarm in self._alarms],
            },
            "messages_lost": self._messages_lost,
            "nodes": {
                name: {"state": beat.state, "restarts": beat.epoch, "counters": dict(beat.counters)}
                for name, beat in sorted(self._nodes.items())
            },
            "machine": machine(),
            "ethostream": software_version(),
        }

    def _skipped_counter(self) -> int:
        """The node's own count, which includes sets after the last step."""
        beat = self._nodes.get("inference")
        return beat.counters.get("skipped", 0) if beat else 0

    def write(self, path: Path) -> None:
        """Write the report as JSON, keys sorted; whoever reads ``path`` sees the old file or the new, never a part.

        Raises:
            ReportError: the folder is not there or not writable.
        """
        write_json(path, self.to_dict())

    def _camera(self, name: str) -> CameraPart:
        if name not in self._cameras:
            self._cameras[name] = CameraPart()
        return self._cameras[name]

    def _pose(self, name: str) -> CameraPart:
        if name not in self._poses:
            self._poses[name] = CameraPart()
        return self._poses[name]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` as sorted JSON without NaN, in one step.

    Raises:
        ReportError: the folder is missing, not writable or full, or ``path`` is a folder.
    """
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    try:
        write_whole(path, text + "\n")
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def software_version() -> str | None:
    """Version of the installed distribution; None when it runs from a tree that is not installed."""
    try:
        return version("ethostream")
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """What ran it: cores this process may use, processor, system, Python."""
    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": processor or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
