"""Bad input of whole commands: killed in the middle, other classes, other rates, one frame, points that are missing."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from ethostream.deploy import cli
from ethostream.inference.bundle import Bundle
from ethostream.sync.errors import BundleError, ConfigError, DataError
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.pose import PoseRule
from ethostream.training.config.recordings import PoseData
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.pose_recordings import features_of, open_poses, with_scale
from ethostream.training.data.video_sources import open_sources
from ethostream.training.runs.evaluate_pose import evaluate_config
from ethostream.training.runs.predict_pose import predict_pose
from ethostream.training.scores.answers_file import read_answers
from social_sessions import CLASSES, make_social_folder, write_labels, write_points
from typer.testing import CliRunner

SMALL = [
    "fit={head_epochs: 3, stretch_frames: 60, batch_windows: 2, learning_rate: 0.01, threads: 1, temperature: true}",
    "head={kind: tcn, hidden: 6, dilations: [1, 2], dropout: 0.1}",
    "pose.features=[{name: pose_distances, parameters: {cross: true}}]",
    "split={by: k_fold, folds: 2}",
]
# The command, killed by SIGKILL at the n-th batch that is learnt from.
KILLED = """
import os, signal, sys
from torch.nn.modules.module import register_module_forward_pre_hook
from ethostream.deploy import cli
from ethostream.training.networks.convolution import TcnCore
seen = []
def count(module, inputs):
    if isinstance(module, TcnCore) and module.training:
        seen.append(module)
        if len(seen) == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
