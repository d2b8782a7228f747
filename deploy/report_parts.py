"""The parts of a run report: what is kept of each kind of message, all of it bounded in memory."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from ..streaming.messages import (
    Actuation,
    Arming,
    Behavior,
    CameraStatus,
    Decision,
    FrameHeader,
    FrameSet,
    Gap,
    Pose,
    RecordingStatus,
)
from ..sync.clock import NS_PER_S
from ..sync.latency import LatencyHistogram
from .scores import LabelScores
from .truth_join import Known

MAX_REASONS = 64
"""Different reasons kept by name; the rest are counted together, since a reason may hold a number."""
OTHER_REASONS = "other"
ACTIONS = ("fired", "sham", "withheld")
MAX_ARMINGS = 50
"""Changes of arming that are kept; the rest are counted."""
MAX_UNANSWERED = 256
"""Firings whose line is waited for; most kinds of actuator never say."""


class CameraPart:
    """One camera, or pose source, over all its epochs."""

    def __init__(self) -> None:
        self._closed = Counter[str]()
        self._status: CameraStatus | None = None
        self.declared = Counter[str]()
        self._epoch = -1
        self._first_ns = 0
        self._last_ns = 0
        self._n_headers = 0
        self._frames_before = 0
        self._ns_before = 0

    def add_status(self, status: CameraStatus) -> None:
        """Take the newest account; one of a new epoch is added to those before it."""
        last = self._status
        if last is not None and last.epoch != status.epoch:
            if status.epoch < last.epoch:
                return
            self._closed.update(self._counts(last))
        self._status = status

    def add_header(self, header: FrameHeader | Pose) -> None:
        """Measure the rate from exposure times."""
        if header.epoch != self._epoch:
            self._ns_before, self._frames_before = self._span()
            self._epoch, self._first_ns, self._n_headers = header.epoch, header.t_exposure_ns, 0
        self._last_ns = max(header.t_exposure_ns, self._first_ns)
        self._n_headers += 1

    def add_gap(self, gap: Gap) -> None:
        self.declared[gap.source] += gap.n

    def _span(self) -> tuple[int, int]:
        return (
            self._ns_before + self._last_ns - self._first_ns,
            self._frames_before + max(0, self._n_headers - 1),
        )

    @property
    def seconds(self) -> float:
        """From its first to its last frame, without what lies between two epochs."""
        return round(self._span()[0] / NS_PER_S, 3)

    @staticmethod
    def _counts(status: CameraStatus) -> dict[str, int]:
        return {
            "captured": status.captured,
            "dropped_device": status.dropped_device,
            "duplicates": status.duplicates,
            "behind": status.n_behind,
        }

    def to_dict(self) -> dict[str, Any]:
        counts = Counter(self._closed)
        if self._status is not None:
            counts.update(self._counts(self._status))
        span_ns, n_frames = self._span()
        rate = self._status.rate_hz if self._status is not None else None
        if span_ns > 0 and n_frames > 0:
            rate = n_frames * NS_PER_S / span_ns
        return {
            "captured": counts["captured"],
            "dropped_device": counts["dropped_device"],
            "dropped_declared": self.declared["bus"] + self.declared["recorder"],
            "duplicates": counts["duplicates"],
            "rate_hz": None if rate is None else round(rate, 4),
            "behind": counts["behind"],
            "late": self.declared["sets"],
            "restarts": max(0, self._status.epoch if self._status is not None else 0),
            "state": self._status.state if self._status is not None else None,
        }


class SetsPart:
    """Frame sets, and whether each held frames of one instant."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.missing = Counter[str]()
        self.n_checked = 0
        self.n_mispaired = 0
        self.first_ns = 0
        self.last_ns = 0

    def add(self, frame_set: FrameSet) -> None:
        self.counts[frame_set.status] += 1
        self.missing.update(frame_set.missing)
        self.first_ns = self.first_ns or frame_set.t_mid_ns
        self.last_ns = max(self.last_ns, frame_set.t_mid_ns)

    def settle(self, _set: FrameSet, known: list[Known]) -> None:
        """Compare the true instants of the members."""
        if not known:
            return
        self.n_checked += 1
        self.n_mispaired += len({one.instant for one in known}) > 1

    def to_dict(self, n_truth: int) -> dict[str, Any]:
        return {
            "complete": self.counts["complete"],
            "partial": self.counts["partial"],
            "mispaired": self.n_mispaired if n_truth else None,
            "checked": self.n_checked,
            "missing": dict(self.missing),
        }

    @property
    def seconds(self) -> float:
        return round((self.last_ns - self.first_ns) / NS_PER_S, 3)


