"""The rules of a task over the stream of behaviour: exactly one decision per rule and opportunity.

Pure: no clock, no socket, no generator that is not a function of its seed. What is told to it in the same order gives
the same decisions, live, in replay, in a dry run, and after `Rules.restore`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from ...streaming.messages import Arming, Behavior, Decision, SyncPulse, Tracks
from ...sync.clock import NS_PER_MS
from ...sync.errors import BundleError, ConfigError
from ..cropper import State
from .arming import LINK, PERSON, STOP, ArmingState, completed
from .arming_config import ArmingConfig
from .chance import Chance
from .conditions import Conditions, Positions, Situation, check_names
from .config import RuleConfig
from .limits import Limits
from .reasons import Withheld
from .triggers import FAR_NS, NEVER_NS, make_trigger
from .zones import BoxPxConfig, PolygonPxConfig, ZoneConfig

TRIALS_PER_EPOCH: Final = 1_000_000
"""Trials of a process that was started again are counted from here on, so that a number names one trial for ever."""


class _Rule:
    """One rule at work."""

    def __init__(self, config: RuleConfig, first_trial: int, limits: Limits, conditions: Conditions) -> None:
        self.config = config
        self.trigger = make_trigger(config)
        self.limits = limits
        self.conditions = conditions
        self.begin_at(first_trial)
        self.delay_ns = round(config.delay_ms * NS_PER_MS)
        self.max_age_ns = round(config.max_age_ms * NS_PER_MS)

    def begin_at(self, first_trial: int) -> None:
        """Trials are numbered from here on."""
        self.first_trial = first_trial
        self.chance = Chance(self.config, first_trial)

    def snapshot(self, place: int) -> State:
        return {f"{place}.trigger": self.trigger.snapshot(), f"{place}.limits": self.limits.snapshot()}


class Rules:
    """All rules of a task. One thread.

    A decision that was withheld is not made up for: the next opportunity is the next chance. What a decision can say
    stands in ``rules/reasons.py``; of several reasons to withhold it is the first, in the order of that list.
    Conditions on other rules also see the trials of this very set, of rules that stand before this one in the file.
    """

    def __init__(
        self,
        rules: Sequence[RuleConfig],
        classes: Sequence[str],
        armed: bool,
        *,
        zones: Mapping[str, ZoneConfig] | None = None,
        arming: ArmingConfig | None = None,
        views: Sequence[str] | None = None,
        first_trial: int = 0,
        tracked: bool = True,
    ) -> None:
        """Check the rules against the model.

        Args:
            rules: of the task.
            classes: of the model.
            armed: False: a person has to arm them before anything fires.
            zones: of the task.
            arming: of the task.
            views: that the model sees; None: not known yet.
            first_trial: number of the first trial of each rule.
            tracked: whether positions in millimetres will come.

        Raises:
            ConfigError: a name stands twice or is not there, a behaviour is not a class of the model, a view not one
                that it sees, or a seed or set times are missing.
        """
        zones = zones or {}
        check_names(list(rules), zones, tracked)
        for rule in rules:
            _check_rule(rule, classes, zones, views)
        self.arming = ArmingState(arming or ArmingConfig(), armed)
        self._classes = list(classes)
        places = {name: place for place, name in enumerate(self._classes)}
        self._places = places
        self._positions = Positions()
        limits = {rule.name: Limits(rule) for rule in rules}
        self._rules = [
            _Rule(rule, first_trial, limits[rule.name], Conditions(rule, places, zones, self._positions, limits))
            for rule in rules
        ]
        self._first_trial = first_trial
        self._zero_ns = NEVER_NS
        self.reset()

    @property
    def armed(self) -> bool:
        """Whether anything may fire now."""
        return self.arming.armed

    def reset(self) -> None:
        """Forget what the animal did; trials, limits, set times and arming are kept: they may be safety limits."""
        self._label = ""
        self._since_ns = NEVER_NS
        self._after_gap = False
        self._positions.forget()
        for rule in self._rules:
            rule.trigger.reset()
        self._set_timers()

    def begin(self, zero_ns: int, now_ns: int | None = None) -> None:
        """The session began at rig time ``zero_ns``: its times count from there. Said once.

        Args:
            zero_ns: the common start of the rig.
            now_ns: where the process was started later than that.
        """
        if self._zero_ns == NEVER_NS:
            self._zero_ns = zero_ns
            self.arming.begin(zero_ns, zero_ns if now_ns is None else now_ns)

    def set_armed(self, armed: bool, by: str, t_ns: int) -> None:
        """A person arms or disarms, or the end of the run or a lost link disarms (``by``).

        Schedule and line have to agree to arm.

        Raises:
            ConfigError: ``by`` is somebody else; schedule and line are read here.
        """
        if by != PERSON and (armed or by not in (STOP, LINK)):
            raise ConfigError(f"rules cannot be armed by {by!r}; only by a person, the task's schedule or its line")
        self.arming.set_person(armed, t_ns, by)

    def tick(self, t_ns: int) -> None:
        """Rig time is ``t_ns``; to be called now and then where no set comes, so that schedules are kept."""
        self.arming.tick(t_ns)

    def pulse(self, pulse: SyncPulse, now_ns: int | None = None) -> None:
        """An edge of the trigger board; see `ArmingState.pulse`."""
        self.arming.pulse(pulse, now_ns)

    def tracked(self, tracks: Tracks) -> None:
        """Where the animals are; known from now on, so from the next set on."""
        self._positions.take(tracks)

    def take_changes(self) -> list[Arming]:
        """The messages of every change of arming since the last call, to be published before what follows."""
        return self.arming.take_changes()

    def step(self, behavior: Behavior) -> list[Decision]:
        """The decisions for one behaviour message, judged at its ``t_decided_ns``; without an onset a few µs."""
        t_ns, decided_ns = behavior.t_exposure_ns, behavior.t_decided_ns
        if self._zero_ns == NEVER_NS:
            self.begin(t_ns)
        self.arming.tick(decided_ns)
        if behavior.reset:
            self.reset()
            self._after_gap = behavior.gap_frames > 0
        if behavior.warm:
            self._after_gap = False
        session_ns = decided_ns - self._zero_ns
        changed = behavior.label != self._label
        if not changed and t_ns < self._timer_ns and session_ns < self._session_timer_ns:
            return []
        return self._opportunities(behavior, changed, session_ns)

    def _opportunities(self, behavior: Behavior, changed: bool, session_ns: int) -> list[Decision]:
        t_ns = behavior.t_exposure_ns
        before, before_ns = self._label, self._since_ns
        if changed:
            self._label, self._since_ns = behavior.label, behavior.label_since_ns
        dwell_ns = max(0, t_ns - behavior.label_since_ns) if behavior.label else 0
        decisions: list[Decision] = []
        for rule in self._rules:
            trigger = rule.trigger
            if changed and trigger.changed(before, behavior.label, t_ns):
                ended = trigger.cause == "end"
                about = before if ended else behavior.label
                lasted_ns = max(0, t_ns - before_ns) if ended else dwell_ns
                decisions.append(self._decide(rule, Situation(behavior, about, lasted_ns, session_ns), 0))
            at_ns = session_ns if trigger.by_session else t_ns
            while trigger.next_ns <= at_ns and (late_ns := trigger.due(at_ns)) is not None:
                decisions.append(self._decide(rule, Situation(behavior, behavior.label, dwell_ns, session_ns), late_ns))
        self._set_timers()
        return decisions

    def _set_timers(self) -> None:
        by_exposure = [one.trigger.next_ns for one in self._rules if not one.trigger.by_session]
        by_session = [one.trigger.next_ns for one in self._rules if one.trigger.by_session]
        self._timer_ns = min(by_exposure, default=FAR_NS)
        self._session_timer_ns = min(by_session, default=FAR_NS)

    def _decide(self, rule: _Rule, now: Situation, late_ns: int) -> Decision:
        behavior = now.behavior
        earliest_ns = behavior.t_decided_ns + rule.delay_ns
        why_not: Withheld | None = (
            self._against_input(rule, behavior, late_ns)
            or rule.conditions.against(now)
            or rule.limits.against(behavior.t_exposure_ns, earliest_ns)
        )
        trial, due_ns, sham = -1, 0, False
        if why_not is None:
            trial = rule.first_trial + rule.limits.n_trials
            due_ns = earliest_ns + round(rule.chance.jitter_ms(trial) * NS_PER_MS)
            sham = rule.chance.is_sham(trial)
            rule.limits.add(behavior.t_exposure_ns, due_ns)
        return Decision(
            rule=rule.config.name,
            set_id=behavior.set_id,
            action="withheld" if why_not else "sham" if sham else "fired",
            reason=why_not or rule.trigger.cause,
            behavior=now.about,
            p=behavior.p[self._places[now.about]] if now.about else 0.0,
            actuator=rule.config.actuator,
            sources=behavior.sources,
            t_exposure_ns=behavior.t_exposure_ns,
            t_received_ns=behavior.t_received_ns,
            t_decided_ns=behavior.t_decided_ns,
            t_fired_ns=0,
            animal=behavior.animal,
            trial=trial,
            t_due_ns=due_ns,
        )

    def _against_input(self, rule: _Rule, behavior: Behavior, late_ns: int) -> Withheld | None:
        config = rule.config
        if not self.arming.armed:
            return "disarmed"
        if not behavior.warm:
            return "gap" if self._after_gap else "warm-up"
        if config.max_gap_frames is not None and behavior.gap_frames > config.max_gap_frames:
            return "gap"
        if config.require_complete and behavior.status != "complete":
            return "partial"
        if max(late_ns, behavior.t_decided_ns - behavior.t_exposure_ns) > rule.max_age_ns:
            return "stale"
        return None

    def snapshot(self) -> State:
        """All that is remembered, as flat arrays: trials (and so all draws), timers, limits, arming, positions."""
        label = self._places[self._label] if self._label else -1
        state: State = {
            "state": np.array([label, self._since_ns, self._after_gap, self._zero_ns, self._first_trial], np.int64),
            **self.arming.snapshot(),
            **self._positions.snapshot(),
        }
        for place, rule in enumerate(self._rules):
            state |= rule.snapshot(place)
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of the same rules, bit for bit, armed as they were.

        Only replay restores, and there no actuator is real.

        Raises:
            BundleError: it is of other rules.
        """
        state = completed(state)
        mine = {name: value.shape for name, value in self.snapshot().items() if not name.startswith("tracked")}
        theirs = {name: value.shape for name, value in state.items() if not name.startswith("tracked")}
        if mine != theirs:
            differs = sorted(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))
            raise BundleError(
                f"saved state of rules does not fit these rules ({', '.join(differs[:5])} differ): replay with the "
                "recorded task, or from the recording's beginning with another one"
            )
        label, self._since_ns, after_gap, self._zero_ns, self._first_trial = (int(value) for value in state["state"])
        self._label = self._classes[label] if label >= 0 else ""
        self._after_gap = bool(after_gap)
        self.arming.restore(state)
        self._positions.restore(state)
        for place, rule in enumerate(self._rules):
            rule.trigger.restore(state[f"{place}.trigger"])
            rule.limits.restore(state[f"{place}.limits"])
            rule.begin_at(self._first_trial)
        self._set_timers()


def _check_rule(
    rule: RuleConfig, classes: Iterable[str], zones: Mapping[str, ZoneConfig], views: Sequence[str] | None
) -> None:
    for key, behavior in rule.behaviors.items():
        if behavior not in classes:
            raise ConfigError(
                f"rule {rule.name!r}: {key} {behavior!r} is not among the model's classes ({', '.join(classes)})"
            )
    for one in rule.when.zones:
        zone = zones[one.zone]
        if isinstance(zone, BoxPxConfig | PolygonPxConfig) and views is not None and zone.view not in views:
            raise ConfigError(
                f"rule {rule.name!r}: zone {one.zone!r} is in view {zone.view!r}, which the model does not see "
                f"({', '.join(views)}); name one of these"
            )
    if rule.draws and rule.seed is None:
        raise ConfigError(f"rule {rule.name!r}: draws at random and has no seed; set seed")
