"""With ``overlap: each`` a recording without a frame of one behaviour alone is known all the same, and counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.sync.errors import DataError
from ethostream.training.config.choice import ChoiceConfig
from ethostream.training.config.fit import LossConfig
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.recordings import PoseData
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.bundle_recordings import BundleRecordings
from ethostream.training.data.checks import check_data
from ethostream.training.data.pose_recordings import PoseRecording, open_poses
from ethostream.training.runs.evaluate_pose import evaluate_config
from ethostream.training.runs.search_score import score_of
from ethostream.training.runs.train_pose import train_pose
from ethostream.training.scores.answers_file import RecordingAnswers
from ethostream.training.scores.bouts import score_bouts
from ethostream.training.scores.evaluation_record import evaluation_record
from ethostream.training.scores.onsets import score_onsets
from ethostream.training.splits import PARTS, LeaveOneOutSplit, TimeBlockSplit, parts_of
from ethostream.training.stabilising.raw_answers import raw_answers_of_file, raw_answers_of_folder
from ethostream.training.stretches import runs_of
from small_search import N_FRAMES, small_config
from social_sessions import write_session

PARTS_OF = {1: "train", 2: "validation", 3: "test", 4: "test"}
MEETS = ("3", "2")
"""Sessions in which attack is never seen but with near: no frame has one of them alone."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    for number in PARTS_OF:
        names = np.array(write_session(made, number, N_FRAMES))
        near = np.isin(names, ["social", "aggression"])
        attack = near if str(number) in MEETS else names == "aggression"
        rows = [
            f"{start},{stop},{name}"
            for name, mask in (("near", near), ("attack", attack))
            for start, stop in runs_of(mask)
        ]
        (made / f"{number}.csv").write_text("start_frame,stop_frame,behaviour\n" + "\n".join(rows) + "\n")
    return made


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    found = small_config(dict(PARTS_OF))
    entries = [
        one.model_copy(update={"labels": Path(f"{one.name}.csv"), "stream": None})
        for one in found.data
        if isinstance(one, PoseData)
    ]
    fit = found.fit.model_copy(update={"loss": LossConfig(kind="binary"), "temperature": True})
    changes: dict[str, Any] = {"classes": ["attack", "near"], "data": entries, "fit": fit}
    changes |= {"labels": LabelOptions(overlap="each"), "choose": ChoiceConfig(epochs=False, stabiliser=True)}
    return found.model_copy(update=changes)


