"""What is said of data before anything is learnt."""

from pathlib import Path

import numpy as np
import pytest
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.sync.errors import DataError
from ethostream.training.config.training_file import LabelOptions, PoseData
from ethostream.training.data.checks import CheckedRecording, check_data, print_check
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.data.recording_labels import classes_in, labels_of, read_stream
from rich.console import Console
from social_sessions import CLASSES, write_session


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
    assert (one.gaps, one.n_overlaps, one.n_unlabelled) == ([(3, 5)], 2, 4)
    notes = check_data([one], ["a"]).notes
    assert any("2 frames lie in two bouts" in note for note in notes)
    assert any("1 gap(s) between bouts, the longest from frame 3 to 5" in note for note in notes)


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
