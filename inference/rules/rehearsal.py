"""A dry run: the same engine over what a recording's model said, and what it would have decided.

No pixel is read and no model runs. Behaviours, tracks, board pulses and, where asked, what was said of arming are
told to the engine in the order in which they were recorded.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ...streaming.messages import Arming, Behavior, Decision, Message, SyncPulse, Tracks
from ...streaming.recording_reader import Recording
from ...streaming.set_ids import SETS_PER_EPOCH
from ...streaming.topics import ARMING, BEHAVIOR, DECISION, SYNC_PULSE, TRACKS
from ...sync.clock import NS_PER_S
from ...sync.errors import ConfigError
from ..config import TaskConfig
from .config import RuleConfig
from .engine import TRIALS_PER_EPOCH, Rules
from .yoked import session_zero_ns, with_seeds, with_times

_COMPARED: Final = ("action", "reason", "trial", "t_due_ns")
_PER_PROGRESS: Final = 2048

Key = tuple[int, str, int]


@dataclass(slots=True)
class Rehearsed:
    """What a dry run found.

    Attributes:
        zero_ns: rig time from which session times count.
        seconds: from there to the last behaviour.
        decisions: of the task that was tried, in order.
        recorded: of the rules that ran live.
        rules: names of the rules that were tried.
        drawn: of these, those that had no seed in the task and none in the recording; they were tried with 0.
        n_behaviors: answers of the model that were gone through.
    """

    zero_ns: int
    seconds: float
    decisions: list[Decision]
    recorded: list[Decision]
    rules: list[str]
    drawn: list[str]
    n_behaviors: int

    def totals(self) -> dict[str, dict[str, Any]]:
        """Per rule: fired, sham, withheld, and withheld by reason."""
        return {name: totals_of(one for one in self.decisions if one.rule == name) for name in self.rules}

    def compare(self) -> dict[str, Any]:
        """Decision by decision against the live run; of a rule that is only in one of both all differ."""
        tried, live = _by_key(self.decisions), _by_key(self.recorded)
        equal = 0
        words: list[str] = []
        for key in sorted({*tried, *live}):
            set_id, rule, _ = key
            a, b = tried.get(key, []), live.get(key, [])
            for place in range(max(len(a), len(b))):
                mine = _said(a[place]) if place < len(a) else "nothing"
                theirs = _said(b[place]) if place < len(b) else "nothing"
                same = place < len(a) and place < len(b) and _values(a[place]) == _values(b[place])
                equal += same
                if not same:
                    words.append(f"set {set_id}, rule {rule}: {mine}; recorded: {theirs}")
        return {"equal": equal, "different": len(words), "differences": words}

    def session_s(self, t_ns: int) -> float:
        """Seconds since the session began."""
        return (t_ns - self.zero_ns) / NS_PER_S


def totals_of(decisions: Any) -> dict[str, Any]:
    """Counts of one rule's decisions by action, and of the withheld ones by reason."""
    actions, reasons = Counter[str](), Counter[str]()
    for one in decisions:
        actions[one.action] += 1
        if one.action == "withheld":
            reasons[one.reason] += 1
    counts: dict[str, Any] = {name: actions[name] for name in ("fired", "sham", "withheld")}
    return {**counts, "withheld_by_reason": dict(reasons)}