class LatencyPart:
    """Latency from photon to label and to trigger, and the time of each stage.

    In a replay there is no photon, and the time of decision is the live one: only crop, embed and head are measured.
    """

    def __init__(self, live: bool = True) -> None:
        self._live = live
        names = "exposure_to_received received_to_behavior received_to_trigger exposure_to_behavior exposure_to_trigger"
        self._paths = {name: LatencyHistogram() for name in [*names.split(), "exposure_to_line"]}
        self._exposed: dict[tuple[str, int, int], int] = {}
        self._sets_received = LatencyHistogram()
        self._stages = {name: LatencyHistogram() for name in ("wait", "crop", "embed", "head", "decide")}

    def add_set(self, frame_set: FrameSet) -> None:
        if frame_set.sources and self._live:
            first = min(source.t_exposure_ns for source in frame_set.sources)
            last = max(source.t_received_ns for source in frame_set.sources)
            self._sets_received.add(last - first)

    def add_behavior(self, one: Behavior) -> None:
        self._stages["crop"].add(one.t_cropped_ns - one.t_taken_ns)
        self._stages["embed"].add(one.t_embedded_ns - one.t_cropped_ns)
        self._stages["head"].add(one.t_head_ns - one.t_embedded_ns)
        if not self._live:
            return
        self._stages["wait"].add(one.t_taken_ns - one.t_received_ns)
        self._stages["decide"].add(one.t_decided_ns - one.t_head_ns)
        self._paths["exposure_to_received"].add(one.t_received_ns - one.t_exposure_ns)
        self._paths["received_to_behavior"].add(one.t_decided_ns - one.t_received_ns)
        self._paths["exposure_to_behavior"].add(one.t_decided_ns - one.t_exposure_ns)

    def add_decision(self, decision: Decision) -> None:
        # One that acts later on purpose says nothing of how fast the rig is.
        if decision.action == "fired" and decision.t_fired_ns and self._live:
            self._paths["received_to_trigger"].add(decision.t_fired_ns - decision.t_received_ns)
            self._paths["exposure_to_trigger"].add(decision.t_fired_ns - decision.t_exposure_ns)
            self._exposed[decision.rule, decision.set_id, decision.trial] = decision.t_exposure_ns
            if len(self._exposed) > MAX_UNANSWERED:
                del self._exposed[next(iter(self._exposed))]

    def add_actuation(self, one: Actuation) -> None:
        """A line that rose, by its device's own clock; what the rule delayed is not in ``_exposed``."""
        t_exposure_ns = self._exposed.pop((one.rule, one.set_id, one.trial), None) if one.t_on_ns else None
        if t_exposure_ns is not None:
            self._paths["exposure_to_line"].add(one.t_on_ns - t_exposure_ns)

    def to_dict(self) -> dict[str, Any]:
        paths = dict(self._paths)
        if not paths["exposure_to_received"].n:
            # Without a model no set is classified: every assembled set counts instead.
            paths["exposure_to_received"] = self._sets_received
        return {name: _summary(histogram) for name, histogram in paths.items()}

    def stages(self) -> dict[str, Any]:
        return {name: _summary(histogram) for name, histogram in self._stages.items()}


