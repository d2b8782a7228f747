"""Rules turn the beginning of a behaviour into one decision: fired, or withheld and why. Pure: nothing acts here."""

from typing import Final

import numpy as np
from pydantic import Field

from ..streaming.messages import Behavior, Decision
from ..sync.clock import NS_PER_MS
from ..sync.errors import ConfigError
from ..sync.strict import StrictModel
from .cropper import State

NEVER_NS: Final = np.iinfo(np.int64).min


class RuleConfig(StrictModel):
    """Act when a behaviour begins.

    Attributes:
        name: of the rule, for its decisions.
        on_enter: the behaviour whose onset counts.
        actuator: name of the actuator that fires.
        refractory_ms: least time between two firings, by exposure.
        max_age_ms: an onset that was exposed longer ago than this is stale.
        require_complete: withhold when a view is missing.
    """

    name: str
    on_enter: str
    actuator: str
    refractory_ms: float = Field(default=0.0, ge=0.0)
    max_age_ms: float = Field(default=250.0, gt=0.0)
    require_complete: bool = True


class Rules:
    """All rules of a task over the stream of behaviour; exactly one decision per rule and onset.

    A decision that was withheld is not made up for: the next onset is the next chance. Reasons, the first that holds:
    ``disarmed``; ``gap`` (not warm since a gap reset the model); ``warm-up``; ``partial``; ``stale``; ``refractory``.
    """

    def __init__(self, rules: list[RuleConfig], classes: list[str], armed: bool) -> None:
        """Check the rules against the model.

        Raises:
            ConfigError: a name stands twice, or a behaviour is not a class of the model.
        """
        names = [rule.name for rule in rules]
        if len(set(names)) != len(names):
            raise ConfigError(f"rules: a name stands twice in {names}; every rule needs its own")
        for rule in rules:
            if rule.on_enter not in classes:
                raise ConfigError(
                    f"rule {rule.name!r}: on_enter {rule.on_enter!r} is not among the model's classes "
                    f"({', '.join(classes)})"
                )
        self.armed = armed
        self._rules = list(rules)
        self._classes = list(classes)
        self._fired_ns = {rule.name: NEVER_NS for rule in self._rules}
        self.reset()

    def reset(self) -> None:
        """Forget the last label; when each rule fired last is kept, since a refractory time may be a safety limit."""
        self._label = ""
        self._after_gap = False

    def step(self, behavior: Behavior, was_reset: bool) -> list[Decision]:
        """The decisions for one behaviour message, judged at its ``t_decided_ns``.

        Args:
            behavior: of this step.
            was_reset: a gap has reset the model just before it.
        """
        if was_reset:
            self._label = ""
            self._after_gap = True
        if behavior.warm:
            self._after_gap = False
        begins = behavior.label != self._label
        self._label = behavior.label
        if not begins:
            return []
        return [self._decide(rule, behavior) for rule in self._rules if rule.on_enter == behavior.label]

    def _decide(self, rule: RuleConfig, behavior: Behavior) -> Decision:
        reason = self._reason_against(rule, behavior)
        if not reason:
            self._fired_ns[rule.name] = behavior.t_exposure_ns
        return Decision(
            rule=rule.name,
            set_id=behavior.set_id,
            action="withheld" if reason else "fired",
            reason=reason or "onset",
            behavior=behavior.label,
            p=behavior.p[self._classes.index(behavior.label)],
            actuator=rule.actuator,
            sources=behavior.sources,
            t_exposure_ns=behavior.t_exposure_ns,
            t_received_ns=behavior.t_received_ns,
            t_decided_ns=behavior.t_decided_ns,
            t_fired_ns=0,
            animal=behavior.animal,
        )

    def _reason_against(self, rule: RuleConfig, behavior: Behavior) -> str:
        if not self.armed:
            return "disarmed"
        if not behavior.warm:
            return "gap" if self._after_gap else "warm-up"
        if rule.require_complete and behavior.status != "complete":
            return "partial"
        if behavior.t_decided_ns - behavior.t_exposure_ns > rule.max_age_ms * NS_PER_MS:
            return "stale"
        fired_ns = self._fired_ns[rule.name]
        if fired_ns != NEVER_NS and behavior.t_exposure_ns - fired_ns < rule.refractory_ms * NS_PER_MS:
            return "refractory"
        return ""

    def snapshot(self) -> State:
        label = self._classes.index(self._label) if self._label else -1
        return {
            "state": np.array([label, self._after_gap, self.armed], np.int64),
            "fired_ns": np.array([self._fired_ns[rule.name] for rule in self._rules], np.int64),
        }

    def restore(self, state: State) -> None:
        """Continue from a snapshot, armed as it was; timers of rules that it does not know start anew.

        Only replay restores, and there no actuator is real.
        """
        label = int(state["state"][0])
        self._label = self._classes[label] if label >= 0 else ""
        self._after_gap = bool(state["state"][1])
        self.armed = bool(state["state"][2])
        if len(state["fired_ns"]) == len(self._rules):
            self._fired_ns = {rule.name: int(t) for rule, t in zip(self._rules, state["fired_ns"], strict=True)}
