"""A schedule of faults, worked out for one rate: which instants it touches, and what the device then says. Pure."""

from bisect import bisect_right
from dataclasses import dataclass

from ..sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from .simulated_clock import InstantClock
from .simulated_faults import (
    ClockStepAt,
    CounterResetAt,
    DropAt,
    DuplicateAt,
    ExposureAt,
    LateAt,
    LightAt,
    ReorderAt,
    SimulatedFaults,
    StallAt,
    UnplugAt,
)


@dataclass(frozen=True, slots=True)
class Absence:
    """Away from ``from_ns`` to ``until_ns`` after the start: instants from ``first`` to before ``end`` are missing."""

    from_ns: int
    until_ns: int
    first: int
    end: int


class FaultSchedule:
    """Every question about it is a function of the instant alone, so that a camera begun anew gets the same answers.

    Args:
        faults: with its schedule and bursts.
        rate_hz: of the rig.
        exposure_us: before any change of it.
    """

    def __init__(self, faults: SimulatedFaults, rate_hz: float, exposure_us: int = 0) -> None:
        self._instants = InstantClock(0, rate_hz)
        self._dropped = [range(one.instant, one.instant + one.n) for one in faults.bursts]
        self._duplicated: set[int] = set()
        self._reordered: set[int] = set()
        self._late_ns: dict[int, int] = {}
        self._held: list[tuple[range, int]] = []
        self._steps: list[tuple[int, int]] = []
        self._resets: list[int] = [0]
        self._exposures: list[tuple[int, int]] = [(0, exposure_us)]
        self._lights: list[tuple[int, float]] = [(0, 1.0)]
        self.absences: list[Absence] = []
        for one in sorted(faults.schedule, key=lambda fault: fault.at_s):
            k = self._instant(one.at_s)
            match one:
                case DropAt():
                    self._dropped.append(range(k, k + one.n))
                case DuplicateAt():
                    self._duplicated.update(range(k, k + one.n))
                case ReorderAt():
                    self._reordered.update(range(k, k + 2 * one.n, 2))
                case LateAt():
                    for late in range(k, k + one.n):
                        self._late_ns[late] = self._late_ns.get(late, 0) + round(one.late_ms * NS_PER_MS)
                case StallAt():
                    end = self._instant(one.at_s + one.for_s)
                    if one.then == "jump":
                        self._dropped.append(range(k, end))
                    else:
                        self._held.append((range(k, end), round((one.at_s + one.for_s) * NS_PER_S)))
                case UnplugAt():
                    from_ns, until_ns = round(one.at_s * NS_PER_S), round((one.at_s + one.away_s) * NS_PER_S)
                    end = self._instants.first_instant_at(until_ns)
                    self.absences.append(Absence(from_ns, until_ns, k, end))
                    self._resets.append(end)
                case ClockStepAt():
                    self._steps.append((k, round(one.by_us * NS_PER_US)))
                case CounterResetAt():
                    self._resets.append(k)
                case ExposureAt():
                    self._exposures.append((k, one.exposure_us))
                case LightAt():
                    self._lights.append((k, one.gain))
        self._resets.sort()

    def _instant(self, at_s: float) -> int:
        return self._instants.first_instant_at(round(at_s * NS_PER_S))

    @property
    def longest_exposure_us(self) -> int:
        return max(exposure_us for _, exposure_us in self._exposures)

    def dropped(self, instant: int) -> bool:
        """Never delivered: dropped, in a silence, or while the device is away."""
        return any(instant in one for one in self._dropped) or any(
            one.first <= instant < one.end for one in self.absences
        )

    def duplicated(self, instant: int) -> bool:
        return instant in self._duplicated

    def reordered(self, instant: int) -> bool:
        return instant in self._reordered

    def late_ns(self, instant: int) -> int:
        return self._late_ns.get(instant, 0)

    def held_until_ns(self, instant: int) -> int:
        """Not delivered before this time after the start; 0: not held."""
        return max((until_ns for held, until_ns in self._held if instant in held), default=0)

    def seq(self, instant: int) -> int:
        """The device's frame counter: instants since it last began."""
        return instant - self._resets[bisect_right(self._resets, instant) - 1]

    def exposure_us(self, instant: int) -> int:
        """Length of the exposure of this instant."""
        return next(us for k, us in reversed(self._exposures) if k <= instant)

    def brightness(self, instant: int) -> float:
        """Of the picture, relative to the start: of the light and of the exposure."""
        light = next(gain for k, gain in reversed(self._lights) if k <= instant)
        first_us = self._exposures[0][1]
        return light if first_us == 0 else light * (self.exposure_us(instant) / first_us)

    def stamp_error_ns(self, instant: int) -> int:
        """Sum of the clock's steps since it began."""
        began = max((one.end for one in self.absences if one.end <= instant), default=0)
        return sum(by_ns for k, by_ns in self._steps if began <= k <= instant)

    def clock_began_ns(self, instant: int) -> int | None:
        """When the device's clock began anew, after the start; None: not since the start."""
        return max((one.until_ns for one in self.absences if one.end <= instant), default=None)

    def absence_at(self, elapsed_ns: int) -> Absence | None:
        """The absence that lasts at this time after the start."""
        return next((one for one in self.absences if one.from_ns <= elapsed_ns < one.until_ns), None)

    def next_absence(self, elapsed_ns: int) -> Absence | None:
        """The first absence that begins at this time or later."""
        return min((one for one in self.absences if one.from_ns >= elapsed_ns), key=lambda a: a.from_ns, default=None)
