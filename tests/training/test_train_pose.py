"""From a folder of sessions to a bundle, its scores and its answers: everything real, everything small."""

import csv
import gc
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ethostream.deploy import cli
from ethostream.inference.bundle import Bundle
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.config.recordings import PoseData
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.bundle_recordings import BundleRecordings
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.data.pose_recordings import PoseRecording, features_of, open_poses, with_scale
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.evaluate_pose import evaluate_config, evaluate_folder
from ethostream.training.runs.fit_pose import fit_pose
from ethostream.training.runs.predict_pose import predict_pose
from ethostream.training.runs.train_pose import train_pose
from ethostream.training.scores.answers_file import read_answers
from ethostream.training.splits import KFoldSplit
from ethostream.training.stabilising.raw_answers import raw_answers_of_folder
from social_sessions import CLASSES, make_social_folder, write_labels
from typer.testing import CliRunner

N_FRAMES = 480
SMALL = [
    "fit.head_epochs=4",
    "fit.stretch_frames=120",
    "fit.batch_windows=4",
    "fit.learning_rate=0.01",
    "fit.stride_frames=1",
    "fit.augment.input_noise=0.0",
    "fit.weight_average=null",
    "fit.weight_decay=0.01",
    "fit.schedule={kind: cosine}",
    "fit.threads=1",
    "head={kind: tcn, hidden: 12, dilations: [1, 2], dropout: 0.0}",
    "split={by: k_fold, folds: 2}",
]
OPTIONS = FolderOptions(stream="S1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_social_folder(tmp_path_factory.mktemp("data"), [1, 2, 3, 4], N_FRAMES)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_social_folder(tmp_path_factory.mktemp("others"), [7, 8], N_FRAMES, seed=5)


def _config(folder: Path, *changes: str) -> TrainConfig:
    return configure(read_preset("pose-tcn"), find_dataset(folder, OPTIONS), [*SMALL, *changes])


def _call(*words: str) -> str:
    done = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("trained") / "bundle"
    result = out.parent / "result.json"
    small = [word for change in SMALL for word in ("--set", change)]
    words = ["--data", str(folder), "--stream", "S1", "--out", str(out), "--json", str(result)]
    said = _call("train", "--preset", "pose-tcn", *words, *small)
    assert "assumed: 30 frames/s" in " ".join(said.split())
    return out, json.loads(result.read_text(encoding="utf-8"))


def test_training_writes_a_bundle_that_loads(trained: tuple[Path, dict[str, Any]]) -> None:
    path, result = trained
    bundle = Bundle.load(path)
    manifest = bundle.manifest
    assert bundle.identity == result["bundle"] == result["evaluation"]["bundle"]
    assert (manifest.classes, manifest.rate_hz, manifest.look_ahead_frames) == (CLASSES, 30.0, 0)
    assert manifest.takes_pose
    assert manifest.pose.scale.start_px == pytest.approx(80.0, abs=2.0)
    assert manifest.split.train == ["1", "2", "3", "4"]
    assert manifest.split.validation == manifest.split.test == []
    assert [one.name for one in manifest.data][:2] == ["1", "1.labels"]
    assert "30 frames/s (assumed)" in manifest.data[0].source
    assert max(bundle.parity_errors.values()) <= 1e-5
    assert result["parity"]["head"] <= 1e-5
    assert {one.name for one in path.iterdir()} == {
        "manifest.json", "head_step.onnx", "head_sequence.onnx", "parity.npz"
    }  # fmt: skip


def test_the_run_folder_says_what_was_done(trained: tuple[Path, dict[str, Any]], folder: Path) -> None:
    path, result = trained
    run = path.parent / "bundle.run"
    assert {one.name for one in run.iterdir()} >= {
        "config.yaml", "command.txt", "data.json", "metrics.jsonl", "evaluation.json", "answers.npz", "tensorboard",
    }  # fmt: skip
    assert not (run / "draft").exists()
    assert not list(run.rglob("*.ckpt"))
    config, root = load_config(run / "config.yaml")
    assert (config.classes, root) == (CLASSES, folder.resolve())
    # Who repeats the run or cross-validates it measures the unit of length anew; the number stands in the manifest.
    assert config.pose is not None and config.pose.scale.start_px is None
    assert config.pose.keypoints is not None and len(config.pose.keypoints) == 5
    said = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert said["macro_f1"] == result["evaluation"]["macro_f1"]
    notes = json.loads((run / "data.json").read_text(encoding="utf-8"))["notes"]
    assert any("assumed: 30 frames/s" in note for note in notes)
    assert any("ignored: base" in note for note in notes)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["epoch"] for line in lines] == list(range(len(lines)))


