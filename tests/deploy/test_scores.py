import pytest
from ethostream.deploy.scores import LabelScores
from hypothesis import given
from hypothesis import strategies as st

CLASSES = ["locomote", "rear", "groom", "still"]


def test_nothing_scored_is_none():
    scores = LabelScores()
    assert (scores.n, scores.accuracy, scores.balanced_accuracy, scores.macro_f1) == (0, None, None, None)


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=200))
def test_equal_to_scikit_learn(pairs: list[tuple[str, str]]):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra 'train'")
    truth, labels = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores = LabelScores()
    for pair in pairs:
        scores.add(*pair)
    recalls = metrics.recall_score(truth, labels, labels=sorted(set(truth)), average="macro", zero_division=0)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, labels))
    assert scores.balanced_accuracy == pytest.approx(recalls)
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(truth, labels, average="macro", zero_division=0))


def test_no_label_is_a_miss_and_no_class():
    scores = LabelScores()
    scores.add("rear", "")
    scores.add("rear", "rear")
    assert scores.accuracy == 0.5
    assert scores.balanced_accuracy == 0.5
    assert scores.macro_f1 == pytest.approx(2 / 3)
    assert scores.confusion() == {"rear": {"": 1, "rear": 1}}
