from itertools import pairwise
from pathlib import Path

import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import read_labels
from ethostream.training.label_files.frame_labels import Bout, frame_labels

WRITTEN_BY_THE_TOOLBOX = (
    "Caltech Behavior Annotator - Annotation File\n\n"
    "Configuration file:\nother o\ngroom g\nsniff s\n"
    "\nS1: start    end     type\n-----------------------------\n"
    "       1      40    other\n      41      41    groom\n      42      60    other\n"
    "\nS2: start    end     type\n-----------------------------\n"
    "       1      60    sniff\n"
)  # fmt: skip


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "annot.txt"
    path.write_bytes(text.encode())
    return path


def test_frames_count_from_one_and_the_last_is_named(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, WRITTEN_BY_THE_TOOLBOX))
    assert found.kind == "caltech"
    assert found.streams == {
        "S1": [Bout(0, 40, "other", None, 10), Bout(40, 41, "groom", None, 11), Bout(41, 60, "other", None, 12)],
        "S2": [Bout(0, 60, "sniff", None, 16)],
    }
    assert (found.n_frames, found.names, found.notes) == (60, ["other", "groom", "sniff"], [])
    assert found.find_stream("S2") == "S2"
    with pytest.raises(DataError, match=r"has no stream 'S3'; name one with --stream or the key stream: 'S1', 'S2'"):
        found.find_stream("S3")


def test_another_convention_may_be_declared(tmp_path: Path) -> None:
    text = WRITTEN_BY_THE_TOOLBOX.replace("       1      40", "       0      40")
    with pytest.raises(DataError, match=r"line 10: column start: there is no frame 0.*'frames'"):
        read_labels(_write(tmp_path, text))
    found = read_labels(_write(tmp_path, text), frames="zero_based_inclusive")
    assert found.streams["S1"][0] == Bout(0, 41, "other", None, 10)


def test_gaps_overlaps_and_names_that_nobody_declared_are_kept(tmp_path: Path) -> None:
    text = WRITTEN_BY_THE_TOOLBOX.replace("41      41    groom", "39      45    dance").replace(
        "1      60", "2      61"
    )
    found = read_labels(_write(tmp_path, text))
    assert [bout.behavior for bout in found.streams["S1"]] == ["other", "dance", "other"]
    assert found.streams["S1"][1] == Bout(38, 45, "dance", None, 11)
    assert "dance" not in found.names
    assert found.n_frames is None
    assert "S1 at frame 60, S2 at frame 61" in found.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Caltech Behavior", "Some other", r"line 1: does not begin with 'Caltech Behavior Annotator'"),
        ("groom g", "groom the fur g", r"line 5: 'groom the fur g' is not a behaviour and its key"),
        ("42      60", "x2      60", r"line 12: column start: 'x2' is not a frame number"),
        ("42      60", "42      41", r"line 12: column end: 41 is before start 42"),
        ("60    other", "60", r"line 12: '42 60' has 2 values; expected start, end and type"),
        ("S2: start", "S1: start", r"line 14: stream S1 begins a second time"),
    ],
)
def test_faults_name_file_line_and_column(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in WRITTEN_BY_THE_TOOLBOX
    path = _write(tmp_path, WRITTEN_BY_THE_TOOLBOX.replace(old, new))
    with pytest.raises(DataError, match=expected) as caught:
        read_labels(path, "caltech")
    assert str(path) in str(caught.value)


def test_a_file_that_was_cut_before_its_first_stream_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, WRITTEN_BY_THE_TOOLBOX[:90])
    with pytest.raises(DataError, match=r"has no stream.*Is the file whole"):
        read_labels(path)


S1 = ["base", "social", "nonsocial", "aggression"]


@pytest.mark.parametrize(("session", "n_frames"), [(12, 12987), (1, 14734)])
def test_real_sessions_cover_every_frame(test_data: Path, session: int, n_frames: int) -> None:
    path = test_data / "social_pose" / "annotations" / f"{session}_annot.txt"
    found = read_labels(path)
    assert (found.kind, list(found.streams), found.n_frames, found.notes) == ("caltech", ["S1", "S2"], n_frames, [])
    assert len(found.names) == 11
    for bouts in found.streams.values():
        assert bouts[0].start_frame == 0
        assert all(before.stop_frame == after.start_frame for before, after in pairwise(bouts))
    labels = frame_labels(found.streams["S1"], n_frames, S1, path)
    assert (labels >= 0).all()


def test_a_real_boundary_is_where_its_authors_put_it(test_data: Path) -> None:
    path = test_data / "social_pose" / "annotations" / "12_annot.txt"
    labels = frame_labels(read_labels(path).streams["S1"], 12987, S1, path, ignore=["base"])
    # Line 18 reads "1 307 base", line 19 "308 370 social", line 20 "371 490 nonsocial", from 1.
    assert labels[306:308].tolist() == [-1, 1]
    assert labels[369:371].tolist() == [1, 2]