def test_its_scores_are_those_of_folds_that_were_not_seen(trained: tuple[Path, dict[str, Any]]) -> None:
    path, result = trained
    evaluation = result["evaluation"]
    assert evaluation["causal"] is True
    assert evaluation["split"]["by"] == "k_fold"
    assert "has not seen it" in evaluation["split"]["scored"]
    assert evaluation["macro_f1"] > 0.8  # behaviours show in single frames here
    assert evaluation["n_frames"] == 4 * (N_FRAMES - 20)
    answers, classes = read_answers(path.parent / "bundle.run" / "answers.npz")
    assert classes == CLASSES
    assert sorted(one.name for one in answers) == ["1", "2", "3", "4"]
    assert sorted(one.fold for one in answers) == [0, 0, 1, 1]
    scores = Bundle.load(path).manifest.scores
    assert scores.macro_f1 == evaluation["macro_f1"]
    assert "folds" in scores.evaluated_on


def test_scores_on_recordings_that_it_has_not_seen(trained: tuple[Path, dict[str, Any]], others: Path) -> None:
    found = evaluate_folder(trained[0], find_dataset(others, OPTIONS))
    record = found.record
    json.dumps(record, allow_nan=False)
    assert found.warning == ""
    assert record["split"] == {"by": "unseen recordings"}
    for key in ("macro_f1", "accuracy", "balanced_accuracy", "bout_f1", "flicker"):
        assert isinstance(record[key], float), key
        assert isinstance(record["raw"][key], float), key
    assert set(record["per_class"]) == set(CLASSES)
    assert record["causal"] is True
    assert record["n_frames"] == 2 * (N_FRAMES - 20)
    assert record["macro_f1"] > 0.8
    assert record["flicker"] <= record["raw"]["flicker"]


def test_scores_on_training_data_are_called_so(trained: tuple[Path, dict[str, Any]], folder: Path) -> None:
    found = evaluate_folder(trained[0], find_dataset(folder, OPTIONS))
    assert found.record["split"] == {"by": "training data"}
    assert "SCORED ON TRAINING DATA" in found.warning
    assert any("1, 2, 3, 4" in one for one in found.record["warnings"])


def test_of_a_folder_with_both_only_the_unseen_are_scored(
    trained: tuple[Path, dict[str, Any]], folder: Path, others: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "both")
    shutil.copytree(others, tmp_path / "both", dirs_exist_ok=True)
    for path in (tmp_path / "both").glob("*/1*"):  # known again under another number
        path.rename(path.with_name("6" + path.name[1:]))
    found = evaluate_folder(trained[0], find_dataset(tmp_path / "both", OPTIONS))
    assert sorted(found.record["recordings"]) == ["7", "8"]
    assert found.record["split"] == {"by": "unseen recordings", "left_out": ["2", "3", "4", "6"]}
    assert found.warning == ""


def _in_memory() -> int:
    return sum(type(one) is PoseRecording for one in gc.get_objects())


