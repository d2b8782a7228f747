"""What goes wrong with a simulated camera: by chance, and by schedule. Configuration only."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..sync.strict import StrictModel

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Burst(StrictModel):
    """Frames from ``instant`` on that are never delivered.

    Attributes:
        instant: number of the first.
        n: how many.
    """

    instant: int = Field(ge=0)
    n: _Count = 1


class _Scheduled(StrictModel):
    """At the first instant that is exposed at ``at_s`` or later, counted from the rig's common start."""

    at_s: float = Field(ge=0.0)


class DropAt(_Scheduled):
    """The next ``n`` frames are never delivered: a jump in ``seq``."""

    fault: Literal["drop"]
    n: _Count = 1


class DuplicateAt(_Scheduled):
    """The next ``n`` frames are delivered twice."""

    fault: Literal["duplicate"]
    n: _Count = 1


class ReorderAt(_Scheduled):
    """The next frame is delivered after the one that follows it; ``n`` > 1: so is every other one of the next 2 n."""

    fault: Literal["reorder"]
    n: _Count = 1


class LateAt(_Scheduled):
    """The next ``n`` frames are delivered ``late_ms`` late; others do not wait for them."""

    fault: Literal["late"]
    late_ms: float = Field(gt=0.0, le=60_000.0)
    n: _Count = 1


class StallAt(_Scheduled):
    """Nothing is delivered for ``for_s``.

    Attributes:
        for_s: how long.
        then: ``jump``: what was exposed meanwhile is gone. ``burst``: what the device's buffer holds of it comes then.
    """

    fault: Literal["stall"]
    for_s: float = Field(gt=0.0, le=3600.0)
    then: Literal["jump", "burst"] = "jump"


class UnplugAt(_Scheduled):
    """The device is gone for ``away_s``; it comes back with frame counter and clock begun anew."""

    fault: Literal["unplug"]
    away_s: float = Field(gt=0.0, le=86_400.0)


class ClockStepAt(_Scheduled):
    """From here on every stamp of the device is off by ``by_us`` more."""

    fault: Literal["clock_step"]
    by_us: float


class CounterResetAt(_Scheduled):
    """The device's frame counter begins again at 0, while it runs on."""

    fault: Literal["counter_reset"]


class ExposureAt(_Scheduled):
    """The exposure is ``exposure_us`` from here on; the picture gets brighter or darker with it."""

    fault: Literal["exposure"]
    exposure_us: int = Field(gt=0)


class LightAt(_Scheduled):
    """Somebody changes the light: the picture is ``gain`` times as bright as at the start, from here on."""

    fault: Literal["light"]
    gain: float = Field(gt=0.0, le=4.0)


ScheduledFault = Annotated[
    DropAt
    | DuplicateAt
    | ReorderAt
    | LateAt
    | StallAt
    | UnplugAt
    | ClockStepAt
    | CounterResetAt
    | ExposureAt
    | LightAt,
    Field(discriminator="fault"),
]
"""One fault at a set time; ``fault`` says which."""


class SimulatedFaults(StrictModel):
    """What goes wrong: drawn anew for every frame, and by schedule.

    Attributes:
        drop_p: the frame is never delivered: a jump in ``seq``.
        drop_instants: these frames are never delivered.
        burst_p: at this frame a burst of drops begins.
        burst_n: frames that such a burst takes.
        bursts: further bursts of drops, at set instants.
        duplicate_p: the frame is delivered a second time, a quarter of a period later.
        reorder_p: the frame is delivered after the one that follows it.
        late_p: the frame is delivered ``late_ms`` late; others do not wait for it.
        late_ms: how late.
        jitter_us: the stamped exposure time is off by a uniform error of at most this.
        offset_us: constant error of the stamped exposure time.
        drift_ppm: the device's clock runs fast by this, from the start on.
        schedule: faults at set times since the rig's common start.
    """

    drop_p: Probability = 0.0
    drop_instants: tuple[Annotated[int, Field(ge=0)], ...] = ()
    burst_p: Probability = 0.0
    burst_n: int = Field(default=5, ge=1, le=64)
    bursts: list[Burst] = Field(default_factory=list[Burst])
    duplicate_p: Probability = 0.0
    reorder_p: Probability = 0.0
    late_p: Probability = 0.0
    late_ms: float = Field(default=50.0, ge=0.0)
    jitter_us: float = Field(default=0.0, ge=0.0)
    offset_us: float = 0.0
    drift_ppm: float = 0.0
    schedule: list[ScheduledFault] = Field(default_factory=list[ScheduledFault])

    @model_validator(mode="after")
    def _one_unplug_at_a_time(self) -> "SimulatedFaults":
        away = sorted((one.at_s, one.at_s + one.away_s) for one in self.schedule if isinstance(one, UnplugAt))
        for (_, back_s), (at_s, _) in pairwise(away):
            if at_s < back_s:
                raise ValueError(f"schedule: unplugged at {at_s:g} s, while it is away until {back_s:g} s")
        return self
