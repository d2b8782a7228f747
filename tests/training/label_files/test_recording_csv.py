"""One label for a recording as a whole."""

from pathlib import Path

import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import StreamSource, read_labels


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text", ["recording,behaviour\nday1,groom\nday2,rest\n", "Label;Video\ngroom;day1\nrest;day2\n"]
)
def test_every_recording_is_a_stream_with_one_label(tmp_path: Path, text: str) -> None:
    found = read_labels(_write(tmp_path, text))
    assert found.kind == "recordings"
    assert found.whole == {"day1": "groom", "day2": "rest"}
    assert found.streams == {"day1": [], "day2": []}
    assert (found.names, found.n_frames) == (["groom", "rest"], None)
    assert found.sources["day2"] == StreamSource(recording="day2")
    with pytest.raises(DataError, match=r"no stream 'day3'; name one with --stream or the key stream: 'day1', 'day2'"):
        found.find_stream("day3")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("day1,groom\nday1,rest\n", r"labels\.csv: line 3: column recording: day1 stands twice.*label_kind: frames"),
        ("day1,\n", r"line 2: column behaviour: is empty"),
        (",rest\n", r"line 2: column recording: is empty"),
        ("day1,rest,1\n", r"line 2: has 3 values, the header names 2 columns"),
    ],
)
def test_faults_name_line_and_column(tmp_path: Path, rows: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_labels(_write(tmp_path, "recording,behaviour\n" + rows))


def test_rows_that_are_frames_are_read_where_that_is_declared(tmp_path: Path) -> None:
    path = _write(tmp_path, "video,behaviour\nday1,groom\nday1,rest\n")
    assert [bout.behavior for bout in read_labels(path, "frames").streams[""]] == ["groom", "rest"]