def test_recordings_of_a_folder_are_never_in_memory_together(
    trained: tuple[Path, dict[str, Any]], others: Path
) -> None:
    before, seen = _in_memory(), list[int]()

    def look(_: object) -> None:
        seen.append(_in_memory() - before)

    dataset, bundle = find_dataset(others, OPTIONS), Bundle.load(trained[0])
    evaluate_folder(trained[0], dataset, look)
    assert seen == [0, 1, 1, 1]  # before the first is read, while it is scored, and so on
    recordings = BundleRecordings.of_folder(bundle.manifest, dataset)
    found, _ = raw_answers_of_folder(bundle, recordings.each(look), look)
    assert seen[4:] == [0, 1, 1, 1] and [one.name for one in found] == ["7", "8"]
    twice = replace(recordings, entries=[*recordings.entries, recordings.entries[0]])
    with pytest.raises(DataError, match="recording '7' stands twice in data"):
        list(twice.each())


def test_labels_that_the_bundle_does_not_know_are_refused(trained: tuple[Path, dict[str, Any]], others: Path) -> None:
    with pytest.raises(DataError, match=r"7_annot.txt: line \d+: .*'base' is not among the classes"):
        evaluate_folder(trained[0], find_dataset(others, FolderOptions(stream="S1", ignore=["none"])))
    with pytest.raises(DataError, match=r"'far' is not among the classes"):
        evaluate_folder(trained[0], find_dataset(others, FolderOptions(stream="S2")))


