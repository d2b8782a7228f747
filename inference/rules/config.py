"""Rules as they stand in the task file: when one has an opportunity, what must hold, and what limits it."""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel
from .opportunity_config import (
    EnterTrigger,
    Ms,
    PositiveMs,
    RateTrigger,
    SequenceTrigger,
    TimesTrigger,
    WhileTrigger,
)

MAX_PER_MIN: Final = 6_000
TRIGGERS: Final = ("on_enter", "on_exit", "on_while", "on_sequence", "on_rate", "on_times")

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class ProbabilityCondition(StrictModel):
    """The probability of ``behavior`` (null: the rule's own) lies between ``min`` and ``max``."""

    behavior: str | None = None
    min: Probability = 0.0
    max: Probability = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"probability: min {self.min:g} is above max {self.max:g}; nothing could fulfil it")
        return self


class DwellCondition(StrictModel):
    """The behaviour of the moment (with ``on_exit`` the one that ended) has lasted for this long."""

    min_ms: Ms = 0.0
    max_ms: PositiveMs | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_ms is not None and self.min_ms > self.max_ms:
            raise ValueError(f"dwell: min_ms {self.min_ms:g} is above max_ms {self.max_ms:g}; nothing could fulfil it")
        return self


class ZoneCondition(StrictModel):
    """The animal is in a zone, or is not.

    Attributes:
        zone: its name among the task's ``zones``.
        inside: False: it must be outside.
        animal: number of the animal in the tracks; of zones in millimetres.
        max_age_ms: a position that is older than this when the frames were exposed is not known; likewise.
    """

    zone: str
    inside: bool = True
    animal: int = Field(default=0, ge=0)
    max_age_ms: PositiveMs = 100.0


class SessionCondition(StrictModel):
    """A window of the session, seconds since it began; ``to_s`` null: to its end."""

    from_s: float = Field(default=0.0, ge=0.0)
    to_s: float | None = Field(default=None, gt=0.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.to_s is not None and self.from_s >= self.to_s:
            raise ValueError(f"session: from_s {self.from_s:g} to to_s {self.to_s:g} is empty; give a later to_s")
        return self


class OtherRuleCondition(StrictModel):
    """Another rule had a trial (fired or sham) within the last so many ms of exposure time, or had none."""

    rule: str
    within_ms: PositiveMs | None = None
    not_within_ms: PositiveMs | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.within_ms is None) == (self.not_within_ms is None):
            raise ValueError(f"rules: of rule {self.rule!r} give either within_ms or not_within_ms")
        return self


class WhenConfig(StrictModel):
    """What must hold at an opportunity, all of it; judged on the frames that made it."""

    probability: ProbabilityCondition | None = None
    dwell: DwellCondition | None = None
    label: list[str] | None = Field(default=None, min_length=1)
    zones: list[ZoneCondition] = Field(default_factory=list[ZoneCondition])
    session: SessionCondition | None = None
    rules: list[OtherRuleCondition] = Field(default_factory=list[OtherRuleCondition])


class DutyLimit(StrictModel):
    """The actuator is on for at most a share of any stretch of time.

    Attributes:
        share: of the time.
        over_s: length of the stretch.
        pulse_ms: how long the actuator is asked to be on at each firing, the whole train.
    """

    share: float = Field(gt=0.0, le=1.0)
    over_s: float = Field(gt=0.0, le=86_400.0)
    pulse_ms: PositiveMs

    @model_validator(mode="after")
    def _one_fits(self) -> Self:
        if self.n_pulses < 1:
            raise ValueError(
                f"max_duty: a pulse of {self.pulse_ms:g} ms is more than {self.share:g} of {self.over_s:g} s, so it "
                "would never fire; raise share or over_s"
            )
        if self.n_pulses > MAX_PER_MIN:
            raise ValueError(f"max_duty: allows {self.n_pulses} pulses in {self.over_s:g} s; shorten over_s")
        return self

    @property
    def n_pulses(self) -> int:
        """Whole pulses that fit into the share."""
        return int(self.share * self.over_s * 1000.0 / self.pulse_ms + 1e-9)


class ShamConfig(StrictModel):
    """Trials at which nothing acts, drawn by the rule's seed.

    Attributes:
        fraction: of the trials.
        block: null: each trial is drawn by itself. A number: of every so many trials exactly the fraction is sham.
    """

    fraction: Probability
    block: int | None = Field(default=None, ge=2, le=1000)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.block is not None and abs(self.fraction * self.block - round(self.fraction * self.block)) > 1e-9:
            raise ValueError(
                f"sham: {self.fraction:g} of {self.block} trials is no whole number; choose a block of which it is"
            )
        return self


