"""Agreement of people: published figures, and real raters."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from ethostream.training.label_files import read_labels
from ethostream.training.scores.frames import agreement
from ethostream.training.scores.raters import fleiss_kappa, joined, rater_figures

DEMO7_FRAMES = 19_541
EXPERTS = ("expert1", "expert2", "expert3")


def test_the_example_of_fleiss() -> None:
    """Table 1 of Fleiss 1971 as it is commonly reprinted: ten subjects, fourteen raters, five categories, 0.210."""
    votes = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ]
    )  # fmt: skip
    labels = np.stack([np.repeat(np.arange(5), row) for row in votes], axis=1)
    assert fleiss_kappa(labels) == pytest.approx(0.210, abs=0.0005)


def test_fleiss_counts_pairs_of_raters_that_agree() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, (4, 60))
    labels[1:, :35] = labels[0, :35]
    observed = np.mean([np.mean(labels[a] == labels[b]) for a, b in combinations(range(4), 2)])
    chance = (np.bincount(labels.ravel()) / labels.size) ** 2
    expected = (observed - chance.sum()) / (1 - chance.sum())
    assert fleiss_kappa(labels) == pytest.approx(expected)
    with_holes = np.concatenate([labels, np.full((4, 5), -1)], axis=1)
    with_holes[0, -5:] = 1  # frames that not all have labelled
    assert fleiss_kappa(with_holes) == pytest.approx(expected)


def test_what_is_undefined_is_none() -> None:
    assert fleiss_kappa(np.zeros((3, 5), np.int64)) is None  # all the same: nothing beyond chance
    assert fleiss_kappa(np.zeros((1, 5), np.int64)) is None
    assert fleiss_kappa(np.full((2, 5), -1)) is None
    nothing = rater_figures({"x": [np.full(4, -1)], "y": [np.zeros(4, np.int64)]}, ["a"])
    assert nothing["pairs"][0]["agreement"] is None
    assert (nothing["fleiss_kappa"], nothing["n_frames_all"]) == (None, 0)


def test_no_bout_reaches_across_recordings() -> None:
    parts = [np.array([0, 1, 1]), np.array([1, 0])]
    assert joined(parts).tolist() == [0, 1, 1, -1, 1, 0]
    found = rater_figures({"x": parts, "y": [parts[0], np.array([0, 0])]}, ["a", "b"])["pairs"][0]
    assert (found["n_frames"], found["agreement"]) == (5, 0.8)
    # a: two bouts each; the second of x is half as long as that of y. b: two of x, of which y has the first.
    assert found["bout_f1"] == pytest.approx((2 / 3 + 1.0) / 2)


def test_the_experts_of_the_freezing_set_agree_as_published(test_data: Path) -> None:
    """Four people labelled freezing in one video of 19,541 frames; the experts' kappa is given as 0.91 to 0.94."""
    folder = test_data / "freezing_pose" / "demo" / "demo7"
    raters: dict[str, list[np.ndarray]] = {}
    for name in (*EXPERTS, "novice"):
        found = read_labels(folder / f"hB_{name}.mat")
        (bouts,) = found.streams.values()
        frames = np.zeros(DEMO7_FRAMES, np.int16)
        for bout in bouts:
            frames[bout.start_frame : bout.stop_frame] = 1
        raters[name] = [frames]
    found = rater_figures(raters, ["other", "freezing"])
    kappa = {frozenset((one["first"], one["second"])): one["kappa"] for one in found["pairs"]}
    among_experts = [kappa[frozenset(pair)] for pair in combinations(EXPERTS, 2)]
    assert all(0.905 <= one < 0.945 for one in among_experts), among_experts
    assert min(among_experts) > max(kappa[frozenset((one, "novice"))] for one in EXPERTS)
    assert agreement(raters["expert1"][0], raters["expert2"][0])["kappa"] == kappa[frozenset(EXPERTS[:2])]
    assert found["n_frames_all"] == DEMO7_FRAMES
    assert min(kappa.values()) < found["fleiss_kappa"] < max(kappa.values())
