"""The scripts of ``benchmarks/`` that train models and score them; see ``test_scripts.py`` for all others."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.sync.errors import EthostreamError
from ethostream.training.scores.answers_file import ANSWERS_FILE, RecordingAnswers, write_answers
from script_results import Run, stated
from social_sessions import make_social_folder


@pytest.mark.long
def test_social_pose(run: Run, tmp_path: Path) -> None:
    folder = make_social_folder(tmp_path / "data", [1, 2, 3, 4], 600)
    models = ("pose-tcn", "pose-tcn-centred", "gradient_boosting")
    quick = ("--set", "fit.head_epochs=1", "fit.temperature=false", "choose=null", "stabiliser={kind: cusum}")
    small = ("--data", str(folder), "--streams", "S1", "--folds", "2", "--out", "runs", "--models")
    found = run("social_pose.py", *small, *models, *quick)
    of_stream = found["streams"]["S1"]
    assert of_stream["sessions"] == 4 and list(of_stream["models"]) == list(models)
    assert [one["causal"] for one in of_stream["models"].values()] == [True, False, True]
    for one in of_stream["models"].values():
        stated(one, "raw.macro_f1", "stabilised.macro_f1", "stabilised.bout_f1_micro", "raw.flicker", "seconds")
    stated(of_stream, "twin_minus_causal.raw.macro_f1", "twin_minus_causal.stabilised.macro_f1")
    stated(found, "fit.S1.seconds", "peers.source", "peers.S1", "tried.networks")


@pytest.mark.long
def test_social_pose_of_another_tool(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("lightning_action", reason="lightning_action_peer.py says how to install it")
    folder = make_social_folder(tmp_path / "data", [1, 2, 3, 4], 1200)
    models = ("lightning-action", "lightning-action-keypoints")
    small = ("--data", str(folder), "--streams", "S1", "--folds", "2", "--no-fit", "--models")
    of_models = run("social_pose.py", *small, *models)["streams"]["S1"]["models"]
    assert [of_models[model]["causal"] for model in models] == [True, False]
    for model in models:
        stated(of_models[model], "raw.macro_f1", "raw.bout_f1_micro", "seconds")
        assert "stabilised" not in of_models[model]


@pytest.mark.long
def test_freezing_pose(run: Run, test_data: Path) -> None:
    pytest.importorskip("h5py", reason="labels of MATLAB 7.3 are read with h5py")
    quick = ("--turns", "2", "--set", "fit.head_epochs=1")
    found = run("freezing_pose.py", "--data", str(test_data / "freezing_pose"), *quick)
    stated(found, "demo1.raw.freezing_f1", "demo1.stabilised.macro_f1", "demo1.n_true_bouts")
    # Two blocks of 500 frames, less a second at every border: the first has one.
    assert found["demo1"]["unit"] == "block" and found["demo1"]["n_frames"] == 450 + 400
    low, high = found["demo7"]["kappa_of_experts"]
    assert 0.905 < low < high < 0.945


def test_a_score_of_freezing_that_could_not_be_found_is_a_dash(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show = runpy.run_path(str(repository / "benchmarks" / "freezing_pose.py"))["show"]
    known = {"freezing_f1": 0.75, "interval": {"low": 0.5, "high": 0.875}}
    others = dict.fromkeys(("macro_f1", "bout_f1", "flicker", "kappa"))
    unknown = {"freezing_f1": None, "interval": None, **others}
    demo1 = {"n_frames": 450, "n_true_bouts": 0, "raw": {**known, **others, "kappa": 0.25}, "stabilised": unknown}
    show({"demo1": demo1, "demo7": {"kappa": {"expert1, novice": 0.5}}})
    rows = [line.split() for line in capsys.readouterr().err.replace("│", " ").splitlines()]
    assert ["raw", "0.750", "(0.500-0.875)", "-", "-", "-", "0.250"] in rows
    assert ["stabilised", *"-----"] in rows


@pytest.mark.long
def test_pose_speed(run: Run) -> None:
    found = run("pose_speed.py", "--frames", "300", "--rounds", "1")
    assert found["frames"] == 300
    stated(found, "command_s", "features", "parts_s.features", "parts_s.head", "parts_s.stabiliser")
    p50, p99 = stated(found, "step_ms.p50", "step_ms.p99")
    assert 0 < p50 <= p99


def test_predict(run: Run) -> None:
    small = ("--seconds", "0.5", "--bundles", "demo", "--embedders", "none", "--rounds", "1", "--stage-frames", "10")
    found = run("predict.py", *small)
    assert stated(found, "video.n_frames", "models.demo.n_rows", "models.demo.weights") == [15, 15, "trained"]
    stated(found, "machine", "models.demo.wall_s", "models.demo.processor_s", "models.demo.load_s")
    assert list(found["models"]["demo"]["stages_ms"]) == ["decode", "crop", "embed", "features, head, stabiliser"]
    assert found["models"]["demo"]["same_labels"] == 1.0
    assert found["models"]["demo"]["largest_difference_of_p"] < 1e-5


@pytest.mark.long
def test_predict_with_random_weights(run: Run) -> None:
    small = ("--seconds", "0.2", "--bundles", "demo", "--rounds", "1", "--stage-frames", "4")
    found = run("predict.py", *small, "--embedders", "small,resnet18")
    assert [one["weights"] for one in found["models"].values()] == ["trained", "random", "random"]


@pytest.mark.long
@pytest.mark.timeout(900)  # six trainings on real video, and their answers
def test_clips(run: Run, test_data: Path) -> None:
    small = ("--clips", "below,below60", "--train", "each", "pooled", "--folds", "2", "--epochs", "1,1")
    found = run("clips.py", "--data", str(test_data), *small)
    assert list(found["clips"]) == ["below", "below60"] and list(found["pooled"]) == ["below", "below60", "all"]
    assert "25 Hz" in found["clips"]["below"]["default"]["refused"]
    below, below60, pooled = found["clips"]["below"], found["clips"]["below60"], found["pooled"]["all"]
    for one in (below["trained"], below60["default"], pooled["trained"]):
        stated(one, "n_frames", "raw.A.accuracy", "raw.B.accuracy", "stabilised.A.accuracy", "raw.A.note")
    assert found["clips"]["below"]["labelled_frames"] == 449
    assert found["pooled"]["all"]["trained"]["raw"]["A"]["interval"] is not None


def test_clips_that_learn_from_something_else_are_learnt_from_again(repository: Path, tmp_path: Path) -> None:
    clips = runpy.run_path(str(repository / "benchmarks" / "clips.py"))
    fit = {**clips["FIT"], "joint_epochs": 1, "head_epochs": 1}

    def said(**of_fit: Any) -> list[int]:
        """No video is there: what is not done already cannot be done."""
        found = clips["trained"](["below"], tmp_path, truth, 2, fit | of_fit, tmp_path / "runs")
        return found["below"]["stabilised"].tolist()

    labels = np.repeat(np.array([0, 1, 0, 1], np.int16), 5)
    truth = {"below": {"A": labels, "B": labels}}
    clips["write_bouts"](tmp_path / "below-A.csv", labels)
    for fold in range(2):
        config = clips["config_of"]({"below": "below"}, clips["CLASSES"][:2], fold, 2, fit)
        answers = RecordingAnswers(
            "below", 30.0, labels, labels, labels, np.eye(2, dtype=np.float32)[labels], labels >= 0
        )
        run = tmp_path / "runs" / f"fold-{fold}-{clips['learnt_with'](config, tmp_path)}.run"
        run.mkdir(parents=True)
        write_answers(run / ANSWERS_FILE, [answers], config.classes)
    assert said() == labels.tolist()
    with pytest.raises(EthostreamError, match=r"below\.mkv"):
        said(learning_rate=0.003)
    clips["write_bouts"](tmp_path / "below-A.csv", np.roll(labels, 1))
    with pytest.raises(EthostreamError, match=r"below\.mkv"):
        said()
