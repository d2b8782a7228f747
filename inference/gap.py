"""Time in whole model steps, from exposure stamps: which sets are steps, and what a gap between two steps means.

Nothing here is told how many sets were lost or skipped: the stamps say it, so that a run after a gap equals a run that
was told of the gap.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ..sync.clock import NS_PER_MS, NS_PER_S
from ..sync.errors import ConfigError
from .cropper import State
from .manifest import GapRule

RATE_TOLERANCE: Final = 0.02
"""Relative difference up to which two rates count as equal: cameras at 29.97 Hz run a model of 30 Hz."""

NEVER: Final = -1

Input = Literal["frame sets", "poses"]
_CURES: Final[dict[Input, str]] = {
    "frame sets": "set the cameras to {rate:g} Hz",
    "poses": "give the rate of the video that was tracked (pose.NAME.rate_hz, or --fps), or track one of {rate:g} Hz",
}
"""What brings input to the rate of a model."""


@dataclass(frozen=True, slots=True)
class GapPlan:
    """What to do before a step: forget the state, or repeat the last input ``n_repeat`` times."""

    reset: bool
    n_repeat: int


def plan_gap(n_missed: int, rule: GapRule, step_ns: int) -> GapPlan:
    """The gap rule: up to ``max_repeat_ms`` of missing steps repeat the last input, more reset the state."""
    if n_missed * step_ns > rule.max_repeat_ms * NS_PER_MS:
        return GapPlan(reset=True, n_repeat=0)
    return GapPlan(reset=False, n_repeat=n_missed)


class StepGrid:
    """Numbers the model's steps by exposure time, and leaves out sets where the rig is faster than the model.

    Times are rounded to whole set periods from one set to the next, so that neither jitter nor a small error of the
    nominal rate adds up over a long session.
    """

    def __init__(
        self,
        model_rate_hz: float,
        set_rate_hz: float,
        other_rates: Literal["refuse", "subsample"],
        what: Input = "frame sets",
    ) -> None:
        """Compare the rates; ``what`` comes at ``set_rate_hz``.

        Raises:
            ConfigError: the rates differ and the rule refuses, or one is no whole multiple of the other.
        """
        self.every = max(1, round(set_rate_hz / model_rate_hz))
        cure = _CURES[what].format(rate=model_rate_hz)
        if other_rates == "refuse" and self.every != 1:
            raise ConfigError(
                f"{what} come at {set_rate_hz:g} Hz, the model was trained at {model_rate_hz:g} Hz and refuses other "
                f"rates; {cure}, or use a bundle with other_rates 'subsample'"
            )
        if abs(set_rate_hz / (self.every * model_rate_hz) - 1.0) > RATE_TOLERANCE:
            raise ConfigError(
                f"{what} come at {set_rate_hz:g} Hz, which is no whole multiple of the model's {model_rate_hz:g} Hz; "
                f"{cure}"
            )
        self._set_ns = round(NS_PER_S / set_rate_hz)
        self.step_ns = self._set_ns * self.every
        self.reset()

    def reset(self) -> None:
        self._last_ns = NEVER
        self._since_used = 0
        self.index = NEVER

    def step(self, t_ns: int) -> int | None:
        """Number of the step that a set of exposure time ``t_ns`` is; None: left out.

        A set that is not newer than the last one is left out as well. Where the set that was due is missing, the next
        one takes its place.
        """
        if self._last_ns == NEVER:
            self._last_ns, self.index = t_ns, 0
            return self.index
        elapsed_ns = t_ns - self._last_ns
        if elapsed_ns <= 0:
            return None
        self._last_ns = t_ns
        self._since_used += max(1, (elapsed_ns + self._set_ns // 2) // self._set_ns)
        if self._since_used < self.every:
            return None
        self.index += self._since_used // self.every
        self._since_used = 0
        return self.index

    def snapshot(self) -> State:
        return {"grid": np.array([self._last_ns, self._since_used, self.index], np.int64)}

    def restore(self, state: State) -> None:
        self._last_ns, self._since_used, self.index = (int(value) for value in state["grid"])
