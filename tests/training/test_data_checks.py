"""What is said of data before anything is learnt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.sync.errors import DataError
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.pose import PoseRule
from ethostream.training.config.recordings import PoseData
from ethostream.training.data.checks import (
    CheckedRecording,
    check_data,
    cut_bouts,
    meeting_as,
    print_check,
    refuse_whole,
)
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.data.pose_recordings import open_poses
from ethostream.training.data.recording_labels import StreamLabels, classes_in, labels_of, read_stream
from ethostream.training.splits import TimeBlockSplit
from rich.console import Console
from social_sessions import CLASSES, write_points, write_session


def _checked(n_frames: dict[str, int], labels: list[int], covered: list[int] | None = None) -> CheckedRecording:
    return CheckedRecording(
        "one", n_frames, np.array(labels, np.int16), 30.0, None if covered is None else np.array(covered, np.int16)
    )


@pytest.mark.parametrize(
    ("n_frames", "said"),
    [
        ({"pose": 750, "video": 749, "labels": 750}, "one: video has 749 frames, pose 750: OFF BY ONE"),
        ({"pose": 750, "video": 750, "labels": 749}, "one: labels has 749 frames, pose 750: OFF BY ONE"),
        ({"pose": 750, "labels": 450}, "one: labels has 450 frames, pose 750; frames are taken to agree"),
    ],
)
def test_frame_counts_are_compared_and_off_by_one_is_named(n_frames: dict[str, int], said: str) -> None:
    check = check_data([_checked(n_frames, [0] * 30)], ["a"])
    assert [note for note in check.notes if note.startswith("one: ")] == [note for note in check.notes if said in note]
    assert any(said in note for note in check.notes)


def test_equal_counts_are_not_worth_a_word() -> None:
    check = check_data([_checked({"pose": 30, "video": 30, "labels": 30}, [0, 1] * 15, [1] * 30)] * 3, ["a", "b"])
    assert check.notes == []


def test_gaps_and_overlaps_are_counted() -> None:
    covered = [0, 1, 1, 0, 0, 1, 2, 2, 1, 0]
    one = _checked({"pose": 10}, [-1, 0, 0, -1, -1, 0, 0, 0, 0, -1], covered)
    meeting = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 0], np.bool_)
    one = replace(one, meeting=meeting, meet_as=meeting_as(LabelOptions(priority=["a", "b"])))
    assert (one.gaps, one.n_overlaps, one.n_unlabelled) == ([(3, 5)], 2, 4)
    notes = check_data([one], ["a"]).notes
    assert any("2 frames lie in bouts of several classes; the order of 'priority' decided" in note for note in notes)
    assert any("1 gap(s) between bouts, the longest from frame 3 to 5" in note for note in notes)
    each = replace(one, known=np.ones(10, np.bool_), meet_as=meeting_as(LabelOptions(overlap="each")))
    assert (each.gaps, each.n_unlabelled) == ([], 0)
    assert any("each is learnt on its own" in note for note in each.notes())


def _bouts(folder: Path, rows: str, **options: object) -> tuple[PoseData, StreamLabels]:
    path = folder / "labels.csv"
    path.write_text("start_frame,stop_frame,behaviour\n" + rows, encoding="utf-8")
    entry = _entry(folder, labels="labels.csv", **options)
    return entry, read_stream(entry, path, 30.0)


def test_what_is_printed_about_labels_is_true(tmp_path: Path) -> None:
    """Frames of 'rest' are no gap, bouts of one class no overlap, and a file that ends early is not off by one."""
    write_points(tmp_path / "dlc_csv" / "1.csv", np.zeros((20, 2, 5, 2)) + np.arange(5)[None, None, :, None])
    entry, stream = _bouts(tmp_path, "2,8,sniff\n5,9,lick\n12,19,walk\n", rate_hz=30.0)
    assert stream.n_frames is None
    options = LabelOptions(rename={"sniff": "groom", "lick": "groom"}, rest="still")
    rule = PoseRule.model_validate({"scale": {"path": ["top", "tail"]}, "features": [{"name": "pose_distances"}]})
    classes = ["groom", "still", "walk"]
    (one,), _ = open_poses([entry], tmp_path, rule, classes, options)
    assert one.checked.n_frames == {"pose": 20}
    assert one.checked.notes() == []
    (one,), _ = open_poses([entry], tmp_path, rule, classes, options.model_copy(update={"rest": None}))
    assert one.checked.notes() == [
        "1: 1 gap(s) between bouts, the longest from frame 9 to 12 (exclusive): those frames count as unlabelled"
    ]
    apart = LabelOptions(priority=["lick", "sniff"])
    (one,), _ = open_poses([entry], tmp_path, rule, ["lick", "sniff", "walk"], apart)
    assert one.checked.notes()[0] == "1: 3 frames lie in bouts of several classes; the order of 'priority' decided"


def test_whole_labels_are_no_labels_of_frames() -> None:
    one = replace(_checked({"pose": 30}, [-1] * 29 + [0]), whole=True)
    for supervision in ("sequence_mean", "sequence_last"):
        refuse_whole([one], supervision)
    with pytest.raises(DataError, match=r"one: has one label as a whole.*set fit.supervision: sequence_mean"):
        refuse_whole([_checked({"pose": 30}, [0] * 30), one], "frame")


def test_classes_with_few_bouts_and_none_are_named() -> None:
    labels = [0] * 5 + [1] * 5
    many = _checked({"pose": 120}, labels * 12)
    check = check_data([many, many, many, _checked({"pose": 6}, [2] * 6)], ["a", "b", "c", "d"], ["first"])
    assert check.notes[0] == "first"
    assert [note.split(":")[0] for note in check.notes[1:]] == ["c", "d"]
    assert "1 bout(s) in 1 recording(s) are few" in check.notes[1]
    assert "no frame is labelled so" in check.notes[2]
    a, c = check.classes["a"], check.classes["c"]
    assert (a.n_frames, a.n_bouts, a.n_recordings) == (180, 36, 3)
    assert (c.share, c.median_s) == (6 / 366, 6 / 30)


def test_the_tables_hold_every_recording_and_class() -> None:
    console = Console(record=True, width=140, quiet=False, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    one = _checked({"pose": 750, "video": 749, "labels": 750}, [0, 1] * 375, [1] * 750)
    print_check(check_data([one], ["walk", "rest"], ["assumed: 30 frames/s"]), console)
    text = console.export_text()
    for word in ("one", "750", "749", "walk", "rest", "50.0%", "assumed: 30 frames/s", "OFF BY ONE"):
        assert word in text, word


def _entry(folder: Path, **options: object) -> PoseData:
    return PoseData.model_validate(
        {"kind": "pose", "path": "dlc_csv/1.csv", "labels": "annotations/1_annot.txt", **options}
    )


def test_a_stream_has_to_be_chosen_and_to_be_there(tmp_path: Path) -> None:
    write_session(tmp_path, 1, 60)
    path = tmp_path / "annotations" / "1_annot.txt"
    with pytest.raises(DataError, match=r"2 streams.*'S1', 'S2'"):
        read_stream(_entry(tmp_path), path, 30.0)
    with pytest.raises(DataError, match=r"no stream 'S3'.*'S1', 'S2'"):
        read_stream(_entry(tmp_path, stream="S3"), path, 30.0)


def test_the_classes_of_a_folder_are_what_its_labels_hold(tmp_path: Path) -> None:
    labels = write_session(tmp_path, 1, 200)
    stream = read_stream(_entry(tmp_path, stream="S1"), tmp_path / "annotations" / "1_annot.txt", 30.0)
    assert classes_in([stream], LabelOptions()) == sorted(set(labels))
    assert classes_in([stream], LabelOptions(ignore=["base"])) == CLASSES
    renamed = LabelOptions(rename={"social": "near", "aggression": "near"}, ignore=["base"])
    assert classes_in([stream], renamed) == ["near", "nonsocial"]
    found = labels_of(stream, 200, CLASSES, LabelOptions(ignore=["base"]))
    assert [CLASSES[place] if place >= 0 else "base" for place in found] == labels


def test_labels_one_frame_too_long_are_called_off_by_one(tmp_path: Path) -> None:
    write_session(tmp_path, 1, 60)
    stream = read_stream(_entry(tmp_path, stream="S1"), tmp_path / "annotations" / "1_annot.txt", 30.0)
    with pytest.raises(DataError, match=r"1_annot.txt: line \d+: .*59 frames.*off-by-one"):
        labels_of(stream, 59, CLASSES, LabelOptions(ignore=["base"]))
    with pytest.raises(DataError, match=r"1_annot.txt: line \d+: ") as caught:
        labels_of(stream, 40, CLASSES, LabelOptions(ignore=["base"]))
    assert "off-by-one" not in str(caught.value)


def test_frames_that_no_bout_covers_may_have_a_class(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("start_frame,stop_frame,behaviour\n2,4,freeze\n", encoding="utf-8")
    stream = read_stream(_entry(tmp_path, labels="labels.csv"), path, 30.0)
    options = LabelOptions(rest="move")
    assert classes_in([stream], options) == ["freeze", "move"]
    assert labels_of(stream, 6, ["freeze", "move"], options).tolist() == [1, 1, 0, 0, 1, 1]
    assert labels_of(stream, 6, ["freeze", "move"], LabelOptions()).tolist() == [-1, -1, 0, 0, -1, -1]


@pytest.mark.parametrize("session", ["1", "42"])
def test_real_sessions_agree_row_for_row(session: str, test_data: Path) -> None:
    dataset = find_dataset(test_data / "social_pose", FolderOptions(stream="S1"))
    entry = next(one for one in dataset.entries if one.name == session)
    assert isinstance(entry, PoseData)
    table = read_pose(dataset.root / entry.path)
    stream = read_stream(entry, dataset.root / entry.labels, entry.rate_hz)
    assert stream.n_frames == table.n_frames
    assert (stream.covered(table.n_frames) == 1).all()
    assert classes_in([stream], dataset.labels) == CLASSES


def test_bouts_that_a_border_between_blocks_cuts_are_counted() -> None:
    labels = np.repeat([0, 1, 0, 1, -1, 1], [40, 10, 10, 20, 4, 16]).astype(np.int16)
    one = CheckedRecording("one", {"pose": 100}, labels, 10.0)
    rule = TimeBlockSplit(pattern=["train", "validation", "test", "test"], guard_s=0.5)
    # Borders at 25 (within the first bout), at 50 (a change of label) and at 75 (of one part, so none).
    notes = check_data([one], ["a", "b"], split=rule).notes
    assert notes[0].startswith("one: 1 bout(s) lie on both sides of a border between two parts")
    assert not any("border" in note for note in check_data([one], ["a", "b"]).notes)
    assert cut_bouts(labels, np.repeat([0, -1, 1], [78, 8, 14]).astype(np.int8)) == 0  # unlabelled frames lie between
