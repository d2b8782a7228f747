from itertools import pairwise
from pathlib import Path

import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import StreamSource, read_labels
from ethostream.training.label_files.frame_labels import Bout


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "events.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_times_become_the_nearest_frames_at_the_rate_that_is_given(tmp_path: Path) -> None:
    path = _write(tmp_path, "from,to,type\n1.0,2.0,rear\n2.01,2.02,groom\n0.49,0.51,walk\n")
    found = read_labels(path, rate_hz=30.0)
    assert found.kind == "events"
    assert found.streams == {
        "": [Bout(15, 16, "walk", None, 4), Bout(30, 60, "rear", None, 2), Bout(60, 61, "groom", None, 3)]
    }
    assert found.names == ["rear", "groom", "walk"]
    assert found.notes == ["1 bouts are shorter than half a frame: each was given one frame"]
    with pytest.raises(DataError, match=r"events\.csv: holds times in seconds.*'rate_hz'"):
        read_labels(path)


def test_whole_numbers_may_be_frames_and_are_not_taken_for_seconds(tmp_path: Path) -> None:
    path = _write(tmp_path, "Start,Stop,Length,Type\n9909,9994,85,freeze\n10001,10002,1,freeze\n")
    with pytest.raises(DataError, match=r"line 1: columns Start, Stop: hold whole numbers alone.*seconds or frames"):
        read_labels(path, rate_hz=30.0)
    found = read_labels(path, rate_hz=30.0, frames="one_based_inclusive")
    assert found.streams == {"": [Bout(9908, 9994, "freeze", None, 2), Bout(10000, 10002, "freeze", None, 3)]}
    unfinished = _write(tmp_path, "Start,Stop,Type\n9909,9994,freeze\n10001,NA,freeze\n")
    with pytest.raises(DataError, match="seconds or frames"):
        read_labels(unfinished, rate_hz=30.0)
    in_seconds = _write(tmp_path, "start_s,stop_s,type\n1,2.0,freeze\n")
    assert read_labels(in_seconds, rate_hz=30.0).streams == {"": [Bout(30, 60, "freeze", None, 2)]}
    half = _write(tmp_path, "Start,Stop,Type\n1.5,2,freeze\n")
    with pytest.raises(DataError, match=r"line 2: column Start: '1\.5' is not a frame number"):
        read_labels(half, frames="zero_based_exclusive")


def test_bouts_that_touch_in_time_touch_in_frames(tmp_path: Path) -> None:
    edges = [k * 0.137 for k in range(40)]
    rows = "".join(f"{a!r},{b!r},b{k}\n" for k, (a, b) in enumerate(pairwise(edges)))
    bouts = read_labels(_write(tmp_path, "start_s,stop_s,behavior\n" + rows), rate_hz=29.97).streams[""]
    assert all(before.stop_frame == after.start_frame for before, after in pairwise(bouts))


def test_streams_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    text = "ID;Experimenter;from;to;type\nday 1;Ada;0.5;1;rear\nday 1;Bo;0;2;rear\nday 2;Ada;1;2;rear\n"
    found = read_labels(_write(tmp_path, text), rate_hz=10.0)
    assert list(found.streams) == ["day 1/Ada", "day 1/Bo", "day 2/Ada"]
    assert found.raters == ["Ada", "Bo"]
    assert found.sources["day 1/Bo"] == StreamSource(recording="day 1", rater="Bo")
    assert found.find_stream("day 2") == "day 2/Ada"
    assert found.find_stream("Bo") == "day 1/Bo"
    with pytest.raises(
        DataError, match=r"has 2 streams of 'Ada'; name one with --stream or the key stream: 'day 1/Ada', 'day 1/Bo'"
    ):
        found.find_stream("Ada")

    one_day = read_labels(_write(tmp_path, "\n".join(text.split("\n")[:3])), rate_hz=10.0)
    assert list(one_day.streams) == ["Ada", "Bo"]


