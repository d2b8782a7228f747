"""From a training file to a CSV: everything real, everything small."""

import csv
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ethostream.acquisition.simulated_camera import render_session
from ethostream.deploy import cli
from ethostream.deploy.training_page.digest import digest_training
from ethostream.deploy.training_page.page import training_page
from ethostream.inference.bundle import Bundle
from ethostream.streaming.video import VideoReader
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import ConfigError, DataError, EthostreamError, VideoError
from ethostream.training.answers.offline import run_offline
from ethostream.training.config.recordings import SimulatedData
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.entries import single_recordings
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.evaluate_video import evaluate
from ethostream.training.runs.predict_video import predict, predict_video
from ethostream.training.runs.train_video import train
from ethostream.training.scores.answers_file import read_answers
from ethostream.training.scores.frames import score
from ethostream.training.splits import LeaveOneOutSplit
from typer.testing import CliRunner

CLASSES = ["locomote", "rear", "groom", "still"]
WIDTH, HEIGHT, RATE_HZ = 160, 120, 30
N_FRAMES = 360


def _simulated(part: str, seed: int) -> dict[str, Any]:
    return {
        "kind": "simulated", "name": part, "part": part, "seeds": [seed], "n_frames": N_FRAMES, "views": 2,
        "width": WIDTH, "height": HEIGHT, "group": f"animal {seed}",
    }  # fmt: skip


def _config(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": "tiny",
        "classes": CLASSES,
        "data": [_simulated("train", 11), _simulated("validation", 12), _simulated("test", 13)],
        "crop": {"kind": "background", "side": 0.3, "polarity": "dark", "sample_width_px": 160},
        "embedder": {"kind": "small_cnn", "dims": 8, "side_px": 32, "width": 4},
        "head": {"kind": "gru", "hidden": 8},
        "features": [{"name": name} for name in ("box_motion", "optical_flow", "motion_energy", "box_position")],
        "any_views": True,
        "split": {"by": "recording"},
        "fit": {"joint_epochs": 2, "head_epochs": 2, "window_frames": 12, "stretch_frames": 60, "threads": 1},
    }
    return config | changes


