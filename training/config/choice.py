"""The training file's part about what is chosen on validation data once the weights are learnt."""

from typing import Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel


class ChoiceConfig(StrictModel):
    """What is chosen on validation recordings, or, with folds, on what each fold's model says of that fold.

    Attributes:
        epochs: with folds: fit for as many epochs as were best on the folds, on average; False: for as many as
            ``fit.head_epochs`` says, so that the folds have no say in the weights at all.
        stabiliser: choose one of a grid; False: the file's ``stabiliser`` stays.
        target: what the stabiliser must reach, such as ``false triggers/h <= 2 and recall >= 0.9``; of those that do
            the one with the least delay is taken. None: bouts decide, as below.
        max_flicker: predicted bouts per true bout that are allowed, where that can be reached.
        tolerance: so much less than the best score (the mean of bout-F1 and macro-F1) is given up for fewer bouts.
        max_delay_ms: no stabiliser that typically delays a class by more than this.
    """

    epochs: bool = True
    stabiliser: bool = True
    target: str | None = None
    max_flicker: float = Field(default=1.3, gt=0.0)
    tolerance: float = Field(default=0.01, ge=0.0, lt=1.0)
    max_delay_ms: float = Field(default=2000.0, gt=0.0)

    @model_validator(mode="after")
    def _target_of_a_stabiliser(self) -> Self:
        if self.target is not None and not self.stabiliser:
            raise ValueError("target: is what a stabiliser is chosen for; set stabiliser: true, or leave it out")
        return self
