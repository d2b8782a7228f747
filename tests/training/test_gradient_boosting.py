"""Gradient boosting as a baseline: what it learns from, and that it has not seen what it answers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ethostream.deploy.training_page.tables import overview
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.baselines.gradient_boosting import GradientBoosting, taken_frames
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.run_files import COMMAND_FILE, EVALUATION_FILE
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.crossval_boosting import (
    GRADIENT_BOOSTING,
    boosting_scores,
    crossval_boosting,
    refuse_sequences,
)
from ethostream.training.runs.train_pose import read_poses
from ethostream.training.splits import KFoldSplit
from rich.console import Console
from social_sessions import CLASSES, make_social_folder

FEATURES = [
    {"name": "pose_distances", "parameters": {"pairs": [["body", "partner.body"]], "animals": ["sorted"]}},
    {"name": "pose_motion", "parameters": {"places": ["body"], "lags_s": [0.1], "animals": ["sorted"]}},
]
SMALL = [
    f"pose={json.dumps({'scale': {'path': ['top', 'body', 'tail']}, 'features': FEATURES})}",
    "head={kind: linear}",
    "fit={joint_epochs: 0, head_epochs: 1, threads: 1}",
    "choose=null",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    folder = make_social_folder(tmp_path_factory.mktemp("data"), [1, 2, 3, 4], 900)
    return configure(read_preset("pose-tcn"), find_dataset(folder, FolderOptions(stream="S1")), SMALL), folder


def test_frames_are_thinned_and_the_shares_of_the_classes_stay() -> None:
    labels = np.array([0] * 40_000 + [1] * 300 + [-1] * 50 + [2], np.int16)
    taken, weight = taken_frames(labels)
    kinds = labels[taken]
    assert [int((kinds == kind).sum()) for kind in (-1, 0, 1, 2)] == [0, 8000, 100, 1]
    assert [weight[kinds == kind].sum() for kind in (0, 1, 2)] == pytest.approx([40_000, 300, 1])


def test_a_class_that_was_not_learnt_is_never_answered() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 3000) * 2  # classes 0 and 2 of three
    x = (labels[:, None] + rng.normal(0.0, 0.3, (3000, 2))).astype(np.float32)
    model = GradientBoosting(3)
    model.fit([x[:1000], x[1000:]], [labels[:1000], labels[1000:]])
    p = model.answers(x)
    assert p.shape == (3000, 3) and not p[:, 1].any()
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-6)
    assert (p.argmax(1) == labels).mean() > 0.95
    with pytest.raises(DataError, match="two classes"):
        model.fit([x], [np.where(labels == 2, -1, 0)])


def test_what_is_answered_was_not_seen(small: tuple[TrainConfig, Path]) -> None:
    config, root = small
    recordings, rule, _ = read_poses(config, root, Console(quiet=True))
    folds = KFoldSplit(folds=2)
    found = crossval_boosting(config, rule, recordings, folds)
    assert [one.name for one in found] == [one.name for one in recordings]
    assert sum(int((one.raw == one.truth)[one.known].sum()) for one in found) > 0.8 * sum(
        int(one.known.sum()) for one in found
    )
    turned = [
        replace(one, labels=np.where(one.labels >= 0, 2 - one.labels, -1).astype(np.int16)) if answer.fold == 0 else one
        for one, answer in zip(recordings, found, strict=True)
    ]
    again = crossval_boosting(config, rule, turned, folds)
    for before, after in zip(found, again, strict=True):
        assert np.array_equal(before.p, after.p) == (before.fold == 0), "only the other fold learns from these labels"


@pytest.mark.long
def test_its_stabiliser_is_chosen_on_what_it_has_not_seen(tmp_path: Path) -> None:
    """On folds inside the training part: labels of the scored recordings have no say in it."""
    folder = make_social_folder(tmp_path, [1, 2, 3, 4], 300)
    changes = [*SMALL[:-1], "choose={epochs: false, stabiliser: true}"]
    config = configure(read_preset("pose-tcn"), find_dataset(folder, FolderOptions(stream="S1")), changes)
    recordings, rule, _ = read_poses(config, folder, Console(quiet=True))
    folds = KFoldSplit(folds=2)
    found = crossval_boosting(config, rule, recordings, folds)
    as_it_is = crossval_boosting(config.model_copy(update={"choose": None}), rule, recordings, folds)
    assert all(np.array_equal(one.p, other.p) for one, other in zip(found, as_it_is, strict=True))
    assert any(not np.array_equal(one.label, other.label) for one, other in zip(found, as_it_is, strict=True))
    turned = [
        replace(one, labels=np.where(one.labels >= 0, 2 - one.labels, -1).astype(np.int16)) if answer.fold == 0 else one
        for one, answer in zip(recordings, found, strict=True)
    ]
    for before, after in zip(found, crossval_boosting(config, rule, turned, folds), strict=True):
        assert np.array_equal(before.label, after.label) == (before.fold == 0)
    about = [boosting_scores(found, config.classes, {"by": "k_fold"}, chosen)["about"] for chosen in (True, False)]
    assert about[0].endswith("chosen as the model's") and about[1].endswith("that of the training file")


def test_what_it_cannot_be_compared_on_is_refused(small: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    config, root = small
    each = config.model_copy(update={"labels": LabelOptions(overlap="each")})
    with pytest.raises(ConfigError, match=r"gives every frame one behaviour, and with `labels: \{overlap: each\}`"):
        crossval(each, root, tmp_path / "each", KFoldSplit(folds=2), True, baselines=True)
    recordings, _, _ = read_poses(config, root, Console(quiet=True))
    refuse_sequences(recordings)
    whole = replace(recordings[1], sequences=np.array([[0, recordings[1].n_frames]], np.int64))
    with pytest.raises(DataError, match=f"{whole.name} has one label for the whole recording"):
        refuse_sequences([recordings[0], whole])


def test_a_baseline_that_fails_costs_the_model_nothing(tmp_path: Path) -> None:
    """One session shows a single behaviour: boosting cannot be fitted to it. The model's folds are done once."""
    folder = make_social_folder(tmp_path / "data", [1, 2], 240)
    labels = folder / "annotations" / "1_annot.txt"
    text = labels.read_text(encoding="utf-8")
    labels.write_text(text.replace("\taggression", "\tsocial").replace("\tnonsocial", "\tsocial"), encoding="utf-8")
    config = configure(read_preset("pose-tcn"), find_dataset(folder, FolderOptions(stream="S1")), SMALL)
    run = tmp_path / "run"
    first = crossval(config, folder, run, KFoldSplit(folds=2), True)["evaluation"]
    done = {path: path.stat().st_mtime_ns for path in run.glob("fold-*/fold.json")}
    again = crossval(config, folder, run, KFoldSplit(folds=2), True, baselines=True)["evaluation"]
    assert len(done) == 2 and {path: path.stat().st_mtime_ns for path in done} == done
    assert again["raw"] == first["raw"] and again["baselines"].keys() == first["baselines"].keys()
    assert "gradient boosting has no scores: gradient boosting needs frames of two classes" in again["notes"][-1]
    assert again == json.loads((run / EVALUATION_FILE).read_text(encoding="utf-8"))


def test_it_stands_beside_the_model(small: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    config, root = small
    found = crossval(config, root, tmp_path / "run", KFoldSplit(folds=2), True, baselines=True)["evaluation"]
    assert found == json.loads((tmp_path / "run" / EVALUATION_FILE).read_text(encoding="utf-8"))
    assert (tmp_path / "run" / COMMAND_FILE).read_text(encoding="utf-8").split()[-1] == "--baselines"
    scores = found["baselines"][GRADIENT_BOOSTING]
    assert scores["raw"]["macro_f1"] > 0.8 and list(scores["raw"]["f1_of_classes"]) == CLASSES
    page = overview(found)
    assert "gradient boosting, stabilised" in page and f"{scores['raw']['macro_f1']:.3f}" in page
    video = TrainConfig.model_validate(
        {
            "name": "x", "classes": ["a", "b"], "data": [{"kind": "simulated", "seeds": [1, 2], "n_frames": 9}],
            "split": {"by": "k_fold"},
        }
    )  # fmt: skip
    with pytest.raises(ConfigError, match="for video leave it out"):
        crossval(video, root, tmp_path / "video", KFoldSplit(folds=2), True, baselines=True)
