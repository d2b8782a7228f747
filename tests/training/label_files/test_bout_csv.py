from itertools import pairwise
from pathlib import Path

import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import FrameConvention, read_labels
from ethostream.training.label_files.frame_labels import Bout

HEADER = "start_frame,stop_frame,behaviour,confidence\n"


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_bouts_stand_in_order_of_time_with_their_lines(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, HEADER + "5,7,rear,\n\n0,3,locomote,2\n"))
    assert found.kind == "bouts"
    assert found.streams == {"": [Bout(0, 3, "locomote", 2.0, 4), Bout(5, 7, "rear", None, 2)]}
    assert found.names == ["rear", "locomote"]
    assert found.n_frames is None
    assert found.find_stream() == ""


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (None, (1, 5)),
        ("zero_based_exclusive", (1, 5)),
        ("zero_based_inclusive", (1, 6)),
        ("one_based_inclusive", (0, 5)),
        ("one_based_exclusive", (0, 4)),
    ],
)
def test_the_convention_is_declared(tmp_path: Path, frames: FrameConvention | None, expected: tuple[int, int]) -> None:
    bout = read_labels(_write(tmp_path, HEADER + "1,5,rear,\n"), frames=frames).streams[""][0]
    assert (bout.start_frame, bout.stop_frame) == expected


def test_overlaps_gaps_and_any_name_are_kept(tmp_path: Path) -> None:
    text = "start_frame;stop_frame;behavior;stream\n0;9;rear;left\n4;6;what is this?;left\n20;21;rear;right\n"
    found = read_labels(_write(tmp_path, text))
    assert found.streams == {
        "left": [Bout(0, 9, "rear", None, 2), Bout(4, 6, "what is this?", None, 3)],
        "right": [Bout(20, 21, "rear", None, 4)],
    }
    assert found.names == ["rear", "what is this?"]
    with pytest.raises(DataError, match=r"has 2 streams; name one with --stream or the key stream: 'left', 'right'"):
        found.find_stream()


def test_a_file_without_bouts_has_one_empty_stream(tmp_path: Path) -> None:
    assert read_labels(_write(tmp_path, HEADER)).streams == {"": []}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "5,5,rear,1\n", r"line 2: column stop_frame: 5 is not after start_frame 5; stop_frame is exclusive"),
        (HEADER + "-1,5,rear,1\n", r"line 2: column start_frame: '-1' is not a frame number"),
        (HEADER + "0,2.5,rear,1\n", r"line 2: column stop_frame: '2.5' is not a frame number"),
        (HEADER + "\n0,5,,1\n", r"line 3: column behaviour: is empty"),
        (HEADER + "0,5,rear,high\n", r"line 2: column confidence: 'high' is not a number"),
        (HEADER + "0,5,rear\n", r"line 2: has 3 values, the header names 4 columns"),
        (HEADER + '0,5,"rear\n', r"line 2: is not CSV text"),
        ("start_frame,end_frame,behaviour\n0,5,rear\n", r"line 1: column 'end_frame' is not known"),
        ("start_frame,behaviour\n0,rear\n", r"line 1: column stop_frame is missing"),
        ("start_frame,start_frame,stop_frame,behaviour\n", r"line 1: a column stands twice"),
        ("start_frame,behaviour,behavior,stop_frame\n", r"line 1: a column stands twice"),
        ("", r"line 1: is empty"),
        ("\nstart_frame,stop_frame,behaviour\n", r"line 1: is empty"),
    ],
)
def test_faults_name_file_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(DataError, match=expected) as caught:
        read_labels(path, "bouts")
    assert str(caught.value).startswith(f"{path}: ")


def test_a_convention_that_does_not_fit_the_numbers_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, HEADER + "0,5,rear,\n")
    with pytest.raises(DataError, match=r"line 2: column start_frame: there is no frame 0 where frames count from 1"):
        read_labels(path, frames="one_based_inclusive")
    path = _write(tmp_path, HEADER + "5,4,rear,\n")
    with pytest.raises(DataError, match=r"line 2: column stop_frame: 4 is before start_frame 5"):
        read_labels(path, frames="zero_based_inclusive")


def test_missing_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "absent.csv")
    path = tmp_path / "labels.csv"
    path.write_bytes(HEADER.encode() + b"0,3,rear,\n3,5,\xff\xfe\x00\x01,\n")
    with pytest.raises(DataError, match=r"line 3: is not CSV text in UTF-8"):
        read_labels(path, "bouts")


def test_real_label_files(test_data: Path) -> None:
    for name, last in (("openfield_top", 1398), ("openfield_below", 449), ("openfield_below_60hz", 1080)):
        for rater in "AB":
            bouts = read_labels(test_data / name / f"labels_{rater}.csv").streams[""]
            assert bouts[0].start_frame == 0
            assert bouts[-1].stop_frame == last
            assert all(a.stop_frame <= b.start_frame for a, b in pairwise(bouts))
