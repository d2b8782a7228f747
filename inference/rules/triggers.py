"""When a rule has an opportunity: one small state machine per kind of ``on_`` key. Times are exposure times.

Each is asked when the label changes and when its own time has come, and answers whether this is an opportunity. Between
these two it costs nothing.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS, NS_PER_S
from ...sync.errors import ConfigError
from .config import RuleConfig
from .opportunity_config import EnterTrigger, RateTrigger, SequenceTrigger, TimesTrigger, WhileTrigger
from .reasons import Cause

NEVER_NS: Final = int(np.iinfo(np.int64).min)
FAR_NS: Final = int(np.iinfo(np.int64).max)


class Trigger(Protocol):
    """Finds the opportunities of one rule.

    Attributes:
        cause: reason of the decisions that follow from it.
        next_ns: when `due` has to be asked; `FAR_NS`: not by time.
        by_session: ``next_ns`` and what `due` is given count from the session's begin to the decision, and are no
            exposure times.
    """

    cause: Cause
    next_ns: int
    by_session: bool

    def changed(self, before: str, label: str, t_ns: int) -> bool:
        """The label changed, at exposure time ``t_ns``."""
        ...

    def due(self, t_ns: int) -> int | None:
        """``next_ns`` has come: how late the opportunity is, in ns; None: it is none, or not yet."""
        ...

    def reset(self) -> None:
        """What was seen before means nothing any more."""
        ...

    def snapshot(self) -> NDArray[np.int64]:
        """All that it remembers, of a length that the configuration gives."""
        ...

    def restore(self, state: NDArray[np.int64]) -> None:
        """Continue from a snapshot."""
        ...


def make_trigger(rule: RuleConfig) -> Trigger:
    """The trigger of a rule.

    Raises:
        ConfigError: the times of ``on_times`` have not been read yet.
    """
    if rule.entered is not None:
        return EnterOpportunity(rule.entered)
    if rule.on_exit is not None:
        return ExitOpportunity(rule.on_exit)
    if rule.on_while is not None:
        return WhileOpportunity(rule.on_while)
    if rule.on_sequence is not None:
        return SequenceOpportunity(rule.on_sequence)
    if rule.on_rate is not None:
        return RateOpportunity(rule.on_rate)
    assert rule.on_times is not None
    return TimesOpportunity(rule.name, rule.on_times)


class _OneTimer:
    """Remembers nothing but when it is due next."""

    next_ns = FAR_NS

    def reset(self) -> None:
        self.next_ns = FAR_NS

    def snapshot(self) -> NDArray[np.int64]:
        return np.array([self.next_ns], np.int64)

    def restore(self, state: NDArray[np.int64]) -> None:
        self.next_ns = int(state[0])


class EnterOpportunity(_OneTimer):
    """A behaviour begins, or has lasted for a while since."""

    cause: Cause = "onset"
    by_session = False

    def __init__(self, config: EnterTrigger) -> None:
        self._behavior = config.behavior
        self._after_ns = round(config.after_ms * NS_PER_MS)
        self.next_ns = FAR_NS

    def changed(self, before: str, label: str, t_ns: int) -> bool:
        begins = label == self._behavior
        self.next_ns = t_ns + self._after_ns if begins and self._after_ns else FAR_NS
        return begins and not self._after_ns

    def due(self, t_ns: int) -> int | None:
        if t_ns < self.next_ns:
            return None
        self.next_ns = FAR_NS
        return 0


class ExitOpportunity:
    """A behaviour ends because another begins; what a gap cuts off has no end that was seen."""

    cause: Cause = "end"
    by_session = False
    next_ns = FAR_NS

    def __init__(self, behavior: str) -> None:
        self._behavior = behavior

    def changed(self, before: str, label: str, t_ns: int) -> bool:
        return before == self._behavior

    def due(self, t_ns: int) -> int | None:
        return None

    def reset(self) -> None:
        pass

    def snapshot(self) -> NDArray[np.int64]:
        return np.zeros(0, np.int64)

    def restore(self, state: NDArray[np.int64]) -> None:
        pass


class WhileOpportunity(_OneTimer):
    """Every so often while a behaviour lasts. Times that passed between two steps are one opportunity."""

    cause: Cause = "lasting"
    by_session = False

    def __init__(self, config: WhileTrigger) -> None:
        self._behavior = config.behavior
        self._after_ns = round(config.after_ms * NS_PER_MS)
        self._every_ns = max(1, round(config.every_ms * NS_PER_MS))
        self.next_ns = FAR_NS

    def changed(self, before: str, label: str, t_ns: int) -> bool:
        if label != self._behavior:
            self.next_ns = FAR_NS
            return False
        self.next_ns = t_ns + (self._after_ns or self._every_ns)
        return not self._after_ns

    def due(self, t_ns: int) -> int | None:
        if t_ns < self.next_ns:
            return None
        self.next_ns += ((t_ns - self.next_ns) // self._every_ns + 1) * self._every_ns
        return 0


class SequenceOpportunity:
    """Behaviours that begin in order, each soon enough after the one before.

    Of every beginning of the sequence only the latest time at which it was complete is kept: whatever an earlier one
    allows, a later one allows as well. A completed sequence uses up what led to it.
    """

    cause: Cause = "sequence"
    by_session = False
    next_ns = FAR_NS

    def __init__(self, config: SequenceTrigger) -> None:
        self._behaviors = [step.behavior for step in config.steps]
        self._within_ns = [round((step.within_ms or 0.0) * NS_PER_MS) for step in config.steps]
        self._others_between = config.others_between
        self.reset()

    def reset(self) -> None:
        self._done_ns = [NEVER_NS] * len(self._behaviors)

    def changed(self, before: str, label: str, t_ns: int) -> bool:
        done = self._done_ns
        last = len(done) - 1
        for place in range(last, -1, -1):
            earlier_ns = done[place - 1] if place else t_ns
            in_time = earlier_ns != NEVER_NS and (not place or t_ns - earlier_ns <= self._within_ns[place])
            if in_time and self._behaviors[place] == label:
                done[place] = t_ns
            elif not self._others_between:
                done[place] = NEVER_NS
        if done[last] == NEVER_NS:
            return False
        self.reset()
        if self._behaviors[0] == label:
            self._done_ns[0] = t_ns
        return True

    def due(self, t_ns: int) -> int | None:
        return None

    def snapshot(self) -> NDArray[np.int64]:
        return np.array(self._done_ns, np.int64)

    def restore(self, state: NDArray[np.int64]) -> None:
        self._done_ns = [int(value) for value in state]


class RateOpportunity:
    """A behaviour has begun n times within a time; then the count begins anew."""

    cause: Cause = "often"
    by_session = False
    next_ns = FAR_NS

    def __init__(self, config: RateTrigger) -> None:
        self._behavior = config.behavior
        self._n = config.n
        self._within_ns = round(config.within_s * NS_PER_S)
        self.reset()

    def reset(self) -> None:
        self._begun_ns: list[int] = []

    def changed(self, before: str, label: str, t_ns: int) -> bool:
        if label != self._behavior:
            return False
        self._begun_ns = [one for one in self._begun_ns if t_ns - one <= self._within_ns]
        self._begun_ns.append(t_ns)
        if len(self._begun_ns) < self._n:
            return False
        self.reset()
        return True

    def due(self, t_ns: int) -> int | None:
        return None

    def snapshot(self) -> NDArray[np.int64]:
        return padded(self._begun_ns, self._n)

    def restore(self, state: NDArray[np.int64]) -> None:
        self._begun_ns = unpadded(state)


class TimesOpportunity:
    """Set times of the session, each one opportunity, at the first set that is decided then or later."""

    cause: Cause = "time"
    by_session = True

    def __init__(self, rule: str, config: TimesTrigger) -> None:
        if config.session_s is None:
            raise ConfigError(f"rule {rule!r}: the times of on_times have not been read; see `read_times`")
        self._times_ns = sorted(round(one * NS_PER_S) for one in config.session_s)
        self._place = 0
        self.next_ns = self._times_ns[0]

    def changed(self, before: str, label: str, t_ns: int) -> bool:
        return False

    def due(self, t_ns: int) -> int | None:
        if t_ns < self.next_ns:
            return None
        late_ns = t_ns - self.next_ns
        self._advance(self._place + 1)
        return late_ns

    def _advance(self, place: int) -> None:
        self._place = place
        self.next_ns = self._times_ns[place] if place < len(self._times_ns) else FAR_NS

    def reset(self) -> None:
        pass  # a gap in what is seen moves no set time

    def snapshot(self) -> NDArray[np.int64]:
        return np.array([self._place], np.int64)

    def restore(self, state: NDArray[np.int64]) -> None:
        self._advance(int(state[0]))


def padded(values: Sequence[int], n: int) -> NDArray[np.int64]:
    """``values`` as an array of ``n``, with `NEVER_NS` before them."""
    return np.array([NEVER_NS] * (n - len(values)) + list(values), np.int64)


def unpadded(state: NDArray[np.int64]) -> list[int]:
    """The values that `padded` was given."""
    return [int(value) for value in state if value != NEVER_NS]