register_module_forward_pre_hook(count)
cli.app(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_social_folder(tmp_path_factory.mktemp("data"), [1, 2, 3], 240)


def _words(command: str, folder: Path, out: Path, *more: str) -> list[str]:
    changes = [word for change in SMALL for word in ("--set", change)]
    words = ["--preset", "pose-tcn", "--data", str(folder), "--stream", "S1", "--out", str(out)]
    return [command, *words, "--cache", "none", *more, *changes]


def _call(words: list[str]) -> None:
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def _kill(words: list[str], nth: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(nth), *words], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def _said(path: Path) -> dict[str, Any]:
    """What a run says of itself, without times and places."""
    found = json.loads((path / "evaluation.json").read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in ("compute", "bundle", "notes")}


def _curves(run: Path) -> dict[str, list[str]]:
    return {
        str(one.relative_to(run)): one.read_text(encoding="utf-8").splitlines() for one in run.rglob("metrics.jsonl")
    }


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "bundle"
    _call(_words("train", folder, out))
    return out


@pytest.mark.long
def test_a_training_with_folds_that_is_killed_goes_on_to_the_same_bundle(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    """The first fold is done, the second is in its second epoch."""
    n_of = {name: len(lines) for name, lines in _curves(trained.parent / "bundle.run").items()}
    assert n_of == {"metrics.jsonl": n_of["metrics.jsonl"], "fold-1/metrics.jsonl": 3, "fold-2/metrics.jsonl": 3}
    words = _words("train", folder, tmp_path / "bundle")
    _kill(words, _batches(trained.parent / "bundle.run"))
    run = tmp_path / "bundle.run"
    assert not (tmp_path / "bundle").exists()
    assert len(_curves(run)["fold-1/metrics.jsonl"]) == 3
    assert len(_curves(run)["fold-2/metrics.jsonl"]) in (1, 2)
    _call([*words, "--json", str(tmp_path / "result.json")])
    fits = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["fit"]["folds"]
    assert fits[0]["resumed_from_epoch"] == 3  # what was done is not done again
    assert fits[1]["resumed_from_epoch"] in (1, 2)
    assert _curves(run) == _curves(trained.parent / "bundle.run")
    assert _said(run) == _said(trained.parent / "bundle.run")
    for name in ("head_step.onnx", "head_sequence.onnx"):
        assert (tmp_path / "bundle" / name).read_bytes() == (trained / name).read_bytes()
    assert not list(run.rglob("*.ckpt"))


def _batches(run: Path) -> int:
    """The number of a batch in the second epoch of the second fold: four windows, two batches per recording."""
    answers, _ = read_answers(run / "answers.npz")
    first, second = (2 * sum(one.fold != fold for one in answers) for fold in (0, 1))
    return 3 * first + second + 1


@pytest.mark.long
def test_a_cross_validation_that_is_killed_goes_on_with_the_fold_it_was_in(folder: Path, tmp_path: Path) -> None:
    more = ("--leave-one-out",)
    _call(_words("crossval", folder, tmp_path / "whole", *more))
    words = _words("crossval", folder, tmp_path / "killed", *more)
    # A fold is two inner fits of one recording, 3 epochs of 2 batches, and one of two recordings, 1 to 3 epochs of 4.
    _kill(words, 28)
    done = tmp_path / "killed" / "fold-1" / "answers.npz"
    begun = done.stat().st_mtime_ns
    assert not (tmp_path / "killed" / "evaluation.json").exists()
    _call(words)
    assert done.stat().st_mtime_ns == begun
    assert _said(tmp_path / "killed") == _said(tmp_path / "whole")


def test_classes_in_another_order_are_refused_wherever_they_come_from(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    config, root = load_config(trained.parent / "bundle.run" / "config.yaml")
    turned = config.model_copy(update={"classes": CLASSES[::-1]})
    with pytest.raises(ConfigError, match="knows aggression, nonsocial, social, the training file social, nonsocial"):
        evaluate_config(trained, turned, root)
    changed = Path(shutil.copytree(trained, tmp_path / "changed"))
    manifest = json.loads((changed / "manifest.json").read_text(encoding="utf-8"))
    manifest["classes"] = manifest["classes"][::-1]
    (changed / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match="classes are social, nonsocial, aggression, and the model was made with"):
        Bundle.load(changed)


RULE: dict[str, Any] = {
    "scale": {"path": ["top", "body", "tail"]},
    "features": [
        {"name": "pose_distances", "parameters": {"cross": True}},
        {"name": "pose_presence", "parameters": {"since_s": [0.3, 3.0]}},
        {"name": "pose_motion", "parameters": {"places": ["body"], "lags_s": [0.1, 0.5], "squash": "log"}},
        {"name": "pose_egocentric", "parameters": {"origin": "body", "axis": ["tail", "top"]}},
    ],
}


def _open(folder: Path, n: int, missing: Any) -> tuple[Any, PoseRule]:
    rng = np.random.default_rng(0)
    points = 300.0 + 40.0 * rng.random((n, 2, 5, 2)) + np.arange(5)[None, None, :, None] * 30.0
    missing(points)
    write_points(folder / "one.csv", points)
    write_labels(folder / "one.txt", [CLASSES[k // 10 % 3] for k in range(n)])
    entry = PoseData.model_validate(
        {"kind": "pose", "path": "one.csv", "labels": "one.txt", "stream": "S1", "rate_hz": 30.0}
    )
    (recording,), rule = open_poses([entry], folder, PoseRule.model_validate(RULE), CLASSES, LabelOptions())
    return recording, rule


def _no_tail_end(points: np.ndarray) -> None:
    points[:, 1, 4] = np.nan


def _nobody_at_first(points: np.ndarray) -> None:
    points[:30] = np.nan


def _one_animal_leaves(points: np.ndarray) -> None:
    points[3:, 1] = np.nan


@pytest.mark.parametrize("missing", [_no_tail_end, _nobody_at_first, _one_animal_leaves])
def test_parts_and_animals_that_are_missing_leave_every_feature_a_number(missing: Any, tmp_path: Path) -> None:
    recording, rule = _open(tmp_path, 90, missing)
    x = features_of(with_scale(rule, [recording]), recording.points)
    assert x.shape[0] == 90
    assert np.isfinite(x).all()


def test_one_frame_is_refused_for_training_and_answered_by_predict(trained: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one.csv: has 1 row\(s\); a recording has at least 2"):
        _open(tmp_path, 1, lambda points: None)
    points = next((folder / "dlc_csv").glob("1*"))
    one = tmp_path / "single.csv"
    one.write_text("\n".join(points.read_text(encoding="utf-8").splitlines()[:5]) + "\n", encoding="utf-8")
    predict_pose(trained, one, tmp_path / "out.csv", 30.0)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


def _clip(path: Path, rate: int, n_frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "gray"
        for k in range(n_frames):
            image = np.full((64, 64), k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))


def _videos(tmp_path: Path, *clips: tuple[int, int]) -> TrainConfig:
    data: list[dict[str, str]] = []
    for place, (rate, n_frames) in enumerate(clips):
        _clip(tmp_path / f"{place}.mkv", rate, n_frames)
        (tmp_path / f"{place}.csv").write_text(f"start_frame,stop_frame,behaviour\n0,{n_frames},a\n", encoding="utf-8")
        data.append({"kind": "video", "path": f"{place}.mkv", "labels": f"{place}.csv"})
    split = {"by": "time_block", "pattern": ["train", "test"]}
    return TrainConfig.model_validate({"name": "m", "classes": ["a", "b"], "data": data, "split": split})


def test_videos_of_different_rates_and_of_one_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 has 25 frames/s and 0 30; a model has one rate"):
        open_sources(_videos(tmp_path, (30, 4), (25, 4)), tmp_path)
    with pytest.raises(DataError, match=r"0: has 1 frame\(s\); a recording has at least 2"):
        open_sources(_videos(tmp_path, (30, 1)), tmp_path)
