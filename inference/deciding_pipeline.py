"""What every pipeline does with an answer of its model: a message in the chain of sets, decisions, and a memory.

`BehaviorPipeline` steps on frame sets and `PosePipeline` on poses; from the answer on they are the same.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..streaming.messages import Behavior, Box, Decision, SourceFrame
from ..sync.clock import Clock
from .bundle import Bundle
from .config import TaskConfig
from .cropper import State
from .pipeline_state import NO_SET, PipelineMemory, pack_pipeline, unpack_pipeline
from .rules.engine import TRIALS_PER_EPOCH, Rules


class DecidedStep(Protocol):
    """What is said of any model's step: `ModelStep` or `PoseStep`; each field is described there."""

    @property
    def p(self) -> NDArray[np.float32]: ...
    @property
    def raw(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def label_since_ns(self) -> int: ...
    @property
    def behind_ns(self) -> int: ...
    @property
    def gap_frames(self) -> int: ...
    @property
    def reset(self) -> bool: ...
    @property
    def warm(self) -> bool: ...
    @property
    def t_head_ns(self) -> int: ...


class SteppedModel(Protocol):
    """A model with explicit state."""

    def reset(self) -> None:
        """Forget everything."""
        ...

    def snapshot(self) -> State:
        """Everything that it remembers."""
        ...

    def restore(self, state: State) -> None:
        """Continue from a snapshot."""
        ...


Model = TypeVar("Model", bound=SteppedModel)


@dataclass(frozen=True, slots=True)
class StepInput:
    """What a model looked at in one step, and when it had it; fields as of `Behavior`."""

    set_id: int
    sources: tuple[SourceFrame, ...]
    missing: tuple[str, ...]
    boxes: tuple[Box, ...]
    n_skipped: int
    t_exposure_ns: int
    t_received_ns: int
    t_taken_ns: int
    t_cropped_ns: int
    t_embedded_ns: int
    t_arrived_ns: int = 0


class DecidingPipeline(Generic[Model]):
    """Rules over the answers of a model. One thread steps it.

    Args:
        bundle: of the model.
        task: its rules, zones and arming.
        clock: rig time; live it says when a step was decided.
        model: whose state is saved with that of the rules.
        names: of what the model sees; a snapshot is for these alone.
        zone_views: views in which zones in pixels may lie.
        armed: False: every onset is withheld.
        epoch: how often the process was started before in this session; trials are numbered from there.

    Attributes:
        model: steps.
        rules: at work.

    Raises:
        ConfigError: rules that do not suit the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        task: TaskConfig,
        clock: Clock,
        model: Model,
        names: list[str],
        *,
        zone_views: list[str],
        armed: bool,
        epoch: int,
    ) -> None:
        self._bundle = bundle
        self._clock = clock
        self._classes = tuple(bundle.manifest.classes)
        self.model = model
        self._names = names
        self._epoch = epoch
        self.rules = Rules(
            task.rules,
            bundle.manifest.classes,
            armed,
            zones=task.zones,
            arming=task.arming,
            views=zone_views,
            first_trial=epoch * TRIALS_PER_EPOCH,
            tracked=task.tracking is not None,
        )
        self._anew = True
        self._last_set_id = NO_SET

    def reset(self) -> None:
        """Forget everything; also after `step` raised, since it may have been half done."""
        self.model.reset()
        self.rules.reset()
        self._anew = True

    def _decide(self, seen: StepInput, step: DecidedStep, t_decided_ns: int | None) -> tuple[Behavior, list[Decision]]:
        """The message of a step, and what the rules make of it; ``t_decided_ns`` None: now."""
        decided_ns = self._clock.now_ns() if t_decided_ns is None else t_decided_ns
        behavior = self._message(seen, step, decided_ns)
        self._anew = False
        self._last_set_id = seen.set_id
        return behavior, self.rules.step(behavior)

    def _message(self, seen: StepInput, step: DecidedStep, t_decided_ns: int) -> Behavior:
        return Behavior(
            set_id=seen.set_id,
            status="partial" if seen.missing else "complete",
            sources=seen.sources,
            missing=seen.missing,
            bundle=self._bundle.identity,
            p=tuple(float(value) for value in step.p),
            raw=step.raw,
            label=step.label,
            label_since_ns=step.label_since_ns,
            n_skipped=seen.n_skipped,
            gap_frames=step.gap_frames,
            warm=step.warm,
            boxes=seen.boxes,
            t_exposure_ns=seen.t_exposure_ns,
            t_received_ns=seen.t_received_ns,
            t_taken_ns=seen.t_taken_ns,
            t_cropped_ns=seen.t_cropped_ns,
            t_embedded_ns=seen.t_embedded_ns,
            t_head_ns=step.t_head_ns,
            t_decided_ns=t_decided_ns,
            classes=self._classes,
            reset=step.reset or self._anew,
            t_arrived_ns=seen.t_arrived_ns,
            previous_set_id=self._last_set_id,
            t_label_ns=seen.t_exposure_ns - step.behind_ns if step.behind_ns else 0,
            epoch=self._epoch,
        )

    def snapshot(self, beside: State | None = None) -> bytes:
        """Everything that it remembers, as an ``.npz`` without pickle; ``beside`` comes back from `restore`."""
        memory = PipelineMemory(
            self.model.snapshot(), self.rules.snapshot(), self._anew, self._last_set_id, beside or {}
        )
        return pack_pipeline(memory, self._names)

    def restore(self, payload: bytes) -> State:
        """Continue from a snapshot of a pipeline with the same bundle and the same names, bit for bit.

        Returns:
            What was kept ``beside`` it.

        Raises:
            BundleError: it is no snapshot, or one of other views or sources, of another model or another version.
        """
        memory = unpack_pipeline(payload, self._names, self.model.snapshot(), self._bundle.identity)
        self.model.restore(memory.model)
        self.rules.restore(memory.rules)
        self._anew, self._last_set_id = memory.anew, memory.last_set_id
        return memory.beside