def test_names_that_would_be_the_same_say_where_they_are_from(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, "ID,subject,start_s,stop_s,type\nx,,0,1,rear\n,x,1,2,rear\n"), rate_hz=10.0)
    assert {key: bouts[0].start_frame for key, bouts in found.streams.items()} == {"x/": 0, "/x": 10}


def test_lines_are_those_that_a_row_begins_on(tmp_path: Path) -> None:
    text = 'rater,from,to,type,comment\nAda,0,1.5,rear,"of\ntwo lines"\nBo,NA,1,rear,\n'
    found = read_labels(_write(tmp_path, text), rate_hz=10.0)
    assert found.streams["Ada"][0].line == 2
    with pytest.raises(DataError, match="line 4: column from"):
        found.find_stream("Bo")


def test_a_faulty_row_breaks_its_stream_and_no_other(tmp_path: Path) -> None:
    text = "rater,from,to,type\nAda,0,1.5,rear\nBo,1,NA,rear\nBo,2,3,rear\n"
    found = read_labels(_write(tmp_path, text), rate_hz=10.0)
    assert list(found.streams) == ["Ada"]
    assert found.find_stream("Ada") == "Ada"
    with pytest.raises(
        DataError, match=r"events\.csv: line 3: column to: 'NA' is not a time in seconds.*take the line"
    ):
        found.find_stream("Bo")
    assert any("'Bo' cannot be used" in note for note in found.notes)
    with pytest.raises(DataError, match="has 2 streams"):
        found.find_stream()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from,to,type\n2.5,1,rear\n", r"line 2: column to: 1 s is before from 2.5 s"),
        ("from,to,type\n-1.5,1,rear\n", r"line 2: column from: -1.5 s lies before the recording begins"),
        ("from,to,type\n1.5,inf,rear\n", r"line 2: column to: 'inf' is not a time"),
        (
            'start_s;stop_s;type\n"1,5";2;rear\n',
            r"line 2: column start_s: '1,5' is not a time in seconds \(with a decimal point\)",
        ),
        ("from,to,type\n1,2.5,\n", r"line 2: column type: is empty"),
        ("from,start,to,type\n1,1,2,rear\n", r"line 1: columns from and start mean the same"),
        ("from,type\n1,rear\n", r"line 1: column to is missing"),
    ],
)
def test_faults_name_file_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(DataError, match=expected) as caught:
        read_labels(path, "events", rate_hz=25.0)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_rate_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, "from,to,type\n0,1.5,rear\n")
    with pytest.raises(DataError, match=r"-5\.0 is no frame rate"):
        read_labels(path, rate_hz=-5.0)


@pytest.mark.parametrize(
    ("name", "n_streams", "raters", "n_bouts"),
    [("EPM/Labels/AllEPMLables.csv", 15, {"Jin", "Oliver", "Sian"}, 1401),
     ("FST/Lables/AllFSTLables.csv", 40, {"Jin", "Oliver", "Rebecca", "Schlappi"}, 889)],
)  # fmt: skip
def test_real_events_of_several_raters(
    test_data: Path, name: str, n_streams: int, raters: set[str], n_bouts: int
) -> None:
    found = read_labels(test_data / "human_event_labels" / "data" / name, rate_hz=25.0)
    assert (found.kind, len(found.streams), set(found.raters)) == ("events", n_streams, raters)
    assert sum(len(bouts) for bouts in found.streams.values()) == n_bouts
    assert not found.broken


def test_a_real_row_that_was_never_finished_costs_one_stream(test_data: Path) -> None:
    path = test_data / "human_event_labels" / "data" / "OFT" / "Labels" / "AllLabDataOFT_final.csv"
    found = read_labels(path, rate_hz=25.0)
    assert len(found.streams) == 59
    assert list(found.broken) == ["OFT_50/Oliver"]
    with pytest.raises(DataError, match="line 5032: column to: 'NA'"):
        found.find_stream("OFT_50/Oliver")
    first = found.streams["OFT_11/Jin"][0]
    # Line 2: "OFT_11_Jin.csv";"Jin";2.627;3.762;"Start/End".
    assert first == Bout(66, 94, "Start/End", None, 2)