def test_prediction_has_one_row_per_frame(trained: tuple[Path, dict[str, Any]], others: Path, tmp_path: Path) -> None:
    points = next((others / "dlc_csv").glob("7*"))
    result = predict_pose(trained[0], points, tmp_path / "deep" / "7.csv")
    with (tmp_path / "deep" / "7.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["frame", "time_s", "behaviour", *(f"p_{name}" for name in CLASSES)]
    assert [int(row[0]) for row in rows[1:]] == list(range(N_FRAMES))
    assert float(rows[31][1]) == 1.0
    assert (result["rate_hz"], result["rate_assumed"]) == (30.0, True)
    assert sum(result["frames_of"].values()) == N_FRAMES
    p = np.array([[float(value) for value in row[3:]] for row in rows[1:]])
    assert np.allclose(p.sum(1), 1.0, atol=1e-5)
    twice = predict_pose(trained[0], points, tmp_path / "fast.csv", 60.0)
    assert (twice["n_frames"], twice["rate_assumed"]) == (N_FRAMES, False)
    with (tmp_path / "fast.csv").open(encoding="utf-8", newline="") as file:
        fast = list(csv.reader(file))[1:]
    assert all(fast[2 * place][2:] == fast[2 * place + 1][2:] for place in range(N_FRAMES // 2))
    with pytest.raises(ConfigError, match="no whole multiple"):
        predict_pose(trained[0], points, tmp_path / "odd.csv", 40.0)


def test_the_same_seed_gives_the_same_model(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, "fit.head_epochs=1", "choose=null", "split={by: leave_one_out}")
    recordings, rule = open_poses(
        [one for one in config.data if isinstance(one, PoseData)][:2],
        folder,
        config.pose or pytest.fail(),
        config.classes,
        config.labels,
    )
    rule = with_scale(rule, recordings)
    inputs = [features_of(rule, one.points) for one in recordings]
    found = [fit_pose(config, recordings, inputs, tmp_path / run, True, list[str]().append) for run in "ab"]
    weights = [one.head.state_dict() for one in found]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert all(np.array_equal(a.p, b.p) for a, b in zip(found[0].answers, found[1].answers, strict=True))


@pytest.mark.long
def test_parts_by_recording_and_what_is_chosen_on_validation(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, "split={by: time_block, pattern: [train, validation, test, train], guard_s: 0.2}")
    result = train_pose(config, folder, tmp_path / "bundle", quiet=True)
    manifest = Bundle.load(tmp_path / "bundle").manifest
    assert all(name.endswith("]") for name in manifest.split.test)
    assert len(manifest.split.validation) == 4
    evaluation = result["evaluation"]
    assert 0 < evaluation["n_frames"] < N_FRAMES
    assert "stabiliser" in result["fit"]
    # The honest part of the very folder that it was trained on is its own test part.
    found = evaluate_folder(tmp_path / "bundle", find_dataset(folder, OPTIONS))
    assert found.warning == ""
    assert found.record["split"]["by"] == "time_block"
    assert found.record["macro_f1"] == evaluation["macro_f1"]
    again = evaluate_config(tmp_path / "bundle", config, folder)
    assert again.record["n_frames"] == evaluation["n_frames"]
    assert again.record["macro_f1"] == evaluation["macro_f1"]


@pytest.mark.long
def test_the_twin_that_is_not_causal_is_scored_and_refused_online(folder: Path, tmp_path: Path) -> None:
    from ethostream.sync.errors import LookAheadError

    config = _config(folder, "head={kind: gru, hidden: 8, causal: false}", "fit.head_epochs=2")
    result = train_pose(config, folder, tmp_path / "twin", quiet=True)
    assert result["evaluation"]["causal"] is False
    with pytest.raises(LookAheadError, match="without bound"):
        Bundle.load(tmp_path / "twin")


@pytest.mark.long
def test_look_ahead_stands_in_the_manifest_and_is_moved_back(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, "head={kind: tcn, hidden: 12, dilations: [1, 2], dropout: 0.0, look_ahead_frames: 5}")
    result = train_pose(config, folder, tmp_path / "ahead", quiet=True)
    assert result["evaluation"]["causal"] is False
    assert result["evaluation"]["raw"]["accuracy"] > 0.8
    bundle = Bundle.load(tmp_path / "ahead", max_look_ahead_frames=5)
    assert bundle.manifest.look_ahead_frames == 5


def test_cross_validation_pools_every_recording_once(folder: Path, tmp_path: Path) -> None:
    small = [word for change in (*SMALL, "fit.head_epochs=1") for word in ("--set", change)]
    words = ["--data", str(folder), "--stream", "S1", "--folds", "2", "--out", str(tmp_path / "cv")]
    _call("crossval", "--preset", "pose-tcn", *words, "--json", str(tmp_path / "cv.json"), *small)
    evaluation = json.loads((tmp_path / "cv.json").read_text(encoding="utf-8"))
    assert sorted(evaluation["recordings"]) == ["1", "2", "3", "4"]
    assert (evaluation["split"]["by"], evaluation["split"]["n_folds"]) == ("k_fold", 2)
    assert sorted(name for fold in evaluation["folds"] for name in fold["scored"]) == ["1", "2", "3", "4"]
    assert evaluation["n_frames"] == 4 * (N_FRAMES - 20)
    assert "intervals" in evaluation
    assert (tmp_path / "cv" / "command.txt").read_text(encoding="utf-8").startswith("ethostream crossval ")
    answers, _ = read_answers(tmp_path / "cv" / "answers.npz")
    assert sorted(one.fold for one in answers) == [0, 0, 1, 1]
    assert not list((tmp_path / "cv").rglob("*.ckpt"))


def test_a_class_that_nobody_shows_is_refused(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, f"classes={json.dumps([*CLASSES, 'chase'])}")
    with pytest.raises(DataError, match="the training part has no frame of chase"):
        train_pose(config, folder, tmp_path / "bundle", quiet=True)


def test_a_class_that_is_absent_in_a_fold_is_said_and_scored(tmp_path: Path) -> None:
    """All of a class stands in one recording: the fold without it cannot learn it, and the pooled scores hold it."""
    data = make_social_folder(tmp_path / "data", [1, 2, 3], 240)
    for path in (data / "annotations").glob("[23]_*"):
        path.write_text(path.read_text(encoding="utf-8").replace("\taggression", "\tsocial"), encoding="utf-8")
    config = _config(data, "fit.head_epochs=1", "choose=null")
    result = crossval(config, data, tmp_path / "cv", KFoldSplit(folds=3), quiet=True)
    assert any("no frame of aggression outside fold" in note for note in result["evaluation"]["notes"])
    assert result["evaluation"]["per_class"]["aggression"]["support"] > 0
    assert result["evaluation"]["per_class"]["aggression"]["recall"] == 0.0


def test_the_commands_that_score_and_predict(
    trained: tuple[Path, dict[str, Any]], folder: Path, others: Path, tmp_path: Path
) -> None:
    bundle, scores = str(trained[0]), tmp_path / "scores.json"
    _call("evaluate", bundle, "--data", str(others), "--stream", "S1", "--json", str(scores))
    assert json.loads(scores.read_text())["split"]["by"] == "unseen recordings"
    output = _call("evaluate", bundle, "--data", str(folder), "--stream", "S1", "--json", str(scores))
    assert "SCORED ON TRAINING DATA" in output
    assert json.loads(scores.read_text())["split"]["by"] == "training data"
    points = str(next((others / "dlc_csv").glob("7*")))
    _call("predict", bundle, points, "--fps", "30", "--out", str(tmp_path / "7.csv"))
    assert len((tmp_path / "7.csv").read_text().splitlines()) == N_FRAMES + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--out", "x"], "give either CONFIG.yaml or --preset NAME"),
        (["train", "--preset", "pose-tcn", "--out", "x"], "needs the folder of the recordings"),
        (["train", "c.yaml", "--stream", "S1", "--out", "x"], "--stream: CONFIG.yaml says that itself"),
        (["evaluate", "x"], "needs CONFIG.yaml, or the folder"),
        (["predict", "demo", "v.mp4", "--fps", "30", "--out", "x.csv"], "--fps: goes with files of keypoints"),
        (
            ["predict", "demo", "tracks.csv", "--out", "x.csv"],
            "tracks.csv: is a file of a tracker, and bundle demo takes video",
        ),
        (["evaluate", "demo", "--data", "."], "takes video"),
    ],
)
def test_commands_that_lack_something_say_what(words: list[str], message: str, folder: Path) -> None:
    words = [str(folder) if word == "." else word for word in words]
    words += ["--stream", "S1"] if str(folder) in words else []
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(cli.app, words, catch_exceptions=False)


def test_tune_takes_recordings_of_keypoints_that_the_bundle_has_not_seen(
    trained: tuple[Path, dict[str, Any]], folder: Path, others: Path, tmp_path: Path
) -> None:
    words = ["tune", str(trained[0]), "--stream", "S1", "--target", "recall >= 0.1", "--json", str(tmp_path / "t.json")]
    _call(*words, "--data", str(others))
    found = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert sorted([*found["chosen_on"], *found["reported_on"]]) == ["7 (validation)", "8 (test)"]
    assert found["same_data"] is False
    assert found["chosen"]["recall"] >= 0.1
    assert set(found["behaviors"]) == set(CLASSES)
    make_social_folder(tmp_path / "alike", [1, 8], N_FRAMES, seed=9)
    output = _call(*words, "--data", str(tmp_path / "alike"))
    assert "perhaps learnt from: 1. The bundle has learnt from recordings of the same name" in " ".join(output.split())
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["doubtful"] == ["1"]
    flat = make_social_folder(tmp_path / "flat", [1], N_FRAMES, seed=9)
    write_labels(flat / "annotations" / "1_annot.txt", [CLASSES[0]] * N_FRAMES)
    failed = CliRunner().invoke(cli.app, [*words, "--data", str(flat)])
    assert "holds no whole bout of any behaviour" in str(failed.exception)
    assert "perhaps learnt from: 1." in failed.output
    with pytest.raises(DataError, match="has learnt from 1, 2, 3, 4, where its answers are better than anywhere else"):
        CliRunner().invoke(cli.app, [*words, "--data", str(folder)], catch_exceptions=False)
    with pytest.raises(DataError, match=r"split k_fold: is several trainings, and this needs one"):
        run = str(trained[0].parent / "bundle.run" / "config.yaml")
        CliRunner().invoke(cli.app, ["tune", str(trained[0]), "--data", run], catch_exceptions=False)
