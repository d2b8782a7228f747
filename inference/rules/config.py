"""Rules as they stand in the task file: when one has an opportunity, what must hold, and what limits it."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel

MAX_TIMES: Final = 20_000
"""Times of a yoked rule; they are kept in every recording."""
MAX_PER_MIN: Final = 6_000
TRIGGERS: Final = ("on_enter", "on_exit", "on_while", "on_sequence", "on_rate", "on_times")

Ms = Annotated[float, Field(ge=0.0, le=86_400_000.0)]
PositiveMs = Annotated[float, Field(gt=0.0, le=86_400_000.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Times = Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(min_length=1, max_length=MAX_TIMES)]


class EnterTrigger(StrictModel):
    """A behaviour begins; with ``after_ms``, it has lasted for so long since."""

    behavior: str
    after_ms: Ms = 0.0


class WhileTrigger(StrictModel):
    """A behaviour goes on: once ``after_ms`` after it began, then every ``every_ms`` while it lasts."""

    behavior: str
    every_ms: PositiveMs
    after_ms: Ms = 0.0


class SequenceStep(StrictModel):
    """A behaviour of a sequence, begun at most ``within_ms`` after the one before it began."""

    behavior: str
    within_ms: PositiveMs | None = None


class SequenceTrigger(StrictModel):
    """Behaviours that begin one after the other; each completed sequence is one opportunity.

    Attributes:
        steps: in order; each but the first has a ``within_ms``.
        others_between: other behaviours may begin in between.
    """

    steps: list[SequenceStep] = Field(min_length=2, max_length=16)
    others_between: bool = True

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if self.steps[0].within_ms is not None:
            raise ValueError("steps: the first one has nothing before it; leave out its within_ms")
        if any(step.within_ms is None for step in self.steps[1:]):
            raise ValueError("steps: every one but the first needs a within_ms")
        if not self.others_between:
            for before, after in zip(self.steps, self.steps[1:], strict=False):
                if before.behavior == after.behavior:
                    raise ValueError(
                        f"steps: {after.behavior!r} cannot begin again with nothing in between; name what comes in "
                        "between, or set others_between: true"
                    )
        return self


class RateTrigger(StrictModel):
    """A behaviour begins for the ``n``-th time within ``within_s``; then the count begins anew."""

    behavior: str
    n: int = Field(ge=2, le=1000)
    within_s: float = Field(gt=0.0, le=86_400.0)


class TimesTrigger(StrictModel):
    """Set times of the session, whatever the animal does: the yoked control of another session. One source of three.

    Attributes:
        session_s: the times themselves, seconds since the session began.
        csv: a table with a head; its column ``column`` holds them.
        column: of ``csv``.
        recording: a recording folder; the times at which rule ``rule`` had its actuator act there.
        rule: of ``recording``.
        trials: of ``recording``: ``fired`` ones only, or ``all``, shams included.
    """

    session_s: Times | None = None
    csv: Path | None = None
    column: str = "session_s"
    recording: Path | None = None
    rule: str | None = None
    trials: Literal["fired", "all"] = "fired"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("session_s", "csv", "recording") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"on_times: give one of session_s, csv and recording (given: {', '.join(given) or 'none'})"
            )
        if (self.recording is None) != (self.rule is None):
            raise ValueError("on_times: rule and recording go together: name the rule of the recording to repeat")
        return self


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


class ArmWindow(StrictModel):
    """A stretch of the session in which rules may fire, seconds since it began; ``to_s`` null: to its end."""

    from_s: float = Field(default=0.0, ge=0.0)
    to_s: float | None = Field(default=None, gt=0.0)


class LineLevel(StrictModel):
    """Armed while a board's input line is at a level.

    Attributes:
        line: input line of the trigger board, ``in0``, ``in1``, ...; the rig's ``trigger.inputs`` must hold it.
        armed_when: the level.
        silent_after_s: without any pulse of the board for so long the level is not known, and rules are disarmed.
    """

    kind: Literal["level"] = "level"
    line: str = Field(pattern=r"^in\d+$")
    armed_when: Literal["high", "low"] = "high"
    silent_after_s: float = Field(default=2.0, gt=0.0, le=60.0)


class LineEdge(StrictModel):
    """Armed for a while after each edge of a board's input line.

    Attributes:
        line: as of `LineLevel`.
        edge: which edge.
        for_s: how long each arms.
        silent_after_s: as of `LineLevel`.
    """

    kind: Literal["edge"] = "edge"
    line: str = Field(pattern=r"^in\d+$")
    edge: Literal["rising", "falling"] = "rising"
    for_s: float = Field(gt=0.0, le=86_400.0)
    silent_after_s: float = Field(default=2.0, gt=0.0, le=60.0)


class ArmingConfig(StrictModel):
    """When rules may fire at all: person, schedule and line must all agree.

    Attributes:
        at_start: False: a person has to arm them (``ethostream arm``) before anything fires.
        windows: stretches of the session, in order, not touching; empty: the whole.
        line: an input line of the trigger board; null: none is asked.
    """

    at_start: bool = True
    windows: list[ArmWindow] = Field(default_factory=list[ArmWindow], max_length=1000)
    line: Annotated[LineLevel | LineEdge, Field(discriminator="kind")] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        end: float | None = -1.0
        for one in self.windows:
            if end is None or one.from_s <= end:
                raise ValueError(f"arming.windows: the one from {one.from_s:g} s begins before the one before it ends")
            if one.to_s is not None and one.to_s <= one.from_s:
                raise ValueError(f"arming.windows: from {one.from_s:g} s to {one.to_s:g} s is empty; give a later to_s")
            end = one.to_s
        return self
