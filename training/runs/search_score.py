"""The one number that a search goes by, out of the record of an evaluation."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ...sync.errors import ConfigError
from ..config.training_file import TrainConfig
from ..scores.answers_file import RecordingAnswers
from ..scores.evaluation_record import evaluation_record
from ..splits import FoldSplit

_LESS_IS_BETTER: Final = ("flicker", "delay", "false", "ece", "brier", "loss")
_NO_SCORES: Final = frozenset({"compute", "intervals", "recordings", "baselines", "raters", "compare", "split"})


def less_is_better(objective: str) -> bool:
    """Whether a smaller value of a score is a better one, by its name."""
    last = objective.rpartition(".")[2]
    return any(word in last for word in _LESS_IS_BETTER)


def score_of(
    answers: Sequence[RecordingAnswers], config: TrainConfig, folds: FoldSplit, objective: str
) -> float | None:
    """The objective over all recordings so far, pooled; None where it is not defined on them."""
    if not any(one.known.any() for one in answers):
        return None
    head = config.head
    record = evaluation_record(
        answers,
        config.classes,
        folds.model_dump(mode="json"),
        causal=head.causal and not head.look_ahead_frames,
        look_ahead_frames=head.look_ahead_frames,
    )
    value = _at(record, objective)
    return None if value is None else float(value)


def check_objective(objective: str, classes: Sequence[str], each: bool = False) -> None:
    """Refuse a score that no evaluation has.

    Args:
        objective: its path.
        classes: of the model.
        each: several behaviours may be there at once, so that there are scores of each by itself.

    Raises:
        ConfigError: there is none of that name, or it is no single score.
    """
    n = 4 * len(classes)
    truth = (np.arange(n) // 2 % len(classes)).astype(np.int16)
    p = np.eye(len(classes), dtype=np.float32)[truth]
    nothing = [
        RecordingAnswers(name, 10.0, truth, truth, truth, p, np.ones(n, np.bool_), present=p if each else None)
        for name in ("a", "b")
    ]
    record = evaluation_record(nothing, classes, {"by": "leave_one_out"}, causal=True)
    found = _at(record, objective)
    if objective.partition(".")[0] in _NO_SCORES or (found is not None and not isinstance(found, float)):
        raise ConfigError(
            f"--objective {objective}: is no score of an evaluation; such are macro_f1, bout_f1, raw.macro_f1, "
            f"raw.balanced_accuracy, per_class.{classes[0]}.f1, flicker"
        )


def _at(record: dict[str, Any], objective: str) -> Any:
    """The value at a path; a group of values where the path ends early, and the whole where it leads nowhere."""
    value: Any = record
    for part in objective.split("."):
        if not isinstance(value, dict) or part not in value:
            return record
        value = value[part]
    return value
