from pathlib import Path

import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import read_labels
from ethostream.training.label_files.frame_labels import Bout


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "frames.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_runs_of_a_word_are_bouts_and_empty_cells_are_marked(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, "frame,behaviour\n0,rear\n1,rear\n2,\n3,walk\n4,rear\n"))
    assert found.kind == "frames"
    assert found.streams == {
        "": [Bout(0, 2, "rear", None, 2), Bout(3, 4, "walk", None, 5), Bout(4, 5, "rear", None, 6)]
    }
    assert (found.n_frames, found.names, found.unlabelled) == (5, ["rear", "walk"], {"": [(2, 3)]})


def test_every_other_column_is_a_stream(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, "frame\tS1\tS2\r\n0\tbase\tbite\r\n1\tbase\t\r\n"))
    assert found.streams == {"S1": [Bout(0, 2, "base", None, 2)], "S2": [Bout(0, 1, "bite", None, 2)]}
    assert found.unlabelled == {"S1": [], "S2": [(1, 2)]}


def test_what_predict_writes_is_read(tmp_path: Path) -> None:
    text = "frame,time_s,behaviour,p_rear\n0,0.0,,0.4\n1,0.033,rear,0.9\n"
    found = read_labels(_write(tmp_path, text))
    assert found.streams == {"": [Bout(1, 2, "rear", None, 3)]}


def test_frames_without_a_row_are_nobodys(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, "frame,behaviour\n2,rear\n3,rear\n6,rear\n"))
    assert found.streams[""] == [Bout(2, 4, "rear", None, 2), Bout(6, 7, "rear", None, 4)]
    assert found.unlabelled == {"": [(0, 2), (4, 6)]}
    assert found.n_frames == 7
    assert found.notes == ["4 of 7 frames have no row: nobody has labelled them"]


def test_a_count_that_begins_with_one_has_to_be_declared(tmp_path: Path) -> None:
    path = _write(tmp_path, "frame,behaviour\n1,rear\n2,rear\n")
    with pytest.raises(DataError, match=r"line 2: column frame: begins with 1.*declare 'frames'"):
        read_labels(path)
    assert read_labels(path, frames="one_based_inclusive").streams[""][0] == Bout(0, 2, "rear", None, 2)
    assert read_labels(path, frames="zero_based_exclusive").streams[""][0] == Bout(1, 3, "rear", None, 2)
    path = _write(tmp_path, "frame,behaviour\n0,rear\n")
    with pytest.raises(DataError, match="there is no frame 0"):
        read_labels(path, frames="one_based_inclusive")


def test_rows_count_the_frames_where_no_column_does(tmp_path: Path) -> None:
    assert read_labels(_write(tmp_path, "behaviour\nrear\nwalk\n")).streams[""][1] == Bout(1, 2, "walk", None, 3)
    found = read_labels(_write(tmp_path, "behaviour,comment\nrear,\n,\nrear,\n,\n"))
    assert found.streams[""] == [Bout(0, 1, "rear", None, 2), Bout(2, 3, "rear", None, 4)]
    assert (found.n_frames, found.unlabelled) == (4, {"": [(1, 2), (3, 4)]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "behaviour\nrear\n\nwalk\n",
            r"line 3: is blank, and nothing says whether it is a frame; add a column 'frame'",
        ),
        ("frame,behaviour\n0,rear\n2,rear\n1,rear\n", r"line 4: column frame: 1 comes after 2"),
        ("frame,behaviour\n0,rear\n0,walk\n", r"line 3: column frame: 0 comes after 0"),
        ("frame,behaviour\nfirst,rear\n", r"line 2: column frame: 'first' is not a frame number"),
        ("frame,speed\n0,1.5\n", r"line 2: column speed: '1.5' is a number; call the column that holds the labels"),
        ("frame,behaviour,label\n0,rear,walk\n", r"line 1: columns behaviour and label mean the same"),
        ("frame,S1,S1\n0,a,b\n", r"line 1: a column has no name, or two have one"),
        ("frame\n0\n", r"line 1: holds frame numbers only"),
        ("frame,behaviour\n0,rear,walk\n", r"line 2: has 3 values, the header names 2 columns"),
    ],
)
def test_faults_name_file_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(DataError, match=expected) as caught:
        read_labels(path, "frames")
    assert str(path) in str(caught.value)
