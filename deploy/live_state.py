"""The newest state of a run, gathered from the bus for people to look at; every memory of it is bounded."""

from collections import Counter, deque
from typing import Literal

from ..streaming.clock_account import ClockAccounts
from ..streaming.messages import (
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
from ..sync.clock import NS_PER_MS, NS_PER_S
from .label_strip import LabelStrip, agreement
from .live_recording import LiveRecording
from .live_source import LiveSource
from .snapshot import BehaviorNow, ClassNow, ClockNow, LatencyNow, Problem, RuleNow, SetsNow, Snapshot, TriggerNow

RECENT_SETS = 600
RECENT_TRIGGERS = 12
MAX_PROBLEMS = 32
MANY_CAMERAS = 2
STALE_NODE_NS = 3 * NS_PER_S
MONITOR_NODE = "monitor"
REPLAY_NODE = "replay"
"""As `process_table` names them; said again here so that showing a run does not load every layer that makes one."""


class LiveState:
    """Takes messages and answers with a `Snapshot`. One thread.

    Args:
        rig: its name.
        cameras: in the order of display.
        mode: live or replay.
        poses: pose sources, in the order of display.
    """

    def __init__(
        self,
        rig: str,
        cameras: tuple[str, ...] = (),
        mode: Literal["live", "replay"] = "live",
        poses: tuple[str, ...] = (),
    ) -> None:
        self._rig = rig
        self._mode: Literal["live", "replay"] = mode
        self._cameras = {name: LiveSource(name) for name in cameras}
        self._poses = {name: LiveSource(name, "pose source") for name in poses}
        self._clocks = ClockAccounts()
        self._sets = Counter[str]()
        self._first_ns: int | None = None
        self._t_set_ns: int | None = None
        self._behavior: Behavior | None = None
        self._behavior_ns = 0
        self._n_steps = 0
        self._n_skipped = 0
        self._strip = LabelStrip()
        self._truth_strip = LabelStrip()
        self._truth_camera: str | None = None
        self._latency: deque[tuple[int, int]] = deque(maxlen=RECENT_SETS)
        self._latency_max_ns = 0
        self._rules: dict[str, Counter[str]] = {}
        self._armed: Arming | None = None
        self._triggers: deque[TriggerNow] = deque(maxlen=RECENT_TRIGGERS)
        self._recording = LiveRecording()
        self._problems: dict[tuple[str, str], Problem] = {}
        self._nodes: dict[str, tuple[Heartbeat, int]] = {}

    @property
    def behavior(self) -> Behavior | None:
        """The newest one."""
        return self._behavior

    def add(self, message: Message, now_ns: int) -> None:
        """Take one message that came at rig time ``now_ns``."""
        match message:
            case FrameHeader():
                self._camera(message.camera).add_header(message, now_ns)
                self._first_ns = self._first_ns or now_ns
            case Pose():
                self._add_pose(message, now_ns)
            case FrameTruth():
                if self._truth_camera in (None, message.camera):
                    self._truth_camera = message.camera
                    self._truth_strip.add(message.behavior, message.t_true_ns)
            case FrameSet():
                self._sets[message.status] += 1
                self._t_set_ns = message.t_mid_ns
            case Behavior():
                self._add_behavior(message, now_ns)
            case Decision():
                self._add_decision(message)
            case Arming():
                self._armed = message
            case CameraStatus():
                source = self._pose if message.counts == "poses" else self._camera
                source(message.camera).add_status(message)
            case ClockStatus():
                self._clocks.add(message)
            case Gap():
                source = self._pose if message.camera in self._poses else self._camera
                source(message.camera).add_gap(message)
                self._sets["late"] += message.n if message.source == "sets" else 0
            case RecordingStatus():
                self._recording.add(message)
            case Alarm():
                self._add_problem(message)
            case Heartbeat():
                self._nodes[message.node] = (message, now_ns)
            case _:
                pass

    def snapshot(self, now_ns: int, *, strips: bool = False) -> Snapshot:
        """The state at ``now_ns``; with ``strips`` also the last minute of labels and of truth."""
        labels = self._strip.stretches() if strips else ()
        truth = self._truth_strip.stretches() if strips else ()
        t_set_ns = self._behavior.t_exposure_ns if self._behavior is not None else self._t_set_ns
        monitor = self._nodes.get(MONITOR_NODE)
        return Snapshot(
            rig=self._rig,
            mode=self._mode,
            t_ms=now_ns / NS_PER_MS,
            t_set_ms=None if t_set_ns is None else t_set_ns / NS_PER_MS,
            run_s=0.0 if self._first_ns is None else (now_ns - self._first_ns) / NS_PER_S,
            cameras=tuple(camera.now(now_ns) for camera in self._cameras.values()),
            sets=SetsNow(self._sets["complete"], self._sets["partial"], self._sets["late"]),
            behavior=self._behavior_now(now_ns),
            latency=self._latency_now(),
            rules=tuple(RuleNow(name, n["fired"], n["withheld"], n["sham"]) for name, n in sorted(self._rules.items())),
            triggers=tuple(self._triggers),
            recording=self._recording.now(),
            problems=self._problems_now(now_ns),
            strip=labels,
            truth_strip=truth,
            agreement=agreement(labels, truth),
            monitor_port=monitor[0].counters.get("port") if monitor is not None else None,
            clocks=tuple(
                ClockNow(name, one.last.state, one.last.residual_p99_us, one.n_steps) for name, one in self._clocks
            ),
            armed=None if self._armed is None else self._armed.armed,
            armed_by="" if self._armed is None else self._armed.by,
            poses=tuple(source.now(now_ns) for source in self._poses.values()),
        )

    def _camera(self, name: str) -> LiveSource:
        if name not in self._cameras:
            self._cameras[name] = LiveSource(name)
        return self._cameras[name]

    def _pose(self, name: str) -> LiveSource:
        if name not in self._poses:
            self._poses[name] = LiveSource(name, "pose source")
        return self._poses[name]

    def _add_pose(self, pose: Pose, now_ns: int) -> None:
        self._pose(pose.source).add_header(pose, now_ns)
        self._first_ns = self._first_ns or now_ns
        if not self._cameras:
            self._t_set_ns = pose.t_exposure_ns

    def _add_behavior(self, one: Behavior, now_ns: int) -> None:
        self._behavior, self._behavior_ns = one, now_ns
        self._n_steps += 1
        self._n_skipped += one.n_skipped
        self._strip.add(one.label, one.t_spoken_of_ns)
        total_ns = one.t_decided_ns - one.t_exposure_ns
        if self._mode == "live":
            # In a replay these times are those of the live run: to show them as today's would be untrue.
            self._latency.append((total_ns, one.t_decided_ns - one.t_received_ns))
            self._latency_max_ns = max(self._latency_max_ns, total_ns)

    def _add_decision(self, one: Decision) -> None:
        self._rules.setdefault(one.rule, Counter())[one.action] += 1
        t_ms = one.t_exposure_ns / NS_PER_MS
        self._triggers.append(TriggerNow(one.rule, one.behavior, one.action, one.reason, t_ms))

    def _add_problem(self, alarm: Alarm) -> None:
        key = (alarm.node, alarm.text)
        before = self._problems.pop(key, None)
        n = 1 if before is None else before.n + 1
        self._problems[key] = Problem(alarm.severity, alarm.node, alarm.text, alarm.t_ns / NS_PER_MS, n)
        if len(self._problems) > MAX_PROBLEMS:
            del self._problems[next(iter(self._problems))]

    def _problems_now(self, now_ns: int) -> tuple[Problem, ...]:
        sources = (*self._cameras.values(), *self._poses.values())
        amiss = [(one.what, problem) for one in sources if (problem := one.problem(now_ns)) is not None]
        found = [problem for _, problem in amiss]
        if len(found) > MANY_CAMERAS:
            kinds = {kind for kind, _ in amiss}
            kind = kinds.pop() if len(kinds) == 1 else "source"
            names = ", ".join(problem.who.removeprefix(f"{kind} ") for problem in found)
            found = [Problem("error", f"{len(found)} {kind}s", f"{found[0].text} ({names})", now_ns / NS_PER_MS)]
        if (full := self._recording.problem(now_ns)) is not None:
            found.append(full)
        for name, (beat, heard_ns) in self._nodes.items():
            if beat.state != "stopping" and now_ns - heard_ns > STALE_NODE_NS:
                text = f"no heartbeat for {(now_ns - heard_ns) / NS_PER_S:.0f} s"
                found.append(Problem("error", name, text, now_ns / NS_PER_MS))
        return (*found, *reversed(self._problems.values()))

    def _behavior_now(self, now_ns: int) -> BehaviorNow | None:
        one = self._behavior
        if one is None:
            return None
        # A message of an older recording names no classes.
        names = one.classes if len(one.classes) == len(one.p) else [f"class {i}" for i in range(len(one.p))]
        return BehaviorNow(
            label=one.label,
            raw=one.raw,
            for_ms=max(0, one.t_exposure_ns - one.label_since_ns) / NS_PER_MS if one.label else 0.0,
            classes=tuple(ClassNow(name, round(p, 4)) for name, p in zip(names, one.p, strict=True)),
            warm=one.warm,
            bundle=one.bundle,
            steps=self._n_steps,
            skipped=self._n_skipped,
            truth=self._truth_strip.label,
            age_ms=max(0, now_ns - self._behavior_ns) / NS_PER_MS,
        )

    def _latency_now(self) -> LatencyNow | None:
        if not self._latency:
            return None
        exposure = sorted(total for total, _ in self._latency)
        received = sorted(part for _, part in self._latency)
        return LatencyNow(
            exposure_p50=_rank(exposure, 0.5),
            exposure_p99=_rank(exposure, 0.99),
            received_p50=_rank(received, 0.5),
            received_p99=_rank(received, 0.99),
            max_run=self._latency_max_ns / NS_PER_MS,
            n=len(exposure),
        )


def _rank(ordered: list[int], q: float) -> float:
    """The smallest value with at least a share ``q`` at or below it, in milliseconds."""
    place = min(len(ordered) - 1, max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1))
    return round(ordered[place] / NS_PER_MS, 3)
