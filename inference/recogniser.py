"""From the input of the head to a label that holds: what models on video and on pose have in common, with its state.

Time in whole steps, the gap rule, the head, fusion, warm-up and the stabiliser. What the head is fed, and what it is
fed for steps that are missing, is the business of the model around it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sync.clock import Clock
from ..sync.errors import ConfigError
from .backend import Graph
from .cropper import State
from .fusion import Fusion, fuse
from .gap import NEVER, GapPlan, StepGrid, plan_gap
from .head import Head
from .look_ahead import AnswerTimes
from .manifest import Manifest
from .set_cropper import under
from .stabilisation.config import StabiliserConfig
from .stabilisation.stabiliser import Stabiliser

MissedInput = Callable[[int, NDArray[np.intp]], NDArray[np.float32]]
"""The head's input for one missed step: its number, counted from the first missed one, and the slots that step."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was recognised in one step.

    Attributes:
        p_slots: (b, n_classes) float32, the output of the head.
        p: (n_classes,) float32, fused.
        raw: class with the largest fused probability.
        label: stabilised behaviour, "" before the first one.
        label_since_ns: exposure time of the step that set it.
        behind_ns: how long before this step the frame was exposed that all this is of; 0 where nothing is looked ahead.
        reset: the gap was so long that the state was forgotten.
        warm: enough steps since the last reset.
        t_head_ns: when the head had answered.
    """

    p_slots: NDArray[np.float32]
    p: NDArray[np.float32]
    raw: str
    label: str
    label_since_ns: int
    behind_ns: int
    reset: bool
    warm: bool
    t_head_ns: int


class Recogniser:
    """Head and stabiliser on the grid of the model's steps. One thread steps it.

    Args:
        manifest: of the bundle.
        head_step: opened ``head_step.onnx``.
        n_slots: streams that the head runs side by side: views, or 1.
        fusion: of their probabilities.
        rate_hz: at which input comes.
        clock: for the stage time only.
        stabiliser: instead of the bundle's defaults.

    Raises:
        ConfigError: the rate does not suit the model, or the stabiliser names classes that it has not.
        BundleError: the graph lacks an input.
    """

    def __init__(
        self,
        manifest: Manifest,
        head_step: Graph,
        n_slots: int,
        fusion: Fusion,
        rate_hz: float,
        clock: Clock,
        stabiliser: StabiliserConfig | None = None,
    ) -> None:
        unknown = (manifest.stabiliser if stabiliser is None else stabiliser).unknown(manifest.classes)
        if unknown:
            raise ConfigError(f"stabiliser: {unknown} are not classes of the bundle ({', '.join(manifest.classes)})")
        self._manifest = manifest
        self._n_slots = n_slots
        self._fusion: Fusion = fusion
        self._clock = clock
        what = "poses" if manifest.takes_pose else "frame sets"
        self.grid = StepGrid(manifest.rate_hz, rate_hz, manifest.other_rates, what)
        self._head = Head(head_step, manifest.head, n_slots)
        self.stabiliser = Stabiliser(
            manifest.classes,
            stabiliser or manifest.stabiliser,
            self.grid.step_ns,
            look_ahead_ms=manifest.look_ahead_ms,
        )
        self._answer_times = AnswerTimes(manifest.look_ahead_frames or 0, self.grid.step_ns)
        self.reset()

    def reset(self) -> None:
        """Forget everything: head, label and time."""
        self._answer_times.reset()
        self._head.reset()
        self.stabiliser.reset()
        self.grid.reset()
        self._slot_step = np.full(self._n_slots, NEVER, np.int64)
        self._n_warm = np.zeros(self._n_slots, np.int64)

    def plan_gaps(self, slots: NDArray[np.intp], index: int) -> dict[int, GapPlan]:
        """What the gap rule asks of each slot that has stepped before, ahead of step ``index``."""
        return {
            int(slot): plan_gap(int(index - self._slot_step[slot] - 1), self._manifest.gap, self.grid.step_ns)
            for slot in slots
            if self._slot_step[slot] != NEVER
        }

    def step(
        self,
        x: NDArray[np.float32],
        slots: NDArray[np.intp],
        index: int,
        t_ns: int,
        plans: dict[int, GapPlan],
        missed: MissedInput,
    ) -> Answer:
        """One step.

        Args:
            x: (b, dims) float32, one row for each of ``slots``.
            slots: (b,) ascending.
            index: number of the step, from ``grid``.
            t_ns: its exposure time.
            plans: of `plan_gaps`, for these slots and this step.
            missed: what the head gets for steps that are missing.
        """
        reset = self._bridge_gaps(slots, plans, missed)
        p_slots = self._head.step(x, slots)
        self._slot_step[slots] = index
        self._n_warm[slots] += 1
        warm = self._n_warm[slots] >= self._manifest.warm_up_frames
        trusted = p_slots[warm] if warm.any() else p_slots
        p = fuse(trusted, self._fusion, self._manifest.head.output)
        t_head_ns = self._clock.now_ns()
        if reset:
            self.stabiliser.reset()
        label = self.stabiliser.step(p, t_ns)
        return Answer(
            p_slots=p_slots,
            p=p,
            raw=self._manifest.classes[int(np.argmax(p))],
            label=label,
            label_since_ns=self.stabiliser.label_since_ns,
            behind_ns=t_ns - self._answer_times.step(index, t_ns),
            reset=reset,
            warm=bool(warm.any()),
            t_head_ns=t_head_ns,
        )

    def _bridge_gaps(self, slots: NDArray[np.intp], plans: dict[int, GapPlan], missed: MissedInput) -> bool:
        """Apply the gap rule to each slot that steps now. True: every one of them was reset by a gap."""
        gone = np.array([slot for slot, plan in plans.items() if plan.reset], np.intp)
        if gone.size:
            self._head.reset(gone)
            self._n_warm[gone] = 0
        for round_ in range(max((plan.n_repeat for plan in plans.values()), default=0)):
            again = np.array([slot for slot, plan in plans.items() if plan.n_repeat > round_], np.intp)
            self._head.step(missed(round_, again), again)
            self._n_warm[again] += 1
        return gone.size == len(slots)

    def snapshot(self) -> State:
        """Everything that it remembers, as flat arrays."""
        state: dict[str, NDArray[Any]] = {
            "slot_step": self._slot_step.copy(),
            "n_warm": self._n_warm.copy(),
            **self.grid.snapshot(),
            **self.stabiliser.snapshot(),
            **self._answer_times.snapshot(),
        }
        state.update({f"head.{key}": value for key, value in self._head.snapshot().items()})
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of the same manifest and number of slots, bit for bit; other keys are let be."""
        self._slot_step = state["slot_step"].copy()
        self._n_warm = state["n_warm"].copy()
        self.grid.restore(state)
        self.stabiliser.restore(state)
        self._answer_times.restore(state)
        self._head.restore(under(state, "head."))