@pytest.fixture(scope="module")
def trained(folder: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("run") / "bundle"
    return out, train_pose(config, folder, out, quiet=True)


def _opened(folder: Path, config: TrainConfig) -> list[PoseRecording]:
    entries = [one for one in config.data if isinstance(one, PoseData)]
    return open_poses(entries, folder, config.pose or pytest.fail(), config.classes, config.labels, config.split)[0]


def test_blocks_of_time_divide_what_is_known(folder: Path, config: TrainConfig) -> None:
    one = next(one for one in _opened(folder, config) if one.name == MEETS[0])
    assert (one.labels < 0).all() and one.known.all()
    rule = TimeBlockSplit(pattern=["train", "test"], guard_s=0.0)
    parts = parts_of(rule, one)
    assert [int((parts == PARTS.index(part)).sum()) for part in ("train", "test")] == [N_FRAMES // 2, N_FRAMES // 2]
    check_data([one.checked], config.classes, split=rule)


def test_the_test_part_is_scored_whole(trained: tuple[Path, dict[str, Any]], folder: Path, config: TrainConfig) -> None:
    out, result = trained
    record = evaluate_config(out, config, folder).record
    for found in (result["evaluation"], record):
        assert found["behaviors"]["n_frames"] == 2 * N_FRAMES
        assert list(found["recordings"]) == ["4"]
        assert any("No frame of 3 has one behaviour alone" in words for words in found["warnings"])
    assert result["evaluation"]["behaviors"] == record["behaviors"]


def test_the_validation_part_is_calibrated_on_and_nothing_else_chosen(
    trained: tuple[Path, dict[str, Any]], config: TrainConfig
) -> None:
    """Temperature asks of each behaviour whether it is there, a stabiliser is judged by the one label of a frame."""
    fitted, notes = trained[1]["fit"], trained[1]["evaluation"]["notes"]
    assert fitted["calibration"]["n_frames"] == N_FRAMES and "stabiliser" not in fitted
    why = "no frame of the validation part has one behaviour alone"
    kept = "the last epoch and the configured stabiliser"
    assert f"nothing to choose epoch and stabiliser on, since {why}: {kept}" in notes
    assert Bundle.load(trained[0]).manifest.stabiliser == config.stabiliser


def test_it_is_tuned_on_whole_parts_and_read_one_by_one(
    trained: tuple[Path, dict[str, Any]], folder: Path, config: TrainConfig
) -> None:
    bundle = Bundle.load(trained[0])
    recordings = BundleRecordings.of_file(bundle.manifest, config, folder)
    found = raw_answers_of_file(bundle, recordings.each(), config.split)
    assert [one.name for one in found] == ["2", "3", "4"]
    of_folder, doubtful = raw_answers_of_folder(bundle, recordings.each())
    assert [one.name for one in of_folder] == ["3", "4"] and doubtful == []
    assert sorted(PARTS[int(one.parts[0])] for one in of_folder) == ["test", "validation"]


def test_what_was_learnt_from_is_refused_before_it_is_answered(
    trained: tuple[Path, dict[str, Any]], folder: Path, config: TrainConfig
) -> None:
    bundle, answered = Bundle.load(trained[0]), list[int]()
    entries = [one.model_copy(update={"part": "test"}) for one in config.data if one.part == "train"]
    recordings = BundleRecordings.of_file(bundle.manifest, config.model_copy(update={"data": entries}), folder)
    with pytest.raises(DataError, match=r"has learnt from 1, which stands in the test part"):
        raw_answers_of_file(bundle, recordings.each(), config.split, answered.append)
    assert answered == []


def test_a_trigger_while_nothing_happens_is_false(
    trained: tuple[Path, dict[str, Any]], folder: Path, config: TrainConfig
) -> None:
    """And what stands between two such stretches is a whole bout."""
    bundle = Bundle.load(trained[0])
    found = raw_answers_of_file(bundle, BundleRecordings.of_file(bundle.manifest, config, folder).each(), config.split)
    one = next(one for one in found if one.name == "4")
    assert set(one.truth.tolist()) == {-1, 1, 2}  # near and attack at once, near, and nothing
    first = int(np.flatnonzero(one.truth == 2)[8])
    said = np.where(np.arange(N_FRAMES) < first, -1, 0).astype(np.int16)
    scores = score_onsets(one.t_ns, one.truth, said, config.classes, tolerance_ms=100.0)
    assert (scores["attack"].n_false, scores["near"].n_triggers) == (1, 0)
    assert scores["attack"].hours > 0.0
    quiet = next(one for one in found if one.name == "3")
    assert set(quiet.truth.tolist()) == {-1, 2}


def test_delays_and_false_triggers_of_an_evaluation_know_that_nothing_happens() -> None:
    """Ten seconds of nothing, two of near, ten of nothing; it is said at once, and again when it is over."""
    there = np.zeros((660, 2), np.float32)
    there[300:360, 1] = 1.0
    truth = np.where(there[:, 1] > 0, 1, -1).astype(np.int16)
    said = np.full(660, -1, np.int16)
    said[303:350] = said[500:510] = 1
    p = np.zeros((660, 2), np.float32)
    one = RecordingAnswers("one", 30.0, truth, said, said, p, np.ones(660, np.bool_), present=there)
    found = score_bouts([one], [said], ["attack", "near"])
    assert (found["n_whole_bouts"], found["n_false"]) == (1, 1)
    assert found["onset_delay_p50_ms"] == pytest.approx(100.0)
    assert found["hours"] == pytest.approx((660 / 30.0 - 1.0) / 3600.0)


def test_where_no_frame_has_a_label_of_its_own_the_cure_is_named(
    trained: tuple[Path, dict[str, Any]], folder: Path, config: TrainConfig
) -> None:
    data = [one if one.part != "test" or one.recording_name in MEETS else one.model_copy(update={"part": "train"})
            for one in config.data if isinstance(one, PoseData)]  # fmt: skip
    with pytest.raises(DataError, match=r"no frame of the test part has one behaviour alone.*labels.priority"):
        evaluate_config(trained[0], config.model_copy(update={"data": data}), folder)
    with pytest.raises(DataError, match="the test part holds no labelled frame"):
        evaluation_record([], config.classes, {"by": "recording"}, causal=True)


def test_a_fold_without_a_label_of_its_own_ends_no_search(
    trained: tuple[Path, dict[str, Any]], folder: Path, config: TrainConfig
) -> None:
    answers = {one.name: one for one in evaluate_config(trained[0], config, folder).answers}
    assert score_of([answers["3"]], config, LeaveOneOutSplit(), "raw.macro_f1") is None
    assert score_of(list(answers.values()), config, LeaveOneOutSplit(), "raw.macro_f1") is not None
