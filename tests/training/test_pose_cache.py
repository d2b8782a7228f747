"""Features of keypoints through the cache: folds share them, and answers stay the same."""

import ast
import csv
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.deploy import cli
from ethostream.sync.errors import ConfigError, DiskFullError
from ethostream.training.cache.key import modules_below
from ethostream.training.cache.pose_features import pose_features, pose_key
from ethostream.training.cache.store import FeatureCache
from ethostream.training.config.pose import PoseRule
from ethostream.training.config.recordings import PoseData
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.data.pose_recordings import (
    PoseRecording,
    feature_specs,
    features_of,
    open_poses,
    pose_input,
    with_scale,
)
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.runs.crossval import crossval
from ethostream.training.scores.answers_file import read_answers
from ethostream.training.splits import KFoldSplit
from social_sessions import make_social_folder
from typer.testing import CliRunner

N_FRAMES = 240
SMALL = [
    "fit.head_epochs=1",
    "fit.stretch_frames=120",
    "fit.stride_frames=1",
    "fit.weight_average=null",
    "fit.threads=1",
    "head={kind: tcn, hidden: 8, dilations: [1, 2], dropout: 0.0}",
    "split={by: k_fold, folds: 2}",
    "choose=null",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_social_folder(tmp_path_factory.mktemp("data"), [1, 2, 3], N_FRAMES)


def config_of(folder: Path, *changes: str) -> TrainConfig:
    return configure(read_preset("pose-tcn"), find_dataset(folder, FolderOptions(stream="S1")), [*SMALL, *changes])


@pytest.fixture(scope="module")
def opened(folder: Path) -> tuple[list[PoseRecording], PoseRule]:
    config = config_of(folder)
    assert config.pose is not None
    entries = [one for one in config.data if isinstance(one, PoseData)]
    recordings, rule = open_poses(entries, folder, config.pose, config.classes, config.labels)
    return recordings, with_scale(rule, recordings)


def call(*words: str) -> str:
    done = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_features_from_the_cache_are_the_features(opened: tuple[list[PoseRecording], PoseRule], tmp_path: Path) -> None:
    recordings, rule = opened
    plain = features_of(rule, recordings[0].points)
    cache = FeatureCache(tmp_path)
    found = [pose_features(rule, recordings[0], one) for one in (None, cache, cache)]
    assert all(x.tobytes() == plain.tobytes() and x.dtype == np.float32 for x in found)
    assert (cache.account.n_computed, cache.account.n_found) == (1, 1)


def test_a_damaged_entry_is_computed_anew(opened: tuple[list[PoseRecording], PoseRule], tmp_path: Path) -> None:
    recordings, rule = opened
    first = pose_features(rule, recordings[0], FeatureCache(tmp_path))
    (path,) = tmp_path.glob("pose-*/x.npy")
    content = bytearray(path.read_bytes())
    content[5000] ^= 16
    path.write_bytes(content)
    said: list[str] = []
    cache = FeatureCache(tmp_path, said.append)
    assert np.array_equal(pose_features(rule, recordings[0], cache), first)
    assert (cache.account.n_computed, cache.account.n_found, len(said)) == (1, 0, 1)
    assert str(path) in said[0]
    assert np.array_equal(pose_features(rule, recordings[0], FeatureCache(tmp_path, said.append)), first)
    assert len(said) == 1


def test_what_changes_the_numbers_changes_the_key(
    opened: tuple[list[PoseRecording], PoseRule], monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, rule = opened
    points = recordings[0].points

    def digest(changed: PoseRule = rule, of: Any = points, rate_hz: float = 30.0) -> str:
        return pose_key(pose_input(changed), feature_specs(changed), rate_hz, of).digest

    moved = points.copy()
    moved[7, 0, 0, 0] += 0.01
    scale = rule.scale.model_copy(update={"start_px": 81.0})
    fill = rule.fill.model_copy(update={"max_fill_ms": 400.0})
    found = [
        digest(),
        digest(of=moved),
        digest(of=points[:-1]),
        digest(rate_hz=29.97),
        digest(rule.model_copy(update={"scale": scale})),
        digest(rule.model_copy(update={"fill": fill})),
        digest(rule.model_copy(update={"features": rule.features[:-1]})),
        digest(rule.model_copy(update={"features": [*rule.features[1::-1], *rule.features[2:]]})),
    ]
    from ethostream.inference.pose import registry

    # As if the code of something that every feature rests on had changed.
    monkeypatch.setattr(registry, "SHARED", registry.SHARED[:-1])
    found.append(digest())
    assert len(set(found)) == len(found)


def test_folds_share_features_and_answer_the_same(folder: Path, tmp_path: Path) -> None:
    # A unit of length that the file states is that of all folds; a measured one is that of each.
    config, rule = config_of(folder, "pose.scale.start_px=80"), KFoldSplit(folds=3)
    plain = crossval(config, folder, tmp_path / "plain", rule, quiet=True)
    assert "cache" not in plain
    cached = crossval(config, folder, tmp_path / "cached", rule, quiet=True, cache=tmp_path / "cache")
    again = crossval(config, folder, tmp_path / "again", rule, quiet=True, cache=tmp_path / "cache")
    said = {"folder": str(tmp_path / "cache"), "not_kept": 0, "damaged": []}
    assert cached["cache"] == {**said, "computed": 3, "found": 6}  # three folds see three recordings each
    assert again["cache"] == {**said, "computed": 0, "found": 9}
    answers = [read_answers(tmp_path / name / "answers.npz")[0] for name in ("plain", "cached", "again")]
    for one, *others in zip(*answers, strict=True):
        assert all(other.p.tobytes() == one.p.tobytes() for other in others)
    folds = [(tmp_path / name / "fold-1" / "fold.json").read_text() for name in ("cached", "again")]
    assert set(json.loads(folds[0])) == set(json.loads(folds[1]))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A model, trained by the command, with a cache of its own."""
    place = tmp_path_factory.mktemp("trained")
    changes = [word for one in SMALL for word in ("--set", one)]
    words = ["--preset", "pose-tcn", "--data", str(folder), "--stream", "S1", "--cache", str(place / "cache"), *changes]
    call("features", *words, "--json", str(place / "features.json"))
    call("train", *words, "--out", str(place / "bundle"), "--json", str(place / "train.json"))
    return place, json.loads((place / "train.json").read_text())


def test_features_are_computed_ahead_of_a_training(trained: tuple[Path, dict[str, Any]]) -> None:
    place, result = trained
    said = json.loads((place / "features.json").read_text())
    assert (said["computed"], said["found"], said["max_gb"]) == (3, 0, 20.0)
    assert [one["recording"] for one in said["recordings"]] == ["1", "2", "3"]
    assert {one["n_frames"] for one in said["recordings"]} == {N_FRAMES}
    assert (result["cache"]["computed"], result["cache"]["found"]) == (0, 3)


def test_scores_look_into_the_same_cache(trained: tuple[Path, dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    place, _ = trained
    words = ["evaluate", str(place / "bundle"), "--data", str(folder), "--stream", "S1"]
    output = call(*words, "--cache", str(place / "cache"), "--json", str(tmp_path / "cached.json"))
    assert "3 from the cache, 0 computed" in " ".join(output.split())
    call(*words, "--cache", "none", "--json", str(tmp_path / "plain.json"))
    cached, plain = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("cached", "plain"))
    assert cached["compute"].pop("per_minute_s") > 0.0 and plain["compute"].pop("per_minute_s") > 0.0
    assert cached == plain


def test_the_features_of_one_recording_are_written_with_their_names(
    trained: tuple[Path, dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    place, _ = trained
    changes = [word for one in SMALL for word in ("--set", one)]
    words = ["--preset", "pose-tcn", "--data", str(folder), "--stream", "S1", "--cache", str(place / "cache"), *changes]
    for name in ("2.csv", "2.npz"):
        call("features", *words, "--recording", "2", "--out", str(tmp_path / name))
    with np.load(tmp_path / "2.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    with (tmp_path / "2.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    names = arrays["names"].tolist()
    assert rows[0] == ["frame", "time_s", "label", *names] and len(set(names)) == len(names) == arrays["x"].shape[1]
    assert len(rows) == N_FRAMES + 1
    assert np.allclose(np.array([row[3:] for row in rows[1:]], np.float64), arrays["x"], rtol=1e-6)
    assert float(rows[31][1]) == arrays["time_s"][30] == 1.0
    classes = arrays["classes"].tolist()
    assert [row[2] for row in rows[1:]] == [classes[one] if one >= 0 else "" for one in arrays["labels"].tolist()]
    assert "" in {row[2] for row in rows[1:]} and set(classes) <= {row[2] for row in rows[1:]}
    with pytest.raises(ConfigError, match=r"holds one recording; say which with --recording \(1, 2, 3\)"):
        call("features", *words, "--out", str(tmp_path / "all.csv"))
    with pytest.raises(ConfigError, match=r"--recording 9: is not among"):
        call("features", *words, "--recording", "9", "--out", str(tmp_path / "9.csv"))
    with pytest.raises(ConfigError, match=r"ends in .csv or .npz"):
        call("features", *words, "--recording", "2", "--out", str(tmp_path / "2.xlsx"))


def test_the_cache_is_listed_bounded_and_cleared(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(trained[0] / "cache", tmp_path / "cache")
    words, result = ["features", "--cache", str(tmp_path / "cache")], tmp_path / "result.json"
    said = call(*words, "--list")
    assert "3 entries" in said and "pose" in said
    call(*words, "--max-gb", "0.0005", "--list", "--json", str(result))
    left = json.loads(result.read_text())
    assert left["max_gb"] == 0.0005 and 0 < len(left["entries"]) < 3
    assert left["n_bytes"] == sum(one["n_bytes"] for one in left["entries"]) <= 500_000
    call(*words, "--clear", "--json", str(result))
    assert json.loads(result.read_text())["cleared"]["entries"] == len(left["entries"])
    assert json.loads(result.read_text())["entries"] == []
    for wrong in (["features"], ["features", "--list", "--cache", "none"], ["features", "--out", "x.csv"]):
        with pytest.raises(ConfigError):
            call(*wrong)


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from ethostream.deploy.cli import main
main()
"""


@pytest.mark.long
def test_a_full_disk_ends_a_training_with_a_word(folder: Path, tmp_path: Path) -> None:
    """In a process of its own, in which no file becomes longer than 100 kB: features take three times as much."""
    words = [
        "train",
        "--preset",
        "pose-tcn",
        "--data",
        str(folder),
        "--stream",
        "S1",
        "--out",
        str(tmp_path / "bundle"),
    ]
    changes = [word for one in SMALL for word in ("--set", one)]
    command = [sys.executable, "-c", FULL, *words, *changes, "--cache", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == DiskFullError.exit_code, done.stderr
    said = " ".join(done.stderr.split())
    assert "feature cache: no room for" in said and "--cache none" in said
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "bundle").exists()


def test_every_library_that_features_are_computed_with_is_in_their_key(
    opened: tuple[list[PoseRecording], PoseRule],
) -> None:
    """Also what is imported inside a function."""
    (recording, *_), rule = opened
    found = pose_key(pose_input(rule), feature_specs(rule), 30.0, recording.points).recipe["versions"]
    libraries = set[str]()
    for module in modules_below("inference.pose.pose_front") | modules_below("inference.pose.registry"):
        spec = find_spec(module)
        if not module.startswith("ethostream.inference.pose.") or spec is None or spec.origin is None:
            continue
        for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module is not None:
                names = [node.module]
            libraries |= {name.partition(".")[0] for name in names}
    computing = libraries - set(sys.stdlib_module_names) - {"pydantic"}
    assert computing == {"numpy"} == set(found)
