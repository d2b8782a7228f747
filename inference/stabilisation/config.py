"""Options of the stabiliser, shared by bundle manifests, training files and task files: one model per kind."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ...sync.strict import StrictModel

Milliseconds = Annotated[float, Field(ge=0.0)]
PerClassMs = Milliseconds | dict[str, Milliseconds]
ErrorRate = Annotated[float, Field(gt=0.0, lt=0.5)]
Prior = Annotated[float, Field(gt=0.0, lt=1.0)]


class StabiliserOptions(StrictModel):
    """What stands around every kind.

    Attributes:
        smoothing_ms: time constant of the exponential smoothing of the probabilities before anything is decided; one
            number, or one per class (a class that is not named then has none).
        close_gaps_ms: an interruption of a behaviour that is no longer than this is closed, and every label comes out
            later by the largest of these; one number, or one per class.
    """

    smoothing_ms: PerClassMs = 0.0
    close_gaps_ms: PerClassMs = 0.0

    def smoothing_of(self, behavior: str) -> float:
        """Time constant of one class, ms."""
        return _of(self.smoothing_ms, behavior)

    def gap_of(self, behavior: str) -> float:
        """Longest interruption of one class that is closed, ms."""
        return _of(self.close_gaps_ms, behavior)

    def named(self) -> set[str]:
        """Every class that is named anywhere."""
        return {name for value in (self.smoothing_ms, self.close_gaps_ms) if isinstance(value, dict) for name in value}

    def unknown(self, classes: Iterable[str]) -> list[str]:
        """Classes that are named here and are not among ``classes``."""
        return sorted(self.named() - set(classes))


class ClassThresholds(StrictModel):
    """When a class becomes the label and when it may lose it.

    Attributes:
        enter: probability from which the class may take over.
        exit: probability below which it gives way to any better class.
        min_dwell_ms: how long a class must be the candidate before it takes over; this is the delay it adds.
    """

    enter: float = Field(default=0.6, ge=0.0, le=1.0)
    exit: float = Field(default=0.4, ge=0.0, le=1.0)
    min_dwell_ms: float = Field(default=100.0, ge=0.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.exit > self.enter:
            raise ValueError(f"exit {self.exit} is above enter {self.enter}; the label would flicker")
        return self


class ThresholdsConfig(StabiliserOptions):
    """Enter and exit thresholds with a minimum dwell: for all classes, and for single classes that differ."""

    kind: Literal["thresholds"] = "thresholds"
    default: ClassThresholds = ClassThresholds()
    per_class: dict[str, ClassThresholds] = Field(default_factory=dict)

    def of(self, behavior: str) -> ClassThresholds:
        """The thresholds of one class."""
        return self.per_class.get(behavior, self.default)

    def named(self) -> set[str]:
        return super().named() | set(self.per_class)


class ClassTest(StrictModel):
    """The sequential test of one class.

    Attributes:
        false_alarm: greatest chance that a test accepts the class while it is not there.
        miss: greatest chance that a test rejects the class while it is there; the next test then begins.
        decorrelation_ms: time after which a frame counts as a new observation; frames in between share one.
        max_p: probabilities are held within 1 - max_p to max_p, which bounds the evidence of one observation.
        prior: share of the class that the model's probabilities take for granted; null: all classes equal, as for a
            model that was trained with class weights.
    """

    false_alarm: ErrorRate = 0.001
    miss: ErrorRate = 0.05
    decorrelation_ms: float = Field(default=100.0, gt=0.0)
    max_p: float = Field(default=0.99, gt=0.5, lt=1.0)
    prior: Prior | None = None


class SequentialConfig(StabiliserOptions):
    """Evidence accumulated to a bound: for all classes, and for single classes that differ."""

    kind: Literal["sequential"]
    default: ClassTest = ClassTest()
    per_class: dict[str, ClassTest] = Field(default_factory=dict)

    def of(self, behavior: str) -> ClassTest:
        """The test of one class."""
        return self.per_class.get(behavior, self.default)

    def named(self) -> set[str]:
        return super().named() | set(self.per_class)


class ClassMajority(StrictModel):
    """The window of one class.

    Attributes:
        window_ms: how far it looks back.
        share: share of the window for which the class must have been the most probable one.
    """

    window_ms: float = Field(default=300.0, gt=0.0, le=60_000.0)
    share: float = Field(default=0.6, gt=0.0, le=1.0)


class MajorityConfig(StabiliserOptions):
    """Majority over a window: for all classes, and for single classes that differ."""

    kind: Literal["majority"]
    default: ClassMajority = ClassMajority()
    per_class: dict[str, ClassMajority] = Field(default_factory=dict)

    def of(self, behavior: str) -> ClassMajority:
        """The window of one class."""
        return self.per_class.get(behavior, self.default)

    def named(self) -> set[str]:
        return super().named() | set(self.per_class)


class ClassDwell(StrictModel):
    """What is known of one class beforehand.

    Attributes:
        mean_dwell_ms: mean length of a bout.
        enter: probability, given all frames so far, from which the class takes over.
        prior: as in `ClassTest`.
    """

    mean_dwell_ms: float = Field(default=2000.0, gt=0.0)
    enter: float = Field(default=0.6, ge=0.0, le=1.0)
    prior: Prior | None = None


class HiddenMarkovConfig(StabiliserOptions):
    """Forward filter of a hidden Markov model: for all classes, and for single classes that differ.

    ``decorrelation_ms`` and ``max_p`` are as in `ClassTest`, for all classes together.
    """

    kind: Literal["hidden_markov"]
    default: ClassDwell = ClassDwell()
    per_class: dict[str, ClassDwell] = Field(default_factory=dict)
    decorrelation_ms: float = Field(default=100.0, gt=0.0)
    max_p: float = Field(default=0.99, gt=0.5, lt=1.0)

    def of(self, behavior: str) -> ClassDwell:
        """What is known of one class."""
        return self.per_class.get(behavior, self.default)

    def named(self) -> set[str]:
        return super().named() | set(self.per_class)


class ClassCusum(StrictModel):
    """The cumulative sum of one class.

    Attributes:
        bound_nat_seconds: evidence against the label, summed over time, from which the class takes over, nat·s. The
            default lies a little below two steps of 30 Hz at the clip, so that no step hangs on how times are rounded.
        drift_nat: taken off the evidence at every moment; by so much a class must be better than the label at all.
        clip_nat: evidence of one moment is held within this; no class takes over sooner than
            ``bound_nat_seconds`` / ``clip_nat`` after the last change.
    """

    bound_nat_seconds: float = Field(default=0.09, gt=0.0)
    drift_nat: float = Field(default=0.5, ge=0.0)
    clip_nat: float = Field(default=1.5, gt=0.0)


class CusumConfig(StabiliserOptions):
    """Cumulative sums of evidence against the label: for all classes, and for single classes that differ."""

    kind: Literal["cusum"]
    default: ClassCusum = ClassCusum()
    per_class: dict[str, ClassCusum] = Field(default_factory=dict)

    def of(self, behavior: str) -> ClassCusum:
        """The sum of one class."""
        return self.per_class.get(behavior, self.default)

    def named(self) -> set[str]:
        return super().named() | set(self.per_class)


def _thresholds_without_kind(value: Any) -> Any:
    """The form from before there were kinds, as in older manifests: thresholds and nothing around them."""
    if isinstance(value, dict) and "kind" not in value:
        return {"kind": "thresholds", "smoothing_ms": 0.0, "close_gaps_ms": 0.0, **value}
    return value


StabiliserConfig = Annotated[
    ThresholdsConfig | SequentialConfig | MajorityConfig | HiddenMarkovConfig | CusumConfig,
    Field(discriminator="kind"),
    BeforeValidator(_thresholds_without_kind),
]
"""Any stabiliser; without ``kind`` it is ``thresholds``."""


def _of(value: float | dict[str, float], behavior: str) -> float:
    return value.get(behavior, 0.0) if isinstance(value, dict) else value
