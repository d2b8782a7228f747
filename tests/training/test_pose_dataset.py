"""Recordings of keypoints as arrays: names, rates, the unit of length, and what is refused."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.pose import PoseRule
from ethostream.training.config.recordings import PoseData
from ethostream.training.data.pose_recordings import PoseRecording, features_of, open_poses, with_scale
from social_sessions import CLASSES, KEYPOINTS, make_social_folder, write_labels, write_session

OPTIONS = LabelOptions(ignore=["base"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_social_folder(tmp_path_factory.mktemp("data"), [1, 2], 200)


def _rule(**changes: Any) -> PoseRule:
    return PoseRule.model_validate(
        {
            "scale": {"path": ["top", "body", "tail"]},
            "features": [{"name": "pose_distances", "parameters": {"cross": True}}],
            **changes,
        }
    )


def _entry(number: int, **changes: Any) -> PoseData:
    return PoseData.model_validate(
        {
            "kind": "pose",
            "name": str(number),
            "path": f"dlc_csv/{number}DLC_resnet_el_filtered.csv",
            "labels": f"annotations/{number}_annot.txt",
            "stream": "S1",
            "rate_hz": 30.0,
            **changes,
        }
    )


def _open(folder: Path, *entries: PoseData, **changes: Any) -> tuple[list[PoseRecording], PoseRule]:
    return open_poses(entries, folder, _rule(**changes), CLASSES, OPTIONS)


def test_what_the_rule_leaves_open_comes_from_the_recordings(folder: Path) -> None:
    recordings, rule = _open(folder, _entry(1), _entry(2, group="rat"))
    assert (rule.keypoints, rule.n_animals, rule.rate_hz) == (list(KEYPOINTS), 2, 30.0)
    first, second = recordings
    assert (first.name, second.name, second.group) == ("1", "2", "rat")
    assert first.points.shape == (200, 2, 5, 3)
    assert first.labels.shape == (200,)
    assert (first.labels[:20] == -1).all()
    assert first.checked.n_frames == {"pose": 200, "labels": 200}
    assert first.checked.missing == pytest.approx(0.05, abs=0.02)
    assert [one.name for one in first.data] == ["1", "1.labels"]
    assert first.content != second.content


def test_keypoints_are_taken_by_name_in_the_order_of_the_model(folder: Path) -> None:
    (turned,), _ = _open(folder, _entry(1), keypoints=["tail", "top", "body"])
    table = read_pose(folder / "dlc_csv" / "1DLC_resnet_el_filtered.csv")
    assert np.array_equal(turned.points, table.points[:, :, [2, 0, 1]], equal_nan=True)
    with pytest.raises(DataError, match=r"1DLC.*has no keypoint nose"):
        _open(folder, _entry(1), keypoints=["nose", "top", "body", "tail"])
    with pytest.raises(DataError, match=r"1DLC.*has 2 animal\(s\).*takes 1"):
        _open(folder, _entry(1), n_animals=1)


def test_unique_body_parts_are_no_animal_of_a_model_that_does_not_take_them(folder: Path, tmp_path: Path) -> None:
    """DeepLabCut gives points of the cage to an individual of their own."""
    shutil.copytree(folder, tmp_path / "data")
    path = tmp_path / "data" / "dlc_csv" / "1DLC_resnet_el_filtered.csv"
    head, *rows = path.read_text().splitlines()
    more = [",single" * 3, ",corner" * 3, ",x,y,likelihood", *[",10,20,0.9"] * (len(rows) - 3)]
    text = [head + 3 * f",{head.split(',')[-1]}", *(row + add for row, add in zip(rows, more, strict=True))]
    path.write_text("\n".join(text) + "\n")
    assert read_pose(path).animals == ("individual1", "individual2", "single")
    for changes in ({}, {"n_animals": 2}):
        (found,), rule = _open(tmp_path / "data", _entry(1), keypoints=list(KEYPOINTS), **changes)
        (usual,), _ = _open(folder, _entry(1))
        assert rule.n_animals == 2 and np.array_equal(found.points, usual.points, equal_nan=True)
        assert "1: single has none of the keypoints and is left out" in found.checked.notes()
    with pytest.raises(DataError, match=r"has 3 animal\(s\).*takes 2"):
        _open(tmp_path / "data", _entry(1), keypoints=[*KEYPOINTS, "corner"], n_animals=2)


def test_recordings_of_different_rates_are_never_mixed_in_silence(folder: Path) -> None:
    slow, fast = _entry(1), _entry(2, rate_hz=60.0)
    with pytest.raises(DataError, match=r"2 has 60 frames/s and the model 30; .*other_rates: subsample"):
        _open(folder, slow, fast)
    recordings, rule = _open(folder, slow, fast, other_rates="subsample")
    assert rule.rate_hz == 30.0
    whole = _open(folder, fast)[0][0]
    assert [one.n_frames for one in recordings] == [200, 100]
    assert np.array_equal(recordings[1].points, whole.points[::2], equal_nan=True)
    assert np.array_equal(recordings[1].labels, whole.labels[::2])
    assert recordings[1].checked.n_frames["pose"] == 200
    assert "one in 2 is taken" in recordings[1].data[0].source
    for other_rates in ("refuse", "subsample"):
        with pytest.raises(DataError, match=r"2 has 40 frames/s, which is no whole multiple of the 30 of 1"):
            _open(folder, slow, _entry(2, rate_hz=40.0), other_rates=other_rates)
    with pytest.raises(DataError, match=r"1 has 30 frames/s, which is no whole multiple of the 20 of pose.rate_hz"):
        _open(folder, slow, rate_hz=20.0, other_rates="subsample")
    assert _open(folder, _entry(1, rate_hz=29.97))[1].rate_hz == 29.97


def test_a_rate_that_nobody_states_is_asked_for(folder: Path) -> None:
    with pytest.raises(DataError, match=r"does not say its frame rate; give 'rate_hz' with the recording, or --fps"):
        _open(folder, _entry(1, rate_hz=None))


def test_the_same_recording_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="recording '1' stands twice"):
        _open(folder, _entry(1), _entry(2, name="1"))
    shutil.copytree(folder, tmp_path / "copy")
    points = tmp_path / "copy" / "dlc_csv"
    shutil.copy(points / "1DLC_resnet_el_filtered.csv", points / "2DLC_resnet_el_filtered.csv")
    with pytest.raises(DataError, match="1 and 2 are the same recording"):
        _open(tmp_path / "copy", _entry(1), _entry(2))


def test_the_unit_of_length_is_a_median_body(folder: Path) -> None:
    recordings, rule = _open(folder, _entry(1), _entry(2))
    assert with_scale(rule, recordings).scale.start_px == pytest.approx(80.0, abs=2.0)
    assert with_scale(_rule(scale={"path": ["top", "tail"], "start_px": 3.0}), recordings).scale.start_px == 3.0
    blind = PoseRecording(**{**_fields(recordings[0]), "points": np.full((9, 2, 5, 3), np.nan, np.float32)})
    with pytest.raises(DataError, match="in no frame are top, body, tail all there"):
        with_scale(rule, [blind])
    with pytest.raises(ConfigError, match=r"pose.scale.path: nose is not among the keypoints"):
        _open(folder, _entry(1), scale={"path": ["nose", "tail"]})


def _fields(recording: PoseRecording) -> dict[str, Any]:
    return {name: getattr(recording, name) for name in PoseRecording.__dataclass_fields__}


def test_features_are_those_of_the_rig_frame_by_frame(folder: Path) -> None:
    recordings, rule = _open(folder, _entry(1))
    rule = with_scale(rule, recordings)
    x = features_of(rule, recordings[0].points)
    assert x.shape == (200, 25)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert np.array_equal(features_of(rule, recordings[0].points[:50]), x[:50])


def _write_second_rater(folder: Path) -> list[str]:
    """Another rater of session 1, who sees aggression wherever the first sees social behaviour, in three files."""
    labels = [{"social": "aggression"}.get(name, name) for name in write_session(folder, 1, 200)]
    annotations = folder / "annotations"
    write_labels(annotations / "second.txt", labels)
    first, second = ((annotations / name).read_text(encoding="utf-8") for name in ("1_annot.txt", "second.txt"))
    body = second.partition("S1:")[2].partition("S2:")[0]
    (annotations / "both.txt").write_text(f"{first}\nS3:{body}", encoding="utf-8")
    edges = [0, *(place for place in range(1, 200) if labels[place] != labels[place - 1]), 200]
    rows = [f"{a},{b},{labels[a]}" for a, b in pairwise(edges)]
    (annotations / "second.csv").write_text("start_frame,stop_frame,behaviour\n" + "\n".join(rows) + "\n")
    return labels


@pytest.mark.parametrize(
    ("own", "rater"),
    [
        ("1_annot.txt", {"labels": "annotations/second.txt", "stream": "S1"}),
        ("both.txt", {"labels": "annotations/both.txt", "stream": "S3"}),
        ("1_annot.txt", "annotations/second.csv"),
        ("1_annot.txt", {"labels": "annotations/second.csv", "label_kind": "bouts"}),
    ],
)
def test_a_second_rater_is_read_from_his_own_file_and_stream(own: str, rater: Any, tmp_path: Path) -> None:
    """In another file, in another stream of the same one, in another format: never the labels that are learnt from."""
    labels = _write_second_rater(tmp_path)
    (one,), _ = _open(tmp_path, _entry(1, labels=f"annotations/{own}", compare={"second": rater}))
    theirs = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in labels])
    assert np.array_equal(one.compare["second"], theirs)
    both = (one.labels >= 0) & (theirs >= 0)
    assert 0.2 < (one.labels == theirs)[both].mean() < 0.8


@pytest.mark.parametrize("stream", ["S1", None])
def test_a_rater_who_is_the_recordings_own_is_refused(stream: str | None, tmp_path: Path) -> None:
    _write_second_rater(tmp_path)
    if stream is None:  # one stream alone, which nobody has to name
        names = {"labels": "annotations/second.csv", "stream": None}
        compare = {"again": "annotations/../annotations/second.csv"}
    else:
        names = {"labels": "annotations/both.txt"}
        compare = {"again": {"labels": "annotations/both.txt", "stream": stream}}
    with pytest.raises(DataError, match=r"compare again: .* holds the recording's own labels, and a rater agrees with"):
        _open(tmp_path, _entry(1, **names, compare=compare))
    with pytest.raises(DataError, match=r"both.txt: has 3 streams"):
        _open(tmp_path, _entry(1, compare={"who": "annotations/both.txt"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "annotations/9_annot.txt"}, r"9_annot.txt"),
        ({"path": "dlc_csv/9.csv"}, r"9.csv"),
        ({"labels": "annotations/2_long.txt"}, r"2_long.txt: line \d+: .*off-by-one"),
        ({"stream": None}, r"1_annot.txt: has 2 streams"),
    ],
)
def test_a_wrong_file_is_named(folder: Path, change: dict[str, Any], message: str) -> None:
    text = (folder / "annotations" / "2_annot.txt").read_text(encoding="utf-8")
    (folder / "annotations" / "2_long.txt").write_text(text.replace("\t200\t", "\t201\t"), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        _open(folder, _entry(1, **change))