def _summary(histogram: LatencyHistogram) -> dict[str, Any]:
    summary = asdict(histogram.summary())
    if histogram.n_negative:
        summary["n_negative"] = histogram.n_negative
    return summary


class BehaviorPart:
    """Model steps, bouts of the stabilised label, and scores where truth is known."""

    def __init__(self) -> None:
        self.bundle: str | None = None
        self.n_steps = 0
        self.n_skipped = 0
        self.n_gap_frames = 0
        self.n_unlabelled = 0
        self._labels: dict[int, str] = {}
        self._bouts = Counter[str]()
        self._sets = Counter[str]()
        self._scores = LabelScores()

    def add(self, one: Behavior) -> None:
        self.bundle = one.bundle
        self.n_steps += 1
        self.n_skipped += one.n_skipped
        self.n_gap_frames += one.gap_frames
        self._sets[one.label] += 1
        if one.label and one.label != self._labels.get(one.animal, ""):
            self._bouts[one.label] += 1
        self._labels[one.animal] = one.label

    def settle(self, one: Behavior, known: list[Known]) -> None:
        """Score one label at its set's exposure; what came before the model was warm is left out."""
        if one.warm and known:
            self._scores.add(known[0].behavior, one.label)

    def to_dict(self) -> dict[str, Any]:
        scores = self._scores
        return {
            "bouts": self._bouts.total(),
            "bouts_by_class": dict(self._bouts),
            "sets_by_class": {name or "none": n for name, n in self._sets.items()},
            "accuracy": _rounded(scores.accuracy),
            "balanced_accuracy": _rounded(scores.balanced_accuracy),
            "macro_f1": _rounded(scores.macro_f1),
            "n_scored": scores.n,
            "confusion": scores.confusion() or None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


class TriggerPart:
    """Decisions of the rules: trials (fired and sham), and what was withheld and why."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._reasons = Counter[str]()
        self._rules: dict[str, tuple[Counter[str], Counter[str]]] = {}
        self._armed: list[Arming] = []
        self._n_armings = 0
        self._acts = Counter[str]()

    def add_actuation(self, one: Actuation) -> None:
        self._acts[one.state] += 1

    def add_arming(self, arming: Arming) -> None:
        """What was said of arming; the last ones are kept."""
        self._n_armings += 1
        self._armed = [*self._armed[-(MAX_ARMINGS - 1) :], arming]

    def add(self, decision: Decision) -> None:
        self._counts[decision.action] += 1
        actions, reasons = self._rules.setdefault(decision.rule, (Counter(), Counter()))
        actions[decision.action] += 1
        if decision.action == "withheld":
            known = decision.reason in self._reasons or len(self._reasons) < MAX_REASONS
            reason = decision.reason if known else OTHER_REASONS
            self._reasons[reason] += 1
            reasons[reason] += 1

    def to_dict(self) -> dict[str, Any]:
        rules = {
            name: {**{action: n[action] for action in ACTIONS}, "withheld_by_reason": dict(reasons)}
            for name, (n, reasons) in self._rules.items()
        }
        return {
            "fired": self._counts["fired"],
            "sham": self._counts["sham"],
            "withheld": self._counts["withheld"],
            "withheld_by_reason": dict(self._reasons),
            "by_rule": rules,
            "actuations": dict(self._acts),
            "armed": self._armed[-1].armed if self._armed else None,
            "n_armings": self._n_armings,
            "armings": [{"armed": one.armed, "by": one.by, "t_ns": one.t_ns} for one in self._armed],
        }


class RecordingPart:
    """The recorder's newest account."""

    def __init__(self) -> None:
        self.status: RecordingStatus | None = None
        self.verified: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        status = self.status
        return {
            "path": status.path if status else None,
            "written": sum(status.written.values()) if status else 0,
            "declared_drops": sum(status.declared.values()) if status else 0,
            "verified": self.verified,
            "state": status.state if status else None,
        }