def _write(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one short lossless video of the simulated mouse and its labels."""
    import av

    folder = tmp_path_factory.mktemp("clip")
    behaviors: list[str] = []
    with av.open(str(folder / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        for images, behavior in render_session(21, N_FRAMES, RATE_HZ, 1, WIDTH, HEIGHT):
            behaviors.append(behavior)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(images[0], format="gray")))
        container.mux(stream.encode(None))
    edges = [0, *(i for i in range(1, N_FRAMES) if behaviors[i] != behaviors[i - 1]), N_FRAMES]
    rows = [f"{a},{b},{behaviors[a]},3" for a, b in pairwise(edges)]
    text = "start_frame,stop_frame,behaviour,confidence\n" + "\n".join(rows) + "\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    # A second rater, who takes every other bout for what he saw first.
    said = [behaviors[edges[0] if place % 2 else edge] for place, edge in enumerate(edges[:-1])]
    rows = [f"{a},{b},{behavior},3" for (a, b), behavior in zip(pairwise(edges), said, strict=True)]
    text = "start_frame,stop_frame,behaviour,confidence\n" + "\n".join(rows) + "\n"
    (folder / "other.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    config = _write(folder / "train.yaml", _config())
    return config, folder / "bundle", train(config, folder / "bundle", None, quiet=True)


def test_training_writes_a_bundle_that_loads(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    _, path, result = trained
    bundle = Bundle.load(path)
    assert bundle.identity == result["bundle"] == result["evaluation"]["bundle"]
    kept = json.loads((path.parent / "bundle.run" / "evaluation.json").read_text(encoding="utf-8"))
    assert kept["bundle"] == bundle.identity
    manifest = bundle.manifest
    assert manifest.classes == CLASSES
    assert manifest.look_ahead_frames == 0
    assert manifest.video.n_views is None
    assert manifest.split.train == ["train-11"]
    assert manifest.split.validation == ["validation-12"]
    assert manifest.split.test == ["test-13"]
    assert [one.name for one in manifest.data] == ["train-11", "validation-12", "test-13"]
    assert manifest.scores.n_frames == N_FRAMES
    assert {one.stage for one in manifest.compute} == {"crop", "embed", "head"}
    assert max(bundle.parity_errors.values()) <= 1e-5
    assert max(result["parity"].values()) <= 1e-5
    names = {one.name for one in path.iterdir()}
    assert names == {"manifest.json", "embedder.onnx", "head_step.onnx", "head_sequence.onnx", "parity.npz"}
    assert not (path.parent / "bundle.run" / "draft").exists()


def test_the_run_is_logged_epoch_by_epoch(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    _, path, result = trained
    text = (path.parent / "bundle.run" / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["stage"], line["epoch"]) for line in lines] == [("joint", 0), ("joint", 1), ("head", 0), ("head", 1)]
    assert all(0 <= line["validation"]["macro_f1"] <= 1 for line in lines)
    assert result["fit"]["joint"]["epochs"] == 2


def test_the_run_keeps_its_answers_and_has_a_page(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    _, path, result = trained
    run = path.parent / "bundle.run"
    (one,), classes = read_answers(run / "answers.npz")
    evaluation = result["evaluation"]
    assert (classes, one.group) == (CLASSES, "animal 13")
    assert score(one.truth[one.known], one.label[one.known], classes).macro_f1 == evaluation["macro_f1"]
    assert score(one.truth[one.known], one.raw[one.known], classes).macro_f1 == evaluation["raw"]["macro_f1"]
    assert evaluation["label_source"] == "simulated"
    assert evaluation["baselines"]["majority"]["counted_in"] == "the training part"
    assert evaluation["compute"]["training_s"] > 0.0 and evaluation["compute"]["per_minute_s"] > 0.0
    page = training_page(digest_training(run))
    assert f"{evaluation['balanced_accuracy']:.3f}" in page
    assert "Simulated recordings" in page and "1 recording: too few" in page
    assert "ethostream train" in page


def test_evaluation_repeats_the_scores_of_the_manifest(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    config, path, result = trained
    found = evaluate(path, config)
    scores = Bundle.load(path).manifest.scores
    json.dumps(found, allow_nan=False)
    assert found["causal"] is True
    assert found["split"] == {"by": "recording"}
    assert found["n_frames"] == N_FRAMES
    assert found["balanced_accuracy"] == found["stabilised"]["balanced_accuracy"] == scores.balanced_accuracy
    assert found["confusion_matrix"] == scores.confusion == result["evaluation"]["confusion_matrix"]
    assert set(found["per_class"]) == set(CLASSES)
    assert found["raw"]["n_undecided"] == 0


@pytest.mark.long
def test_what_it_has_learnt_from_is_not_scored_whatever_part_it_stands_in(
    trained: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The sessions of its training and validation part, given as a test part of another file."""
    _, bundle, result = trained
    other = {**_simulated("other", 14), "part": "train", "n_frames": 40}
    learnt = {**_simulated("train", 11), "part": "test"}
    seen = {**_simulated("validation", 12), "part": "test"}
    fresh = {**_simulated("test", 13), "part": "test"}
    both = evaluate(bundle, _write(tmp_path / "both.yaml", _config(data=[other, learnt, seen, fresh])))
    assert list(both["recordings"]) == ["test-13"]
    assert both["split"] == {"by": "recording", "left_out": ["train-11", "validation-12"]}
    assert both["macro_f1"] == result["evaluation"]["macro_f1"]
    assert any(
        "left out, since the model has learnt from them: train-11, validation-12" in one for one in both["notes"]
    )
    path, scores = _write(tmp_path / "seen.yaml", _config(data=[other, learnt])), tmp_path / "scores.json"
    done = CliRunner().invoke(cli.app, ["evaluate", str(bundle), str(path), "--json", str(scores)])
    assert done.exit_code == 0, done.output
    assert "SCORED ON TRAINING DATA" in done.output and "train-11" in done.output
    found = json.loads(scores.read_text(encoding="utf-8"))
    assert found["split"] == {"by": "training data"}
    assert any("has learnt from train-11" in one for one in found["warnings"])


@pytest.mark.long
def test_the_same_seed_gives_the_same_model(trained: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    config, path, _ = trained
    train(config, tmp_path / "again", None, quiet=True)
    for name in ("embedder.onnx", "head_step.onnx", "head_sequence.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (path / name).read_bytes(), name


def test_prediction_has_one_row_per_frame(
    trained: tuple[Path, Path, dict[str, Any]], clip: Path, tmp_path: Path
) -> None:
    _, path, _ = trained
    out = tmp_path / "deep" / "clip.csv"
    result = predict(path, clip / "clip.mkv", out)
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["frame", "time_s", "behaviour", *(f"p_{name}" for name in CLASSES)]
    assert [int(row[0]) for row in rows[1:]] == list(range(N_FRAMES))
    assert result["n_frames"] == sum(result["frames_of"].values()) == N_FRAMES
    p = np.array([[float(value) for value in row[3:]] for row in rows[1:]])
    assert np.allclose(p.sum(1), 1, atol=1e-5)
    times = np.array([float(row[1]) for row in rows[1:]])
    assert np.allclose(times, np.arange(N_FRAMES) / RATE_HZ, atol=1e-3)
    assert {row[2] for row in rows[1:]} <= {"", *CLASSES}
    with VideoReader(clip / "clip.mkv") as reader:
        assert sum(1 for _ in reader) == N_FRAMES


def test_prediction_says_what_the_rig_says(trained: tuple[Path, Path, dict[str, Any]], clip: Path) -> None:
    _, path, _ = trained
    bundle = Bundle.load(path)
    with VideoReader(clip / "clip.mkv", "mono8") as video:
        frames = ((t_ns, [image]) for t_ns, image in video)
        live = list(run_offline(bundle, {"any": video.shape}, video.rate_hz, frames, RigClock(ClockAnchor.take())))
    rows = list(predict_video(path, clip / "clip.mkv"))
    assert [row.behavior for row in rows] == [one.label for one in live if one is not None]
    assert np.allclose([row.p for row in rows], [one.p for one in live if one is not None], atol=1e-6)


def _frames_of(path: Path) -> list[str]:
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [behavior for start, stop, behavior, _ in rows for _ in range(int(start), int(stop))]


@pytest.mark.long
def test_training_on_video_with_time_blocks_and_a_second_rater(clip: Path, tmp_path: Path) -> None:
    config = _config(
        data=[{"kind": "video", "path": "clip.mkv", "labels": "labels.csv", "compare": {"other": "other.csv"}}],
        any_views=False,
        head={"kind": "tcn", "hidden": 8, "dilations": [1, 2]},
        split={"by": "time_block", "pattern": ["train", "validation", "train", "test"] * 4, "guard_s": 0.1},
        classes=sorted({line.split(",")[2] for line in (clip / "labels.csv").read_text().splitlines()[1:]}),
        fit={"joint_epochs": 0, "head_epochs": 2, "stretch_frames": 40, "threads": 1, "label_margin_frames": 2},
    )
    result = train(_write(tmp_path / "train.yaml", config), tmp_path / "bundle", clip, quiet=True)
    evaluation = result["evaluation"]
    manifest_classes = config["classes"]
    assert 0 < evaluation["n_frames"] < N_FRAMES / 4
    other = evaluation["compare"]["other"]
    truth, theirs = (_frames_of(clip / name) for name in ("labels.csv", "other.csv"))
    (answers,), _ = read_answers(tmp_path / "bundle.run" / "answers.npz")
    judged = np.flatnonzero(answers.known)
    agreement = float(np.mean([truth[place] == theirs[place] for place in judged]))
    assert 0.3 < agreement < 1.0
    assert other["agreement_with_labels"]["agreement"] == pytest.approx(agreement)
    against = [manifest_classes.index(theirs[place]) for place in judged]
    assert other["raw"]["accuracy"] == pytest.approx(float(np.mean(answers.raw[judged] == against)))
    manifest = Bundle.load(tmp_path / "bundle").manifest
    assert manifest.video.n_views == 1
    assert len(manifest.split.train) == 8
    assert all(name.startswith("clip[") for name in manifest.split.test)


@pytest.mark.long
def test_a_model_of_two_views_refuses_one_video(clip: Path, tmp_path: Path) -> None:
    config = _config(any_views=False, fusion="joined")
    train(_write(tmp_path / "train.yaml", config), tmp_path / "joined", None, quiet=True)
    assert Bundle.load(tmp_path / "joined").manifest.video.n_views == 2
    with pytest.raises(ConfigError, match="takes 2 synchronised views"):
        next(predict_video(tmp_path / "joined", clip / "clip.mkv"))


@pytest.mark.long
def test_an_int8_export_is_scored_beside_the_float_bundle_that_stays(clip: Path, tmp_path: Path) -> None:
    config = _config(
        data=[_simulated("train", 11), _simulated("test", 13) | {"n_frames": 90}],
        fit={"joint_epochs": 0, "head_epochs": 1, "stretch_frames": 60, "threads": 1},
        export={"precision": "int8", "calibration_frames": 8, "max_score_loss": 1.0, "weight_bits": 7},
    )
    result = train(_write(tmp_path / "train.yaml", config), tmp_path / "bundle", None, quiet=True)
    large, small = Bundle.load(tmp_path / "bundle.run" / "float32"), Bundle.load(tmp_path / "bundle")
    record = small.manifest.quantisation
    assert large.manifest.quantisation is None and record is not None
    assert (record.source, record.weight_bits, record.max_score_loss) == (large.identity, 7, 1.0)
    assert result["bundle"] == result["evaluation"]["bundle"] == small.identity
    assert result["quantisation"] == record.model_dump(mode="json")
    for bundle, scores in ((large, record.stabilised.float32), (small, record.stabilised.int8)):
        assert bundle.manifest.scores.balanced_accuracy == scores.balanced_accuracy
    answers = list(predict_video(tmp_path / "bundle", clip / "clip.mkv"))
    assert len(answers) == N_FRAMES


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"export": {"precision": "int4"}}, ConfigError, r"export.precision"),
        ({"epochs": 3}, ConfigError, r"epochs: unknown key"),
        ({"fit": {"joint_epoch": 1}}, ConfigError, r"fit.joint_epoch: unknown key"),
        ({"classes": ["a", "a"]}, ConfigError, r"a name stands twice"),
        ({"fusion": "joined"}, ConfigError, r"any_views: fusion 'joined' needs a fixed number"),
        ({"split": {"by": "time_block", "pattern": ["train", "test"]}}, ConfigError, r"'part' goes with"),
        ({"data": [_simulated("train", 1)]}, ConfigError, r"at least one entry with 'part: train'"),
        ({"data": [_simulated("train", 1), _simulated("test", 1)]}, DataError, r"are the same recording"),
        ({"data": [_simulated("train", 1), _simulated("train", 2), _simulated("test", 2)]}, DataError, r"same rec"),
        ({"classes": [*CLASSES, "sniff"]}, DataError, r"has no frame of sniff"),
        ({"classes": CLASSES[:3]}, DataError, r"'still' is not among the classes"),
        ({"stabiliser": {"per_class": {"jump": {}}}}, ConfigError, r"stabiliser: jump is not among"),
        ({"head": {"kind": "perceptron"}}, ConfigError, r"head.kind"),
        ({"head": {"kind": "gru"}, "fit": {"stride_frames": 2}}, ConfigError, r"fit.stride_frames: 2, but a gru rem"),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_read(
    change: dict[str, Any], error: type[EthostreamError], message: str, tmp_path: Path
) -> None:
    path = _write(tmp_path / "train.yaml", _config(**change))
    with pytest.raises(error, match=message):
        train(path, tmp_path / "bundle", None, quiet=True)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("video", "labels", "error", "message"),
    [
        ("absent.mkv", "labels.csv", VideoError, r"absent.mkv: cannot be opened"),
        ("empty.mkv", "labels.csv", VideoError, r"empty.mkv: is empty \(0 bytes\)"),
        ("labels.csv", "labels.csv", VideoError, r"labels.csv: cannot be read as video"),
        ("clip.mkv", "absent.csv", DataError, r"absent.csv: labels cannot be read"),
        ("clip.mkv", "beyond.csv", DataError, r"beyond.csv: line 2: rear goes on to frame 360 .*off-by-one"),
    ],
)
def test_bad_recordings_are_refused(
    video: str, labels: str, error: type[EthostreamError], message: str, clip: Path, tmp_path: Path
) -> None:
    (clip / "empty.mkv").touch()
    (clip / "beyond.csv").write_text(f"start_frame,stop_frame,behaviour\n0,{N_FRAMES + 1},rear\n", encoding="utf-8")
    split = {"by": "time_block", "pattern": ["train", "test"]}
    config = _config(data=[{"kind": "video", "path": video, "labels": labels}], split=split)
    with pytest.raises(error, match=message):
        train(_write(tmp_path / "train.yaml", config), tmp_path / "bundle", clip, quiet=True)


