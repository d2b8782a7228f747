"""When rules may fire at all, as it stands in the task file under ``arming``."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel


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
