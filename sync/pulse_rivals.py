"""How far one alignment is ahead of every other that the same data support, those that were not looked for included.

Pure. A train that repeats itself supports shifts by a whole repeat as well as the true one: each is found by laying
the train onto itself.
"""

from collections.abc import Sequence

from .pulse_evidence import Intervals, drop_cost, evidence
from .pulse_line import MIN_PAIRS, Candidate, Floats, Line, Trains
from .pulse_places import shifts

_SUPPORTED_NATS, _SUPPORTED_SHARE = 4.0, 0.25
"""A shift with so much evidence, and such a share of that of the best one, is a rival, however far it is behind."""
_REPEATS = 6


def cost_of_drop(found: Sequence[Candidate]) -> float:
    """Nats that a drop costs: what the candidate with fewest leftovers says; 0 where there is no candidate."""
    if not found:
        return 0.0
    best = max(found, key=lambda one: one.agreement)
    return drop_cost(best.n_events, len(best.frames))


class Balance:
    """Weighs alignments of two trains.

    Args:
        trains: frames and pulses.
        cost: see `cost_of_drop`.
    """

    def __init__(self, trains: Trains, cost: float) -> None:
        self._trains = trains
        self._cost = cost
        self._frame_intervals, self._pulse_intervals = Intervals.of(trains.frame_s), Intervals.of(trains.pulse_s)

    def nats(self, one: Candidate, within: Candidate | None = None) -> float:
        """Evidence of all pairs, or of those whose frames ``within`` covers."""
        frames, pulses = one.frames, one.pulses
        if within is not None:
            covered = (frames >= within.frames[0]) & (frames <= within.frames[-1])
            frames, pulses = frames[covered], pulses[covered]
        return evidence(
            self._trains.frame_s, self._trains.pulse_s, frames, pulses, one.line.rate, self._trains.resolution_s,
            self._cost, self._frame_intervals, self._pulse_intervals,
        )  # fmt: skip

    def least_lead(self, best: Candidate, others: Sequence[Candidate]) -> float:
        """By how much ``best`` is ahead of its closest rival on the frames that the rival covers, nats."""
        enough = max(_SUPPORTED_NATS, _SUPPORTED_SHARE * best.nats)
        rivals = [one for one in others if one.nats >= enough]
        for train_s in (self._trains.pulse_s, self._trains.frame_s):
            for shift in self._repeats(train_s, best.line.sigma_s, enough):
                rivals += [self._trains.under(best.line.shifted(by_s)) for by_s in (-shift, shift)]
        leads = [
            self.nats(best, one) - self.nats(one)
            if len(one.frames) >= MIN_PAIRS
            else 0.0  # it covers nothing that could speak against it
            for one in rivals
        ]
        return min(leads, default=float("inf"))

    def _repeats(self, train_s: Floats, sigma_s: float, enough: float) -> list[float]:
        """Shifts at which a train supports itself."""
        itself = Trains(train_s, train_s, self._trains.resolution_s)
        balance = Balance(itself, self._cost)
        start = float(train_s[0])
        later = [one for one in shifts(itself, Line(start, start, 1.0, sigma_s)) if one > 0.5 * self._trains.period]
        return [
            shift
            for shift in later[:_REPEATS]
            if balance.nats(itself.refit(Line(start, start + shift, 1.0, 1.5 * sigma_s))) >= enough
        ]
