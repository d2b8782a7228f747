"""Scores of behaviours that may be there at once, against scikit-learn's, and the file that keeps what they are of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ethostream.training.scores.answers_file import RecordingAnswers, read_answers, write_answers
from ethostream.training.scores.behaviors import behavior_scores
from ethostream.training.scores.evaluation_record import evaluation_record
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

CLASSES = ["attack", "sniff", "never"]


def answers(seed: int, **more: Any) -> RecordingAnswers:
    rng = np.random.default_rng(seed)
    n = 200
    present = (rng.random((n, 3)) < [0.3, 0.5, 0.0]).astype(np.float32)
    p = np.clip(present * 0.4 + rng.random((n, 3)) * 0.6, 0, 1).astype(np.float32)
    present[:20] = np.nan
    several = np.nan_to_num(present).sum(axis=1)
    truth = np.where(several == 1, np.nan_to_num(present).argmax(axis=1), -1).astype(np.int16)
    said = p.argmax(1).astype(np.int16)
    judged = np.arange(n) < 150
    given = {"name": f"r{seed}", "rate_hz": 30.0, "truth": truth, "raw": said, "label": said, "p": p, "judged": judged,
             "present": present}  # fmt: skip
    return RecordingAnswers(**(given | more))


def test_each_behavior_is_scored_by_itself() -> None:
    two = [answers(1), answers(2)]
    found = behavior_scores([*two, answers(3, present=None)], CLASSES)
    assert found is not None
    rows = [(one.present[20:150] > 0.5, one.p[20:150]) for one in two if one.present is not None]
    truth, p = (np.concatenate(part) for part in zip(*rows, strict=True))
    assert found["n_frames"] == len(truth) == 260
    assert found["n_several"] == (truth.sum(1) > 1).sum() > 20
    for place, name in enumerate(CLASSES[:2]):
        one, said = found["per_class"][name], p[:, place] >= 0.5
        assert np.isclose(one["f1"], f1_score(truth[:, place], said))
        assert np.isclose(one["precision"], precision_score(truth[:, place], said))
        assert np.isclose(one["recall"], recall_score(truth[:, place], said))
        assert np.isclose(one["pr_auc"], average_precision_score(truth[:, place], p[:, place]))
    never = found["per_class"]["never"]
    assert never == {"n_present": 0, "precision": None, "recall": None, "f1": None, "pr_auc": None}
    assert np.isclose(found["macro_f1"], np.mean([found["per_class"][name]["f1"] for name in CLASSES[:2]]))


def test_the_record_has_them_only_where_several_may_be_there(tmp_path: Path) -> None:
    found = evaluation_record([answers(1)], CLASSES, {"by": "recording"}, causal=True)
    json.dumps(found, allow_nan=False)
    assert found["behaviors"]["n_frames"] == 130
    alone = evaluation_record([answers(1, present=None)], CLASSES, {"by": "recording"}, causal=True)
    assert "behaviors" not in alone
    assert alone["macro_f1"] == found["macro_f1"]  # the label is scored as ever
    write_answers(tmp_path / "answers.npz", [answers(1), answers(2, present=None)], CLASSES)
    (one, other), _ = read_answers(tmp_path / "answers.npz")
    assert one.present is not None
    assert np.array_equal(one.present, answers(1).present, equal_nan=True)  # type: ignore[arg-type]
    assert other.present is None
