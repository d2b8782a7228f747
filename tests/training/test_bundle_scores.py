"""What a manifest says of the scores of a model of video."""

from typing import Any

import numpy as np
import pytest
from ethostream.sync.strict import validate
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.export.bundle_record import scores_of
from ethostream.training.scores.answers_file import RecordingAnswers
from ethostream.training.scores.evaluation_record import evaluation_record

CONFIG = validate(
    TrainConfig,
    {
        "name": "tiny",
        "classes": ["rear", "still"],
        "data": [
            {"kind": "simulated", "name": part, "part": part, "seeds": [seed], "n_frames": 100}
            for seed, part in enumerate(("train", "test"))
        ],
        "crop": {"kind": "background", "side": 0.3, "polarity": "dark"},
        "split": {"by": "recording"},
    },
    "test",
)


def evaluation(causal: bool, look_ahead_frames: int) -> dict[str, Any]:
    truth = np.repeat([0, 1, 0, 1], 30).astype(np.int16)
    p = np.where(truth[:, None] == np.arange(2), 0.9, 0.1).astype(np.float32)
    answers = RecordingAnswers("a", 30.0, truth, truth, truth, p, np.ones(len(truth), np.bool_))
    return evaluation_record(
        [answers], ["rear", "still"], {"by": "recording"}, causal=causal, look_ahead_frames=look_ahead_frames,
        learnt_counts={"rear": 9, "still": 9}, label_source="manual", compute={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("causal", "frames", "said"),
    [(True, 0, "causal"), (False, 6, "looks 6 frames ahead"), (False, 0, "not causal")],
)
def test_a_manifest_says_whether_its_scores_are_causal_and_what_was_warned_of(
    causal: bool, frames: int, said: str
) -> None:
    found = evaluation(causal, frames)
    scores = scores_of(found, CONFIG)
    assert scores.evaluated_on == f"test part, recording, whole pipeline, {said}, stabilised"
    assert scores.more["warnings"] == found["warnings"]
    assert any("next 6 frames" in one for one in scores.more["warnings"]) == (frames == 6)