def test_paths_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        train(tmp_path / "absent.yaml", tmp_path / "bundle")
    with pytest.raises(ConfigError, match=r"is not a folder; give the folder of the recordings with --data"):
        train(_write(tmp_path / "train.yaml", _config()), tmp_path / "bundle", tmp_path / "absent")


def test_scoring_and_prediction_need_no_torch() -> None:
    code = (
        "import sys; import ethostream.training.runs.predict_video, ethostream.training.runs.evaluate_video; "
        "import ethostream.training.runs.predict_pose, ethostream.training.runs.evaluate_pose; "
        "print(sorted({'torch', 'lightning', 'sklearn', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.long
def test_cross_validation_of_video_is_a_training_per_fold(tmp_path: Path) -> None:
    data = {**_simulated("mouse", 0), "seeds": [11, 12], "n_frames": 200, "views": 1, "part": None}
    split = {"by": "time_block", "pattern": ["train", "test"]}
    fit = {"joint_epochs": 0, "head_epochs": 1, "stretch_frames": 60, "threads": 1, "temperature": True}
    head = {"kind": "gru", "hidden": 8, "look_ahead_frames": 4}
    path = _write(tmp_path / "train.yaml", _config(data=[data], split=split, fit=fit, classes=CLASSES, head=head))
    config, root = load_config(path)
    result = crossval(
        config, root, tmp_path / "cv", LeaveOneOutSplit(unit="recording"), quiet=True, notes=["assumed: nothing"]
    )
    assert [one["scored"] for one in result["folds"]] == [["mouse-11"], ["mouse-12"]]
    evaluation = result["evaluation"]
    assert sorted(evaluation["recordings"]) == ["mouse-11", "mouse-12"]
    assert (evaluation["n_frames"], evaluation["label_source"]) == (400, "simulated")
    # It waits for four frames, and does not see the whole recording.
    assert (evaluation["causal"], evaluation["look_ahead_frames"]) == (False, 4)
    assert any("Answers used the next 4 frames" in one for one in evaluation["warnings"])
    assert "assumed: nothing" in evaluation["notes"]
    assert any("fold 2, inside: nothing to choose temperature on" in note for note in evaluation["notes"])
    assert any("groom" in note for note in evaluation["notes"]), "what is odd about the data"
    assert json.loads((tmp_path / "cv" / "data.json").read_text())["notes"][0] == "assumed: nothing"
    # After a kill in the second fold the first is not done again.
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cv" / "fold-1").rglob("*") if path.is_file()}
    for name in ("evaluation.json", "fold-2/fold.json"):
        (tmp_path / "cv" / name).unlink()
    again = crossval(
        config, root, tmp_path / "cv", LeaveOneOutSplit(unit="recording"), quiet=True, notes=["assumed: nothing"]
    )
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again["evaluation"]["macro_f1"] == evaluation["macro_f1"]
    bundles = [tmp_path / "cv" / f"fold-{n}" / "bundle" for n in (1, 2)]
    manifests = [Bundle.load(one, max_look_ahead_frames=4).manifest for one in bundles]
    assert [one.split.train for one in manifests] == [["mouse-12"], ["mouse-11"]]
    assert [one.split.test for one in manifests] == [["mouse-11"], ["mouse-12"]]


def test_every_seed_is_a_recording_of_its_own_in_a_cross_validation() -> None:
    data = {**_simulated("mouse", 0), "seeds": [11, 12], "part": None}
    config = TrainConfig.model_validate(_config(data=[data], split={"by": "time_block", "pattern": ["train", "test"]}))
    assert [one.seeds for one in single_recordings(config.data) if isinstance(one, SimulatedData)] == [[11], [12]]
