"""What every kind of stabiliser is: something that turns the probabilities of a step into the index of a class."""

from dataclasses import dataclass
from math import isinf
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS
from ..cropper import State

NONE: Final = -1
"""Index of no class: the label before the first one."""

CLEAR_P: Final = 0.9
"""Delays are stated for a class whose probability jumps from near 0 to this at its onset."""

MAX_STEPS_PER_S: Final = 1000
"""What is remembered over a window is bounded by this rate of steps."""

MISSING_STEPS: Final = 1.5
"""So many steps after the one before it, steps are missing between the two: those of `gap.StepGrid`, rounded."""


@dataclass(frozen=True, slots=True)
class AddedDelay:
    """By how much a label comes later than the probability of its class rises, milliseconds; beyond it up to one step.

    Attributes:
        typical_ms: where the probability jumps from near 0 to `CLEAR_P`; infinite where that is not enough.
        worst_ms: where the class stays the most probable one and its conditions hold; None: without a bound.
    """

    typical_ms: float
    worst_ms: float | None

    def __add__(self, other: "AddedDelay") -> "AddedDelay":
        if self.worst_ms is None or other.worst_ms is None:
            return AddedDelay(self.typical_ms + other.typical_ms, None)
        return AddedDelay(self.typical_ms + other.typical_ms, self.worst_ms + other.worst_ms)

    def in_words(self) -> str:
        """As it is printed."""
        if isinf(self.typical_ms):
            return f"(not at a probability of {CLEAR_P:g})"
        if self.worst_ms == self.typical_ms:
            return f"{self.typical_ms:.4g} ms"
        worst = "without a bound" if self.worst_ms is None else f"{self.worst_ms:.4g} ms"
        return f"{self.typical_ms:.4g} ms (at worst {worst})"


class Decider(Protocol):
    """One kind of stabiliser, with its state. One thread steps it."""

    def delays(self) -> list[AddedDelay]:
        """The delay that it adds, by class."""
        ...

    def step(self, p: NDArray[np.floating], t_ns: int) -> int:
        """Take the probabilities (n_classes,) of one exposure time, never before the last; the index of the label."""
        ...

    def reset(self) -> None:
        """Forget everything."""
        ...

    def snapshot(self) -> State:
        """Everything that it remembers, as arrays whose shapes depend on the options alone."""
        ...

    def restore(self, state: State) -> None:
        """Continue from a snapshot of the same options, bit for bit."""
        ...


class StepTime:
    """How long ago the last step was. A step speaks for the time since the one before it; the first for none."""

    __slots__ = ("_last_ns",)

    def __init__(self) -> None:
        self._last_ns = NONE

    def since_last_ms(self, t_ns: int) -> float:
        """Milliseconds since the last call; 0 for the first."""
        last_ns, self._last_ns = self._last_ns, t_ns
        return 0.0 if last_ns == NONE else (t_ns - last_ns) / NS_PER_MS

    def reset(self) -> None:
        self._last_ns = NONE

    @property
    def last_ns(self) -> int:
        """Time of the last step, `NONE` before the first."""
        return self._last_ns

    @last_ns.setter
    def last_ns(self, t_ns: int) -> None:
        self._last_ns = t_ns