class RuleConfig(StrictModel):
    """When to act, on what conditions, how often, and with which control trials. Exactly one ``on_`` key.

    Attributes:
        name: of the rule, for its decisions.
        actuator: name of the actuator that fires.
        on_enter: a behaviour begins; a name, or with ``after_ms`` when it has lasted for so long.
        on_exit: a behaviour ends.
        on_while: a behaviour goes on.
        on_sequence: behaviours begin one after the other.
        on_rate: a behaviour begins so often within a time.
        on_times: set times of the session.
        when: what must hold besides.
        max_age_ms: frames that were exposed longer ago than this, when it is decided, are stale.
        require_complete: withhold when a view is missing.
        max_gap_frames: withhold when more model steps than this had no input just before; null: as the bundle's gap
            rule says, which makes the model begin anew after longer gaps.
        refractory_ms: least time between two trials, by exposure and by when the actuator acts.
        max_count: most trials of a session.
        max_per_min: most trials in any 60 seconds.
        max_duty: share of the time for which the actuator may be on.
        delay_ms: from the decision to the act.
        jitter_ms: up to this much more, uniform.
        sham: trials without an act.
        seed: of jitter and sham; null: drawn when a run starts, and kept in its recording.
    """

    name: str = Field(min_length=1, max_length=64)
    actuator: str
    on_enter: str | EnterTrigger | None = None
    on_exit: str | None = None
    on_while: WhileTrigger | None = None
    on_sequence: SequenceTrigger | None = None
    on_rate: RateTrigger | None = None
    on_times: TimesTrigger | None = None
    when: WhenConfig = WhenConfig()
    max_age_ms: float = Field(default=250.0, gt=0.0)
    require_complete: bool = True
    max_gap_frames: int | None = Field(default=None, ge=0)
    refractory_ms: Ms = 0.0
    max_count: int | None = Field(default=None, ge=1)
    max_per_min: int | None = Field(default=None, ge=1, le=MAX_PER_MIN)
    max_duty: DutyLimit | None = None
    delay_ms: Ms = 0.0
    jitter_ms: Ms = 0.0
    sham: ShamConfig | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in TRIGGERS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"rule {self.name!r}: give exactly one of {', '.join(TRIGGERS)} (given: {', '.join(given) or 'none'})"
            )
        dwell = self.when.dwell
        if dwell is not None and given[0] in ("on_enter", "on_sequence", "on_rate"):
            lasted = self.entered.after_ms if self.entered is not None else 0.0
            if dwell.min_ms > lasted:
                raise ValueError(
                    f"rule {self.name!r}: when.dwell.min_ms {dwell.min_ms:g}: at {given[0]} the behaviour has lasted "
                    f"{lasted:g} ms; use on_enter: {{behavior: ..., after_ms: {dwell.min_ms:g}}}"
                )
        if self.on_times is not None and self.when.probability is not None and self.when.probability.behavior is None:
            raise ValueError(f"rule {self.name!r}: on_times has no behaviour of its own; set when.probability.behavior")
        if any(other.rule == self.name for other in self.when.rules):
            raise ValueError(f"rule {self.name!r}: when.rules names the rule itself; refractory_ms says that")
        return self

    @property
    def entered(self) -> EnterTrigger | None:
        """``on_enter`` in its long form."""
        return EnterTrigger(behavior=self.on_enter) if isinstance(self.on_enter, str) else self.on_enter

    @property
    def draws(self) -> bool:
        """Whether it needs a seed."""
        return self.jitter_ms > 0.0 or self.sham is not None

    @property
    def behaviors(self) -> dict[str, str]:
        """Every behaviour that it names, by the key that does."""
        named: dict[str, str | None] = {
            "on_enter": self.entered.behavior if self.entered is not None else None,
            "on_exit": self.on_exit,
            "on_while": self.on_while.behavior if self.on_while is not None else None,
            "on_rate": self.on_rate.behavior if self.on_rate is not None else None,
            "when.probability": self.when.probability.behavior if self.when.probability is not None else None,
        }
        if self.on_sequence is not None:
            named |= {f"on_sequence.steps[{i}]": step.behavior for i, step in enumerate(self.on_sequence.steps)}
        named |= {f"when.label[{i}]": label for i, label in enumerate(self.when.label or ())}
        return {key: behavior for key, behavior in named.items() if behavior is not None}
