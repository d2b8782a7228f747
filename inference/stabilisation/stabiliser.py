"""The whole way from probabilities to a label that holds. The same object runs live, in replay and offline."""

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS
from ..cropper import State
from .config import (
    CusumConfig,
    HiddenMarkovConfig,
    MajorityConfig,
    SequentialConfig,
    StabiliserConfig,
    ThresholdsConfig,
)
from .cumulative_sums import CumulativeSums
from .decider import NONE, AddedDelay, Decider
from .gap_closing import GapClosing
from .hidden_markov import HiddenMarkovFilter
from .majority import Majority
from .sequential import SequentialTests
from .smoothing import ExponentialSmoothing
from .thresholds import Thresholds


class Stabiliser:
    """Smoothing where the options ask for it, the decider of their kind, closing of gaps where they ask for it.

    Args:
        classes: of the model.
        config: options.
        step_ns: time from one model step to the next, to know where some are missing; 0: none are.
        look_ahead_ms: by how much the probabilities themselves are late, since the model waits for the future: it is
            part of every delay that is stated, and changes nothing else.
    """

    def __init__(
        self, classes: list[str], config: StabiliserConfig, step_ns: int = 0, look_ahead_ms: float = 0.0
    ) -> None:
        self.classes = list(classes)
        self._look_ahead_ms = look_ahead_ms
        self._names = [*classes, ""]  # so that the index of no label names ""
        time_constants_ms = [config.smoothing_of(name) for name in classes]
        gaps_ns = [round(config.gap_of(name) * NS_PER_MS) for name in classes]
        self._smoothing = ExponentialSmoothing(time_constants_ms) if any(time_constants_ms) else None
        self._decider = make_decider(self.classes, config, step_ns)
        self._closing = GapClosing(gaps_ns) if any(gaps_ns) else None
        self.label_index = NONE
        self.label_since_ns = 0

    @property
    def delays(self) -> dict[str, AddedDelay]:
        """By how much each class comes later than the frames that call for it: typically and at worst."""
        parts = [part for part in (self._smoothing, self._decider, self._closing) if part is not None]
        stated = [part.delays() for part in parts]
        return {
            name: sum((one[place] for one in stated), AddedDelay(self._look_ahead_ms, self._look_ahead_ms))
            for place, name in enumerate(self.classes)
        }

    @property
    def added_delay_ms(self) -> dict[str, float]:
        """By how much each class typically comes later than the frames that call for it, milliseconds."""
        return {name: delay.typical_ms for name, delay in self.delays.items()}

    def delays_in_words(self) -> str:
        """What is said of its delays at the start of a run, and of a bundle."""
        each = ", ".join(f"{name} {delay.in_words()}" for name, delay in self.delays.items())
        if not self._look_ahead_ms:
            return f"labels come later than probabilities by {each}"
        return f"labels come later than what they are of by {each}; {self._look_ahead_ms:.4g} ms of it is look-ahead"

    @property
    def label(self) -> str:
        """The behaviour that holds; "" before the first one."""
        return self._names[self.label_index]

    def step(self, p: NDArray[np.floating], t_ns: int) -> str:
        """Take the probabilities of one exposure time and return the label.

        Args:
            p: (n_classes,) probabilities.
            t_ns: exposure time; never before the last one.
        """
        if self._smoothing is not None:
            p = self._smoothing.step(p, t_ns)
        index = self._decider.step(p, t_ns)
        if self._closing is not None:
            index = self._closing.step(index, t_ns)
        if index != self.label_index:
            self.label_index, self.label_since_ns = index, t_ns
        return self._names[index]

    def run(self, p: NDArray[np.floating], times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take the probabilities of many steps, one after the other; the labels by number, -1 for none.

        Args:
            p: (n, n_classes) probabilities.
            times_ns: (n,) exposure times; never before the last one.
        """
        labels = np.empty(len(p), np.int64)
        for place, (row, t_ns) in enumerate(zip(p, times_ns.tolist(), strict=True)):
            self.step(row, t_ns)
            labels[place] = self.label_index
        return labels

    def reset(self) -> None:
        """Forget everything."""
        self.label_index = NONE
        self.label_since_ns = 0
        self._decider.reset()
        if self._smoothing is not None:
            self._smoothing.reset()
        if self._closing is not None:
            self._closing.reset()

    def snapshot(self) -> State:
        """Everything that it remembers; shapes depend on classes and options alone."""
        state: State = {"stabiliser": np.array([self.label_index, self.label_since_ns], np.int64)}
        state |= self._decider.snapshot()
        if self._smoothing is not None:
            state |= self._smoothing.snapshot()
        if self._closing is not None:
            state |= self._closing.snapshot()
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of the same classes and options, bit for bit."""
        self.label_index, self.label_since_ns = (int(value) for value in state["stabiliser"])
        self._decider.restore(state)
        if self._smoothing is not None:
            self._smoothing.restore(state)
        if self._closing is not None:
            self._closing.restore(state)


def make_decider(classes: list[str], config: StabiliserConfig, step_ns: int = 0) -> Decider:
    """The decider of a kind."""
    match config:
        case ThresholdsConfig():
            return Thresholds(classes, config)
        case SequentialConfig():
            return SequentialTests(classes, config)
        case MajorityConfig():
            return Majority(classes, config, step_ns)
        case HiddenMarkovConfig():
            return HiddenMarkovFilter(classes, config)
        case CusumConfig():
            return CumulativeSums(classes, config, step_ns)