def rehearse(
    recording: Recording,
    task: TaskConfig,
    *,
    as_recorded: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Rehearsed:
    """Try a task's rules on a recording.

    Args:
        recording: one in which a model ran.
        task: its rules, zones and arming are tried; its model is not run.
        as_recorded: be armed when the live run was, and take its seeds where the task has none; else as if a person
            had armed the rules from the start, with the task's own schedule and line.
        on_progress: told the share that is done.

    Raises:
        ConfigError: rules that do not fit the recorded model; no model ran.
    """
    rules, drawn = _fixed(task.rules, recording if as_recorded else None)
    zero_ns = session_zero_ns(recording)
    found = Rehearsed(zero_ns, 0.0, [], [], [rule.name for rule in rules], drawn, 0)
    engine: Rules | None = None
    before: list[Message] = []
    arming: Arming | None = None
    epoch: int | None = None
    size = max(1, recording.events.path.stat().st_size)
    for n, logged in enumerate(recording.messages([BEHAVIOR, TRACKS, SYNC_PULSE, ARMING, DECISION])):
        if on_progress is not None and n % _PER_PROGRESS == 0:
            on_progress(logged.place / size)
        message = logged.message
        if isinstance(message, Arming):
            arming = message
        if isinstance(message, Decision):
            found.recorded.append(message)
        elif not isinstance(message, Behavior):
            if engine is None:
                before.append(message)
            else:
                _tell(engine, message)
        else:
            begun = _epoch_of(message, epoch, recording.info.poses)
            if engine is None or begun != epoch:
                again = engine is not None
                epoch = begun
                engine = _open(rules, task, message, epoch, zero_ns, as_recorded)
                for one in () if again else before:
                    _tell(engine, one)
                if arming is not None:
                    # Of a process that was started again, what was said before its first set as well.
                    engine.arming.recorded(arming)
            found.decisions += engine.step(message)
            found.n_behaviors += 1
            found.seconds = found.session_s(message.t_exposure_ns)
    if engine is None:
        raise ConfigError(f"{recording.path}: no behaviour in it; record with a task that names a bundle")
    return found


def _epoch_of(message: Behavior, epoch: int | None, poses: Collection[str]) -> int:
    """That of the model's process which gave an answer.

    Args:
        message: the answer.
        epoch: that of the answer before; None: there is none.
        poses: names of the pose sources.
    """
    if message.epoch >= 0:
        return message.epoch
    # An older recording does not say it: a process that began and ended without an answer is not counted.
    if not message.t_arrived_ns and not any(one.camera in poses for one in message.sources):
        return message.set_id // SETS_PER_EPOCH  # it numbers its sets itself
    # Poses and crops are numbered by who sends them. Of a model's process only the first answer follows no other.
    return 0 if epoch is None else epoch + (message.previous_set_id < 0)


def _fixed(rules: list[RuleConfig], recording: Recording | None) -> tuple[list[RuleConfig], list[str]]:
    """Rules with times and seeds: the recorded rule's of the same name, else 0."""
    seeds: dict[str, int] = {}
    if recording is not None:
        told = recording.info.config.get("task", {}).get("rules", [])
        seeds = {one["name"]: one["seed"] for one in told if one.get("seed") is not None}
    known = [
        rule.model_copy(update={"seed": seeds[rule.name]}) if rule.seed is None and rule.name in seeds else rule
        for rule in with_times(rules)
    ]
    drawn = [rule.name for rule in known if rule.draws and rule.seed is None]
    return with_seeds(known, lambda: 0), drawn


def _open(
    rules: list[RuleConfig], task: TaskConfig, first: Behavior, epoch: int, zero_ns: int, as_recorded: bool
) -> Rules:
    if not first.classes:
        raise ConfigError("the recording's behaviours name no classes: it was made by an early release; record again")
    engine = Rules(
        rules,
        first.classes,
        armed=not (as_recorded and epoch > 0),
        zones=task.zones,
        arming=task.arming if as_recorded else task.arming.model_copy(update={"at_start": True}),
        first_trial=epoch * TRIALS_PER_EPOCH,
        tracked=task.tracking is not None,
    )
    engine.begin(zero_ns, first.t_exposure_ns if epoch else None)
    if as_recorded:
        engine.arming.follow()
    return engine


def _tell(engine: Rules, message: Message) -> None:
    if isinstance(message, Tracks):
        engine.tracked(message)
    elif isinstance(message, SyncPulse):
        engine.pulse(message)
    elif isinstance(message, Arming):
        engine.arming.recorded(message)


def _by_key(decisions: list[Decision]) -> dict[Key, list[Decision]]:
    found: dict[Key, list[Decision]] = {}
    for one in decisions:
        found.setdefault((one.set_id, one.rule, one.animal), []).append(one)
    return found


def _values(decision: Decision) -> tuple[Any, ...]:
    return tuple(getattr(decision, name) for name in _COMPARED)


def _said(decision: Decision) -> str:
    trial = f", trial {decision.trial}" if decision.trial >= 0 else ""
    return f"{decision.action} ({decision.reason}{trial})"


def decision_row(decision: Decision, zero_ns: int) -> dict[str, Any]:
    """One decision as JSON types, with session seconds; its source frames as ``camera/epoch/seq``."""
    values = {name: value for name, value in msgspec.structs.asdict(decision).items() if name != "sources"}
    frames = [f"{one.camera}/{one.epoch}/{one.seq}" for one in decision.sources]
    due_s = round((decision.t_due_ns - zero_ns) / NS_PER_S, 6) if decision.t_due_ns else None
    session_s = round((decision.t_exposure_ns - zero_ns) / NS_PER_S, 6)
    return {**values, "frames": frames, "session_s": session_s, "due_s": due_s}
