from pathlib import Path

import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.training.labels import UNLABELLED, Bout, bouts_of, frame_labels, read_bouts
from hypothesis import given
from hypothesis import strategies as st

HEADER = "start_frame,stop_frame,behaviour,confidence\n"
CLASSES = ["locomote", "rear"]


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_stop_is_exclusive_and_gaps_are_unlabelled(tmp_path: Path) -> None:
    path = _write(tmp_path, HEADER + "5,7,rear,\n0,3,locomote,2\n")
    bouts = read_bouts(path, 10)
    assert bouts == [Bout(0, 3, "locomote", 2.0, 3), Bout(5, 7, "rear", None, 2)]
    labels = frame_labels(bouts, 10, CLASSES, path)
    assert labels.tolist() == [0, 0, 0, -1, -1, 1, 1, -1, -1, -1]


def test_the_last_frame_may_be_labelled(tmp_path: Path) -> None:
    assert read_bouts(_write(tmp_path, HEADER + "0,10,rear,1\n"), 10)[0].stop_frame == 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "0,5,rear,1\n4,8,locomote,1\n", r"line 3: column start_frame: 4 lies in the bout of line 2"),
        (HEADER + "0,11,rear,1\n", r"line 2: column stop_frame: 11 is beyond the video, which has 10 frames"),
        (HEADER + "5,5,rear,1\n", r"line 2: column stop_frame: 5 is not after start_frame 5"),
        (HEADER + "-1,5,rear,1\n", r"line 2: column start_frame: '-1' is not a frame number"),
        (HEADER + "0,2.5,rear,1\n", r"line 2: column stop_frame: '2.5' is not a frame number"),
        (HEADER + "0,5,,1\n", r"line 2: column behaviour: is empty"),
        (HEADER + "0,5,rear,high\n", r"line 2: column confidence: 'high' is not a number"),
        (HEADER + "0,5,rear\n", r"line 2: has 3 values, the header names 4 columns"),
        ("start_frame,end_frame,behaviour\n0,5,rear\n", r"line 1: column 'end_frame' is not known"),
        ("start_frame,behaviour\n0,rear\n", r"line 1: column stop_frame is missing"),
        ("start_frame,start_frame,stop_frame,behaviour\n", r"line 1: a column stands twice"),
        ("", r"line 1: is empty"),
    ],
)
def test_faults_name_file_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(DataError, match=expected) as caught:
        read_bouts(path, 10)
    assert str(path) in str(caught.value)


def test_unknown_class_is_named_and_may_be_renamed_or_ignored(tmp_path: Path) -> None:
    path = _write(tmp_path, HEADER + "0,2,locomote,1\n2,4,dance,1\n")
    bouts = read_bouts(path)
    with pytest.raises(DataError, match=r"line 3: column behaviour: 'dance' is not among the classes"):
        frame_labels(bouts, 5, CLASSES, path)
    assert frame_labels(bouts, 5, CLASSES, path, rename={"dance": "rear"}).tolist() == [0, 0, 1, 1, -1]
    assert frame_labels(bouts, 5, CLASSES, path, ignore=["dance"]).tolist() == [0, 0, -1, -1, -1]


def test_missing_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_bouts(tmp_path / "absent.csv")
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="is not CSV text"):
        read_bouts(path)


@given(st.lists(st.integers(UNLABELLED, 2), max_size=60))
def test_bouts_and_frames_are_inverse(values: list[int]) -> None:
    labels = np.array(values, np.int16)
    names = ["a", "b", "c"]
    assert frame_labels(bouts_of(labels, names), len(labels), names, Path("x.csv")).tolist() == values


def test_real_label_files(test_data: Path) -> None:
    for name, n_frames, last in (
        ("openfield_top", 2330, 1398), ("openfield_below", 749, 449), ("openfield_below_60hz", 1801, 1080),
    ):  # fmt: skip
        for rater in "AB":
            bouts = read_bouts(test_data / name / f"labels_{rater}.csv", n_frames)
            assert bouts[0].start_frame == 0
            assert bouts[-1].stop_frame == last
