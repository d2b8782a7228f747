"""The ``on_`` keys of a rule: what makes an opportunity."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel

MAX_TIMES: Final = 20_000
"""Times of a yoked rule; they are kept in every recording."""

Ms = Annotated[float, Field(ge=0.0, le=86_400_000.0)]
PositiveMs = Annotated[float, Field(gt=0.0, le=86_400_000.0)]
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
