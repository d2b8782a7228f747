import json
import warnings

import numpy as np
import pytest
from ethostream.training.scores.frames import (
    agreement,
    average_precision,
    frame_counts,
    frame_figures,
    precision_recall,
    score,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sk

CLASSES = ["a", "b", "c"]


@given(
    npst.arrays(np.int16, st.shared(st.integers(1, 80), key="n"), elements=st.integers(0, 2)),
    npst.arrays(np.int16, st.shared(st.integers(1, 80), key="n"), elements=st.integers(0, 2)),
    npst.arrays(np.float64, st.tuples(st.shared(st.integers(1, 80), key="n"), st.just(3)), elements=st.floats(0, 1)),
)
def test_as_scikit_learn(truth: np.ndarray, predicted: np.ndarray, p: np.ndarray) -> None:
    found = score(truth, predicted, CLASSES, p)
    present = sorted(set(truth.tolist()))
    assert found.accuracy == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found.confusion_matrix == sk.confusion_matrix(truth, predicted, labels=[0, 1, 2]).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is None here
        assert found.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
        macro = sk.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
        assert found.macro_f1 == pytest.approx(macro)
        precision, recall, f1, support = sk.precision_recall_fscore_support(
            truth, predicted, labels=[0, 1, 2], zero_division=0
        )
        for place, name in enumerate(CLASSES):
            one = found.per_class[name]
            assert one.support == support[place]
            if place not in present:
                assert (one.precision, one.recall, one.f1, one.pr_auc) == (None, None, None, None)
                continue
            assert one.recall == pytest.approx(recall[place])
            assert one.f1 == pytest.approx(f1[place])
            assert one.pr_auc == pytest.approx(sk.average_precision_score(truth == place, p[:, place]))
            if (predicted == place).any():
                assert one.precision == pytest.approx(precision[place])
            else:
                assert one.precision is None


def test_unlabelled_frames_do_not_count_and_undecided_ones_are_wrong() -> None:
    found = score(np.array([0, 0, 1, -1]), np.array([0, -1, 1, 2]), CLASSES)
    assert (found.n_frames, found.n_undecided) == (3, 1)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.confusion_matrix == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert found.per_class["c"].recall is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_nothing_to_score_is_null() -> None:
    found = score(np.array([-1, -1]), np.array([0, 1]), CLASSES, np.zeros((2, 3)))
    assert (found.n_frames, found.accuracy, found.balanced_accuracy, found.macro_f1) == (0, None, None, None)
    assert average_precision(np.zeros(3, np.bool_), np.zeros(3)) is None


def test_agreement_is_cohens_kappa() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    other[:120] = one[:120]
    found = agreement(np.append(one, -1), np.append(other, 0))
    assert found["n_frames"] == 200
    assert found["agreement"] == pytest.approx(np.mean(one == other))
    assert found["kappa"] == pytest.approx(sk.cohen_kappa_score(one, other))
    assert agreement(np.array([-1]), np.array([0])) == {"n_frames": 0, "agreement": None, "kappa": None}
    assert agreement(np.array([1, 1]), np.array([1, 1]))["kappa"] is None


@given(
    npst.arrays(np.int16, st.shared(st.integers(1, 60), key="n"), elements=st.integers(0, 2)),
    npst.arrays(np.int16, st.shared(st.integers(1, 60), key="n"), elements=st.integers(-1, 2)),
    npst.arrays(np.float64, st.shared(st.integers(1, 60), key="n"), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
)
def test_kappa_macro_precision_and_curves_as_scikit_learn(
    truth: np.ndarray, predicted: np.ndarray, p: np.ndarray
) -> None:
    found = score(truth, predicted, CLASSES, np.stack([p, p, p], axis=1))
    present = sorted(set(truth.tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = sk.cohen_kappa_score(truth, predicted)  # "no class" is a category like any other
        macro = sk.precision_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert (found.kappa is None and np.isnan(kappa)) or found.kappa == pytest.approx(kappa)
    assert found.macro_precision == pytest.approx(macro)
    areas = [sk.average_precision_score(truth == place, p) for place in present]
    assert found.macro_pr_auc == pytest.approx(np.mean(areas))
    precision, recall, thresholds = precision_recall(truth == present[0], p)
    theirs = sk.precision_recall_curve(truth == present[0], p)
    assert precision[::-1] == pytest.approx(theirs[0][:-1])
    assert recall[::-1] == pytest.approx(theirs[1][:-1])
    assert thresholds[::-1] == pytest.approx(theirs[2])


def test_many_draws_are_scored_at_once() -> None:
    rng = np.random.default_rng(4)
    pairs = [(rng.integers(0, 3, 50), rng.integers(-1, 3, 50)) for _ in range(4)]
    together = frame_figures(np.stack([frame_counts(*pair, 3) for pair in pairs]))
    for place, (truth, predicted) in enumerate(pairs):
        alone = score(truth, predicted, CLASSES)
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "kappa"):
            assert together[name][place] == pytest.approx(getattr(alone, name))
        assert together["f1_by_class"][place].tolist() == pytest.approx([alone.per_class[one].f1 for one in CLASSES])
