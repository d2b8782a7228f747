"""What is learnt from a label file: a class per frame, each behaviour by itself, or one label for the recording."""

from pathlib import Path

import numpy as np
import pytest
from ethostream.sync.errors import ConfigError, DataError
from ethostream.sync.strict import validate
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.recordings import PoseData
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.learnt_labels import LearntLabels, class_frames, learnt_labels
from ethostream.training.data.recording_labels import StreamLabels, classes_in, read_stream
from ethostream.training.fitting.head_data import HeadData, class_counts_of, n_learnt_of
from ethostream.training.label_files.frame_labels import UNLABELLED, Bout
from hypothesis import given
from hypothesis import strategies as st

CLASSES = ["attack", "rest", "sniff"]
EACH = LabelOptions(overlap="each")


def _entry(path: Path, text: str, name: str = "day1", **options: object) -> PoseData:
    path.write_text(text, encoding="utf-8")
    return PoseData.model_validate({"kind": "pose", "path": f"{name}.csv", "labels": path.name, **options})


def _learnt(path: Path, text: str, n: int, options: LabelOptions, name: str = "day1", **more: object) -> LearntLabels:
    entry = _entry(path, text, name, **more)
    return learnt_labels(read_stream(entry, path, 30.0), n, CLASSES, options)


DEEPETHOGRAM = ",attack,rest,sniff\n0,0,0,0\n1,1,0,1\n2,0,0,1\n3,-1,-1,-1\n4,1,0,0\n"


def test_every_behavior_is_a_target_of_its_own(tmp_path: Path) -> None:
    found = _learnt(tmp_path / "labels.csv", DEEPETHOGRAM, 5, EACH)
    assert found.targets is not None
    assert found.targets[[0, 1, 2, 4]].tolist() == [[0, 0, 0], [1, 0, 1], [0, 0, 1], [1, 0, 0]]
    assert np.isnan(found.targets[3]).all()
    assert found.known.tolist() == [True, True, True, False, True]
    # As one class: no behaviour and several have none.
    assert found.labels.tolist() == [UNLABELLED, UNLABELLED, 2, UNLABELLED, 0]
    assert class_frames(found.labels, found.targets, 3).tolist() == [2, 0, 2]
    ranked = _learnt(tmp_path / "labels.csv", DEEPETHOGRAM, 5, LabelOptions(overlap="each", priority=["sniff"]))
    assert ranked.labels.tolist() == [-1, -1, 2, -1, 0]  # attack, which it meets, has no rank
    ranked = _learnt(tmp_path / "labels.csv", DEEPETHOGRAM, 5, LabelOptions(overlap="each", priority=CLASSES[::-1]))
    assert ranked.labels.tolist() == [-1, 2, 2, -1, 0]


def test_rest_is_a_behavior_where_no_other_is_and_what_is_ignored_is_not_known(tmp_path: Path) -> None:
    options = LabelOptions(overlap="each", rest="rest", rename={"fight": "attack"}, ignore=["unclear"])
    text = "start_frame,stop_frame,behaviour\n1,4,fight\n3,5,sniff\n4,6,unclear\n"
    found = _learnt(tmp_path / "labels.csv", text, 7, options)
    assert found.targets is not None
    assert np.isnan(found.targets[4:6]).all()
    assert found.targets[[0, 1, 2, 3, 6]].tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert found.labels.tolist() == [1, 0, 0, -1, -1, -1, 1]
    with pytest.raises(DataError, match=r"line 3: sniff goes on to frame 4.*off-by-one|line 4"):
        _learnt(tmp_path / "labels.csv", text, 5, options)


@given(st.lists(st.tuples(st.integers(0, 25), st.integers(1, 9), st.sampled_from(CLASSES)), max_size=6))
def test_without_overlaps_both_ways_say_the_same(bouts: list[tuple[int, int, str]]) -> None:
    kept, end = list[Bout](), 0
    for start, length, name in sorted(bouts):
        if start >= end:
            kept.append(Bout(start, start + length, name))
            end = start + length
    stream = StreamLabels(Path("labels.csv"), "", kept, None, [], [], [])
    one, each = (learnt_labels(stream, 40, CLASSES, options) for options in (LabelOptions(), EACH))
    assert one.targets is None
    assert each.targets is not None
    assert np.array_equal(one.labels, each.labels)
    assert np.array_equal(each.targets.argmax(1)[one.labels >= 0], one.labels[one.labels >= 0])
    assert each.targets.sum() == (one.labels >= 0).sum()


