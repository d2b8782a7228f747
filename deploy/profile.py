"""Where each millisecond goes: stages of every frame set, and processor time of every process. Pure but for `psutil`.

Stages are differences of times that the messages carry anyway; nothing is measured that would not run otherwise.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil

from ..streaming.messages import Behavior, Decision, FrameHeader, FrameSet, Heartbeat, Message, RecordingStatus
from ..streaming.wire import Received
from ..sync.clock import NS_PER_S, NS_PER_US
from ..sync.latency import LatencyHistogram
from .process_table import INFERENCE, RECORDER
from .report import RunReport, write_json

STAGES: Final = {
    "exposure and transfer": "from the start of exposure to the frame's arrival in its process",
    "assembly": "from the arrival of a set's last frame to the closed set",
    "wait": "from that arrival to the model taking the set; assembly is part of it",
    "crop": "background model, boxes, copying the crops",
    "embed": "embedder and features of all views",
    "head": "the recurrent step and the fusion of views",
    "decide": "stabiliser, and what it takes to say so",
    "trigger": "rules and the call of the actuator, of decisions that fired at once",
}
CAMERA: Final = "camera"
"""Where the first stage is; each camera has a process of its own."""
ANOTHER_HOST: Final = "another host"
"""Where a model is whose crops come from here."""
MAX_EVENTS: Final = 300_000
"""Of the trace; the oldest are left out beyond that, which is about 100 MB of JSON."""


class Profile:
    """Collects what a run says of itself; answers with a table's rows and a trace. One thread."""

    def __init__(self) -> None:
        self.stages = {name: LatencyHistogram() for name in STAGES}
        self._process_of: dict[str, str] = {}
        self._model = INFERENCE
        self.n_sets = 0
        self.first_set_ns = 0
        self.last_set_ns = 0
        self.disk_ms: dict[str, int] = {}
        self.n_events = 0
        self._events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._used: dict[str, tuple[int, float, float]] = {}
        self._seconds: dict[str, tuple[float, float]] = {}

    def add(self, message: Message, source: str) -> None:
        """Take one message of the bus, and the node that published it."""
        match message:
            case FrameHeader():
                name = "exposure and transfer"
                self._span(name, source, message.t_exposure_ns, message.t_received_ns, message.seq)
                self._process_of[name] = CAMERA
            case FrameSet() if message.sources:
                self.n_sets += 1
                self.first_set_ns = self.first_set_ns or message.t_closed_ns
                self.last_set_ns = message.t_closed_ns
                arrived_ns = max(source.t_received_ns for source in message.sources)
                self._span("assembly", source, arrived_ns, message.t_closed_ns, message.set_id, lane=1)
            case Behavior():
                at = (
                    message.t_received_ns,
                    message.t_taken_ns,
                    message.t_cropped_ns,
                    message.t_embedded_ns,
                    message.t_head_ns,
                    message.t_decided_ns,
                )
                self._model = ANOTHER_HOST if message.t_arrived_ns else source
                names = {"wait": source, "crop": source} | dict.fromkeys(("embed", "head", "decide"), self._model)
                for (name, node), begin, end in zip(names.items(), at, at[1:], strict=False):
                    self._span(name, node, begin, end, message.set_id)
            case Decision() if message.t_fired_ns:
                self._span("trigger", self._model, message.t_decided_ns, message.t_fired_ns, message.set_id)
            case RecordingStatus():
                self._count("frames written", RECORDER, message.t_ns, sum(message.written.values()))
            case Heartbeat():
                self._beat(message)
            case _:
                pass

    def _span(self, name: str, node: str, begin_ns: int, end_ns: int, number: int, lane: int = 0) -> None:
        self.stages[name].add(end_ns - begin_ns)
        self._process_of[name] = node
        if end_ns >= begin_ns:
            self._event(
                {"name": name, "ph": "X", "ts": begin_ns, "dur": end_ns - begin_ns, "node": node, "tid": lane,
                 "args": {"number": number}}
            )  # fmt: skip

    def _count(self, name: str, node: str, t_ns: int, value: int) -> None:
        self._event({"name": name, "ph": "C", "ts": t_ns, "node": node, "tid": 0, "args": {name: value}})

    def _event(self, event: dict[str, Any]) -> None:
        self.n_events += 1
        self._events.append(event)

    def _beat(self, beat: Heartbeat) -> None:
        if beat.node == RECORDER:
            self._count("frames that wait for their encoder", RECORDER, beat.t_ns, beat.counters.get("waiting", 0))
            self.disk_ms = {name: beat.counters[name] for name in ("write_ms", "sync_ms") if name in beat.counters}
        if not self.first_set_ns:
            return  # loading and proving the model is not the run
        try:
            times = psutil.Process(beat.pid).cpu_times()
        except psutil.NoSuchProcess:
            return  # its last word
        self.add_processor_time(beat.node, beat.pid, beat.t_ns, times.user + times.system)

    def add_processor_time(self, node: str, pid: int, t_ns: int, seconds: float) -> None:
        """What a process has used of a processor since it began, s, at ``t_ns``."""
        known = self._used.get(node)
        if known is None or known[0] != pid:
            known = self._used[node] = (pid, t_ns / NS_PER_S, seconds)
        self._seconds[node] = (t_ns / NS_PER_S - known[1], seconds - known[2])

    def stage_rows(self) -> dict[str, dict[str, Any]]:
        """By stage: p50, p99, p999 and max in ms, how many, and the process that it is in; "" where there are none."""
        rows: dict[str, dict[str, Any]] = {}
        for name, histogram in self.stages.items():
            one = histogram.summary()
            figures = {"p50": one.p50, "p99": one.p99, "p999": one.p999, "max": one.max, "n": one.n}
            rows[name] = {**figures, "process": self._process_of.get(name, "")}
        return rows

    def process_rows(self) -> dict[str, dict[str, float | None]]:
        """By process: cores that it takes, and ms of processor time per frame set."""
        span_s = (self.last_set_ns - self.first_set_ns) / NS_PER_S
        rate_hz = (self.n_sets - 1) / span_s if span_s > 0 else None
        rows: dict[str, dict[str, float | None]] = {}
        for node, (wall_s, used_s) in sorted(self._seconds.items()):
            cores = used_s / wall_s if wall_s > 0 else None
            per_set = None if cores is None or not rate_hz else round(1000.0 * cores / rate_hz, 3)
            rows[node] = {"cores": None if cores is None else round(cores, 4), "ms_per_set": per_set}
        return rows

    def trace(self) -> dict[str, Any]:
        """In the Trace Event Format, which Perfetto and Chrome open; times in microseconds from the first event."""
        events = list(self._events)
        zero_ns = min((event["ts"] for event in events), default=0)
        nodes = {node: place for place, node in enumerate(sorted({event["node"] for event in events}), start=1)}
        out: list[dict[str, Any]] = [
            {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": node}}
            for node, pid in nodes.items()
        ]
        for event in events:
            one = {**event, "pid": nodes[event["node"]], "ts": (event["ts"] - zero_ns) / NS_PER_US}
            del one["node"]
            if "dur" in one:
                one["dur"] = one["dur"] / NS_PER_US
            out.append(one)
        return {"traceEvents": out, "displayTimeUnit": "ms"}


class ProfileDisplay:
    """Feeds a `Profile`, and shows that time passes.

    Args:
        profile: is fed.
        bar: a rich progress bar.
        seconds: of the run.
    """

    def __init__(self, profile: Profile, bar: Any, seconds: float) -> None:
        self._profile, self._bar, self._seconds = profile, bar, seconds

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("starting", total=self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def on_message(self, received: Received) -> None:
        self._profile.add(received.message, received.source)

    def on_tick(self, phase: str, report: RunReport) -> None:
        done_s = (self._profile.last_set_ns - self._profile.first_set_ns) / NS_PER_S
        self._bar.update(self._task, description=phase, completed=min(done_s, self._seconds))


def profile_result(profile: Profile, report: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {
        "seconds": report["seconds"],
        "sets": report["sets"],
        "inference": report["inference"],
        "stage_ms": profile.stage_rows(),
        "processes": profile.process_rows(),
        "disk_ms": profile.disk_ms,
        "latency_ms": report["latency_ms"],
        "machine": report["machine"],
        "events_left_out": max(0, profile.n_events - MAX_EVENTS),
    }


def write_trace(path: Path, profile: Profile) -> None:
    """Write the trace.

    Raises:
        ReportError: it cannot be written.
    """
    write_json(path, profile.trace())


def milliseconds(value: float | None) -> str:
    """For a table."""
    return "" if value is None else f"{value:.3f}"
