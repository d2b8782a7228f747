"""What a manifest says of a model, whatever the model sees."""

from collections.abc import Callable, Sequence
from typing import Any

from ...inference.graph_spec import FeatureStepSpec
from ...inference.manifest import DataFingerprint, GapRule, Split
from ...inference.stabilisation.config import StabiliserConfig
from ..config.training_file import TrainConfig
from ..export.bundle_record import library_versions, no_scores
from ..export.graphs import head_spec
from ..networks.head import HeadModule, warm_up_frames
from ..splits import Part


def manifest_fields(
    config: TrainConfig,
    head: HeadModule,
    rate_hz: float,
    features: Sequence[FeatureStepSpec],
    stabiliser: StabiliserConfig,
    data: Sequence[DataFingerprint],
    members: Callable[[Part], list[str]],
) -> dict[str, Any]:
    """Fields for `write_bundle`, but for ``inputs`` and ``other_rates``; nothing is evaluated yet.

    Args:
        config: of the training.
        head: fitted.
        rate_hz: of the recordings, as the model takes them.
        features: steps beside an embedding.
        stabiliser: of its answers.
        data: what the recordings hold.
        members: of a part, as `stretches_of` names them.
    """
    return {
        "name": config.name,
        "task": config.task,
        "classes": list(config.classes),
        "rate_hz": round(rate_hz, 3),
        "features": list(features),
        "head": head_spec(head),
        "gap": GapRule(max_repeat_ms=config.gap_repeat_ms),
        "warm_up_frames": warm_up_frames(head, rate_hz),
        "look_ahead_frames": head.look_ahead_frames if head.causal else None,
        "stabiliser": stabiliser,
        "data": list(data),
        "split": Split(
            unit=config.split.by,
            train=members("train"),
            validation=members("validation"),
            test=members("test"),
        ),
        "scores": no_scores(),
        "compute": [],
        "library_versions": library_versions(),
    }