def test_counts_are_of_behaviors_and_of_frames(tmp_path: Path) -> None:
    found = _learnt(tmp_path / "labels.csv", DEEPETHOGRAM, 5, EACH)
    one = HeadData("one", np.zeros((1, 5, 2), np.float32), found.labels, np.zeros(5, np.int8), found.targets)
    assert class_counts_of([one], 3).tolist() == [2, 0, 2]
    assert n_learnt_of([one]) == 4


WHOLE = "recording,behaviour\nday1,sniff\nday2,rest\nday3,unclear\n"


def test_one_label_for_a_recording_is_answered_by_its_last_frame(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    first = _learnt(path, WHOLE, 7, LabelOptions(ignore=["unclear"]))
    assert first.labels.tolist() == [-1] * 6 + [2]
    assert first.sequences is not None
    assert first.sequences.tolist() == [[0, 7]]
    second = _learnt(path, WHOLE, 7, LabelOptions(ignore=["unclear"]), name="day2")
    assert second.labels.tolist() == [-1] * 6 + [1]
    third = _learnt(path, WHOLE, 7, LabelOptions(ignore=["unclear"]), name="day3")
    assert (third.labels == -1).all()
    named = _learnt(path, WHOLE, 7, LabelOptions(ignore=["unclear"]), name="clip", stream="day2")
    assert np.array_equal(named.labels, second.labels)
    with pytest.raises(DataError, match="no stream 'clip'"):
        _learnt(path, WHOLE, 7, LabelOptions(), name="clip")
    entry = _entry(path, WHOLE)
    assert classes_in([read_stream(entry, path, None)], LabelOptions()) == ["sniff"]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_a_recording_that_is_thinned_out_keeps_its_label(tmp_path: Path, n: int) -> None:
    found = _learnt(tmp_path / "labels.csv", WHOLE, 7, LabelOptions()).every(n)
    length = len(range(0, 7, n))
    assert found.labels.tolist() == [-1] * (length - 1) + [2]
    assert found.sequences is not None
    assert found.sequences.tolist() == [[0, length]]


@pytest.mark.parametrize("ahead", [0, 3, 9])
def test_a_head_that_waits_still_has_the_sequence(tmp_path: Path, ahead: int) -> None:
    found = _learnt(tmp_path / "labels.csv", WHOLE, 7, LabelOptions())
    one = HeadData("one", np.zeros((1, 7, 2), np.float32), found.labels, np.zeros(7, np.int8), None, found.sequences)
    assert one.sequences_of("train").tolist() == [[0, 7, 2]]
    moved = one.looking_ahead(ahead)
    assert moved.sequences_of("train").tolist() == ([[ahead, 7, 2]] if ahead < 7 else [])


CONFIG = {
    "name": "m",
    "classes": CLASSES,
    "data": [{"kind": "pose", "path": "a.csv", "labels": "a.txt", "part": "train"}],
    "split": {"by": "recording"},
    "pose": {"scale": {"path": ["nose", "tail"]}, "features": [{"name": "pose_distances"}]},
}


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({}, "fit.loss.kind is cross_entropy.*set it to binary or binary_focal"),
        ({"loss": {"kind": "binary"}, "supervision": "sequence_mean"}, "a sequence has one label"),
        ({"loss": {"kind": "binary", "edge_frames": 2}}, "leave them at 0"),
        ({"loss": {"kind": "binary"}, "label_margin_frames": 2}, "leave them at 0"),
    ],
)
def test_what_several_behaviors_at_once_cannot_go_with_is_refused(fit: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(TrainConfig, {**CONFIG, "labels": {"overlap": "each"}, "fit": fit}, "file")
