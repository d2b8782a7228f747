"""What a run looks like at one moment: the value behind the live table and the monitor page."""

from typing import Literal

import msgspec


class CameraNow(msgspec.Struct, frozen=True):
    """One view, or pose source. ``rate_hz`` is over its last frames; ``age_ms`` since the last came, None before it."""

    name: str
    state: Literal["waiting", "running", "silent", "stopped", "lost"]
    rate_hz: float
    captured: int
    dropped: int
    declared: int
    duplicates: int
    age_ms: float | None


class SetsNow(msgspec.Struct, frozen=True):
    """Frame sets so far; ``late`` counts frames that came after their set."""

    complete: int
    partial: int
    late: int


class ClassNow(msgspec.Struct, frozen=True):
    """One class of the model and its probability."""

    name: str
    p: float


class BehaviorNow(msgspec.Struct, frozen=True):
    """The newest answer. ``for_ms`` is how long the label has held; ``truth`` is the simulator's, "" without."""

    label: str
    raw: str
    for_ms: float
    classes: tuple[ClassNow, ...]
    warm: bool
    bundle: str
    steps: int
    skipped: int
    truth: str
    age_ms: float


class LatencyNow(msgspec.Struct, frozen=True):
    """Milliseconds over the last ``n`` sets (about ten seconds); ``max_run`` over the whole run."""

    exposure_p50: float
    exposure_p99: float
    received_p50: float
    received_p99: float
    max_run: float
    n: int


class TriggerNow(msgspec.Struct, frozen=True):
    """One decision of a rule. ``t_ms`` is the exposure of its set, UTC milliseconds."""

    rule: str
    behavior: str
    action: str
    reason: str
    t_ms: float


class RuleNow(msgspec.Struct, frozen=True):
    """One rule so far."""

    name: str
    fired: int
    withheld: int
    sham: int = 0


class RecordingNow(msgspec.Struct, frozen=True):
    """The recorder's account; ``hours_left`` at the present rate of writing, None while that is not known."""

    path: str
    state: str
    written: int
    declared: int
    gib_free: float
    hours_left: float | None


class ClockNow(msgspec.Struct, frozen=True):
    """One clock: its state, the residual that it has now (p99), and how often it has stepped in this run."""

    name: str
    state: str
    residual_p99_us: float
    n_steps: int


class Problem(msgspec.Struct, frozen=True):
    """Something a person should know. ``n`` times; ``t_ms`` the last time, UTC milliseconds."""

    severity: Literal["warning", "error"]
    who: str
    text: str
    t_ms: float
    n: int = 1


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """A behaviour from ``start_ms`` to ``end_ms``, UTC milliseconds of exposure."""

    label: str
    start_ms: float
    end_ms: float


class Snapshot(msgspec.Struct, frozen=True):
    """Everything at one moment. ``t_ms`` is rig time now; ``t_set_ms`` the exposure of the newest set or behaviour.

    ``armed``: whether rules may fire, by whose word; None where nothing was said of it.
    """

    rig: str
    mode: Literal["live", "replay"]
    t_ms: float
    t_set_ms: float | None
    run_s: float
    cameras: tuple[CameraNow, ...]
    sets: SetsNow
    behavior: BehaviorNow | None
    latency: LatencyNow | None
    rules: tuple[RuleNow, ...]
    triggers: tuple[TriggerNow, ...]
    recording: RecordingNow | None
    problems: tuple[Problem, ...]
    strip: tuple[Stretch, ...] = ()
    truth_strip: tuple[Stretch, ...] = ()
    agreement: float | None = None
    monitor_port: int | None = None
    clocks: tuple[ClockNow, ...] = ()
    armed: bool | None = None
    armed_by: str = ""
    poses: tuple[CameraNow, ...] = ()
