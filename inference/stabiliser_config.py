"""Options of the stabiliser, shared by bundle manifests and task files."""

from typing import Self

from pydantic import Field, model_validator

from ..sync.strict import StrictModel


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


class StabiliserConfig(StrictModel):
    """Thresholds for all classes, and those of single classes that differ."""

    default: ClassThresholds = ClassThresholds()
    per_class: dict[str, ClassThresholds] = Field(default_factory=dict)

    def of(self, behavior: str) -> ClassThresholds:
        """The thresholds of one class."""
        return self.per_class.get(behavior, self.default)
